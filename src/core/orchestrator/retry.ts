import type { Issue, Wait } from "../model/issue.ts";
import { type Context, type Decision, decided, tell } from "./decision.ts";
import {
  type Completed,
  completedKept,
  type Ended,
  type Retry,
  type State,
  setIn,
  without,
} from "./state.ts";

const continuationDelayMs = 1_000;
const firstFailureDelayMs = 10_000;
/** The longest delay a Node timer keeps; anything above fires at once (O-20). */
const longestDelayMs = 2 ** 31 - 1;

/** Delay in ms before retry number `attempt` (1-based): 10 s, 20 s, 40 s, … up to `maxMs` (O-19). */
export function failureDelay(attempt: number, maxMs: number): number {
  return Math.min(firstFailureDelayMs * 2 ** (Math.max(attempt, 1) - 1), maxMs, longestDelayMs);
}

/** Delay in ms before looking again at an issue whose attempt ended normally (O-17). */
export function continuationDelay(): number {
  return continuationDelayMs;
}

export type NewRetry = Omit<Retry, "dueAt" | "dueWall" | "checking" | "waits" | "wantsSlot">;

interface When {
  readonly delayMs: number;
  readonly now: number;
  readonly wall: number;
  readonly waits?: Wait | null;
  readonly wantsSlot?: boolean;
}

/** Queues a look at the issue after `delayMs`; an earlier one for the issue is replaced (O-21). */
export function queueRetry(
  state: State,
  retry: NewRetry,
  { delayMs, now, wall, waits = null, wantsSlot = false }: When,
): Decision {
  const { issue, attempt, error } = retry;
  const dueWall = wall + delayMs;
  const dueAt = now + delayMs;
  const entry: Retry = { ...retry, dueAt, dueWall, checking: null, waits, wantsSlot };
  return decided(
    { ...state, retrying: setIn(state.retrying, issue.id, entry) },
    { type: "setTimer", input: { type: "retry.due", issueId: issue.id }, delayMs },
    { type: "saveRecord", issueId: issue.id },
    tell("issue.retrying", issue, {
      message: messageOf(entry),
      data: { attempt, error, due_at: new Date(dueWall).toISOString() },
    }),
  );
}

function messageOf({ attempt, error, waits }: Retry): string {
  if (error === null) return "ended normally, looking again";
  return waits ? `waits: ${error}` : `retry ${attempt}: ${error}`;
}

/** Queues the failure retry number `retry.attempt` on its backoff (O-18, O-19). */
export function queueFailure(state: State, retry: NewRetry, context: Context): Decision {
  return queueRetry(state, retry, onBackoff(retry, context));
}

/** As `queueFailure`, for one that was due while every slot was taken (O-24): it may have the next free one. */
export function queueForSlot(state: State, retry: NewRetry, context: Context): Decision {
  return queueRetry(state, retry, { ...onBackoff(retry, context), wantsSlot: true });
}

function onBackoff({ attempt }: NewRetry, { config, now, wall }: Context): When {
  return { delayMs: failureDelay(attempt, config.agent.maxRetryBackoffMs), now, wall };
}

/** Lets the issue go: no claim is left, nothing is remembered of it. */
export function release(state: State, issue: Issue, why: string): Decision {
  const { id } = issue;
  return decided(
    {
      ...unlisted(state, id),
      running: without(state.running, id),
      retrying: without(state.retrying, id),
      blocked: without(state.blocked, id),
    },
    { type: "clearTimer", input: { type: "retry.due", issueId: id } },
    { type: "saveRecord", issueId: id },
    tell("issue.released", issue, { message: why }),
  );
}

/** The list is older than what let the issue go: it must not be shown as waiting until the next one. */
function unlisted(state: State, id: string): State {
  if (!state.candidates.some((issue) => issue.id === id)) return state;
  const others = (issue: Issue) => issue.id !== id;
  return {
    ...state,
    candidates: state.candidates.filter(others),
    queue: state.queue.filter(others),
  };
}

/** Remembers an issue that is done, newest last, at most `completedKept` of them. */
export function complete(state: State, issue: Issue, ended: Ended | null, wall: number): Decision {
  const row: Completed = {
    issue,
    attemptId: ended?.attemptId ?? null,
    outcome: ended?.outcome ?? "none",
    endedWall: ended?.endedWall ?? wall,
    tokens: ended?.tokens ?? { input: 0, cachedInput: 0, output: 0, reasoningOutput: 0, total: 0 },
  };
  const completed = new Map(without(state.completed, issue.id)).set(issue.id, row);
  const oldest = completed.keys().next().value;
  if (completed.size > completedKept && oldest !== undefined) completed.delete(oldest);
  return decided(
    { ...state, completed },
    tell("issue.completed", issue, {
      attemptId: row.attemptId,
      message: `completed in state ${issue.state}`,
      data: { outcome: row.outcome, state: issue.state },
    }),
  );
}
