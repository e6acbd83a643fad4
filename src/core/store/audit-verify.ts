import { existsSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type AuditHead, auditHeadFile, readAuditHead } from "./audit-anchor.ts";
import { type AuditRow, auditHash, auditRowOf } from "./audit-hash.ts";
import { translate } from "./sqlite-errors.ts";

/** What is wrong with an audit log, and where it begins. */
export interface AuditFault {
  readonly kind: "edited" | "missing" | "truncated" | "no_head";
  /** null when only the end of the log cannot be told. */
  readonly seq: number | null;
  readonly message: string;
}

export interface AuditVerdict {
  /** Entries read, up to the fault if there is one. */
  readonly entries: number;
  readonly head: AuditHead | null;
  readonly fault: AuditFault | null;
}

const pageSize = 5_000;

/**
 * Checks every link of the audit log in `dataDir`, and its end against the second file. Reads only, also while a server
 * writes. Throws `storage_corrupt` or `storage_unavailable`.
 */
export function verifyAudit(dataDir: string): AuditVerdict {
  const file = join(dataDir, "history.db");
  // The head first: what is appended meanwhile is then past it, and never behind.
  const anchor = readAuditHead(auditHeadFile(dataDir));
  if (!existsSync(file)) return verdict(0, null, endFault(null, anchor));
  return translate(file, () => {
    const db = new DatabaseSync(file, { readOnly: true, timeout: 5_000 });
    try {
      return walk(rowsOf(db), anchor);
    } finally {
      db.close();
    }
  });
}

function walk(rows: Iterable<AuditRow>, anchor: AuditHead | null): AuditVerdict {
  let last: AuditRow | null = null;
  let count = 0;
  for (const row of rows) {
    const fault = linkFault(row, last) ?? anchorFault(row, anchor);
    if (fault !== null) return verdict(count, last, fault);
    last = row;
    count += 1;
  }
  return verdict(count, last, endFault(last, anchor));
}

function linkFault(row: AuditRow, last: AuditRow | null): AuditFault | null {
  const expected = (last?.seq ?? 0) + 1;
  if (row.seq !== expected) {
    const message = `entry ${expected} is missing: ${row.seq} comes next`;
    return { kind: "missing", seq: expected, message };
  }
  if (auditHash(row) !== row.hash) {
    const message = `entry ${row.seq} is not what was written: its hash does not fit it`;
    return { kind: "edited", seq: row.seq, message };
  }
  if (row.prevHash === (last?.hash ?? "")) return null;
  // Both fit their own hashes, so the earlier one was written anew.
  const seq = Math.max(row.seq - 1, 1);
  const message = `entry ${seq} is not the one that entry ${row.seq} was written after`;
  return { kind: "edited", seq, message };
}

function anchorFault(row: AuditRow, anchor: AuditHead | null): AuditFault | null {
  if (row.seq !== anchor?.seq || row.hash === anchor.hash) return null;
  const message = `entry ${row.seq}, or one before it, was written anew: audit.head knows another`;
  return { kind: "edited", seq: row.seq, message };
}

function endFault(last: AuditRow | null, anchor: AuditHead | null): AuditFault | null {
  if (anchor === null && last === null) return null;
  if (anchor === null) {
    const message = "audit.head is missing or damaged: whether the log was cut cannot be told";
    return { kind: "no_head", seq: null, message };
  }
  const seq = (last?.seq ?? 0) + 1;
  if (anchor.seq < seq) return null;
  const message = `the log ends before entry ${seq}; there were ${anchor.seq}`;
  return { kind: "truncated", seq, message };
}

function verdict(entries: number, last: AuditRow | null, fault: AuditFault | null): AuditVerdict {
  return { entries, head: last && { seq: last.seq, hash: last.hash }, fault };
}

/** Numbers beyond what JavaScript can hold are bent into it: no hash fits them then. */
const pageSql = `
  SELECT max(min(seq, ${Number.MAX_SAFE_INTEGER}), ${Number.MIN_SAFE_INTEGER}) AS seq,
    max(min(at, ${Number.MAX_SAFE_INTEGER}), ${Number.MIN_SAFE_INTEGER}) AS at,
    actor, action, target, outcome, detail, prev_hash, hash
  FROM audit WHERE audit.seq > $after ORDER BY audit.seq LIMIT $limit`;

function* rowsOf(db: DatabaseSync): Generator<AuditRow> {
  const page = db.prepare(pageSql);
  for (let after: number | bigint = -(2n ** 63n); ; ) {
    const rows: AuditRow[] = page.all({ after, limit: pageSize }).map(auditRowOf);
    yield* rows;
    const last = rows.at(-1);
    if (last === undefined || rows.length < pageSize) return;
    after = last.seq;
  }
}
