import { readdir, readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { daemonMark, runCookie } from "./environment.ts";

/** One live process of this machine; zombies are not live. */
export interface ProcessEntry {
  readonly pid: number;
  readonly parentPid: number;
  readonly groupId: number;
  /** The run cookie it was started with, or null. */
  readonly runId: string | null;
  /** The mark of the shared agent it belongs to, or null. */
  readonly daemon: string | null;
}

const scanPauseMs = 20;

/** Every live process that may be read. Linux; elsewhere nothing is known and the list is empty. */
export async function liveProcesses(): Promise<ProcessEntry[]> {
  const names = await readdir("/proc").catch(() => []);
  const pids = names.filter((name) => /^\d+$/.test(name)).map(Number);
  const entries = await Promise.all(pids.map(readEntry));
  return entries.filter((entry) => entry !== null);
}

/**
 * Kills what matches until two looks in a row find nothing, since a process may fork while one looks.
 * Spares this process and its ancestors. Resolves with the number killed, after `limitMs` at the latest.
 */
export async function killMatching(
  matches: (entry: ProcessEntry) => boolean,
  limitMs: number,
): Promise<number> {
  const killed = new Set<number>();
  const end = performance.now() + limitMs;
  let emptyLooks = 0;
  while (emptyLooks < 2 && performance.now() < end) {
    const found = others(await liveProcesses()).filter(matches);
    for (const { pid } of found) {
      killed.add(pid);
      signalProcess(pid, "SIGKILL");
    }
    emptyLooks = found.length === 0 ? emptyLooks + 1 : 0;
    if (found.length > 0) await delay(scanPauseMs);
  }
  return killed.size;
}

/** Sends a signal; a process (or, with a negative id, a group) that is gone is no error. */
export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone already, or not ours to signal: the next look tells.
  }
}

async function readEntry(pid: number): Promise<ProcessEntry | null> {
  const stat = await readFile(`/proc/${pid}/stat`, "latin1").catch(() => "");
  // The command name, in parentheses, may hold anything; the fields after it are plain.
  const [state, parentPid, groupId] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (state === undefined || state === "" || state === "Z" || state === "X") return null;
  const environ = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
  return {
    ...{ pid, parentPid: Number(parentPid), groupId: Number(groupId) },
    runId: valueIn(environ, runCookie),
    daemon: valueIn(environ, daemonMark),
  };
}

function valueIn(environ: string, name: string): string | null {
  const prefix = `${name}=`;
  const found = environ.split("\0").find((entry) => entry.startsWith(prefix));
  return found === undefined ? null : found.slice(prefix.length);
}

function others(entries: readonly ProcessEntry[]): ProcessEntry[] {
  const parents = new Map(entries.map(({ pid, parentPid }) => [pid, parentPid]));
  const spared = new Set<number>();
  for (let pid: number | undefined = process.pid; pid !== undefined; pid = parents.get(pid)) {
    if (spared.has(pid)) break;
    spared.add(pid);
  }
  return entries.filter(({ pid }) => !spared.has(pid));
}
