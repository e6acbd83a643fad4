import type { Command } from "commander";
import { followEvents, type StreamItem } from "../client/events.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { eventTypes } from "../core/model/event.ts";
import type { CommandContext, Run } from "./context.ts";
import { itemLine } from "./event-line.ts";
import { exitCodes } from "./exit-codes.ts";
import { examples } from "./help.ts";
import { seqBefore } from "./seq-before.ts";
import { closest } from "./suggest.ts";
import { parseDuration } from "./times.ts";

interface EventsOptions {
  readonly follow?: boolean;
  readonly issue: readonly string[];
  readonly type: readonly string[];
  readonly since?: string;
}

/** Without `--since` and `--follow`: as many as fit a screen or two. */
const newestShown = 50;

export function declareEvents(command: Command, run: Run): void {
  const collect = (value: string, all: readonly string[]) => [...all, value];
  examples(
    command,
    "symphony events --follow                        from now on, until Ctrl-C",
    "symphony events --since 10m --issue ENG-123     what happened to one issue",
    "symphony events --follow --since 1200 --json    NDJSON, resuming after number 1200",
    "symphony events --type turn.failed --since 1d",
  )
    .option("--follow", "go on with events as they happen; a lost connection is taken up again")
    .option("--issue <id>", "only this issue; repeatable", collect, [])
    .option("--type <type>", "only this type, such as attempt.ended; repeatable", collect, [])
    .option(
      "--since <seq|duration>",
      "after this number, or from so long ago: 90s, 10m, 2h (default: the newest 50, or with --follow none)",
    )
    .action((options: EventsOptions) => run((context) => events(options, context)));
}

/** Prints past events, and with `follow` goes on until interrupted (130). */
export async function events(options: EventsOptions, context: CommandContext): Promise<number> {
  requireTypes(options.type);
  const client = await context.client();
  const { seq: newest } = await client.system.state({ query: { limit: 1 } });
  const since = await startOf(options, newest, context);
  const paint = await context.paint();
  for await (const item of itemsFrom(since, newest, { options, context })) {
    await context.printRecord(itemLine(item, context.json, paint));
  }
  const interrupted = context.interrupted().aborted;
  return interrupted ? exitCodes.interrupted : exitCodes.done;
}

async function* itemsFrom(
  since: number,
  newest: number,
  { options, context }: { options: EventsOptions; context: CommandContext },
): AsyncGenerator<StreamItem> {
  if (!options.follow && since >= newest) return;
  const stream = followEvents(await context.server(), {
    since,
    // The end of the past is known by its number, which a filter of the server's might leave out.
    ...(options.follow && { issues: options.issue, types: options.type }),
    signal: context.interrupted(),
    onLost: (_, delayMs) => context.note(`connection lost; trying again in ${delayMs} ms`),
  });
  for await (const item of stream) {
    if (item.kind === "gap" || isWanted(item, options)) yield item;
    const last = item.kind === "event" ? item.event.seq : item.oldestSeq - 1;
    if (!options.follow && last >= newest) return;
  }
}

function isWanted(item: StreamItem & { kind: "event" }, { issue, type }: EventsOptions): boolean {
  const name = item.event.issue_identifier?.toLowerCase();
  const rightIssue = issue.length === 0 || issue.some((one) => one.toLowerCase() === name);
  return rightIssue && (type.length === 0 || type.includes(item.event.type));
}

async function startOf(
  { since, follow }: EventsOptions,
  newest: number,
  context: CommandContext,
): Promise<number> {
  if (since === undefined) return follow ? newest : Math.max(newest - newestShown, 0);
  if (/^\d+$/.test(since)) return Number(since);
  const from = Date.now() - parseDuration(since, "--since");
  return seqBefore(from, newest, await context.server());
}

function requireTypes(types: readonly string[]): void {
  const unknown = types.find((type) => !(eventTypes as readonly string[]).includes(type));
  if (unknown === undefined) return;
  const meant = closest(unknown, eventTypes);
  throw new SymphonyError("usage", `--type: there is no event type "${unknown}"`, {
    hint: meant === null ? `one of ${eventTypes.join(", ")}` : `did you mean ${meant}?`,
  });
}
