import { int, intOrNull, text } from "./columns.ts";
import type { Database } from "./database.ts";

/** What one small step of a removal did. */
export interface RemovalStep {
  readonly removed: number;
  /** Where the next step goes on; null when there is nothing older left to look at. */
  readonly next: string | null;
}

export interface Removal {
  /** Epoch ms: what is of before then may go. */
  readonly before: number;
  /** Rows that one step looks at. */
  readonly limit: number;
}

export interface AttemptRemoval extends Removal {
  /** Only attempts with a greater id. */
  readonly after: string;
  /** Issues whose attempts all stay. */
  readonly kept: readonly string[];
}

/** Removes old rows of `history.db`, a few at a time. */
export class Aged {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /**
   * The oldest events, up to the first that is not old: the series stays without gaps. The newest one stays, so that no
   * number is given twice.
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
   * Ended attempts, save each issue's newest, which its next attempt is numbered after, and its newest in each directory, which
   * may still be there with work in it. Their sums are kept.
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
      // Ids sort by the time of the start.
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
