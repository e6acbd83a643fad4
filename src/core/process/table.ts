import type { ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { open, readdir } from "node:fs/promises";
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
/** As many as Node has threads for files. */
const lanes = 4;
const firstReadBytes = 8 * 1024;

/** Every live process that may be read. Linux; elsewhere nothing is known and the list is empty. */
export async function liveProcesses(): Promise<ProcessEntry[]> {
  const names = await readdir("/proc").catch(() => []);
  const pids = names.filter((name) => /^\d+$/.test(name)).map(Number);
  const left = pids.values();
  const lane = async () => {
    const entries: ProcessEntry[] = [];
    const reader = new ProcReader();
    for (const pid of left) {
      const entry = await readEntry(pid, reader);
      if (entry !== null) entries.push(entry);
    }
    return entries;
  };
  const found = await Promise.all(Array.from({ length: lanes }, lane));
  return found.flat();
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

const liveGroups = new Set<number>();
process.on("exit", () => {
  // The last chance when this process leaves in a hurry; what escaped its group is left to the next start.
  for (const pid of liveGroups) signalProcess(-pid, "SIGKILL");
});

/** The group that `child` leads is killed when this process exits before `forget` is called, which is returned. */
export function killGroupAtExit({ pid }: ChildProcess): () => void {
  if (pid === undefined) return () => {};
  liveGroups.add(pid);
  return () => liveGroups.delete(pid);
}

/** Reads one file after the other into the same bytes: `readFile` takes 64 KB for each, and there are hundreds. */
class ProcReader {
  #bytes = Buffer.allocUnsafeSlow(firstReadBytes);

  async text(file: string, encoding: "latin1" | "utf8"): Promise<string> {
    const handle = await open(file);
    try {
      for (let length = 0; ; ) {
        const room = this.#bytes.length - length;
        const { bytesRead } = await handle.read(this.#bytes, length, room);
        if (bytesRead === 0) return this.#bytes.toString(encoding, 0, length);
        length += bytesRead;
        if (bytesRead === room) this.#bytes = Buffer.concat([this.#bytes], length * 2);
      }
    } finally {
      await handle.close();
    }
  }
}

async function readEntry(pid: number, reader: ProcReader): Promise<ProcessEntry | null> {
  const stat = await reader.text(`/proc/${pid}/stat`, "latin1").catch(() => "");
  // The command name, in parentheses, may hold anything; the fields after it are plain.
  const [state, parentPid, groupId] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (state === undefined || state === "" || state === "Z" || state === "X") return null;
  const environ = await reader.text(`/proc/${pid}/environ`, "utf8").catch(() => "");
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

/**
 * The cookie of a run's processes: `name` is an attempt id, or `hook`. The data directory is part of it, so that
 * two servers on one machine never take each other's processes for their own.
 */
export function runIdOf(dataDir: string, name: string): string {
  return `${createHash("sha256").update(dataDir).digest("hex").slice(0, 16)}/${name}`;
}
