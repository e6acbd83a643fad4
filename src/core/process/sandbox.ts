import { execFile } from "node:child_process";
import { existsSync, lstatSync, realpathSync, statSync } from "node:fs";
import { lstat, mkdtemp, readlink, realpath, rm } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import type { AgentConfig } from "../config/agents.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { shellQuoted } from "../text/text.ts";
import { runCommand } from "./run.ts";

export type Level = AgentConfig["level"];

/** What a command in the sandbox sees of the machine. */
export interface View {
  readonly level: Exclude<Level, "danger">;
  /** The only directory that can be written and is kept. */
  readonly workspace: string;
  /** In the workspace. */
  readonly cwd: string;
  /** Empty and private inside: the homes, the data directory, the other workspaces. */
  readonly hidden: readonly string[];
  /** Readable beside the system's directories. */
  readonly readable: readonly Shown[];
}

/** A directory of the machine (canonical), and where it is inside. */
export interface Shown {
  readonly from: string;
  readonly to: string;
}

const systemDirs = [
  "/usr",
  "/bin",
  "/sbin",
  "/lib",
  "/lib32",
  "/lib64",
  "/libx32",
  "/etc",
  "/opt",
  "/nix",
];
/** Readable by root alone, so that they matter where the server is root. */
const systemSecrets = [
  "/etc/shadow",
  "/etc/gshadow",
  "/etc/sudoers",
  "/etc/ssh",
  "/etc/ssl/private",
];
/** Obeyed by programs outside of the sandbox: not for a command to write. */
const guarded = [".git", ".codex", ".agents"];
const scratchBytes = 512 * 1024 * 1024;
const probeTimeoutMs = 10_000;

