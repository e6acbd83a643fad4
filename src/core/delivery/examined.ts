import type { DeliveryConfig } from "../config/delivery.ts";
import { examineOffer, type Objection, type OfferRules } from "../repository/offer.ts";
import { oneLine } from "../text/text.ts";
import type { Delivered } from "./delivered.ts";

export const mostNamed = 5;
export const maxPathChars = 200;

/** The first of `all`, and how many more there are. */
export function namedOf(all: readonly string[], separator: string): string {
  const more = all.length > mostNamed ? ` and ${all.length - mostNamed} more` : "";
  return `${all.slice(0, mostNamed).join(separator)}${more}`;
}

/** What may be pushed, by the settings of `delivery`. */
export function offerRules(
  { maxFile: maxFileBytes, allowWorkflows, allowSubmodules, allowLfs }: DeliveryConfig,
  rest: Pick<OfferRules, "lfs" | "holdsSecret">,
): OfferRules {
  return { maxFileBytes, allowWorkflows, allowSubmodules, allowLfs, ...rest };
}

/** Why it is not pushed, with paths and kinds; never what a file holds. */
export function refusalOf(objections: readonly Objection[]): string {
  const all = objections.map(
    ({ path, kind, detail }) =>
      `${oneLine(path, maxPathChars)} (${kind.replaceAll("_", " ")}: ${detail})`,
  );
  return `not pushed, the work stays in its workspace: ${namedOf(all, ", ")}`;
}

interface Merge {
  readonly path: string;
  readonly head: string;
  readonly delivery: DeliveryConfig;
  holdsSecret(bytes: Buffer): string | null;
  readonly signal: AbortSignal;
}

/**
 * Why the merge of `base` that symphony made, with files that a command wrote, must not be pushed, and what to do; null: it may.
 * What either side had before is not looked at.
 */
export async function mergeObjection(
  { head: examined, base: name, issueIdentifier }: Delivered,
  base: string,
  { path, head, delivery, holdsSecret, signal }: Merge,
): Promise<string | null> {
  const rules = offerRules(delivery, { lfs: null, holdsSecret });
  const known = examined === null ? [] : [examined];
  const { objections } = await examineOffer({ path, base, head, rules, signal, examined: known });
  if (objections.length === 0) return null;
  const how = `allow it in the settings of delivery, or take it out of that merge in ${path} (git commit --amend)`;
  return `${name} was merged into the branch: ${refusalOf(objections)}; next: ${how}, then symphony deliver ${issueIdentifier}`;
}
