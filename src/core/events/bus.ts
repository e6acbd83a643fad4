import type { Clock } from "../clock.ts";
import type { EventDraft, EventType, SymphonyEvent } from "../model/event.ts";
import type { EventSink, History } from "../store/store.ts";
import { cut, oneLine } from "../text/text.ts";
import { EventJournal } from "./journal.ts";

const replayPageSize = 500;
const replayRetryMs = 1_000;

/** Which events a subscriber wants; what is left out does not matter to it. */
export interface EventFilter {
  /** In any case. */
  readonly issueIdentifiers?: readonly string[];
  readonly attemptId?: string;
  readonly types?: readonly EventType[];
}

export interface Subscription {
  /** Everything after this seq comes first; default: only what is published from now on. */
  readonly afterSeq?: number;
  readonly filter?: EventFilter;
}

/** The one series of events: numbered, put on disk, then shown to subscribers in order. */
export interface Bus extends EventSink {
  /** The seq given out last; its event may still be on its way to the disk. */
  readonly lastSeq: number;
  /**
   * Calls `listener` for each matching event, in seq order, without gap or repeat, never before this returns. Replayed
   * pages and live events come from the event loop, so a listener must not wait. Returns how to stop.
   */
  subscribe(options: Subscription, listener: (event: SymphonyEvent) => void): () => void;
  /** Writes and delivers what was published, now. Does nothing when called by a listener. */
  flush(): void;
  /** A last flush; timers and subscribers end. */
  close(): void;
}

interface BusOptions {
  readonly history: History;
  readonly clock: Clock;
  /** Takes secrets out of every message and its data. */
  readonly redact: (text: string) => string;
  /** Hears of an outage of the storage and of a throwing listener, once each. */
  readonly onError: (error: unknown) => void;
  /** Hears when the storage takes no events, and with null when it does again. */
  readonly onOutage?: (error: unknown) => void;
}

interface Subscriber {
  /** The last seq seen or passed over. */
  cursor: number;
  live: boolean;
  active: boolean;
  complained: boolean;
  readonly filter: EventFilter;
  readonly matches: (event: SymphonyEvent) => boolean;
  readonly listener: (event: SymphonyEvent) => void;
}

export function createBus(options: BusOptions): Bus {
  return new EventBus(options);
}

/**
 * Delivery follows durability. When the disk is away for more than a second, events are delivered live all the same and
 * written later; a client that reconnects in a very long outage then misses those beyond the journal's bound.
 */
class EventBus implements Bus {
  readonly #options: BusOptions;
  readonly #journal: EventJournal;
  readonly #subscribers = new Set<Subscriber>();
  #undelivered: SymphonyEvent[] = [];
  #deliveredSeq: number;
  #scheduled = false;
  #flushing = false;
  #closed = false;

  constructor(options: BusOptions) {
    this.#options = options;
    this.#journal = new EventJournal({
      history: options.history,
      clock: options.clock,
      onError: (error) => this.#complain(error),
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
    this.#journal.add(event);
    this.#undelivered.push(event);
    this.#schedule();
  }

  subscribe(options: Subscription, listener: (event: SymphonyEvent) => void): () => void {
    const filter = options.filter ?? {};
    const subscriber: Subscriber = {
      // A number of before a power cut, or of another data directory, may be ahead of us.
      cursor: Math.min(options.afterSeq ?? this.lastSeq, this.lastSeq),
      live: false,
      active: true,
      complained: false,
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

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#work(() => this.#journal.write());
    });
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
      if (!subscriber.complained) this.#complain(error);
      subscriber.complained = true;
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

  #complain(error: unknown): void {
    try {
      this.#options.onError(error);
    } catch {
      // Nobody is left to tell, and the scheduler must go on.
    }
  }
}

function matcher(filter: EventFilter): (event: SymphonyEvent) => boolean {
  const types = filter.types ? new Set<string>(filter.types) : null;
  const names = filter.issueIdentifiers ? new Set(filter.issueIdentifiers.map(folded)) : null;
  const { attemptId } = filter;
  return (event) =>
    (types === null || types.has(event.type)) &&
    (attemptId === undefined || attemptId === event.attemptId) &&
    (names === null ||
      (event.issueIdentifier !== null && names.has(folded(event.issueIdentifier))));
}

/** Only ASCII letters, as in the history's own comparison. */
function folded(identifier: string): string {
  return identifier.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
}

const maxMessageChars = 1_000;
const maxValueChars = 16 * 1024;
const maxDataChars = 256 * 1024;
/** Text is redacted before it is cut, lest half a secret stays; far beyond the cut nobody looks. */
const maxScannedChars = 64 * 1024;

interface Stamp {
  readonly seq: number;
  readonly at: number;
  readonly redact: (text: string) => string;
}

/** The event of a draft: one safe line as message, JSON-safe data of bounded size, no known secret in either. Never throws. */
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

/** Redacted twice: a value may span lines, and one torn apart by control characters appears only without them. */
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
