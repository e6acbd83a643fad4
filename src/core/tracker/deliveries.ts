import { join } from "node:path";
import { type Database, openDatabase, type Row, text } from "../store/database.ts";

/** The signed deliveries received so far. Calls are synchronous; changes are durable when they return. */
export interface Deliveries {
  /** Opens the list now instead of at its first use. */
  open(): void;
  /** Records the deliveries that are not known yet: all or none. Throws `storage_unavailable` or `storage_corrupt`. */
  add(deliveries: readonly StoredDelivery[]): void;
  /** Whether a delivery with this signed content, or with this id of its service, is known. */
  has(delivery: Pick<StoredDelivery, "signature" | "kind" | "id">): boolean;
  /** What a stored delivery caused is done. */
  worked(signature: string): void;
  /** What was stored and not worked, because the server ended in between; oldest first. */
  waiting(kind: string): readonly WaitingDelivery[];
  /** Closes the list, if it was opened. */
  close(): void;
}

export interface StoredDelivery {
  /** Identifies the signed content. */
  readonly signature: string;
  /** The service that sent it. */
  readonly kind: string;
  /** The service's own id, the same when it is delivered again; null: it sends none. */
  readonly id: string | null;
  readonly type: string;
  readonly action: string | null;
  readonly issueId: string | null;
  /** What is to be done, also after a crash; null: nothing that a start does not do anyway. */
  readonly work: DeliveryWork | null;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** It is forgotten after this time, ms since the epoch. */
  readonly until: number;
}

/** JSON that its service's inbox understands. */
export type DeliveryWork = Readonly<Record<string, string | number | null>>;

export interface WaitingDelivery {
  readonly signature: string;
  readonly work: DeliveryWork;
}

export const webhookMigrations = [
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
  `
  CREATE TABLE received (
    signature TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    delivery_id TEXT,
    type TEXT NOT NULL,
    action TEXT,
    issue_id TEXT,
    work TEXT,
    at INTEGER NOT NULL,
    until INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  INSERT INTO received
    SELECT signature, '', NULL, type, action, issue_id, NULL, at, at + 3600000 FROM deliveries;
  DROP TABLE deliveries;
  CREATE INDEX received_by_until ON received (until);
  CREATE UNIQUE INDEX received_by_id ON received (kind, delivery_id) WHERE delivery_id IS NOT NULL;
  CREATE INDEX received_waiting ON received (kind, at) WHERE work IS NOT NULL;
  `,
];

/** The number of deliveries that are known; the oldest are forgotten first. A flood must not fill the disk. */
const maxKept = 100_000;
/** How many may be added before the number is checked again. */
const trimEvery = 1_000;

/** `webhooks.db` in `dir`. */
export function openDeliveries(dir: string, kept = maxKept): Deliveries {
  let opened: Database | null = null;
  let sinceTrim = trimEvery;
  let isClosed = false;
  const database = () => {
    opened ??= openDatabase(join(dir, "webhooks.db"), {
      migrations: webhookMigrations,
      synchronous: "FULL",
    });
    return opened;
  };
  return {
    open: () => void database(),
    has({ signature, kind, id }) {
      const sql = `SELECT 1 FROM received
        WHERE signature = $signature OR (kind = $kind AND delivery_id = $id)`;
      return database().get(() => true, sql, { signature, kind, id }) !== null;
    },
    add(deliveries) {
      const db = database();
      db.transaction(() => {
        const newest = Math.max(...deliveries.map(({ at }) => Math.round(at)));
        db.run("DELETE FROM received WHERE until < $newest", { newest });
        if (sinceTrim >= Math.min(trimEvery, kept)) {
          trim(db, kept);
          sinceTrim = 0;
        }
        sinceTrim += deliveries.length;
        for (const { work, at, until, ...delivery } of deliveries) {
          db.run(
            `INSERT INTO received
                (signature, kind, delivery_id, type, action, issue_id, work, at, until)
              VALUES ($signature, $kind, $id, $type, $action, $issueId, $work, $at, $until)
              ON CONFLICT DO NOTHING`,
            {
              ...delivery,
              work: work && JSON.stringify(work),
              at: Math.round(at),
              until: Math.round(until),
            },
          );
        }
      });
    },
    worked(signature) {
      // Work that ends after the server was stopped is repeated at the next start.
      if (isClosed) return;
      const sql = "UPDATE received SET work = NULL WHERE signature = $signature";
      database().run(sql, { signature });
    },
    waiting(kind) {
      const sql =
        "SELECT signature, work FROM received WHERE kind = $kind AND work IS NOT NULL ORDER BY at";
      return database().all(waitingOf, sql, { kind });
    },
    close() {
      isClosed = true;
      opened?.close();
    },
  };
}

/** Forgets all but the newest; what is still to be done stays. */
function trim(db: Database, kept: number): void {
  const sql = `DELETE FROM received WHERE work IS NULL AND signature NOT IN
    (SELECT signature FROM received ORDER BY at DESC LIMIT $kept)`;
  db.run(sql, { kept });
}

function waitingOf(row: Row): WaitingDelivery {
  return { signature: text(row, "signature"), work: JSON.parse(text(row, "work")) };
}
