import { gitHead } from "./git.ts";
import { commitId, gitDirOf, refsBelow, sharedDirOf } from "./git-files.ts";
import { defaultBranchOf, type Remote, remotesOf } from "./git-remotes.ts";
import { openProtectedGit, type ProtectedGit } from "./protected-git.ts";

/** What one checkout is: its branch, and where that is against the remote's default one. */
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
 * Looks at the checkout at `path`, or answers null where there is none. Refs and remotes are read as files; git runs on a
 * directory of ours. `base`: a commit to count from where no remote says. Never rejects.
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
