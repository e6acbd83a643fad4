import type { Stats } from "node:fs";
import { lstat, opendir } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, limited } from "../clock.ts";

/** A figure of this age is measured again on request. */
const staleMs = 60_000;

interface Figure<T> {
  readonly value: T;
  readonly at: number;
}

/** A slow measurement of a directory; null if it has no result. */
type Measure<T> = (path: string, signal: AbortSignal) => Promise<T | null>;

/** Figures of directories: measured in the background, one directory at a time, and remembered. */
export class Measured<T> {
  readonly #clock: Clock;
  readonly #measure: Measure<T>;
  readonly #leaving = new AbortController();
  readonly #figures = new Map<string, Figure<T | null>>();
  #waiting: string[] = [];
  #work: Promise<void> | null = null;

  constructor(clock: Clock, measure: Measure<T>) {
    this.#clock = clock;
    this.#measure = measure;
  }

  /** As last measured; null before that, or without a result. */
  of(path: string): T | null {
    return this.#figures.get(path)?.value ?? null;
  }

  /** All figures. */
  figures(): readonly T[] {
    return [...this.#figures.values()].flatMap(({ value }) => (value === null ? [] : [value]));
  }

  /** Whether `path` has been measured, with or without a result. */
  has(path: string): boolean {
    return this.#figures.has(path);
  }

  /** Measures those of `paths` that are due, and drops every other path. Returns at once. */
  follow(paths: readonly string[]): void {
    const wanted = new Set(paths);
    for (const path of this.#figures.keys()) if (!wanted.has(path)) this.#figures.delete(path);
    const now = this.#clock.now();
    this.#waiting = paths.filter((path) => {
      const known = this.#figures.get(path);
      return known === undefined || now - known.at >= staleMs;
    });
    if (this.#waiting.length > 0) this.#work ??= this.#run();
  }

  /** Resolves when nothing is being measured. */
  async settled(): Promise<void> {
    await this.#work;
  }

  /** As `settled`, but no longer than `ms`. */
  async settledWithin(ms: number): Promise<void> {
    await limited(this.settled(), ms, () => {}, this.#clock);
  }

  /** Cancels the current measurement. */
  async close(): Promise<void> {
    this.#leaving.abort();
    this.#waiting = [];
    await this.#work;
  }

  async #run(): Promise<void> {
    const { signal } = this.#leaving;
    for (let path = this.#waiting.shift(); path !== undefined; path = this.#waiting.shift()) {
      const value = await this.#measure(path, signal);
      if (!signal.aborted) this.#figures.set(path, { value, at: this.#clock.now() });
    }
    this.#work = null;
  }
}

/** Files read at the same time: other work uses the thread pool too. */
const atOnce = 16;
/** A limit, because an agent can create any number of files. */
const maxEntries = 2_000_000;

/** The disk use of directories, as last measured. */
export class DiskUse extends Measured<number> {
  constructor(clock: Clock) {
    super(clock, measure);
  }

  /** Of all directories, as last measured. */
  get totalBytes(): number {
    return this.figures().reduce((sum, bytes) => sum + bytes, 0);
  }
}

/**
 * Bytes that the tree at `path` occupies. A file with several names counts once; links and other
 * file systems are not followed; unreadable entries count as zero. null when it is gone or `signal`
 * aborted. Never rejects.
 */
async function measure(path: string, signal: AbortSignal): Promise<number | null> {
  const top = await lstat(path).catch(() => null);
  if (!top?.isDirectory()) return null;
  const seen = new Set<string>();
  const dirs = [path];
  let bytes = occupied(top);
  let left = maxEntries;
  for (let dir = dirs.pop(); dir !== undefined && left > 0; dir = dirs.pop()) {
    for await (const batch of entriesOf(dir)) {
      if (signal.aborted) return null;
      left -= batch.length;
      for (const { file, found } of batch) {
        if (found === null || isRepeated(found, seen)) continue;
        bytes += occupied(found);
        if (found.isDirectory() && found.dev === top.dev) dirs.push(file);
      }
    }
  }
  return bytes;
}

async function* entriesOf(dir: string) {
  try {
    let names: string[] = [];
    for await (const { name } of await opendir(dir)) {
      names.push(name);
      if (names.length < atOnce) continue;
      yield await sizesIn(dir, names);
      names = [];
    }
    yield await sizesIn(dir, names);
  } catch {
    // It was removed, or it cannot be read.
  }
}

function sizesIn(dir: string, names: readonly string[]) {
  return Promise.all(
    names.map(async (name) => {
      const file = join(dir, name);
      return { file, found: await lstat(file).catch(() => null) };
    }),
  );
}

function isRepeated(found: Stats, seen: Set<string>): boolean {
  if (found.isDirectory() || found.nlink < 2) return false;
  const id = `${found.dev}:${found.ino}`;
  if (seen.has(id)) return true;
  seen.add(id);
  return false;
}

/** Blocks are 512 bytes whatever the file system's own block size (stat(2)). */
function occupied({ blocks, size }: Stats): number {
  return Number.isFinite(blocks) ? blocks * 512 : size;
}
