import { z } from "zod";
import type { Attempt, Tokens } from "../model/attempt.ts";
import { int, text } from "./columns.ts";
import type { Database, Row } from "./database.ts";
import type { AttemptPage } from "./store.ts";
import { type PlaceOfAttempt, WorkspacePlaces } from "./workspace-places.ts";

const tokens = z.object({
  input: z.number(),
  cachedInput: z.number(),
  output: z.number(),
  reasoningOutput: z.number(),
  total: z.number(),
});

const AttemptBody: z.ZodType<Attempt> = z.object({
  id: z.string(),
  issueId: z.string(),
  issueIdentifier: z.string(),
  number: z.number(),
  status: z.enum([
    "preparing",
    "running",
    "succeeded",
    "failed",
    "timed_out",
    "stalled",
    "canceled",
    "interrupted",
  ]),
  phase: z.enum([
    "preparing_workspace",
    "building_prompt",
    "launching_agent",
    "initializing_session",
    "streaming_turn",
    "finishing",
  ]),
  agent: z.string(),
  model: z.string().nullable(),
  templateId: z.string().nullable(),
  workerHost: z.string().nullable(),
  threadId: z.string().nullable(),
  sessionId: z.string().nullable(),
  turnCount: z.number(),
  startedAt: z.number(),
  endedAt: z.number().nullable(),
  tokens,
  threadTokens: tokens,
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
  workspaceKey: z.string().nullable(),
  workspacePath: z.string().nullable(),
  git: z
    .object({
      branch: z.string().nullable(),
      headBefore: z.string().nullable(),
      headAfter: z.string().nullable(),
      commits: z.number(),
      changedFiles: z.number(),
    })
    .nullable(),
  idle: z.object({ turns: z.number(), issueMark: z.string() }).nullable().default(null),
});

/** Attempts of `history.db`: the whole attempt as JSON, beside the columns that queries need. */
export class AttemptTable {
  readonly #db: Database;
  /** null until it is asked for: every row is read for it. */
  #places: WorkspacePlaces | null = null;

  constructor(db: Database) {
    this.#db = db;
  }

  save(attempt: Attempt): void {
    const { id, issueId, issueIdentifier, startedAt, endedAt, tokens: used } = attempt;
    this.#db.run(
      `INSERT OR REPLACE INTO attempts VALUES
        ($id, $issueId, $issueIdentifier, $startedAt, $endedAt, $input, $cachedInput, $output,
          $reasoning, $total, $body)`,
      {
        id,
        issueId,
        issueIdentifier,
        startedAt: Math.round(startedAt),
        endedAt: endedAt === null ? null : Math.round(endedAt),
        input: used.input,
        cachedInput: used.cachedInput,
        output: used.output,
        reasoning: used.reasoningOutput,
        total: used.total,
        body: JSON.stringify(attempt),
      },
    );
    const { workspacePath: path } = attempt;
    if (path !== null) this.#places?.add({ path, issueId, issueIdentifier, attemptId: id });
  }

  get places(): WorkspacePlaces {
    this.#places ??= this.#readPlaces();
    return this.#places;
  }

  #readPlaces(): WorkspacePlaces {
    // Of each group SQLite gives the row that has the greatest id.
    const sql = `SELECT max(id) AS id, issue_id, issue_identifier, body ->> '$.workspacePath' AS path
      FROM attempts WHERE path IS NOT NULL GROUP BY path`;
    return new WorkspacePlaces(this.#db.all(placeOf, sql));
  }

  byId(id: string): Attempt | null {
    return this.#db.get(attemptOf, "SELECT body FROM attempts WHERE id = $id", { id });
  }

  ofIssue(issueId: string, limit: number, offset: number): AttemptPage {
    const attempts = this.#db.all(
      attemptOf,
      `SELECT body FROM attempts WHERE issue_id = $issueId ORDER BY id DESC
        LIMIT $limit OFFSET $offset`,
      { issueId, limit, offset },
    );
    const count = "SELECT count(*) AS total FROM attempts WHERE issue_id = $issueId";
    const total = this.#db.get((row) => int(row, "total"), count, { issueId }) ?? 0;
    return { attempts, total };
  }

  open(): readonly Attempt[] {
    const sql = "SELECT body FROM attempts WHERE ended_at IS NULL ORDER BY id";
    return this.#db.all(attemptOf, sql);
  }

  totals(): { tokens: Tokens; seconds: number } {
    const sql = `SELECT total(input) AS input, total(cached_input) AS cachedInput,
      total(output) AS output, total(reasoning_output) AS reasoningOutput, total(total) AS total,
      total(ms) / 1000 AS seconds FROM
        (SELECT input, cached_input, output, reasoning_output, total,
            max(ended_at - started_at, 0) AS ms FROM attempts
          UNION ALL SELECT input, cached_input, output, reasoning_output, total, milliseconds
            FROM removed_attempts)`;
    const sums = this.#db.get(totalsOf, sql);
    if (sums === null) throw new Error("a sum without a row");
    return sums;
  }

  latestOf(issueId: string): Attempt | null {
    const sql = "SELECT body FROM attempts WHERE issue_id = $issueId ORDER BY id DESC LIMIT 1";
    return this.#db.get(attemptOf, sql, { issueId });
  }

  issueIdOf(identifier: string): string | null {
    const sql = `SELECT issue_id FROM attempts WHERE issue_identifier = $identifier
      ORDER BY id DESC LIMIT 1`;
    return this.#db.get((row) => text(row, "issue_id"), sql, { identifier });
  }

  lastId(): string | null {
    const sql = "SELECT id FROM attempts ORDER BY id DESC LIMIT 1";
    return this.#db.get((row) => text(row, "id"), sql);
  }
}

function placeOf(row: Row): PlaceOfAttempt {
  return {
    path: text(row, "path"),
    issueId: text(row, "issue_id"),
    issueIdentifier: text(row, "issue_identifier"),
    attemptId: text(row, "id"),
  };
}

/** Rows are checked: a ZodError would be a bug of a migration. */
function attemptOf(row: Row): Attempt {
  return AttemptBody.parse(JSON.parse(text(row, "body")));
}

function totalsOf(row: Row): { tokens: Tokens; seconds: number } {
  return {
    tokens: {
      input: int(row, "input"),
      cachedInput: int(row, "cachedInput"),
      output: int(row, "output"),
      reasoningOutput: int(row, "reasoningOutput"),
      total: int(row, "total"),
    },
    seconds: int(row, "seconds"),
  };
}
