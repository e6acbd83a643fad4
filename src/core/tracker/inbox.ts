import { join } from "node:path";
import type { Clock } from "../clock.ts";
import type { Logger } from "../events/log.ts";
import type { DeliveryOutcome, Meter } from "../events/meter.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import type { EventDraft } from "../model/event.ts";
import { openDatabase } from "../store/database.ts";
import type { AuditEntry } from "../store/store.ts";
import { sameText } from "../text/text.ts";
import { LinearEvent } from "./linear/event.ts";
import { signatureOf } from "./linear/webhook.ts";

interface Waiting<T> {
  readonly item: T;
  readonly done: PromiseWithResolvers<void>;
}

/**
 * Commits what comes in during one turn of the event loop together: the disk is what takes the time, and it is waited for
 * once. Each item is told of the commit that it was part of.
 */
export class GroupCommit<T> {
  readonly #commit: (items: readonly T[]) => void;
  #waiting = new Map<string, Waiting<T>>();

  constructor(commit: (items: readonly T[]) => void) {
    this.#commit = commit;
  }

  /** Resolves once `item` is committed; rejects with why its group was not. */
  add(key: string, item: T): Promise<void> {
    if (this.#waiting.size === 0) setImmediate(() => this.flush());
    const done = Promise.withResolvers<void>();
    this.#waiting.set(key, { item, done });
    return done.promise;
  }

  /** The end of an item that waits for its commit. */
  pending(key: string): Promise<void> | undefined {
    return this.#waiting.get(key)?.done.promise;
  }

  /** Commits what waits, now. */
  flush(): void {
    const group = [...this.#waiting.values()];
    if (group.length === 0) return;
    this.#waiting = new Map();
    try {
      this.#commit(group.map(({ item }) => item));
      for (const { done } of group) done.resolve();
    } catch (error) {
      for (const { done } of group) done.reject(error);
    }
  }
}

export interface InboxDeps {
  readonly clock: Clock;
  readonly log: Logger;
  /** Looked up for each delivery; null refuses them all. */
  secret(): string | null;
  /** The durable list, opened when first asked for. */
  deliveries(): Deliveries;
  readonly meter: Meter;
  publish(event: EventDraft): void;
  audit(entries: readonly AuditEntry[]): void;
  /** Tells the scheduler to look at one issue. */
  hint(issueId: string): void;
  /** Tells of a new comment. */
  comment(commentId: string, issueId: string): void;
  /** Closes the list, if it was opened. */
  close(): void;
}

export interface Receipt {
  /** True when the same delivery came in before; then nothing was done. */
  readonly duplicate: boolean;
  /** How much of the limit is left for those who sign. */
  readonly rate: RateStanding;
}

/** A delivery and what it says. */
interface Signed {
  readonly delivery: StoredDelivery;
  readonly event: LinearEvent;
}

const toleranceMs = 60_000;
const minuteMs = 60_000;
const genuineAMinute = 600;
/** What is not signed, not fresh or not new: room enough for a wrong secret to be seen, not for a flood. */
const otherAMinute = 300;

/**
 * The deliveries that Linear signs (SAFETY T20). A payload is a hint and nothing more: it names an issue to read again, and
 * is believed in nothing else. What is lost costs one poll.
 */
export class WebhookInbox {
  readonly #parts: InboxDeps;
  readonly #genuine: RateWindow;
  readonly #other: RateWindow;
  readonly #commits = new GroupCommit<Signed>((group) => this.#commit(group));
  readonly #complained = new Map<string, { readonly at: number; untold: number }>();

  constructor(parts: InboxDeps) {
    const { clock } = parts;
    this.#parts = parts;
    this.#genuine = new RateWindow({ limit: genuineAMinute, windowMs: minuteMs, clock });
    this.#other = new RateWindow({ limit: otherAMinute, windowMs: minuteMs, clock });
  }

  get configured(): boolean {
    return this.#parts.secret() !== null;
  }

  /**
   * Takes one delivery; when it resolves, the delivery is on disk and the scheduler knows. Rejects with
   * `webhook_not_configured`, `unauthorized` (signature, time), `invalid_request`, `rate_limited`, or the storage's codes.
   */
  async receive(body: Uint8Array, given: string | undefined): Promise<Receipt> {
    try {
      const receipt = await this.#receive(body, given);
      this.#count(receipt.duplicate ? "duplicate" : "accepted");
      return receipt;
    } catch (error) {
      this.#count(error instanceof SymphonyError ? error.code : "internal_error");
      throw error;
    }
  }

  close(): void {
    this.#commits.flush();
    this.#parts.close();
  }

  async #receive(body: Uint8Array, given: string | undefined): Promise<Receipt> {
    const signature = this.#verified(body, given);
    const event = this.#read(body);
    this.#requireFresh(event);
    const pending = this.#commits.pending(signature);
    if (pending || this.#parts.deliveries().has(signature)) {
      this.#takeOther();
      await pending;
      return { duplicate: true, rate: this.#genuine.standing() };
    }
    if (!this.#genuine.take()) throw rateLimited(this.#genuine.standing());
    const issueId = event.type === "Issue" ? (event.data?.id ?? null) : null;
    const at = this.#parts.clock.wall();
    const { type, action } = event;
    const delivery = { signature, type, action, issueId, at };
    await this.#commits.add(signature, { delivery, event });
    return { duplicate: false, rate: this.#genuine.standing() };
  }

  #commit(group: readonly Signed[]): void {
    this.#parts.deliveries().add(group.map(({ delivery }) => delivery));
    for (const signed of group) this.#act(signed);
    this.#audit(group);
  }

  #count(outcome: DeliveryOutcome): void {
    this.#parts.meter.report({ type: "webhook.delivery", outcome });
  }

  #verified(body: Uint8Array, given: string | undefined): string {
    const secret = this.#parts.secret();
    if (secret === null) {
      throw new SymphonyError("webhook_not_configured", "no webhook secret is set here", {
        hint: "set LINEAR_WEBHOOK_SECRET to the signing secret that Linear shows for the webhook",
      });
    }
    const signature = signatureOf(body, secret);
    if (given !== undefined && sameText(given.trim().toLowerCase(), signature)) {
      return signature;
    }
    this.#takeOther();
    const reason = given === undefined ? "no signature" : "wrong signature";
    this.#complain(reason, {});
    throw unauthorized(
      `the delivery has ${reason === "no signature" ? "no" : "a wrong"} signature`,
    );
  }

  #read(body: Uint8Array): LinearEvent {
    const result = LinearEvent.safeParse(jsonOf(body));
    if (result.success) return result.data;
    this.#takeOther();
    const issues = result.error.issues.map(({ path, message }) => ({
      path: path.join("."),
      message,
    }));
    throw new SymphonyError("invalid_request", "the body is not an event of Linear", {
      details: { issues },
    });
  }

