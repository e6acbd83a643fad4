import type { Command } from "commander";
import type { z } from "zod";
import type { Client } from "../client/client.ts";
import { followEvents, type StreamEvent } from "../client/events.ts";
import type { Api } from "../contract/api.ts";
import type { AttemptView } from "../contract/attempts.ts";
import type { Reply } from "../contract/route.ts";
import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext, Run } from "./context.ts";
import { eventLine, itemLine } from "./events.ts";
import { closest, exitCodes, listerOf, onIssue } from "./failure.ts";
import { examples } from "./help.ts";
import { numberOption } from "./input.ts";
import { keptFacts } from "./kept.ts";
import { amount, type Cell, factLines, relative, type Style, span, tableLines } from "./output.ts";

type Attempt = z.output<typeof AttemptView>;
type Detail = Reply<Api["attempts"]["detail"]>;

interface PageOptions {
  readonly limit?: string;
  readonly offset?: string;
}

export function declareAttempts(command: Command, run: Run): void {
  examples(command, "symphony attempts ENG-123", "symphony attempts ENG-123 --limit 5 --json")
    .argument("<issue>", "issue identifier, such as ENG-123")
    .option("--limit <n>", "rows at most, 1 to 500 (default: 50)")
    .option("--offset <n>", "rows to pass over (default: 0)")
    .action((issue: string, options: PageOptions) =>
      run((context) => attempts(issue, options, context)),
    );
}

export function declareAttempt(command: Command, run: Run): void {
  examples(command, "symphony attempt att_01", "symphony attempt att_01 --follow")
    .argument("<id>", "attempt id, as `symphony attempts` prints it")
    .option("--follow", "go on with its events until it ends; with --json as NDJSON")
    .action((id: string, { follow }: { readonly follow?: boolean }) =>
      run((context) => (follow ? followAttempt(id, context) : attempt(id, context))),
    );
}

export async function attempts(
  id: string,
  options: PageOptions,
  context: CommandContext,
): Promise<number> {
  const query = {
    ...numberOption("limit", options.limit),
    ...numberOption("offset", options.offset),
  };
  const client = await context.client();
  const page = await onIssue(id, listerOf(client), () =>
    client.issues.attempts({ params: { id }, query }),
  );
  if (context.json) {
    context.printJson(page);
    return exitCodes.done;
  }
  const columns = [
    { title: "ATTEMPT" },
    { title: "NO", align: "right" },
    { title: "STATUS" },
    { title: "STARTED" },
    { title: "TOOK", align: "right" },
    { title: "TURNS", align: "right" },
    { title: "TOKENS", align: "right" },
    { title: "ERROR", flexible: true },
  ] as const;
  const rows = page.attempts.map(rowOf);
  const shape = { columns, rows, width: context.width, paint: await context.paint() };
  context.print(tableLines(shape).join("\n"));
  const left = page.total - page.offset - rows.length;
  if (left > 0) context.note(`${left} more: --offset ${page.offset + rows.length}`);
  return exitCodes.done;
}

function rowOf(attempt: Attempt): Cell[] {
  return [
    attempt.id,
    String(attempt.number),
    { text: attempt.status, style: styleOf(attempt) },
    relative(attempt.started_at, Date.now()),
    attempt.duration_ms === null ? "-" : span(attempt.duration_ms),
    String(attempt.turn_count),
    amount(attempt.tokens.total_tokens),
    attempt.error === null ? "" : `${attempt.error.code}: ${attempt.error.message}`,
  ];
}

function styleOf({ status, ended_at }: Attempt): Style {
  if (ended_at === null) return "yellow";
  return status === "succeeded" ? "green" : "red";
}

export async function attempt(id: string, context: CommandContext): Promise<number> {
  const { events, ...facts } = await wholeAttempt(id, await context.client());
  if (context.json) {
    context.printJson({ ...facts, events, next_after_seq: null });
    return exitCodes.done;
  }
  const paint = await context.paint();
  const lines = [
    ...factLines(factsOf(facts), paint),
    "",
    ...events.map((one) => eventLine(one, paint)),
  ];
  context.print(lines.join("\n").trimEnd());
  return exitCodes.done;
}

/** The attempt with its whole timeline, however many pages that takes. */
async function wholeAttempt(id: string, client: Client<Api>) {
  const events: StreamEvent[] = [];
  for (let after = 0; ; ) {
    const query = { after_seq: after, limit: 1_000 };
    const page = await client.attempts.detail({ params: { aid: id }, query });
    events.push(...page.events);
    if (page.next_after_seq === null) return { ...page, events };
    after = page.next_after_seq;
  }
}

function factsOf(attempt: Attempt & Pick<Detail, "kept">): [string, Cell][] {
  const { git, error, model, workspace } = attempt;
  return [
    ["attempt", `${attempt.id}, number ${attempt.number} of ${attempt.issue_identifier}`],
    ["status", { text: attempt.status, style: styleOf(attempt) }],
    ["agent", model === null ? attempt.agent : `${attempt.agent}, ${model}`],
    ["template", attempt.template_id ?? "-"],
    ["started", relative(attempt.started_at, Date.now())],
    ["took", attempt.duration_ms === null ? "-" : span(attempt.duration_ms)],
    ["turns", String(attempt.turn_count)],
    ["tokens", amount(attempt.tokens.total_tokens)],
    ["workspace", workspace?.path ?? "-"],
    ...keptFacts(attempt.kept),
    ...(git === null
      ? []
      : [["git", `${git.branch ?? "?"}, ${git.commits} commits`] as [string, Cell]]),
    ...(error === null ? [] : [["error", `${error.code}: ${error.message}`] as [string, Cell]]),
  ];
}

/** Prints the events so far and then live ones until the attempt ends; exits 1 unless it succeeded. */
export async function followAttempt(id: string, context: CommandContext): Promise<number> {
  const client = await context.client();
  const paint = await context.paint();
  const { events, ...facts } = await wholeAttempt(id, client);
  const print = (event: StreamEvent) =>
    context.printRecord(itemLine({ kind: "event", event }, context.json, paint));
  for (const event of events) await print(event);
  if (facts.ended_at === null) {
    const stream = followEvents(await context.server(), {
      since: events.at(-1)?.seq ?? 0,
      issues: [facts.issue_identifier],
      signal: context.interrupted(),
    });
    for await (const item of stream) {
      if (item.kind !== "event" || item.event.attempt_id !== id) continue;
      await print(item.event);
      if (item.event.type === "attempt.ended") break;
    }
    if (context.interrupted().aborted) return exitCodes.interrupted;
  }
  const { status } = await client.attempts.detail({ params: { aid: id }, query: { limit: 1 } });
  context.note(`${id}: ${status}`);
  return status === "succeeded" ? exitCodes.done : exitCodes.failed;
}

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
