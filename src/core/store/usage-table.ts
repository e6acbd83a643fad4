import type { Tokens } from "../model/attempt.ts";
import { int, text, textOrNull } from "./columns.ts";
import type { Database, Row } from "./database.ts";
import type { UsageQuery, UsageRow, Used } from "./store.ts";

/** What tells rows of each grouping apart, and what they are shown as. */
const groups = {
  issue: { key: "max(issue_identifier)", by: "issue_id" },
  attempt: { key: "attempt_id", by: "attempt_id" },
  model: { key: "model", by: "model" },
  agent: { key: "agent", by: "agent" },
  day: { key: "day", by: "day" },
} as const;

const sums = `sum(input) AS input, sum(cached_input) AS cachedInput, sum(output) AS output,
  sum(reasoning_output) AS reasoningOutput, sum(total) AS total`;

/** Tokens by UTC day, attempt and model, in `history.db`: each row only grows, by what was not counted before. */
export class UsageTable {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /** Part of the caller's transaction. */
  add({ attempt, tokens, at }: Used): void {
    this.#db.run(
      `INSERT INTO usage VALUES ($day, $attemptId, $model, $agent, $issueId, $issueIdentifier,
          $input, $cachedInput, $output, $reasoning, $total)
        ON CONFLICT (day, attempt_id, model) DO UPDATE SET
          input = input + excluded.input, cached_input = cached_input + excluded.cached_input,
          output = output + excluded.output,
          reasoning_output = reasoning_output + excluded.reasoning_output,
          total = total + excluded.total`,
      {
        day: dayOf(at),
        attemptId: attempt.id,
        model: attempt.model ?? "",
        agent: attempt.agent,
        issueId: attempt.issueId,
        issueIdentifier: attempt.issueIdentifier,
        input: tokens.input,
        cachedInput: tokens.cachedInput,
        output: tokens.output,
        reasoning: tokens.reasoningOutput,
        total: tokens.total,
      },
    );
  }

  /** One row for each group and model, so that each can be priced; groups in their natural order, newest day first. */
  by({ group, since, until, issue }: UsageQuery): readonly UsageRow[] {
    const { key, by } = groups[group];
    return this.#db.all(
      rowOf,
      `SELECT ${key} AS key, max(agent) AS agent, nullif(model, '') AS model, ${sums} FROM usage
        WHERE ($since IS NULL OR day >= $since) AND ($until IS NULL OR day <= $until)
          AND ($issue IS NULL OR issue_identifier = $issue COLLATE NOCASE)
        GROUP BY ${by}, model ORDER BY key DESC`,
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

function dayOf(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}

function rowOf(row: Row): UsageRow {
  const tokens: Tokens = {
    input: int(row, "input"),
    cachedInput: int(row, "cachedInput"),
    output: int(row, "output"),
    reasoningOutput: int(row, "reasoningOutput"),
    total: int(row, "total"),
  };
  return {
    key: text(row, "key"),
    agent: text(row, "agent"),
    model: textOrNull(row, "model"),
    tokens,
  };
}
