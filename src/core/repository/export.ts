import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { gitEnvironment, runGit } from "./git.ts";
import { MirrorFailure } from "./mirror-call.ts";

/** A commit of a mirror, outside of any workspace. */
export interface MirrorCommit {
  /** The path of the mirror. */
  readonly mirror: string;
  /** Its id, or a ref of the mirror. */
  readonly commit: string;
  /** The server's environment; git gets a part of it. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

const limitMs = 600_000;
/** Mode, type and id of `ls-tree`; no link, no directory, no submodule. */
const plainFile = /^100(?:644|755) blob ([0-9a-f]{40,64})\t(.+)$/s;

/**
 * Path and content id of each of `paths` that is a plain file of the commit, in the order of git.
 * Rejects with `MirrorFailure`, `git_not_found` or the signal's reason.
 */
export async function filesOf(
  from: MirrorCommit,
  paths: readonly string[],
): Promise<readonly string[]> {
  const tree = ["ls-tree", "-z", "--full-tree", from.commit, "--", ...paths];
  const listed = await git(from, ["--literal-pathspecs", ...tree], {});
  return listed.split("\0").flatMap((line) => {
    const [, id, path] = plainFile.exec(line) ?? [];
    return id === undefined ? [] : [`${path} ${id}`];
  });
}

/** Those of `paths` that are directories of the commit. Rejects as `filesOf`. */
export async function directoriesOf(
  from: MirrorCommit,
  paths: readonly string[],
): Promise<readonly string[]> {
  const tree = ["ls-tree", "-z", "--full-tree", "-d", "--name-only", from.commit, "--", ...paths];
  return (await git(from, ["--literal-pathspecs", ...tree], {})).split("\0").filter(Boolean);
}

/** Writes the files of the commit into an empty directory, without a repository. Rejects as `filesOf`. */
export async function exportFiles(from: MirrorCommit, dir: string): Promise<void> {
  // The index of the mirror itself stays as it is.
  const index = join(dirname(dir), "index");
  const places = { GIT_WORK_TREE: dir, GIT_INDEX_FILE: index };
  try {
    await git(from, ["read-tree", from.commit], places);
    await git(from, ["checkout-index", "--all", "--force", "--quiet"], places);
  } finally {
    await rm(index, { force: true });
  }
}

async function git(
  { mirror, env, signal }: MirrorCommit,
  args: readonly string[],
  places: Readonly<Record<string, string>>,
): Promise<string> {
  const reach = { path: env["PATH"], home: env["HOME"], protocol: "none" } as const;
  const result = await runGit({
    ...{ args, signal, timeoutMs: limitMs },
    cwd: places["GIT_WORK_TREE"] ?? mirror,
    env: { ...gitEnvironment(reach), GIT_DIR: mirror, ...places },
  });
  if (result.status !== 0) throw new MirrorFailure(args, result);
  return result.stdout;
}
