import { createHash } from "node:crypto";
import { lstat, opendir } from "node:fs/promises";
import { join } from "node:path";
import { gitHead } from "./git.ts";

/** What an agent can make without end is not looked at without end. */
const maxEntries = 20_000;
/** Files looked at in one go: the thread pool is for others too. */
const atOnce = 16;
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
  let left = maxEntries;
  for (let dir = dirs.shift(); dir !== undefined && left > 0; dir = dirs.shift()) {
    for await (const batch of entriesOf(dir)) {
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

async function* entriesOf(dir: string) {
  try {
    let names: string[] = [];
    for await (const { name } of await opendir(dir)) {
      if (leftOut.has(name)) continue;
      names.push(name);
      if (names.length < atOnce) continue;
      yield await looked(dir, names);
      names = [];
    }
    yield await looked(dir, names);
  } catch {
    // It went away, or it cannot be read: then it is no sign of work.
  }
}

async function looked(dir: string, names: readonly string[]) {
  const all = await Promise.all(
    names.map(async (name) => {
      const file = join(dir, name);
      return { file, found: await lstat(file).catch(() => null) };
    }),
  );
  return all.flatMap(({ file, found }) => (found ? [{ file, found }] : []));
}
