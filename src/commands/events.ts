import type { Server } from "../client/client.ts";
import { followEvents, type StreamEvent, type StreamItem } from "../client/events.ts";
import { type ErrorCode, SymphonyError } from "../core/model/errors.ts";
import { eventTypes } from "../core/model/event.ts";
import { type IssueStatus, statuses } from "../core/model/issue.ts";
import { type CommandContext, reconnecting } from "./context.ts";
import { exitCodes, onServerIssue, requireWord } from "./failure.ts";
import { jsonText, type Paint, plainLine, type Style, span } from "./output.ts";
import { Spinner } from "./spinner.ts";
import { issueArgument, row } from "./table.ts";
import { parseDuration, sinceMs, whenForms } from "./when.ts";

/** Without `--since` and `--follow`: as many as fit a screen or two. */
const newestShown = 50;

/** Prints past events, and with `--follow` continues until interrupted (130). */
export const eventsCommand = row({
  examples: [
    "symphony events --follow                      from now on, until Ctrl-C",
    "symphony events --since 10m --issue ENG-123   what happened to one issue",
    "symphony events --follow --since 1200 --json  NDJSON, after number 1200",
    "symphony events --type turn.failed --since 1d",
  ],
  options: [
    {
      name: "follow",
      summary: "continue with events as they happen; reconnect when the connection is lost",
    },
    {
      name: "issue",
      value: "id",
      summary: "only this issue; repeatable",
      repeats: true,
      completion: "issues",
    },
    {
      name: "type",
      value: "type",
      summary: "only this type, such as attempt.ended; repeatable",
      repeats: true,
      read: (text: string, flag: string) =>
        requireWord<string>(text, eventTypes, `${flag}: there is no event type "${text}"`),
      completion: eventTypes,
    },
    {
      name: "since",
      value: "seq|when",
      summary: `after this number, or from ${whenForms} on (default: the newest 50, or with --follow none)`,
      read: (text: string, flag: string) =>
        /^\d+$/.test(text) ? { seq: Number(text) } : { ms: sinceMs(text, flag) },
    },
  ],
  stream: (options, context) => printEvents(options, context),
});

interface EventsOptions {
  readonly follow: boolean;
  readonly issue: readonly string[];
  readonly type: readonly string[];
  readonly since: { readonly seq: number } | { readonly ms: number } | undefined;
}

async function printEvents(options: EventsOptions, context: CommandContext): Promise<number> {
  const client = await context.client();
  const signal = context.interrupted();
  const { seq: newest } = await client.system.state({ query: { limit: 1 } }, { signal });
  const ids: string[] = [];
  for (const name of options.issue) ids.push(...(await requireKnown(name, options, context)));
  const since = await startOf(options, newest, context);
  const paint = await context.paint();
  for await (const item of itemsFrom(since, newest, { options: { ...options, ids }, context })) {
    await context.printRecord(itemLine(item, context.json, paint));
  }
  const interrupted = context.interrupted().aborted;
  return interrupted ? exitCodes.interrupted : exitCodes.done;
}

/** No output must not look like an answer about an issue that does not exist; one may be awaited. Returns its id. */
async function requireKnown(
  id: string,
  { follow }: EventsOptions,
  context: CommandContext,
): Promise<readonly string[]> {
  const read = onServerIssue(id, context, (client) => client.issues.detail({ params: { id } }));
  try {
    return [(await read).issue_id];
  } catch (error) {
    const isMissing = error instanceof SymphonyError && error.code === "issue_not_found";
    if (!isMissing || !follow) throw error;
    context.note(`${error.message}; its events are shown once it has`);
    return [];
  }
}

interface Wanted extends EventsOptions {
  /** Of the issues of `issue`: an identifier may change. */
  readonly ids: readonly string[];
}

async function* itemsFrom(
  since: number,
  newest: number,
  { options, context }: { options: Wanted; context: CommandContext },
): AsyncGenerator<StreamItem> {
  if (!options.follow && since >= newest) return;
  const stream = followEvents(await context.server(), {
    since,
    // Without --follow the command stops at the newest number, and a filter on the server might skip that event.
    ...(options.follow && { issues: options.issue, types: options.type }),
    signal: context.interrupted(),
    ...reconnecting(context),
  });
  for await (const item of stream) {
    if (item.kind === "gap" || isWanted(item, options)) yield item;
    const last = item.kind === "event" ? item.event.seq : item.oldestSeq - 1;
    if (!options.follow && last >= newest) return;
  }
}

