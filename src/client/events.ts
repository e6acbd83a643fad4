import type { IncomingMessage } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { FetchLikeResponse, EventSource as Source } from "eventsource";
import type { z } from "zod";
import { paths } from "../contract/paths.ts";
import type { EventView } from "../contract/values.ts";
import { type ErrorCode, SymphonyError } from "../core/model/errors.ts";
import { open, queryOf, refusal, type Server, textOf } from "./client.ts";

export type StreamEvent = z.output<typeof EventView>;

/** A gap: the events before `oldestSeq` are no longer stored. */
export type StreamItem =
  | { readonly kind: "event"; readonly event: StreamEvent }
  | { readonly kind: "gap"; readonly oldestSeq: number };

export interface StreamWish {
  /** Start after this event; null: only new events. */
  readonly since: number | null;
  readonly issues?: readonly string[];
  readonly types?: readonly string[];
  /** Ends the iteration without an error. */
  readonly signal?: AbortSignal;
  /** Finds the server again before it reconnects: a restart may change its address and its token. */
  readonly renew?: () => Promise<Server>;
  /** Called when the server has accepted a connection: the first, and each that follows a lost one. */
  readonly onOpened?: () => void;
  /** Called before each pause between attempts to reconnect. */
  readonly onLost?: (error: SymphonyError | null, delayMs: number) => void;
  /** Waits `ms`; tests pass their own. */
  readonly pause?: (ms: number, signal?: AbortSignal) => Promise<unknown>;
}

/** The server sends a comment every 15 s; after three missing comments the connection is dead. */
const silenceMs = 45_000;
const firstPauseMs = 250;
const longestPauseMs = 10_000;
const maxWaiting = 5_000;
/** With the pauses between them 16 s: a server that starts again writes its new token only once it listens. */
const maxRefusals = 6;
const passing: readonly ErrorCode[] = [
  "server_unreachable",
  "unavailable",
  "rate_limited",
  "internal_error",
];

/**
 * The event stream as one endless series without gaps or repeats. A lost connection is resumed after the last event
 * received, without a limit on attempts. Rejects when the first connection fails, and with permanent refusals.
 */
export async function* followEvents(
  first: Server,
  wish: StreamWish,
): AsyncGenerator<StreamItem, void> {
  let server = first;
  const pause = wish.pause ?? ((ms, signal) => sleep(ms, undefined, signal ? { signal } : {}));
  const progress = { lastSeq: wish.since, everOpened: false, failures: 0 };
  while (!wish.signal?.aborted) {
    const lost = yield* oneConnection(server, wish, progress);
    if (wish.signal?.aborted) return;
    if (lost !== null && !(progress.everOpened && mayPass(lost, wish, progress))) throw lost;
    const delayMs = Math.min(firstPauseMs * 2 ** progress.failures++, longestPauseMs);
    wish.onLost?.(lost, delayMs);
    await pause(delayMs, wish.signal).catch(() => {});
    if (wish.signal?.aborted) return;
    server = (await wish.renew?.().catch(() => null)) ?? server;
  }
}

/** A token may be that of the server before its restart. */
function mayPass({ code }: SymphonyError, { renew }: StreamWish, { failures }: Progress): boolean {
  if (passing.includes(code)) return true;
  return code === "unauthorized" && renew !== undefined && failures < maxRefusals;
}

interface Progress {
  lastSeq: number | null;
  everOpened: boolean;
  /** Connections in a row that delivered no event. */
  failures: number;
}

/** Yields the events of one connection; returns why it ended, null for a plain end. */
async function* oneConnection(
  server: Server,
  wish: StreamWish,
  progress: Progress,
): AsyncGenerator<StreamItem, SymphonyError | null> {
  const inbox = new Inbox<StreamItem, SymphonyError>();
  const source = await connect({ server, wish, progress, inbox });
  const close = () => {
    source.close();
    inbox.end(null);
  };
  wish.signal?.addEventListener("abort", close, { once: true });
  try {
    for await (const item of inbox) {
      progress.failures = 0;
      if (item.kind === "event" && item.event.seq <= (progress.lastSeq ?? -1)) continue;
      // A gap may also mean that the series was restarted with lower numbers than the last one seen.
      progress.lastSeq = item.kind === "event" ? item.event.seq : item.oldestSeq - 1;
      yield item;
    }
    return inbox.fault;
  } finally {
    wish.signal?.removeEventListener("abort", close);
    source.close();
  }
}

