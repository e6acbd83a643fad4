import type { Stats } from "node:fs";
import { lstat, opendir } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../clock.ts";

/** A figure this old is measured again when somebody asks. */
const staleMs = 60_000;
/** Files looked at in one go: the thread pool is for others too. */
const atOnce = 16;
/** What an agent can make without end is not counted without end. */
const maxEntries = 2_000_000;

interface Figure {
  readonly bytes: number;
  readonly at: number;
}

/** What directories take on disk: measured in the background, one directory after another, and remembered. */
export class DiskUse {
  readonly #clock: Clock;
  readonly #leaving = new AbortController();
  readonly #figures = new Map<string, Figure>();
  #waiting: string[] = [];
  #work: Promise<void> | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** As last measured; null before. */
  bytesOf(path: string): number | null {
    return this.#figures.get(path)?.bytes ?? null;
  }

  /** Of all directories, as last measured. */
  get totalBytes(): number {
    return [...this.#figures.values()].reduce((sum, { bytes }) => sum + bytes, 0);
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

  /** Ends what is under way. */
  async close(): Promise<void> {
    this.#leaving.abort();
    this.#waiting = [];
    await this.#work;
  }

  async #run(): Promise<void> {
    for (let path = this.#waiting.shift(); path !== undefined; path = this.#waiting.shift()) {
      const bytes = await measure(path, this.#leaving.signal);
      if (bytes !== null) this.#figures.set(path, { bytes, at: this.#clock.now() });
    }
    this.#work = null;
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
      yield await looked(dir, names);
      names = [];
    }
    yield await looked(dir, names);
  } catch {
    // It went away, or it is nobody's business.
  }
}

function looked(dir: string, names: readonly string[]) {
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
