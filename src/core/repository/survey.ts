import { join } from "node:path";
import { commitId, isRefName } from "../config/git.ts";
import {
  commitOf,
  defaultBranchOf,
  gitDirOf,
  type Remote,
  readSmall,
  refsBelow,
  remotesOf,
  sharedDirOf,
} from "./checkout.ts";
import { openProtectedGit, type ProtectedGit } from "./git.ts";

/** The state of one checkout: its branch, compared with the remote's default one. */
export interface GitSurvey {
  /** Where its refs and objects are: its own `.git`, or that of the repository it is a worktree of. */
  readonly store: string;
  readonly remotes: readonly Remote[];
  readonly defaultBranch: string | null;
  readonly branch: string | null;
  readonly head: string | null;
  /** The commit of the default branch that `ahead` and `behind` count from. */
  readonly base: string | null;
  readonly ahead: number | null;
  readonly behind: number | null;
}

/**
 * Reads the checkout at `path`; resolves with null when there is none. Refs and remotes are read as
 * files; git runs on a directory that symphony owns. `base`: a commit to count from when the remote
 * does not give one. Never rejects.
 */
export async function survey(
  path: string,
  base: string | null,
  signal?: AbortSignal,
): Promise<GitSurvey | null> {
  const [gitDir, at] = await Promise.all([gitDirOf(path), gitHead(path)]);
  if (gitDir === null || at === null) return null;
  const store = await sharedDirOf(gitDir);
  const remotes = await remotesOf(gitDir);
  const tracked = await refsBelow("refs/remotes", gitDir);
  const origin = remotes.find(({ name }) => name === "origin") ?? remotes[0];
  const defaultBranch = origin ? await defaultBranchOf(gitDir, origin.name, tracked) : null;
  const from = tracked.get(`${origin?.name}/${defaultBranch}`) ?? base;
  const known = { store, remotes, defaultBranch, ...at, base: from };
  if (at.head === null) return { ...known, ahead: null, behind: null };
  const place = { head: at.head, worktree: null, ...(signal && { signal }) };
  try {
    await using git = await openProtectedGit(gitDir, place);
    return { ...known, ...(await distance(git, at.head, from)) };
  } catch {
    return { ...known, ahead: null, behind: null };
  }
}

async function distance(git: ProtectedGit, head: string, base: string | null) {
  const unknown = { ahead: null, behind: null };
  if (base === null || !commitId.test(base)) return unknown;
  const range = `${base}...${head}`;
  const text = await git.run(["rev-list", "--left-right", "--count", range]).catch(() => "");
  const [, behind, ahead] = /^(\d+)\s+(\d+)\s*$/.exec(text) ?? [];
  if (behind === undefined || ahead === undefined) return unknown;
  return { ahead: Number(ahead), behind: Number(behind) };
}

/**
 * The branch and commit of a repository, read from its files, because git would run what an agent
 * wrote into them.
 */
export interface GitHead {
  /** null when no branch is checked out. */
  readonly branch: string | null;
  /** Commit id in hex; null before the first commit, or when refs are not stored as files. */
  readonly head: string | null;
}

/** The changes between two commits, without uncommitted work. */
export interface GitChanges {
  readonly commits: number;
  readonly changedFiles: number;
}

const maxRefBytes = 4_096;
const branchRef = /^ref: refs\/heads\/(\S+)$/;

/**
 * Branch and commit of the checkout at `path`; null when there is no readable checkout. Never
 * rejects.
 */
export async function gitHead(path: string): Promise<GitHead | null> {
  const gitDir = await gitDirOf(path);
  if (gitDir === null) return null;
  const text = (await readSmall(join(gitDir, "HEAD"), maxRefBytes))?.trim() ?? "";
  if (commitId.test(text)) return { branch: null, head: text };
  const branch = branchRef.exec(text)?.[1];
  if (branch === undefined || !isRefName(branch)) return null;
  return { branch, head: await commitOf(`refs/heads/${branch}`, gitDir) };
}

/**
 * Counts the changes of the checkout at `path` from commit `before` to commit `after`; null when
 * they cannot be counted. Git runs in an empty directory that symphony owns and borrows only the
 * objects, so configuration, hooks, filters and attributes of the checkout are never read. Never
 * rejects.
 */
export async function gitChanges(
  path: string,
  before: string,
  after: string,
): Promise<GitChanges | null> {
  if (before === after) return { commits: 0, changedFiles: 0 };
  const gitDir = await gitDirOf(path);
  if (gitDir === null || !commitId.test(before) || !commitId.test(after)) return null;
  try {
    await using git = await openProtectedGit(gitDir, { head: after, worktree: null });
    const commits = await git.run(["rev-list", "--count", `${before}..${after}`]);
    const files = await git.run(["diff-tree", "-r", "-z", "--name-only", before, after]);
    return { commits: Number(commits), changedFiles: files.split("\0").length - 1 };
  } catch {
    return null;
  }
}
