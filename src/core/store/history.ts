import { dirname } from "node:path";
import { AttemptTable, UsageTable } from "./attempts.ts";
import { AuditTable, auditHeadFile, noAuditKeys } from "./audit.ts";
import { CompletedTable } from "./completed.ts";
import { type Database, int, openDatabase, type Row, text, textOrNull } from "./database.ts";
import { Aged, EventTable } from "./events.ts";
import { historyMigrations } from "./schema.ts";
import type { History, Steer } from "./store.ts";

/** A history that its opener closes. */
export interface OpenHistory extends History {
  close(): void;
}

/**
 * Opens the history in `file`; the caller holds the data directory's lock. Every call throws `storage_unavailable` or
 * `storage_corrupt`. Attempts and events survive a crash of the process; steers and audit entries also a power cut.
 */
export function openHistory(file: string, auditKeys = noAuditKeys): OpenHistory {
  const db = openDatabase(file, { migrations: historyMigrations, synchronous: "NORMAL" });
  const attempts = new AttemptTable(db);
  const events = new EventTable(db);
  const aged = new Aged(db, events.index);
  const completed = new CompletedTable(db);
  const steers = new SteerTable(db);
  const usage = new UsageTable(db);
  const audit = new AuditTable(db, auditHeadFile(dirname(file)), auditKeys);
  const close = () => {
    audit.leave();
    db.close();
  };
  return {
    saveAttempt(attempt) {
      attempts.save(attempt);
      return true;
    },
    saveUsed: (used) =>
      db.transaction(() => {
        attempts.save(used.attempt);
        usage.add(used);
      }),
    usage: (query) => usage.by(query),
    tokensOfDay: (at) => usage.ofDay(at),
    attempt: (id) => attempts.byId(id),
    attemptsOf: (issueId, limit, offset) => attempts.ofIssue(issueId, limit, offset),
    openAttempts: () => attempts.open(),
    totals: () => attempts.totals(),
    lastAttemptId: () => attempts.lastId(),
    tokensSince: (issueId, after) => usage.since(issueId, after),
    latestAttempt: (issueId) => attempts.latestOf(issueId),
    workspacePlaces: () => attempts.places.all(),
    workspacePlaceAt: (path) => attempts.places.at(path),
    workspacePlacesOf: (issueId) => attempts.places.ofIssue(issueId),
    issueIdOf: (identifier) => attempts.issueIdOf(identifier),
    identifiersOf: (issueId) => attempts.identifiersOf(issueId),
    removeOldEvents: (removal) => aged.removeEvents(removal),
    removeOldAttempts: (removal) => aged.removeAttempts(removal),
    saveCompleted: (record, most) => completed.save(record, most),
    completed: () => completed.all(),
    lastSeq: () => events.lastSeq,
    appendEvents: (batch) => events.append(batch),
    events: (query) => events.page(query),
    recentEvents: (issueId, limit) => events.newestOf(issueId, limit),
    lastEvent: (attemptId, type) => events.lastOf(attemptId, type),
    oldestSeq: () => events.oldestSeq(),
    addSteer: (steer) => steers.add(steer),
    markDelivered: (steerId) => steers.markDelivered(steerId),
    steerByKey: (issueId, key) => steers.byKey(issueId, key),
    dropSteer: (steerId) => steers.drop(steerId),
    undelivered: (issueId) => steers.undelivered(issueId),
    nextAuditSeq: () => audit.nextSeq(),
    auditIntent: (intent) => audit.intend(intent),
    endAuditIntents: (at) => audit.endIntents(at),
    audit(entry, intent) {
      audit.append([entry], intent);
      return true;
    },
    auditSoon: (entries) => audit.appendSoon(entries),
    isAuditHeadBehind: () => audit.isHeadBehind,
    writeAuditHead: () => audit.writeHead(),
    changes: () => db.changes(),
    auditPage: (query) => audit.page(query),
    close,
  };
}

/** Steers of `history.db`, in the order they came. */
class SteerTable {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  add(steer: Steer): { readonly steer: Steer; readonly duplicate: boolean } {
    return this.#db.durably(() => {
      const earlier = steer.key === null ? null : this.byKey(steer.issueId, steer.key);
      if (earlier) return { steer: earlier, duplicate: true };
      this.#db.run(
        `INSERT INTO steers (id, issue_id, attempt_id, turn_id, message, key, at, delivered)
          VALUES ($id, $issueId, $attemptId, $turnId, $message, $key, $at, $delivered)`,
        { ...steer, at: Math.round(steer.at), delivered: steer.delivered ? 1 : 0 },
      );
      return { steer, duplicate: false };
    });
  }

  markDelivered(id: string): void {
    const sql = "UPDATE steers SET delivered = 1 WHERE id = $id";
    this.#db.durably(() => this.#db.run(sql, { id }));
  }

  undelivered(issueId: string): readonly Steer[] {
    const sql = "SELECT * FROM steers WHERE issue_id = $issueId AND delivered = 0 ORDER BY ordinal";
    return this.#db.all(steerOf, sql, { issueId });
  }

  byKey(issueId: string, key: string): Steer | null {
    const sql = "SELECT * FROM steers WHERE issue_id = $issueId AND key = $key";
    return this.#db.get(steerOf, sql, { issueId, key });
  }

  drop(id: string): void {
    this.#db.durably(() => this.#db.run("DELETE FROM steers WHERE id = $id", { id }));
  }
}

function steerOf(row: Row): Steer {
  return {
    id: text(row, "id"),
    issueId: text(row, "issue_id"),
    attemptId: text(row, "attempt_id"),
    turnId: text(row, "turn_id"),
    message: text(row, "message"),
    key: textOrNull(row, "key"),
    at: int(row, "at"),
    delivered: int(row, "delivered") === 1,
  };
}
