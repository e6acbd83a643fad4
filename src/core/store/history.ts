import { dirname } from "node:path";
import { Aged } from "./aged.ts";
import { AttemptTable } from "./attempt-table.ts";
import { auditHeadFile } from "./audit-anchor.ts";
import { noAuditKeys } from "./audit-keys.ts";
import { AuditTable } from "./audit-table.ts";
import { CompletedTable } from "./completed-table.ts";
import { openDatabase } from "./database.ts";
import { EventTable } from "./event-table.ts";
import { historyMigrations } from "./history-schema.ts";
import { SteerTable } from "./steer-table.ts";
import type { History } from "./store.ts";
import { UsageTable } from "./usage-table.ts";

/** A history that its opener closes. */
export interface OpenHistory extends History {
  close(): void;
}

/**
 * Opens the history in `file`; the caller holds the data directory's lock. Every call throws `storage_unavailable` or
 * `storage_corrupt`. Attempts and events survive a crash of the process, steers and audit entries a power cut as well.
 */
export function openHistory(file: string, auditKeys = noAuditKeys): OpenHistory {
  const db = openDatabase(file, { migrations: historyMigrations, synchronous: "NORMAL" });
  const attempts = new AttemptTable(db);
  const events = new EventTable(db);
  const aged = new Aged(db);
  const completed = new CompletedTable(db);
  const steers = new SteerTable(db);
  const usage = new UsageTable(db);
  const audit = new AuditTable(db, auditHeadFile(dirname(file)), auditKeys);
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
    removeOldEvents: (removal) => aged.removeEvents(removal),
    removeOldAttempts: (removal) => aged.removeAttempts(removal),
    saveCompleted: (record, most) => completed.save(record, most),
    completed: () => completed.all(),
    lastSeq: () => events.lastSeq,
    appendEvents: (batch) => events.append(batch),
    events: (query) => events.page(query),
    recentEvents: (issueId, limit) => events.newestOf(issueId, limit),
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
    auditAll(entries) {
      audit.append(entries);
      return true;
    },
    isAuditHeadBehind: () => audit.isHeadBehind,
    writeAuditHead: () => audit.writeHead(),
    changes: () => db.changes(),
    auditPage: (query) => audit.page(query),
    close: () => db.close(),
  };
}
