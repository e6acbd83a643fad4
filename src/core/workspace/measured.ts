import { createHash } from "node:crypto";
import type { Stats } from "node:fs";
import { lstat, opendir } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import { gitHead } from "../repository/survey.ts";

/** A figure this old is measured again when somebody asks. */
const staleMs = 60_000;

interface Figure<T> {
  readonly value: T;
  readonly at: number;
}

/** What takes long to find out about a directory; null where there is nothing to say. */
type Measure<T> = (path: string, signal: AbortSignal) => Promise<T | null>;

/** Figures of directories: measured in the background, one directory after another, and remembered. */
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

  /** As last measured; null before, and where there was nothing to say. */
  of(path: string): T | null {
    return this.#figures.get(path)?.value ?? null;
  }

  /** Every figure there is. */
  figures(): readonly T[] {
    return [...this.#figures.values()].flatMap(({ value }) => (value === null ? [] : [value]));
  }

  /** Whether `path` has been measured, with or without a figure. */
  has(path: string): boolean {
    return this.#figures.has(path);
  }

  /** Has `paths` measured where that is due, and forgets every other one. Returns at once. */
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
    const { promise, resolve: enough } = Promise.withResolvers<void>();
    const cancel = this.#clock.after(ms, enough);
    await Promise.race([this.settled(), promise]);
    cancel();
  }

  /** Ends what is under way. */
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

/** Files looked at in one go: the thread pool is for others too. */
const atOnce = 16;
/** What an agent can make without end is not counted without end. */
const maxEntries = 2_000_000;

/** What directories take on disk, as last measured. */
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
 * Bytes that the tree at `path` occupies. A file with several names counts once; links and other file systems are not
 * gone into; what cannot be read counts nothing. null when it is gone or `signal` ended it. Never rejects.
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
    // It went away, or it is nobody's business.
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

/** Blocks are of 512 bytes whatever the file system's own are (stat(2)). */
function occupied({ blocks, size }: Stats): number {
  return Number.isFinite(blocks) ? blocks * 512 : size;
}

/** What an agent can make without end is not looked at without end. */
const maxStats = 20_000;
/** Files looked at in one go: the thread pool is for others too. */
const statsAtOnce = 16;
/** git's own directory changes by being looked at; what a package manager put in place is nobody's work. */
const leftOut: ReadonlySet<string> = new Set([".git", "node_modules"]);

/**
 * A cheap mark of the checkout at `path`: its commit, and the names, sizes and times of its files. Reads no file's
 * contents and runs nothing; links are not followed. Never rejects.
 */
export async function workspaceMark(path: string): Promise<string> {
  const hash = createHash("sha256");
  const head = await gitHead(path);
  hash.update(JSON.stringify([head?.branch ?? null, head?.head ?? null]));
  const dirs = [path];
  let left = maxStats;
  for (let dir = dirs.shift(); dir !== undefined && left > 0; dir = dirs.shift()) {
    for await (const batch of namesOf(dir)) {
      for (const { file, found } of batch) {
        if (left-- <= 0) return hash.digest("hex");
        // A directory's own time moves with its entries, those left out too.
        const facts = found.isDirectory() ? [] : [found.size, found.mtimeMs, found.mode];
        hash.update(JSON.stringify([file, ...facts]));
        if (found.isDirectory()) dirs.push(file);
      }
    }
  }
  return hash.digest("hex");
}

async function* namesOf(dir: string) {
  try {
    let names: string[] = [];
    for await (const { name } of await opendir(dir)) {
      if (leftOut.has(name)) continue;
      names.push(name);
      if (names.length < statsAtOnce) continue;
      yield await statsIn(dir, names);
      names = [];
    }
    yield await statsIn(dir, names);
  } catch {
    // It went away, or it cannot be read: then it is no sign of work.
  }
}

async function statsIn(dir: string, names: readonly string[]) {
  const all = await Promise.all(
    names.map(async (name) => {
      const file = join(dir, name);
      return { file, found: await lstat(file).catch(() => null) };
    }),
  );
  return all.flatMap(({ file, found }) => (found ? [{ file, found }] : []));
}
