import type { EventType, SymphonyEvent } from "../model/event.ts";
import { int, text, textOrNull } from "./columns.ts";
import type { Database, Row } from "./database.ts";
import type { EventQuery } from "./store.ts";

type Driver = "attempt_id" | "issue_identifier" | "type";

/** The event series of `history.db`. */
export class EventTable {
  readonly #db: Database;
  #lastSeq: number;

  constructor(db: Database) {
    this.#db = db;
    this.#lastSeq = this.#seq("SELECT max(seq) AS seq FROM events");
  }

  get lastSeq(): number {
    return this.#lastSeq;
  }

  oldestSeq(): number {
    return this.#seq("SELECT min(seq) AS seq FROM events");
  }

  append(events: readonly SymphonyEvent[]): void {
    let last = this.#lastSeq;
    this.#db.transaction(() => {
      for (const event of events) {
        if (event.seq !== last + 1) throw new Error(`event ${event.seq} cannot follow ${last}`);
        this.#insert(event);
        last = event.seq;
      }
    });
    this.#lastSeq = last;
  }

  page(query: EventQuery): readonly SymphonyEvent[] {
    const { attemptId, issueIdentifiers, types } = query;
    if (attemptId !== undefined) return this.#pages(query, "attempt_id", [attemptId]);
    if (issueIdentifiers) return this.#pages(query, "issue_identifier", issueIdentifiers);
    if (types) return this.#pages(query, "type", types);
    return this.#pages(query, null, [null]);
  }

  newestOf(issueId: string, limit: number): readonly SymphonyEvent[] {
    const sql = "SELECT * FROM events WHERE issue_id = $issueId ORDER BY seq DESC LIMIT $limit";
    return this.#db.all(eventOf, sql, { issueId, limit });
  }

  /** One page per value along one index, merged: no value's page can need more than `limit` rows. */
  #pages(
    query: EventQuery,
    driver: Driver | null,
    values: readonly (string | null)[],
  ): readonly SymphonyEvent[] {
    const sql = pageSql(driver);
    const rows = [...new Set(values)].flatMap((value) =>
      this.#db.all((row) => row, sql, {
        ...(driver === null ? {} : { value }),
        afterSeq: query.afterSeq,
        limit: query.limit,
        identifiers: query.issueIdentifiers ? JSON.stringify(query.issueIdentifiers) : null,
        types: query.types ? JSON.stringify(query.types) : null,
      }),
    );
    const bySeq = new Map(rows.map((row) => [int(row, "seq"), row]));
    const seqs = [...bySeq.keys()].sort((a, b) => a - b).slice(0, query.limit);
    return seqs.flatMap((seq) => {
      const row = bySeq.get(seq);
      return row ? [eventOf(row)] : [];
    });
  }

  #insert(event: SymphonyEvent): void {
    this.#db.run(
      `INSERT INTO events VALUES ($seq, $type, $at, $issueId, $issueIdentifier, $attemptId,
        $sessionId, $message, $data)`,
      { ...event, at: Math.round(event.at), data: JSON.stringify(event.data) },
    );
  }

  #seq(sql: string): number {
    return this.#db.get((row) => (row["seq"] === null ? 0 : int(row, "seq")), sql) ?? 0;
  }
}

/** The unary plus keeps the planner on the driver's index, in whose order seq already is. */
function pageSql(driver: Driver | null): string {
  return `SELECT * FROM events
    WHERE seq > $afterSeq ${driver === null ? "" : `AND ${driver} = $value`}
      AND ($types IS NULL OR +type IN (SELECT value FROM json_each($types)))
      AND ($identifiers IS NULL
        OR +issue_identifier COLLATE NOCASE IN (SELECT value FROM json_each($identifiers)))
    ORDER BY seq LIMIT $limit`;
}

function eventOf(row: Row): SymphonyEvent {
  return {
    seq: int(row, "seq"),
    // Only `append` writes here; a type of an earlier release is passed on as it is.
    type: text(row, "type") as EventType,
    at: int(row, "at"),
    issueId: textOrNull(row, "issue_id"),
    issueIdentifier: textOrNull(row, "issue_identifier"),
    attemptId: textOrNull(row, "attempt_id"),
    sessionId: textOrNull(row, "session_id"),
    message: text(row, "message"),
    data: JSON.parse(text(row, "data")),
  };
}
