import { lstat } from "node:fs/promises";
import { commitId } from "../config/git.ts";
import type { Attempt } from "../model/attempt.ts";
import { SymphonyError } from "../model/errors.ts";
import type { Work } from "../model/work.ts";
import {
  hasCommit,
  mergeBase,
  remoteCommits,
  shortName,
  tipsOf,
  unreached,
} from "../repository/commits.ts";
import { openProtectedGit, type ProtectedGit } from "../repository/git.ts";
import { listed } from "../repository/lists.ts";
import { type GitSurvey, gitHead, survey } from "../repository/survey.ts";
import { fileAt } from "../text/text.ts";
import { readBaseline } from "./baseline.ts";
import type { Findings } from "./examine.ts";
import { findingsIn, workOf } from "./work.ts";

export interface ChangedFile {
  readonly path: string;
  /** Its path before; null: it was not renamed. */
  readonly renamedFrom: string | null;
  /** Number of lines; null for a binary file. */
  readonly additions: number | null;
  readonly deletions: number | null;
}

/** The work in a workspace compared with its base: commits, changes and new files together. */
export interface WorkDiff extends Pick<GitSurvey, "branch" | "head" | "ahead" | "behind"> {
  /** The workspace. */
  readonly path: string;
  /** The commit that is compared with; null if there is none: every file is shown as new. */
  readonly base: string | null;
  /** A sentence if the work does not descend from `base`, or the commit is missing. */
  readonly baseNote: string | null;
  readonly files: readonly ChangedFile[];
  /** Of all files, those that are left out of `files` too; lines only of those that were compared. */
  readonly totals: {
    readonly files: number;
    readonly additions: number;
    readonly deletions: number;
  };
  readonly patch: string;
  /** True when files or the end of the patch are left out. */
  readonly truncated: boolean;
  /** Work that is nowhere else and not in the patch. */
  readonly notShown: readonly Work[];
}

type Shown = Pick<WorkDiff, "files" | "totals" | "patch" | "truncated">;

const timeoutMs = 30_000;
const maxPatchBytes = 1024 * 1024;
const maxFiles = 2_000;
const limits = { timeoutMs, maxBytes: maxPatchBytes };
/** What the index has for a new file before its comparison: nothing. */
const emptyBlobs = {
  sha1: "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
  sha256: "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813",
};
const emptyTrees = {
  sha1: "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
  sha256: "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
};
const diffFlags = [
  "--no-ext-diff",
  "--no-textconv",
  "--no-color",
  "--find-renames",
  // Above 200 lost and 200 new files only the ones that are equal byte for byte are paired.
  "-l200",
  "--ignore-submodules=all",
];

/**
 * The commit that an issue's first attempt found in the workspace at `path`, used if no remote
 * tells what the work is based on. `attempts` are newest first; if none is known to have used the
 * workspace, all of them count.
 */
export function firstHeadOf(attempts: readonly Attempt[], path: string): string | null {
  const here = attempts.filter(({ workspacePath }) => workspacePath === path);
  const counted = here.length > 0 ? here : attempts;
  return counted.findLast(({ git }) => git?.headBefore != null)?.git?.headBefore ?? null;
}

/**
 * The work in the workspace at `path`. `first` is the commit to compare with if neither a remote
 * nor the baseline names one. Rejects with `no_repository` if there is nothing to show, or if git
 * cannot read it.
 */
export function diffOf(
  path: string,
  first: string | null,
  signal?: AbortSignal,
): Promise<WorkDiff> {
  return compared(path, { first, baseFor: baseOf }, signal);
}

/**
 * As `diffOf`, compared with the files of exactly the commit `since`: what changed in the workspace
 * after it was checked out, committed or not.
 */
export function diffSince(path: string, since: string, signal?: AbortSignal): Promise<WorkDiff> {
  const baseFor = async (git: ProtectedGit): Promise<Base> => {
    if (!commitId.test(since)) throw none("what to compare with is not a commit");
    if (await hasCommit(git, since)) return { base: since, baseNote: null };
    throw none(`the commit ${since.slice(0, 10)} is not in its repository any more`);
  };
  return compared(path, { first: since, baseFor }, signal);
}

interface Comparison {
  readonly first: string | null;
  /** Chooses what HEAD is compared with; `from` is the tip of the base, or `first`. */
  baseFor(git: ProtectedGit, from: string | null, head: string): Promise<Base>;
}

