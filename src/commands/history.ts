import type { z } from "zod";
import type { Client } from "../client/client.ts";
import { followEvents, type StreamEvent } from "../client/events.ts";
import type { Api } from "../contract/api.ts";
import type { AttemptView } from "../contract/attempts.ts";
import type { Reply } from "../contract/route.ts";
import { type CommandContext, reconnecting } from "./context.ts";
import { eventLine, itemLine } from "./events.ts";
import { exitCodes, onServerIssue, requireWord } from "./failure.ts";
import { keptFacts } from "./kept.ts";
import {
  amount,
  type Cell,
  factLines,
  type ListShape,
  printPage,
  relative,
  type Style,
  span,
} from "./output.ts";
import { issueArgument, pageOptions, row } from "./table.ts";
import { dayOf, whenForms } from "./when.ts";

type Attempt = z.output<typeof AttemptView>;
type Detail = Reply<Api["attempts"]["detail"]>;

/** Lists the attempts of an issue. */
export const attemptsCommand = row({
  examples: ["symphony attempts ENG-123", "symphony attempts ENG-123 --limit 5 --json"],
  arguments: [issueArgument],
  options: pageOptions(),
  call: ({ issue: id, limit, offset }, context) =>
    onServerIssue(id, context, (client) =>
      client.issues.attempts({ params: { id }, query: { limit, offset } }),
    ),
  print(page, context, { issue }) {
    const columns = [
      { title: "ATTEMPT" },
      { title: "NO", align: "right", drop: 2 },
      { title: "STATUS" },
      { title: "STARTED", drop: 5 },
      { title: "TOOK", align: "right", drop: 4 },
      { title: "TURNS", align: "right", drop: 1 },
      { title: "TOKENS", align: "right", drop: 3 },
      { title: "ERROR", flexible: true },
    ] as const;
    const empty = `No attempt has begun; symphony explain ${issue} says why`;
    return printPage({ columns, rows: page.attempts.map(rowOf), empty, page }, context);
  },
});

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

/** Shows one attempt, or follows it to its end. */
export const attemptCommand = row({
  examples: ["symphony attempt att_01", "symphony attempt att_01 --follow"],
  arguments: [{ name: "id", summary: "attempt id, as `symphony attempts` prints it" }],
  options: [
    { name: "follow", summary: "continue with its events until it ends; with --json as NDJSON" },
  ],
  stream: ({ id, follow }, context) => (follow ? followAttempt(id, context) : null),
  async call({ id }, context) {
    const { events, ...facts } = await wholeAttempt(id, await context.client());
    return { ...facts, events, next_after_seq: null };
  },
  async print({ events, ...facts }, context) {
    const paint = await context.paint();
    const lines = [
      ...factLines(factsOf(facts), paint, context.width),
      "",
      ...events.map((one) => eventLine(one, paint)),
    ];
    context.print(lines.join("\n").trimEnd());
  },
});

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
async function followAttempt(id: string, context: CommandContext): Promise<number> {
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
      ...reconnecting(context),
    });
    for await (const item of stream) {
      if (item.kind !== "event" || item.event.attempt_id !== id) continue;
      await print(item.event);
      if (item.event.type === "attempt.ended") break;
    }
    if (context.interrupted().aborted) return exitCodes.interrupted;
  }
  // A restart may have given the server another token.
  const { attempts } = await context.client();
  const { status } = await attempts.detail({ params: { aid: id }, query: { limit: 1 } });
  context.note(`${id}: ${status}`);
  return status === "succeeded" ? exitCodes.done : exitCodes.failed;
}

const groups = [
  "issue",
  "attempt",
  "model",
  "agent",
  "template",
  "label",
  "outcome",
  "day",
] as const;

/** Tokens and what they cost, by the prices of `usage.prices`. */
export const usageCommand = row({
  examples: [
    "symphony usage",
    "symphony usage --by model --since 7d",
    "symphony usage --by outcome                 merged, closed, in review, held …",
    "symphony usage --by template --outcome      what their tokens led to",
    "symphony usage --by attempt --issue ENG-123 --json",
  ],
  options: [
    {
      name: "by",
      value: "what",
      summary: groups.join(", "),
      default: "issue",
      read: (text: string, flag: string) =>
        requireWord(text, groups, `${flag}: there is no usage by ${text}`),
      completion: groups,
    },
    {
      name: "since",
      value: "when",
      summary: `from the day (UTC) of ${whenForms} on`,
      read: dayOf,
    },
    { name: "until", value: "when", summary: "up to that day, included", read: dayOf },
    { name: "issue", value: "id", summary: "only of this issue", completion: "issues" },
    { name: "outcome", summary: "split each row by what became of its issues" },
    ...pageOptions(),
  ],
  async call({ outcome, ...query }, context) {
    return onServerIssue(query.issue ?? "", context, (client) =>
      client.usage.list({ query: { ...query, outcome: outcome ? "true" : "false" } }),
    );
  },
  async print(page, context) {
    await printPage(usageList(page), context);
    noteUnpriced(page.sum.unpriced_models, context);
  },
});

function usageList(page: Reply<Api["usage"]["list"]>): ListShape {
  const isSplit = page.rows.some(({ outcome }) => outcome !== null);
  const line = (
    name: string,
    { tokens, cost, outcome = null }: typeof page.sum & { readonly outcome?: string | null },
  ) => [
    name,
    ...(isSplit ? [outcome ?? ""] : []),
    amount(tokens.total_tokens),
    amount(tokens.input_tokens),
    amount(tokens.cached_input_tokens),
    amount(tokens.output_tokens),
    cost === null ? "-" : cost.toFixed(2),
  ];
  const unnamed = page.by === "label" ? "no label" : "default";
  const figures = [
    { title: "TOKENS" },
    { title: "INPUT", drop: 2 },
    { title: "CACHED", drop: 1 },
    { title: "OUTPUT", drop: 3 },
    { title: page.currency },
  ];
  return {
    columns: [
      { title: page.by.toUpperCase() },
      ...(isSplit ? [{ title: "OUTCOME" }] : []),
      ...figures.map((figure) => ({ ...figure, align: "right" }) as const),
    ],
    rows: page.rows.map((one) => line(one.key || unnamed, one)),
    sum: line("all", page.sum),
    page,
  };
}

function noteUnpriced(models: readonly string[], { note }: CommandContext): void {
  if (models.length === 0) return;
  note(
    `No price for ${models.join(", ")}: symphony config overlay set usage.prices '{"MODEL": …}'`,
  );
}
