import type { Bus } from "./events/bus.ts";
import type { Logger } from "./events/log.ts";
import { messageOf } from "./model/errors.ts";
import type { EventType, SymphonyEvent } from "./model/event.ts";
import type { AuditEntry, History } from "./store/store.ts";
import { cut } from "./text/text.ts";

interface AuditDeps {
  readonly bus: Bus;
  readonly history: History;
  readonly log: Logger;
}

const deliverySteps: readonly EventType[] = [
  "work.committed",
  "branch.pushed",
  "pull_request.opened",
  "pull_request.merged",
  "pull_request.closed",
  "feedback.answered",
  "delivery.refused",
  "issue.moved",
];
const types: readonly EventType[] = [
  ...deliverySteps,
  "issue.held",
  "issue.failed",
  "issue.dispatched",
  "provider.paused",
  "agent.unavailable",
  "agent.available",
  "budget.reached",
  "attempt.ended",
  "workspace.removed",
  "workspace.kept",
];
/** What a step of delivery was about; these facts are symphony's own, not texts of others. */
const deliveryFacts = [
  "repository",
  "branch",
  "base",
  "commit",
  "number",
  "url",
  "remark",
  "step",
  "final",
  "from",
  "to",
] as const;
const actionsByOutcome: Readonly<Record<string, string>> = {
  canceled: "attempt.stopped",
  stalled: "attempt.stopped",
  failed: "attempt.failed",
  timed_out: "attempt.failed",
  interrupted: "attempt.interrupted",
};
const reasonCharacters = 500;

/**
 * Writes symphony's own decisions to the audit log: holds, failures, stops, interruptions,
 * workspaces that were removed or kept, and each step of delivery. Each is written once, also across a crash: it is as safe
 * from a power cut as its event, and on disk within 100 ms. Ends with the bus.
 */
export function auditDecisions({ bus, history, log }: AuditDeps): void {
  const afterSeq = lastEventAudited(history);
  const filter = { types };
  bus.subscribe({ filter, ...(afterSeq !== null && { afterSeq }) }, (event) => {
    const entry = decisionOf(event);
    if (entry === null) return;
    try {
      // A thousand agents that stop would otherwise wait for the disk a thousand times.
      history.auditSoon([entry]);
    } catch (error) {
      log.error("audit failed", { action: entry.action, error: messageOf(error) });
    }
  });
}

/** The entry names its event, so that a restart continues after it. */
function lastEventAudited(history: History): number | null {
  // Two, because one entry has no event: that of the first seal.
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

/** null if the event is not a decision of symphony's own. */
function decisionOf(event: SymphonyEvent): AuditEntry | null {
  const { type, data } = event;
  // A removal by an operator is already in the log, under the operator's name.
  if (type === "workspace.removed" && data["by"] === "operator") return null;
  // Only an agent in the place of another one is a decision.
  const standsInFor = data["stands_in_for"] ?? null;
  if (type === "issue.dispatched" && standsInFor === null) return null;
  const ended = type === "attempt.ended";
  const refused = type === "delivery.refused" ? "refused" : "ok";
  const outcome = ended ? String(data["outcome"]) : refused;
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
      ...(type === "workspace.removed" && { path: data["path"], kept: data["kept"] }),
      ...(standsInFor !== null && { agent: data["agent"], stands_in_for: standsInFor }),
      ...factsOf(event),
    },
  };
}

function factsOf({ type, data }: SymphonyEvent): AuditEntry["detail"] {
  if (!deliverySteps.includes(type)) return {};
  return Object.fromEntries(
    deliveryFacts.flatMap((key) => (data[key] == null ? [] : [[key, data[key]]])),
  );
}
