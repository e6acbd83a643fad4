import type { Bus } from "./bus.ts";
import type { Logger } from "./logger.ts";
import { messageOf } from "./model/errors.ts";
import type { EventType, SymphonyEvent } from "./model/event.ts";
import { cut } from "./one-line.ts";
import type { AuditEntry, History } from "./store/store.ts";

interface Parts {
  readonly bus: Bus;
  readonly history: History;
  readonly log: Logger;
}

const types: readonly EventType[] = [
  "issue.held",
  "issue.failed",
  "provider.paused",
  "budget.reached",
  "attempt.ended",
  "workspace.removed",
  "workspace.kept",
];
const actionsByOutcome: Readonly<Record<string, string>> = {
  canceled: "attempt.stopped",
  stalled: "attempt.stopped",
  failed: "attempt.failed",
  timed_out: "attempt.failed",
  interrupted: "attempt.interrupted",
};
const reasonCharacters = 500;

/**
 * Puts what symphony decided by itself into the audit log: holds, failures, stops, interruptions, and workspaces that were
 * removed or kept, each once, over a crash too. Ends with the bus.
 */
export function auditDecisions({ bus, history, log }: Parts): void {
  const afterSeq = lastEventAudited(history);
  const filter = { types };
  bus.subscribe({ filter, ...(afterSeq !== null && { afterSeq }) }, (event) => {
    const entry = decisionOf(event);
    if (entry === null) return;
    try {
      history.audit(entry);
    } catch (error) {
      log.error("audit failed", { action: entry.action, error: messageOf(error) });
    }
  });
}

/** The entry names its event, so that a restart goes on after it. */
function lastEventAudited(history: History): number | null {
  // Among them is the one entry that is about no event: that of the first seal.
  const { entries } = history.auditPage({ actor: "orchestrator", limit: 2, offset: 0 });
  const seq = entries
    .map(({ detail }) => detail["event_seq"])
    .find((one) => typeof one === "number");
  return seq ?? null;
}

/** The limit that was reached, with its numbers. */
function brakeOf({ brake, used, limit }: SymphonyEvent["data"]): AuditEntry["detail"] {
  return brake === undefined ? {} : { brake, used, limit };
}

/** null for what is no decision of symphony's own. */
function decisionOf(event: SymphonyEvent): AuditEntry | null {
  const { type, data } = event;
  // Whoever removed it is in the log by name already.
  if (type === "workspace.removed" && data["by"] === "operator") return null;
  const ended = type === "attempt.ended";
  const outcome = ended ? String(data["outcome"]) : "ok";
  const action = ended ? actionsByOutcome[outcome] : type;
  if (action === undefined) return null;
  return {
    at: event.at,
    actor: "orchestrator",
    action,
    target: event.issueIdentifier,
    outcome,
    detail: {
      event_seq: event.seq,
      issue_id: event.issueId,
      attempt_id: event.attemptId,
      reason: cut(event.message, reasonCharacters),
      ...brakeOf(data),
    },
  };
}
