import { execFile } from "node:child_process";
import { promisify } from "node:util";

/** One live process as `ps` shows it. */
export interface PsEntry {
  readonly pid: number;
  readonly parentPid: number;
  readonly groupId: number;
  /** The memory of it that is resident; what processes share counts for each. */
  readonly residentBytes: number;
  /** Its environment as `NAME=value` words, or that of its nearest ancestor that shows one. */
  readonly environment: readonly string[];
}

const run = promisify(execFile);
const maxOutputBytes = 64 << 20;
const limitMs = 5_000;
const kib = 1024;

/**
 * All live processes, for systems without /proc. `ps -E` of macOS appends the environment to the
 * arguments; a second call without it shows where the arguments end, so that an argument that looks
 * like a variable is none (`man ps` of macOS: "-E Display the environment as well"). A process whose
 * arguments changed between the calls shows no environment, and neither does a program of the system
 * (System Integrity Protection): it is taken to have the environment of its parent. Empty when `ps` fails.
 */
export async function psEntries(): Promise<readonly PsEntry[]> {
  const [plain, withEnvironment] = await Promise.all([
    ps("-axww", "-o", "pid=,ppid=,pgid=,rss=,stat=,command="),
    ps("-axwwE", "-o", "pid=,command="),
  ]);
  const whole = new Map(
    withEnvironment.map((line) => {
      const [, pid, command] = /^\s*(\d+)\s+(.*)$/.exec(line) ?? [];
      return [Number(pid), command ?? ""];
    }),
  );
  const found = plain.flatMap((line) => {
    const [, pid, parentPid, groupId, rss, stat, command] =
      /^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\S+)\s+(.*)$/.exec(line) ?? [];
    if (stat === undefined || command === undefined || stat.startsWith("Z")) return [];
    const all = whole.get(Number(pid)) ?? "";
    const environment = all.startsWith(`${command} `) ? all.slice(command.length + 1) : "";
    return {
      ...{ pid: Number(pid), parentPid: Number(parentPid), groupId: Number(groupId) },
      residentBytes: Number(rss) * kib,
      environment: environment === "" ? null : environment.split(" "),
    };
  });
  const byPid = new Map(found.map((entry) => [entry.pid, entry]));
  return found.map((entry) => {
    let shown = entry;
    // Parents form a tree, except in a list that changed while it was made.
    for (let left = found.length; shown.environment === null && left > 0; left -= 1) {
      const parent = byPid.get(shown.parentPid);
      if (parent === undefined) break;
      shown = parent;
    }
    return { ...entry, environment: shown.environment ?? [] };
  });
}

async function ps(...args: readonly string[]): Promise<readonly string[]> {
  const options = { maxBuffer: maxOutputBytes, timeout: limitMs, encoding: "latin1" } as const;
  const found = await run("ps", args, options).catch(() => null);
  return found === null ? [] : found.stdout.split("\n");
}
