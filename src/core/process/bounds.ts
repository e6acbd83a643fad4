// What one agent, with everything that it starts, may use of the machine; who exceeds it is ended.

import { readdir, readFile, statfs } from "node:fs/promises";
import { totalmem } from "node:os";
import { dirname } from "node:path";
import type { AgentConfig } from "../config/agents.ts";
import { SymphonyError } from "../model/errors.ts";
import { sizeText } from "../text/text.ts";
import { liveProcesses, type ProcessEntry, signalProcess } from "./table.ts";

/** The limits of one agent, or of one command; null: no limit. */
export interface Bounds {
  readonly maxProcesses: number | null;
  readonly maxMemoryBytes: number | null;
  readonly maxFileBytes: number | null;
  /** What must stay free on the disk of the workspace for everything else. */
  readonly leastFreeBytes: number;
}

/** The limits that the configuration sets for one attempt; without a word of it half of the memory. */
export function boundsOf(
  agent: Pick<AgentConfig, "maxProcesses" | "maxMemory" | "maxFileSize">,
): Bounds {
  return {
    maxProcesses: agent.maxProcesses || null,
    maxMemoryBytes: (agent.maxMemory ?? Math.floor(memoryBytes() / 2)) || null,
    maxFileBytes: agent.maxFileSize || null,
    leastFreeBytes,
  };
}

/** The memory that this process may use: the container's limit if there is one. */
export function memoryBytes(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}

export type Limit = "processes" | "memory" | "disk";

/** A tree of processes that is watched. */
export interface Bounded {
  /** The cookie of its processes. */
  readonly runId: string;
  /** Its first process, whose descendants count also without the cookie; 0: only the cookie counts. */
  readonly root: number;
  /** Its workspace, whose disk counts. */
  readonly workspace: string;
  readonly bounds: Bounds;
  /** Called once; `text` is a sentence that names the limit and its setting. */
  exceeded(limit: Limit, text: string): void;
}

export const leastFreeBytes = 256 * 1024 ** 2;
/** From so many times as much free space on it is recorded who writes. */
const scarceTimes = 4;
/** Who wrote less since the disk became short did not fill it. */
const leastWrittenBytes = 16 * 1024 ** 2;
const intervalMs = 250;
/** The part of the time that looking may take, one in this many, unless the machine is flooded. */
const restShare = 10;
const maxRestMs = 2_000;
/** Threads count too, so that a limit of processes leaves room for them. */
const tasksPerProcess = 4;
const blockBytes = 1024;
const kib = 1024;
/** A chain of parents ends long before. */
const maxStopRounds = 20;
const maxDepth = 10_000;

/**
 * Shell lines that set the limits which the kernel itself holds: file size, no core dumps and, with `inNamespace`,
 * the number of processes and threads. Outside of a user namespace that number counts all programs of the user, so it
 * is not set there; for root the kernel does not hold it at all (`man 2 setrlimit`).
 */
export function boundLines(bounds: Bounds, inNamespace = false): readonly string[] {
  const { maxFileBytes, maxProcesses } = bounds;
  const set = [
    "-c 0",
    ...(maxFileBytes === null ? [] : [`-f ${Math.ceil(maxFileBytes / blockBytes)}`]),
    ...(inNamespace && maxProcesses !== null ? [`-u ${maxProcesses * tasksPerProcess}`] : []),
  ];
  // A limit of the machine that is lower already stays.
  return set.map((limit) => `ulimit ${limit} 2>/dev/null || :`);
}

/** The exit of a shell whose program was ended for the size of a file: SIGXFSZ is 25. */
const fileSizeStatus = 128 + 25;

/** The error of an agent that the kernel ended for the size of a file; null for every other exit. */
export function fileLimitError(
  { maxFileBytes }: Bounds,
  { status, signal }: { readonly status: number | null; readonly signal: NodeJS.Signals | null },
): SymphonyError | null {
  if (maxFileBytes === null || (signal !== "SIGXFSZ" && status !== fileSizeStatus)) return null;
  return limitError(
    `the agent wrote a file of more than ${sizeText(maxFileBytes)} (agent.max_file_size)`,
  );
}

export function limitError(text: string): SymphonyError {
  return new SymphonyError("agent_limit", text, {
    hint: "symphony attempts ISSUE shows what it did; symphony config overlay set the setting that is named, if the work needs more",
  });
}

