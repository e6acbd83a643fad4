import type { Clock } from "../clock.ts";
import type { Logger } from "../events/log.ts";
import type { DeliveryOutcome, Meter } from "../events/meter.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import type { EventDraft } from "../model/event.ts";
import type { AuditEntry } from "../store/store.ts";
import { sameText } from "../text/text.ts";
import type { Deliveries, StoredDelivery } from "./deliveries.ts";
import type { TrackerWebhook, WebhookEvent } from "./tracker.ts";

interface Waiting<T> {
  readonly item: T;
  readonly done: PromiseWithResolvers<void>;
}

/**
 * Commits the items that arrive during one turn of the event loop together, because the disk is the slow part and one wait
 * is enough. Each item is notified of the commit that it was part of.
 */
export class GroupCommit<T> {
  readonly #commit: (items: readonly T[]) => void;
  #waiting = new Map<string, Waiting<T>>();

  constructor(commit: (items: readonly T[]) => void) {
    this.#commit = commit;
  }

  /** Resolves once `item` is committed; rejects with the reason why its group was not. */
  add(key: string, item: T): Promise<void> {
    if (this.#waiting.size === 0) setImmediate(() => this.flush());
    const done = Promise.withResolvers<void>();
    this.#waiting.set(key, { item, done });
    return done.promise;
  }

  /** Settles an item that waits for its commit. */
  pending(key: string): Promise<void> | undefined {
    return this.#waiting.get(key)?.done.promise;
  }

  /** Commits the waiting items now. */
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
  /** The kind of tracker that sends these deliveries. */
  readonly kind: string;
  readonly webhook: TrackerWebhook;
  readonly clock: Clock;
  readonly log: Logger;
  /** Looked up for each delivery; null refuses all deliveries. */
  secret(): string | null;
  readonly deliveries: Deliveries;
  readonly meter: Meter;
  publish(event: EventDraft): void;
  audit(entries: readonly AuditEntry[]): void;
  /** Makes the scheduler read one issue. */
  hint(issueId: string): void;
  /** Called for a new comment. */
  comment(commentId: string, issueId: string): void;
}

export interface Receipt {
  /** True when the same delivery was received before; then nothing was done. */
  readonly duplicate: boolean;
  /** The remaining allowance of signed deliveries. */
  readonly rate: RateStanding;
}

/** A delivery and its content. */
interface Signed {
  readonly delivery: StoredDelivery;
  readonly event: WebhookEvent;
}

const toleranceMs = 60_000;
const minuteMs = 60_000;
const genuineAMinute = 600;
/** Limit for unsigned, stale or repeated deliveries: enough to notice a wrong secret, too few for a flood. */
const otherAMinute = 300;

/**
 * The deliveries that a tracker signs (THREAT-20). A payload is only a hint: it names an issue to read again, and
 * nothing else in it is trusted. A lost delivery costs one poll.
 */
export class WebhookInbox {
  readonly #deps: InboxDeps;
  readonly #genuine: RateWindow;
  readonly #other: RateWindow;
  readonly #commits = new GroupCommit<Signed>((group) => this.#commit(group));
  readonly #warned = new Map<string, { readonly at: number; suppressed: number }>();

  constructor(deps: InboxDeps) {
    const { clock } = deps;
    this.#deps = deps;
    this.#genuine = new RateWindow({ limit: genuineAMinute, windowMs: minuteMs, clock });
    this.#other = new RateWindow({ limit: otherAMinute, windowMs: minuteMs, clock });
  }

  get configured(): boolean {
    return this.#deps.secret() !== null;
  }

  /**
   * Takes one delivery; when it resolves, the delivery is on disk and the scheduler is notified. Rejects with
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

  /** Commits the waiting deliveries. */
  flush(): void {
    this.#commits.flush();
  }

  async #receive(body: Uint8Array, given: string | undefined): Promise<Receipt> {
    const signature = this.#verified(body, given);
    const event = this.#read(body);
    this.#requireFresh(event);
    const pending = this.#commits.pending(signature);
    if (pending || this.#deps.deliveries.has(signature)) {
      this.#takeOther();
      await pending;
      return { duplicate: true, rate: this.#genuine.standing() };
    }
    if (!this.#genuine.take()) throw rateLimited(this.#genuine.standing());
    const at = this.#deps.clock.wall();
    const { type, action, issueId } = event;
    const delivery = { signature, type, action, issueId, at };
    await this.#commits.add(signature, { delivery, event });
    return { duplicate: false, rate: this.#genuine.standing() };
  }

  #commit(group: readonly Signed[]): void {
    this.#deps.deliveries.add(group.map(({ delivery }) => delivery));
    for (const signed of group) this.#act(signed);
    this.#audit(group);
  }

  #count(outcome: DeliveryOutcome): void {
    this.#deps.meter.report({ type: "webhook.delivery", outcome });
  }

