import type { Issue } from "../model/issue.ts";
import { andThen, type Context, type Decision, decided, tell } from "./decision.ts";
import { orderStop } from "./reconcile.ts";
import { type State, type Stop, setIn, without } from "./state.ts";

export interface Holding {
  readonly reason: string;
  /** How the attempt that is stopped for it counts as ended. */
  readonly outcome?: Stop["outcome"];
  /** Further facts for the event. */
  readonly data?: Readonly<Record<string, unknown>>;
  readonly context: Pick<Context, "wall">;
}

/** Durable at once, before the agent is gone: a crash in between must not start the issue again. */
export function hold(
  state: State,
  issue: Issue,
  { reason, outcome, data, context }: Holding,
): Decision {
  const row = { issue, reason, error: null, sinceWall: context.wall };
  const held = {
    ...unclaimed(state, issue.id),
    held: setIn(state.held, issue.id, row),
  };
  const stop: Stop = { reason, leadsTo: "hold", gently: false, ...(outcome && { outcome }) };
  return andThen(stopFor(held, issue, stop), (next) =>
    decided(
      next,
      { type: "clearTimer", input: { type: "retry.due", issueId: issue.id } },
      { type: "saveRecord", issueId: issue.id },
      tell("issue.held", issue, { message: reason, data: { reason, ...data } }),
    ),
  );
}

/** Stops the issue's attempt, if it has one. */
export function stopFor(state: State, issue: Issue, stop: Stop): Decision {
  const entry = state.running.get(issue.id);
  if (!entry) return decided(state);
  // Already on its way out: only what becomes of the issue changes.
  if (entry.stopping && !entry.stopping.gently) {
    return decided({
      ...state,
      running: setIn(state.running, issue.id, { ...entry, stopping: stop }),
    });
  }
  return orderStop(state, entry, stop);
}

/** Every mark but a live attempt taken off. */
export function unclaimed(state: State, id: string): State {
  return {
    ...state,
    retrying: without(state.retrying, id),
    blocked: without(state.blocked, id),
    held: without(state.held, id),
    failed: without(state.failed, id),
    dismissed: without(state.dismissed, id),
  };
}