const watched = new Set<Bounded>();
/** What each had written when its disk became short. */
const writtenBefore = new Map<Bounded, number>();
let timer: NodeJS.Timeout | null = null;

/**
 * Watches a tree until the returned function is called or a limit is exceeded. All trees of this process share one
 * look at the machine: at rest it reads the names in /proc, /proc/meminfo and the free space, and only when one of
 * them allows that a limit is exceeded, every process. Linux only; elsewhere the kernel's limits are all there is.
 */
export function watchBounds(bounded: Bounded): () => void {
  watched.add(bounded);
  timer ??= setTimeout(() => void look(), intervalMs);
  timer.unref();
  return () => {
    watched.delete(bounded);
    writtenBefore.delete(bounded);
  };
}

async function look(): Promise<void> {
  const before = performance.now();
  await judgeAll([...watched]);
  const rest = Math.min(Math.max(intervalMs, (performance.now() - before) * restShare), maxRestMs);
  timer = watched.size === 0 ? null : setTimeout(() => void look(), rest).unref();
}

async function judgeAll(all: readonly Bounded[]): Promise<void> {
  const scarce = await scarceOf(all);
  const suspects = await suspectsOf(all);
  if (suspects.length > 0 || scarce.length > 0) {
    const families = familiesOf(await liveProcesses(), all);
    for (const one of suspects) await judge(one, families.get(one) ?? []);
    for (const disk of scarce) await judgeDisk(disk, families);
  }
}

async function end(bounded: Bounded, limit: Limit, text: string): Promise<void> {
  if (!watched.delete(bounded)) return;
  writtenBefore.delete(bounded);
  const family = await stopped(bounded);
  bounded.exceeded(limit, text);
  for (const pid of family) signalProcess(pid, "SIGKILL");
}

/** Stops its processes until no new one is found: a stopped one starts no other and loses no child. */
async function stopped(bounded: Bounded): Promise<ReadonlySet<number>> {
  const seen = new Set<number>();
  for (let round = 0; round < maxStopRounds; round += 1) {
    const family = familiesOf(await liveProcesses(), [bounded]).get(bounded) ?? [];
    const found = family.filter(({ pid }) => !seen.has(pid));
    if (found.length === 0) break;
    for (const { pid } of found) {
      seen.add(pid);
      signalProcess(pid, "SIGSTOP");
    }
  }
  return seen;
}

/** Those that may exceed a limit, as far as is known of the whole machine. */
async function suspectsOf(all: readonly Bounded[]): Promise<readonly Bounded[]> {
  const names = await readdir("/proc").catch(() => []);
  const processes = names.filter((name) => /^\d+$/.test(name)).length;
  const { MemTotal: total = 0, MemAvailable: available = 0 } = await figuresIn("/proc/meminfo");
  const used = (total - available) * kib;
  return all.filter(
    ({ bounds: { maxProcesses, maxMemoryBytes } }) =>
      (maxProcesses !== null && processes > maxProcesses) ||
      (maxMemoryBytes !== null && used > maxMemoryBytes),
  );
}

async function judge(bounded: Bounded, family: readonly ProcessEntry[]): Promise<void> {
  const { maxProcesses, maxMemoryBytes } = bounded.bounds;
  if (maxProcesses !== null && family.length > maxProcesses) {
    const text = `${family.length} processes at the same time, at most ${maxProcesses} (agent.max_processes)`;
    await end(bounded, "processes", `the agent had ${text}`);
    return;
  }
  if (maxMemoryBytes === null) return;
  // The cheap sum counts shared memory more than once; the exact one reads much.
  if ((await sumOf(family, roughMemory)) <= maxMemoryBytes) return;
  const used = await sumOf(family, exactMemory);
  if (used <= maxMemoryBytes) return;
  const text = `${sizeText(used)} of memory, at most ${sizeText(maxMemoryBytes)} (agent.max_memory)`;
  await end(bounded, "memory", `the agent used ${text}`);
}

interface Disk {
  readonly dir: string;
  readonly freeBytes: number;
  /** The least that its users leave. */
  readonly least: number;
  readonly users: readonly Bounded[];
}

