import type { EventType, SymphonyEvent } from "../model/event.ts";
import { type Database, int, intOrNull, type Row, text, textOrNull } from "./database.ts";
import type { AttemptRemoval, EventQuery, Removal, RemovalStep } from "./store.ts";

type Driver = "attempt_id" | "issue_identifier" | "issue_id" | "type";

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
    for (const { seq } of events) {
      if (seq !== last + 1) throw new Error(`event ${seq} cannot follow ${last}`);
      last = seq;
    }
    const sql = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    this.#db.transaction(() => this.#db.runEach(sql, events.map(valuesOf)));
    this.#lastSeq = last;
  }

  page(query: EventQuery): readonly SymphonyEvent[] {
    const { attemptId, issueIdentifiers, types } = query;
    if (attemptId !== undefined) return this.#pages(query, "attempt_id", [attemptId]);
    if (issueIdentifiers) return this.#ofIssues(query, issueIdentifiers);
    if (types) return this.#pages(query, "type", types);
    return this.#pages(query, null, [null]);
  }

  /** Two series along two indexes, merged: an issue may have had another identifier. */
  #ofIssues(query: EventQuery, identifiers: readonly string[]): readonly SymphonyEvent[] {
    const { issueIds = [] } = query;
    const named = this.#pages(query, "issue_identifier", identifiers);
    if (issueIds.length === 0) return named;
    const all = [...named, ...this.#pages(query, "issue_id", issueIds)];
    const bySeq = new Map(all.map((event) => [event.seq, event]));
    return [...bySeq.values()].sort((a, b) => a.seq - b.seq).slice(0, query.limit);
  }

  newestOf(issueId: string, limit: number): readonly SymphonyEvent[] {
    const sql = "SELECT * FROM events WHERE issue_id = $issueId ORDER BY seq DESC LIMIT $limit";
    return this.#db.all(eventOf, sql, { issueId, limit });
  }

  lastOf(attemptId: string, type: EventType): SymphonyEvent | null {
    const sql = `SELECT * FROM events WHERE attempt_id = $attemptId AND +type = $type
      ORDER BY seq DESC LIMIT 1`;
    return this.#db.get(eventOf, sql, { attemptId, type });
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
        ids: JSON.stringify(query.issueIds ?? []),
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
        OR +issue_identifier COLLATE NOCASE IN (SELECT value FROM json_each($identifiers))
        OR +issue_id IN (SELECT value FROM json_each($ids)))
    ORDER BY seq LIMIT $limit`;
}

/** In the order of the columns. */
function valuesOf(event: SymphonyEvent) {
  const { seq, type, issueId, issueIdentifier, attemptId, sessionId, message } = event;
  const data = JSON.stringify(event.data);
  const at = Math.round(event.at);
  return [seq, type, at, issueId, issueIdentifier, attemptId, sessionId, message, data];
}

function eventOf(row: Row): SymphonyEvent {
  return {
    seq: int(row, "seq"),
    // Only `append` writes these rows; a type of an earlier release is returned unchanged.
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

/** Removes old rows of `history.db`, a few at a time. */
export class Aged {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /**
   * The oldest events, up to the first recent one, so that the series has no gaps. The newest event is kept, so that no
   * number is used twice.
   */
  removeEvents({ before, limit }: Removal): RemovalStep {
    return this.#db.transaction(() => {
      const sql = `SELECT seq, at FROM events
        WHERE seq < (SELECT max(seq) FROM events) ORDER BY seq LIMIT $limit`;
      const rows = this.#db.all((row) => ({ seq: int(row, "seq"), at: int(row, "at") }), sql, {
        limit,
      });
      const firstKept = rows.findIndex(({ at }) => at >= before);
      const old = firstKept < 0 ? rows : rows.slice(0, firstKept);
      const last = old.at(-1);
      if (last === undefined) return { removed: 0, next: null };
      this.#db.run("DELETE FROM events WHERE seq <= $last", { last: last.seq });
      return { removed: old.length, next: old.length < limit ? null : String(last.seq) };
    });
  }

  /**
   * Ended attempts, except each issue's newest, which its next attempt is numbered after, and its newest in each directory, where
   * unsaved work may remain. Their sums are kept.
   */
  removeAttempts({ before, limit, after, kept }: AttemptRemoval): RemovalStep {
    return this.#db.transaction(() => {
      const place = "body ->> '$.workspacePath'";
      const sql = `SELECT id, issue_id, started_at, ended_at, EXISTS (SELECT 1 FROM attempts AS later
          WHERE later.issue_id = attempts.issue_id AND later.id > attempts.id
            AND coalesce(later.${place} = attempts.${place}, attempts.${place} IS NULL))
        AS superseded
        FROM attempts WHERE id > $after ORDER BY id LIMIT $limit`;
      const rows = this.#db.all(
        (row) => ({
          id: text(row, "id"),
          issueId: text(row, "issue_id"),
          startedAt: int(row, "started_at"),
          endedAt: intOrNull(row, "ended_at"),
          superseded: int(row, "superseded") === 1,
        }),
        sql,
        { after, limit },
      );
      const old = rows.filter(
        ({ issueId, endedAt, superseded }) =>
          superseded && endedAt !== null && endedAt < before && !kept.includes(issueId),
      );
      if (old.length > 0) this.#remove(old.map(({ id }) => id));
      const last = rows.at(-1);
      // Ids sort by start time.
      const more = last !== undefined && rows.length === limit && last.startedAt < before;
      return { removed: old.length, next: more ? last.id : null };
    });
  }

  #remove(ids: readonly string[]): void {
    const which = { ids: JSON.stringify(ids) };
    const these = "FROM attempts WHERE id IN (SELECT value FROM json_each($ids))";
    this.#db.run(
      `UPDATE removed_attempts SET
        input = input + (SELECT sum(attempts.input) ${these}),
        cached_input = cached_input + (SELECT sum(attempts.cached_input) ${these}),
        output = output + (SELECT sum(attempts.output) ${these}),
        reasoning_output = reasoning_output + (SELECT sum(attempts.reasoning_output) ${these}),
        total = total + (SELECT sum(attempts.total) ${these}),
        milliseconds = milliseconds + (SELECT sum(max(ended_at - started_at, 0)) ${these})`,
      which,
    );
    this.#db.run(`DELETE ${these}`, which);
  }
}