function isWanted(item: StreamItem & { kind: "event" }, { issue, ids, type }: Wanted): boolean {
  const { issue_id: id, issue_identifier: identifier } = item.event;
  const name = identifier?.toLowerCase();
  const isNamed = issue.some((one) => one.toLowerCase() === name);
  const rightIssue = issue.length === 0 || isNamed || (id !== null && ids.includes(id));
  return rightIssue && (type.length === 0 || type.includes(item.event.type));
}

async function startOf(
  { since, follow }: EventsOptions,
  newest: number,
  context: CommandContext,
): Promise<number> {
  if (since === undefined) return follow ? newest : Math.max(newest - newestShown, 0);
  if ("seq" in since) return since.seq;
  return seqBefore(since.ms, newest, await context.server());
}

const styles: readonly (readonly [pattern: RegExp, style: Style])[] = [
  [/failed|error|rejected/, "red"],
  [/blocked|requested|held/, "magenta"],
  [/retrying/, "yellow"],
  [/completed|recovered|delivered/, "green"],
];

/** One line of human output: time of day, issue, type, message. */
export function eventLine(event: StreamEvent, paint: Paint): string {
  const { at, type, issue_identifier: issue, message } = event;
  const time = new Date(at).toTimeString().slice(0, 8);
  const style = styles.find(([pattern]) => pattern.test(type))?.[1] ?? "cyan";
  const parts = [
    paint.dim(time),
    issue === null ? "-" : plainLine(issue),
    paint[style](plainLine(type)),
  ];
  return [...parts, plainLine(message)].join("  ").trimEnd();
}

/** The line of a stream: NDJSON under `--json`, with `{"type":"gap","oldest_seq":N}` where events are gone. */
export function itemLine(item: StreamItem, json: boolean, paint: Paint): string {
  if (item.kind === "gap") {
    return json
      ? jsonText({ type: "gap", oldest_seq: item.oldestSeq }, 0)
      : paint.yellow(`--- gap: events before ${item.oldestSeq} are no longer kept ---`);
  }
  return json ? jsonText(item.event, 0) : eventLine(item.event, paint);
}

/**
 * The number of the last event before `time` (ms since the epoch), at most `newest`. The series has no gaps and its
 * times never decrease, so a binary search finds it with few single reads in a history of any length.
 */
export async function seqBefore(time: number, newest: number, server: Server): Promise<number> {
  let low = 0;
  let high = newest;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const next = await firstAfter(middle, server);
    if (next === null || next.at >= time) high = middle;
    else low = next.seq;
  }
  return low;
}

/** The first event after `seq` that is still kept. */
async function firstAfter(seq: number, server: Server) {
  for await (const item of followEvents(server, { since: seq })) {
    if (item.kind === "event") return { seq: item.event.seq, at: Date.parse(item.event.at) };
  }
  return null;
}

/** Exits 0 at the status, 124 at the timeout; when only a person can continue: 6 if blocked or held, 1 if failed. */
export const waitCommand = row({
  examples: [
    "symphony wait ENG-123 --for completed && git pull",
    "symphony wait ENG-123 --for blocked,failed --timeout 2h",
  ],
  arguments: [issueArgument],
  options: [
    {
      name: "for",
      value: "status",
      summary: `${statuses.join(", ")}; several with commas`,
      required: true,
      read: statusesIn,
      completion: statuses,
    },
    {
      name: "timeout",
      value: "duration",
      summary: "give up after 90s, 30m, 2h, 7d; 0 for never",
      default: "30m",
      read: parseDuration,
    },
  ],
  async call({ issue: id, for: wanted, timeout: timeoutMs }, context) {
    return { issue_identifier: id, status: await waitFor({ id, wanted, timeoutMs }, context) };
  },
  print: ({ issue_identifier: id, status }, { note }) =>
    note(`${id} is ${status === "review" ? "in review" : status}`),
});

