import { followEvents, type StreamEvent } from "../client/events.ts";
import type { CommandContext } from "./context.ts";
import type { SnapshotView } from "./snapshot.ts";

/** How far what is shown can be trusted. */
export interface Link {
  /** `read`: once, before the stream is up. `stale`: the stream is up, the state could not be read. `lost`: reconnecting. */
  readonly kind: "read" | "live" | "stale" | "lost";
  /** When the shown state was read, ms. */
  readonly readAt: number;
}

export interface FeedListener {
  state(snapshot: SnapshotView): void;
  event(event: StreamEvent): void;
  link(link: Link): void;
  /** Events may be missing: everything that was read before is to be read again. */
  anew(): void;
}

/** However many events come, the state is read at most this often. */
const calmMs = 1_000;
/** The events of one moment are awaited before the first read. */
const settleMs = 150;
/** Some changes, such as a new title, are no event; and a server that hangs is noticed by this read. */
const lookMs = 10_000;
const readTimeoutMs = 5_000;
const maxRows = 500;
/** Events that change no list of the state. */
const quiet: ReadonlySet<string> = new Set(["webhook.received", "agent.rate_limits"]);

/** The state of the server, kept current by its event stream through restarts. */
export class Feed {
  readonly #context: CommandContext;
  readonly #listener: FeedListener;
  readonly #signal: AbortSignal;
  #seq = 0;
  #readAt = 0;
  #triedAt = 0;
  /** Connections of the stream that the server has accepted. */
  #connections = 0;
  /** null: the stream was never up. */
  #up: boolean | null = null;
  #stale = false;
  #timer: NodeJS.Timeout | null = null;
  #reading: Promise<void> | null = null;
  #again = false;

  constructor(context: CommandContext, listener: FeedListener, signal: AbortSignal) {
    this.#context = context;
    this.#listener = listener;
    this.#signal = signal;
  }

  /** The first read. Rejects with the error of the server, or when there is none. */
  async open(): Promise<void> {
    const client = await this.#context.client();
    const query = { limit: maxRows };
    this.#take(await client.system.state({ query }, { signal: this.#signal }));
  }

  /** Follows until the signal. Rejects with a permanent refusal of the server. */
  async follow(): Promise<void> {
    const look = setInterval(() => this.readSoon(), lookMs);
    try {
      for await (const item of followEvents(await this.#context.server(), {
        since: this.#seq,
        signal: this.#signal,
        renew: this.#context.renewed,
        onOpened: () => this.#opened(),
        onLost: () => this.#say({ up: false }),
      })) {
        if (item.kind === "gap") this.#anew();
        else this.#received(item.event);
      }
    } finally {
      clearInterval(look);
      if (this.#timer !== null) clearTimeout(this.#timer);
    }
  }

  /** Reads the state again, soon: several reasons to do so cost one request. */
  readSoon(): void {
    if (this.#timer !== null || this.#signal.aborted) return;
    const waitMs = Math.max(this.#triedAt + calmMs - Date.now(), settleMs);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#read();
    }, waitMs);
  }

  #received(event: StreamEvent): void {
    this.#listener.event(event);
    if (!quiet.has(event.type)) this.readSoon();
  }

  #opened(): void {
    this.#connections += 1;
    this.#say({ up: true });
    if (this.#connections > 1) this.#anew();
  }

  #anew(): void {
    this.#listener.anew();
    this.#read();
  }

  #say({ up = this.#up, stale = this.#stale }: { up?: boolean | null; stale?: boolean }): void {
    this.#up = up;
    this.#stale = stale;
    const kind = up === null ? "read" : up ? (stale ? "stale" : "live") : "lost";
    this.#listener.link({ kind, readAt: this.#readAt });
  }

  #read(): void {
    if (this.#reading !== null) {
      this.#again = true;
      return;
    }
    this.#reading = this.#readNow().finally(() => {
      this.#reading = null;
      if (!this.#again) return;
      this.#again = false;
      this.readSoon();
    });
  }

  async #readNow(): Promise<void> {
    const options = { signal: this.#signal, timeoutMs: readTimeoutMs };
    this.#triedAt = Date.now();
    try {
      const client = await this.#context.client();
      this.#take(await client.system.state({ query: { limit: maxRows } }, options));
    } catch {
      if (this.#signal.aborted) return;
      this.#say({ stale: true });
      // Without a connection the next one reads it.
      if (this.#up) this.readSoon();
    }
  }

  #take(snapshot: SnapshotView): void {
    this.#seq = snapshot.seq;
    this.#readAt = Date.now();
    this.#listener.state(snapshot);
    this.#say({ stale: false });
    // The end of the first read of the tracker is no event.
    if (snapshot.tracker.status === "starting") this.readSoon();
  }
}
