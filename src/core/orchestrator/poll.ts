import type { PollOutcome } from "../events/meter.ts";
import type { Issue } from "../model/issue.ts";
import type { PollPace } from "../tracker/tracker.ts";
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
} from "./decision.ts";
import { hasSlot, selectForDispatch, slotsFor, standingOf } from "./dispatch.ts";
import { shutGate } from "./gates.ts";
import type { Effect, Input } from "./messages.ts";
import { hasPlace } from "./placement.ts";
import { applyRead, isSameList, type SingleRead, takeList } from "./queue.ts";
import { overtaken, reconcile, rowsListed, seen, stopStalled, watched } from "./reconcile.ts";
import { startAttempt } from "./start.ts";
import { isFree, type Poll, type State } from "./state.ts";
import { partlyRead, recovered, troubled } from "./tracker-health.ts";

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

/**
 * Starts a poll: stalled attempts, then running issues, then the workflow file, then candidates
 * (O-2).
 */
export function pollDue(state: State, context: Context): Decision {
  if (state.poll.phase !== "idle") return decided(state);
  const poll: Poll = {
    ...state.poll,
    tried: new Set(),
    again: false,
    startedAt: context.now,
    nextWall: null,
  };
  const stopped = andThen(stopStalled({ ...state, poll }, context), (next) =>
    stopOverdue(next, context),
  );
  return andThen(stopped, (next) => {
    const { ids, watchFrom } = watched(next, context);
    if (ids.length === 0) return preflight(next);
    const opened = openRequest({ ...next, watchFrom });
    return decided(inPhase(opened.state, "reconciling", opened.request), {
      type: "refreshRunning",
      request: opened.request,
      ids,
    });
  });
}

/** Handles the answer to a read of the current poll; any other is outdated and changes nothing. */
export function pollAnswered(state: State, input: PollInput, context: Context): Decision {
  if (state.poll.phase === "idle" || input.request !== state.poll.request) {
    return decided(closeRequest(state, input.request));
  }
  switch (input.type) {
    case "running.refreshed":
      return andThen(reconcile(state, input, context), (next) => {
        const closed = closeRequest(next, input.request);
        // An answer about no issue says nothing of the tracker.
        const well = input.ids.length === 0 ? decided(closed) : recovered(closed);
        return andThen(well, preflight);
      });
    case "running.refreshFailed":
      return andThen(troubled(closeRequest(state, input.request), input.error), preflight);
    case "preflight.ended":
      return input.problem === null && !state.draining
        ? fetchCandidates(closeRequest(state, input.request))
        : endPoll(closeRequest(state, input.request), context);
    case "candidates.fetched":
      return andThen(paced(state, input.pace ?? null), (next) =>
        candidatesFetched(next, input, context),
      );
    case "candidates.failed":
      return andThen(paced(state, input.pace ?? null), (next) =>
        andThen(troubled(closeRequest(next, input.request), input.error), (failed) =>
          endPoll(failed, context),
        ),
      );
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
  const listing = isSameList(state, input, context)
    ? decided(state)
    : andThen(rowsListed(state, input, context), (next) => takeList(next, input, context));
  return andThen(listing, (next) => {
    const listed = { ...closeRequest(next, input.request), listFence: input.request };
    return andThen(partlyRead(listed, input.unread ?? null), (well) => dispatchNext(well, context));
  });
}

/**
 * Reads the next issues again right before launch, in one request (O-13); without any, ends the
 * poll.
 */
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

/**
 * Starts the issues that were read right before launch, in order; the others are placed in the
 * queue again.
 */
export function startAll(
  state: State,
  { request, ids, issues }: Extract<Input, { type: "issues.verified" }>,
  context: Context,
): Decision {
  const byId = new Map(issues.map((issue) => [issue.id, issue]));
  const fresh = ids.filter((id) => !isStale(state, id, request));
  const fenced = raiseFences(overtaken(state, { issues, request }), fresh, request);
  return fresh.reduce(
    (decision, issueId) => {
      const read = { issueId, request, issue: byId.get(issueId) ?? null };
      return andThen(decision, (next) => startOrPlace(next, read, context));
    },
    recovered(closeRequest(fenced, request)),
  );
}

/**
 * Starts the issue or corrects its place in the queue, so that an outdated entry is not selected
 * again.
 */
function startOrPlace(state: State, read: SingleRead, context: Context): Decision {
  const { issueId, issue } = read;
  const started = andThen(seen(state, { id: issueId, issue }, context), (next) =>
    startVerified(next, issue, context),
  );
  if (started.state.issues.of("running").has(issueId)) return started;
  return andThen(started, (next) => applyRead(next, read, context));
}

/** Checks a fresh snapshot again and starts it; any other is skipped without a claim. */
export function startVerified(state: State, issue: Issue | null, context: Context): Decision {
  if (
    issue === null ||
    state.draining ||
    standingOf(issue, context.config.tracker) !== "routable" ||
    !isFree(state, issue) ||
    shutGate(state, issue, context.config) !== null ||
    !hasPlace(state, issue, context.config) ||
    !hasSlot(slotsFor(state, context.config), issue)
  ) {
    return decided(state);
  }
  return startAttempt(state, issue, { attempt: null, failures: 0 }, context);
}

/** True while a poll runs or is due at once: another refresh adds none. */
export function isPollNear(state: State, context: Pick<Context, "wall">): boolean {
  const { phase, nextWall } = state.poll;
  return phase !== "idle" || (nextWall !== null && nextWall <= context.wall);
}

/** Ends the poll; the interval to the next one starts here (O-1). */
function endPoll(state: State, context: Context): Decision {
  const delayMs = state.poll.again ? 0 : pollDelay(state, context);
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

/** The time from one poll to the next, ms. */
export function pollDelay({ poll }: State, { config }: Context): number {
  return Math.max(config.polling.intervalMs, poll.pace?.intervalMs ?? 0);
}

/** Reported when polls become slower and when they are as configured again, not in between. */
function paced(state: State, pace: PollPace | null): Decision {
  const next = { ...state, poll: { ...state.poll, pace } };
  if ((pace === null) === (state.poll.pace === null)) return decided(next);
  const message =
    pace === null
      ? "the tracker is polled as often as configured again"
      : `the tracker is polled every ${Math.ceil(pace.intervalMs / 1_000)} s: ${pace.reason}`;
  const data = { interval_ms: pace?.intervalMs ?? null };
  return decided(next, { type: "publish", event: { type: "tracker.pace", message, data } });
}

function outcomeOf({ trackerError }: State, { problem }: Context): PollOutcome {
  if (trackerError !== null) return "tracker_error";
  return problem === null ? "ok" : "invalid_config";
}

function inPhase(state: State, phase: Poll["phase"], request: number): State {
  return { ...state, poll: { ...state.poll, phase, request } };
}

/** One issue, known or not, may have changed: one single read, never a poll. */
export function recheckRequested(state: State, issueId: string): Decision {
  const opened = openRequest(state);
  return decided(opened.state, { type: "checkIssue", request: opened.request, issueId });
}

/**
 * False until the first poll, which reads newer data than any earlier notification; nothing starts
 * before it.
 */
export function hasBegun({ poll }: State): boolean {
  return poll.phase !== "idle" || poll.lastWall !== null;
}
