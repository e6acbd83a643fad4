import { createHash, createHmac, type KeyObject, timingSafeEqual } from "node:crypto";
import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { z } from "zod";
import { systemCodeOf } from "../model/errors.ts";
import { type Database, int, type Row, text, textOrNull } from "./database.ts";
import { isStorageError } from "./durable.ts";
import { translate } from "./sqlite-errors.ts";
import type {
  AuditEntry,
  AuditIntent,
  AuditPage,
  AuditQuery,
  AuditRecord,
  History,
} from "./store.ts";

const totalsKept = 100;

/** The position of an entry in the chain. */
interface AuditPosition {
  readonly seq: number;
  readonly prevHash: string;
}

/** The audit log of `history.db`: each entry's hash covers the previous one, and a second file names the newest. */
export class AuditTable {
  readonly #db: Database;
  readonly #headFile: string;
  readonly #keys: AuditKeys;
  /** Cached counts by filter: no other process writes while this one holds the data directory. */
  readonly #totals = new Map<string, number>();
  #head: AuditHead | null | undefined;
  #isHeadBehind = false;
  #isJournalBehind = false;

  constructor(db: Database, headFile: string, keys: AuditKeys) {
    this.#db = db;
    this.#headFile = headFile;
    this.#keys = keys;
  }

  /** The number of the next entry. */
  nextSeq(): number {
    this.#head ??= readAuditHead(this.#headFile);
    return this.#next().seq;
  }

