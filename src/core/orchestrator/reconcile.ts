import type { Issue } from "../model/issue.ts";
import {
  andThen,
  type Context,
  type Decision,
  decided,
  isStale,
  raiseFences,
  tell,
} from "./decision.ts";
import { standingOf } from "./dispatch.ts";
import { complete, release } from "./retry.ts";
import { type Running, type State, type Stop, setIn, without } from "./state.ts";

/** Time for an agent that moved its own issue to end its turn: the turn's result is worth more than ten seconds. */
const lastWordsMs = 10_000;

/** Stops every attempt that has been silent for longer than the limit (O-30); 0 or less is off. */
export function stopStalled(state: State, context: Context): Decision {
  const limitMs = context.config.codex.stallTimeoutMs;
  if (limitMs <= 0) return decided(state);
  return [...state.running.values()].reduce((decision, entry) => {
    const silentMs = context.now - (entry.lastEventAt ?? entry.startedAt);
    // Who waits for a person is silent for a reason, and for a limited time.
    if (entry.stopping || entry.asked.length > 0 || silentMs <= limitMs) return decision;
    const reason = `stalled: no event for ${Math.round(silentMs)} ms`;
    const stop: Stop = { reason, leadsTo: "retry", gently: false };
    return andThen(decision, (next) => orderStop(next, entry, stop));
  }, decided(state));
}

/** The issues whose tracker state decides about something that runs or waits for a person. */
export function watchedIds(state: State): readonly string[] {
  const live = [...state.running.values()].filter((entry) => !entry.stopping);
  return [...live.map((entry) => entry.issue.id), ...state.blocked.keys()];
}

/** Aligns what runs with fresh snapshots of `ids`; one that is missing is gone from the scope. */
export function reconcile(
  state: State,
  read: { ids: readonly string[]; issues: readonly Issue[]; request: number },
  context: Context,
): Decision {
  const byId = new Map(read.issues.map((issue) => [issue.id, issue]));
  const fresh = read.ids.filter((id) => !isStale(state, id, read.request));
  const fenced = raiseFences(state, fresh, read.request);
  return fresh.reduce(
    (decision, id) =>
      andThen(decision, (next) => alignOne(next, id, byId.get(id) ?? null, context)),
    decided(fenced),
  );
}

function alignOne(state: State, id: string, issue: Issue | null, context: Context): Decision {
  const entry = state.running.get(id);
  if (entry && !entry.stopping) return alignRunning(state, entry, issue, context);
  return state.blocked.has(id) ? alignBlocked(state, id, issue, context) : decided(state);
}

function alignRunning(
  state: State,
  entry: Running,
  issue: Issue | null,
  context: Context,
): Decision {
  if (issue === null) {
    return orderStop(state, entry, {
      reason: "no longer visible in the tracker",
      leadsTo: "release",
      gently: false,
    });
  }
  const fresh = { ...entry, issue };
  // An agent that has just moved its own issue is about to say its last words, or has said them and is about to end.
  const gently = entry.usedTool;
  switch (standingOf(issue, context.config.tracker)) {
    case "routable":
      return decided({ ...state, running: setIn(state.running, issue.id, fresh) });
    case "terminal":
      return orderStop(state, fresh, {
        reason: `issue is ${issue.state}`,
        leadsTo: "clean",
        gently,
      });
    default:
      return orderStop(state, fresh, {
        reason: `issue left: ${issue.state}`,
        leadsTo: "release",
        gently,
      });
  }
}

/** A blocked issue has no process: it is cleaned, released or shown afresh at once (O-38). */
function alignBlocked(state: State, id: string, issue: Issue | null, context: Context): Decision {
  const entry = state.blocked.get(id);
  if (!entry) return decided(state);
  if (issue === null) return release(state, entry.issue, "no longer visible in the tracker");
  const standing = standingOf(issue, context.config.tracker);
  if (standing === "routable") {
    return decided({ ...state, blocked: setIn(state.blocked, id, { ...entry, issue }) });
  }
  const released = release(state, issue, `issue is ${issue.state}`);
  if (standing !== "terminal") return released;
  return andThen(released, (next) =>
    andThen(complete(next, issue, null, context.wall), (last) =>
      decided(last, { type: "removeWorkspace", issue, path: entry.workspacePath }),
    ),
  );
}

/** Orders a stop once; what follows happens when the attempt is really gone. */
export function orderStop(state: State, entry: Running, stopping: Stop): Decision {
  const next: Running = { ...entry, stopping, phase: "finishing", turnId: null };
  return decided(
    { ...state, running: setIn(state.running, entry.issue.id, next) },
    {
      type: "stopAttempt",
      attemptId: entry.attemptId,
      reason: stopping.reason,
      graceMs: stopping.gently ? lastWordsMs : 0,
    },
  );
}

export interface Holding {
  readonly reason: string;
  /** How the attempt that is stopped for it counts as ended. */
  readonly outcome?: Stop["outcome"];
  /** Further facts for the event. */
  readonly data?: Readonly<Record<string, unknown>>;
  readonly context: Pick<Context, "wall">;
}

/** Durable at once, before the agent is gone: a crash in between must not start the issue again. */
export function hold(
  state: State,
  issue: Issue,
  { reason, outcome, data, context }: Holding,
): Decision {
  const row = { issue, reason, error: null, sinceWall: context.wall };
  const held = {
    ...unclaimed(state, issue.id),
    held: setIn(state.held, issue.id, row),
  };
  const stop: Stop = { reason, leadsTo: "hold", gently: false, ...(outcome && { outcome }) };
  return andThen(stopFor(held, issue, stop), (next) =>
    decided(
      next,
      { type: "clearTimer", input: { type: "retry.due", issueId: issue.id } },
      { type: "saveRecord", issueId: issue.id },
      tell("issue.held", issue, { message: reason, data: { reason, ...data } }),
    ),
  );
}

/** Stops the issue's attempt, if it has one. */
export function stopFor(state: State, issue: Issue, stop: Stop): Decision {
  const entry = state.running.get(issue.id);
  if (!entry) return decided(state);
  // Already on its way out: only what becomes of the issue changes.
  if (entry.stopping && !entry.stopping.gently) {
    return decided({
      ...state,
      running: setIn(state.running, issue.id, { ...entry, stopping: stop }),
    });
  }
  return orderStop(state, entry, stop);
}

/** Every mark but a live attempt taken off. */
export function unclaimed(state: State, id: string): State {
  return {
    ...state,
    retrying: without(state.retrying, id),
    blocked: without(state.blocked, id),
    held: without(state.held, id),
    failed: without(state.failed, id),
    dismissed: without(state.dismissed, id),
  };
}
