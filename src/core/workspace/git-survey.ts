import { lstat } from "node:fs/promises";
import { join } from "node:path";
import { gitHead } from "./git.ts";
import { commitId, commitOf, gitDirOf, refsBelow, sharedDirOf } from "./git-files.ts";
import { defaultBranchOf, type Remote, remotesOf } from "./git-remotes.ts";
import { openProtectedGit, type ProtectedGit } from "./protected-git.ts";

/** What one checkout is, and whether anything in it is nowhere else. */
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
  /** Whether files differ from HEAD; null where that cannot be told. */
  readonly uncommitted: boolean | null;
  /** Whether there are commits that no remote is known to have; null where that cannot be told. */
  readonly unpushed: boolean | null;
}

/** A whole tree is read again: the checkout's own index is not believed. */
const statusTimeoutMs = 30_000;
const mostTips = 2_000;

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
  const unknown = { ahead: null, behind: null, uncommitted: null, unpushed: null };
  if (at.head === null) return { ...known, ...unknown };
  try {
    await using git = await openProtectedGit(gitDir, {
      ...{ head: at.head, worktree: path },
      ...(signal && { signal }),
    });
    const tips = await tipsOf(gitDir, at.head, store);
    return {
      ...known,
      ...(await distance(git, at.head, from)),
      uncommitted: await isChanged(git, path).catch(() => null),
      unpushed: await isUnpushed(git, tips, [...tracked.values()]).catch(() => null),
    };
  } catch {
    return { ...known, ...unknown };
  }
}

/** Whether deleting the checkout would lose work; null where that cannot be told. */
export function holdsWork({ uncommitted, unpushed }: GitSurvey): boolean | null {
  if (uncommitted === true || unpushed === true) return true;
  return uncommitted === null || unpushed === null ? null : false;
}

/** Everything that only this checkout may have; the branches of a shared repository stay when a worktree goes. */
async function tipsOf(gitDir: string, head: string, store: string): Promise<string[]> {
  if (store !== gitDir) return [head];
  const [heads, stash] = await Promise.all([
    refsBelow("refs/heads", gitDir),
    commitOf("refs/stash", gitDir),
  ]);
  return [...new Set([head, ...heads.values(), ...(stash === null ? [] : [stash])])];
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

async function isChanged(git: ProtectedGit, path: string): Promise<boolean | null> {
  await git.run(["read-tree", "HEAD"]);
  const staged = await git.run(["ls-files", "--stage", "-z"], { timeoutMs: statusTimeoutMs });
  // To look into a submodule git would obey the submodule's own configuration.
  if (staged.split("\0").some((entry) => entry.startsWith("160000 "))) return null;
  const flags = ["--porcelain=v1", "-z", "--untracked-files=normal", "--ignore-submodules=all"];
  const status = await git.run(["status", ...flags, "--no-renames"], {
    timeoutMs: statusTimeoutMs,
  });
  return status !== "" || (await hasMerge(path));
}

/** A merge or rebase under way is work too, though no file shows it. */
async function hasMerge(path: string): Promise<boolean> {
  const gitDir = await gitDirOf(path);
  const names = ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply"];
  const found = await Promise.all(
    names.map((name) => lstat(join(gitDir ?? path, name)).catch(() => null)),
  );
  return found.some((one) => one !== null);
}

async function isUnpushed(
  git: ProtectedGit,
  tips: readonly string[],
  remote: readonly string[],
): Promise<boolean | null> {
  const elsewhere = [...new Set(remote)];
  if (elsewhere.length === 0) return true;
  if (tips.length > mostTips) return null;
  const text = await git.run(["rev-list", "--count", ...tips, "--not", ...elsewhere]);
  return Number(text) > 0;
}
