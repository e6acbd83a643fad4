import { lstat, rm } from "node:fs/promises";
import { join } from "node:path";
import { commitId, isBranchName } from "../config/git.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { fileAt, plainName } from "../text/text.ts";
import { differingIn } from "./differing.ts";
import { GitFailure, type Identity, openProtectedGit, type ProtectedGit } from "./git.ts";
import { writtenSince } from "./half-written.ts";
import { noteUnchanged } from "./index-file.ts";
import {
  clearLocks,
  installIndex,
  installPacks,
  moveRef,
  noteRemote,
  packNew,
  requireDirectory,
  whoOf,
  writeCommit,
} from "./install.ts";
import { type Contents, LfsFailure } from "./lfs.ts";
import { lfsFilesOf, pointersAmong, unchangedOf, writeContents } from "./lfs-files.ts";
import { entriesIn, listed, split, wholeCall } from "./lists.ts";
import {
  type Conflict,
  type MergeQuestion,
  type Merging,
  mergeIn,
  openMergeGit,
} from "./merging.ts";
import type { Signer } from "./signing.ts";
import { type Cone, leaveOut, leftOutOf, outsideOf, useCone } from "./sparse.ts";
import { gitHead } from "./survey.ts";

export interface UpdateOrder {
  /** The workspace; its `.git` is a directory of its own. No agent works in it meanwhile. */
  readonly path: string;
  /** What must be checked out, with no other work in the files. */
  readonly head: string;
  /** A newer commit of the base. */
  readonly base: string;
  /** The base's branch. */
  readonly baseName: string;
  /** The mirror that has `base`; null: the workspace has it itself. */
  readonly mirror: string | null;
  /** A base that merges without a conflict is left alone. */
  readonly onlyConflicts: boolean;
  readonly author: Identity;
  /** Signs the merge; null: it is not signed. */
  readonly signer?: Signer | null;
  /** Time of the commit, in ms since the epoch. */
  readonly wall: number;
  /** As in `CommitOrder`. */
  readonly settled: readonly string[];
  /** Which files the workspace was made with; all if omitted. */
  readonly cone?: Cone;
  /** The contents of git LFS; null: the files are pointers. */
  readonly lfs?: Contents | null;
  /** Paths of submodules that symphony checked out: a base that moves one of them is not merged here. */
  readonly submodules?: readonly string[];
  /** As in `MergeQuestion`. */
  isGenerated(path: string): boolean;
  /** Keeps what was begun, where no agent writes; null: nothing is. Whoever takes an update's head ends it. Durable when it resolves. */
  remember(merging: Merging | null): Promise<void>;
  readonly signal: AbortSignal;
}

export type UpdateResult =
  /** The branch has the base, or (with `onlyConflicts`) merges with it. */
  | { readonly outcome: "current" }
  /** The branch is a merge of both now, and its files are. */
  | { readonly outcome: "updated"; readonly head: string }
  /** Both sides are in the files; the next commit is the merge. */
  | { readonly outcome: "conflicts"; readonly conflicts: readonly Conflict[] }
  /** Nothing was changed: the files hold other work, for example. */
  | { readonly outcome: "refused"; readonly why: string }
  /** Nothing was changed: the history that is here has no commit of both. */
  | { readonly outcome: "unknown" };

/**
 * Merges a newer base into the branch of a workspace with symphony's own git: nothing that an agent or
 * a repository configured is run. Rejects with `workspace_error` when git fails.
 */
export async function updateWorkspace(order: UpdateOrder): Promise<UpdateResult> {
  const { path, head, base, baseName, signal } = order;
  if (!commitId.test(head) || !commitId.test(base) || !isBranchName(baseName))
    throw failed(`${base} cannot be merged`);
  const gitDir = join(path, ".git");
  try {
    for (const dir of [gitDir, join(gitDir, "objects"), join(gitDir, "refs")])
      await requireDirectory(dir);
    await using git = await openMergeGit({ ...order, gitDir });
    return await merge(git, { ...order, gitDir });
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof SymphonyError) throw error;
    throw failed(messageOf(error), error);
  }
}

