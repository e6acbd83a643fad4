import { constants } from "node:fs";
import { copyFile, lstat, mkdir, readdir } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { type CommandEnd, runCommand } from "../process/run.ts";
import { readSmall } from "../repository/checkout.ts";
import { openProtectedGit } from "../repository/git.ts";
import { agentsContent, LfsStore } from "../repository/lfs-store.ts";
import { newContents } from "../repository/lfs-work.ts";
import { digestOf, fileDigest, TooLarge } from "./tree-digest.ts";

// A copy of a whole directory as a tar archive, for what a git bundle cannot hold.

export const archiveName = "work.tar";

const limitMs = 1_800_000;
const saidBytes = 2_048;

interface ArchiveOptions {
  /** The directory that gets the archive. */
  readonly into: string;
  readonly maxBytes: number;
  /** The mirror that the repository borrows from; null: it is complete in itself. */
  readonly mirror: string | null;
  /** Repositories below it, and the mirrors that they borrow from. */
  readonly submodules?: readonly { readonly path: string; readonly mirror: string }[];
  /** Contents of git LFS that only the mirror has are added. */
  readonly lfs?: boolean;
  readonly signal?: AbortSignal;
}

const alternates = "objects/info/alternates";
const maxAlternatesBytes = 16_384;
const lists = { timeoutMs: limitMs, maxBytes: 256 * 1024 * 1024 };

/**
 * Writes everything in `path` to the archive, with the objects that its repository borrows; links are
 * not followed. Resolves with a check of the restored directory. Rejects when it is larger than
 * `maxBytes`, has an entry that no archive can hold (a socket, a device), or depends on the objects of
 * another repository than the mirror.
 */
export async function writeArchive(
  path: string,
  options: ArchiveOptions,
): Promise<(restored: string) => Promise<boolean>> {
  const { into, maxBytes, mirror, signal } = options;
  const own = join(into, "borrowed");
  const less: string[] = [];
  const packed: string[] = [];
  const mirrors = [mirror, ...(options.submodules ?? []).map((one) => one.mirror)];
  for (const place of await borrowersIn(path, mirrors)) {
    packed.push(...(await packInto(own, place, options)));
    less.push(join(place.path, alternates));
  }
  const contents = await contentsInto(own, path, options);
  const added = [...packed, ...contents];
  const dirs = contents.flatMap((name) => [dirname(name), dirname(dirname(name))]);
  const lfsDirs = contents.length === 0 ? [] : [...dirs, ".git/lfs", ".git/lfs/objects"];
  const without = [...less, ...added, ...lfsDirs];
  const stop = signal && { signal };
  const { sha256, bytes } = await digestOf(path, { maxBytes, without, ...stop });
  let size = bytes;
  for (const name of added) size += (await lstat(join(own, name))).size;
  if (size > maxBytes) throw new TooLarge(`it is larger than ${maxBytes} bytes`);
  // The archive's name is relative: tar takes a name with a colon for one of another machine.
  const args = ["--sparse", "--create", "--file", archiveName];
  const exclude = less.map((name) => `--exclude=./${name}`);
  const more = added.length === 0 ? [] : ["--directory", own, ...added];
  await tar([...args, ...exclude, "--directory", path, ".", ...more], into, signal);
  return async (restored) => {
    for (const name of added) {
      const both = [join(own, name), join(restored, name)].map((file) => fileDigest(file));
      if ((await both[0]) !== (await both[1])) return false;
    }
    return (await digestOf(restored, { without, ...stop })).sha256 === sha256;
  };
}

/** The directory of a repository, below the top, and the mirror that has its objects. */
interface Place {
  readonly path: string;
  readonly mirror: string;
}

/**
 * The repositories in the workspace whose objects are in one of the mirrors, wherever they have been moved; rejects
 * when some are in another place outside of the workspace.
 */
