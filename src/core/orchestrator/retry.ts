import { noTokens } from "../model/attempt.ts";
import { type Issue, normalState, type Wait } from "../model/issue.ts";
import { andThen, type Context, type Decision, decided, tell } from "./decision.ts";
import { standingOf } from "./dispatch.ts";
import { whyLeft } from "./explain.ts";
import {
  type Completed,
  type Dismissal,
  type Ended,
  type Retry,
  workspacePathOf,
} from "./issues.ts";
import { unlisted } from "./queue.ts";
import { claimed, completedKept, type State } from "./state.ts";

const continuationDelayMs = 1_000;
const firstFailureDelayMs = 10_000;
/** The longest delay of a Node timer; a longer one fires at once (O-20). */
const longestDelayMs = 2 ** 31 - 1;

/** Delay in ms before retry number `attempt` (1-based): 10 s, 20 s, 40 s, … up to `maxMs` (O-19). */
export function failureDelay(attempt: number, maxMs: number): number {
  return Math.min(firstFailureDelayMs * 2 ** (Math.max(attempt, 1) - 1), maxMs, longestDelayMs);
}

/** Delay in ms before an issue is read again whose attempt ended normally (O-17). */
export function continuationDelay(): number {
  return continuationDelayMs;
}

export type NewRetry = Omit<
  Retry,
  "claim" | "dueAt" | "dueWall" | "queuedState" | "checking" | "waits" | "wantsSlot"
>;

interface When {
  readonly delayMs: number;
  readonly now: number;
  readonly wall: number;
  readonly waits?: Wait | null;
  readonly wantsSlot?: boolean;
  /** For the event; by default it is made from the retry. */
  readonly message?: string;
  /** Further facts of the event. */
  readonly data?: Readonly<Record<string, unknown>>;
}

/** Queues a read of the issue after `delayMs`; an earlier one for the issue is replaced (O-21). */
export function queueRetry(
  state: State,
  retry: NewRetry,
  { delayMs, now, wall, waits = null, wantsSlot = false, message, data = {} }: When,
): Decision {
  const { issue, attempt, error } = retry;
  const dueWall = wall + delayMs;
  const entry: Retry = {
    ...retry,
    claim: "retrying",
    dueAt: now + delayMs,
    dueWall,
    queuedState: normalState(issue.state),
    checking: null,
    waits,
    wantsSlot,
  };
  return decided(
    claimed(state, entry),
    { type: "setTimer", input: { type: "retry.due", issueId: issue.id }, delayMs },
    { type: "saveRecord", issueId: issue.id },
    tell("issue.retrying", issue, {
      message: message ?? messageOf(entry),
      data: { attempt, error, due_at: new Date(dueWall).toISOString(), ...data },
    }),
  );
}

function messageOf({ attempt, error, waits }: Retry): string {
  if (error === null) return "ended normally, checking the issue again";
  return waits ? `waits: ${error}` : `retry ${attempt}: ${error}`;
}

/** Queues the failure retry number `retry.attempt` on its backoff (O-18, O-19). */
export function queueFailure(state: State, retry: NewRetry, context: Context): Decision {
  return queueRetry(state, retry, onBackoff(retry, context));
}

/**
 * As `queueFailure`, for a retry that found no free slot (O-24): it may take the next one. One that `waited` already is read
 * 16 times less often: what frees a slot wakes it.
 */
export function queueForSlot(
  state: State,
  { waited = false, ...retry }: NewRetry & { readonly waited?: boolean },
  context: Context,
): Decision {
  const pace = { ...retry, attempt: retry.attempt + (waited ? 4 : 0) };
  return queueRetry(state, retry, { ...onBackoff(pace, context), wantsSlot: true });
}

function onBackoff({ attempt }: NewRetry, { config, now, wall }: Context): When {
  return { delayMs: failureDelay(attempt, config.agent.maxRetryBackoffMs), now, wall };
}

/**
 * Releases the issue: it has no claim. It was worked on, so it is watched until it is closed. If its
 * work is offered, it waits for its people again.
 */
