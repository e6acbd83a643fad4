import { within } from "../clock.ts";
import type { PgClient } from "./packages.ts";

const connectMs = 5_000;
/** A connection that missed something is made anew, but not more often. */
const doubtMs = 10_000;

/** The notifications of a PostgreSQL. They only shorten a wait: whoever waits looks for itself afterwards. */
export class Wakeups {
  readonly #make: () => PgClient;
  #client: PgClient | null = null;
  #connecting = false;
  #madeAt = Number.NEGATIVE_INFINITY;
  readonly #listened = new Set<string>();
  /** Told of, and not waited for since. */
  readonly #told = new Set<string>();
  #wake: () => void = () => {};
  #isClosed = false;

  constructor(make: () => PgClient) {
    this.#make = make;
  }

  /** Resolves with whether one of the channels was notified since the last wait, `ms` later at most. Never rejects. */
  async wait(channels: ReadonlySet<string>, ms: number): Promise<boolean> {
    void this.#listen(channels);
    const isTold = () => [...channels].some((channel) => this.#told.delete(channel));
    if (isTold()) return true;
    const woken = Promise.withResolvers<void>();
    this.#wake = () => woken.resolve();
    const late = setTimeout(woken.resolve, ms);
    await woken.promise;
    clearTimeout(late);
    return isTold();
  }

  /** Something came without its notification: its connection may be half open, or a pooler's. */
  doubt(): void {
    if (performance.now() - this.#madeAt > doubtMs) this.#drop();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#wake();
    this.#drop();
  }

  async #listen(channels: ReadonlySet<string>): Promise<void> {
    if (this.#connecting || this.#isClosed) return;
    const missing = [...channels].filter((channel) => !this.#listened.has(channel));
    if (this.#client !== null && missing.length === 0) return;
    this.#connecting = true;
    try {
      const client = this.#client ?? (await this.#connect());
      for (const channel of missing) {
        await client.query(`LISTEN "${channel.replaceAll('"', '""')}"`);
        if (client === this.#client) this.#listened.add(channel);
      }
      // What came before is found now.
      for (const channel of missing) this.#told.add(channel);
      this.#wake();
    } catch {
      this.#drop();
    } finally {
      this.#connecting = false;
    }
  }

  async #connect(): Promise<PgClient> {
    const client = this.#make();
    const lost = () => {
      if (client === this.#client) this.#drop();
    };
    client.on("error", lost);
    client.on("end", lost);
    client.on("notification", ({ channel }) => {
      this.#told.add(channel);
      this.#wake();
    });
    this.#madeAt = performance.now();
    await client.connect();
    if (this.#isClosed) {
      void client.end().catch(() => {});
      throw new Error("it was closed meanwhile");
    }
    this.#client = client;
    return client;
  }

  #drop(): void {
    const client = this.#client;
    this.#client = null;
    this.#listened.clear();
    if (client !== null)
      void within(
        client.end().catch(() => {}),
        connectMs,
      );
  }
}