async function borrowersIn(
  top: string,
  mirrors: readonly (string | null)[],
): Promise<readonly Place[]> {
  const places: Place[] = [];
  for (const one of await readdir(top, { recursive: true, withFileTypes: true })) {
    if (one.name !== "alternates" || !one.parentPath.endsWith("/objects/info")) continue;
    const file = join(one.parentPath, one.name);
    if ((await lstat(file)).size === 0) continue;
    const text = (await readSmall(file, maxAlternatesBytes)) ?? "";
    const mirror = mirrors.find((at) => at !== null && text === `${join(at, "objects")}\n`) ?? null;
    const path = relative(top, dirname(dirname(one.parentPath)));
    const isInside = text.split("\n").every((line) => line === "" || line.startsWith(`${top}/`));
    if (mirror !== null && !path.includes("\ufffd")) places.push({ path, mirror });
    else if (path === ".git" || !isInside)
      throw new Error(`the repository in ${dirname(path)} borrows objects from another one`);
  }
  return places;
}

/**
 * All objects of the mirror as a pack below `own`; resolves with the names of its files. Rejects at
 * once when the packs of the mirror are larger than `maxBytes`.
 */
async function packInto(
  own: string,
  { path, mirror }: Place,
  { maxBytes, signal }: ArchiveOptions,
): Promise<readonly string[]> {
  const packs = join(path, "objects/pack");
  let bytes = 0;
  const there = join(mirror, "objects", "pack");
  for (const name of await readdir(there)) {
    if (name.endsWith(".pack")) bytes += (await lstat(join(there, name))).size;
  }
  if (bytes > maxBytes) throw new TooLarge(`it is larger than ${maxBytes} bytes`);
  await mkdir(join(own, packs), { recursive: true, mode: 0o700 });
  const text = (await readSmall(join(mirror, "config"), maxAlternatesBytes)) ?? "";
  const format = /objectformat\s*=\s*sha256/i.test(text) ? "sha256" : "sha1";
  await using git = await openProtectedGit(mirror, {
    ...{ head: null, worktree: null, format },
    ...(signal && { signal }),
  });
  const check = ["cat-file", "--batch-all-objects", "--unordered", "--batch-check=%(objectname)"];
  const input = await git.run(check, lists);
  await git.run(["pack-objects", "--quiet", join(own, packs, "pack")], { ...lists, input });
  return (await readdir(join(own, packs))).toSorted().map((name) => `${packs}/${name}`);
}

/** The contents that new commits name and the workspace itself lacks, below `own`; resolves with the names of their files. */
async function contentsInto(
  own: string,
  path: string,
  { mirror, lfs, signal }: ArchiveOptions,
): Promise<readonly string[]> {
  if (mirror === null || lfs !== true) return [];
  const store = new LfsStore(mirror, join(path, ".git"));
  const order = { path, commit: null, mirror, store, ...(signal && { signal }) };
  const { there } = await newContents(order);
  const added: string[] = [];
  for (const pointer of there) {
    const name = agentsContent(".git", pointer);
    const isThere = (await lstat(join(path, name)).catch(() => null)) !== null;
    if (isThere || added.includes(name)) continue;
    await mkdir(dirname(join(own, name)), { recursive: true });
    const file = await store.find(pointer, signal);
    if (file === null) continue;
    await copyFile(file, join(own, name), constants.COPYFILE_FICLONE);
    added.push(name);
  }
  return added;
}

/** Unpacks the archive in `from` into the new directory `to`. */
export async function restoreArchive(
  from: string,
  to: string,
  signal?: AbortSignal,
): Promise<void> {
  await mkdir(to, { mode: 0o700 });
  const args = ["--extract", "--preserve-permissions", "--file", archiveName, "--directory", to];
  await tar(args, from, signal);
}

async function tar(args: readonly string[], cwd: string, signal?: AbortSignal): Promise<void> {
  const end = await runCommand({
    argv: ["tar", ...args],
    name: "tar",
    cwd,
    // Without TAR_OPTIONS and the like.
    env: { PATH: process.env["PATH"], LC_ALL: "C" },
    timeoutMs: limitMs,
    outputBytes: saidBytes,
    errorBytes: saidBytes,
    ...(signal && { signal }),
  });
  if (end.exitCode !== 0) throw new Error(reasonOf(end));
}

function reasonOf({ failure, stoppedFor, errors }: CommandEnd): string {
  if (failure !== null) return "tar could not be started: install tar";
  if (stoppedFor !== null) return "tar was interrupted or took too long";
  return errors.trim().split("\n").at(-1) || "tar failed";
}
