import { int, text } from "./columns.ts";
import type { Database, Row } from "./database.ts";
import type { DayUse, TokenUse } from "./store.ts";

/** Sums of tokens by day, issue, agent and model. */
export class DayTable {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  add({ at, issueId, issueIdentifier, agent, model, tokens }: TokenUse): void {
    this.#db.run(
      `INSERT INTO tokens_by_day VALUES ($day, $issueId, $issueIdentifier, $agent, $model, $input,
          $cachedInput, $output, $reasoning, $total)
        ON CONFLICT (day, issue_id, agent, model) DO UPDATE SET
          issue_identifier = excluded.issue_identifier,
          input = input + excluded.input,
          cached_input = cached_input + excluded.cached_input,
          output = output + excluded.output,
          reasoning_output = reasoning_output + excluded.reasoning_output,
          total = total + excluded.total`,
      {
        day: dayOf(at),
        issueId,
        issueIdentifier,
        agent,
        model: model ?? "",
        input: tokens.input,
        cachedInput: tokens.cachedInput,
        output: tokens.output,
        reasoning: tokens.reasoningOutput,
        total: tokens.total,
      },
    );
  }

  since(day: string): readonly DayUse[] {
    const sql =
      "SELECT * FROM tokens_by_day WHERE day >= $day ORDER BY day, issue_id, agent, model";
    return this.#db.all(useOf, sql, { day });
  }
}

/** The day (UTC) of a time in epoch ms, such as `2026-11-23`. */
export function dayOf(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}

function useOf(row: Row): DayUse {
  return {
    day: text(row, "day"),
    issueId: text(row, "issue_id"),
    issueIdentifier: text(row, "issue_identifier"),
    agent: text(row, "agent"),
    model: text(row, "model") || null,
    tokens: {
      input: int(row, "input"),
      cachedInput: int(row, "cached_input"),
      output: int(row, "output"),
      reasoningOutput: int(row, "reasoning_output"),
      total: int(row, "total"),
    },
  };
}
