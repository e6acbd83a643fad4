import type { Issue } from "../model/issue.ts";
import { type Context, type Decision, decided, tell } from "./decision.ts";
import { byDispatchOrder, queueOf, standingOf, withoutBlocker } from "./dispatch.ts";
import type { Effect, Input } from "./messages.ts";
import { isFree, type State, setIn } from "./state.ts";

type Listed = Extract<Input, { type: "candidates.fetched" }>;

/** Limit of `issue.queued` events per poll; beyond it only `poll.completed` counts new issues. */
const maxListed = 200;

/** True if this is the current list (the same array) with the same settings: nothing to do. */
export function isSameList(state: State, input: Listed, { config }: Context): boolean {
  return input.issues === state.candidates && state.queuedFor === config.tracker;
}

/** Replaces the list. */
export function takeList(state: State, input: Listed, context: Context): Decision {
  const { tracker } = context.config;
  // An issue that was read after this list was requested keeps its newer snapshot.
  const stale = state.fences.size > 0 ? state.fences : null;
  const newer = readSince(state, input.request);
  const current = stale
    ? [...newer, ...input.issues.filter((issue) => (stale.get(issue.id) ?? 0) <= input.request)]
    : input.issues;
  const queue = queueOf(current, tracker);
  const isOwn = newer.length > 0 || current.length < input.issues.length;
  const candidates = isOwn ? current : input.issues;
  const known = new Set(state.queue.map((issue) => issue.id));
  const fresh = queue.filter((issue) => !known.has(issue.id));
  const events: Effect[] = fresh
    .filter(({ id }) => mayQueue(state.issues.get(id)?.claim))
    .slice(0, maxListed)
    .map((issue) =>
      tell("issue.queued", issue, { message: issue.title, data: { state: issue.state } }),
    );
  const changed: Effect[] =
    fresh.length > 0 || queue.length !== state.queue.length
      ? [
          {
            type: "publish",
            event: {
              type: "poll.completed",
              message: `${queue.length} issues to work on, ${fresh.length} new`,
              data: { candidates: input.issues.length, queued: queue.length, new: fresh.length },
            },
          },
        ]
      : [];
  return decided(
    { ...state, candidates, queue, queuedFor: tracker, placed: new Map() },
    ...events,
    ...changed,
  );
}

/** The first list after a start also has issues that run, wait or are stopped: those are not queued by it. */
function mayQueue(claim: string | undefined): boolean {
  return claim === undefined || claim === "free" || claim === "completed";
}

export interface SingleRead {
  readonly issueId: string;
  readonly request: number;
  /** null: does not exist, or is out of scope. */
  readonly issue: Issue | null;
}

/** Puts one fresh snapshot into the list and the queue at once, as the next poll would. */
export function applyRead(
  state: State,
  { issueId, request, issue }: SingleRead,
  context: Pick<Context, "config">,
): Decision {
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

/** Reads issues again that only this one blocked: the tracker decides whether they may start. */
function closed(state: State, issue: Issue, { config }: Pick<Context, "config">): State {
  const { queue, unblocked } = withoutBlocker(state.queue, issue, config.tracker);
  if (queue === state.queue) return state;
  const all = new Set([...state.refill.unblocked, ...unblocked]);
  return { ...state, queue, refill: { ...state.refill, unblocked: all } };
}

/** The issues placed by a read newer than `request`, if no later answer included them. */
function readSince(state: State, request: number): readonly Issue[] {
  if (state.placed.size === 0) return [];
  return state.candidates.filter(({ id }) => {
    const placed = state.placed.get(id) ?? 0;
    return placed > request && placed === state.fences.get(id);
  });
}

/** Removes the issue: the list is outdated and must not show it as waiting until the next list. */
export function unlisted(state: State, id: string): State {
  if (!state.candidates.some((issue) => issue.id === id)) return state;
  const others = (issue: Issue) => issue.id !== id;
  return {
    ...state,
    candidates: state.candidates.filter(others),
    queue: state.queue.filter(others),
  };
}

/** Puts in the issue as last read: without a claim it is shown from the list, which may be old. */
export function relisted(state: State, issue: Issue, context: Pick<Context, "config">): State {
  const { id } = issue;
  if (!state.candidates.some((one) => one.id === id && one !== issue)) return state;
  return applyRead(state, { issueId: id, request: state.fences.get(id) ?? 0, issue }, context)
    .state;
}
