import { lstat, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileAt } from "../text/text.ts";
import { openProtectedGit, type ProtectedGit } from "./git.ts";
import { pointersAmong, unchangedOf } from "./lfs-files.ts";
import { type Entry, entriesIn, split, wholeCall } from "./lists.ts";
import type { Merging } from "./merging.ts";

// What a merge that a crash cut off may write over.

interface Place {
  readonly path: string;
  readonly gitDir: string;
  /** As in `CommitOrder`. */
  readonly settled: readonly string[];
  /** Whether files have the content of their pointers. */
  readonly lfs: boolean;
  readonly signal: AbortSignal;
}

interface Side {
  readonly entries: ReadonlyMap<string, Entry>;
  /** Files that are not what the side has. */
  readonly differing: ReadonlySet<string>;
}

/**
 * The raw name of a file that holds neither what the branch had, nor what the merge gives, nor the
 * beginning of that, which a crash leaves; null: there is none. Also of what stands where a new file
 * comes to.
 */
export async function writtenSince(merging: Merging, place: Place): Promise<string | null> {
  const { head, tree } = merging;
  const { path, gitDir, signal } = place;
  await using git = await openProtectedGit(gitDir, { head, worktree: path, signal });
  const before = await sideOf(git, head, place);
  const after = await sideOf(git, tree, place);
  const settled = new Set(place.settled);
  const matches = ({ entries, differing }: Side, name: string) =>
    entries.has(name) && !differing.has(name);
  const directories = new Set([...directoriesOf(before.entries), ...directoriesOf(after.entries)]);
  for (const name of new Set([...before.entries.keys(), ...after.entries.keys()])) {
    if (settled.has(name) || matches(before, name) || matches(after, name)) continue;
    const found = await lstat(fileAt(path, name)).catch(() => null);
    if (found === null) {
      const above = before.entries.has(name) ? null : await fileAbove(path, name);
      if (above !== null && !before.entries.has(above)) return above;
      continue;
    }
    if (found.isDirectory() && directories.has(name)) continue;
    const entry = after.entries.get(name);
    const isBegun =
      found.isFile() && entry !== undefined && (await isBeginning(git, path, name, entry));
    if (!isBegun) return name;
  }
  return null;
}

async function sideOf(git: ProtectedGit, tree: string, { path, lfs }: Place): Promise<Side> {
  const index = join(git.dir, "half-index");
  const call = { ...wholeCall, index };
  await rm(index, { force: true });
  await git.run(["read-tree", tree], call);
  const refresh = ["update-index", "-q", "--ignore-submodules", "--really-refresh"];
  await git.run(refresh, { ...call, mayExit: 1 });
  const entries = entriesIn(await git.run(["ls-files", "--stage", "-z"], call));
  const names = ["--name-only", "-z", "--no-renames", "--ignore-submodules=all"];
  const differing = new Set(split(await git.run(["diff-files", ...names], call)));
  if (lfs) {
    const some = [...entries].filter(([name]) => differing.has(name));
    const pointers = await pointersAmong(git, new Map(some));
    for (const name of await unchangedOf(path, pointers)) differing.delete(name);
  }
  return { entries, differing };
}

function* directoriesOf(entries: ReadonlyMap<string, Entry>): Iterable<string> {
  for (const name of entries.keys())
    for (let at = name.indexOf("/"); at !== -1; at = name.indexOf("/", at + 1))
      yield name.slice(0, at);
}

/** A file, or a link, that stands where a directory of the name has to be. */
async function fileAbove(path: string, name: string): Promise<string | null> {
  for (let at = name.indexOf("/"); at !== -1; at = name.indexOf("/", at + 1)) {
    const found = await lstat(fileAt(path, name.slice(0, at))).catch(() => null);
    if (found === null) return null;
    if (!found.isDirectory()) return name.slice(0, at);
  }
  return null;
}

/** Whether the file is the beginning of the blob; line ends may be converted. */
async function isBeginning(
  git: ProtectedGit,
  path: string,
  name: string,
  { mode, id }: Entry,
): Promise<boolean> {
  if (!mode.startsWith("100")) return false;
  const text = await readFile(fileAt(path, name), "latin1").catch(() => null);
  if (text === null) return false;
  const blob = await git.run(["cat-file", "blob", id], wholeCall);
  return blob.replaceAll("\r", "").startsWith(text.replaceAll("\r", ""));
}
