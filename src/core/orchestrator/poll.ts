import type { PollOutcome } from "../events/meter.ts";
import type { Issue } from "../model/issue.ts";
import { stopOverdue } from "./brakes.ts";
import {
  andThen,
  type Context,
  closeRequest,
  type Decision,
  decided,
  isStale,
  openRequest,
  raiseFences,
  tell,
} from "./decision.ts";
import {
  byDispatchOrder,
  hasSlot,
  isFree,
  queueOf,
  selectForDispatch,
  shutGate,
  slotsFor,
  standingOf,
  withoutBlocker,
} from "./dispatch.ts";
import type { Effect, Input } from "./messages.ts";
import { reconcile, stopStalled, watchedIds } from "./reconcile.ts";
import { startAttempt } from "./start.ts";
import { type Poll, type State, setIn } from "./state.ts";
import { recovered, troubled } from "./tracker-health.ts";

type PollInput = Extract<
  Input,
  {
    type:
      | "running.refreshed"
      | "running.refreshFailed"
      | "preflight.ended"
      | "candidates.fetched"
      | "candidates.failed"
      | "issues.verified"
      | "issues.verifyFailed";
  }
>;

/** `issue.queued` events of one poll at most: a first look at 10,000 issues is told by its count. */
const maxListed = 200;

/** Starts a poll: stalls, then running issues, then the file, then candidates (O-2). */
export function pollDue(state: State, context: Context): Decision {
  if (state.poll.phase !== "idle") return decided(state);
  const poll: Poll = {
    ...state.poll,
    tried: new Set(),
    again: false,
    startedAt: context.now,
    nextWall: null,
  };
  const watched = andThen(stopStalled({ ...state, poll }, context), (next) =>
    stopOverdue(next, context),
  );
  return andThen(watched, (next) => {
    const ids = watchedIds(next);
    if (ids.length === 0) return preflight(next);
    const opened = openRequest(next);
    return decided(inPhase(opened.state, "reconciling", opened.request), {
      type: "refreshRunning",
      request: opened.request,
      ids,
    });
  });
}

/** The answer to a read of the poll under way; any other is out of date and changes nothing. */
export function pollAnswered(state: State, input: PollInput, context: Context): Decision {
  if (state.poll.phase === "idle" || input.request !== state.poll.request) {
    return decided(closeRequest(state, input.request));
  }
  switch (input.type) {
    case "running.refreshed":
      return andThen(reconcile(state, input, context), (next) => {
        const well = recovered(closeRequest(next, input.request));
        return andThen(well, preflight);
      });
    case "running.refreshFailed":
      return andThen(troubled(closeRequest(state, input.request), input.error), preflight);
    case "preflight.ended":
      return input.problem === null && !state.draining
        ? fetchCandidates(closeRequest(state, input.request))
        : endPoll(closeRequest(state, input.request), context);
    case "candidates.fetched":
      return candidatesFetched(state, input, context);
    case "candidates.failed":
    case "issues.verifyFailed":
      return andThen(troubled(closeRequest(state, input.request), input.error), (next) =>
        endPoll(next, context),
      );
    case "issues.verified":
      return issuesVerified(state, input, context);
  }
}

function preflight(state: State): Decision {
  const opened = openRequest(state);
  return decided(inPhase(opened.state, "preflight", opened.request), {
    type: "preflight",
    request: opened.request,
  });
}

function fetchCandidates(state: State): Decision {
  const opened = openRequest(state);
  return decided(inPhase(opened.state, "fetching", opened.request), {
    type: "fetchCandidates",
    request: opened.request,
  });
}

function candidatesFetched(
  state: State,
  input: Extract<Input, { type: "candidates.fetched" }>,
  context: Context,
): Decision {
  const told = requeue(state, input, context);
  return andThen(told, (next) => {
    const listed = { ...closeRequest(next, input.request), listFence: input.request };
    return andThen(recovered(listed), (well) => dispatchNext(well, context));
  });
}

/** Takes over the list. An unchanged one (the same array) costs nothing. */
function requeue(
  state: State,
  input: Extract<Input, { type: "candidates.fetched" }>,
  context: Context,
): Decision {
  const { tracker } = context.config;
  if (input.issues === state.candidates && state.queuedFor === tracker) return decided(state);
  // An issue that was read later than this list was asked for keeps its newer standing.
  const stale = state.fences.size > 0 ? state.fences : null;
  const newer = readSince(state, input.request);
  const current = stale
    ? [...newer, ...input.issues.filter((issue) => (stale.get(issue.id) ?? 0) <= input.request)]
    : input.issues;
  const queue = queueOf(current, tracker);
  const candidates = newer.length > 0 ? current : input.issues;
  const known = new Set(state.queue.map((issue) => issue.id));
  const fresh = queue.filter((issue) => !known.has(issue.id));
  const told: Effect[] = fresh
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
    ...told,
    ...changed,
  );
}

