import { execFile } from "node:child_process";
import { existsSync, lstatSync, realpathSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { SymphonyError } from "../model/errors.ts";
import { shellQuoted } from "./shell-quoted.ts";

const probeLimitMs = 10_000;
/** Doors to services that would act outside the sandbox for whoever knocks. */
const doors = ["/run/user", "/run/docker.sock", "/run/containerd", "/run/podman"];

/** Obeyed by programs outside of the sandbox: not for an agent to write. */
const guarded = [".git", ".codex", ".agents"];

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
    ...guarded.flatMap((name) => readOnly(join(workspace, name))),
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
