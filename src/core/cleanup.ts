import type { Clock } from "./clock.ts";
import type { Logger } from "./logger.ts";
import { messageOf } from "./model/errors.ts";
import type { Issue } from "./model/issue.ts";
import type { Tracker } from "./tracker/tracker.ts";
import type { KeptWorkspaces } from "./workspace/kept.ts";
import type { Workspaces } from "./workspace/workspaces.ts";

interface CleanupDeps {
  readonly tracker: Tracker;
  readonly terminalStates: readonly string[];
  readonly workspaces: Pick<Workspaces, "finishRemovals">;
  readonly kept: Pick<KeptWorkspaces, "clear" | "findLeft" | "list">;
  readonly clock: Clock;
  readonly log: Logger;
  /** Aborted when the server is to stop: nothing more is read or removed. */
  readonly signal: AbortSignal;
  /** An agent is at work in its directory: the next poll decides about it. */
  isAtWork(issueId: string): boolean;
}

export interface Cleanup {
  /** Resolves when every workspace has been looked at, or the server is to stop. */
  readonly over: Promise<void>;
}

/** Workspaces that are looked at together. */
const atOnce = 4;
/** So long the first poll waits for it: with hundreds of workspaces to look at, the rest continues next to it. */
const patienceMs = 2_000;

/**
 * Removes the workspaces of issues that ended while no server ran (O-36), but for those that hold work, and finds what an
 * earlier root or identifier left. A failed read warns, and nothing is removed. No attempt gets a directory while it is
 * looked at.
 */
export async function cleanUpFinished(deps: CleanupDeps): Promise<Cleanup> {
  const { tracker, terminalStates, workspaces, clock, log, signal } = deps;
  try {
    await workspaces.finishRemovals();
    const issues = await untilAborted(tracker.fetchIssuesByStates(terminalStates), signal);
    const over = clearAll(issues, deps);
    const { promise: patience, resolve: enough } = Promise.withResolvers<void>();
    const cancel = clock.after(patienceMs, enough);
    await Promise.race([over, patience]);
    cancel();
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
    log.warn("workspace not looked at", { workspace: path, reason: messageOf(error) });
  const cleared = new Set(issues.map(({ id }) => id));
  await kept.findLeft({ cleared }, onError, signal).catch((error: unknown) => {
    log.warn("workspaces not looked at", { reason: messageOf(error) });
  });
  const { length } = kept.list();
  if (length > 0 && !signal.aborted) {
    log.info("workspaces without an agent hold work and are kept", {
      kept: length,
      next: "symphony workspaces list",
    });
  }
}

/** What `promise` gives; rejects with the signal's reason once it aborts, and then the promise is left to itself. */
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
