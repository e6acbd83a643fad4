import type { AttemptStatus } from "../model/attempt.ts";
import { andThen, type Context, type Decision, decided, tell } from "./decision.ts";
import { standingOf } from "./dispatch.ts";
import type { Dismissal, Ended, Running } from "./issues.ts";
import { heldAsPoison, lossesAfter, lossesOf } from "./losses.ts";
import type { Effect, Exit, Input } from "./messages.ts";
import { movedOn } from "./move.ts";
import { wellEnded } from "./offer.ts";
import { agentRefused, isAgentsOwn } from "./pauses.ts";
import { holdForPrompt, isPromptFault } from "./prompt-hold.ts";
import { relisted } from "./queue.ts";
import { waitForStorage } from "./recheck.ts";
import { seen } from "./reconcile.ts";
import { withStart } from "./refill.ts";
import { close, complete, continuationDelay, queueFailure, queueRetry, release } from "./retry.ts";
import { attemptOf, claimed, type Fault, type State } from "./state.ts";
import { hold } from "./stop.ts";
import { blockedBy } from "./waits.ts";

/** An attempt's processes are gone: counts the attempt once, then decides about its issue. */
export function attemptExited(
  state: State,
  input: Extract<Input, { type: "attempt.exited" }>,
  context: Context,
): Decision {
  const entry = state.issues.of("running").get(input.issueId);
  // A stopped attempt may exit after its successor has started; then the row is not its own.
  if (entry?.attemptId !== input.attemptId) return decided(state);
  const { exit } = input;
  const free = claimed(state, { claim: "free", issue: entry.issue, worked: true });
  if (exit.kind === "detached") return decided(free);
  const status = statusOf(entry, exit, entry.offer !== null);
  const error = errorOf(entry, exit);
  const end = { status, endedWall: context.wall, error, git: exit.git };
  const ended: Ended = {
    attemptId: entry.attemptId,
    outcome: status,
    endedWall: context.wall,
    tokens: entry.tokens,
  };
  const seconds = state.usage.seconds + (context.now - entry.startedAt) / 1_000;
  const gone = decided(
    { ...withStart(free, entry, exit), usage: { ...state.usage, seconds } },
    { type: "saveAttempt", attempt: attemptOf({ ...entry, phase: "finishing" }, end) },
    attemptEnded(entry, status, error),
  );
  return andThen(gone, (next) =>
    entry.stopping && !waitedForProvider(entry, exit)
      ? stopped(next, entry, { exit, ended, context })
      : finished(next, entry, { exit, ended, context }),
  );
}

/** True for an attempt stopped as stalled that was silent because of its provider's limit. */
function waitedForProvider({ stopping }: Running, exit: Exit): boolean {
  const limited = exit.kind === "failed" && exit.code === "provider_limited";
  return limited && stopping?.leadsTo === "retry";
}

function attemptEnded(entry: Running, status: AttemptStatus, error: Fault | null): Effect {
  return tell("attempt.ended", entry.issue, {
    attemptId: entry.attemptId,
    sessionId: entry.sessionId,
    message: error === null ? `attempt ${status}` : `attempt ${status}: ${error.message}`,
    data: {
      outcome: status,
      error,
      turn_count: entry.turnCount,
      total_tokens: entry.tokens.total,
      agent: entry.agent,
    },
  });
}

/** Applies the consequence of an ordered stop. */
function stopped(
  state: State,
  entry: Running,
  { exit, ended, context }: { exit: Exit; ended: Ended; context: Context },
): Decision {
  const { issue, stopping } = entry;
  switch (stopping?.leadsTo) {
    case "retry":
      return failed(state, entry, { error: stopping.reason, exit, context });
    case "move":
      return movedOn(state, entry, { exit, context });
    case "shutdown":
      return decided(state);
    case "hold": {
      const { reason, sinceWall } = stopping;
      const held = claimed(state, { claim: "held", issue, reason, error: null, sinceWall });
      // The issue may have been closed while its agent was being stopped.
      return andThen(decided(held, { type: "saveRecord", issueId: issue.id }), (next) =>
        seen(next, { id: issue.id, issue }, context),
      );
    }
    case "dismiss":
      return dismissedNow(state, entry, { ended, dismissed: stopping.dismissed, context });
    default:
      // An agent that moved its own issue was given time to end its turn: it ended as any other.
      if (exit.kind === "completed" && exit.made && stopping?.gently) {
        return wellEnded(state, entry, { made: exit.made, issue, ended, context });
      }
      // Uses the latest snapshot: the issue may have been closed or reopened while its agent was
      // being stopped.
      return standingOf(issue, context.config.tracker) === "terminal"
        ? close(state, issue, { ended, path: entry.workspacePath, context })
        : release(state, issue, { why: stopping?.reason ?? "stopped", wall: context.wall });
  }
}

/** An operator completed it while it ran. Its workspace stays unless the issue is now closed. */
function dismissedNow(
  state: State,
  { issue, workspacePath }: Running,
  { ended, dismissed, context }: { ended: Ended; dismissed: Dismissal; context: Context },
): Decision {
  const { id } = issue;
  // Closed before it was completed here, so its state does not change any more.
  if (standingOf(issue, context.config.tracker) === "terminal") {
    return close(state, issue, { ended, path: workspacePath, context });
  }
  const done = andThen(complete(state, issue, { ended, context, dismissed }), (next) =>
    decided(next, { type: "saveRecord", issueId: id }),
  );
  return andThen(done, (next) => {
    const aligned = seen(next, { id, issue }, context);
    return aligned.effects.some(({ type }) => type === "removeWorkspace")
      ? aligned
      : andThen(aligned, (last) =>
          decided(last, { type: "lookAtWorkspace", issue, path: workspacePath }),
        );
  });
}