  /** The time that was signed counts, never a header. */
  #requireFresh({ webhookTimestamp }: LinearEvent): void {
    const skewMs = Math.round(this.#parts.clock.wall() - webhookTimestamp);
    if (Math.abs(skewMs) <= toleranceMs) return;
    this.#takeOther();
    this.#complain("stale", {
      skew_ms: skewMs,
      tolerance_ms: toleranceMs,
      hint: "an old delivery sent again, or this machine's clock is wrong",
    });
    const seconds = Math.round(Math.abs(skewMs) / 1_000);
    throw unauthorized(
      `the delivery was signed ${seconds} s ${skewMs > 0 ? "ago" : "ahead"} by this clock; 60 s are allowed`,
    );
  }

  #act({ event, delivery: { issueId } }: Signed): void {
    const { type, action, data } = event;
    const { publish, hint, comment } = this.#parts;
    const issueIdentifier = identifierIn(event);
    publish({
      type: "webhook.received",
      issueId,
      issueIdentifier,
      message: `Linear told of ${type} ${action}${issueIdentifier === null ? "" : `: ${issueIdentifier}`}`,
      data: { type, action },
    });
    if (issueId !== null) hint(issueId);
    const commented = type === "Comment" && action === "create" ? data?.["issueId"] : undefined;
    if (data?.id !== undefined && typeof commented === "string") comment(data.id, commented);
  }

  #audit(group: readonly Signed[]): void {
    const { audit, log } = this.#parts;
    const action = "webhooks.linear";
    try {
      audit(
        group.map(({ event, delivery: { issueId, at } }) => ({
          ...{ at, actor: "webhook", action, outcome: "ok" },
          target: identifierIn(event) ?? issueId,
          detail: { type: event.type, action: event.action },
        })),
      );
    } catch (error) {
      log.error("audit failed", { action, error: messageOf(error) });
    }
  }

  #takeOther(): void {
    if (!this.#other.take()) throw rateLimited(this.#other.standing());
  }

  /** Once a minute for each reason: a flood must not fill the log. */
  #complain(reason: string, fields: Readonly<Record<string, unknown>>): void {
    const now = this.#parts.clock.now();
    const last = this.#complained.get(reason);
    if (last && now - last.at < minuteMs) {
      last.untold += 1;
      return;
    }
    this.#complained.set(reason, { at: now, untold: 0 });
    const untold = last?.untold ?? 0;
    this.#parts.log.warn("webhook refused", { reason, ...fields, ...(untold > 0 && { untold }) });
  }
}

