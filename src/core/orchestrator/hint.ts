import type { Issue } from "../model/issue.ts";
import { type Context, type Decision, decided, openRequest, tell } from "./decision.ts";
import { byDispatchOrder, isFree, standingOf, withoutBlocker } from "./dispatch.ts";
import { type State, setIn } from "./state.ts";

/** Something may have changed about one issue, known or not: one targeted read, never a poll. */
export function hinted(state: State, issueId: string): Decision {
  const opened = openRequest(state);
  return decided(opened.state, { type: "checkIssue", request: opened.request, issueId });
}

/** False until the first poll: what it will read is newer than any hint before it, and nothing starts before it. */
export function hasBegun({ poll }: State): boolean {
  return poll.phase !== "idle" || poll.lastWall !== null;
}

export interface Read {
  readonly issueId: string;
  readonly request: number;
  /** null: not there, or not ours. */
  readonly issue: Issue | null;
}

/** Takes one fresh snapshot into the list and the queue, as the next poll would: it shows, waits and leaves at once. */
export function place(state: State, { issueId, request, issue }: Read, context: Context): Decision {
  const standing = issue && standingOf(issue, context.config.tracker);
  const others = state.queue.filter(({ id }) => id !== issueId);
  const rest = state.candidates.filter(({ id }) => id !== issueId);
  const known = others.length < state.queue.length;
  const placed = setIn(state.placed, issueId, request);
  if (issue === null || standing === "terminal" || standing === "inactive") {
    const listed = rest.length < state.candidates.length;
    const left = known || listed ? { ...state, candidates: rest, queue: others, placed } : state;
    return decided(issue && standing === "terminal" ? closed(left, issue, context) : left);
  }
  const before = others.findIndex((other) => byDispatchOrder(issue, other) < 0);
  const queue = others.toSpliced(before < 0 ? others.length : before, 0, issue);
  const next = { ...state, candidates: [issue, ...rest], queue, placed };
  if (known || !isFree(state, issue)) return decided(next);
  return decided(
    next,
    tell("issue.queued", issue, { message: issue.title, data: { state: issue.state } }),
  );
}

/** What waited for this issue alone is worth a read: whether it may start now is for the tracker to say. */
function closed(state: State, issue: Issue, { config }: Context): State {
  const { queue, unblocked } = withoutBlocker(state.queue, issue, config.tracker);
  if (queue === state.queue) return state;
  const all = new Set([...state.refill.unblocked, ...unblocked]);
  return { ...state, queue, refill: { ...state.refill, unblocked: all } };
}

/** What was placed by a read newer than `request`, and that nothing has spoken of since. */
export function placedSince(state: State, request: number): readonly Issue[] {
  if (state.placed.size === 0) return [];
  return state.candidates.filter(({ id }) => {
    const placed = state.placed.get(id) ?? 0;
    return placed > request && placed === state.fences.get(id);
  });
}
