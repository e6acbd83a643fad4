import { z } from "zod";
import { type Attempt, type Tokens, tokensWithout } from "../model/attempt.ts";
import { type Database, int, type Row, text, textOrNull } from "./database.ts";
import type { AttemptPage, UsageQuery, UsageRow, Used } from "./store.ts";
import { type PlaceOfAttempt, WorkspacePlaces } from "./workspace-places.ts";

/** As they are stored within a body. */
export const StoredTokens: z.ZodType<Tokens> = z.object({
  input: z.number(),
  cachedInput: z.number(),
  output: z.number(),
  reasoningOutput: z.number(),
  total: z.number(),
});

/** The tokens of a row whose columns are named as they are. */
function tokensOf(row: Row): Tokens {
  return {
    input: int(row, "input"),
    cachedInput: int(row, "cachedInput"),
    output: int(row, "output"),
    reasoningOutput: int(row, "reasoningOutput"),
    total: int(row, "total"),
  };
}

/** The parameters of the columns; SQLite refuses any other. */
function columnsOf({ input, cachedInput, output, reasoningOutput, total }: Tokens) {
  return { input, cachedInput, output, reasoningOutput, total };
}

const AttemptBody = z.object({
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
  tokens: StoredTokens,
  threadTokens: StoredTokens,
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
  changedNothing: z.boolean().default(false),
});

/** The attempts whose issue has, or had while they ran, the identifier. */
const named = `SELECT issue_id, id AS attempt_id FROM attempts WHERE issue_identifier = $identifier
  UNION ALL SELECT issue_id, attempt_id FROM earlier_identifiers WHERE identifier = $identifier`;

/** Attempts of `history.db`: the whole attempt as JSON, next to the columns that queries need. */
export class AttemptTable {
  readonly #db: Database;
  /** null until first requested, because it takes a read of every row. */
  #places: WorkspacePlaces | null = null;

  constructor(db: Database) {
    this.#db = db;
  }

  save(attempt: Attempt): void {
    const { id, issueId, issueIdentifier, startedAt, endedAt, tokens: used } = attempt;
    this.#db.run(
      `INSERT OR REPLACE INTO earlier_identifiers SELECT issue_identifier, issue_id, id FROM attempts
        WHERE id = $id AND issue_identifier <> $issueIdentifier`,
      { id, issueIdentifier },
    );
    this.#db.run(
      `INSERT OR REPLACE INTO attempts VALUES
        ($id, $issueId, $issueIdentifier, $startedAt, $endedAt, $input, $cachedInput, $output,
          $reasoningOutput, $total, $body)`,
      {
        id,
        issueId,
        issueIdentifier,
        startedAt: Math.round(startedAt),
        endedAt: endedAt === null ? null : Math.round(endedAt),
        ...columnsOf(used),
        body: bodyOf(attempt),
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
    // For each group SQLite returns the row with the greatest id.
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
    const sql = `SELECT issue_id FROM (${named}) ORDER BY attempt_id DESC LIMIT 1`;
    return this.#db.get((row) => text(row, "issue_id"), sql, { identifier });
  }

  identifiersOf(issueId: string): readonly string[] {
    const sql = `SELECT issue_identifier FROM attempts WHERE issue_id = $issueId
      UNION SELECT identifier FROM earlier_identifiers WHERE issue_id = $issueId`;
    return this.#db.all((row) => text(row, "issue_identifier"), sql, { issueId });
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
  const { changedNothing, ...attempt } = AttemptBody.parse(JSON.parse(text(row, "body")));
  return changedNothing ? { ...attempt, status: "no_changes" } : attempt;
}

/** For an earlier release, which knows no other word for it, such an attempt has succeeded. */
function bodyOf(attempt: Attempt): string {
  if (attempt.status !== "no_changes") return JSON.stringify(attempt);
  return JSON.stringify({ ...attempt, status: "succeeded", changedNothing: true });
}

function totalsOf(row: Row): { tokens: Tokens; seconds: number } {
  return { tokens: tokensOf(row), seconds: int(row, "seconds") };
}

/** Retention removes attempts, but not their tokens. */
const template = `coalesce((SELECT coalesce(body ->> '$.templateId', 'default') FROM attempts
  WHERE attempts.id = usage.attempt_id), 'unknown')`;

/** The columns that group rows, and the key each group is shown with. */
const groups = {
  issue: { key: "max(issue_identifier)", by: "issue_id" },
  attempt: { key: "attempt_id", by: "attempt_id" },
  model: { key: "model", by: "model" },
  agent: { key: "agent", by: "agent" },
  day: { key: "day", by: "day" },
  template: { key: template, by: template },
} as const;

const sums = `sum(input) AS input, sum(cached_input) AS cachedInput, sum(output) AS output,
  sum(reasoning_output) AS reasoningOutput, sum(total) AS total`;

/** Tokens by UTC day, attempt and model, in `history.db`: each report adds the amount not counted before. */
export class UsageTable {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /**
   * Part of the caller's transaction. What an agent corrects downwards, perhaps after midnight, is taken from the days it
   * was counted on: no row falls below zero.
   */
  add({ attempt, model = attempt.model ?? "", tokens, at }: Used): void {
    let left = tokens;
    if (Object.values(columnsOf(tokens)).some((count) => count < 0)) {
      for (const { day, counted } of this.#daysOf(attempt.id, model)) {
        const part = within(left, counted);
        this.#count({ attempt, model, tokens: part, day });
        left = tokensWithout(left, part);
      }
      if (Object.values(columnsOf(left)).every((count) => count === 0)) return;
    }
    this.#count({ attempt, model, tokens: left, day: dayOf(at) });
  }