  /** Returns the number with which `append` removes it. */
  intend({ at, actor, action, target, detail }: AuditIntent): number {
    return this.#db.durably(() => {
      const sql = `INSERT INTO audit_intents (at, actor, action, target, detail)
        VALUES ($at, $actor, $action, $target, $detail) RETURNING id`;
      const row = { at: Math.round(at), actor, action, target, detail: JSON.stringify(detail) };
      return this.#db.get((made) => int(made, "id"), sql, row) ?? 0;
    });
  }

  /** Writes an entry for every intent left by a crash, with an unknown outcome. Returns their number. */
  endIntents(at: number): number {
    const left = this.#db.all(
      (row) => ({ id: int(row, "id"), intent: intentOf(row) }),
      "SELECT * FROM audit_intents ORDER BY id",
    );
    for (const { id, intent } of left) {
      const detail = { ...intent.detail, intended_at: new Date(intent.at).toISOString() };
      this.append([{ ...intent, at, outcome: "interrupted", detail }], id);
    }
    return left.length;
  }

  /** Appends all or none, in order; `intent` is the one that they complete. */
  append(entries: readonly AuditEntry[], intent?: number): void {
    this.#head = this.#db.durably(() => this.#appended(entries, intent));
    this.#isJournalBehind = false;
    this.#isHeadBehind = true;
    // The entries are in the log now: an error here would cause a second append.
    this.leave();
  }

  /** As `append`, but only a crash of the process is survived until `writeHead` has put them, and the second file, on disk. */
  appendSoon(entries: readonly AuditEntry[]): true {
    this.#head = this.#db.transaction(() => this.#appended(entries));
    this.#isJournalBehind = true;
    this.#isHeadBehind = true;
    return true;
  }

  #appended(entries: readonly AuditEntry[], intent?: number): AuditHead {
    this.#head ??= readAuditHead(this.#headFile);
    const seal = this.#keys.current();
    let next = this.#next();
    for (const entry of entries) {
      next = { seq: next.seq + 1, prevHash: this.#insert(entry, next, seal) };
    }
    if (intent !== undefined) {
      this.#db.run("DELETE FROM audit_intents WHERE id = $intent", { intent });
    }
    this.#totals.clear();
    return sealedHead(next.seq - 1, next.prevHash, seal);
  }

  /** True while the second file names an older entry than the newest: a truncation of what is after it is then not detected. */
  get isHeadBehind(): boolean {
    return this.#isHeadBehind;
  }

  /** Writes the newest entry to the second file, never before that entry itself is on disk. Throws `storage_unavailable`. */
  writeHead(): void {
    if (!this.#isHeadBehind || !this.#head) return;
    if (this.#isJournalBehind) this.#db.flush();
    this.#isJournalBehind = false;
    writeAuditHead(this.#headFile, this.#head);
    this.#isHeadBehind = false;
  }

  /** As `writeHead`, but what the disk refuses stays behind. */
  leave(): void {
    try {
      this.writeHead();
    } catch (error) {
      if (!isStorageError(error)) throw error;
    }
  }

  /** Returns the entry's hash. */
  #insert(entry: AuditEntry, place: AuditPosition, seal: AuditKey | null): string {
    const { actor, action, target, outcome } = entry;
    const at = Math.round(entry.at);
    const detail = JSON.stringify(entry.detail);
    const kid = seal?.kid ?? null;
    const row = { ...place, at, actor, action, target, outcome, detail, kid };
    const hash = auditHash(row, seal?.key);
    this.#db.run(
      `INSERT INTO audit VALUES
        ($seq, $at, $actor, $action, $target, $outcome, $detail, $prevHash, $hash, $kid)`,
      { ...row, hash },
    );
    return hash;
  }

  /** Newest first. */
  page(query: AuditQuery): AuditPage {
    const { limit, offset, actor, action, target, since, until } = query;
    const from = `FROM audit INDEXED BY ${indexFor(query)} WHERE ${conditions(query)}`;
    const filter = {
      ...(actor !== undefined && { actor }),
      ...(action !== undefined && { action }),
      ...(target !== undefined && { target }),
      ...(since !== undefined && { since }),
      ...(until !== undefined && { until }),
    };
    return this.#db.snapshot(() => ({
      total: this.#total(from, filter),
      // The inner query reads an index only, however deep the page is.
      entries: this.#db.all(
        (row) => recordOf(auditRowOf(row)),
        `SELECT * FROM audit WHERE seq IN
          (SELECT seq ${from} ORDER BY seq DESC LIMIT $limit OFFSET $offset) ORDER BY seq DESC`,
        { ...filter, limit, offset },
      ),
    }));
  }

  #total(from: string, filter: Readonly<Record<string, string | number>>): number {
    const key = JSON.stringify([from, filter]);
    const known = this.#totals.get(key);
    if (known !== undefined) return known;
    const sql = `SELECT COUNT(*) AS n ${from}`;
    const total = this.#db.get((row) => int(row, "n"), sql, filter) ?? 0;
    if (this.#totals.size >= totalsKept) this.#totals.clear();
    this.#totals.set(key, total);
    return total;
  }

  /** After a cut the chain continues from the entry in the second file, so that the gap stays visible. */
  #next(): AuditPosition {
    const last = this.#db.get(
      (row) => ({ seq: int(row, "seq"), hash: text(row, "hash") }),
      "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1",
    );
    const known = this.#head ?? null;
    const newest = Math.max(last?.seq ?? 0, known?.seq ?? 0);
    // Without the head the length of the log would be unknown; a gap keeps this visible.
    if (headFault(known, this.#keys) !== null) {
      return { seq: newest + 2, prevHash: last?.hash ?? "" };
    }
    const head = known !== null && known.seq >= (last?.seq ?? 0) ? known : last;
    return { seq: (head?.seq ?? 0) + 1, prevHash: head?.hash ?? "" };
  }
}

function sealedHead(seq: number, hash: string, seal: AuditKey | null): AuditHead {
  if (seal === null) return { seq, hash };
  return { seq, hash, seal: { kid: seal.kid, mac: headSeal(seq, hash, seal.key) } };
}

/** The index that leaves the fewest rows; each has `seq` next, so that no page needs a sort. */
function indexFor({ actor, action, target }: AuditQuery): string {
  if (target !== undefined) return "audit_by_target";
  if (action !== undefined) return "audit_by_action";
  return actor === undefined ? "audit_in_order" : "audit_by_actor";
}

function conditions({ actor, action, target, since, until }: AuditQuery): string {
  return [
    "TRUE",
    ...(target === undefined ? [] : ["target = $target COLLATE NOCASE"]),
    ...(action === undefined ? [] : ["action = $action"]),
    ...(actor === undefined ? [] : ["actor = $actor"]),
    ...(since === undefined ? [] : ["at >= $since"]),
    ...(until === undefined ? [] : ["at < $until"]),
  ].join(" AND ");
}

