// What one agent, with everything that it starts, may use of the machine; who exceeds it is ended.
import { readdir, readFile, stat, statfs } from "node:fs/promises";
import { totalmem } from "node:os";
import { dirname } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import type { AgentConfig } from "../config/agents.ts";
import { SymphonyError } from "../model/errors.ts";
import { sizeText } from "../text/text.ts";
import { type ControlGroup, tasksPerProcess } from "./cgroup.ts";
import { type Families, familiesOf, type Owner } from "./families.ts";
import { hasProc, liveProcesses, type ProcessEntry, signalProcess } from "./table.ts";

/** The limits of one agent, or of one command; null: no limit. */
export interface Bounds {
  readonly maxProcesses: number | null;
  readonly maxMemoryBytes: number | null;
  readonly maxFileBytes: number | null;
  /** What must stay free on the disk of the workspace for everything else. */
  readonly leastFreeBytes: number;
}

/** The limits of the configuration for one attempt; without a word of it half of the memory. */
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
export interface Bounded extends Owner {
  /** Its workspace, whose disk counts. */
  readonly workspace: string;
  readonly bounds: Bounds;
  /** The control group that holds it, if there is one. */
  readonly group?: ControlGroup | null;
  /** Called once; `text` is a sentence that names the limit and its setting. */
  exceeded(limit: Limit, text: string): void;
}

export const leastFreeBytes = 256 * 1024 ** 2;
/** From so many times as much free space on it is recorded who writes. */
const scarceTimes = 16;
/** After so long it is recorded again, while enough is free. */
const recordMs = 5_000;
/** Who wrote less since it was recorded did not fill the disk. */
const leastWrittenBytes = 16 * 1024 ** 2;
const intervalMs = 250;
/** After so many control groups the other work of this process has its turn. */
const groupsAtOnce = 16;
/** The part of the time that looking may take, one in this many, unless the machine is flooded. */
const restShare = 10;
const maxRestMs = 2_000;
const blockBytes = 1024;
const kib = 1024;
const maxStopRounds = 20;
/** Who uses less than half of its limits is looked at again after this time, or when the machine grew by the other half. */
const calmMs = 5_000;
/**
 * File systems whose writes the kernel does not count as writes to a disk (`man 2 statfs`): tmpfs, ramfs, FUSE, 9p, ZFS.
 * There all that was written counts.
 */
const uncounted: ReadonlySet<number> = new Set([
  0x01021994, 0x858458f6, 0x65735546, 0x01021997, 0x2fc12fc1,
]);

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

