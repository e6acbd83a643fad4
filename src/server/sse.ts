import type { ServerResponse } from "node:http";
import { setImmediate } from "node:timers/promises";
import type { Clock } from "../core/clock.ts";
import type { Bus } from "../core/events/bus.ts";
import type { EventType, SymphonyEvent } from "../core/model/event.ts";
import type { History } from "../core/store/store.ts";
import type { Backlog } from "./backlog.ts";
import { safeJson } from "./replies.ts";
import { eventView } from "./views.ts";

interface StreamSource {
  readonly bus: Bus;
  readonly history: History;
  readonly clock: Clock;
  readonly gauge?: StreamGauge;
  /** Of all subscribers of this server. */
  readonly backlog: Backlog;
  /** Removes from the replay values that became secrets after the event was stored. */
  redact(text: string): string;
}

/** The limit that a subscriber passed: its own, or that of all subscribers together. */
export type DropLimit = "client" | "total";

/** Counts subscribers. */
export interface StreamGauge {
  opened(): void;
  /** `dropped`: the subscriber did not read, and this limit ended its connection; null: it ended otherwise. */
  closed(dropped: DropLimit | null): void;
}

interface StreamWish {
  /** Replay events after this one; null: only new events. */
  readonly since: number | null;
  readonly issues: {
    readonly identifiers: readonly string[];
    readonly ids: readonly string[];
  } | null;
  readonly types: readonly EventType[] | null;
}

const maxWaitingBytes = 1024 * 1024;
const heartbeatMs = 15_000;
const replayPageSize = 500;
const replayAheadBytes = 256 * 1024;
const stuckMs = 60_000;

/** An event is serialized once for all subscribers. */
const frames = new WeakMap<SymphonyEvent, Buffer>();

const dropped = new WeakMap<ServerResponse, DropLimit>();

/**
 * Serves one subscriber until either side ends it: first the events it missed, then live events, with no gap and
 * no repeat. One that does not read is dropped once 1 MiB is buffered for it, or once it has the largest part of 64 MiB
 * that are buffered for all; other subscribers are not affected. What it missed it gets when it connects again.
 */
export function streamEvents(
  source: StreamSource,
  wish: StreamWish,
  response: ServerResponse,
): void {
  const stops = [startHeartbeat(source, response)];
  source.gauge?.opened();
  source.backlog.add(response);
  response.once("close", () => {
    for (const stop of stops.splice(0)) stop();
    source.backlog.remove(response);
    source.gauge?.closed(dropped.get(response) ?? null);
  });
  // An error of the socket concerns this subscriber only; the close that follows cleans up.
  response.on("error", () => {});
  response.write("retry: 2000\n\n");
  const follow = (afterSeq: number) => {
    if (isOver(response)) return;
    const options = { afterSeq, filter: filterOf(wish) };
    stops.push(
      source.bus.subscribe(options, (event) =>
        send(source, response, frameOf(event, source.redact)),
      ),
    );
  };
  if (wish.since === null) return follow(source.bus.lastSeq);
  const start = announceGap(source, wish.since, response);
  replay(source, { ...wish, since: start }, response).then(follow, () => response.end());
}

/** Sends a gap if events after `since` are no longer stored, or never were; returns where the replay starts. */
function announceGap(source: StreamSource, since: number, response: ServerResponse) {
  const { bus, history } = source;
  const oldest = since > bus.lastSeq ? bus.lastSeq + 1 : history.oldestSeq();
  if (since <= bus.lastSeq && oldest <= since + 1) return since;
  const data = JSON.stringify({ oldest_seq: oldest });
  send(source, response, `id: ${oldest - 1}\nevent: gap\ndata: ${data}\n\n`);
  return oldest - 1;
}

/** Sends the stored events, page by page, at the pace of the reader. Returns the last seq sent. */
async function replay(
  source: StreamSource,
  wish: StreamWish & { readonly since: number },
  response: ServerResponse,
): Promise<number> {
  const { history, clock, redact } = source;
  let cursor = wish.since;
  for (let more = true; more && !isOver(response); await setImmediate()) {
    const query = { ...filterOf(wish), afterSeq: cursor, limit: replayPageSize };
    const page = history.events(query);
    for (const event of page) {
      send(source, response, frameOf(event, redact));
      if (response.writableLength > replayAheadBytes) await drained(response, clock);
    }
    cursor = page.at(-1)?.seq ?? cursor;
    more = page.length === replayPageSize;
  }
  return cursor;
}

/** Resolves when the reader has caught up or is gone; one that reads nothing for too long is dropped. */
async function drained(response: ServerResponse, clock: Clock): Promise<void> {
  if (isOver(response) || !response.writableNeedDrain) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const cancel = clock.after(stuckMs, () => drop(response, "client"));
  response.once("drain", resolve);
  response.once("close", resolve);
  await promise;
  cancel();
  response.off("drain", resolve);
  response.off("close", resolve);
}

function filterOf({ issues, types }: StreamWish) {
  const ofIssues = issues && { issueIdentifiers: issues.identifiers, issueIds: issues.ids };
  return { ...ofIssues, ...(types && { types }) };
}

function frameOf(event: SymphonyEvent, redact: StreamSource["redact"]): Buffer {
  const known = frames.get(event);
  if (known) return known;
  const data = safeJson(eventView(event), redact);
  const frame = Buffer.from(`id: ${event.seq}\nevent: ${event.type}\ndata: ${data}\n\n`);
  frames.set(event, frame);
  return frame;
}

function send(
  { backlog }: Pick<StreamSource, "backlog">,
  response: ServerResponse,
  frame: Buffer | string,
): void {
  if (isOver(response)) return;
  response.write(frame);
  if (response.writableLength > maxWaitingBytes) drop(response, "client");
  else backlog.wrote(response, frame.length, (largest) => drop(largest, "total"));
}

function drop(response: ServerResponse, limit: DropLimit): void {
  dropped.set(response, limit);
  response.destroy();
}

function isOver(response: ServerResponse): boolean {
  return response.writableEnded || response.destroyed;
}

function startHeartbeat(source: StreamSource, response: ServerResponse): () => void {
  const { clock } = source;
  let cancel = () => {};
  const beat = () => {
    send(source, response, ": alive\n\n");
    cancel = clock.after(heartbeatMs, beat);
  };
  cancel = clock.after(heartbeatMs, beat);
  return () => cancel();
}