interface Connection {
  readonly server: Server;
  readonly wish: StreamWish;
  readonly progress: Progress;
  readonly inbox: Inbox<StreamItem, SymphonyError>;
}

/** One EventSource per connection: its own reconnect stops at the first response that is not 200. */
async function connect(connection: Connection): Promise<Source> {
  const { server, wish, progress, inbox } = connection;
  const { EventSource } = await import("eventsource");
  let fault: SymphonyError | null = null;
  class Listener extends EventSource {
    /** Receives events of every type: a newer server may send types unknown to this client. */
    override dispatchEvent(event: Event): boolean {
      if (event.type === "open") this.#opened();
      if (event.type === "error") this.#stop();
      if (event instanceof MessageEvent) this.#take(event);
      return super.dispatchEvent(event);
    }

    #opened(): void {
      progress.everOpened = true;
      wish.onOpened?.();
    }

    #take(event: MessageEvent): void {
      const item = itemOf(event);
      if (item !== null) inbox.push(item);
      // A reader that falls behind fetches the remaining events from the server once it has caught up.
      if (inbox.size > maxWaiting) this.#stop();
    }

    #stop(): void {
      inbox.end(fault);
      // The source starts its own reconnect timer right after it reports an error; a later close stops it.
      queueMicrotask(() => this.close());
    }
  }
  return new Listener(new URL(paths.system.events.path, server.baseUrl), {
    fetch: (_url, { signal }) =>
      answerOf(connection, signal as AbortSignal).catch((error: unknown) => {
        fault = error instanceof SymphonyError ? error : null;
        throw error;
      }),
  });
}

async function answerOf(
  { server, wish, progress }: Connection,
  signal: AbortSignal,
): Promise<FetchLikeResponse> {
  const last = progress.lastSeq;
  const response = await open(server, {
    method: paths.system.events.method,
    path: paths.system.events.path + queryOf({ issue: wish.issues, type: wish.types }),
    headers: {
      accept: "text/event-stream",
      ...(last !== null && { "last-event-id": String(last) }),
    },
    signal,
    timeoutMs: silenceMs,
  });
  const status = response.statusCode ?? 0;
  const isStream = response.headers["content-type"]?.startsWith("text/event-stream") === true;
  if (status === 200 && !isStream) response.destroy();
  if (status !== 200 || !isStream) {
    const text = await textOf(server, paths.system.events, response).catch(() => "");
    throw refusal(server, status, text);
  }
  return {
    status,
    url: server.baseUrl,
    redirected: false,
    headers: { get: (name) => String(response.headers[name] ?? "") },
    body: { getReader: () => readerOf(response) },
  };
}

function readerOf(response: IncomingMessage) {
  const chunks = response[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  return {
    async read() {
      const next = await chunks.next();
      return next.done ? { done: true as const } : { done: false as const, value: next.value };
    },
    async cancel() {
      response.destroy();
    },
  };
}

function itemOf(event: MessageEvent): StreamItem | null {
  const data: unknown = JSON.parse(String(event.data));
  if (typeof data !== "object" || data === null) return null;
  if (event.type !== "gap") return { kind: "event", event: data as StreamEvent };
  return { kind: "gap", oldestSeq: "oldest_seq" in data ? Number(data.oldest_seq) : 1 };
}

/** A queue between one writer and one reader. It ends once; items pushed before the end are still delivered. */
class Inbox<T, Fault> implements AsyncIterable<T> {
  #items: T[] = [];
  #ended = false;
  #fault: Fault | null = null;
  #wake = () => {};

  /** Items that have not been read yet. */
  get size(): number {
    return this.#items.length;
  }

  /** Why it ended; null for a plain end. */
  get fault(): Fault | null {
    return this.#fault;
  }

  push(item: T): void {
    if (this.#ended) return;
    this.#items.push(item);
    this.#wake();
  }

  end(fault: Fault | null): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#fault = fault;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void> {
    for (;;) {
      const batch = this.#items;
      this.#items = [];
      yield* batch;
      if (this.#items.length > 0) continue;
      if (this.#ended) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
