import { type Clock, limited } from "./clock.ts";
import type { CoreDeps } from "./core.ts";
import type { Bus } from "./events/bus.ts";
import type { Logger } from "./events/log.ts";
import { adviceOf, messageOf } from "./model/errors.ts";
import { needsRestart } from "./model/event.ts";
import type { Issue } from "./model/issue.ts";
import { workflowTemplateId } from "./orchestrator/choice.ts";
import type { Orchestrator } from "./orchestrator/orchestrator.ts";
import { completedKept, type State } from "./orchestrator/state.ts";
import type { History, RemovalStep } from "./store/store.ts";
import type { Tracker } from "./tracker/tracker.ts";
import type { KeptWorkspaces } from "./workspace/kept.ts";
import type { WorkspaceOverview } from "./workspace/overview.ts";
import type { Workspaces } from "./workspace/workspaces.ts";

/**
 * Applies each valid edit of the workflow file and reports each invalid one. Returns a function
 * that stops it.
 */
export function followConfig(deps: CoreDeps, orchestrator: Orchestrator): () => void {
  const { config, trackers, bus, log } = deps;
  return config.watch((change) => {
    if (change.type === "rejected") {
      const { code, message } = change.problem;
      log.error("configuration rejected", { code, reason: message });
      bus.publish({ type: "config.rejected", message, data: { code } });
      return;
    }
    try {
      trackers.follow(config.current.config.tracker);
    } catch (error) {
      log.error("the tracker was not changed", { reason: adviceOf(error) });
    }
    for (const warning of change.warnings) log.warn("configuration", { warning });
    log.info("configuration changed", { outcome: "applied", keys: change.keys.join(",") });
    const atRestart = change.keys.filter((key) => needsRestart.includes(key));
    const later = atRestart.length > 0 ? ` (${atRestart.join(", ")} at the next start)` : "";
    bus.publish({
      type: "config.changed",
      message: `changed: ${change.keys.join(", ")}${later}`,
      data: { keys: change.keys, needs_restart: atRestart },
    });
    orchestrator.post({ type: "config.changed" });
    if (change.keys.some((key) => /^prompts?(?:\.|$)/.test(key))) {
      orchestrator.post({ type: "prompt.changed", templateId: workflowTemplateId });
    }
    // The texts of finished work are rendered in an attempt with any template.
    if (change.keys.some((key) => /^delivery\..*_template$/.test(key))) {
      orchestrator.post({ type: "prompt.changed", templateId: null });
    }
  });
}

interface CompletedDeps {
  readonly bus: Bus;
  readonly history: History;
  readonly log: Logger;
  state(): State;
}

/** Saves each issue that is completed, for the list after a restart. Ends with the bus. */
export function keepCompleted({ bus, history, log, state }: CompletedDeps): void {
  bus.subscribe({ filter: { types: ["issue.completed"] } }, ({ issueId }) => {
    const row = issueId === null ? undefined : state().issues.of("completed").get(issueId);
    // An issue that was started again in the meantime is no longer on the list.
    if (row === undefined) return;
    try {
      // No list shows these fields, so they are not saved.
      const issue = { ...row.issue, description: null, nativeRef: null };
      const { attemptId, outcome, endedWall, tokens } = row;
      history.saveCompleted({ issue, attemptId, outcome, endedWall, tokens }, completedKept);
    } catch (error) {
      log.warn("completed issue not saved", { reason: messageOf(error) });
    }
  });
}

const dayMs = 24 * 60 * 60 * 1_000;
/** Rows of one step: a few ms each, so that nothing else is delayed. */
const eventsAtOnce = 250;
const attemptsAtOnce = 200;
/** Pause between two steps, so that other work can run. */
const pauseMs = 20;

interface RetentionDeps {
  readonly history: History;
  readonly clock: Clock;
  readonly log: Logger;
  /** null: nothing is removed. */
  days(): number | null;
  state(): State;
}

/** Removes old attempts and events now and once a day, in small steps. Returns how to stop it. */
export function followRetention(deps: RetentionDeps): () => void {
  const { clock, log } = deps;
  let cancel = () => {};
  const run = () => {
    const days = deps.days();
    const sweep = days === null ? null : sweepOf(deps, clock.wall() - days * dayMs);
    const step = () => {
      let more = false;
      try {
        more = sweep?.step() ?? false;
      } catch (error) {
        log.error("old history could not be removed", { reason: messageOf(error) });
      }
      cancel = more ? clock.after(pauseMs, step) : clock.after(dayMs, run);
    };
    step();
  };
  cancel = clock.after(0, run);
  return () => cancel();
}

