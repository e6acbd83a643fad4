import { createHash } from "node:crypto";
import { int, text, textOrNull } from "./columns.ts";
import type { Row } from "./database.ts";

/** One row of the audit log as it is stored; `detail` is JSON. */
export interface AuditRow {
  readonly seq: number;
  readonly at: number;
  readonly actor: string;
  readonly action: string;
  readonly target: string | null;
  readonly outcome: string;
  readonly detail: string;
  /** Empty for the first one. */
  readonly prevHash: string;
  readonly hash: string;
}

/** SHA-256 in hex over everything in a row, the hash of the row before it among it. */
export function auditHash(row: Omit<AuditRow, "hash">): string {
  const { seq, at, actor, action, target, outcome, detail, prevHash } = row;
  const covered = JSON.stringify([seq, at, actor, action, target, outcome, detail, prevHash]);
  return createHash("sha256").update(covered).digest("hex");
}

export function auditRowOf(row: Row): AuditRow {
  return {
    seq: int(row, "seq"),
    at: int(row, "at"),
    actor: text(row, "actor"),
    action: text(row, "action"),
    target: textOrNull(row, "target"),
    outcome: text(row, "outcome"),
    detail: text(row, "detail"),
    prevHash: text(row, "prev_hash"),
    hash: text(row, "hash"),
  };
}
