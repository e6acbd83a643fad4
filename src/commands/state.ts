import type { Command } from "commander";
import type { z } from "zod";
import { followEvents } from "../client/events.ts";
import type { Snapshot } from "../contract/system.ts";
import { unsavedText } from "../core/model/event.ts";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes } from "./failure.ts";
import { examples } from "./help.ts";
import { newestKeptLines } from "./kept.ts";
import {
  amount,
  type Cell,
  fit,
  jsonText,
  type Paint,
  plainLine,
  relative,
  since,
  span,
  statusStyle,
  tableLines,
} from "./output.ts";

interface StateOptions {
  readonly watch?: boolean;
}

export function declareState(command: Command, run: Run): void {
  examples(
    command,
    "symphony state",
    "symphony state --watch",
    "symphony state --json | jq '.running[].issue_identifier'",
  )
    .option("--watch", "keep showing it as it changes; not on a terminal: one JSON line a change")
    .action((options: StateOptions) => run((context) => state(options, context)));
}

/** Prints the snapshot once, or follows it. */
export async function state(options: StateOptions, context: CommandContext): Promise<number> {
  if (options.watch) {
    const { watchState } = await import("./state.ts");
    return watchState(context);
  }
  const client = await context.client();
  const snapshot = await client.system.state();
  if (context.json) {
    context.printJson(snapshot);
    return exitCodes.done;
  }
  const { stateLines } = await import("./state.ts");
  const view = { width: context.width, paint: await context.paint(), nowMs: Date.now() };
  const { head, rows } = stateLines(snapshot, view);
  context.print([...head, ...rows].join("\n"));
  return exitCodes.done;
}

export type SnapshotView = z.output<typeof Snapshot>;

export interface ViewOptions {
  readonly width: number | null;
  readonly paint: Paint;
  readonly nowMs: number;
}

const columns = [
  { title: "ISSUE" },
  { title: "STATUS" },
  { title: "STATE" },
  { title: "FOR", align: "right" },
  { title: "TURNS", align: "right" },
  { title: "TOKENS", align: "right" },
  { title: "TITLE", flexible: true },
  { title: "NOW", flexible: true },
] as const;

interface Shown {
  readonly row: { issue_identifier: string; status: string; state: string; title: string };
  readonly since: string | null;
  readonly turns?: number;
  readonly tokens?: number;
  readonly now: string;
}

/** The snapshot for people: what must stay in sight, and a table that may be paged. Its first row is the heading. */
export function stateLines(
  snapshot: SnapshotView,
  look: ViewOptions,
): { head: string[]; rows: string[] } {
  const shown = [
    ...running(snapshot),
    ...blocked(snapshot),
    ...retrying(snapshot, look.nowMs),
    ...queued(snapshot),
    ...stopped(snapshot),
    ...completed(snapshot),
  ];
  const rows = tableLines({ ...look, columns, rows: shown.map((one) => cellsOf(one, look.nowMs)) });
  const unseen = Object.values(snapshot.counts).reduce((sum, one) => sum + one, 0) - shown.length;
  if (unseen > 0) rows.push(look.paint.dim(`and ${unseen} more`));
  const kept = newestKeptLines(snapshot.kept, snapshot.kept_total, look.paint);
  return { head: headOf(snapshot, look), rows: [...(shown.length === 0 ? [] : rows), ...kept] };
}

function headOf(snapshot: SnapshotView, { paint, nowMs }: ViewOptions): string[] {
  const { counts, polling, tracker, problem, storage, codex_totals: totals } = snapshot;
  const filled = Object.entries(counts).filter(([, count]) => count > 0);
  const parts = filled.map(([status, count]) => paint[statusStyle(status)](`${count} ${status}`));
  const next =
    polling.next_poll_at === null ? "" : `, next poll ${relative(polling.next_poll_at, nowMs)}`;
  const facts = `tracker ${tracker.kind}${next}, ${amount(totals.total_tokens)} tokens`;
  const paused = snapshot.paused.map(({ agent, until, reason }) => {
    const who = agent === null ? "nothing new is started" : `nothing new is started with ${agent}`;
    return `${who}, on again ${relative(until, nowMs)}: ${reason}`;
  });
  const faults = [
    problem && `nothing new is started: ${problem.message}`,
    storage && `nothing new is started: ${unsavedText(storage)}`,
    tracker.last_error && `tracker: ${tracker.last_error.message}`,
  ];
  return [
    `${parts.length === 0 ? "nothing to do" : parts.join(", ")}  ${paint.dim(plainLine(facts))}`,
    ...paused.map((line) => paint.yellow(plainLine(line))),
    ...faults.flatMap((fault) => (fault ? [paint.red(plainLine(fault))] : [])),
  ];
}

function cellsOf({ row, since: start, turns, tokens, now }: Shown, nowMs: number): Cell[] {
  return [
    row.issue_identifier,
    { text: row.status, style: statusStyle(row.status) },
    row.state,
    since(start, nowMs),
    turns === undefined ? "-" : String(turns),
    tokens === undefined ? "-" : amount(tokens),
    row.title,
    now,
  ];
}

function running(snapshot: SnapshotView): Shown[] {
  return snapshot.running.map((row) => ({
    row,
    since: row.started_at,
    turns: row.turn_count,
    tokens: row.tokens.total_tokens,
    now: row.stopping ?? row.last_message ?? row.phase.replaceAll("_", " "),
  }));
}

function blocked(snapshot: SnapshotView): Shown[] {
  return snapshot.blocked.map((row) => ({
    row,
    since: row.needs.since,
    now: `needs ${row.needs.kind === "approval" ? "an approval" : "an answer"}: ${row.needs.prompt}`,
  }));
}

