import { randomUUID } from "node:crypto";
import { copyFile, link, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { storageUnavailable } from "./storage-errors.ts";

const linkRefusals = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "EXDEV", "EMLINK"]);

/** Where the previous copy of a durable file is kept. */
export function backupOf(file: string): string {
  return `${file}.bak`;
}

/**
 * Replaces `file` (mode 0600) as a whole: after a crash it holds the old text or the new one. On disk when it
 * resolves. The text before is kept beside it (`backupOf`). Rejects with `storage_unavailable`.
 */
export async function writeDurably(file: string, text: string): Promise<void> {
  const temporary = beside(file);
  try {
    await writeSynced(temporary, text);
    await keepPrevious(file);
    await rename(temporary, file);
    await syncDirectory(dirname(file));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw storageUnavailable(file, error);
  }
}

/** Makes `file`, which must not be there, with mode 0600; on disk when it resolves, its name not yet. */
export async function writeSynced(file: string, text: string): Promise<void> {
  const handle = await open(file, "wx", 0o600);
  try {
    await handle.writeFile(text, "utf8");
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function keepPrevious(file: string): Promise<void> {
  const temporary = beside(file);
  try {
    await link(file, temporary);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : null;
    if (code === "ENOENT") return;
    if (!linkRefusals.has(String(code))) throw error;
    await copyFile(file, temporary);
  }
  await rename(temporary, backupOf(file));
  // rename(2) leaves both names when they already are one file, as after a crash between two renames.
  await rm(temporary, { force: true });
}

/** Makes names that were made, changed or removed in `dir` durable. */
export async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function beside(file: string): string {
  return join(dirname(file), `.${basename(file)}.${randomUUID()}.tmp`);
}