  #verified(body: Uint8Array, given: string | undefined): string {
    const secret = this.#deps.secret();
    const { service, defaultSecretName, sign } = this.#deps.webhook;
    if (secret === null) {
      throw new SymphonyError("webhook_not_configured", "no webhook secret is set here", {
        hint: `set ${defaultSecretName} to the signing secret that ${service} shows for the webhook`,
      });
    }
    const signature = sign(body, secret);
    if (given !== undefined && sameText(given.trim().toLowerCase(), signature)) {
      return signature;
    }
    this.#takeOther();
    const reason = given === undefined ? "no signature" : "wrong signature";
    this.#warn(reason, {});
    throw this.#unauthorized(
      `the delivery has ${reason === "no signature" ? "no" : "a wrong"} signature`,
    );
  }

  #read(body: Uint8Array): WebhookEvent {
    try {
      return this.#deps.webhook.read(body);
    } catch (error) {
      this.#takeOther();
      throw error;
    }
  }

  /** Only the signed time counts, never a header. */
  #requireFresh({ sentAt }: WebhookEvent): void {
    const skewMs = Math.round(this.#deps.clock.wall() - sentAt);
    if (Math.abs(skewMs) <= toleranceMs) return;
    this.#takeOther();
    this.#warn("stale", {
      skew_ms: skewMs,
      tolerance_ms: toleranceMs,
      hint: "an old delivery was sent again, or this machine's clock is wrong",
    });
    const seconds = Math.round(Math.abs(skewMs) / 1_000);
    throw this.#unauthorized(
      `the delivery was signed ${seconds} s ${skewMs > 0 ? "ago" : "ahead"} by this clock; 60 s are allowed`,
    );
  }

  #act({ event }: Signed): void {
    const { type, action, issueId, issueIdentifier, comment } = event;
    const { publish, hint, webhook } = this.#deps;
    publish({
      type: "webhook.received",
      issueId,
      issueIdentifier,
      message: `${webhook.service} reported ${type} ${action}${issueIdentifier === null ? "" : `: ${issueIdentifier}`}`,
      data: { type, action },
    });
    if (issueId !== null) hint(issueId);
    if (comment !== null) this.#deps.comment(comment.id, comment.issueId);
  }

  #audit(group: readonly Signed[]): void {
    const { audit, log, kind } = this.#deps;
    const action = `webhooks.${kind}`;
    try {
      audit(
        group.map(({ event, delivery: { issueId, at } }) => ({
          ...{ at, actor: "webhook", action, outcome: "ok" },
          target: event.issueIdentifier ?? issueId,
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

  #unauthorized(message: string): SymphonyError {
    return new SymphonyError("unauthorized", message, {
      hint: `compare the signing secret in ${this.#deps.webhook.service} with the one set here`,
    });
  }

  /** Once a minute for each reason: a flood must not fill the log. */
  #warn(reason: string, fields: Readonly<Record<string, unknown>>): void {
    const now = this.#deps.clock.now();
    const last = this.#warned.get(reason);
    if (last && now - last.at < minuteMs) {
      last.suppressed += 1;
      return;
    }
    this.#warned.set(reason, { at: now, suppressed: 0 });
    const suppressed = last?.suppressed ?? 0;
    this.#deps.log.warn("webhook refused", {
      reason,
      ...fields,
      ...(suppressed > 0 && { untold: suppressed }),
    });
  }
}

function rateLimited(standing: RateStanding): SymphonyError {
  return new SymphonyError("rate_limited", "too many deliveries in a minute", {
    details: { ...standing },
  });
}

export interface RateStanding {
  readonly limit: number;
  readonly remaining: number;
  /** Whole seconds until one more is allowed, or until the oldest one leaves the window. */
  readonly resetSeconds: number;
}

interface RateWindowOptions {
  readonly limit: number;
  readonly windowMs: number;
  readonly clock: Pick<Clock, "now">;
}

/** At most `limit` in any `windowMs`: a sliding window, so the limit cannot be doubled across a boundary. */
export class RateWindow {
  readonly #options: RateWindowOptions;
  #times: number[] = [];

  constructor(options: RateWindowOptions) {
    this.#options = options;
  }

  /** Counts one more; returns false, without counting, when the window is full. */
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

/** One inbox for each kind of tracker that sends webhooks; they share the list of deliveries. */
export class WebhookInboxes {
  readonly #inboxes: ReadonlyMap<string, WebhookInbox>;
  readonly #deliveries: Deliveries;

  constructor(inboxes: ReadonlyMap<string, WebhookInbox>, deliveries: Deliveries) {
    this.#inboxes = inboxes;
    this.#deliveries = deliveries;
  }

  /** Whether a delivery could be checked. */
  get configured(): boolean {
    return [...this.#inboxes.values()].some((inbox) => inbox.configured);
  }

  /** Throws `webhook_not_configured` for a kind that sends no webhooks. */
  of(kind: string): WebhookInbox {
    const inbox = this.#inboxes.get(kind);
    if (inbox) return inbox;
    throw new SymphonyError(
      "webhook_not_configured",
      `no tracker ${kind} sends webhooks to this server`,
    );
  }

  close(): void {
    for (const inbox of this.#inboxes.values()) inbox.flush();
    this.#deliveries.close();
  }
}
