import { type Context, type Decision, decided, tell } from "./decision.ts";
import type { Running } from "./issues.ts";
import { heldAsPoison, lossesAfter, lossesOf } from "./losses.ts";
import type { Exit, Input } from "./messages.ts";
import { queueRetry } from "./retry.ts";
import type { State } from "./state.ts";
import { orderStop } from "./stop.ts";

// An operator moves an issue to a worker of the fleet.

/** Nothing failed, and the place is free when the last agent is gone. */
const moveDelayMs = 1_000;

/**
 * The issue's attempts run on `worker` alone from now on; null: on any again. A live one on another worker is stopped: its work
 * comes back first, and the next one begins when no agent of it is left.
 */
export function moved(
  state: State,
  { issue, worker }: Extract<Input, { type: "operator.moved" }>,
): Decision {
  const chosen = { ...state, issues: state.issues.choosing(issue, { worker }) };
  const live = chosen.issues.of("running").get(issue.id);
  const leaves = worker !== null && live !== undefined && live.worker !== worker && !live.stopping;
  const stop = leaves
    ? orderStop(chosen, live, { reason: movesTo(worker), leadsTo: "move", gently: false })
    : decided(chosen);
  return decided(
    stop.state,
    ...stop.effects,
    { type: "saveRecord", issueId: issue.id },
    tell("worker.chosen", issue, {
      attemptId: live?.attemptId ?? null,
      message: worker === null ? "may run on any worker again" : movesTo(worker),
      data: { worker, from: live?.worker ?? null },
    }),
  );
}

/** The attempt that was stopped for a move is gone: the next one begins, with no failure counted. */
export function movedOn(
  state: State,
  entry: Running,
  { exit, context }: { exit: Exit; context: Context },
): Decision {
  const { issue, attempt, failures, workspacePath, stopping } = entry;
  const { now, wall } = context;
  const next = lossesAfter(entry, exit);
  const losses = next.losses === undefined ? lossesOf(entry) : next;
  const held = heldAsPoison(state, entry, { ...losses, context });
  if (held !== null) return held;
  return queueRetry(
    state,
    {
      issue,
      attempt: attempt ?? 1,
      failures,
      ...losses,
      error: stopping?.reason ?? null,
      workspacePath,
      after: null,
    },
    { delayMs: moveDelayMs, now, wall, wantsSlot: true },
  );
}

function movesTo(worker: string): string {
  return `moves to the worker ${worker}`;
}