/** Decides after an attempt that was not stopped. */
function finished(
  state: State,
  entry: Running,
  { exit, ended, context }: { exit: Exit; ended: Ended; context: Context },
): Decision {
  switch (exit.kind) {
    case "completed":
      if (exit.made) {
        const issue = exit.issue ?? entry.issue;
        return wellEnded(state, entry, { made: exit.made, issue, ended, context });
      }
      return queueRetry(
        state,
        {
          issue: entry.issue,
          attempt: 1,
          failures: 0,
          error: null,
          workspacePath: entry.workspacePath,
          after: ended,
        },
        { delayMs: continuationDelay(), now: context.now, wall: context.wall },
      );
    case "needs": {
      const { issue, workspacePath, attemptId } = entry;
      const wait = { issue, needs: exit.needs, sinceWall: context.wall, workspacePath };
      return decided(
        claimed(state, { claim: "blocked", ...wait }),
        { type: "saveRecord", issueId: issue.id },
        blockedBy(wait, attemptId),
      );
    }
    case "failed":
      if (isAgentsOwn(exit)) return agentRefused(state, entry, { exit, context });
      // A retry cannot succeed: it would find the same files.
      if (exit.code === "workspace_refused") {
        return hold(state, entry.issue, { reason: exit.message, context });
      }
      if (isPromptFault(exit.code)) return holdForPrompt(state, entry, { exit, context });
      return failed(state, entry, {
        error:
          exit.code === "spawn_failed" ? "failed to spawn agent" : `worker exited: ${exit.message}`,
        ...{ exit, context },
      });
    case "stopped":
      return release(state, entry.issue, { why: "stopped", wall: context.wall });
    case "unsaved":
      return notBegun(state, entry, { error: exit.message, context });
    case "detached":
      return decided(state);
  }
}

/** Nothing was started: the issue waits as it did before. */
function notBegun(
  state: State,
  entry: Running,
  { error, context }: { error: string; context: Context },
): Decision {
  const { now, wall } = context;
  const { issue, attempt, failures, workspacePath } = entry;
  const save: Effect = { type: "saveRecord", issueId: issue.id };
  if (attempt === null) return decided(relisted(state, issue, context), save);
  const retry = {
    ...{ issue, attempt, failures, error, workspacePath, after: null },
    ...lossesOf(entry),
  };
  return andThen(waitForStorage(state, retry, { error, now, wall }), (next) => decided(next, save));
}

/** A failed run: schedules the next retry on its backoff, or fails the issue after the last one. */
function failed(
  state: State,
  entry: Running,
  { error, exit, context }: { error: string; exit: Exit; context: Context },
): Decision {
  const { issue, workspacePath } = entry;
  const losses = lossesAfter(entry, exit);
  const held = heldAsPoison(state, entry, { ...losses, context });
  if (held !== null) return held;
  const failures = entry.failures + 1;
  const { maxRetries } = context.config.agent;
  if (maxRetries !== null && failures > maxRetries) {
    const reason = `retries used up (agent.max_retries ${maxRetries})`;
    return decided(
      claimed(state, { claim: "failed", issue, reason, error, sinceWall: context.wall }),
      { type: "saveRecord", issueId: issue.id },
      tell("issue.failed", issue, { message: `${reason}: ${error}`, data: { error, failures } }),
    );
  }
  const attempt = (entry.attempt ?? 0) + 1;
  return queueFailure(
    state,
    { issue, attempt, failures, ...losses, error, workspacePath, after: null },
    context,
  );
}

function statusOf(entry: Running, exit: Exit, offered: boolean): AttemptStatus {
  if (waitedForProvider(entry, exit)) return "failed";
  if (entry.stopping?.leadsTo === "shutdown") return "interrupted";
  if (entry.stopping?.leadsTo === "move") return "interrupted";
  if (entry.stopping?.leadsTo === "retry") return "stalled";
  if (entry.stopping?.outcome && exit.kind !== "completed") return entry.stopping.outcome;
  if (exit.kind === "completed") {
    return exit.made?.kind === "unchanged" && !offered ? "no_changes" : "succeeded";
  }
  if (entry.stopping || exit.kind === "stopped" || exit.kind === "unsaved") return "canceled";
  if (exit.kind === "detached") return "running";
  return exit.code === "turn_timeout" ? "timed_out" : "failed";
}

function errorOf(entry: Running, exit: Exit): Fault | null {
  if (exit.kind === "completed" || exit.kind === "detached") return null;
  if (entry.stopping && !waitedForProvider(entry, exit))
    return { code: "stopped", message: entry.stopping.reason };
  if (exit.kind === "failed") return { code: exit.code, message: exit.message };
  if (exit.kind === "unsaved") return { code: "storage_unavailable", message: exit.message };
  return exit.kind === "needs" ? { code: exit.code, message: exit.needs.prompt } : null;
}