export function release(
  state: State,
  issue: Issue,
  { why, wall }: { readonly why: string; readonly wall: number },
): Decision {
  const { id } = issue;
  const row = state.issues.get(id);
  const path = workspacePathOf(row);
  const free = claimed(
    unlisted(state, id),
    row?.offer
      ? { claim: "review", issue, sinceWall: wall, workspacePath: path }
      : { claim: "free", issue, worked: true },
  );
  return decided(
    bounded(free),
    { type: "clearTimer", input: { type: "retry.due", issueId: id } },
    { type: "saveRecord", issueId: id },
    tell("issue.released", issue, { message: why }),
  );
}

/** Why an issue left that the tracker no longer returns, where it does not say more. */
export const invisible = "no longer visible in the tracker";

/** Ends a retry whose issue may no longer run: closed, moved, or not visible (null). */
export function dropRetry(
  state: State,
  entry: Retry,
  read: { readonly issue: Issue | null; readonly why?: string | undefined },
  context: Pick<Context, "config" | "wall" | "prior">,
): Decision {
  const { wall } = context;
  const { issue } = read;
  if (issue === null) return release(state, entry.issue, { why: read.why ?? invisible, wall });
  const { after: ended, workspacePath: path } = entry;
  const { tracker } = context.config;
  if (standingOf(issue, tracker) === "terminal") {
    return close(state, issue, { ended, path, context });
  }
  const why = whyLeft(entry.issue, issue, tracker);
  if (ended === null || state.issues.get(issue.id)?.offer) {
    return release(state, issue, { why, wall });
  }
  return andThen(release(state, issue, { why, wall }), (next) =>
    complete(next, issue, { ended, context }),
  );
}

export interface Completion {
  /** The attempt that has just ended; null: the last one of the history, if there was one. */
  readonly ended: Ended | null;
  readonly context: Pick<Context, "wall" | "prior">;
  /** Set if an operator completed it while the tracker had it open. */
  readonly dismissed?: Dismissal;
}

/** Records a completed issue, newest last, up to `completedKept` of them. */
export function complete(state: State, issue: Issue, done: Completion): Decision {
  const { ended, context, dismissed = null } = done;
  const last = ended ?? context.prior(issue.id, "").last ?? null;
  const row: Completed = {
    claim: "completed",
    issue,
    attemptId: last?.attemptId ?? null,
    outcome: last?.outcome ?? "none",
    endedWall: ended?.endedWall ?? context.wall,
    tokens: last?.tokens ?? noTokens,
    dismissed,
  };
  const listed = dismissed ? state : unlisted(state, issue.id);
  // Removed first, because a row that gets a claim again goes to the end of its bucket.
  const free = claimed(listed, { claim: "free", issue, worked: false });
  return decided(
    bounded(claimed(free, row)),
    tell("issue.completed", issue, {
      attemptId: row.attemptId,
      message: `completed in state ${issue.state}`,
      data: { outcome: row.outcome, state: issue.state },
    }),
  );
}

export interface Closing {
  readonly ended: Ended | null;
  /** The recorded workspace, if there is one. */
  readonly path: string | null;
  readonly context: Pick<Context, "wall" | "prior">;
}

/** The tracker closed the issue: its claim ends, it is completed, and its workspace is removed. */
export function close(state: State, issue: Issue, { ended, path, context }: Closing): Decision {
  const { wall } = context;
  const over = { ...state, issues: state.issues.offering(issue, null) };
  return andThen(release(over, issue, { why: `issue is ${issue.state}`, wall }), (next) =>
    andThen(complete(next, issue, { ended, context }), (last) =>
      decided(last, { type: "removeWorkspace", issue, path }),
    ),
  );
}

/** Drops the oldest completed or released row above the limit, never one an operator completed. */
function bounded(state: State): State {
  const completed = state.issues.of("completed");
  const isFull = completed.size > completedKept;
  const oldest = isFull && [...completed.values()].find(({ dismissed }) => dismissed === null);
  const worked = [...state.issues.of("free").values()].filter((row) => row.worked);
  const first = worked.length > completedKept && worked[0];
  return [oldest, first].reduce<State>(
    (next, row) => (row ? claimed(next, { claim: "free", issue: row.issue, worked: false }) : next),
    state,
  );
}
