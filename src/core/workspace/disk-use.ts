import type { Stats } from "node:fs";
import { lstat, opendir } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import { Measured } from "./measured.ts";

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
