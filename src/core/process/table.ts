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

const none: ReadonlySet<number> = new Set();
const recentMs = 1_000;
let latest = { pids: none, at: Number.NEGATIVE_INFINITY };

/** The ids of all processes, without a look at any of them. Empty where there is no /proc. */
async function livePids(): Promise<ReadonlySet<number>> {
  const at = performance.now();
  const names = await readdir("/proc").catch(() => []);
  const pids = new Set(names.filter((name) => /^\d+$/.test(name)).map(Number));
  latest = { pids, at };
  return pids;
}

/** Ids of processes that began before this call: as they were at most a second ago. */
export async function earlierPids(): Promise<ReadonlySet<number>> {
  return performance.now() - latest.at < recentMs ? latest.pids : livePids();
}

/** Every live process that may be read. Linux; elsewhere nothing is known and the list is empty. */
export async function liveProcesses(): Promise<ProcessEntry[]> {
  return entriesOf(await livePids());
}

async function entriesOf(pids: Iterable<number>): Promise<ProcessEntry[]> {
  const left = Iterator.from(pids);
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

/** How long a kill is repeated until nothing is left. */
export const killLimitMs = 2_000;

/**
 * Kills what matches until two looks in a row find nothing, since a process may fork while one looks. Spares this process, its
 * ancestors and those of `known`. Resolves with the number killed, after `limitMs` at the latest.
 */
export async function killMatching(
  matches: (entry: ProcessEntry) => boolean,
  limitMs = killLimitMs,
  known = none,
): Promise<number> {
  const killed = new Set<number>();
  const seen = new Set(known);
  const end = performance.now() + limitMs;
  let emptyLooks = 0;
  while (emptyLooks < 2 && performance.now() < end) {
    const pids = [...(await livePids())].filter((pid) => !seen.has(pid));
    if (pids.length === 0) break;
    const entries = others(await entriesOf(pids));
    const found = entries.filter(matches);
    for (const { pid } of found) {
      killed.add(pid);
      signalProcess(pid, "SIGKILL");
    }
    // Where only new ones count, what was looked at and is another's is not new any more.
    if (known.size > 0) for (const { pid } of entries) if (!killed.has(pid)) seen.add(pid);
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

/** Whether the cookie `found` is that of the run `runId`, or of a program that was started as a part of it. */
export function isOfRun(found: string | null, runId: string): boolean {
  return found !== null && (found === runId || found.startsWith(`${runId}/`));
}

/** Kills every process of the run, whoever started it. */
export async function killRun(runId: string): Promise<void> {
  await killMatching((entry) => isOfRun(entry.runId, runId));
}
