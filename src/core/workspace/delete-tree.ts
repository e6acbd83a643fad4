import { chmod, readdir, rm } from "node:fs/promises";
import { join } from "node:path";

/** Deletes a directory with all in it. Links are removed, never followed. */
export async function deleteTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch {
    // Some build tools write-protect the directories of their caches.
    await unprotect(path);
    await rm(path, { recursive: true, force: true });
  }
}

async function unprotect(dir: string): Promise<void> {
  await chmod(dir, 0o700);
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    if (entry.isDirectory()) await unprotect(join(dir, entry.name));
  }
}