async function compared(
  path: string,
  { first, baseFor }: Comparison,
  signal?: AbortSignal,
): Promise<WorkDiff> {
  const [found, baseline] = await Promise.all([findingsIn(path, signal), readBaseline(path)]);
  const { repository, refs, head } = found;
  try {
    if (repository !== null && refs === null && head === null)
      throw none(found.problems.join("; "));
    if (repository === null || head === null) return await plainDiff(path, found, signal);
    const known = await survey(path, baseline?.head ?? first, signal);
    if (known === null) throw none("git cannot read the repository in the workspace");
    const { branch, ahead, behind } = known;
    const place = { head, worktree: path, ...(signal && { signal }) };
    await using git = await openProtectedGit(repository.gitDir, place);
    const { base, baseNote } = await baseFor(git, known.base, head);
    const emptyTree = head.length === 64 ? emptyTrees.sha256 : emptyTrees.sha1;
    await git.run(["read-tree", "HEAD"], { timeoutMs });
    await setApart(git, found.settled);
    const left = await addNewFiles(git, found);
    const shown = await compare(git, [base ?? emptyTree], left);
    const notShown = await unseen(found, git);
    return { path, branch, head, ahead, behind, base, baseNote, ...shown, notShown };
  } catch (error) {
    if (error instanceof SymphonyError) throw error;
    throw none("git cannot read the work in the workspace", error);
  }
}

/** Work that was pushed, and the commit it was made from. */
export interface DeliveredWork {
  readonly branch: string;
  readonly head: string;
  readonly from: string | null;
}

/**
 * The work between two commits of the repository at `gitDir`, without uncommitted files. Rejects with
 * `no_repository` when it does not have them.
 */
export async function diffBetween(gitDir: string, work: DeliveredWork): Promise<WorkDiff> {
  const { branch, head, from } = work;
  try {
    await using git = await openProtectedGit(gitDir, { head, worktree: null });
    if (!(await hasCommit(git, head))) throw none(`${gitDir} does not have its commit any more`);
    const { base, baseNote } = await baseOf(git, from, head);
    const emptyTree = head.length === 64 ? emptyTrees.sha256 : emptyTrees.sha1;
    const shown = await compare(git, [base ?? emptyTree, head], 0);
    const unknown = { ahead: null, behind: null, notShown: [] };
    return { path: gitDir, branch, head, base, baseNote, ...shown, ...unknown };
  } catch (error) {
    if (error instanceof SymphonyError) throw error;
    throw none("git cannot read the delivered work", error);
  }
}

/** The diff without a commit to compare with: each new or changed file is shown as a new one. */
async function plainDiff(path: string, found: Findings, signal?: AbortSignal): Promise<WorkDiff> {
  const { repository, problems } = found;
  const work = workOf(found);
  if (work.length === 0 && repository === null) {
    throw none("it has no new file, and there is no repository in the workspace");
  }
  if (repository === null && problems.length > 0) throw none(problems.join("; "));
  const place = { head: null, worktree: path, ...(signal && { signal }) };
  await using git = await openProtectedGit(null, place);
  const there: string[] = [];
  const gone: string[] = [];
  for (const name of found.changed) {
    const isThere = (await lstat(fileAt(path, name)).catch(() => null)) !== null;
    (isThere ? there : gone).push(name);
  }
  const left = await addNewFiles(git, { ...found, fresh: [...there, ...found.fresh] });
  const shown = await compare(git, [emptyTrees.sha1], left);
  const branch = repository === null ? null : ((await gitHead(path))?.branch ?? null);
  const notShown = workOf({ ...found, changed: gone, fresh: [] });
  const unknown = { head: null, ahead: null, behind: null, base: null, baseNote: null };
  return { path, branch, ...unknown, ...shown, notShown };
}

type Base = Pick<WorkDiff, "base" | "baseNote">;

/**
 * The merge base of the work and `from`; `from` itself if there is none; null if no base is known
 * or its commit is missing.
 */
async function baseOf(git: ProtectedGit, from: string | null, head: string): Promise<Base> {
  if (from === null) return { base: null, baseNote: null };
  if (!commitId.test(from)) throw none("the base to compare with is not a commit");
  const name = from.slice(0, 10);
  if (!(await hasCommit(git, from))) {
    const why = `The commit to compare with, ${name}, is not in its repository`;
    return { base: null, baseNote: `${why}: every file is shown as a new one` };
  }
  const base = await mergeBase(git, [from, head], timeoutMs);
  if (base !== null && commitId.test(base)) return { base, baseNote: null };
  const why = `The work has no commit in common with ${name}`;
  return { base: from, baseNote: `${why}: it is compared with the files of that commit` };
}

