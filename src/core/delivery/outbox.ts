import type { Clock } from "../clock.ts";
import type { Logger } from "../events/log.ts";
import { messageOf } from "../model/errors.ts";
import type { DeliveryStore, Entry } from "./store.ts";

/** What became of one write. */
export type Written =
  | { readonly outcome: "done" }
  /** Nothing is wrong, but it is not its time yet. */
  | { readonly outcome: "later"; readonly at: number; readonly reason: string }
  /** It may succeed later: tried again after 1, 5 and then every 30 minutes, or at `at`. */
  | { readonly outcome: "failed"; readonly reason: string; readonly at?: number | null }
  /** No retry mends it. */
  | { readonly outcome: "final"; readonly reason: string }
  /** It is not wanted any more. */
  | { readonly outcome: "dropped" };

export interface OutboxDeps {
  readonly clock: Clock;
  readonly store: Pick<DeliveryStore, "due" | "nextDue" | "settle">;
  readonly log: Pick<Logger, "error">;
  /**
   * Makes the write, or recognizes that an earlier try has made it: an answer may have been lost.
   * A rejection counts as `failed`.
   */
  write(entry: Entry, signal: AbortSignal): Promise<Written>;
  /** Called after each try. */
  onWritten(entry: Entry, written: Written): void;
}

const minuteMs = 60_000;
const waits: readonly number[] = [minuteMs, 5 * minuteMs];
const longestWaitMs = 30 * minuteMs;
/** Until the disk is asked again that has refused something. */
const refusedMs = 5_000;

/** When a write is tried again after `tries` failures. */
export function retryDelay(tries: number): number {
  return waits[tries] ?? longestWaitMs;
}

/**
 * The one worker of all writes to other systems. An entry is on disk before it is made; entries of
 * one target are made in their order, those of different targets independently.
 */
export class Outbox {
  readonly #deps: OutboxDeps;
  readonly #leaving = new AbortController();
  readonly #busy = new Map<string, Promise<void>>();
  /** What was tried and could not be recorded, by target: it is not made again before. */
  readonly #unrecorded = new Map<string, () => void>();
  #refusedUntil = Number.NEGATIVE_INFINITY;
  #cancel: (() => void) | null = null;
  #stopped = false;

  constructor(deps: OutboxDeps) {
    this.#deps = deps;
  }

  /** Starts what is due now. Returns at once, and never throws: what the disk refuses waits for it. */
  kick(): void {
    if (this.#stopped || this.#deps.clock.now() < this.#refusedUntil) return;
    try {
      for (const record of this.#unrecorded.values()) record();
      this.#start();
      this.#plan();
    } catch (error) {
      this.#refused(error);
    }
  }

  #start(): void {
    const { clock, store } = this.#deps;
    for (const entry of store.due(clock.wall())) {
      if (this.#busy.has(entry.target)) continue;
      const work = this.#make(entry).finally(() => {
        this.#busy.delete(entry.target);
        this.kick();
      });
      this.#busy.set(entry.target, work);
    }
  }

  /** Everything stays on disk as it is, and is looked at again soon. */
  #refused(error: unknown): void {
    const { clock, log } = this.#deps;
    log.error("outbox", { reason: messageOf(error) });
    if (this.#stopped) return;
    this.#refusedUntil = clock.now() + refusedMs;
    this.#cancel?.();
    this.#cancel = clock.after(refusedMs, () => this.kick());
  }

  /** Resolves when nothing is being written to `target`. */
  async settled(target: string): Promise<void> {
    for (let work = this.#busy.get(target); work; work = this.#busy.get(target)) await work;
  }

  /** Resolves when nothing is being written; what waits for a later time is not waited for. */
  async idle(): Promise<void> {
    while (this.#busy.size > 0) await Promise.allSettled(this.#busy.values());
  }

  /** Lets the current writes end within `graceMs`, and starts no other. */
  async close(graceMs = 5_000): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    const over = Promise.allSettled(this.#busy.values());
    const cancel = this.#deps.clock.after(graceMs, () => this.#leaving.abort());
    await over;
    cancel();
    this.#leaving.abort();
  }

  async #make(entry: Entry): Promise<void> {
    const { write } = this.#deps;
    const written = await write(entry, this.#leaving.signal).catch(
      (error: unknown): Written => ({ outcome: "failed", reason: messageOf(error) }),
    );
    // A server that stops has not tried it.
    if (this.#leaving.signal.aborted && written.outcome === "failed") return;
    this.#unrecorded.set(entry.target, () => this.#record(entry, written));
    try {
      this.#record(entry, written);
    } catch (error) {
      this.#refused(error);
    }
  }

  #record(entry: Entry, written: Written): void {
    const { store, clock, onWritten } = this.#deps;
    switch (written.outcome) {
      case "done":
      case "dropped":
        store.settle(entry.id, { state: written.outcome });
        break;
      case "final":
        store.settle(entry.id, { state: "final", error: written.reason });
        break;
      case "later":
        store.settle(entry.id, {
          ...{ error: written.reason, due: written.at },
          ...{ state: "waiting", wasTried: false },
        });
        break;
      case "failed": {
        const due = written.at ?? clock.wall() + retryDelay(entry.tries);
        store.settle(entry.id, { state: "waiting", error: written.reason, due });
      }
    }
    this.#unrecorded.delete(entry.target);
    onWritten(entry, written);
  }

  #plan(): void {
    this.#cancel?.();
    this.#cancel = null;
    if (this.#stopped) return;
    const { clock, store } = this.#deps;
    const due = store.nextDue();
    if (due === null) return;
    const delayMs = Math.min(Math.max(due - clock.wall(), 100), longestWaitMs);
    this.#cancel = clock.after(delayMs, () => this.kick());
  }
}