function jsonOf(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    return undefined;
  }
}

/** What people call the issue, where it looks like it; else nothing is shown. */
function identifierIn({ type, data }: LinearEvent): string | null {
  if (type !== "Issue" || data?.id === undefined) return null;
  const given = data.identifier;
  return given !== undefined && /^[A-Za-z0-9_]{1,32}-\d{1,10}$/.test(given) ? given : null;
}

function unauthorized(message: string): SymphonyError {
  return new SymphonyError("unauthorized", message, {
    hint: "compare the signing secret in Linear with the one set here",
  });
}

function rateLimited(standing: RateStanding): SymphonyError {
  return new SymphonyError("rate_limited", "too many deliveries in a minute", {
    details: { ...standing },
  });
}

export interface RateStanding {
  readonly limit: number;
  readonly remaining: number;
  /** Whole seconds until one more is allowed, or until the oldest one is forgotten. */
  readonly resetSeconds: number;
}

interface RateWindowOptions {
  readonly limit: number;
  readonly windowMs: number;
  readonly clock: Pick<Clock, "now">;
}

/** At most `limit` in any `windowMs`: a sliding window, so no two of them meet at a boundary. */
export class RateWindow {
  readonly #options: RateWindowOptions;
  #times: number[] = [];

  constructor(options: RateWindowOptions) {
    this.#options = options;
  }

  /** Counts one more; false, and not counted, when the window is full. */
  take(): boolean {
    const now = this.#forget();
    if (this.#times.length >= this.#options.limit) return false;
    this.#times.push(now);
    return true;
  }

  standing(): RateStanding {
    const { limit, windowMs } = this.#options;
    const now = this.#forget();
    const [oldest = now - windowMs] = this.#times;
    return {
      limit,
      remaining: limit - this.#times.length,
      resetSeconds: Math.max(Math.ceil((oldest + windowMs - now) / 1_000), 0),
    };
  }

  #forget(): number {
    const now = this.#options.clock.now();
    const kept = this.#times.findIndex((time) => time + this.#options.windowMs > now);
    this.#times = kept < 0 ? [] : this.#times.slice(kept);
    return now;
  }
}

const keptMs = 3_600_000;

/** Which signed deliveries have come in. Calls are synchronous; durable when they return. */
export interface Deliveries {
  /** Takes in those that are not known yet: all or none. Throws `storage_unavailable` or `storage_corrupt`. */
  add(deliveries: readonly StoredDelivery[]): void;
  has(signature: string): boolean;
  close(): void;
}

interface StoredDelivery {
  /** What was signed, by its signature. */
  readonly signature: string;
  readonly type: string;
  readonly action: string;
  readonly issueId: string | null;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

const migrations = [
  `
  CREATE TABLE deliveries (
    signature TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    action TEXT NOT NULL,
    issue_id TEXT,
    at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX deliveries_by_time ON deliveries (at);
  `,
];

/** Opens `webhooks.db` in `dir`. A delivery is kept for an hour: long after its signed time makes a replay stale. */
export function openDeliveries(dir: string): Deliveries {
  const db = openDatabase(join(dir, "webhooks.db"), { migrations, synchronous: "FULL" });
  return {
    has(signature) {
      const sql = "SELECT 1 FROM deliveries WHERE signature = $signature";
      return db.get(() => true, sql, { signature }) !== null;
    },
    add: (deliveries) =>
      db.transaction(() => {
        const newest = Math.max(...deliveries.map(({ at }) => Math.round(at)));
        db.run("DELETE FROM deliveries WHERE at < $before", { before: newest - keptMs });
        for (const delivery of deliveries) {
          db.run(
            `INSERT INTO deliveries (signature, type, action, issue_id, at)
              VALUES ($signature, $type, $action, $issueId, $at)`,
            { ...delivery, at: Math.round(delivery.at) },
          );
        }
      }),
    close: () => db.close(),
  };
}
