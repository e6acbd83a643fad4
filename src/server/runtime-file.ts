import { randomUUID } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { join } from "node:path";

/** What `runtime.json` tells the command line of the running server. */
interface RuntimeFacts {
  readonly url: string;
  readonly pid: number;
  readonly token: string | null;
  readonly started_at: string;
  readonly version: string;
  readonly workflow_path: string;
}

/**
 * Writes `runtime.json` (0600) into `dataDir` in one step. Returns how to remove it: only while it is still ours. A process
 * that leaves in a hurry takes it along.
 */
export async function writeRuntimeFile(dataDir: string, facts: RuntimeFacts): Promise<() => void> {
  const path = join(dataDir, "runtime.json");
  const text = `${JSON.stringify(facts, null, 2)}\n`;
  const draft = `${path}.${randomUUID()}.tmp`;
  try {
    await writeDurably(draft, text);
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
  const remove = () => {
    process.off("exit", remove);
    try {
      if (readFileSync(path, "utf8") === text) rmSync(path, { force: true });
    } catch {
      // It is gone, or cannot be read: then it is not known to be ours.
    }
  };
  process.on("exit", remove);
  return remove;
}

async function writeDurably(path: string, text: string): Promise<void> {
  await using file = await open(path, "wx", 0o600);
  await file.writeFile(text);
  await file.sync();
}
