// The single series of events: bus, journal, log and meter.

import type { Clock } from "../clock.ts";
import type { EventDraft, EventType, SymphonyEvent } from "../model/event.ts";
import type { EventSink, History } from "../store/store.ts";
import { cut, oneLine } from "../text/text.ts";
import { noteCause } from "./causes.ts";
import { EventJournal } from "./journal.ts";

/**
 * After more commits than this in a tenth of a second, and until there are fewer events than that, they are written every 25 ms
 * instead of in every turn of the event loop: a commit costs as much as the rows of forty events.
 */
const busyWrites = 20;
const busyEvents = 50;
const busyMs = 100;
const batchMs = 25;

const replayPageSize = 500;
const replayRetryMs = 1_000;

/** Which events a subscriber receives; an absent field does not filter. */
export interface EventFilter {
  /** Compared without regard to case. */
  readonly issueIdentifiers?: readonly string[];
  /** In addition to those of `issueIdentifiers`: an identifier may change while a subscriber listens. */
  readonly issueIds?: readonly string[];
  readonly attemptId?: string;
  readonly types?: readonly EventType[];
}

export interface Subscription {
  /** Start with everything after this seq; default: only new events. */
  readonly afterSeq?: number;
  readonly filter?: EventFilter;
}

/** The single series of events: numbered, written to disk, then delivered to subscribers in order. */
export interface Bus extends EventSink {
  /** The last seq assigned; its event may not be on disk yet. */
  readonly lastSeq: number;
  /**
   * Calls `listener` for each matching event, in seq order, without gap or repeat, never before this returns. Replayed
   * pages and live events come from the event loop, so a listener must not wait. Returns how to stop.
   */
  subscribe(options: Subscription, listener: (event: SymphonyEvent) => void): () => void;
  /** Writes and delivers published events now. Does nothing when called by a listener. */
  flush(): void;
  /** A last flush; timers and subscriptions end. */
  close(): void;
}

interface BusOptions {
  readonly history: History;
  readonly clock: Clock;
  /** Removes secrets from every message and its data. */
  readonly redact: (text: string) => string;
  /** Called once for each outage of the storage, and once for each listener that throws. */
  readonly onError: (error: unknown) => void;
  /** Called when the storage refuses events, and with null when it accepts them again. */
  readonly onOutage?: (error: unknown) => void;
}

interface Subscriber {
  /** The last seq delivered or skipped. */
  cursor: number;
  live: boolean;
  active: boolean;
  reported: boolean;
  readonly filter: EventFilter;
  readonly matches: (event: SymphonyEvent) => boolean;
  readonly listener: (event: SymphonyEvent) => void;
}

export function createBus(options: BusOptions): Bus {
  return new EventBus(options);
}

/**
 * Delivery follows durability. When the disk has failed for more than a second, events are delivered live anyway and
 * written later; a client that reconnects during a very long outage misses those beyond the journal's bound.
 */
class EventBus implements Bus {
  readonly #options: BusOptions;
  readonly #journal: EventJournal;
  readonly #subscribers = new Set<Subscriber>();
  #undelivered: SymphonyEvent[] = [];
  #deliveredSeq: number;
  #scheduled = false;
  /** Since `countedFrom`, which begins anew every tenth of a second. */
  readonly #pace = { events: 0, writes: 0, countedFrom: 0, isBusy: false };
  #flushing = false;
  #closed = false;

