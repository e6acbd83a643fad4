import type { Logger } from "./logger.ts";
import { messageOf } from "./model/errors.ts";
import type { Tracker } from "./tracker/tracker.ts";
import { untilAborted } from "./until-aborted.ts";
import type { Workspaces } from "./workspace/workspaces.ts";

interface Parts {
  readonly tracker: Tracker;
  readonly terminalStates: readonly string[];
  readonly workspaces: Workspaces;
  readonly log: Logger;
  /** Aborted when the server is to stop: nothing more is read or removed. */
  readonly signal: AbortSignal;
  /** An agent is at work in its directory: the next poll decides about it. */
  isAtWork(issueId: string): boolean;
}

/** Removes the workspaces of issues that ended while nobody looked (O-36). A failed read warns and that is all. */
export async function cleanUpFinished(parts: Parts): Promise<void> {
  const { signal } = parts;
  try {
    const read = parts.tracker.fetchIssuesByStates(parts.terminalStates);
    for (const issue of await untilAborted(read, signal)) {
      if (signal.aborted) return;
      if (parts.isAtWork(issue.id)) continue;
      await parts.workspaces.remove({ path: null, issue });
    }
  } catch (error) {
    if (signal.aborted) return;
    parts.log.warn("start-up cleanup failed", { outcome: "skipped", reason: messageOf(error) });
  }
}