async function merge(git: ProtectedGit, order: UpdateOrder & MergeQuestion): Promise<UpdateResult> {
  const { head, base, baseName, gitDir } = order;
  const merged = await mergeIn(git, order);
  if (merged.outcome !== "merged") return merged;
  const { tree, conflicts, marked, generated, unmerged } = merged;
  const isClean = conflicts.length === 0;
  if (isClean && order.onlyConflicts) return { outcome: "current" };
  const at = await gitHead(order.path);
  if (at?.head !== head) return { outcome: "refused", why: "another commit is checked out" };
  const names = ["-r", "-z", "--name-only", "--diff-filter=A", "--no-renames"];
  const added = split(await git.run(["diff-tree", ...names, "HEAD", tree], wholeCall));
  const why =
    (await movedSubmodule(git, order.submodules ?? [], tree)) ?? (await otherWork(order, added));
  if (why !== null) return { outcome: "refused", why };
  const into = at.branch === null ? "" : ` into ${at.branch}`;
  const message = `Merge branch '${baseName}'${into}`;
  const who = whoOf(order.author, order.wall);
  const commit = isClean
    ? await writeCommit(git, { tree, parents: [head, base], who, message }, order)
    : null;
  await installPacks(gitDir, await packNew(git));
  await fetchContents(order, tree);
  const shown = unmerged.filter(outsideOf(order.cone ?? []));
  const merging: Merging = { base, head, tree, marked, generated, shown, commit, moving: true };
  await order.remember(merging);
  try {
    await finishUpdate(merging, order, { isRepeated: false });
  } catch (error) {
    if (!(error instanceof GitFailure)) throw error;
    // Git looks at everything before it writes anything.
    await order.remember(null);
    return { outcome: "refused", why: messageOf(error) };
  }
  return commit === null
    ? { outcome: "conflicts", conflicts }
    : { outcome: "updated", head: commit };
}

/** Why no files may be moved or `added`; null: they are those of the head, and nothing is in the way. */
async function otherWork(
  order: UpdateOrder & MergeQuestion,
  added: readonly string[],
): Promise<string | null> {
  const { path, head, settled, cone = [], signal, gitDir } = order;
  await using git = await openProtectedGit(gitDir, { head, worktree: path, signal });
  const found = await differingIn(git, { path, head, settled, cone, lfs: order.lfs != null });
  const isOutside = outsideOf(cone);
  if (!found.sparse.every(isOutside)) return "its checkout is sparse in a way of its own";
  await refreshIn(git);
  const raw = ["--raw", "-z", "--no-renames", "--ignore-submodules=all"];
  const changed = new Set(split(await git.run(["diff-files", ...raw], wholeCall)));
  const dirty = found.names.find((name) => changed.has(name) || !found.tracked.has(name));
  if (dirty !== undefined) return `${plainName(dirty)} holds other work`;
  for (const name of added) {
    const there = await inTheWay(path, name, found.tracked);
    if (there !== null) return `${plainName(there)} is in the way`;
  }
  return null;
}

/** Why the tree cannot be put into the files: git would leave the submodule at its old commit. */
async function movedSubmodule(
  git: ProtectedGit,
  made: readonly string[],
  tree: string,
): Promise<string | null> {
  if (made.length === 0) return null;
  const args = ["diff-tree", "-r", "-z", "--raw", "--no-renames", "--abbrev=64", "HEAD", tree];
  const parts = split(await git.run(args, wholeCall));
  const at = parts.findIndex((line) => /^:(?:160000 \d+|\d+ 160000) /.test(line));
  return at === -1 ? null : `the base moves the submodule ${plainName(parts[at + 1] ?? "")}`;
}

/** What stands where a new file comes to; git itself would replace a file that is ignored. */
async function inTheWay(
  path: string,
  name: string,
  tracked: ReadonlyMap<string, unknown>,
): Promise<string | null> {
  const parts = name.split("/");
  for (let at = 1; at <= parts.length; at++) {
    const above = parts.slice(0, at).join("/");
    const found = await lstat(fileAt(path, above)).catch(() => null);
    if (found === null || tracked.has(above)) return null;
    if (!found.isDirectory() || at === parts.length) return above;
  }
  return null;
}

/** Files whose line ends the repository converts are equal to the index then. */
async function refreshIn(git: ProtectedGit): Promise<void> {
  await rm(join(git.dir, "info", "attributes"), { force: true });
  const refresh = ["update-index", "-q", "--ignore-submodules", "--really-refresh"];
  await git.run(refresh, { ...wholeCall, mayExit: 1 });
}

type Finish = Pick<
  UpdateOrder,
  "path" | "baseName" | "cone" | "lfs" | "author" | "wall" | "signal" | "remember"
> &
  Partial<Pick<UpdateOrder, "settled">>;

/**
 * Puts a merge that was begun into the files, and moves the branch where its commit is made. A crash
 * may have cut it off: `isRepeated` then writes over what it left. Where a person or a program has written into the files
 * since, they stay as they are: then it rejects, and the merge is begun anew when their work is committed.
 */