  constructor(options: BusOptions) {
    this.#options = options;
    this.#journal = new EventJournal({
      history: options.history,
      clock: options.clock,
      onError: (error) => this.#report(error),
      onOutage: options.onOutage,
      onDue: () => this.#schedule(),
    });
    this.#deliveredSeq = this.#journal.lastSeq;
  }

  get lastSeq(): number {
    return this.#journal.lastSeq;
  }

  publish(draft: EventDraft): void {
    if (this.#closed) return;
    const { clock, redact } = this.#options;
    const event = cleanEvent(draft, { seq: this.lastSeq + 1, at: clock.wall(), redact });
    noteCause(event);
    this.#journal.add(event);
    this.#undelivered.push(event);
    this.#schedule(this.#isBusy() ? batchMs : 0);
  }

  /** Counts this event; true at a rate at which events are written together. */
  #isBusy(): boolean {
    const pace = this.#pace;
    const now = performance.now();
    const since = now - pace.countedFrom;
    if (since >= busyMs) {
      const isBusy = pace.isBusy && pace.events > busyEvents && since < 2 * busyMs;
      Object.assign(pace, { events: 0, writes: 0, countedFrom: now, isBusy });
    }
    pace.events += 1;
    pace.isBusy ||= pace.writes > busyWrites;
    return pace.isBusy;
  }

  subscribe(options: Subscription, listener: (event: SymphonyEvent) => void): () => void {
    const filter = options.filter ?? {};
    const subscriber: Subscriber = {
      // A number from before a power cut, or from another data directory, may be ahead of this series.
      cursor: Math.min(options.afterSeq ?? this.lastSeq, this.lastSeq),
      live: false,
      active: true,
      reported: false,
      filter,
      matches: matcher(filter),
      listener,
    };
    this.#subscribers.add(subscriber);
    subscriber.live = subscriber.cursor >= this.#deliveredSeq;
    if (!subscriber.live) setImmediate(() => this.#replay(subscriber));
    return () => {
      subscriber.active = false;
      this.#subscribers.delete(subscriber);
    };
  }

  flush(): void {
    this.#work(() => this.#journal.writeAll());
  }

  close(): void {
    if (this.#closed) return;
    this.flush();
    this.#closed = true;
    this.#journal.close();
    for (const subscriber of this.#subscribers) subscriber.active = false;
    this.#subscribers.clear();
  }

  #schedule(delayMs = 0): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    const write = () => {
      this.#scheduled = false;
      this.#pace.writes += 1;
      this.#work(() => this.#journal.write());
    };
    if (delayMs > 0) setTimeout(write, delayMs);
    else setImmediate(write);
  }

  #work(write: () => void): void {
    if (this.#flushing || this.#closed) return;
    this.#flushing = true;
    write();
    this.#deliver();
    this.#flushing = false;
  }

  #deliver(): void {
    const limit = this.#journal.deliverableSeq;
    const held = this.#undelivered.findIndex((event) => event.seq > limit);
    const ready = held === -1 ? this.#undelivered : this.#undelivered.slice(0, held);
    this.#undelivered = held === -1 ? [] : this.#undelivered.slice(held);
    for (const event of ready) {
      this.#deliveredSeq = event.seq;
      for (const subscriber of [...this.#subscribers]) {
        if (subscriber.live) this.#offer(subscriber, event);
      }
    }
  }

  #offer(subscriber: Subscriber, event: SymphonyEvent): void {
    if (!subscriber.active || event.seq <= subscriber.cursor) return;
    subscriber.cursor = event.seq;
    if (!subscriber.matches(event)) return;
    try {
      subscriber.listener(event);
    } catch (error) {
      if (!subscriber.reported) this.#report(error);
      subscriber.reported = true;
    }
  }

  /** One page from the history in each turn of the event loop, then the rest from memory, then live. */
  #replay(subscriber: Subscriber): void {
    if (!subscriber.active) return;
    const { history, clock } = this.#options;
    try {
      const query = { ...subscriber.filter, afterSeq: subscriber.cursor, limit: replayPageSize };
      const durableSeq = history.lastSeq();
      const page = history.events(query);
      for (const event of page) this.#offer(subscriber, event);
      if (page.length === replayPageSize) {
        setImmediate(() => this.#replay(subscriber));
        return;
      }
      subscriber.cursor = Math.max(subscriber.cursor, durableSeq);
    } catch {
      clock.after(replayRetryMs, () => this.#replay(subscriber));
      return;
    }
    for (const event of [...this.#journal.unwritten]) {
      if (event.seq <= this.#deliveredSeq) this.#offer(subscriber, event);
    }
    subscriber.live = true;
  }

  #report(error: unknown): void {
    try {
      this.#options.onError(error);
    } catch {
      // The error handler itself failed; the scheduler must continue.
    }
  }
}

function matcher(filter: EventFilter): (event: SymphonyEvent) => boolean {
  const types = filter.types ? new Set<string>(filter.types) : null;
  const names = filter.issueIdentifiers ? new Set(filter.issueIdentifiers.map(folded)) : null;
  const ids = new Set(filter.issueIds);
  const { attemptId } = filter;
  const isOf = ({ issueId, issueIdentifier }: SymphonyEvent) =>
    (issueId !== null && ids.has(issueId)) ||
    (issueIdentifier !== null && names?.has(folded(issueIdentifier)) === true);
  return (event) =>
    (types === null || types.has(event.type)) &&
    (attemptId === undefined || attemptId === event.attemptId) &&
    (names === null || isOf(event));
}

/** ASCII letters only, as in the history's own comparison. */
function folded(identifier: string): string {
  return identifier.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
}

const maxMessageChars = 1_000;
const maxValueChars = 16 * 1024;
const maxDataChars = 256 * 1024;
/** Redact before truncating, so that no partial secret survives. Only the first 64 KiB are scanned. */
const maxScannedChars = 64 * 1024;

interface Stamp {
  readonly seq: number;
  readonly at: number;
  readonly redact: (text: string) => string;
}

/** The event of a draft: message on one safe line, bounded JSON-safe data, no known secret in either. Never throws. */
function cleanEvent(draft: EventDraft, { seq, at, redact }: Stamp): SymphonyEvent {
  return {
    seq,
    type: draft.type,
    at,
    issueId: draft.issueId ?? null,
    issueIdentifier: draft.issueIdentifier ?? null,
    attemptId: draft.attemptId ?? null,
    sessionId: draft.sessionId ?? null,
    message: cleanMessage(draft.message, redact),
    data: cleanData(draft.data ?? {}, redact),
  };
}

/** Redacted twice: a value may span lines, and one split by control characters is found only after they are removed. */
function cleanMessage(message: string, redact: (text: string) => string): string {
  const line = oneLine(redact(message.slice(0, maxScannedChars)), Number.POSITIVE_INFINITY);
  return cut(redact(line), maxMessageChars);
}

function cleanData(
  data: Readonly<Record<string, unknown>>,
  redact: (text: string) => string,
): Readonly<Record<string, unknown>> {
  try {
    const json = JSON.stringify(data, (_key, value) => cleanValue(value, redact));
    if (json.length > maxDataChars) return { truncated: true, chars: json.length };
    return JSON.parse(json);
  } catch {
    return { unreadable: true };
  }
}

function cleanValue(value: unknown, redact: (text: string) => string): unknown {
  if (typeof value === "string") {
    return cut(redact(value.slice(0, maxScannedChars).toWellFormed()), maxValueChars);
  }
  if (typeof value === "bigint") return String(value);
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [redact(key), item]));
}
