import { rename } from "node:fs/promises";
import { basename, join } from "node:path";
import { backupOf } from "../store/durable-file.ts";
import { storageUnavailable } from "../store/storage-errors.ts";
import { keyFileIn } from "./master-key.ts";

/**
 * Moves the secrets and their key file aside, for a key that is lost; a key that is found again opens them there. Returns
 * the new names, none when there was nothing. The caller holds the directory's lock.
 */
export async function resetSecrets(dir: string, wall: number): Promise<readonly string[]> {
  const file = join(dir, "secrets.json");
  const suffix = `reset-${new Date(wall).toISOString().replaceAll(/[:.]/g, "")}`;
  const moved: string[] = [];
  // The copy first: left alone, it would say that the secrets are missing.
  for (const path of [backupOf(file), file, keyFileIn(dir)]) {
    const aside = `${path}.${suffix}`;
    if (await moveAside(path, aside)) moved.push(basename(aside));
  }
  return moved;
}

async function moveAside(path: string, aside: string): Promise<boolean> {
  try {
    await rename(path, aside);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return false;
    throw storageUnavailable(path, error);
  }
}
