import { SymphonyError } from "../model/errors.ts";
import { type Issue, normalState, type TrackerState } from "../model/issue.ts";
import type { Tracker } from "../tracker/tracker.ts";
import type { Target, TransitionsView } from "./answers.ts";
import { targetsOf } from "./operator.ts";
import { statusOf } from "./snapshot.ts";
import type { State } from "./state.ts";

/** Issues that are listed at most: one tracker asks nothing, another one a request a team. */
const listedAtMost = 1_000;

/** Where each of `issues` may go: symphony's own statuses, and the states of the tracker. */
export async function transitionsOf(
  state: State,
  issues: readonly Issue[],
  tracker: Tracker,
): Promise<TransitionsView> {
  const states = new Map<string, TrackerState>();
  const rows: TransitionsView["issues"][number][] = [];
  for (const issue of issues.slice(0, listedAtMost)) {
    const own = await tracker.workflow.states(issue);
    for (const one of own) states.set(normalState(one.name), one);
    rows.push({
      identifier: issue.identifier,
      status: statusOf(state, issue),
      state: issue.state,
      targets: targetsIn(state, issue, own),
    });
  }
  return { trackerStates: [...states.values()], issues: rows };
}

/** Moves the issue to a state of its tracker and resolves with that state's name. Rejects with `transition_not_allowed`. */
export async function moveInTracker(
  state: State,
  { issue, to, tracker }: { readonly issue: Issue; readonly to: string; readonly tracker: Tracker },
): Promise<string> {
  const states = await tracker.workflow.states(issue);
  const wanted = states.find(({ name }) => normalState(name) === normalState(to));
  if (!wanted) {
    const allowed = targetsIn(state, issue, states).map((target) => target.to);
    throw new SymphonyError("transition_not_allowed", `${issue.identifier} cannot go to ${to}`, {
      details: { allowed },
    });
  }
  await tracker.workflow.move(issue, wanted.name);
  return wanted.name;
}

function targetsIn(state: State, issue: Issue, states: readonly TrackerState[]): readonly Target[] {
  const own = states.filter(({ name }) => normalState(name) !== normalState(issue.state));
  return [
    ...targetsOf(state, issue).map((to): Target => ({ to, kind: "status" })),
    ...own.map(({ name }): Target => ({ to: name, kind: "tracker" })),
  ];
}