/** The disks of workspaces that have little space left. */
async function scarceOf(all: readonly Bounded[]): Promise<readonly Disk[]> {
  const groups = Map.groupBy(all, ({ workspace }) => dirname(workspace));
  const disks: Disk[] = [];
  for (const [dir, users] of groups) {
    const found = await statfs(dir).catch(() => null);
    const freeBytes = found === null ? Number.POSITIVE_INFINITY : found.bavail * found.bsize;
    const least = Math.max(...users.map(({ bounds }) => bounds.leastFreeBytes));
    if (freeBytes < least * scarceTimes) disks.push({ dir, freeBytes, least, users });
    else for (const one of users) writtenBefore.delete(one);
  }
  return disks;
}

type Families = ReadonlyMap<Bounded, readonly ProcessEntry[]>;

/** Ends the one that wrote most since the disk became short: the others did not fill it. */
async function judgeDisk(
  { dir, freeBytes, least, users }: Disk,
  families: Families,
): Promise<void> {
  let most = { by: null as Bounded | null, bytes: leastWrittenBytes };
  for (const one of users) {
    if (!watched.has(one)) continue;
    const written = await sumOf(families.get(one) ?? [], writtenBy);
    const bytes = written - (writtenBefore.get(one) ?? 0);
    if (bytes > most.bytes) most = { by: one, bytes };
    if (!writtenBefore.has(one) && freeBytes >= least) writtenBefore.set(one, written);
  }
  if (freeBytes >= least || most.by === null) return;
  const text = `${sizeText(freeBytes)} left on the disk of ${dir}, at least ${sizeText(least)}`;
  await end(
    most.by,
    "disk",
    `${text}: the agent was ended because it wrote ${sizeText(most.bytes)}`,
  );
  for (const one of users) {
    if (watched.has(one)) writtenBefore.set(one, await sumOf(families.get(one) ?? [], writtenBy));
  }
}

/** By the cookie and by descent: a process may remove its cookie, but not its parent. */
function familiesOf(entries: readonly ProcessEntry[], all: readonly Bounded[]): Families {
  const parents = new Map(entries.map(({ pid, parentPid }) => [pid, parentPid]));
  const roots = Map.groupBy(all, ({ root }) => root);
  const runs = Map.groupBy(all, ({ runId }) => runId);
  const families = new Map<Bounded, ProcessEntry[]>(all.map((one) => [one, []]));
  for (const entry of entries) {
    const owners = new Set<Bounded>();
    const add = (found: readonly Bounded[] = []) => {
      for (const one of found) owners.add(one);
    };
    let at: number | undefined = entry.pid;
    for (let steps = 0; at !== undefined && at > 1 && steps < maxDepth; steps += 1) {
      add(roots.get(at));
      at = parents.get(at);
    }
    for (let name = entry.runId ?? ""; name !== ""; name = name.slice(0, name.lastIndexOf("/"))) {
      add(runs.get(name));
      if (!name.includes("/")) break;
    }
    for (const one of owners) families.get(one)?.push(entry);
  }
  return families;
}

type Measure = (pid: number) => Promise<number>;

async function sumOf(family: readonly ProcessEntry[], measure: Measure): Promise<number> {
  let sum = 0;
  for (const { pid } of family) sum += await measure(pid);
  return sum;
}

const roughMemory: Measure = async (pid) => {
  const { RssAnon = 0, RssShmem = 0, VmSwap = 0 } = await figuresIn(`/proc/${pid}/status`);
  return (RssAnon + RssShmem + VmSwap) * kib;
};

/** What is shared with other processes counts in part. */
const exactMemory: Measure = async (pid) => {
  const { Pss = 0, SwapPss = 0 } = await figuresIn(`/proc/${pid}/smaps_rollup`);
  return (Pss + SwapPss) * kib;
};

/** By it and by those that it waited for; memory file systems count only in the first figure. */
const writtenBy: Measure = async (pid) => {
  const { wchar = 0, write_bytes: toDisk = 0 } = await figuresIn(`/proc/${pid}/io`);
  return Math.max(wchar, toDisk);
};

/** The lines `Name: 12 kB` of a file; empty when it cannot be read. */
async function figuresIn(file: string): Promise<Readonly<Record<string, number>>> {
  const text = await readFile(file, "latin1").catch(() => "");
  return Object.fromEntries(
    [...text.matchAll(/^(\w+):\s+(\d+)/gm)].map(([, name = "", count]) => [name, Number(count)]),
  );
}
