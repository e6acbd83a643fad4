import type { RepositoryConfig } from "../config/git.ts";
import { oneLine } from "../text/text.ts";
import type { Delivered, Reach } from "./delivered.ts";
import type { Written } from "./outbox.ts";
import type { DeliveryStore } from "./store.ts";

// The remote branch is not where symphony left it.

interface MovedDeps extends Pick<Reach, "newestOf" | "post"> {
  readonly store: Pick<DeliveryStore, "isOwn">;
}

const maxWordsChars = 200;

/**
 * What the branch holds: a push of symphony's that a crash cut off before its record (`ours`), an earlier commit of it, so that
 * another party took later ones out (`back`), nothing (`gone`), or commits of another party.
 */
export function branchHolds(
  found: string | null,
  { issueId, pushed }: Pick<Delivered, "issueId" | "pushed">,
  store: Pick<DeliveryStore, "isOwn">,
): "ours" | "back" | "gone" | "theirs" {
  if (found === null) return "gone";
  if (store.isOwn(issueId, found, pushed)) return "ours";
  return store.isOwn(issueId, found) ? "back" : "theirs";
}

/** Whether the pull request was last seen at an earlier commit of symphony's own: later ones were taken out of its branch. */
export function isSetBack(
  { issueId, pushed, pullRequest }: Pick<Delivered, "issueId" | "pushed" | "pullRequest">,
  store: Pick<DeliveryStore, "isOwn">,
): boolean {
  const head = pullRequest?.headSha ?? pushed;
  return (
    head !== null && head !== pushed && branchHolds(head, { issueId, pushed }, store) === "back"
  );
}

/** Another party wrote to the branch, set it back or removed it: what they did stays, and a person decides. */
export async function moved(
  known: Delivered,
  { repository, found }: { readonly repository: RepositoryConfig; readonly found: string | null },
  { newestOf, post, store }: MovedDeps,
): Promise<Written> {
  const { issueId, issueIdentifier: name, branch, workspacePath } = known;
  const standing = branchHolds(found, known, store);
  const remakes = standing === "gone" || standing === "back";
  const newest = standing === "theirs" && branch ? await newestOf(repository, branch) : null;
  const by = newest?.commit === found ? `${newest?.author}, "${newest?.subject}"` : "not symphony";
  const at = found?.slice(0, 10);
  const what = {
    gone: `another party removed ${branch}`,
    back: `another party set ${branch} back to ${at}, and symphony pushes nothing over that`,
    theirs: `${oneLine(`${at} (${by})`, maxWordsChars)} was pushed to ${branch}, and symphony overwrites nothing`,
  }[standing === "ours" ? "theirs" : standing];
  const anew = `symphony deliver ${name} ${standing === "gone" ? "makes it again" : "pushes the work all the same"}`;
  const pull = `git -C ${workspacePath} pull --no-rebase ${repository.address.address} ${branch}, then symphony transition ${name} queued`;
  const reason = `push refused: ${what}; next: ${remakes ? anew : pull}`;
  post({ type: "offer.stopped", issueId, reason, ...(remakes && { next: "deliver" }) });
  return { outcome: "final", reason };
}
