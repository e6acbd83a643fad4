import type { Config } from "../config/config.ts";
import { reviewStates } from "../config/delivery.ts";
import { normalState } from "../model/issue.ts";
import type { ScopeNames } from "../tracker/tracker.ts";

/** The first of `wanted` that is among `states`, as the tracker spells it; null: none is. */
export function firstState(wanted: readonly string[], states: readonly string[]): string | null {
  for (const name of wanted) {
    const found = states.find((state) => normalState(state) === normalState(name));
    if (found !== undefined) return found;
  }
  return null;
}

/**
 * Where an issue is moved to when its work was offered, one sentence for the issues of each team; empty where that is no
 * choice of symphony.
 */
export function reviewMoves(
  { tracker, delivery }: Pick<Config, "tracker" | "delivery">,
  { teams }: Pick<ScopeNames, "teams">,
): readonly string[] {
  if (tracker.onSuccess.kind !== "auto" || delivery.mode === "none") return [];
  return [...teams].map(([team, states]) => {
    const what = team === null ? "offered work" : `offered work of ${team}`;
    const state = firstState(reviewStates, states);
    return state === null
      ? `${what} waits in the status review, and the tracker is not touched: it has no state ${reviewStates.join(" or ")} (tracker.on_success)`
      : `${what} is moved to ${state}, and waits in the status review (tracker.on_success)`;
  });
}
