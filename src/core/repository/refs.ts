import { constants } from "node:fs";
import { lstat, open, readdir, realpath } from "node:fs/promises";
import { join, resolve, sep } from "node:path";
import { commitId } from "../config/git.ts";
import { messageOf, systemCodeOf } from "../model/errors.ts";
import { fileAt, plainName } from "../text/text.ts";

/** Where the parts of a checkout's repository are. */
export interface Repository {
  /** HEAD, the index and operations in progress. */
  readonly gitDir: string;
  /** Refs and objects: `gitDir`, or the repository that a linked worktree belongs to. */
  readonly store: string;
  /** True when the store remains after the checkout is removed. */
  readonly linked: boolean;
}

/** Everything that names a commit in a repository. */
export interface Refs {
  /** By full name, such as `refs/heads/main`; bytes as latin1. */
  readonly all: ReadonlyMap<string, string>;
  /** Commit of HEAD; null before the first one. */
  readonly head: string | null;
  /** HEADs of other worktrees, by the worktree's name. */
  readonly worktrees: ReadonlyMap<string, string>;
  readonly stashes: number;
}

const maxSmallBytes = 4_096;
const maxPackedBytes = 32 * 1024 * 1024;
const maxRefs = 100_000;
const maxRefDepth = 32;
const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;

/**
 * The repository that `path` is a checkout of; null when there is none. Throws when `.git` is not
 * what a checkout has: then it is not known where its commits are.
 */
export async function repositoryAt(path: string): Promise<Repository | null> {
  const dotGit = join(path, ".git");
  const found = await lstat(dotGit).catch(unlessMissing);
  if (found === null) return null;
  if (found.isDirectory()) {
    // A repository with its own store shares nothing: a file that says otherwise was put there.
    if ((await textOf(dotGit, "commondir", maxSmallBytes)) !== null) {
      throw new Error(".git says that its commits are in another repository");
    }
    return { gitDir: dotGit, store: dotGit, linked: false };
  }
  const named = /^gitdir: (.+)$/m.exec((await textOf(path, ".git", maxSmallBytes)) ?? "")?.[1];
  if (named === undefined) throw new Error(".git is neither a directory nor names one");
  return worktree(path, resolve(path, plainName(named.trim())));
}

async function worktree(path: string, gitDir: string): Promise<Repository> {
  const real = await realpath(gitDir);
  const place = await realpath(path);
  const isInside = (dir: string) => dir.startsWith(`${place}${sep}`);
  const shared = (await textOf(real, "commondir", maxSmallBytes))?.trim();
  const store = shared ? await realpath(resolve(real, plainName(shared))) : real;
  if (isInside(real) && isInside(store)) return { gitDir: real, store, linked: false };
  // Outside of the workspace only git itself can have written that this is one of its worktrees.
  const back = (await textOf(real, "gitdir", maxSmallBytes))?.trim() ?? "";
  const leadsTo = await realpath(resolve(real, plainName(back))).catch(() => "");
  const isKnown = back !== "" && leadsTo === join(place, ".git");
  if (!isKnown || isInside(real) || isInside(store))
    throw new Error(".git names a repository that does not list this checkout");
  return { gitDir: real, store, linked: true };
}

/** Reads every ref as a file. Throws for one that cannot be read: it may point to work. */
export async function refsOf({ gitDir, store, linked }: Repository): Promise<Refs> {
  if ((await lstat(join(store, "reftable")).catch(unlessMissing)) !== null) {
    throw new Error("its refs are not kept as files");
  }
  const all = new Map<string, string>();
  readPacked((await textOf(store, "packed-refs", maxPackedBytes)) ?? "", all);
  await readLoose(store, "refs", all);
  if (gitDir !== store) await readLoose(gitDir, "refs", all);
  const worktrees = new Map<string, string>();
  if (!linked) {
    for (const name of await namesIn(join(store, "worktrees"))) {
      const dir = join(store, "worktrees", name);
      const id = headIn((await textOf(dir, "HEAD", maxSmallBytes)) ?? "", all);
      if (id !== null) worktrees.set(name, id);
      const own = new Map<string, string>();
      await readLoose(dir, "refs", own);
      for (const [ref, commit] of own) worktrees.set(`${name}/${ref}`, commit);
    }
  }
  const text = await textOf(gitDir, "HEAD", maxSmallBytes);
  if (text === null) throw new Error("it has no HEAD");
  const stashes = linked ? 0 : (await stashIdsIn(store, all)).length;
  return { all, head: headIn(text, all), worktrees, stashes };
}