  /** Newest first. */
  #daysOf(attemptId: string, model: string) {
    return this.#db.all(
      (row) => ({ day: text(row, "day"), counted: tokensOf(row) }),
      `SELECT day, input, cached_input AS cachedInput, output, reasoning_output AS reasoningOutput, total
        FROM usage WHERE attempt_id = $attemptId AND model = $model ORDER BY day DESC`,
      { attemptId, model },
    );
  }

  #count({
    attempt,
    model,
    tokens,
    day,
  }: Pick<Used, "attempt" | "tokens"> & { readonly model: string; readonly day: string }): void {
    this.#db.run(
      `INSERT INTO usage VALUES ($day, $attemptId, $model, $agent, $issueId, $issueIdentifier,
          $input, $cachedInput, $output, $reasoningOutput, $total)
        ON CONFLICT (day, attempt_id, model) DO UPDATE SET
          input = input + excluded.input, cached_input = cached_input + excluded.cached_input,
          output = output + excluded.output,
          reasoning_output = reasoning_output + excluded.reasoning_output,
          total = total + excluded.total`,
      {
        day,
        attemptId: attempt.id,
        model,
        agent: attempt.agent,
        issueId: attempt.issueId,
        issueIdentifier: attempt.issueIdentifier,
        ...columnsOf(tokens),
      },
    );
  }

  /**
   * One row for each group and model, so that each can be priced; groups in their natural order, newest day first. What was
   * counted and then corrected to nothing has none.
   */
  by({ group, byIssue = false, since, until, issue }: UsageQuery): readonly UsageRow[] {
    const { key, by } = groups[group];
    const [id, name, split] = byIssue
      ? ["issue_id", "max(issue_identifier)", ", issue_id"]
      : ["NULL", "NULL", ""];
    return this.#db.all(
      rowOf,
      `SELECT ${key} AS key, ${id} AS issueId, ${name} AS issueIdentifier, max(agent) AS agent, nullif(model, '') AS model, ${sums} FROM usage
        WHERE ($since IS NULL OR day >= $since) AND ($until IS NULL OR day <= $until)
          AND ($issue IS NULL OR issue_id IN
            (SELECT issue_id FROM usage WHERE issue_identifier = $issue COLLATE NOCASE
              UNION SELECT issue_id FROM (${named.replaceAll("$identifier", "$issue")})))
        GROUP BY ${by}, model${split}
        HAVING sum(input) != 0 OR sum(output) != 0 OR sum(total) != 0 ORDER BY key DESC`,
      { since: since ?? null, until: until ?? null, issue: issue ?? null },
    );
  }

  /** Tokens of an issue's attempts newer than the attempt `after`. */
  since(issueId: string, after: string): number {
    const sql = `SELECT coalesce(sum(total), 0) AS total FROM usage
      WHERE issue_id = $issueId AND attempt_id > $after`;
    return this.#db.get((row) => int(row, "total"), sql, { issueId, after }) ?? 0;
  }

  /** All tokens of the UTC day that `at` falls into. */
  ofDay(at: number): number {
    const sql = "SELECT coalesce(sum(total), 0) AS total FROM usage WHERE day = $day";
    return this.#db.get((row) => int(row, "total"), sql, { day: dayOf(at) }) ?? 0;
  }
}

/** The part of a correction that a row can take: all of it, else what leaves no count below zero. */
function within(change: Tokens, counted: Tokens): Tokens {
  const part = (of: keyof Tokens) => Math.max(Math.min(change[of], 0), -counted[of]);
  const isWhole = (Object.keys(columnsOf(change)) as (keyof Tokens)[]).every(
    (of) => change[of] + counted[of] >= 0,
  );
  if (isWhole) return change;
  return {
    ...{ input: part("input"), cachedInput: part("cachedInput"), output: part("output") },
    ...{ reasoningOutput: part("reasoningOutput"), total: part("total") },
  };
}

function dayOf(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}

function rowOf(row: Row): UsageRow {
  const id = textOrNull(row, "issueId");
  return {
    key: text(row, "key"),
    ...(id !== null && { issue: { id, identifier: text(row, "issueIdentifier") } }),
    agent: text(row, "agent"),
    model: textOrNull(row, "model"),
    tokens: tokensOf(row),
  };
}
