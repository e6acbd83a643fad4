import { followEvents } from "../client/events.ts";
import type { CommandContext } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { jsonText } from "./json-text.ts";
import { Pager } from "./pager.ts";
import { type SnapshotView, stateLines } from "./state-view.ts";

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
