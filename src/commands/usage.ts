import type { Command } from "commander";
import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { examples } from "./help.ts";
import { numberOption } from "./numbers.ts";
import { tableLines } from "./output.ts";
import { closest } from "./suggest.ts";
import { amount } from "./times.ts";

const groups = ["issue", "attempt", "model", "agent", "day"] as const;

interface UsageOptions {
  readonly by: string;
  readonly since?: string;
  readonly until?: string;
  readonly issue?: string;
  readonly limit?: string;
  readonly offset?: string;
}

export function declareUsage(command: Command, run: Run): void {
  examples(
    command,
    "symphony usage",
    "symphony usage --by model --since 2026-11-01",
    "symphony usage --by attempt --issue ENG-123 --json",
  )
    .option("--by <what>", groups.join(", "), "issue")
    .option("--since <day>", "from this day (UTC) on, such as 2026-11-23")
    .option("--until <day>", "up to this day, included")
    .option("--issue <id>", "only of this issue")
    .option("--limit <n>", "rows at most, 1 to 500 (default: 50)")
    .option("--offset <n>", "rows to pass over (default: 0)")
    .action((options: UsageOptions) => run((context) => listUsage(options, context)));
}

/** Tokens and what they cost, by the prices of `usage.prices`. */
async function listUsage(options: UsageOptions, context: CommandContext): Promise<number> {
  const { since, until, issue } = options;
  const query = {
    by: groupOf(options.by),
    ...{ since, until, issue },
    ...numberOption("limit", options.limit),
    ...numberOption("offset", options.offset),
  };
  const page = await (await context.client()).usage.list({ query });
  if (context.json) {
    context.printJson(page);
    return exitCodes.done;
  }
  const line = (name: string, { tokens, cost }: Omit<(typeof page.rows)[number], "key">) => [
    name,
    amount(tokens.total_tokens),
    amount(tokens.input_tokens),
    amount(tokens.cached_input_tokens),
    amount(tokens.output_tokens),
    cost === null ? "-" : cost.toFixed(2),
  ];
  const columns = [
    { title: page.by.toUpperCase() },
    ...["TOKENS", "INPUT", "CACHED", "OUTPUT", page.currency].map(
      (title) => ({ title, align: "right" }) as const,
    ),
  ];
  const rows = [...page.rows.map((row) => line(row.key || "default", row)), line("all", page.sum)];
  const shape = { columns, rows, width: context.width, paint: await context.paint() };
  context.print(tableLines(shape).join("\n"));
  const left = page.total - page.offset - page.rows.length;
  if (left > 0) context.note(`${left} more: --offset ${page.offset + page.rows.length}`);
  noteUnpriced(page.sum.unpriced_models, context);
  return exitCodes.done;
}

function noteUnpriced(models: readonly string[], { note }: CommandContext): void {
  if (models.length === 0) return;
  note(
    `No price for ${models.join(", ")}: symphony config overlay set usage.prices '{"MODEL": …}'`,
  );
}

function groupOf(text: string): (typeof groups)[number] {
  const known = groups.find((group) => group === text);
  if (known !== undefined) return known;
  const meant = closest(text, groups);
  throw new SymphonyError("usage", `--by: there is no usage by ${text}`, {
    hint: meant === null ? `one of ${groups.join(", ")}` : `did you mean ${meant}?`,
  });
}
