import type { TrackerConfig } from "../config/config.ts";
import { type Blocker, type Issue, normalState } from "../model/issue.ts";

/** In which states an issue waits for its blockers, and when a blocker has ended. States in the form of `normalState`. */
export interface BlockerRules {
  readonly terminalStates: ReadonlySet<string>;
  /** `tracker.blocker_states`; null: those in which work has not begun. */
  readonly blockerStates: ReadonlySet<string> | null;
  /** The first of the active states, for trackers whose states have no type. */
  readonly firstActive: string | null;
}

/** Types of the states in which work has not begun. */
const notBegun: ReadonlySet<string> = new Set(["triage", "backlog", "unstarted"]);

type Rules = Pick<TrackerConfig, "activeStates" | "terminalStates" | "blockerStates">;

export function blockerRulesOf({
  activeStates,
  terminalStates,
  blockerStates,
}: Rules): BlockerRules {
  const [first] = activeStates;
  return {
    terminalStates: new Set(terminalStates.map(normalState)),
    blockerStates: blockerStates && new Set(blockerStates.map(normalState)),
    firstActive: first === undefined ? null : normalState(first),
  };
}

/** Blockers hold back only work that has not begun; work in progress continues. */
export function waitsForBlockers(
  { state, stateType }: Pick<Issue, "state" | "stateType">,
  { blockerStates, firstActive }: BlockerRules,
): boolean {
  const own = normalState(state);
  if (blockerStates !== null) return blockerStates.has(own);
  return stateType === null ? own === firstActive : notBegun.has(stateType);
}

/** A blocker without a known state counts as open. */
export function isOpen(
  { state }: Pick<Blocker, "state">,
  { terminalStates }: BlockerRules,
): boolean {
  return state === null || !terminalStates.has(normalState(state));
}
