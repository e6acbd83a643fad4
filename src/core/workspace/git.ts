import { join } from "node:path";
import { isRefName } from "./branch-name.ts";
import { commitId, commitOf, gitDirOf, readSmall } from "./git-files.ts";
import { openProtectedGit } from "./protected-git.ts";

/** What a repository says of itself; read from its files, because git would run what an agent wrote into them. */
export interface GitHead {
  /** null when no branch is checked out. */
  readonly branch: string | null;
  /** Commit id in hex; null before the first commit, or where refs are not kept as files. */
  readonly head: string | null;
}

/** What lies between two commits. Work that is not committed is not among it. */
export interface GitChanges {
  readonly commits: number;
  readonly changedFiles: number;
}

const maxRefBytes = 4_096;
const branchRef = /^ref: refs\/heads\/(\S+)$/;

/** Branch and commit of the checkout at `path`, or null where there is none that can be read. Never rejects. */
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
 * Counts what the checkout at `path` gained from commit `before` to commit `after`; null where that cannot be
 * told. Git runs in an empty directory of ours and borrows only the objects, so configuration, hooks, filters
 * and attributes of the checkout are never read. Never rejects.
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
