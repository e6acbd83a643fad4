import { SymphonyError } from "../model/errors.ts";
import { type Issue, type IssueStatus, normalState, type TrackerState } from "../model/issue.ts";
import type { Tracker } from "../tracker/tracker.ts";
import { targetsOf } from "./operator.ts";
import { statusOf } from "./snapshot.ts";
import type { State } from "./state.ts";

interface Target {
  readonly to: string;
  readonly kind: "status" | "tracker";
}

export interface Transitioned {
  readonly identifier: string;
  readonly from: string;
  readonly to: string;
  readonly kind: "status" | "tracker";
}

export interface TransitionsView {
  readonly trackerStates: readonly TrackerState[];
  readonly issues: readonly {
    readonly identifier: string;
    readonly status: IssueStatus | null;
    readonly state: string;
    readonly targets: readonly Target[];
  }[];
}

/** Limit of listed issues: some trackers need one request per team. */
const maxListed = 1_000;

/** The targets of each of `issues`: symphony's own statuses, and the states of the tracker. */
export async function transitionsOf(
  state: State,
  issues: readonly Issue[],
  tracker: Tracker,
): Promise<TransitionsView> {
  const states = new Map<string, TrackerState>();
  const rows: TransitionsView["issues"][number][] = [];
  for (const issue of issues.slice(0, maxListed)) {
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

/** Moves the issue in its tracker; returns the state's name. Throws `transition_not_allowed`. */
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
