import { createHash, randomUUID } from "node:crypto";
import { close, closeSync, open, openSync, read, readSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { setTimeout as delay, setImmediate as turn } from "node:timers/promises";
import { promisify } from "node:util";
import { SharedRuns } from "../clock.ts";
import { systemCodeOf } from "../model/errors.ts";
import { daemonMark, runCookie } from "./environment.ts";
import { psEntries } from "./ps.ts";

/** One live process of this machine; zombies do not count. */
export interface ProcessEntry {
  readonly pid: number;
  readonly parentPid: number;
  readonly groupId: number;
  /** The run cookie in its environment, or null. */
  readonly runId: string | null;
  /** The mark of the shared agent it belongs to, or null. */
  readonly daemon: string | null;
  /** Its resident memory, where the list is that of `ps`. */
  readonly residentBytes?: number;
}

const [opened, readInto, closed] = [promisify(open), promisify(read), promisify(close)];
const scanPauseMs = 20;
/** The number of Node's threads for files. */
const lanes = 4;
const firstReadBytes = 8 * 1024;
/** Of an environment; a program may give another one of megabytes, a thousand times. */
const mostReadBytes = 64 * 1024;

/** After so many the other work of this process has its turn. */
const atOnce = 32;

const none: ReadonlySet<number> = new Set();
const recentMs = 1_000;
let latest = { pids: none, at: Number.NEGATIVE_INFINITY };

/** Everywhere else the list is that of `ps`. */
export const hasProc = process.platform === "linux";

/** The ids of all processes, without reading any of them. */
async function livePids(): Promise<ReadonlySet<number>> {
  const at = performance.now();
  const pids = new Set(hasProc ? await procPids() : (await psEntries()).map(({ pid }) => pid));
  latest = { pids, at };
  return pids;
}

async function procPids(): Promise<readonly number[]> {
  const names = await readdir("/proc").catch(() => []);
  return names.filter((name) => /^\d+$/.test(name)).map(Number);
}

/** Ids of processes that started before this call; the list may be up to one second old. */
export async function earlierPids(): Promise<ReadonlySet<number>> {
  return performance.now() - latest.at < recentMs ? latest.pids : livePids();
}

/** Every live process that may be read. */
export async function liveProcesses(): Promise<readonly ProcessEntry[]> {
  return (await shared.run()).entries;
}

/** All processes as one reading of /proc showed them. */
interface Scan {
  readonly entries: readonly ProcessEntry[];
  /** Without this process and its ancestors. */
  readonly others: readonly ProcessEntry[];
}

let scans = 0;
let environments = 0;
/** A thousand agents that end together cost as many readings of /proc as one. */
const shared = new SharedRuns(scanned);

/** How often all processes were read by this process, and how many environments. */
export function scansMade(): { readonly scans: number; readonly environments: number } {
  return { scans, environments };
}

async function scanned(): Promise<Scan> {
  scans += 1;
  const entries = hasProc ? await allEntries() : await listed();
  return { entries, others: others(entries) };
}

async function allEntries(): Promise<readonly ProcessEntry[]> {
  const pids = await livePids();
  for (const pid of images.keys()) if (!pids.has(pid)) images.delete(pid);
  return entriesOf(pids);
}

async function listed(): Promise<ProcessEntry[]> {
  return (await psEntries()).map(({ environment, ...entry }) => ({
    ...entry,
    runId: valueIn(environment, runCookie),
    daemon: valueIn(environment, daemonMark),
  }));
}

async function entriesOf(pids: Iterable<number>): Promise<ProcessEntry[]> {
  const left = Iterator.from(pids);
  const lane = async () => {
    const entries: ProcessEntry[] = [];
    const reader = new ProcReader();
    let looked = 0;
    for (const pid of left) {
      const entry = await readEntry(pid, reader);
      if (entry !== null) entries.push(entry);
      looked += 1;
      if (looked % atOnce === 0) await turn();
    }
    return entries;
  };
  const found = await Promise.all(Array.from({ length: lanes }, lane));
  return found.flat();
}

/** How long killing is repeated while processes are left, in ms. */
export const killLimitMs = 2_000;

/**
 * Kills matching processes until two scans in a row find none, because a process may fork during a
 * scan. Spares this process, its ancestors and those in `known`. Resolves with the number killed,
 * after `limitMs` at the latest.
 */
export async function killMatching(
  matches: (entry: ProcessEntry) => boolean,
  limitMs = killLimitMs,
  known = none,
): Promise<number> {
  const killed = new Set<number>();
  const seen = new Set(known);
  const end = performance.now() + limitMs;
  let emptyScans = 0;
  while (emptyScans < 2 && performance.now() < end) {
    const entries = known.size > 0 ? await unseen(seen) : (await shared.run()).others;
    if (entries.length === 0) break;
    const found = entries.filter(matches);
    for (const { pid } of found) {
      killed.add(pid);
      signalProcess(pid, "SIGKILL");
    }
    // When only new processes count, one that was checked and did not match is not checked again.
    if (known.size > 0) for (const { pid } of entries) if (!killed.has(pid)) seen.add(pid);
    emptyScans = found.length === 0 ? emptyScans + 1 : 0;
    if (found.length > 0) await delay(scanPauseMs);
  }
  return killed.size;
}

async function unseen(seen: ReadonlySet<number>): Promise<readonly ProcessEntry[]> {
  if (!hasProc) return others(await listed()).filter(({ pid }) => !seen.has(pid));
  return others(await entriesOf([...(await livePids())].filter((pid) => !seen.has(pid))));
}

/** Whether there is a process with this id, of whatever user. */
export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return systemCodeOf(error) !== "ESRCH";
  }
}

