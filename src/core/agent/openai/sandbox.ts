import { lstat, mkdtemp, readlink, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import type { AgentConfig } from "../../config/config.ts";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import { runCommand } from "./command.ts";

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
