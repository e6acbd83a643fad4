import type { History } from "./store/store.ts";

/** Writes the entry that the sealed part of the audit log begins with; returns its seq. */
export function beginSealed(history: History, at: number): number {
  const seq = history.nextAuditSeq();
  history.audit({
    at,
    actor: "orchestrator",
    action: "audit.sealed",
    target: null,
    outcome: "ok",
    detail: {},
  });
  // Without the second file it could not be told later whether the log was cut.
  history.writeAuditHead();
  return seq;
}
