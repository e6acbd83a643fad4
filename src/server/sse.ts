import type { ServerResponse } from "node:http";
import { setImmediate } from "node:timers/promises";
import type { Clock } from "../core/clock.ts";
import type { Bus } from "../core/events/bus.ts";
import type { EventType, SymphonyEvent } from "../core/model/event.ts";
import type { History } from "../core/store/store.ts";
import { safeJson } from "./replies.ts";
import { eventView } from "./views.ts";

interface StreamSource {
  readonly bus: Bus;
  readonly history: History;
  readonly clock: Clock;
  readonly gauge?: StreamGauge;
  /** Removes from the replay values that became secrets after the event was stored. */
  redact(text: string): string;
}

/** Counts subscribers. */
export interface StreamGauge {
  opened(): void;
  /** `dropped`: the connection was closed because the subscriber did not read. */
  closed(dropped: boolean): void;
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

const dropped = new WeakSet<ServerResponse>();

/**
 * Serves one subscriber until either side ends it: first the events it missed, then live events, with no gap and
 * no repeat. One that does not read is dropped once 1 MiB is buffered for it; other subscribers are not affected.
 */
export function streamEvents(
  source: StreamSource,
  wish: StreamWish,
  response: ServerResponse,
): void {
  const stops = [startHeartbeat(source.clock, response)];
  source.gauge?.opened();
  response.once("close", () => {
    for (const stop of stops.splice(0)) stop();
    source.gauge?.closed(dropped.has(response));
  });
  // An error of the socket concerns this subscriber only; the close that follows cleans up.
  response.on("error", () => {});
  response.write("retry: 2000\n\n");
  const follow = (afterSeq: number) => {
    if (isOver(response)) return;
    const options = { afterSeq, filter: filterOf(wish) };
    stops.push(
      source.bus.subscribe(options, (event) => send(response, frameOf(event, source.redact))),
    );
  };
  if (wish.since === null) return follow(source.bus.lastSeq);
  const start = announceGap(source, wish.since, response);
  replay(source, { ...wish, since: start }, response).then(follow, () => response.end());
}

/** Sends a gap if events after `since` are no longer stored, or never were; returns where the replay starts. */
function announceGap({ bus, history }: StreamSource, since: number, response: ServerResponse) {
  const oldest = since > bus.lastSeq ? bus.lastSeq + 1 : history.oldestSeq();
  if (since <= bus.lastSeq && oldest <= since + 1) return since;
  const data = JSON.stringify({ oldest_seq: oldest });
  send(response, `id: ${oldest - 1}\nevent: gap\ndata: ${data}\n\n`);
  return oldest - 1;
}

/** Sends the stored events, page by page, at the pace of the reader. Returns the last seq sent. */
async function replay(
  { history, clock, redact }: StreamSource,
  wish: StreamWish & { readonly since: number },
  response: ServerResponse,
): Promise<number> {
  let cursor = wish.since;
  for (let more = true; more && !isOver(response); await setImmediate()) {
    const query = { ...filterOf(wish), afterSeq: cursor, limit: replayPageSize };
    const page = history.events(query);
    for (const event of page) {
      send(response, frameOf(event, redact));
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
  const cancel = clock.after(stuckMs, () => drop(response));
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

function send(response: ServerResponse, frame: Buffer | string): void {
  if (isOver(response)) return;
  response.write(frame);
  if (response.writableLength > maxWaitingBytes) drop(response);
}

function drop(response: ServerResponse): void {
  dropped.add(response);
  response.destroy();
}

function isOver(response: ServerResponse): boolean {
  return response.writableEnded || response.destroyed;
}

function startHeartbeat(clock: Clock, response: ServerResponse): () => void {
  let cancel = () => {};
  const beat = () => {
    send(response, ": alive\n\n");
    cancel = clock.after(heartbeatMs, beat);
  };
  cancel = clock.after(heartbeatMs, beat);
  return () => cancel();
}