export async function finishUpdate(
  merging: Merging,
  { path, baseName, cone = [], settled = [], lfs = null, author, wall, remember, signal }: Finish,
  { isRepeated }: { readonly isRepeated: boolean },
): Promise<void> {
  const { head, base, tree, commit } = merging;
  const gitDir = join(path, ".git");
  const at = await gitHead(path);
  if (at === null || (at.head !== head && at.head !== commit)) {
    await remember(null);
    throw failed("another commit is checked out");
  }
  const looked = { path, gitDir, settled, lfs: lfs !== null, signal };
  const written = isRepeated ? await writtenSince(merging, looked) : null;
  // Once the branch had moved, all files were there: what differs is newer.
  if (written !== null && at.head !== commit) {
    await remember(null);
    const next = `next: look at git status in ${path}; what is there stays, and the base comes again once it is committed`;
    throw failed(`${plainName(written)} was changed after a merge was cut off; ${next}`);
  }
  const isKept = written !== null;
  await clearLocks(gitDir, at.branch);
  await using git = await openProtectedGit(gitDir, { head, worktree: path, signal });
  await git.run(["read-tree", "HEAD"], wholeCall);
  const added = await useSparse(git, { path, cone });
  await refreshIn(git);
  if (lfs !== null) await noteContents(git, path, [head, tree]);
  const how = isRepeated ? ["--reset", ...(isKept ? [] : ["-u"])] : ["-m", "-u", "HEAD"];
  await git.run(["read-tree", ...how, tree], wholeCall);
  if (!isKept) await putBack(git, [...added, ...(merging.shown ?? [])]);
  await git.run(["update-index", "-q", "--refresh"], { ...wholeCall, mayExit: 1 });
  if (lfs !== null) {
    if (!isKept) await writeContents(path, await lfsFilesOf(gitDir, tree, signal), lfs.store);
    await noteContents(git, path, null);
  }
  if (commit !== null && at.head !== commit) {
    const who = whoOf(author, wall);
    const subject = `merge ${base.slice(0, 10)}`;
    await moveRef(gitDir, { branch: at.branch, from: head, to: commit, who, subject });
  }
  await installIndex(gitDir, join(git.dir, "index"));
  await noteRemote(gitDir, baseName, base);
  await remember({ ...merging, moving: false });
}

/** Fetches the contents that the tree needs. Rejects when that is not possible now. */
async function fetchContents(
  { path, lfs = null, base, mirror, signal }: UpdateOrder,
  tree: string,
): Promise<void> {
  if (lfs === null) return;
  const gitDir = join(path, ".git");
  // The base's side of a conflict is not in the files, but an agent may want it.
  const sides = [
    await lfsFilesOf(gitDir, tree, signal),
    await lfsFilesOf(mirror ?? gitDir, base, signal),
  ];
  try {
    await lfs.ensure(sides.flatMap((files) => [...files.values()]));
  } catch (error) {
    if (!(error instanceof LfsFailure)) throw error;
    throw failed(`contents of git LFS cannot be fetched: ${error.message}`, error);
  }
}

/** Notes in `git`'s index which files have the content of their pointer; `between` two trees, of those that differ. */
async function noteContents(
  git: ProtectedGit,
  path: string,
  between: readonly [string, string] | null,
): Promise<void> {
  const entries = entriesIn(await git.run(["ls-files", "--stage", "-z"], wholeCall));
  const names = ["-r", "-z", "--name-only", "--no-renames"];
  const changed =
    between === null
      ? [...entries.keys()]
      : split(await git.run(["diff-tree", ...names, ...between], wholeCall));
  const wanted = changed.flatMap((name) => {
    const entry = entries.get(name);
    return entry === undefined ? [] : [[name, entry] as const];
  });
  const same = await unchangedOf(path, await pointersAmong(git, new Map(wanted)));
  await noteUnchanged(join(git.dir, "index"), path, same);
}

/**
 * Lets git write no file that the workspace leaves out; resolves with files outside of the cone that an
 * agent has added to it.
 */
async function useSparse(
  git: ProtectedGit,
  { path, cone }: { readonly path: string; readonly cone: Cone },
): Promise<readonly string[]> {
  if (cone.length === 0) return [];
  const tracked = new Set(split(await git.run(["ls-files", "-z"], wholeCall)));
  const left = await leftOutOf(git, { path, cone, tracked });
  await leaveOut(git, left);
  await useCone(git.dir, cone);
  const isLeft = new Set(left);
  return [...tracked].filter(outsideOf(cone)).filter((name) => !isLeft.has(name));
}

/** Files that git has left out, as they are in its index now. */
async function putBack(git: ProtectedGit, names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  const known = new Set(split(await git.run(["ls-files", "-z"], wholeCall)));
  const there = {
    ...wholeCall,
    input: listed([...new Set(names)].filter((one) => known.has(one))),
  };
  if (there.input === "") return;
  await git.run(["update-index", "--no-skip-worktree", "-z", "--stdin"], there);
  await git.run(["checkout-index", "--force", "-z", "--stdin"], there);
}

function failed(why: string, cause?: unknown): SymphonyError {
  const options = cause === undefined ? {} : { cause };
  return new SymphonyError("workspace_error", `the branch was not updated: ${why}`, options);
}
