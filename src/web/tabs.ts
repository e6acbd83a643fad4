import { follow, type Listener, type StreamEvent } from "./stream.ts";

// One stream for all tabs of a browser: the tab that holds a lock of the browser reads it, the others listen to that tab.
// The lock goes to the next tab when that one is closed or has crashed.

const name = "symphony.stream";

type Message =
  | { readonly type: "event"; readonly event: StreamEvent }
  | { readonly type: "anew"; readonly last: number }
  | { readonly type: "connection"; readonly state: "live" | "lost" }
  | { readonly type: "alive" }
  /** A new tab asks how the connection is. */
  | { readonly type: "hello" };

/** Without a word of the reading tab for so long, the connection counts as lost; the server sends a comment every 15 s. */
const silenceMs = 60_000;

/**
 * As `follow`, with one connection for all tabs. Resolves when `signal` is aborted, or when the server wants its token
 * of this tab. Browsers have locks on secure origins and on this machine; elsewhere each tab has a stream of its own.
 */
export async function followTogether(
  since: number,
  listener: Listener,
  signal: AbortSignal,
): Promise<void> {
  const { locks } = navigator as { readonly locks?: LockManager };
  if (locks === undefined) return follow(since, listener, signal);
  const tab = new Tab(since, listener);
  try {
    await locks.request(name, { signal }, () => tab.lead(signal));
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    tab.close();
  }
}

/** What one tab knows of the series. */
class Tab {
  readonly #channel = new BroadcastChannel(name);
  readonly #listener: Listener;
  #last: number;
  #state: "live" | "lost" | null = null;
  #isLeader = false;
  #silence: ReturnType<typeof setTimeout> | null = null;

  constructor(since: number, listener: Listener) {
    this.#last = since;
    this.#listener = listener;
    this.#channel.onmessage = ({ data }: MessageEvent<Message>) => this.#received(data);
    this.#say({ type: "hello" });
  }

  /** Reads the stream for all tabs until it ends for this one. */
  async lead(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    this.#isLeader = true;
    if (this.#silence !== null) clearTimeout(this.#silence);
    const { event, connection, anew } = this.#listener;
    const said: Listener = {
      event: (one) => {
        this.#last = one.seq;
        this.#say({ type: "event", event: one });
        event(one);
      },
      anew: (last) => {
        this.#last = last;
        this.#say({ type: "anew", last });
        anew(last);
      },
      connection: (state) => {
        if (state !== "locked") this.#say({ type: "connection", state });
        this.#state = state === "live" ? "live" : "lost";
        connection(state);
      },
      alive: () => this.#say({ type: "alive" }),
    };
    await follow(this.#last, said, signal);
  }

  close(): void {
    if (this.#silence !== null) clearTimeout(this.#silence);
    this.#channel.close();
  }

  #say(message: Message): void {
    this.#channel.postMessage(message);
  }

  #received(message: Message): void {
    if (this.#isLeader) {
      const state = this.#state;
      if (message.type === "hello" && state !== null) this.#say({ type: "connection", state });
      return;
    }
    if (message.type === "hello") return;
    this.#waitForWord();
    if (message.type === "connection") this.#listener.connection(message.state);
    if (message.type === "anew") {
      this.#last = message.last;
      this.#listener.anew(message.last);
    }
    if (message.type === "event") this.#take(message.event);
  }

  /** Each event once and in order; what this tab has missed is read anew. */
  #take(event: StreamEvent): void {
    const { seq } = event;
    if (seq <= this.#last) return;
    if (seq > this.#last + 1) this.#listener.anew(seq);
    this.#last = seq;
    this.#listener.event(event);
  }

  #waitForWord(): void {
    if (this.#silence !== null) clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#listener.connection("lost"), silenceMs);
  }
}