/** 24 days; Node fires a longer timer at once. */
const longestTimerMs = 2 ** 31 - 1;

interface Awaited {
  readonly id: string;
  readonly wanted: readonly IssueStatus[];
  /** 0 waits indefinitely. */
  readonly timeoutMs: number;
}

async function waitFor(
  { id, wanted, timeoutMs }: Awaited,
  context: CommandContext,
): Promise<IssueStatus> {
  const limit = new AbortController();
  // Not AbortSignal.timeout: AbortSignal.any holds its sources weakly, and a collected one never fires.
  const timer =
    timeoutMs === 0
      ? undefined
      : setTimeout(() => limit.abort(), Math.min(timeoutMs, longestTimerMs));
  using spinner = new Spinner(context);
  spinner.set("wait", `waiting for ${id} to be ${wanted.join(" or ")}`);
  try {
    const signal = AbortSignal.any([context.interrupted(), limit.signal]);
    for await (const status of statusesOf(id, signal, context)) {
      if (status !== null && wanted.includes(status)) return status;
      requireHope(id, status, wanted);
    }
  } finally {
    clearTimeout(timer);
  }
  context.interrupted().throwIfAborted();
  const what = `${id} did not become ${wanted.join(" or ")} within ${span(timeoutMs)}`;
  throw new SymphonyError("timed_out", what, { hint: `symphony explain ${id}` });
}

/** The status now and after every event of the issue, until `signal`. */
async function* statusesOf(
  id: string,
  signal: AbortSignal,
  context: CommandContext,
): AsyncGenerator<IssueStatus | null> {
  // Taken before the first read of the status, so that no event between that read and the stream is missed.
  const { seq } = await (await context.client()).system.state(
    { query: { limit: 1 } },
    { signal: context.interrupted() },
  );
  const read = async () => {
    const { issues } = await context.client();
    return (await issues.detail({ params: { id } }, { signal })).status;
  };
  const first = await onServerIssue(id, context, read).catch((error: unknown) => {
    // The time to wait may be over before the first answer.
    if (!signal.aborted) throw error;
    return null;
  });
  if (signal.aborted) return;
  yield first;
  for await (const _ of followEvents(await context.server(), {
    since: seq,
    issues: [id],
    signal,
    renew: context.renewed,
  })) {
    yield await untilRead(read, signal, context);
    if (signal.aborted) return;
  }
}

const readAgainMs = 500;
const restarting: readonly ErrorCode[] = ["server_unreachable", "unavailable", "unauthorized"];

/** The server may stop between an event and this read; null once `signal` is aborted. */
export async function untilRead<T>(
  read: () => Promise<T>,
  signal: AbortSignal,
  context: CommandContext,
): Promise<T | null> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await read();
    } catch (error) {
      if (signal.aborted) return null;
      const code = error instanceof SymphonyError ? error.code : null;
      const passes = code !== null && restarting.includes(code);
      if (!passes || (code === "unauthorized" && tries > maxRefusals)) throw error;
      await new Promise((resolve) => setTimeout(resolve, readAgainMs));
      await context.renewed();
    }
  }
}

const maxRefusals = 20;

/** Waiting for `completed` or `review` makes no sense once only a person can bring it about. */
function requireHope(id: string, status: IssueStatus | null, wanted: readonly string[]): void {
  if (wanted.some((one) => one !== "completed" && one !== "review")) return;
  if (status === "blocked") {
    throw new SymphonyError("needs_person", `${id} is blocked: its agent waits for a person`, {
      hint: `symphony issue show ${id}`,
    });
  }
  if (status === "held" || status === "failed") {
    // Held: a person stopped it, or has to decide. Failed: its retries are used up.
    const code = status === "held" ? "needs_person" : "agent_failed";
    throw new SymphonyError(code, `${id} is ${status} and does not continue by itself`, {
      hint: `symphony explain ${id}; symphony transition ${id} queued lets it run again`,
    });
  }
}

function statusesIn(text: string, flag: string): readonly IssueStatus[] {
  return text
    .split(",")
    .map((one) =>
      requireWord(one.trim().toLowerCase(), statuses, `${flag}: "${one}" is not a status`),
    );
}
