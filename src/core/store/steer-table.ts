import { int, text, textOrNull } from "./columns.ts";
import type { Database, Row } from "./database.ts";
import type { Steer } from "./store.ts";

/** Steers of `history.db`, in the order they came. */
export class SteerTable {
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
