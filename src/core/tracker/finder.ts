import { type Clock, pause } from "../clock.ts";
import { SymphonyError } from "../model/errors.ts";
import type { FoundIssue, Tracker } from "./tracker.ts";

/** A found issue, and when the tracker described it (epoch ms). */
export interface Found extends FoundIssue {
  readonly atWall: number;
}

interface FinderDeps {
  readonly clock: Clock;
  tracker(): Tracker;
}

/** How long an answer is used again. */
const freshMs = 10_000;
/** Shortest time between two requests. */
const spacingMs = 1_000;
/** A lookup that would have to wait longer for its turn is refused. */
const longestWaitMs = 5_000;
const mostKept = 256;

interface Asked {
  readonly at: number;
  readonly answer: Promise<Found | null>;
}

/**
 * Looks single issues up by their identifiers, for people who ask about them and never for a poll: at
 * most one request a second, and an answer is used again for 10 s. Changes nothing.
 */
export class IssueFinder {
  readonly #deps: FinderDeps;
  readonly #asked = new Map<string, Asked>();
  readonly #known = new Map<string, Found>();
  #tracker: Tracker | null = null;
  #notBefore = Number.NEGATIVE_INFINITY;

  constructor(deps: FinderDeps) {
    this.#deps = deps;
  }

  /** null: the tracker has no such issue, or cannot be asked for one. Rejects with a tracker's code. */
  find(identifier: string): Promise<Found | null> {
    const tracker = this.#current();
    if (!tracker.find) return Promise.resolve(null);
    const key = keyOf(identifier);
    const now = this.#deps.clock.now();
    const asked = this.#asked.get(key);
    if (asked && now - asked.at < freshMs) return asked.answer;
    const waitMs = Math.max(this.#notBefore - now, 0);
    if (waitMs > longestWaitMs) return Promise.reject(busy(tracker, identifier));
    this.#notBefore = now + waitMs + spacingMs;
    const answer = this.#ask(tracker, identifier, waitMs);
    put(this.#asked, key, { at: now + waitMs, answer });
    // A failure answers the calls that wait for it: the next one sends a new request.
    answer.catch(() => {
      if (this.#asked.get(key)?.answer === answer) this.#asked.delete(key);
    });
    return answer;
  }

  /** The issue has changed since: its answer is not used again, those of others are. */
  forget(identifier: string): void {
    this.#asked.delete(keyOf(identifier));
  }

  /** The last description that the tracker gave of the issue, however old; null: none is known. */
  lastKnown(identifier: string): Found | null {
    this.#current();
    return this.#known.get(keyOf(identifier)) ?? null;
  }

  async #ask(tracker: Tracker, identifier: string, waitMs: number): Promise<Found | null> {
    const { clock } = this.#deps;
    if (waitMs > 0) await pause(clock, waitMs, new AbortController().signal);
    const issue = (await tracker.find?.(identifier)) ?? null;
    const found = issue && { ...issue, atWall: clock.wall() };
    if (found) put(this.#known, keyOf(identifier), found);
    else this.#known.delete(keyOf(identifier));
    return found;
  }

  /** What another tracker, or the same with other settings, said is no answer. */
  #current(): Tracker {
    const tracker = this.#deps.tracker();
    if (tracker !== this.#tracker) {
      this.#asked.clear();
      this.#known.clear();
    }
    this.#tracker = tracker;
    return tracker;
  }
}

function keyOf(identifier: string): string {
  return identifier.trim().toLowerCase();
}

/** The newest come last; the oldest are dropped. */
function put<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (oldest !== undefined && map.size > mostKept) map.delete(oldest);
}

function busy({ kind }: Tracker, identifier: string): SymphonyError {
  const message = `${identifier} cannot be looked up now: too many issues are being looked up in the ${kind} tracker`;
  return new SymphonyError("tracker_rate_limited", message, {
    details: { tracker: kind, retryAfterMs: longestWaitMs },
    hint: "try again in some seconds",
  });
}
