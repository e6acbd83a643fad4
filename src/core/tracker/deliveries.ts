import { join } from "node:path";
import { type Database, openDatabase } from "../store/database.ts";

const keptMs = 3_600_000;

/** The signed deliveries received so far. Calls are synchronous; changes are durable when they return. */
export interface Deliveries {
  /** Opens the list now instead of at its first use. */
  open(): void;
  /** Records the deliveries that are not known yet: all or none. Throws `storage_unavailable` or `storage_corrupt`. */
  add(deliveries: readonly StoredDelivery[]): void;
  has(signature: string): boolean;
  /** Closes the list, if it was opened. */
  close(): void;
}

export interface StoredDelivery {
  /** Identifies the signed content. */
  readonly signature: string;
  readonly type: string;
  readonly action: string;
  readonly issueId: string | null;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

const migrations = [
  `
  CREATE TABLE deliveries (
    signature TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    action TEXT NOT NULL,
    issue_id TEXT,
    at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX deliveries_by_time ON deliveries (at);
  `,
];

/** `webhooks.db` in `dir`. A delivery is kept for an hour: by then its signed time is too old for a replay. */
export function openDeliveries(dir: string): Deliveries {
  let opened: Database | null = null;
  const database = () => {
    opened ??= openDatabase(join(dir, "webhooks.db"), { migrations, synchronous: "FULL" });
    return opened;
  };
  return {
    open: () => void database(),
    has(signature) {
      const sql = "SELECT 1 FROM deliveries WHERE signature = $signature";
      return database().get(() => true, sql, { signature }) !== null;
    },
    add(deliveries) {
      const db = database();
      db.transaction(() => {
        const newest = Math.max(...deliveries.map(({ at }) => Math.round(at)));
        db.run("DELETE FROM deliveries WHERE at < $before", { before: newest - keptMs });
        for (const delivery of deliveries) {
          db.run(
            `INSERT INTO deliveries (signature, type, action, issue_id, at)
              VALUES ($signature, $type, $action, $issueId, $at)`,
            { ...delivery, at: Math.round(delivery.at) },
          );
        }
      });
    },
    close: () => opened?.close(),
  };
}
