import { z } from "zod";
import { StoredTokens } from "./attempts.ts";
import { type Database, type Row, text } from "./database.ts";
import { IssueSchema } from "./documents.ts";
import type { CompletedRecord } from "./store.ts";

const CompletedBody: z.ZodType<CompletedRecord> = z.object({
  issue: IssueSchema,
  attemptId: z.string().nullable(),
  outcome: z.string(),
  endedWall: z.number(),
  tokens: StoredTokens,
});

/** The newest completed issues of `history.db`, each once, in the order they were completed. */
export class CompletedTable {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /** Keeps the newest `most` of all. */
  save(record: CompletedRecord, most: number): void {
    const { id } = record.issue;
    this.#db.transaction(() => {
      this.#db.run("DELETE FROM completed WHERE issue_id = $id", { id });
      this.#db.run("INSERT INTO completed (issue_id, body) VALUES ($id, $body)", {
        id,
        body: JSON.stringify(record),
      });
      this.#db.run(
        `DELETE FROM completed WHERE ordinal NOT IN
          (SELECT ordinal FROM completed ORDER BY ordinal DESC LIMIT $most)`,
        { most },
      );
    });
  }

  /** Without issues that were started again since. Oldest first. */
  all(): readonly CompletedRecord[] {
    const sql = `SELECT body FROM completed WHERE NOT EXISTS
      (SELECT 1 FROM attempts WHERE attempts.issue_id = completed.issue_id AND CASE
        WHEN completed.body ->> '$.attemptId' IS NULL
          THEN attempts.started_at > completed.body ->> '$.endedWall'
        ELSE attempts.id > completed.body ->> '$.attemptId' END)
      ORDER BY ordinal`;
    return this.#db.all(recordOf, sql);
  }
}

function recordOf(row: Row): CompletedRecord {
  return CompletedBody.parse(JSON.parse(text(row, "body")));
}
