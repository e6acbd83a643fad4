import { existsSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import {
  type AuditHead,
  type AuditKeys,
  type AuditRow,
  auditHash,
  auditHeadFile,
  auditRowOf,
  headFault,
  noAuditKeys,
  readAuditHead,
} from "./audit.ts";
import { translate } from "./sqlite-errors.ts";

/** The fault of an audit log, and where it begins. */
export interface AuditFault {
  readonly kind: "edited" | "missing" | "truncated" | "no_head";
  /** null when only the end of the log cannot be verified. */
  readonly seq: number | null;
  readonly message: string;
}

export interface AuditVerdict {
  /** Entries whose seal no available key can check: only their place in the chain is verified. */
  readonly unchecked: number;
  /** Entries read, up to the fault if there is one. */
  readonly entries: number;
  readonly head: AuditHead | null;
  /** Entries after the one that `audit.head` names, which follows within 100 ms: that they were cut off would not be seen. */
  readonly afterHead: number;
  readonly fault: AuditFault | null;
}

const pageSize = 5_000;

/**
 * Checks every link of the audit log in `dataDir`, its seals with `keys`, and its end against the second file. Only reads,
 * even while a server writes. Throws `storage_corrupt` or `storage_unavailable`.
 */
export function verifyAudit(dataDir: string, keys: AuditKeys = noAuditKeys): AuditVerdict {
  const file = join(dataDir, "history.db");
  // The head first: entries appended during the read are then after it, never before.
  const anchor = readAuditHead(auditHeadFile(dataDir));
  if (!existsSync(file)) return new Walk(anchor, keys).over([]);
  return translate(file, () => {
    const db = new DatabaseSync(file, { readOnly: true, timeout: 5_000 });
    try {
      return new Walk(anchor, keys).over(rowsOf(db));
    } finally {
      db.close();
    }
  });
}

class Walk {
  readonly #anchor: AuditHead | null;
  readonly #keys: AuditKeys;
  #last: AuditRow | null = null;
  #entries = 0;
  #unchecked = 0;

  constructor(anchor: AuditHead | null, keys: AuditKeys) {
    this.#anchor = anchor;
    this.#keys = keys;
  }

  over(rows: Iterable<AuditRow>): AuditVerdict {
    for (const row of rows) {
      const fault =
        orderFault(row, this.#last) ??
        this.#hashFault(row) ??
        linkFault(row, this.#last) ??
        anchorFault(row, this.#anchor);
      if (fault !== null) return this.#verdict(fault);
      this.#last = row;
      this.#entries += 1;
    }
    return this.#verdict(endFault(this.#last, this.#anchor) ?? this.#sealFault());
  }

  #hashFault(row: AuditRow): AuditFault | null {
    const from = this.#keys.from();
    const key = row.kid === null ? null : this.#keys.find(row.kid);
    const mustBeSealed = from !== null && row.seq >= from;
    if (mustBeSealed && key === null) {
      const message = `entry ${row.seq} was not written by this symphony: it has no seal`;
      return { kind: "edited", seq: row.seq, message };
    }
    if (row.kid !== null && key === null) {
      this.#unchecked += 1;
      return null;
    }
    if (auditHash(row, key) === row.hash) return null;
    const message = `entry ${row.seq} was edited: its hash does not match its content`;
    return { kind: "edited", seq: row.seq, message };
  }

  /** Only the key can prove where the log ends. */
  #sealFault(): AuditFault | null {
    const why = headFault(this.#anchor, this.#keys);
    if (why === null) return null;
    return {
      kind: "no_head",
      seq: null,
      message: `${why}: it cannot be determined whether the log was truncated`,
    };
  }

  #verdict(fault: AuditFault | null): AuditVerdict {
    const last = this.#last;
    const head = last && { seq: last.seq, hash: last.hash };
    const afterHead = Math.max((last?.seq ?? 0) - (this.#anchor?.seq ?? 0), 0);
    return { entries: this.#entries, unchecked: this.#unchecked, head, afterHead, fault };
  }
}

function orderFault(row: AuditRow, last: AuditRow | null): AuditFault | null {
  const expected = (last?.seq ?? 0) + 1;
  if (row.seq === expected) return null;
  const message = `entry ${expected} is missing: ${row.seq} comes next`;
  return { kind: "missing", seq: expected, message };
}

function linkFault(row: AuditRow, last: AuditRow | null): AuditFault | null {
  if (row.prevHash === (last?.hash ?? "")) return null;
  // Both match their own hashes, so the earlier one was rewritten.
  const seq = Math.max(row.seq - 1, 1);
  const message = `entry ${seq} is not the one that entry ${row.seq} refers to`;
  return { kind: "edited", seq, message };
}

function anchorFault(row: AuditRow, anchor: AuditHead | null): AuditFault | null {
  if (row.seq !== anchor?.seq || row.hash === anchor.hash) return null;
  const message = `entry ${row.seq}, or one before it, was rewritten: audit.head has a different hash`;
  return { kind: "edited", seq: row.seq, message };
}

function endFault(last: AuditRow | null, anchor: AuditHead | null): AuditFault | null {
  if (anchor === null && last === null) return null;
  if (anchor === null) {
    const message =
      "audit.head is missing or damaged: it cannot be determined whether the log was truncated";
    return { kind: "no_head", seq: null, message };
  }
  const seq = (last?.seq ?? 0) + 1;
  if (anchor.seq < seq) return null;
  const message = `the log ends before entry ${seq}; there were ${anchor.seq}`;
  return { kind: "truncated", seq, message };
}

/** Numbers beyond JavaScript's range are read inexactly, so their hash does not match. */
const pageSql = (kid: string) => `
  SELECT max(min(seq, ${Number.MAX_SAFE_INTEGER}), ${Number.MIN_SAFE_INTEGER}) AS seq,
    max(min(at, ${Number.MAX_SAFE_INTEGER}), ${Number.MIN_SAFE_INTEGER}) AS at,
    actor, action, target, outcome, detail, prev_hash, hash, ${kid} AS kid
  FROM audit WHERE audit.seq > $after ORDER BY audit.seq LIMIT $limit`;

function* rowsOf(db: DatabaseSync): Generator<AuditRow> {
  // A log that no later release has opened yet does not have this column.
  const sealed = db
    .prepare("PRAGMA table_info(audit)")
    .all()
    .some(({ name }) => name === "kid");
  const page = db.prepare(pageSql(sealed ? "kid" : "NULL"));
  for (let after: number | bigint = -(2n ** 63n); ; ) {
    const rows: AuditRow[] = page.all({ after, limit: pageSize }).map(auditRowOf);
    yield* rows;
    const last = rows.at(-1);
    if (last === undefined || rows.length < pageSize) return;
    after = last.seq;
  }
}
