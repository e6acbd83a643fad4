import type { DeliveryConfig } from "../config/delivery.ts";
import { examineOffer, type Objection, type OfferRules } from "../repository/offer.ts";
import { oneLine } from "../text/text.ts";
import type { Delivered } from "./delivered.ts";

const objectionsNamed = 5;
const maxPathChars = 200;

/** What may be pushed, by the settings of `delivery`. */
export function offerRules(
  { maxFile: maxFileBytes, allowWorkflows, allowSubmodules, allowLfs }: DeliveryConfig,
  rest: Pick<OfferRules, "lfs" | "holdsSecret">,
): OfferRules {
  return { maxFileBytes, allowWorkflows, allowSubmodules, allowLfs, ...rest };
}

/** Why it is not pushed, with paths and kinds; never what a file holds. */
export function refusalOf(objections: readonly Objection[]): string {
  const named = objections
    .slice(0, objectionsNamed)
    .map(
      ({ path, kind, detail }) =>
        `${oneLine(path, maxPathChars)} (${kind.replaceAll("_", " ")}: ${detail})`,
    );
  const more = objections.length - named.length;
  const rest = more > 0 ? ` and ${more} more` : "";
  return `not pushed, the work stays in its workspace: ${named.join(", ")}${rest}`;
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