function intentOf(row: Row): AuditIntent {
  return {
    at: int(row, "at"),
    // Only `intend` writes these rows.
    actor: text(row, "actor"),
    action: text(row, "action"),
    target: textOrNull(row, "target"),
    detail: JSON.parse(text(row, "detail")),
  };
}

function recordOf(row: ReturnType<typeof auditRowOf>): AuditRecord {
  // Only `append` writes these rows.
  return { ...row, detail: JSON.parse(row.detail) };
}

/** One row of the audit log as it is stored; `detail` is JSON. */
export interface AuditRow {
  readonly seq: number;
  readonly at: number;
  readonly actor: string;
  readonly action: string;
  readonly target: string | null;
  readonly outcome: string;
  readonly detail: string;
  /** Empty for the first entry. */
  readonly prevHash: string;
  /** Id of the key of `hash`; null: a plain SHA-256. */
  readonly kid: string | null;
  readonly hash: string;
}

/**
 * SHA-256 in hex over all fields of a row, including the hash of the previous row; with `key` an HMAC, which cannot be
 * computed from the database alone.
 */
export function auditHash(row: Omit<AuditRow, "hash">, key: KeyObject | null = null): string {
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

/** One key of the audit log, derived from a root key and with its id. */
export interface AuditKey {
  readonly kid: string;
  /** An object, because Node makes one of the bytes at each use, which takes longer than a hash. */
  readonly key: KeyObject;
}

/** The keys that audit entries are sealed with. */
export interface AuditKeys {
  /** From this seq on an entry without a seal is not authentic; null before the first sealed entry. */
  from(): number | null;
  /** null: entries are not sealed. */
  current(): AuditKey | null;
  /** Also finds keys from before a rotation. */
  find(kid: string): KeyObject | null;
}

export const noAuditKeys: AuditKeys = { from: () => null, current: () => null, find: () => null };

/** The seal of the head, which cannot be computed without the key. */
function headSeal(seq: number, hash: string, key: KeyObject): string {
  return createHmac("sha256", key).update(`symphony|head|v1|${seq}|${hash}`).digest("hex");
}

/** Why `head` cannot be trusted to name the end of the log; null when it can, or when no key can decide. */
export function headFault(head: AuditHead | null, keys: AuditKeys): string | null {
  const from = keys.from();
  if (from === null) return null;
  if (head === null) return "audit.head is missing or damaged";
  const key = head.seal && keys.find(head.seal.kid);
  const genuine = head.seal && key && isSame(headSeal(head.seq, head.hash, key), head.seal.mac);
  return genuine && head.seq >= from ? null : "audit.head was not written by this symphony";
}

function isSame(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

const hex = z.string().regex(/^[0-9a-f]{64}$/);
const Head = z.object({
  seq: z.number().int().min(1),
  hash: hex,
  /** Computed with the key `kid` over both. */
  seal: z.object({ kid: z.string(), mac: hex }).optional(),
});

/** The newest audit entry according to the second file. */
export type AuditHead = z.output<typeof Head>;

/** The second file, by which a truncated log is detected. */
export function auditHeadFile(dataDir: string): string {
  return join(dataDir, "audit.head");
}

/** null when the file is missing or cannot be parsed. Throws `storage_unavailable`. */
export function readAuditHead(file: string): AuditHead | null {
  const found = translate(file, () => {
    try {
      return statSync(file).isFile() ? readFileSync(file, "utf8") : "";
    } catch (error) {
      if (systemCodeOf(error) === "ENOENT") return "";
      throw error;
    }
  });
  try {
    return Head.parse(JSON.parse(found));
  } catch {
    return null;
  }
}

/** On disk when it returns, as a whole or not at all. Throws `storage_unavailable`. */
export function writeAuditHead(file: string, head: AuditHead): void {
  translate(file, () => {
    const temporary = `${file}.tmp`;
    const fd = openSync(temporary, "w", 0o600);
    try {
      writeSync(fd, `${JSON.stringify(head)}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, file);
    const dir = openSync(dirname(file), "r");
    try {
      fsyncSync(dir);
    } finally {
      closeSync(dir);
    }
  });
}

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
  // Without the second file a later truncation of the log could not be detected.
  history.writeAuditHead();
  return seq;
}
