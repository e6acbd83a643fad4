import { dirname } from "node:path";
import { AttemptTable } from "./attempt-table.ts";
import { auditHeadFile } from "./audit-anchor.ts";
import { AuditTable } from "./audit-table.ts";
import { openDatabase } from "./database.ts";
import { DayTable } from "./day-table.ts";
import { EventTable } from "./event-table.ts";
import { historyMigrations } from "./history-schema.ts";
import { SteerTable } from "./steer-table.ts";
import type { History } from "./store.ts";

/** A history that its opener closes. */
export interface OpenHistory extends History {
  close(): void;
}

/**
 * Opens the history in `file`; the caller holds the data directory's lock. Every call throws `storage_unavailable` or
 * `storage_corrupt`. Attempts and events survive a crash of the process, steers and audit entries a power cut as well.
 */
export function openHistory(file: string): OpenHistory {
  const db = openDatabase(file, { migrations: historyMigrations, synchronous: "NORMAL" });
  const attempts = new AttemptTable(db);
  const days = new DayTable(db);
  const events = new EventTable(db);
  const steers = new SteerTable(db);
  const audit = new AuditTable(db, auditHeadFile(dirname(file)));
  return {
    saveAttempt: (attempt) => attempts.save(attempt),
    attempt: (id) => attempts.byId(id),
    attemptsOf: (issueId, limit, offset) => attempts.ofIssue(issueId, limit, offset),
    openAttempts: () => attempts.open(),
    totals: () => attempts.totals(),
    lastAttemptId: () => attempts.lastId(),
    tokensSince: (issueId, after) => attempts.tokensSince(issueId, after),
    countTokens: (use) => days.add(use),
    tokensByDay: (since) => days.since(since),
    latestAttempt: (issueId) => attempts.latestOf(issueId),
    issueIdOf: (identifier) => attempts.issueIdOf(identifier),
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
    audit: (entry) => audit.append(entry),
    auditPage: (query) => audit.page(query),
    close: () => db.close(),
  };
}
