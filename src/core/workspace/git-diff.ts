import { SymphonyError } from "../model/errors.ts";
import { commitId, gitDirOf } from "./git-files.ts";
import { type GitSurvey, survey } from "./git-survey.ts";
import { openProtectedGit, type ProtectedGit } from "./protected-git.ts";

export interface ChangedFile {
  readonly path: string;
  /** Lines; null for a binary file. */
  readonly additions: number | null;
  readonly deletions: number | null;
}

/** What a workspace holds beside the commit its work started from: commits, changes and new files together. */
export interface GitWork extends Pick<GitSurvey, "branch" | "head" | "ahead" | "behind"> {
  /** The commit that is compared with. */
  readonly base: string;
  readonly files: readonly ChangedFile[];
  readonly patch: string;
  /** True when files or the end of the patch are left out. */
  readonly truncated: boolean;
}

const timeoutMs = 30_000;
const maxPatchBytes = 1024 * 1024;
const mostFiles = 2_000;
const limits = { timeoutMs, maxBytes: maxPatchBytes };
const diffFlags = [
  "--no-ext-diff",
  "--no-textconv",
  "--no-color",
  "--no-renames",
  "--ignore-submodules=all",
];

/**
 * The work in the checkout at `path`. `first`: the commit to compare with where no remote has a default branch. Rejects
 * with `no_repository` where there is none, no commit, or nothing to compare with.
 */
export async function workOf(
  path: string,
  first: string | null,
  signal?: AbortSignal,
): Promise<GitWork> {
  const gitDir = await gitDirOf(path);
  const found = gitDir === null ? null : await survey(path, first, signal);
  if (gitDir === null || found === null) throw none("there is no repository in the workspace");
  const { branch, head, ahead, behind } = found;
  if (head === null) throw none("nothing is committed in the workspace");
  if (found.base === null) throw none("neither a remote nor an attempt says what to compare with");
  try {
    await using git = await openProtectedGit(gitDir, {
      ...{ head, worktree: path },
      ...(signal && { signal }),
    });
    const base = (await git.run(["merge-base", found.base, head])).trim();
    if (!commitId.test(base)) throw none("the work and its base have no commit in common");
    await git.run(["read-tree", "HEAD"]);
    const left = await addNewFiles(git);
    const stat = await git.begin(["diff", ...diffFlags, "--numstat", "-z", base, "--"], limits);
    const patch = await git.begin(["diff", ...diffFlags, base, "--"], limits);
    const files = filesIn(stat.text);
    const truncated = left || stat.cut || patch.cut || files.length > mostFiles;
    const shown = files.slice(0, mostFiles);
    return { branch, head, ahead, behind, base, files: shown, patch: patch.text, truncated };
  } catch (error) {
    if (error instanceof SymphonyError) throw error;
    throw none("git cannot read the work in the workspace", error);
  }
}

/** Makes new files part of the comparison; tells whether some had to be left out. */
async function addNewFiles(git: ProtectedGit): Promise<boolean> {
  const listed = await git.run(["ls-files", "--others", "--exclude-standard", "-z"], { timeoutMs });
  // A directory in the list is a repository of its own.
  const names = listed.split("\0").filter((name) => name !== "" && !name.endsWith("/"));
  const input = names.slice(0, mostFiles).join("\0");
  const flags = ["--intent-to-add", "--pathspec-from-file=-", "--pathspec-file-nul"];
  if (input !== "") await git.run(["--literal-pathspecs", "add", ...flags], { input, timeoutMs });
  return names.length > mostFiles;
}

function filesIn(numstat: string): ChangedFile[] {
  return numstat.split("\0").flatMap((line) => {
    const [, added, deleted, path] = /^(\d+|-)\t(\d+|-)\t(.+)$/s.exec(line) ?? [];
    if (added === undefined || deleted === undefined || path === undefined) return [];
    return [{ path, additions: linesOf(added), deletions: linesOf(deleted) }];
  });
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
