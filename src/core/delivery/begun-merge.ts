import { join } from "node:path";
import { type Conflict, changedIn, endsMerge } from "../repository/merging.ts";
import { gitHead } from "../repository/survey.ts";
import { plainName } from "../text/text.ts";
import { readMerging, writeMerging } from "../workspace/baseline.ts";

// What a restart finds of a merge that was begun in a workspace and not saved.

export type BegunMerge =
  /** Its commit is checked out; `isClean`: nothing but the base came in. */
  | {
      readonly outcome: "updated";
      readonly head: string;
      readonly base: string;
      readonly isClean: boolean;
    }
  /** Its commit is still to be made, from files that a command writes. */
  | {
      readonly outcome: "conflicts";
      readonly base: string;
      readonly conflicts: readonly Conflict[];
    }
  /** An agent or a person ends it, and their work is offered as any other. */
  | { readonly outcome: "refused"; readonly why: string };

/** The merge that was begun in the workspace at `path`, delivered with `head`; null: there is none, or it is over. */
export async function begunMerge(
  path: string,
  head: string,
  signal: AbortSignal,
): Promise<BegunMerge | null> {
  const merge = await readMerging(path);
  if (merge === null) return null;
  const { base, generated, own } = merge;
  const at = (await gitHead(path))?.head ?? null;
  let { commit } = merge;
  // A kill came between the commit and its record.
  if (own && commit === null && at !== null && at !== head) {
    if (await endsMerge(at, merge, { gitDir: join(path, ".git"), signal })) commit = at;
    if (commit !== null) await writeMerging(path, { ...merge, commit });
  }
  if (merge.head === head) {
    // A restart came before the merge was saved, as while its checks ran.
    if (commit !== null && commit === at)
      return { outcome: "updated", head: commit, base, isClean: generated.length === 0 };
    // Or while its files were generated.
    if (own && at === head) {
      const conflicts = generated.map((name) => ({ path: name, kind: "generated" as const }));
      return { outcome: "conflicts", base, conflicts };
    }
  }
  if (commit !== head) return { outcome: "refused", why: "an earlier merge is not finished" };
  // It was saved, and only its record was left.
  await writeMerging(path, null);
  return null;
}

/** Notes whether symphony alone ends the merge that was begun there: then its commit is known for its own. */
export async function claimMerge(path: string, own: boolean): Promise<void> {
  const merge = await readMerging(path);
  if (merge !== null && (merge.own ?? false) !== own) await writeMerging(path, { ...merge, own });
}

const othersNamed = 20;

/** Some of the files that the commit `head` of the merge has otherwise than git merged them, to be shown, but for `isOurs`. */
export async function othersIn(
  {
    path,
    head,
    signal,
  }: { readonly path: string; readonly head: string; readonly signal: AbortSignal },
  isOurs: (name: string) => boolean,
): Promise<readonly string[]> {
  const merge = await readMerging(path);
  if (merge === null) return [];
  const all = await changedIn(head, merge, { gitDir: join(path, ".git"), signal });
  return all
    .map(plainName)
    .filter((name) => !isOurs(name))
    .slice(0, othersNamed);
}
