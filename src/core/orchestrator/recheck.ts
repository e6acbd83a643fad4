import { type Issue, normalState } from "../model/issue.ts";
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
import { hasSlot, slotsFor, standingOf } from "./dispatch.ts";
import { type Gate, shutGate, storageGate } from "./gates.ts";
import type { Retry } from "./issues.ts";
import { lossesOf } from "./losses.ts";
import type { Input } from "./messages.ts";
import { wantedFor, whyNoWorker } from "./placement.ts";
import { startVerified } from "./poll.ts";
import { applyRead } from "./queue.ts";
import { overtaken, seen } from "./reconcile.ts";
import {
  dropRetry,
  failureDelay,
  type NewRetry,
  queueFailure,
  queueForSlot,
  queueRetry,
} from "./retry.ts";
import { startAttempt } from "./start.ts";
import { claimed, type State } from "./state.ts";
import { isUnread, recovered, troubled } from "./tracker-health.ts";

/** The wall clock, which opens gates, may be some milliseconds behind the monotonic one. */
const shortestWaitMs = 1_000;
/** The same for a gate that opens at no known time. */
const openWaitMs = 10 * 60_000;
/** A fallback: normally the retry is woken when the disk accepts writes. */
const storageRecheckMs = 60_000;

/** A retry is due: reads its issue (O-22). */
export function retryDue(state: State, issueId: string, context: Context): Decision {
  const entry = state.issues.of("retrying").get(issueId);
  if (!entry || entry.checking !== null || state.draining) return decided(state);
  if (entry.dueAt > context.now) {
    const delayMs = entry.dueAt - context.now;
    return decided(state, { type: "setTimer", input: { type: "retry.due", issueId }, delayMs });
  }
  if (context.problem) {
    const delayMs = failureDelay(entry.attempt, context.config.agent.maxRetryBackoffMs);
    const { now, wall } = context;
    return queueRetry(state, { ...entry, error: context.problem.message }, { delayMs, now, wall });
  }
  const gate = shutGate(state, entry.issue, context.config);
  // After a turn that ended well the issue may be done, which no gate delays.
  const mayBeDone = entry.error === null && storageGate(state) === null;
  if (gate && !mayBeDone) return waitFor(state, entry, { gate, context });
  return recheck(state, issueId);
}

/** Queues the retry for when the gate opens; it keeps its number, because nothing failed. */
function waitFor(
  state: State,
  entry: Retry,
  { gate, context: { now, wall } }: { gate: Gate; context: Context },
): Decision {
  const { detail: error, wait: waits, untilWall } = gate;
  if (waits.gate === "storage") return waitForStorage(state, entry, { error, now, wall });
  // Without a time, the retry is woken when the gate opens.
  const delayMs = untilWall === null ? openWaitMs : Math.max(untilWall - wall, shortestWaitMs);
  return queueRetry(state, { ...entry, error }, { delayMs, now, wall, waits });
}

/** Neither saves nor publishes while the disk refuses writes; then the retry is woken. */
export function waitForStorage(
  state: State,
  entry: NewRetry,
  { error, now, wall }: { error: string; now: number; wall: number },
): Decision {
  const { id } = entry.issue;
  const next: Retry = {
    ...entry,
    claim: "retrying",
    error,
    dueAt: now + storageRecheckMs,
    dueWall: wall + storageRecheckMs,
    queuedState: normalState(entry.issue.state),
    checking: null,
    waits: { gate: "storage" },
    wantsSlot: false,
  };
  return decided(claimed(state, next), {
    type: "setTimer",
    input: { type: "retry.due", issueId: id },
    delayMs: storageRecheckMs,
  });
}

/** Reads the issue of a retry, which waits for the answer. */
export function recheck(state: State, issueId: string): Decision {
  const opened = openRequest(state);
  const entry = state.issues.of("retrying").get(issueId);
  const checking = opened.request;
  const next = entry ? claimed(opened.state, { ...entry, checking }) : opened.state;
  return decided(next, { type: "checkIssue", request: opened.request, issueId });
}