/**
 * Ignores files that already differed from their commit when the workspace was made, as those of
 * git LFS do.
 */
async function setApart(git: ProtectedGit, names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  const input = listed(names);
  const args = ["update-index", "--assume-unchanged", "-z", "--stdin"];
  await git.run(args, { input, encoding: "latin1", timeoutMs });
}

/**
 * Adds new files to the comparison: as names in the index, which is cheaper than `git add` where there are thousands, and
 * does not fail when one of them is gone by now. Returns how many were left out.
 */
async function addNewFiles(git: ProtectedGit, found: Findings): Promise<number> {
  const { fresh, submodules, head } = found;
  // They belong to the submodule.
  const names = fresh.filter((name) => !submodules.some((dir) => name.startsWith(`${dir}/`)));
  const blob = head?.length === 64 ? emptyBlobs.sha256 : emptyBlobs.sha1;
  const entries = names.slice(0, maxFiles).map((name) => `100644 ${blob} 0\t${name}`);
  if (entries.length > 0) {
    const how = { input: listed(entries), encoding: "latin1", timeoutMs } as const;
    await git.run(["update-index", "--add", "--replace", "-z", "--index-info"], how);
  }
  return fresh.length - entries.length;
}

/** `left`: files that differ and are not compared. */
async function compare(git: ProtectedGit, base: readonly string[], left: number): Promise<Shown> {
  const [stat, patch] = await Promise.all([
    git.begin(["diff", ...diffFlags, "--numstat", "-z", ...base, "--"], limits),
    git.begin(["diff", ...diffFlags, ...base, "--"], limits),
  ]);
  const files = filesIn(stat.text);
  const truncated = left > 0 || stat.cut || patch.cut || files.length > maxFiles;
  const totals = {
    files: files.length + left,
    additions: files.reduce((sum, { additions }) => sum + (additions ?? 0), 0),
    deletions: files.reduce((sum, { deletions }) => sum + (deletions ?? 0), 0),
  };
  return { files: files.slice(0, maxFiles), totals, patch: patch.text, truncated };
}

/**
 * Work that a comparison of HEAD and the files does not show: stashes, other branches, nested
 * repositories.
 */
async function unseen(found: Findings, git: ProtectedGit): Promise<readonly Work[]> {
  const { refs, repository, onlyHere } = found;
  const rest = workOf({ ...found, changed: found.stagedOnly, fresh: [], onlyHere: null });
  if (refs === null || repository === null || onlyHere === null) return rest;
  const others = [...tipsOf(refs, repository.linked)].filter(([, id]) => id !== found.head);
  const seen = found.head === null ? [] : [found.head];
  const tips = others.map(([, id]) => id);
  const ids = await unreached(git, tips, [...(await remoteCommits(git, refs)), ...seen]);
  const names = others.flatMap(([name, id]) => (ids.has(id) ? [shortName(name)] : []));
  const tags = onlyHere.tags;
  return workOf({
    ...found,
    changed: found.stagedOnly,
    fresh: [],
    onlyHere: { commits: ids.size, more: false, refs: names, tags },
  });
}

/** The answer of `--numstat -z`: a renamed file has an empty name, and its two names after it. */
function filesIn(numstat: string): ChangedFile[] {
  const parts = numstat.split("\0");
  const files: ChangedFile[] = [];
  for (let at = 0; at < parts.length; at++) {
    const [, added, deleted, name] = /^(\d+|-)\t(\d+|-)\t(.*)$/s.exec(parts[at] ?? "") ?? [];
    if (added === undefined || deleted === undefined || name === undefined) continue;
    const isRenamed = name === "";
    const renamedFrom = isRenamed ? (parts[++at] ?? "") : null;
    const path = isRenamed ? (parts[++at] ?? "") : name;
    // The end of a cut answer.
    if (path === "") continue;
    files.push({ path, renamedFrom, additions: linesOf(added), deletions: linesOf(deleted) });
  }
  return files;
}

function linesOf(count: string): number | null {
  return count === "-" ? null : Number(count);
}

function none(why: string, cause?: unknown): SymphonyError {
  return new SymphonyError("no_repository", `there is no work to show: ${why}`, {
    hint: "symphony git lists the repositories in the workspaces",
    ...(cause !== undefined && { cause }),
  });
}
