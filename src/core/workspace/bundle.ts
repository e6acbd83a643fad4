import { cp, lstat, mkdir, rmdir, unlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { messageOf } from "../model/errors.ts";
import { copyIndex, readSmall, sharedDirOf } from "../repository/checkout.ts";
import { mergeBase, tipsOf } from "../repository/commits.ts";
import { openProtectedGit, type ProtectedGit } from "../repository/git.ts";
import { stashLog } from "../repository/install.ts";
import { listed } from "../repository/lists.ts";
import { type Refs, stashIdsIn } from "../repository/refs.ts";
import { gitHead, survey } from "../repository/survey.ts";
import { fileAt } from "../text/text.ts";
import { readBaseline } from "./baseline.ts";
import type { Findings } from "./examine.ts";
import { digestOf, TooLarge, type TreeDigest } from "./tree-digest.ts";

// The work of a repository as a git bundle that needs no other repository.

export const bundleName = "work.bundle";

/** What the bundle holds, and what a restored repository needs in addition. */
export const BundleFacts = z.object({
  /** The commit of HEAD. */
  head: z.string(),
  /** null: no branch was checked out. */
  branch: z.string().nullable(),
  /** The commit that the work is compared with; null: not known. */
  base: z.string().nullable(),
  /** A commit with the files as they were in the directory; null: they were those of HEAD. */
  files: z.string().nullable(),
  /** A commit with what was staged; null: nothing was. */
  index: z.string().nullable(),
  /** Every ref of the bundle and its commit; bytes as latin1. */
  refs: z.array(z.tuple([z.string(), z.string()])),
  /** Oldest first. */
  stashes: z.array(z.string()),
  /** Without credentials; null: not known. */
  origin: z.string().nullable(),
});
export type BundleFacts = z.output<typeof BundleFacts>;

interface BundleOptions {
  /** The directory that gets the bundle, and symphony's own repository while it is made. */
  readonly into: string;
  readonly maxBytes: number;
  /** Commits that the receiver has: they are left out, and the bundle needs them. */
  readonly known?: readonly string[];
  readonly signal?: AbortSignal;
}

export interface Bundled {
  readonly facts: BundleFacts;
  /** Of the files that a restored directory must have. */
  readonly digest: TreeDigest;
  /** Their names, raw. */
  readonly names: readonly string[];
}

const limits = { timeoutMs: 1_800_000, maxBytes: 256 * 1024 * 1024 };
const raw = { ...limits, encoding: "latin1" } as const;
/** Files are taken and written as they are, whatever the attributes in the tree say. */
const unchanged = "* -text -eol -crlf -ident -filter -working-tree-encoding\n";
const own = "refs/kept/";
const maxShallowBytes = 1024 * 1024;

/**
 * Whether a bundle can hold all of it. It has no place for other repositories, for an operation in
 * progress, for contents of git LFS, and for what cannot be read; of a shallow repository it would lack commits.
 */
export async function fitsBundle(found: Findings): Promise<boolean> {
  const { repository, refs, head, problems, nested, submodules, unfinished } = found;
  if (repository === null || refs === null || head === null || unfinished !== null) return false;
  if (found.lfs) return false;
  if (problems.length + nested.length + submodules.length > 0) return false;
  const shared = await sharedDirOf(repository.gitDir);
  const shallow = await readSmall(join(shared, "shallow"), maxShallowBytes);
  const isThere = (await lstat(join(shared, "shallow")).catch(() => null)) !== null;
  return shallow === null ? !isThere : shallow.trim() === "";
}

/** Writes the work that `found` describes to a bundle; changes nothing in the workspace. */
export async function writeBundle(
  path: string,
  found: Findings,
  { into, maxBytes, known: without = [], signal }: BundleOptions,
): Promise<Bundled> {
  const { repository, refs, head } = found;
  if (repository === null || refs === null || head === null)
    throw new Error("nothing is committed");
  await requireSize(path, [...found.changed, ...found.fresh], maxBytes);
  const stop = signal && { signal };
  await using git = await openProtectedGit(repository.gitDir, {
    ...{ head, worktree: path, parent: into },
    ...stop,
  });
  await useRawFiles(git);
  const refsKept = keptRefs(refs, repository.linked, head);
  const files = await filesCommit(git, found, path);
  const index = found.staged === "" ? null : await indexCommit(git, repository.gitDir);
  if (files !== null) refsKept.set(`${own}files`, files);
  if (index !== null) refsKept.set(`${own}index`, index);
  const stashes = repository.linked ? [] : await stashIdsIn(repository.store, refs.all);
  for (const [at, id] of stashes.entries()) refsKept.set(`${own}stash-${at}`, id);
  await writeRefs(git.dir, refsKept);
  const left = without.length === 0 ? [] : ["--not", ...without];
  const create = ["bundle", "create", "--quiet", join(into, bundleName), "--all", ...left];
  await git.run(create, limits).catch((error: unknown) => {
    // The receiver has all of it.
    if (without.length === 0 || !messageOf(error).includes("empty bundle")) throw error;
  });
  const names = await namesOf(git, files ?? head, new Set(found.settled));
  const known = await survey(path, (await readBaseline(path))?.head ?? null, signal);
  const facts: BundleFacts = {
    head,
    branch: (await gitHead(path))?.branch ?? null,
    base: await baseOf(git, known?.base ?? null, head),
    files,
    index,
    refs: [...refsKept],
    stashes: [...stashes],
    origin: known?.remotes.find(({ name }) => name === "origin")?.url ?? null,
  };
  return { facts, names, digest: await digestOf(path, { names, ...stop }) };
}

/**
 * Restores the bundle in `from` into the new directory `to`: refs, files, and what was staged. The
 * bundle is verified against an empty repository, and every object that it needs is read. Rejects
 * when one is missing.
 */
export async function restoreBundle(
  from: string,
  facts: BundleFacts,
  to: string,
  signal?: AbortSignal,
): Promise<void> {
  const { head, files } = facts;
  await mkdir(to, { mode: 0o700 });
  const place = { head, worktree: to, parent: from, ...(signal && { signal }) };
  await using git = await openProtectedGit(null, place);
  const file = join(from, bundleName);
  await git.run(["bundle", "verify", "--quiet", file], limits);
  const listed = await git.run(["bundle", "unbundle", file], raw);
  for (const [name, id] of facts.refs) {
    if (!listed.includes(`${id} ${name}\n`)) throw new Error(`the bundle lacks ${name}`);
  }
  await writeRefs(git.dir, new Map(facts.refs));
  await writeFile(join(git.dir, "HEAD"), `${head}\n`);
  await git.run(["rev-list", "--objects", "--all", "--quiet"], limits);
  await git.run(["read-tree", "--reset", "-u", "HEAD"], limits);
  if (files !== null) await putFiles(git, files, to);
  await makeRepository(git, facts, join(to, ".git"));
}

async function requireSize(
  path: string,
  names: readonly string[],
  maxBytes: number,
): Promise<void> {
  let bytes = 0;
  for (const name of names) bytes += (await lstat(fileAt(path, name)).catch(() => null))?.size ?? 0;
  if (bytes > maxBytes) throw new TooLarge(`its files are larger than ${maxBytes} bytes`);
}

async function useRawFiles({ dir }: ProtectedGit): Promise<void> {
  await mkdir(join(dir, "info"), { recursive: true });
  await writeFile(join(dir, "info", "attributes"), unchanged);
}

function keptRefs(refs: Refs, linked: boolean, head: string): Map<string, string> {
  const kept = new Map([[`${own}head`, head]]);
  const stash = linked ? undefined : refs.all.get("refs/stash");
  if (stash !== undefined) kept.set("refs/stash", stash);
  let worktrees = 0;
  for (const [name, id] of tipsOf(refs, linked)) {
    if (name === "HEAD") continue;
    const isRef = name.startsWith("refs/");
    if (name.startsWith(own)) throw new Error(`it has a ref named ${name}`);
    // The name of another worktree may not be a valid name of a ref.
    kept.set(isRef ? name : `${own}worktree-${worktrees++}`, id);
  }
  return kept;
}

/** A commit of HEAD's files with all that differs; null if nothing does. */
async function filesCommit(
  git: ProtectedGit,
  found: Findings,
  path: string,
): Promise<string | null> {
  const staged = new Set(found.stagedOnly);
  const names = [...found.changed.filter((name) => !staged.has(name)), ...found.fresh];
  if (names.length === 0) return null;
  await git.run(["read-tree", "HEAD"], limits);
  // Where a link took the place of its directory, a file is gone; git refuses its name.
  const gone: string[] = [];
  const links = new Map<string, boolean>();
  for (const name of names) if (await isBeyondLink(path, name, links)) gone.push(name);
  const remove = ["update-index", "--force-remove", "-z", "--stdin"];
  if (gone.length > 0) await git.run(remove, { ...raw, input: listed(gone) });
  const input = listed(names.filter((name) => !gone.includes(name)));
  const flags = ["--force", "--pathspec-from-file=-", "--pathspec-file-nul"];
  if (input !== "") await git.run(["--literal-pathspecs", "add", ...flags], { ...raw, input });
  return commit(git, (await git.run(["write-tree"], limits)).trim());
}

/** Whether a part of the name's directory is a link. `links`: what is known already. */
async function isBeyondLink(
  top: string,
  name: string,
  links: Map<string, boolean>,
): Promise<boolean> {
  const parts = name.split("/").slice(0, -1);
  for (let count = 1; count <= parts.length; count++) {
    const dir = parts.slice(0, count).join("/");
    const found =
      links.get(dir) ??
      (await lstat(fileAt(top, dir)).then(
        (stats) => stats.isSymbolicLink(),
        () => false,
      ));
    links.set(dir, found);
    if (found) return true;
  }
  return false;
}

/** A commit with what the workspace's index holds; git reads a copy, which an agent may have written. */
async function indexCommit(git: ProtectedGit, gitDir: string): Promise<string | null> {
  const index = join(git.dir, "staged");
  if (!(await copyIndex(gitDir, index))) return null;
  return commit(git, (await git.run(["write-tree"], { ...limits, index })).trim());
}

async function commit(git: ProtectedGit, tree: string): Promise<string> {
  const who = ["-c", "user.name=symphony", "-c", "user.email=symphony@localhost"];
  const message = "Files that were kept when the workspace was removed";
  const args = [...who, "commit-tree", tree, "-p", "HEAD", "-m", message];
  return (await git.run(args, limits)).trim();
}

/** As a file: git would refuse to create a ref for which it has no directory. */
async function writeRefs(dir: string, refs: ReadonlyMap<string, string>): Promise<void> {
  const lines = [...refs].map(([name, id]) => `${id} ${name}\n`).join("");
  await writeFile(join(dir, "packed-refs"), Buffer.from(lines, "latin1"));
}

/** The files of the commit, without submodules and without those in `except`. */
async function namesOf(
  git: ProtectedGit,
  id: string,
  except: ReadonlySet<string>,
): Promise<readonly string[]> {
  const entries = (await git.run(["ls-tree", "-r", "-z", "--full-tree", id], raw)).split("\0");
  return entries.flatMap((entry) => {
    const name = entry.slice(entry.indexOf("\t") + 1);
    return entry === "" || entry.startsWith("160000 ") || except.has(name) ? [] : [name];
  });
}

async function baseOf(git: ProtectedGit, from: string | null, head: string) {
  if (from === null) return null;
  return mergeBase(git, [from, head], limits.timeoutMs).catch(() => null);
}

/** Writes the files of the commit over those of HEAD. */
async function putFiles(git: ProtectedGit, files: string, to: string): Promise<void> {
  const flags = ["-r", "-z", "--no-renames", "--name-status"];
  const parts = (await git.run(["diff-tree", ...flags, "HEAD", files], raw)).split("\0");
  const written: string[] = [];
  for (let at = 0; at + 1 < parts.length; at += 2) {
    const name = parts[at + 1] ?? "";
    if (parts[at] !== "D") written.push(name);
    else await removeFile(to, name);
  }
  await useRawFiles(git);
  const index = join(git.dir, "files");
  await git.run(["read-tree", files], { ...limits, index });
  const input = listed(written);
  if (input === "") return;
  await git.run(["checkout-index", "--force", "-z", "--stdin"], { ...raw, index, input });
}

/**
 * Makes the files in `to` those of the commit `files`: writes what differs, and removes what is in `names` (raw) and not in the
 * commit; all else stays. Resolves with the names of the commit's files.
 */
export async function replaceFiles(
  git: ProtectedGit,
  files: string,
  { to, names }: { readonly to: string; readonly names: readonly string[] },
): Promise<readonly string[]> {
  await useRawFiles(git);
  const now = await namesOf(git, files, new Set());
  const kept = new Set(now);
  const links = new Map<string, boolean>();
  for (const name of names) {
    if (!kept.has(name) && !(await isBeyondLink(to, name, links))) await removeFile(to, name);
  }
  const index = join(git.dir, "files");
  await git.run(["read-tree", files], { ...limits, index });
  const refresh = ["update-index", "-q", "--ignore-submodules", "--refresh"];
  await git.run(refresh, { ...raw, index, mayExit: 1 });
  const flags = ["--name-only", "-z", "--no-renames", "--ignore-submodules=all"];
  const input = await git.run(["diff-files", ...flags], { ...raw, index });
  if (input !== "")
    await git.run(["checkout-index", "--force", "-z", "--stdin"], { ...raw, index, input });
  return now;
}

/** With the directories that are empty then: a file may take the place of one. */
async function removeFile(top: string, name: string): Promise<void> {
  await unlink(fileAt(top, name)).catch(() => {});
  const parents = name.split("/").slice(0, -1);
  for (let count = parents.length; count > 0; count--) {
    const isGone = await rmdir(fileAt(top, parents.slice(0, count).join("/"))).then(
      () => true,
      () => false,
    );
    if (!isGone) return;
  }
}

/** A plain repository in `to`, without hooks, filters or any setting of the one that was kept. */
async function makeRepository(git: ProtectedGit, facts: BundleFacts, to: string): Promise<void> {
  const { head, branch, index, stashes, origin } = facts;
  await mkdir(join(to, "refs", "heads"), { recursive: true });
  const config = join(to, "config");
  const set = (key: string, value: string) => git.run(["config", "--file", config, key, value]);
  const isSha256 = head.length === 64;
  await set("core.repositoryformatversion", isSha256 ? "1" : "0");
  if (isSha256) await set("extensions.objectformat", "sha256");
  await set("core.bare", "false");
  await set("core.logallrefupdates", "true");
  if (origin !== null) {
    await set("remote.origin.url", origin);
    await set("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*");
  }
  const refs = new Map(
    facts.refs.filter(([name]) => !name.startsWith(own) || name.startsWith(`${own}worktree-`)),
  );
  if (branch !== null) refs.set(`refs/heads/${branch}`, head);
  await writeRefs(to, refs);
  await writeFile(join(to, "HEAD"), branch === null ? `${head}\n` : `ref: refs/heads/${branch}\n`);
  await cp(join(git.dir, "objects"), join(to, "objects"), { recursive: true });
  if (index !== null) await git.run(["read-tree", index], limits);
  await cp(join(git.dir, "index"), join(to, "index"));
  if (stashes.length === 0) return;
  const log = join(to, "logs", "refs", "stash");
  await mkdir(dirname(log), { recursive: true });
  await writeFile(log, stashLog(stashes));
}