/** The words in front of a command: bubblewrap and what it is to build. The workspace may have changed since the last. */
export async function sandboxArgs(view: View): Promise<readonly string[]> {
  const { workspace, level, hidden } = view;
  const inside = hidden.filter((dir) => within(dir, workspace));
  const around = hidden.filter((dir) => !within(dir, workspace) && dir !== "/");
  return [
    ...["bwrap", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--unshare-all"],
    ...(level === "networked" ? ["--share-net"] : []),
    ...(await systemMounts()),
    ...["--proc", "/proc", "--dev", "/dev"],
    ...["/dev/shm", "/tmp", "/var/tmp", "/run"].flatMap(scratch),
    ...(level === "networked" ? await nameServers() : []),
    ...inLayers(around, view.readable),
    ...["--bind", workspace, workspace],
    ...(await guardedMounts(workspace)),
    ...inside.flatMap(scratch),
    ...["--remount-ro", "/", "--chdir", view.cwd, "--"],
  ];
}

/** Rejects with `agent_unavailable` where commands cannot be put into a sandbox: nothing runs without the one that was asked for. */
export async function probeSandbox(env: NodeJS.ProcessEnv): Promise<void> {
  const workspace = await realpath(await mkdtemp(join(tmpdir(), "symphony-probe-")));
  try {
    const args = await sandboxArgs({
      level: "safe",
      workspace,
      cwd: workspace,
      hidden: [],
      readable: [],
    });
    const { exitCode, output } = await runCommand({
      argv: [...args, "bash", "-c", "echo works"],
      cwd: workspace,
      env: { PATH: env["PATH"] ?? "/usr/bin:/bin" },
      timeoutMs: probeTimeoutMs,
      outputBytes: 2_000,
    });
    if (exitCode !== 0 || output.trim() !== "works") throw new Error(output.trim() || "it failed");
  } catch (error) {
    throw new SymphonyError(
      "agent_unavailable",
      `the agent's commands cannot be put into a sandbox: bubblewrap does not work here (${messageOf(error).slice(0, 300)})`,
      {
        hint: "install bubblewrap and allow user namespaces, or, where the machine itself is the sandbox: symphony config overlay set agent.level danger",
      },
    );
  } finally {
    await rm(workspace, { recursive: true, force: true });
  }
}

export function within(path: string, dir: string): boolean {
  return path === dir || path.startsWith(dir.endsWith("/") ? dir : `${dir}/`);
}

async function systemMounts(): Promise<readonly string[]> {
  const mounts = await Promise.all(
    systemDirs.map(async (dir) => {
      const stats = await lstat(dir).catch(() => null);
      if (stats?.isSymbolicLink()) return ["--symlink", await readlink(dir), dir];
      return stats?.isDirectory() ? ["--ro-bind", dir, dir] : [];
    }),
  );
  const covers = await Promise.all(
    systemSecrets.map(async (path) => {
      const stats = await lstat(path).catch(() => null);
      if (stats?.isDirectory()) return ["--tmpfs", path];
      return stats?.isFile() ? ["--ro-bind", "/dev/null", path] : [];
    }),
  );
  return [...mounts, ...covers].flat();
}

async function guardedMounts(workspace: string): Promise<readonly string[]> {
  const mounts = await Promise.all(
    guarded.map(async (name) => {
      const path = join(workspace, name);
      const stats = await lstat(path).catch(() => null);
      // Never through a link: it would lead to where the agent pleases.
      return stats?.isDirectory() || stats?.isFile() ? ["--ro-bind", path, path] : [];
    }),
  );
  return mounts.flat();
}

/** `/etc/resolv.conf` is often a link into `/run`, which is empty inside. */
async function nameServers(): Promise<readonly string[]> {
  const path = await realpath("/etc/resolv.conf").catch(() => null);
  return path === null || within(path, "/etc") ? [] : ["--ro-bind", path, path];
}

function scratch(dir: string): readonly string[] {
  return ["--size", String(scratchBytes), "--tmpfs", dir];
}

/** What is shown may lie in what is hidden, and the other way round: the outer is built before the inner. */
function inLayers(hidden: readonly string[], readable: readonly Shown[]): readonly string[] {
  const layers = [
    ...readable.map(({ from, to }) => ({ at: to, args: ["--ro-bind-try", from, to] })),
    ...hidden.map((dir) => ({ at: dir, args: scratch(dir) })),
    ...readable.flatMap(({ from, to }) =>
      hidden
        .filter((dir) => within(dir, from))
        .map((dir) => to + dir.slice(from.length))
        .map((at) => ({ at, args: scratch(at) })),
    ),
  ];
  return layers.sort((a, b) => a.at.length - b.at.length).flatMap(({ args }) => args);
}

/** Directories of PATH that lie where the sandbox shows nothing; the workspace's and relative ones are not added. */
export function programDirs(path: string): readonly string[] {
  const dirs = path.split(":").filter((dir) => dir.startsWith("/"));
  return [...new Set(dirs.map((dir) => resolve(dir)))].filter(
    (dir) => dirname(dir) !== dir && !systemDirs.some((system) => within(dir, system)),
  );
}

const probeLimitMs = 10_000;
/** Doors to services that would act outside the sandbox for whoever knocks. */
const doors = ["/run/user", "/run/docker.sock", "/run/containerd", "/run/podman"];

/** Obeyed by programs outside of the sandbox: not for an agent to write. */
const programGuarded = [".git", ".codex", ".agents"];

/** What a confined program may see, write and reach. */
export interface Confinement {
  readonly workspace: string;
  readonly network: boolean;
  /** Beside the workspace; `~/` stands for the home. What is not there is left out. */
  readonly writable: readonly string[];
  /** Shown again where it lies under something hidden. */
  readonly readable: readonly string[];
  /** Neither seen nor written, save the workspace within. */
  readonly hidden: readonly string[];
  /** Names in the workspace that are empty inside. */
  readonly emptied?: readonly string[];
}

/**
 * `line` for `bash -lc`, so that its program runs in bubblewrap: everything is read-only save the workspace,
 * `writable` and temporary folders of its own, and other processes are out of sight. Linux alone.
 */
export function confinedLine(line: string, confinement: Confinement): string {
  const args = [...bubblewrapArgs(confinement), "--", "bash", "-c", line];
  return `exec bwrap ${args.map(shellQuoted).join(" ")}`;
}

/** Arguments for `bwrap` up to the command. A later mount lies over an earlier one. */
export function bubblewrapArgs(confinement: Confinement): readonly string[] {
  const { workspace, network, writable, readable, hidden, emptied = [] } = confinement;
  const there = (paths: readonly string[]) =>
    paths.map(expanded).filter((path) => existsSync(path));
  return [
    ...namespaces(network),
    ...["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"],
    ...there(["/tmp", "/var/tmp"]).flatMap((path) => ["--tmpfs", path]),
    ...there([...doors, ...hidden]).flatMap(cover),
    ...there(writable).flatMap((path) => ["--bind", path, path]),
    ...["--bind", workspace, workspace],
    ...programGuarded.flatMap((name) => readOnly(join(workspace, name))),
    ...emptied.flatMap((name) => empty(join(workspace, name))),
    ...there(readable).flatMap((path) => ["--ro-bind", path, path]),
    ...["--chdir", workspace],
  ];
}

const probes = new Map<boolean, Promise<string | null>>();

/** Rejects with `agent_unavailable` where bubblewrap does not work; it is tried until it does. */
export async function requireBubblewrap(kind: string, network: boolean): Promise<void> {
  const probe = probes.get(network) ?? bubblewrapProblem(network);
  probes.set(network, probe);
  const problem = await probe;
  if (problem === null) return;
  probes.delete(network);
  const message = `below agent.level danger, agent.kind ${kind} runs its program in bubblewrap, which does not work here: ${problem}`;
  throw new SymphonyError("agent_unavailable", message, {
    hint: "install bubblewrap and allow user namespaces, or: symphony config overlay set agent.level danger",
  });
}

function namespaces(network: boolean): string[] {
  return [
    ...["--unshare-user", "--unshare-pid", "--unshare-ipc", "--cap-drop", "ALL"],
    ...(network ? [] : ["--unshare-net"]),
    "--die-with-parent",
  ];
}

function bubblewrapProblem(network: boolean): Promise<string | null> {
  const args = [
    ...namespaces(network),
    "--ro-bind",
    "/",
    "/",
    "--dev",
    "/dev",
    "--proc",
    "/proc",
    "true",
  ];
  return new Promise((resolve) => {
    execFile("bwrap", args, { timeout: probeLimitMs }, (error, _stdout, stderr) => {
      resolve(error ? stderr.trim().slice(0, 300) || error.message : null);
    });
  });
}

function cover(path: string): string[] {
  return statSync(path).isDirectory() ? ["--tmpfs", path] : ["--ro-bind", "/dev/null", path];
}

/** Never through a link: it would lead to where the agent pleases. */
function readOnly(path: string): string[] {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found?.isDirectory() || found?.isFile() ? ["--ro-bind", path, path] : [];
}

/** As above, and nothing can be written to it either. */
function empty(path: string): string[] {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory()) return ["--tmpfs", path, "--remount-ro", path];
  return found?.isFile() ? ["--ro-bind", "/dev/null", path] : [];
}

/** bubblewrap cannot mount on a symbolic link, such as /var/run. */
function expanded(path: string): string {
  const whole = path === "~" || path.startsWith("~/") ? join(homedir(), path.slice(1)) : path;
  return existsSync(whole) ? realpathSync(whole) : whole;
}