function readPacked(text: string, into: Map<string, string>): void {
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#") || line.startsWith("^")) continue;
    const [, id = "", name = ""] = /^([0-9a-f]+) (refs\/.+)$/.exec(line) ?? [];
    if (!commitId.test(id)) throw new Error("its packed-refs cannot be read");
    keep(into, name, id);
  }
}

async function readLoose(root: string, top: string, into: Map<string, string>): Promise<void> {
  const dirs = [{ name: top, depth: 0 }];
  for (let dir = dirs.pop(); dir !== undefined; dir = dirs.pop()) {
    if (dir.depth > maxRefDepth) throw new Error("its refs are nested too deeply");
    const entries = await readdir(fileAt(root, dir.name), {
      withFileTypes: true,
      encoding: "latin1",
    }).catch(unlessMissing);
    for (const entry of entries ?? []) {
      const name = `${dir.name}/${entry.name}`;
      if (entry.isDirectory()) dirs.push({ name, depth: dir.depth + 1 });
      // A lock file is left behind by a git that was killed.
      else if (!entry.name.endsWith(".lock")) await readOne(root, name, into);
    }
  }
}

async function readOne(root: string, name: string, into: Map<string, string>): Promise<void> {
  const text = (await textOf(root, name, maxSmallBytes))?.trim() ?? "";
  // A ref that points to another ref names no commit itself.
  if (/^ref: refs\//.test(text)) return;
  // Without a remote-tracking ref more commits count as work, not fewer.
  if (name.startsWith("refs/remotes/") && !commitId.test(text)) return;
  if (!commitId.test(text)) throw new Error(`the ref ${plainName(name)} cannot be read`);
  keep(into, name, text);
}

function keep(into: Map<string, string>, name: string, id: string): void {
  if (into.size >= maxRefs) throw new Error(`it has more than ${maxRefs} refs`);
  into.set(name, id);
}

function headIn(text: string, refs: ReadonlyMap<string, string>): string | null {
  const line = text.trim();
  if (commitId.test(line)) return line;
  const name = /^ref: (refs\/\S+)$/.exec(line)?.[1];
  if (name === undefined) throw new Error("a HEAD cannot be read");
  return refs.get(name) ?? null;
}

/** The stashes, oldest first; each except the newest exists only in the log of its ref. */
export async function stashIdsIn(
  store: string,
  refs: ReadonlyMap<string, string>,
): Promise<readonly string[]> {
  const log = (await textOf(store, "logs/refs/stash", maxPackedBytes)) ?? "";
  const ids = log.split("\n").flatMap((line) => (line === "" ? [] : [line.split(" ")[1] ?? ""]));
  const newest = refs.get("refs/stash");
  return ids.length === 0 && newest !== undefined ? [newest] : ids;
}

async function namesIn(dir: string): Promise<readonly string[]> {
  return (await readdir(dir).catch(unlessMissing)) ?? [];
}

/**
 * Text of a regular file, bytes as latin1; null when it does not exist. Throws for anything else,
 * and for a larger file.
 */
async function textOf(root: string, name: string, maxBytes: number): Promise<string | null> {
  const flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
  const file = await open(fileAt(root, name), flags).catch(unlessMissing);
  if (file === null) return null;
  try {
    const found = await file.stat();
    if (!found.isFile() || found.size > maxBytes) {
      throw new Error(`${plainName(name)} of the repository is not a readable file`);
    }
    return await file.readFile("latin1");
  } finally {
    await file.close();
  }
}

function unlessMissing(error: unknown): null {
  const code = systemCodeOf(error);
  if (code === "ENOENT") return null;
  throw new Error(messageOf(error), { cause: error });
}
