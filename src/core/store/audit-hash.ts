import { createHash, createHmac } from "node:crypto";
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
  /** The key of `hash`; null: it is a plain SHA-256. */
  readonly kid: string | null;
  readonly hash: string;
}

/**
 * SHA-256 in hex over everything in a row, the hash of the row before it among it; with `key` an HMAC, which nobody can
 * make who has the database alone.
 */
export function auditHash(row: Omit<AuditRow, "hash">, key: Buffer | null = null): string {
  const { seq, at, actor, action, target, outcome, detail, prevHash, kid } = row;
  const fields = [seq, at, actor, action, target, outcome, detail, prevHash];
  if (key === null) return createHash("sha256").update(JSON.stringify(fields)).digest("hex");
  return createHmac("sha256", key)
    .update(JSON.stringify([...fields, kid]))
    .digest("hex");
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
    kid: textOrNull(row, "kid"),
    hash: text(row, "hash"),
  };
}
