import { Refusal, readIfChanged } from "./api.ts";
import type { State } from "./lanes.ts";
import { withKnownRows } from "./rows.ts";
import type { StreamEvent } from "./stream.ts";
import { followTogether } from "./tabs.ts";

/** What the page shows, and how far it can be trusted. */
export interface Seen {
  readonly state: State | null;
  /** When `state` was read, ms. */
  readonly readAt: number;
  /** `locked`: the server wants its token. */
  readonly connection: "starting" | "live" | "lost" | "locked";
  /** The last read of the state failed although the stream is up. */
  readonly stale: boolean;
  /** Grows when events were missed, or a new series began: what was made of them is read anew. */
  readonly epoch: number;
  /** A sentence for people who hear the page: a change that matters, never a clock. */
  readonly announced: string;
}

/** The state is read again at most this often, however many events come. */
const calmMs = 1_000;
const hiddenMs = 30_000;
/** Some changes, such as a new title, are no event: they are found by reading, which costs a 304 when there are none. */
const lookMs = 10_000;

/** Rows of each list: of the first answer, so that it is soon there, and of every later one, the most that a server gives. */
const firstRows = 100;
const allRows = 1_000;

/** Events that change no list of the state. */
const quiet: ReadonlySet<string> = new Set(["webhook.received", "agent.rate_limits"]);
const spoken: Readonly<Record<string, string>> = {
  "issue.blocked": "needs you",
  "issue.failed": "failed",
  "issue.held": "is held",
  "issue.review": "waits for review",
  "issue.completed": "is completed",
};

/** The one source of what is shown: the state, kept current by one event stream. */
export class Store {
  seen: Seen = {
    ...{ state: null, readAt: 0, connection: "starting", stale: false },
    ...{ epoch: 0, announced: "" },
  };
  /** The number of the last event. */
  #last = 0;
  readonly #changed = new Set<() => void>();
  readonly #events = new Set<(event: StreamEvent) => void>();
  #stop: AbortController | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #failedAt = 0;
  #tag: string | null = null;
  #reading: Promise<void> | null = null;
  #again = false;

  /** Reads the state, then follows it. Also after the token was given. */
  async start(): Promise<void> {
    this.#stop?.abort();
    const stop = new AbortController();
    this.#stop = stop;
    // A read that is under way has the earlier token: it says nothing about the new one.
    await this.#reading;
    if (stop.signal.aborted) return;
    for (let waitMs = 250; ; waitMs = Math.min(waitMs * 2, 10_000)) {
      await this.#read();
      if (stop.signal.aborted || this.seen.connection === "locked") return;
      if (this.seen.state !== null) break;
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
    const look = setInterval(() => this.readSoon(), lookMs);
    stop.signal.addEventListener("abort", () => clearInterval(look));
    this.#last = this.seen.state.seq;
    this.readSoon();
    await followTogether(
      this.#last,
      {
        event: (event) => this.#received(event),
        anew: (last) => this.#missed(last),
        connection: (connection) => this.#set({ connection, ...this.#saidOf(connection) }),
      },
      stop.signal,
    );
  }

  onChange(listener: () => void): () => void {
    this.#changed.add(listener);
    return () => this.#changed.delete(listener);
  }

  onEvent(listener: (event: StreamEvent) => void): () => void {
    this.#events.add(listener);
    return () => this.#events.delete(listener);
  }

  /** Reads the state again, soon: several reasons to do so cost one request. */
  readSoon(): void {
    if (this.#timer !== null) return;
    const least = document.hidden ? hiddenMs : calmMs;
    const waitMs = Math.max(Math.max(this.seen.readAt, this.#failedAt) + least - Date.now(), 0);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.#read();
    }, waitMs);
  }

  /** The page is looked at again. */
  shown(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.readSoon();
  }

  /** After a new connection with nothing missed the state alone may be older than the events. */
  #missed(last: number): void {
    if (last !== this.#last) this.#set({ epoch: this.seen.epoch + 1 });
    this.#last = last;
    this.readSoon();
  }

  #received(event: StreamEvent): void {
    this.#last = event.seq;
    for (const listener of this.#events) listener(event);
    if (quiet.has(event.type)) return;
    const word = spoken[event.type];
    if (word !== undefined)
      this.#set({ announced: `${event.issue_identifier ?? "An issue"} ${word}` });
    this.readSoon();
  }

  #saidOf(connection: Seen["connection"]): Partial<Seen> {
    if (connection === this.seen.connection) return {};
    return connection === "lost" ? { announced: "Connection lost" } : {};
  }

  async #read(): Promise<void> {
    if (this.#reading !== null) {
      this.#again = true;
      return this.#reading;
    }
    this.#reading = this.#readNow();
    await this.#reading;
    this.#reading = null;
    if (this.#again) {
      this.#again = false;
      this.readSoon();
    }
  }

  async #readNow(): Promise<void> {
    try {
      const rows = this.seen.state === null ? firstRows : allRows;
      const read = await readIfChanged<State>(`/api/v1/state?limit=${rows}`, this.#tag);
      const { connection } = this.seen;
      this.#tag = read?.tag ?? this.#tag;
      this.#set({
        ...(read !== null && { state: withKnownRows(read.reply, this.seen.state) }),
        ...{ readAt: Date.now(), stale: false },
        connection: connection === "locked" ? "starting" : connection,
      });
    } catch (error) {
      const locked = error instanceof Refusal && error.status === 401;
      this.#set(locked ? { connection: "locked" } : { stale: true });
      this.#failedAt = Date.now();
      if (!locked && this.seen.state !== null) this.readSoon();
    }
  }

  #set(news: Partial<Seen>): void {
    this.seen = { ...this.seen, ...news };
    for (const listener of this.#changed) listener();
  }
}
