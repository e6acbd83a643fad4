import { followEvents } from "../client/events.ts";
import { type CommandContext, reconnecting } from "./context.ts";
import { exitCodes } from "./failure.ts";
import { fit, jsonText } from "./output.ts";
import { type SnapshotView, stateLines } from "./snapshot.ts";

/** Changes come in bursts: one read at the end of a burst shows them all. */
const settleMs = 150;
const tickMs = 1_000;

/** Shows the snapshot and keeps it current: the event stream triggers each new read, nothing is polled. */
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
  let snapshot = await (await context.client()).system.state({}, { signal });
  yield snapshot;
  // The end of the first read of the tracker is no event.
  while (snapshot.tracker.status === "starting" && !signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, tickMs));
    const client = await context.client();
    const next = await client.system.state({}, { signal }).catch(() => null);
    if (next === null) break;
    snapshot = next;
    yield snapshot;
  }
  const stream = followEvents(await context.server(), {
    since: snapshot.seq,
    signal,
    ...reconnecting(context),
  });
  let newest = snapshot.seq;
  for await (const item of stream) {
    if (item.kind === "event" && item.event.seq <= newest) continue;
    await new Promise((resolve) => setTimeout(resolve, settleMs));
    // When the server is gone, the stream reconnects; its next event triggers another read.
    const client = await context.client();
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

  /** Aborted when the reader quits. */
  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  /** `head`, the heading of `rows` and as many of them as fit, with the page number at the foot. */
  page(head: readonly string[], rows: readonly string[]): string[] {
    // A terminal of unknown size reports 0.
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
    // In raw mode the terminal sends Ctrl-C as a character instead of raising a signal.
    if (key === "q" || key === "\u0003") this.#closing.abort();
    if (key === " " || key === "n") this.#page += 1;
    if (key === "b" || key === "p") this.#page -= 1;
  }
}