/** Reads the next issues once more right before launch, in one request (O-13); none left ends the poll. */
function dispatchNext(state: State, context: Context): Decision {
  if (state.draining || context.problem) return endPoll(state, context);
  const selected = selectForDispatch(state, context.config, state.poll.tried);
  if (selected.length === 0) return endPoll(state, context);
  const ids = selected.map((issue) => issue.id);
  const opened = openRequest(state);
  const tried = new Set([...state.poll.tried, ...ids]);
  const next = inPhase(opened.state, "verifying", opened.request);
  return decided(
    { ...next, poll: { ...next.poll, tried } },
    { type: "verifyIssues", request: opened.request, ids },
  );
}

function issuesVerified(
  state: State,
  input: Extract<Input, { type: "issues.verified" }>,
  context: Context,
): Decision {
  return andThen(startAll(state, input, context), (next) => dispatchNext(next, context));
}

/** Starts what was read right before launch, best first; whatever does not start takes its new place in the queue. */
export function startAll(
  state: State,
  { request, ids, issues }: Extract<Input, { type: "issues.verified" }>,
  context: Context,
): Decision {
  const byId = new Map(issues.map((issue) => [issue.id, issue]));
  const fresh = ids.filter((id) => !isStale(state, id, request));
  const fenced = raiseFences(state, fresh, request);
  return fresh.reduce(
    (decision, issueId) => {
      const read = { issueId, request, issue: byId.get(issueId) ?? null };
      return andThen(decision, (next) => startOrPlace(next, read, context));
    },
    decided(closeRequest(fenced, request)),
  );
}

/** An entry of the queue that the tracker no longer says would be selected again and again. */
function startOrPlace(state: State, read: SingleRead, context: Context): Decision {
  const started = startVerified(state, read.issue, context);
  if (started.state.running.has(read.issueId)) return started;
  return andThen(started, (next) => applyRead(next, read, context));
}

/** Judges a fresh snapshot again and starts it; anything else is skipped without a claim. */
export function startVerified(state: State, issue: Issue | null, context: Context): Decision {
  if (
    issue === null ||
    state.draining ||
    standingOf(issue, context.config.tracker) !== "routable" ||
    !isFree(state, issue) ||
    shutGate(state, issue, context.config) !== null ||
    !hasSlot(slotsFor(state, context.config), issue)
  ) {
    return decided(state);
  }
  return startAttempt(state, issue, { attempt: null, failures: 0 }, context);
}

/** True while a poll runs or is due at once: a further refresh adds none. */
export function isPollNear(state: State, context: Pick<Context, "wall">): boolean {
  const { phase, nextWall } = state.poll;
  return phase !== "idle" || (nextWall !== null && nextWall <= context.wall);
}

/** Ends the poll; the next is counted from here (O-1). */
function endPoll(state: State, context: Context): Decision {
  const delayMs = state.poll.again ? 0 : context.config.polling.intervalMs;
  const poll: Poll = {
    ...state.poll,
    phase: "idle",
    tried: new Set(),
    again: false,
    lastWall: context.wall,
    nextWall: context.wall + delayMs,
  };
  const measured: Effect = {
    type: "measurePoll",
    outcome: outcomeOf(state, context),
    durationMs: context.now - state.poll.startedAt,
  };
  if (state.draining) return decided({ ...state, poll }, measured);
  const timer: Effect = { type: "setTimer", input: { type: "poll.due" }, delayMs };
  return decided({ ...state, poll }, timer, measured);
}

function outcomeOf({ trackerError }: State, { problem }: Context): PollOutcome {
  if (trackerError !== null) return "tracker_error";
  return problem === null ? "ok" : "invalid_config";
}

function inPhase(state: State, phase: Poll["phase"], request: number): State {
  return { ...state, poll: { ...state.poll, phase, request } };
}

/** Something may have changed about one issue, known or not: one targeted read, never a poll. */
export function recheckRequested(state: State, issueId: string): Decision {
  const opened = openRequest(state);
  return decided(opened.state, { type: "checkIssue", request: opened.request, issueId });
}

/** False until the first poll: what it will read is newer than any hint before it, and nothing starts before it. */
export function hasBegun({ poll }: State): boolean {
  return poll.phase !== "idle" || poll.lastWall !== null;
}

interface SingleRead {
  readonly issueId: string;
  readonly request: number;
  /** null: not there, or not ours. */
  readonly issue: Issue | null;
}

/** Takes one fresh snapshot into the list and the queue, as the next poll would: it shows, waits and leaves at once. */
export function applyRead(
  state: State,
  { issueId, request, issue }: SingleRead,
  context: Context,
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

/** What waited for this issue alone is worth a read: whether it may start now is for the tracker to say. */
function closed(state: State, issue: Issue, { config }: Context): State {
  const { queue, unblocked } = withoutBlocker(state.queue, issue, config.tracker);
  if (queue === state.queue) return state;
  const all = new Set([...state.refill.unblocked, ...unblocked]);
  return { ...state, queue, refill: { ...state.refill, unblocked: all } };
}

/** What was placed by a read newer than `request`, and that nothing has spoken of since. */
function readSince(state: State, request: number): readonly Issue[] {
  if (state.placed.size === 0) return [];
  return state.candidates.filter(({ id }) => {
    const placed = state.placed.get(id) ?? 0;
    return placed > request && placed === state.fences.get(id);
  });
}