function retrying(snapshot: SnapshotView, nowMs: number): Shown[] {
  return snapshot.retrying.map((row) => {
    const due = Date.parse(row.due_at) - nowMs;
    const error = row.error === null ? "" : `: ${row.error}`;
    return { row, since: null, now: `retry ${row.attempt} in ${span(due)}${error}` };
  });
}

function queued(snapshot: SnapshotView): Shown[] {
  return snapshot.queued.map((row) => ({ row, since: null, now: row.waiting_for }));
}

function stopped(snapshot: SnapshotView): Shown[] {
  return [...snapshot.held, ...snapshot.failed].map((row) => ({
    row,
    since: row.since,
    now: row.error === null ? row.reason : `${row.reason}: ${row.error}`,
  }));
}

function completed(snapshot: SnapshotView): Shown[] {
  return snapshot.completed.map((row) => ({
    row,
    since: row.ended_at,
    tokens: row.tokens.total_tokens,
    now: row.outcome,
  }));
}

/** Changes come in bursts: one look at the end of a burst shows them all. */
const settleMs = 150;
const tickMs = 1_000;

/** Shows the snapshot and keeps it fresh: the event stream says when to look again, nothing is polled. */
export async function watchState(context: CommandContext): Promise<number> {
  const live = context.stdout.isTTY === true && !context.json;
  return live ? watchScreen(context) : watchLines(context);
}

async function watchLines(context: CommandContext): Promise<number> {
  for await (const snapshot of snapshots(context, context.interrupted())) {
    await context.printRecord(jsonText(snapshot, 0));
  }
  return exitCodes.interrupted;
}

async function watchScreen(context: CommandContext): Promise<number> {
  const { createLogUpdate } = await import("log-update");
  const screen = createLogUpdate(context.stdout);
  const paint = await context.paint();
  const pager = new Pager(context);
  let last: SnapshotView | null = null;
  const draw = () => {
    if (last === null) return;
    const width = context.stdout.columns || context.width;
    const { head, rows } = stateLines(last, { width, paint, nowMs: Date.now() });
    screen(pager.page(head, rows).join("\n"));
  };
  const ticking = setInterval(draw, tickMs);
  const stop = pager.listen(draw);
  try {
    const end = AbortSignal.any([context.interrupted(), pager.closed]);
    for await (const snapshot of snapshots(context, end)) {
      last = snapshot;
      draw();
    }
    return pager.closed.aborted ? exitCodes.done : exitCodes.interrupted;
  } finally {
    clearInterval(ticking);
    stop();
    screen.done();
  }
}

/** The snapshot now, and again after each burst of events, until `signal`. */
async function* snapshots(
  context: CommandContext,
  signal: AbortSignal,
): AsyncGenerator<SnapshotView> {
  const client = await context.client();
  let snapshot = await client.system.state();
  yield snapshot;
  const stream = followEvents(await context.server(), {
    since: snapshot.seq,
    signal,
    onLost: (_, delayMs) => context.note(`connection lost; trying again in ${delayMs} ms`),
  });
  let newest = snapshot.seq;
  for await (const item of stream) {
    if (item.kind === "event" && item.event.seq <= newest) continue;
    await new Promise((resolve) => setTimeout(resolve, settleMs));
    // A server that went away in between is the stream's to find again; the next event brings us back here.
    const next = await client.system.state({}, { signal }).catch(() => null);
    if (signal.aborted) return;
    if (next === null) continue;
    snapshot = next;
    newest = snapshot.seq;
    yield snapshot;
  }
}

/** Cuts a table to the rows of the terminal. Space and b turn the pages, q and Ctrl-C leave. */
export class Pager {
  readonly #context: Pick<CommandContext, "stdin" | "stdout" | "interactive">;
  readonly #closing = new AbortController();
  #page = 0;

  constructor(context: Pick<CommandContext, "stdin" | "stdout" | "interactive">) {
    this.#context = context;
  }

  /** Aborted once the reader has had enough. */
  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  /** `head`, the heading of `rows` and as many of them as fit, with where we are at the foot. */
  page(head: readonly string[], rows: readonly string[]): string[] {
    // A terminal of unknown size says 0.
    const height = this.#context.stdout.rows || 24;
    const columns = this.#context.stdout.columns || 80;
    const [heading = "", ...body] = rows;
    // One line for the heading, one for the foot, one for the cursor.
    const room = Math.max(height - head.length - 3, 1);
    const pages = Math.max(Math.ceil(body.length / room), 1);
    this.#page = Math.min(Math.max(this.#page, 0), pages - 1);
    const shown = body.slice(this.#page * room, (this.#page + 1) * room);
    const keys = this.#context.interactive ? ", space next, b back, q quit" : "";
    const foot = pages === 1 ? [] : [fit(`page ${this.#page + 1} of ${pages}${keys}`, columns)];
    return [...head, heading, ...shown, ...foot];
  }

  /** Reads keys, calling `redraw` after a turn of the page; the returned function gives the keyboard back. */
  listen(redraw: () => void): () => void {
    const { stdin, interactive } = this.#context;
    if (!interactive) return () => {};
    const onKeys = (keys: Buffer) => {
      for (const key of keys.toString("latin1")) this.#press(key);
      redraw();
    };
    stdin.setRawMode(true);
    stdin.on("data", onKeys);
    return () => {
      stdin.off("data", onKeys);
      stdin.setRawMode(false);
      stdin.pause();
    };
  }

  #press(key: string): void {
    // In raw mode the terminal hands us Ctrl-C as a character instead of raising a signal.
    if (key === "q" || key === "\u0003") this.#closing.abort();
    if (key === " " || key === "n") this.#page += 1;
    if (key === "b" || key === "p") this.#page -= 1;
  }
}
