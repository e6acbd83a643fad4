import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { join } from "node:path";
import { storageUnavailable } from "./storage-errors.ts";

/** Makes `dir` (0700, ignored by git) unless it exists. Throws `storage_unavailable`. */
export function makeDataDir(dir: string): void {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    // Only into a new directory: somebody's own folder must not vanish from their version control.
    if (readdirSync(dir).length > 0) return;
    writeFileSync(join(dir, ".gitignore"), "*\n", { mode: 0o600 });
  } catch (error) {
    throw storageUnavailable(dir, error);
  }
}

/** True when nothing more can be written to the disk of `dir`: a server there starts nothing, because it cannot save that it did. */
export async function isFull(dir: string): Promise<boolean> {
  const disk = await statfs(dir).catch(() => null);
  // What is set aside for root is no use to anybody else.
  return (process.getuid?.() === 0 ? disk?.bfree : disk?.bavail) === 0;
}