/** The answer to a single read, of a retry that was due or after a notification. */
export function issueChecked(
  state: State,
  input: Extract<Input, { type: "issue.checked" }>,
  context: Context,
): Decision {
  const { request, issueId, issue } = input;
  const entry = state.issues.of("retrying").get(issueId);
  const waits = entry?.checking === request;
  if (isStale(state, issueId, request)) {
    // A newer answer was applied in the meantime: read again, do not decide on this one.
    const late = overtaken(state, { issues: issue ? [issue] : [], request });
    const closed = closeRequest(late, request);
    return waits && !state.draining ? recheck(closed, issueId) : decided(closed);
  }
  const fenced = closeRequest(raiseFences(state, [issueId], request), request);
  const aligned = andThen(recovered(fenced), (next) =>
    entry ? decided(next) : seen(next, { id: issueId, issue, why: input.gone?.[issueId] }, context),
  );
  const placed = andThen(aligned, (next) => applyRead(next, input, context));
  return andThen(placed, (next) => {
    const read = { issue, why: input.gone?.[issueId] };
    if (waits) return retryChecked(next, entry, read, context);
    if (entry) return retryRechecked(next, entry, read, context);
    return context.problem ? decided(next) : startVerified(next, issue, context);
  });
}

/**
 * The read failed: a retry is queued again with its claim kept (O-25); a notification is dropped,
 * the next poll covers it.
 */
export function issueCheckFailed(
  state: State,
  input: Extract<Input, { type: "issue.checkFailed" }>,
  context: Context,
): Decision {
  const closed = closeRequest(state, input.request);
  const entry = state.issues.of("retrying").get(input.issueId);
  // The last list has said it of the whole repository, and the others can be read.
  const isKnown = isUnread(input.issueId, state.poll.unread);
  const noted = isKnown ? decided(closed) : troubled(closed, input.error);
  if (entry?.checking !== input.request) return noted;
  return andThen(noted, (next) =>
    queueFailure(
      next,
      { ...entry, attempt: entry.attempt + 1, error: "retry refresh failed" },
      context,
    ),
  );
}

/** A notification does not shorten a retry's wait, unless the issue's state has changed. */
function retryRechecked(
  state: State,
  entry: Retry,
  read: SingleAnswer,
  context: Context,
): Decision {
  const { issue } = read;
  const stays = mayRun(state, issue, context);
  const moved = issue !== null && stays && normalState(issue.state) !== entry.queuedState;
  if (issue === null || !stays || (moved && !context.problem))
    return retryChecked(state, entry, read, context);
  return decided(claimed(state, { ...entry, issue }));
}

interface SingleAnswer {
  readonly issue: Issue | null;
  /** Why there is none, if the tracker says so. */
  readonly why: string | undefined;
}

function retryChecked(state: State, entry: Retry, read: SingleAnswer, context: Context): Decision {
  const { issue } = read;
  return issue !== null && mayRun(state, issue, context)
    ? relaunch(state, entry, issue, context)
    : dropRetry(state, entry, read, context);
}

function mayRun(state: State, issue: Issue | null, { config }: Context): boolean {
  if (issue === null) return false;
  const offer = state.issues.get(issue.id)?.offer;
  return standingOf(issue, config.tracker, offer) === "routable";
}

/** Starts the next attempt, ignoring its own claim (O-23), or waits for a slot (O-24). */
function relaunch(state: State, entry: Retry, issue: Issue, context: Context): Decision {
  if (state.draining) return decided(state);
  const gate = shutGate(state, issue, context.config);
  if (gate) return waitFor(state, { ...entry, issue }, { gate, context });
  const { config } = context;
  const { attempt } = entry;
  const noWorker = whyNoWorker(state, config, wantedFor(state, issue, config));
  // A full or lost pool of workers is no failure, and counts none.
  if (noWorker !== null) {
    const retry = { ...entry, issue, error: noWorker, waited: entry.wantsSlot };
    return queueForSlot(state, retry, context);
  }
  if (hasSlot(slotsFor(state, config), issue)) {
    return startAttempt(
      state,
      issue,
      { attempt, failures: entry.failures, ...lossesOf(entry) },
      context,
    );
  }
  const error = "no available orchestrator slots";
  return queueForSlot(state, { ...entry, issue, attempt: attempt + 1, error }, context);
}
