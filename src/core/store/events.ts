import type { EventType, SymphonyEvent } from "../model/event.ts";
import { type Database, int, intOrNull, type Row, text, textOrNull } from "./database.ts";
import { EventIndex, type EventKey, nameKey } from "./event-index.ts";
import type { AttemptRemoval, EventQuery, Removal, RemovalStep } from "./store.ts";

/** The event series of `history.db`. */
export class EventTable {
  readonly index: EventIndex;
  readonly #db: Database;
  #lastSeq: number;

  constructor(db: Database) {
    this.#db = db;
    this.index = new EventIndex(db);
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
    this.#db.transaction(() => {
      this.index.write();
      this.#db.runEach(sql, events.map(valuesOf));
    });
    this.index.appended(events);
    this.#lastSeq = last;
  }

  page(query: EventQuery): readonly SymphonyEvent[] {
    const { attemptId, issueIdentifiers, issueIds = [], types } = query;
    if (attemptId !== undefined) return this.#pageOf(query, [`attempt ${attemptId}`]);
    if (issueIdentifiers) {
      // An issue may have had another identifier.
      const ids = issueIds.map((id) => `issue ${id}` as const);
      return this.#pageOf(query, [...issueIdentifiers.map(nameKey), ...ids]);
    }
    if (types)
      return this.#pageOf(
        query,
        types.map((type) => `type ${type}` as const),
      );
    const sql = "SELECT * FROM events WHERE seq > $afterSeq ORDER BY seq LIMIT $limit";
    return this.#db.all(eventOf, sql, { afterSeq: query.afterSeq, limit: query.limit });
  }

  newestOf(issueId: string, limit: number): readonly SymphonyEvent[] {
    const found: SymphonyEvent[] = [];
    for (const seqs of this.index.downwards(`issue ${issueId}`)) {
      found.push(...this.#rows(seqs.slice(0, limit - found.length)).reverse());
      if (found.length >= limit) break;
    }
    return found;
  }

  lastOf(attemptId: string, type: EventType): SymphonyEvent | null {
    for (const seqs of this.index.downwards(`attempt ${attemptId}`)) {
      const found = this.#rows(seqs, { afterSeq: 0, limit: seqs.length, types: [type] }).at(-1);
      if (found !== undefined) return found;
    }
    return null;
  }

  /** Those with any of the keys, merged: no key's page can need more than `limit` rows. */
  #pageOf(query: EventQuery, keys: readonly EventKey[]): readonly SymphonyEvent[] {
    const { afterSeq, limit } = query;
    const bySeq = new Map<number, SymphonyEvent>();
    for (const key of new Set(keys)) {
      let left = limit;
      for (const seqs of this.index.upwards(key, afterSeq)) {
        const rows = this.#rows(seqs, { ...query, limit: left });
        for (const row of rows) bySeq.set(row.seq, row);
        left -= rows.length;
        if (left <= 0) break;
      }
    }
    return [...bySeq.values()].sort((a, b) => a.seq - b.seq).slice(0, limit);
  }

  /** Those of the numbers, in order, that the query asks for; without one all. */
  #rows(seqs: readonly number[], query?: EventQuery): SymphonyEvent[] {
    if (seqs.length === 0) return [];
    const { issueIdentifiers, issueIds = [], types, limit = seqs.length } = query ?? {};
    return this.#db.all(eventOf, rowsSql, {
      seqs: JSON.stringify(seqs),
      identifiers: issueIdentifiers ? JSON.stringify(issueIdentifiers) : null,
      ids: JSON.stringify(issueIds),
      types: types ? JSON.stringify(types) : null,
      limit,
    });
  }

  #seq(sql: string): number {
    return this.#db.get((row) => (row["seq"] === null ? 0 : int(row, "seq")), sql) ?? 0;
  }
}

const rowsSql = `SELECT * FROM events
  WHERE seq IN (SELECT value FROM json_each($seqs))
    AND ($types IS NULL OR type IN (SELECT value FROM json_each($types)))
    AND ($identifiers IS NULL
      OR issue_identifier COLLATE NOCASE IN (SELECT value FROM json_each($identifiers))
      OR issue_id IN (SELECT value FROM json_each($ids)))
  ORDER BY seq LIMIT $limit`;

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
  readonly #index: EventIndex;

  constructor(db: Database, index: EventIndex) {
    this.#db = db;
    this.#index = index;
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
      this.#index.removed(last.seq);
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