/** One pass over the old rows. */
function sweepOf(deps: RetentionDeps, before: number) {
  const { history, clock, log } = deps;
  const removed = { events: 0, attempts: 0 };
  let longestMs = 0;
  let after = "";
  let stage: "events" | "attempts" = "events";
  const work = (): RemovalStep => {
    if (stage === "events") return history.removeOldEvents({ before, limit: eventsAtOnce });
    const kept = busyIssues(deps.state());
    return history.removeOldAttempts({ before, limit: attemptsAtOnce, after, kept });
  };
  return {
    /** False when the pass is complete. */
    step(): boolean {
      const startedAt = clock.now();
      const done = work();
      longestMs = Math.max(longestMs, clock.now() - startedAt);
      removed[stage] += done.removed;
      if (done.next !== null) after = stage === "attempts" ? done.next : "";
      else if (stage === "events") stage = "attempts";
      else {
        const any = removed.events + removed.attempts > 0;
        if (any) log.info("old history removed", { ...removed, longest_step_ms: longestMs });
        return false;
      }
      return true;
    },
  };
}

/** Issues whose history an operator may still need in full. */
function busyIssues({ issues }: State): readonly string[] {
  const claims = ["running", "retrying", "blocked", "review", "held", "failed"] as const;
  return claims.flatMap((claim) => [...issues.of(claim).keys()]);
}

interface CleanupDeps {
  readonly tracker: Tracker;
  readonly terminalStates: readonly string[];
  readonly workspaces: Pick<Workspaces, "finishRemovals">;
  readonly kept: Pick<KeptWorkspaces, "clear" | "findLeft" | "list">;
  readonly clock: Clock;
  readonly log: Logger;
  /** Aborted when the server stops: nothing more is read or removed. */
  readonly signal: AbortSignal;
  /** True while an agent works in the issue's directory: the next poll decides about it. */
  isAtWork(issueId: string): boolean;
}

export interface Cleanup {
  /** Resolves when every workspace has been examined, or the server stops. */
  readonly over: Promise<void>;
}

/** Workspaces that are examined at the same time. */
const atOnce = 4;
/** How long the first poll waits for the cleanup, which then continues in parallel. */
const maxWaitMs = 2_000;

/**
 * Removes the workspaces of issues that ended while no server ran (O-36), except those that hold
 * work, and finds those that an earlier root or identifier left. If the read fails, it warns and
 * removes nothing. No attempt gets a directory while it is being examined.
 */
export async function cleanUpFinished(deps: CleanupDeps): Promise<Cleanup> {
  const { tracker, terminalStates, workspaces, clock, log, signal } = deps;
  try {
    await workspaces.finishRemovals();
    const issues = await untilAborted(tracker.fetchIssuesByStates(terminalStates), signal);
    const over = clearAll(issues, deps);
    await limited(over, maxWaitMs, () => {}, clock);
    return { over };
  } catch (error) {
    if (signal.aborted) return { over: Promise.resolve() };
    log.warn("start-up cleanup failed", { outcome: "skipped", reason: messageOf(error) });
    return { over: clearAll([], deps) };
  }
}

/** Never rejects. */
async function clearAll(
  issues: readonly Issue[],
  { kept, log, signal, isAtWork }: CleanupDeps,
): Promise<void> {
  const left = [...issues];
  const worker = async () => {
    for (let issue = left.shift(); issue && !signal.aborted; issue = left.shift()) {
      if (isAtWork(issue.id)) continue;
      const { identifier } = issue;
      await kept.clear(issue, null).catch((error: unknown) => {
        if (signal.aborted) return;
        log.warn("workspace not removed", {
          issue_identifier: identifier,
          reason: messageOf(error),
        });
      });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  const onError = (path: string, error: unknown) =>
    log.warn("workspace not examined", { workspace: path, reason: messageOf(error) });
  const cleared = new Set(issues.map(({ id }) => id));
  await kept.findLeft({ cleared }, onError, signal).catch((error: unknown) => {
    log.warn("workspaces not examined", { reason: messageOf(error) });
  });
  const { length } = kept.list();
  if (length > 0 && !signal.aborted) {
    log.info("workspaces without an agent hold work and are kept", {
      kept: length,
      next: "symphony workspaces list",
    });
  }
}

/**
 * Resolves or rejects as `promise` does, or rejects with the signal's reason once it aborts; the
 * promise is not cancelled.
 */
async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: over, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([promise, over]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** After these events workspaces may take more or less space. */
const changing: ReadonlySet<string> = new Set([
  "server.started",
  "turn.completed",
  "attempt.ended",
  "workspace.removed",
]);

/**
 * Measures disk use again after changes, so that no request has to wait for it. Returns a function
 * that stops it.
 */
export function followDiskUse(
  bus: Pick<Bus, "subscribe">,
  overview: Pick<WorkspaceOverview, "measure">,
  log: Pick<Logger, "warn">,
): () => void {
  let underWay = false;
  return bus.subscribe({}, ({ type }) => {
    if (underWay || !changing.has(type)) return;
    underWay = true;
    overview
      .measure()
      .catch((error) => log.warn("disk use not measured", { reason: messageOf(error) }))
      .finally(() => {
        underWay = false;
      });
  });
}
