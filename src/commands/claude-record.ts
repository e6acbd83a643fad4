import { constants } from "node:fs";
import { copyFile, lstat, mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";

/** The record of a session of Claude Code, in the directory of the person. */
export interface BorrowedRecord {
  /** Puts the record, with the person's turns, back to where the agent's program reads it. */
  giveBack(): Promise<void>;
}

/**
 * Copies the record of a session from the agent's directory into the person's own; null: there is none. A longer one that
 * is already there, from a terminal that was lost, stays.
 */
export async function borrowSession(
  { id, home }: { readonly id: string; readonly home: string },
  mine: string,
): Promise<BorrowedRecord | null> {
  const found = await recordIn(join(home, "projects"), id);
  if (found === null) return null;
  const dir = join(mine, "projects", found.directory);
  const copy = join(dir, `${id}.jsonl`);
  await mkdir(dir, { recursive: true, mode: 0o700 });
  if (((await sizeOf(copy)) ?? -1) < found.bytes) await replace(found.file, copy);
  return {
    async giveBack() {
      if ((await sizeOf(copy)) === null) return;
      await replace(copy, found.file);
      await rm(copy);
    },
  };
}

/** Only a regular file in a directory: a link is the agent's, and may lead anywhere. */
async function recordIn(projects: string, id: string) {
  // It becomes part of a path.
  if (!/^[0-9a-f-]{36}$/i.test(id)) return null;
  const entries = await readdir(projects, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    const file = join(projects, entry.name, `${id}.jsonl`);
    const bytes = entry.isDirectory() ? await sizeOf(file) : null;
    if (bytes !== null) return { file, bytes, directory: entry.name };
  }
  return null;
}

async function sizeOf(file: string): Promise<number | null> {
  const stats = await lstat(file).catch(() => null);
  return stats?.isFile() ? stats.size : null;
}

/** Replaces a file as a whole; a link in its place is replaced and not followed. */
async function replace(from: string, to: string): Promise<void> {
  const draft = `${to}.${process.pid}`;
  await copyFile(from, draft, constants.COPYFILE_EXCL);
  await rename(draft, to);
}
