import type { Clock } from "../clock.ts";
import type { SymphonyEvent } from "../model/event.ts";
import type { History } from "../store/store.ts";

/** Limit on events not yet on disk; beyond it the older half is dropped at once, which keeps `add` cheap. */
const maxUnwritten = 10_000;
const batchSize = 1_000;
/** Bounds one turn of the event loop; the rest follows in the next turn. */
const batchesPerTurn = 5;
const firstRetryMs = 100;
const longestRetryMs = 5_000;
/** A longer outage no longer delays the live stream. */
const graceMs = 1_000;

interface JournalOptions {
  readonly history: History;
  readonly clock: Clock;
  /** Called once per outage. */
  readonly onError: (error: unknown) => void;
  /** Called when events cannot be written, and with null when they can again. */
  readonly onOutage?: ((error: unknown) => void) | undefined;
  /** Called when there is work: a retry of the write, or events to deliver that no longer wait for the disk. */
  readonly onDue: () => void;
}

interface Outage {
  retryMs: number;
  cancelRetry: () => void;
  readonly cancelGrace: () => void;
}

/**
 * Writes events to disk in order. While that fails it keeps them, retries (100 ms, doubling to 5 s), and releases them
 * for delivery after one second. At 10,000 the older half is dropped: delivered live, and recorded as placeholders
 * once the disk works again, so that the stored series never has a gap.
 */
export class EventJournal {
  readonly #options: JournalOptions;
  #unwritten: SymphonyEvent[] = [];
  #durableSeq: number;
  #lastSeq: number;
  #outage: Outage | null = null;
  #live = false;

  constructor(options: JournalOptions) {
    this.#options = options;
    this.#durableSeq = options.history.lastSeq();
    this.#lastSeq = this.#durableSeq;
  }

  get lastSeq(): number {
    return this.#lastSeq;
  }

  /** Events up to this seq may be delivered: they are on disk, or the disk has failed for too long. */
  get deliverableSeq(): number {
    return this.#live ? this.#lastSeq : this.#durableSeq;
  }

  get unwritten(): readonly SymphonyEvent[] {
    return this.#unwritten;
  }

  add(event: SymphonyEvent): void {
    this.#unwritten.push(event);
    this.#lastSeq = event.seq;
    if (this.#unwritten.length < maxUnwritten || !this.#outage) return;
    this.#live = true;
    this.#unwritten = this.#unwritten.slice(maxUnwritten / 2);
  }

  /** Writes the waiting events, unless an outage's own timer decides when. */
  write(): void {
    if (!this.#outage) this.#write(batchesPerTurn);
  }

  /** Writes all waiting events now. */
  writeAll(): void {
    this.#write(Number.POSITIVE_INFINITY);
  }

  close(): void {
    this.#outage?.cancelRetry();
    this.#outage?.cancelGrace();
  }

  #write(batches: number): void {
    try {
      for (let left = batches; left > 0 && this.#durableSeq < this.#lastSeq; left--) {
        this.#writeBatch();
      }
      this.#recovered();
      if (this.#durableSeq < this.#lastSeq) this.#options.onDue();
    } catch (error) {
      this.#failed(error);
    }
  }

  #writeBatch(): void {
    const batch = this.#nextBatch();
    this.#options.history.appendEvents(batch);
    this.#durableSeq += batch.length;
    const written = this.#unwritten.findIndex((event) => event.seq > this.#durableSeq);
    this.#unwritten = written === -1 ? [] : this.#unwritten.slice(written);
  }

  #nextBatch(): readonly SymphonyEvent[] {
    const first = this.#unwritten[0]?.seq ?? this.#lastSeq + 1;
    const missing = first - this.#durableSeq - 1;
    if (missing === 0) return this.#unwritten.slice(0, batchSize);
    const at = this.#options.clock.wall();
    const count = Math.min(missing, batchSize);
    return Array.from({ length: count }, (_, index) => lost(this.#durableSeq + 1 + index, at));
  }

  #recovered(): void {
    this.close();
    if (this.#outage) this.#options.onOutage?.(null);
    this.#outage = null;
    this.#live = false;
  }

  #failed(error: unknown): void {
    const { clock, onError, onDue } = this.#options;
    if (!this.#outage) {
      const cancelGrace = clock.after(graceMs, () => {
        this.#live = true;
        onDue();
      });
      this.#outage = { retryMs: firstRetryMs, cancelRetry: () => undefined, cancelGrace };
      onError(error);
      this.#options.onOutage?.(error);
    }
    const outage = this.#outage;
    outage.cancelRetry();
    outage.cancelRetry = clock.after(outage.retryMs, () => {
      this.#write(batchesPerTurn);
      onDue();
    });
    outage.retryMs = Math.min(outage.retryMs * 2, longestRetryMs);
  }
}

function lost(seq: number, at: number): SymphonyEvent {
  return {
    seq,
    type: "agent.notice",
    at,
    issueId: null,
    issueIdentifier: null,
    attemptId: null,
    sessionId: null,
    message: "This event was not kept: storage was unavailable",
    data: { lost: true },
  };
}
