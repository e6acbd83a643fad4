import type { RepositoryConfig } from "../config/git.ts";
import { awaitsMerge, type Delivered, type Reach } from "./delivered.ts";

/** What became of a pushed branch that has no pull request. */
export type BranchSeen =
  | { readonly end: "merged" | "closed"; readonly summary: string }
  | {
      readonly end: null;
      /** The newest commit of its base; null: the base is gone. */
      readonly tip: string | null;
      readonly now: Pick<Delivered, "base" | "waitingFor">;
    };

type Sites = Pick<Reach, "isContained" | "isIncluded" | "headOf" | "defaultBranch">;

/** Reads it at the remote: it is merged when its base contains it, and a person who deletes it closes it. null: not known now. */
export async function readBranch(
  { pushed, base, branch, issueIdentifier: id }: Delivered,
  rule: RepositoryConfig,
  sites: Sites,
): Promise<BranchSeen | null> {
  if (pushed === null || base === null || branch === null) return null;
  const contained = await sites.isContained(rule, pushed, base);
  if (contained === null) return null;
  if (contained) return { end: "merged", summary: `${branch} is merged into ${base}` };
  const tip = await sites.headOf(rule, base);
  if (tip === null) {
    // A default branch that was renamed is still the one.
    const renamed = rule.baseBranch === null ? await sites.defaultBranch(rule) : null;
    const isElse = renamed !== null && renamed !== base;
    const gone = `a person: ${base} is gone at ${rule.name}; bring it back, or symphony transition ${id} completed`;
    const to = isElse ? renamed : base;
    const waitingFor = isElse ? awaitsMerge({ branch, base: to }) : gone;
    return { end: null, tip, now: { base: to, waitingFor } };
  }
  if ((await sites.headOf(rule, branch)) !== null) {
    return { end: null, tip, now: { base, waitingFor: awaitsMerge({ branch, base }) } };
  }
  const has = (await sites.isIncluded(rule, pushed, base)) ? `, and ${base} has its content` : "";
  return { end: "closed", summary: `${branch} was deleted at ${rule.name}${has}` };
}
