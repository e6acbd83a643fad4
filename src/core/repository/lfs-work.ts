import { gitDirOf, refsBelow } from "./checkout.ts";
import { openProtectedGit } from "./git.ts";
import { pointersAmong } from "./lfs-files.ts";
import type { LfsStore, Pointer } from "./lfs-store.ts";
import { wholeCall } from "./lists.ts";
import { changedBlobs } from "./offer.ts";
import { gitHead } from "./survey.ts";

interface NewWork {
  /** The workspace. */
  readonly path: string;
  /** Only what this commit has counts; null: what any ref has. */
  readonly commit: string | null;
  /** Its mirror: what a branch there has is no new work. */
  readonly mirror: string;
  /** With the workspace's contents. */
  readonly store: LfsStore;
  readonly signal?: AbortSignal;
}

/**
 * The contents that commits of a workspace name and no branch of the remote does, and whether they
 * are here. Rejects when git cannot read the commits.
 */
export async function newContents({
  path,
  commit,
  mirror,
  store,
  signal,
}: NewWork): Promise<{ readonly there: readonly Pointer[]; readonly missing: readonly string[] }> {
  const gitDir = await gitDirOf(path);
  if (gitDir === null) return { there: [], missing: [] };
  const tips = commit === null ? await tipsIn(path, gitDir) : [commit];
  const place = { head: tips[0] ?? null, worktree: null, ...(signal && { signal }) };
  await using git = await openProtectedGit(gitDir, place);
  const known = (await refsBelow("refs/remotes/origin", mirror)).values();
  const input = [...tips, ...[...known].map((id) => `^${id}`)].map((line) => `${line}\n`).join("");
  const ids = await git.run(["rev-list", "--ignore-missing", "--stdin"], { ...wholeCall, input });
  const blobs = await changedBlobs(git, ids.split("\n").filter(Boolean));
  const entries = [...blobs].map(([key, { mode, id }]) => [key, { mode, id }] as const);
  const there: Pointer[] = [];
  const missing: string[] = [];
  for (const [key, pointer] of await pointersAmong(git, new Map(entries))) {
    if ((await store.find(pointer, signal)) !== null) there.push(pointer);
    else missing.push(blobs.get(key)?.path ?? pointer.oid);
  }
  return { there, missing };
}

async function tipsIn(path: string, gitDir: string): Promise<readonly string[]> {
  // A detached HEAD has commits that no ref has.
  const head = (await gitHead(path))?.head ?? null;
  const refs = [...(await refsBelow("refs", gitDir)).values()];
  return head === null ? refs : [head, ...refs];
}