/** The error of an agent that lost a process because its control group was full; null for every other exit. */
export function memoryLimitError(
  { maxMemoryBytes }: Bounds,
  group: ControlGroup | null,
): SymphonyError | null {
  if (maxMemoryBytes === null || group?.ranOutOfMemory() !== true) return null;
  return limitError(
    `the agent used more than ${sizeText(maxMemoryBytes)} of memory (agent.max_memory)`,
  );
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

interface Watch {
  /** The device of its workspace; null until it was found. */
  device: number | null;
  /** What it had written when that was last recorded, and when; null: unknown, because much was free since. */
  written: { readonly bytes: number; readonly at: number } | null;
  /** The machine when it used less than half of its limits. */
  calm: Machine | null;
}

/** What all programs use together. */
export interface Machine {
  /** Of `performance.now()`. */
  readonly at: number;
  readonly processes: number;
  readonly usedBytes: number;
}

const watched = new Map<Bounded, Watch>();
/** As the last reading of all processes showed them. */
let kernelThreads: ReadonlySet<number> = new Set();
let timer: NodeJS.Timeout | null = null;

/**
 * Watches a tree until the returned function is called or a limit is exceeded. All trees of this process share one
 * look at the machine: at rest it reads the names in /proc, /proc/meminfo and the free space, and only when one of
 * them allows that a limit is exceeded, every process. On macOS each look is a list of `ps`: processes and resident memory
 * are bounded by it, the disk is not.
 */
export function watchBounds(bounded: Bounded): () => void {
  // It starts now, so it has written nothing.
  const written = { bytes: 0, at: performance.now() };
  watched.set(bounded, { device: null, written, calm: null });
  timer ??= setTimeout(() => void look(), intervalMs);
  timer.unref();
  return () => watched.delete(bounded);
}

async function look(): Promise<void> {
  const before = performance.now();
  for (const [at, one] of [...watched.keys()].entries()) {
    if (at % groupsAtOnce === 0) await turn();
    const error = memoryLimitError(one.bounds, one.group ?? null);
    if (error !== null) await end(one, "memory", error.message);
  }
  await judgeAll([...watched.keys()]);
  const rest = Math.min(Math.max(intervalMs, (performance.now() - before) * restShare), maxRestMs);
  timer = watched.size === 0 ? null : setTimeout(() => void look(), rest).unref();
}

async function judgeAll(all: readonly Bounded[]): Promise<void> {
  const machine = await machineNow();
  const suspects = all.filter((one) =>
    mayExceed(one.bounds, machine, watched.get(one)?.calm ?? null),
  );
  const disks = await disksToLookAt(all);
  if (suspects.length === 0 && disks.length === 0) return;
  const entries = await liveProcesses();
  kernelThreads = new Set(entries.filter(isKernelThread).map(({ pid }) => pid));
  const families = familiesOf(entries, all);
  for (const one of suspects) await judge(one, families.get(one) ?? [], machine);
  for (const disk of disks) await judgeDisk(disk, families);
}

/** In a container 2 may be any process; a group of its own has no kernel thread. */
function isKernelThread({ parentPid, groupId }: ProcessEntry): boolean {
  return parentPid === 2 && groupId === 0;
}

async function end(bounded: Bounded, limit: Limit, text: string): Promise<void> {
  if (!watched.delete(bounded)) return;
  const family = await stopped(bounded);
  bounded.exceeded(limit, text);
  for (const pid of family) signalProcess(pid, "SIGKILL");
}

/** Stops its processes until no new one is found: a stopped one starts no other and loses no child. */
async function stopped(bounded: Bounded): Promise<ReadonlySet<number>> {
  const seen = new Set<number>();
  for (let round = 0; round < maxStopRounds; round += 1) {
    const family = familiesOf(await liveProcesses(), [bounded, ...watched.keys()]).get(bounded);
    const found = (family ?? []).filter(({ pid }) => !seen.has(pid));
    if (found.length === 0) break;
    for (const { pid } of found) {
      seen.add(pid);
      signalProcess(pid, "SIGSTOP");
    }
  }
  return seen;
}

async function machineNow(): Promise<Machine> {
  const at = performance.now();
  const unknown = Number.POSITIVE_INFINITY;
  if (!hasProc) return { at, processes: unknown, usedBytes: unknown };
  const isCounted = (name: string) => /^\d+$/.test(name) && !kernelThreads.has(Number(name));
  const processes = (await readdir("/proc").catch(() => [])).filter(isCounted).length;
  return { at, processes, usedBytes: usedBytes(await figuresIn("/proc/meminfo")) };
}

type Figures = Readonly<Record<string, number>>;

/** The memory in use as /proc/meminfo tells it, in bytes, with what was moved to the swap space. */
export function usedBytes({
  MemTotal: total = 0,
  MemAvailable: available = 0,
  SwapTotal: swap = 0,
  SwapFree: swapFree = 0,
}: Figures): number {
  return (total - available + swap - swapFree) * kib;
}

/**
 * Whether one may exceed its limits as far as is known of the whole machine, and of the time `calm` when it used less
 * than half of them.
 */
export function mayExceed(bounds: Bounds, now: Machine, calm: Machine | null): boolean {
  const { maxProcesses, maxMemoryBytes } = bounds;
  const grown = (share: number, { processes, usedBytes }: Omit<Machine, "at">) =>
    (maxProcesses !== null && processes > maxProcesses * share) ||
    (maxMemoryBytes !== null && usedBytes > maxMemoryBytes * share);
  if (!grown(1, now)) return false;
  if (calm === null || now.at - calm.at > calmMs) return true;
  const processes = now.processes - calm.processes;
  return grown(1 / 2, { processes, usedBytes: now.usedBytes - calm.usedBytes });
}

async function judge(
  bounded: Bounded,
  family: readonly ProcessEntry[],
  machine: Machine,
): Promise<void> {
  const { maxProcesses, maxMemoryBytes } = bounded.bounds;
  if (maxProcesses !== null && family.length > maxProcesses) {
    const text = `${family.length} processes at the same time, at most ${maxProcesses} (agent.max_processes)`;
    await end(bounded, "processes", `the agent had ${text}`);
    return;
  }
  // The cheap sum counts shared memory more than once; the exact one reads much.
  const rough = maxMemoryBytes === null ? 0 : await sumOf(family, roughMemory);
  const watch = watched.get(bounded);
  if (watch !== undefined) {
    const isCalm = 2 * family.length < (maxProcesses ?? Number.POSITIVE_INFINITY);
    watch.calm = hasProc && isCalm && 2 * rough <= (maxMemoryBytes ?? 0) ? machine : null;
  }
  if (maxMemoryBytes === null || rough <= maxMemoryBytes) return;
  const used = await sumOf(family, exactMemory);
  if (used <= maxMemoryBytes) return;
  const text = `${sizeText(used)} of memory, at most ${sizeText(maxMemoryBytes)} (agent.max_memory)`;
  await end(bounded, "memory", `the agent used ${text}`);
}

interface Disk {
  readonly freeBytes: number;
  /** The least that its users leave. */
  readonly least: number;
  readonly users: readonly Bounded[];
  readonly written: Measure;
}

/** The disks of workspaces that have little space left, and on which it has to be recorded who writes. */
async function disksToLookAt(all: readonly Bounded[]): Promise<readonly Disk[]> {
  for (const one of all) {
    const watch = watched.get(one);
    if (watch === undefined) continue;
    watch.device ??= (await stat(one.workspace).catch(() => null))?.dev ?? null;
  }
  const groups = Map.groupBy(all, (one) => watched.get(one)?.device ?? null);
  groups.delete(null);
  const now = performance.now();
  const disks: Disk[] = [];
  for (const users of groups.values()) {
    const found = await fileSystemOf(users);
    if (found === null) continue;
    const freeBytes = found.bavail * found.bsize;
    const least = Math.max(...users.map(({ bounds }) => bounds.leastFreeBytes));
    const watches = users.flatMap((one) => watched.get(one) ?? []);
    if (freeBytes >= least * scarceTimes) {
      for (const watch of watches) watch.written = null;
    } else if (freeBytes < least || watches.some(({ written }) => isOld(written, now))) {
      const written = uncounted.has(found.type) ? writtenAnywhere : writtenToDisk;
      disks.push({ freeBytes, least, users, written });
    }
  }
  return disks;
}

async function fileSystemOf(users: readonly Bounded[]) {
  for (const { workspace } of users) {
    const found = await statfs(workspace).catch(() => null);
    if (found !== null) return found;
  }
  return null;
}

function isOld(written: Watch["written"], now: number): boolean {
  return written === null || now - written.at > recordMs;
}

/**
 * Below the least, ends the one that wrote most since that was recorded: the others did not fill the disk. Without a
 * record nothing is known of one, so it counts from now on.
 */
async function judgeDisk(
  { freeBytes, least, users, written }: Disk,
  families: Families<Bounded>,
): Promise<void> {
  const at = performance.now();
  let most = { by: null as Bounded | null, bytes: leastWrittenBytes };
  const totals = new Map<Bounded, number>();
  const record = (one: Bounded) => {
    const watch = watched.get(one);
    if (watch !== undefined) watch.written = { bytes: totals.get(one) ?? 0, at };
  };
  for (const one of users) {
    const watch = watched.get(one);
    if (watch === undefined) continue;
    const total = await sumOf(families.get(one) ?? [], written);
    totals.set(one, total);
    const bytes = total - (watch.written?.bytes ?? total);
    if (bytes > most.bytes) most = { by: one, bytes };
    if (watch.written === null || (freeBytes >= least && isOld(watch.written, at))) record(one);
  }
  if (freeBytes >= least || most.by === null) return;
  const place = dirname(most.by.workspace);
  const left = `${sizeText(freeBytes)} left on the disk of ${place}, at least ${sizeText(least)}`;
  const cause = `the agent was ended because it wrote ${sizeText(most.bytes)}`;
  await end(most.by, "disk", `${left}: ${cause}`);
  for (const one of users) record(one);
}

type Measure = (entry: ProcessEntry) => Promise<number>;

async function sumOf(family: readonly ProcessEntry[], measure: Measure): Promise<number> {
  let sum = 0;
  for (const entry of family) sum += await measure(entry);
  return sum;
}

const roughMemory: Measure = async ({ pid, residentBytes }) => {
  if (residentBytes !== undefined) return residentBytes;
  const { RssAnon = 0, RssShmem = 0, VmSwap = 0 } = await figuresIn(`/proc/${pid}/status`);
  return (RssAnon + RssShmem + VmSwap) * kib;
};

const exactMemory: Measure = async (entry) => {
  const exact = privateBytes(await figuresIn(`/proc/${entry.pid}/smaps_rollup`));
  return exact ?? roughMemory(entry);
};

/**
 * What is shared with other processes counts in part, and pages of files, which the kernel drops when it needs memory,
 * not at all (`man 5 proc`, smaps_rollup); null when that cannot be read.
 */
export function privateBytes({
  Pss_Anon: anonymous,
  Pss_Shmem: shared = 0,
  SwapPss: swapped = 0,
}: Figures): number | null {
  return anonymous === undefined ? null : (anonymous + shared + swapped) * kib;
}

/** By it and by those that it waited for; neither to pipes and sockets, nor to memory. */
const writtenToDisk: Measure = async ({ pid }) =>
  (await figuresIn(`/proc/${pid}/io`))["write_bytes"] ?? 0;

const writtenAnywhere: Measure = async ({ pid }) =>
  (await figuresIn(`/proc/${pid}/io`))["wchar"] ?? 0;

/** The lines `Name: 12 kB` of a file; empty when it cannot be read. */
async function figuresIn(file: string): Promise<Figures> {
  const text = await readFile(file, "latin1").catch(() => "");
  return Object.fromEntries(
    [...text.matchAll(/^(\w+):\s+(\d+)/gm)].map(([, name = "", count]) => [name, Number(count)]),
  );
}
