import { join } from "node:path";
import { openDatabase } from "./database.ts";

const keptMs = 3_600_000;

/** Which signed deliveries have come in. Calls are synchronous; durable when they return. */
export interface Deliveries {
  /** False when this one is known already. Throws `storage_unavailable` or `storage_corrupt`. */
  add(delivery: StoredDelivery): boolean;
  has(signature: string): boolean;
  close(): void;
}

export interface StoredDelivery {
  /** What was signed, by its signature. */
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

/** Opens `webhooks.db` in `dir`. A delivery is kept for an hour: long after its signed time makes a replay stale. */
export function openDeliveries(dir: string): Deliveries {
  const db = openDatabase(join(dir, "webhooks.db"), { migrations, synchronous: "FULL" });
  const has = (signature: string) => {
    const sql = "SELECT 1 FROM deliveries WHERE signature = $signature";
    return db.get(() => true, sql, { signature }) !== null;
  };
  return {
    has,
    add: (delivery) =>
      db.transaction(() => {
        if (has(delivery.signature)) return false;
        db.run("DELETE FROM deliveries WHERE at < $before", {
          before: Math.round(delivery.at) - keptMs,
        });
        db.run(
          `INSERT INTO deliveries (signature, type, action, issue_id, at)
            VALUES ($signature, $type, $action, $issueId, $at)`,
          { ...delivery, at: Math.round(delivery.at) },
        );
        return true;
      }),
    close: () => db.close(),
  };
}
