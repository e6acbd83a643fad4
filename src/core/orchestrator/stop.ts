import type { Attached, Issue } from "../model/issue.ts";
import { type HeldNext, heldStep, nextCommand } from "../model/next-step.ts";
import { andThen, type Context, type Decision, decided, tell } from "./decision.ts";
import type { Running, Stop } from "./issues.ts";
import { claimed, type State } from "./state.ts";

/** Grace period for an agent that moved its own issue: the turn's result is worth the wait. */
const gracePeriodMs = 10_000;

/** Orders a stop once; its consequence follows when the attempt is really gone. */
export function orderStop(state: State, entry: Running, stopping: Stop): Decision {
  return decided(claimed(state, { ...entry, stopping, phase: "finishing", turnId: null }), {
    type: "stopAttempt",
    attemptId: entry.attemptId,
    reason: stopping.reason,
    graceMs: stopping.gently ? gracePeriodMs : 0,
  });
}

/** Stops a live attempt, with the consequence that `stop` names. */
export function stopFor(state: State, entry: Running, stop: Stop): Decision {
  // Already being stopped: only the consequence for the issue changes.
  if (entry.stopping && !entry.stopping.gently) {
    return decided(claimed(state, { ...entry, stopping: stop }));
  }
  return orderStop(state, entry, stop);
}

export interface Holding {
  readonly reason: string;
  /** The outcome of the attempt that is stopped for it. */
  readonly outcome?: Stop["outcome"];
  /** A person works in its workspace; not for a live attempt. */
  readonly attached?: Attached;
  /** The template that cannot be rendered for it; not for a live attempt. */
  readonly templateId?: string;
  /** As `Held.next`; not for a live attempt. */
  readonly next?: HeldNext;
  /** Further facts for the event. */
  readonly data?: Readonly<Record<string, unknown>>;
  readonly context: Pick<Context, "wall">;
}

/**
 * Holds the issue; a live attempt is stopped first, and the issue is held when its agent is gone.
 * Saved at once: a crash before that must not start the issue again.
 */
export function hold(
  state: State,
  issue: Issue,
  { reason, outcome, attached, templateId, next: step, data, context }: Holding,
): Decision {
  const entry = state.issues.of("running").get(issue.id);
  const sinceWall = context.wall;
  const held = entry
    ? stopFor(state, entry, {
        reason,
        leadsTo: "hold",
        sinceWall,
        gently: false,
        ...(outcome && { outcome }),
      })
    : decided(
        claimed(state, {
          claim: "held",
          issue,
          reason,
          error: null,
          sinceWall,
          ...(attached && { attached }),
          ...(templateId && { templateId }),
          ...(step && { next: step }),
        }),
      );
  const next = nextCommand(heldStep({ attached, next: step }), issue.identifier);
  return andThen(held, (after) =>
    decided(
      after,
      { type: "clearTimer", input: { type: "retry.due", issueId: issue.id } },
      { type: "saveRecord", issueId: issue.id },
      tell("issue.held", issue, { message: reason, data: { reason, next, ...data } }),
    ),
  );
}