/** Sends a signal. It is no error when the process (or, with a negative id, the group) is gone. */
export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Already gone, or owned by another user: the next scan will show it.
  }
}

/**
 * Reads one file after another into the same buffer: `readFile` allocates 64 KB for each, and there
 * are hundreds. Without file handles, which cost more than the reading.
 */
class ProcReader {
  #bytes = Buffer.allocUnsafeSlow(firstReadBytes);

  /** Of the state of a process, which the kernel always has at hand. */
  stat(pid: number): string {
    let fd = -1;
    try {
      fd = openSync(`/proc/${pid}/stat`, "r");
      return this.#bytes.toString("latin1", 0, readSync(fd, this.#bytes));
    } catch {
      return "";
    } finally {
      if (fd >= 0) closeSync(fd);
    }
  }

  /** The kernel may have to wait for memory of the process: never in this thread. */
  async environ(pid: number): Promise<string> {
    const fd = await opened(`/proc/${pid}/environ`, "r");
    try {
      for (let length = 0; ; ) {
        const room = this.#bytes.length - length;
        const { bytesRead } = await readInto(fd, this.#bytes, length, room, null);
        length += bytesRead;
        // Less than there was room for: that was the end.
        if (bytesRead < room) return this.#bytes.toString("utf8", 0, length);
        // What is cut off is no value.
        if (length >= mostReadBytes)
          return this.#bytes.toString("utf8", 0, this.#bytes.lastIndexOf(0, length - 1));
        this.#bytes = Buffer.concat([this.#bytes], length * 2);
      }
    } finally {
      await closed(fd);
    }
  }
}

/** The marks in the environment of a process, and where it lies. */
interface Image extends Pick<ProcessEntry, "runId" | "daemon"> {
  readonly place: string;
}

/** By process. One that runs another program gets another environment, which lies elsewhere, so that it is read again. */
const images = new Map<number, Image>();

async function readEntry(pid: number, reader: ProcReader): Promise<ProcessEntry | null> {
  const stat = reader.stat(pid);
  // The command name in parentheses may contain any character; the fields after it are plain.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, parentPid, groupId] = fields;
  if (state === undefined || state === "" || state === "Z" || state === "X") return null;
  const { runId, daemon } = await imageOf(pid, fields, reader);
  return { pid, parentPid: Number(parentPid), groupId: Number(groupId), runId, daemon };
}

/** `PF_KTHREAD` of the kernel's flags, the field 9: a thread of its own has no environment. */
const kernelThread = 0x0020_0000;
const noImage: Image = { place: "", runId: null, daemon: null };

/** proc(5): the fields 22, 50 and 51 are when it started, and the begin and the end of its environment; 0 where that is not shown. */
async function imageOf(pid: number, fields: readonly string[], reader: ProcReader): Promise<Image> {
  if ((Number(fields[6]) & kernelThread) !== 0) return noImage;
  const [startedAt, from, to] = [fields[19], fields[47], fields[48]];
  const place = `${startedAt} ${from} ${to}`;
  const known = images.get(pid);
  if (known?.place === place) return known;
  environments += 1;
  const text = await reader.environ(pid).catch(() => null);
  const environ = (text ?? "").split("\0");
  const image = {
    place,
    runId: valueIn(environ, runCookie),
    daemon: valueIn(environ, daemonMark),
  };
  const isWhole = text !== null && text !== "" && Number(to) > 0;
  if (isWhole) images.set(pid, image);
  else images.delete(pid);
  return image;
}

function valueIn(environ: readonly string[], name: string): string | null {
  const prefix = `${name}=`;
  const found = environ.find((entry) => entry.startsWith(prefix));
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
 * The cookie of a run's processes: `name` is an attempt id, or `hook`. It includes the data
 * directory, so that two servers on one machine never treat each other's processes as their own.
 */
export function runIdOf(dataDir: string, name: string): string {
  return `${createHash("sha256").update(dataDir).digest("hex").slice(0, 16)}/${name}`;
}

/**
 * A new cookie for a part of what `runId` marks. What is ended by its cookie ends all parts of it, so
 * programs that run at the same time for one purpose are parts each.
 */
export function partOf(runId: string | undefined, name: string): string {
  return [runId ?? [], `${name}-${randomUUID()}`].flat().join("/");
}

/**
 * Whether the cookie `found` belongs to the run `runId`, or to a program that was started as a part
 * of it.
 */
export function isOfRun(found: string | null, runId: string): boolean {
  return found !== null && (found === runId || found.startsWith(`${runId}/`));
}

/** Kills every process of the run, including those that another server started. */
export async function killRun(runId: string): Promise<void> {
  await killMatching((entry) => isOfRun(entry.runId, runId));
}
