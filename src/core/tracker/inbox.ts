import { AsyncLocalStorage } from "node:async_hooks";
import type { Clock } from "../clock.ts";
import type { Logger } from "../events/log.ts";
import type { DeliveryOutcome, Meter } from "../events/meter.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import type { EventDraft } from "../model/event.ts";
import type { AuditEntry } from "../store/store.ts";
import type { Deliveries, DeliveryWork, StoredDelivery } from "./deliveries.ts";
import { GroupCommit } from "./group-commit.ts";
import { type RateStanding, RateWindow } from "./rate-window.ts";
import type { SignedPost } from "./tracker.ts";

/** What a delivery says, in symphony's terms. */
export interface Announcement {
  /** The service's own id of the delivery; null: it sends none. */
  readonly id: string | null;
  /** The service's own terms for what changed and how. */
  readonly type: string;
  readonly action: string | null;
  /** When it was signed, ms since the epoch; null: the service signs no time. */
  readonly sentAt: number | null;
  /** The issue that it is about, if that is known. */
  readonly issueId: string | null;
  readonly issueIdentifier: string | null;
  /** What it is about, for people; null: nothing in particular. */
  readonly subject: string | null;
  /** Acts on it, once it is on disk. */
  act(): void;
  /** What has to be done even if the server ends before it is done; null: a start does it anyway. */
  readonly work: DeliveryWork | null;
}

/** A service that posts signed deliveries, and what they cause. */
export interface Sender {
  readonly kind: string;
  readonly service: string;
  readonly signatureHeader: string;
  /** The form of a signature, to tell a broken one from one made with another secret. */
  readonly signatureForm: RegExp;
  readonly defaultSecretName: string;
  /** How long a delivery is known, so that it has no effect when it is sent again; an older one is refused. */
  readonly keptMs: number;
  /** How far this machine's clock is ahead of the service's, ms; omitted: not known. */
  aheadMs?(): number;
  /** Looked up for each delivery; null refuses all deliveries. */
  secret(): string | null;
  /** The signature of the raw body, as it is stored; null: the delivery has none, or another. */
  verify(post: SignedPost, secret: string): string | null;
  /** Throws `invalid_request` for what the service does not send. */
  read(post: SignedPost): Announcement;
  /** Does its work, once it is on disk or after a restart; resolves when it is done. */
  work(work: DeliveryWork): Promise<void>;
}

export interface InboxDeps {
  readonly sender: Sender;
  readonly clock: Clock;
  readonly log: Logger;
  readonly deliveries: Deliveries;
  readonly meter: Meter;
  publish(event: EventDraft): void;
  audit(entries: readonly AuditEntry[]): void;
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
  readonly announcement: Announcement;
  /** Runs work as a part of the request that brought it: the commit is that of a whole group. */
  readonly within: ReturnType<typeof AsyncLocalStorage.snapshot>;
}

/** A signed time further ahead is refused; one further back is late, and accepted once. */
const toleranceMs = 60_000;
const minuteMs = 60_000;
const genuineAMinute = 600;
/** Limit for unsigned, stale or repeated deliveries: enough to notice a wrong secret, too few for a flood. */
const otherAMinute = 300;

/**
 * The deliveries that a service signs (THREAT-20). A payload is only a hint: it names something to read again, and
 * nothing else in it is trusted. A lost delivery costs one poll.
 */
export class WebhookInbox {
  readonly #deps: InboxDeps;
  /** Work that failed, until it is tried again; by signature. */
  readonly #again = new Map<string, () => void>();
  #isClosed = false;
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
    return this.#deps.sender.secret() !== null;
  }

  /**
   * Takes one delivery; when it resolves, the delivery is on disk and its work has begun. Rejects with
   * `webhook_not_configured`, `unauthorized` (signature, time), `invalid_request`, `rate_limited`, or the storage's codes.
   */
  async receive(post: SignedPost): Promise<Receipt> {
    try {
      const receipt = await this.#receive(post);
      this.#count(receipt.duplicate ? "duplicate" : "accepted");
      return receipt;
    } catch (error) {
      this.#count(error instanceof SymphonyError ? error.code : "internal_error");
      throw error;
    }
  }

  /** Does what the last server stored and did not do. */
  resume(): void {
    const { deliveries, sender } = this.#deps;
    if (!this.configured) return;
    for (const { signature, work } of deliveries.waiting(sender.kind)) this.#work(signature, work);
  }

  /** Commits the waiting deliveries; what is not worked is left for the next start. */
  close(): void {
    this.#commits.flush();
    this.#isClosed = true;
    for (const cancel of this.#again.values()) cancel();
  }

  async #receive(post: SignedPost): Promise<Receipt> {
    const signature = this.#verified(post);
    const announcement = this.#read(post);
    this.#checkTime(announcement);
    const { id, type, action, issueId, work } = announcement;
    const { deliveries, clock, sender } = this.#deps;
    const { kind, keptMs } = sender;
    const pending = this.#commits.pending(signature);
    if (pending || deliveries.has({ signature, kind, id })) {
      this.#takeOther();
      await pending;
      return { duplicate: true, rate: this.#genuine.standing() };
    }
    if (!this.#genuine.take()) throw rateLimited(this.#genuine.standing());
    const at = clock.wall();
    // A delivery that is no longer known is older than `keptMs`, so that it cannot be accepted again.
    const until = at + keptMs + toleranceMs;
    const delivery = { signature, kind, id, type, action, issueId, work, at, until };
    const within = AsyncLocalStorage.snapshot();
    await this.#commits.add(signature, { delivery, announcement, within });
    return { duplicate: false, rate: this.#genuine.standing() };
  }

  #commit(group: readonly Signed[]): void {
    this.#deps.deliveries.add(group.map(({ delivery }) => delivery));
    for (const signed of group) signed.within(() => this.#act(signed));
    this.#audit(group);
  }

  #count(outcome: DeliveryOutcome): void {
    this.#deps.meter.report({ type: "webhook.delivery", outcome });
  }

  #verified(post: SignedPost): string {
    const { sender } = this.#deps;
    const { service, defaultSecretName } = sender;
    const secret = sender.secret();
    if (secret === null) {
      throw new SymphonyError("webhook_not_configured", "no webhook secret is set here", {
        hint: `set ${defaultSecretName} to the signing secret that ${service} shows for the webhook`,
      });
    }
    const signature = sender.verify(post, secret);
    if (signature !== null) return signature;
    this.#takeOther();
    const { reason, hint } = this.#faultOf(post);
    this.#warn(reason, {});
    throw new SymphonyError("unauthorized", `the delivery was refused: ${reason}`, { hint });
  }

  /** What is wrong with a delivery whose signature is not the right one. */
  #faultOf({ header, body }: SignedPost): { readonly reason: string; readonly hint: string } {
    const { service, signatureHeader, signatureForm, defaultSecretName } = this.#deps.sender;
    const signature = header(signatureHeader);
    if (signature === undefined) {
      const hint = `${service} signs what it sends: this was sent by something else, or a proxy removed the header`;
      return { reason: `it has no header ${signatureHeader}`, hint };
    }
    if (!signatureForm.test(signature.trim())) {
      const hint = `send the header as ${service} does, or look for a proxy that changes it`;
      return { reason: `the header ${signatureHeader} is not a signature of ${service}`, hint };
    }
    if (body.length === 0) {
      const hint =
        "a proxy on the way must pass the body on, byte for byte: the signature is over it";
      return { reason: "its body is empty", hint };
    }
    return {
      reason: "wrong signature",
      hint: `compare the signing secret in ${service} with ${defaultSecretName} here; if they are the same, a proxy on the way changes the body`,
    };
  }

  #read(post: SignedPost): Announcement {
    try {
      return this.#deps.sender.read(post);
    } catch (error) {
      this.#takeOther();
      throw error;
    }
  }

  /**
   * Only the signed time counts, never a header, by the service's clock where it is known. A late delivery is accepted: services send again for hours what did
   * not arrive, with the same bytes.
   */
  #checkTime({ sentAt }: Announcement): void {
    if (sentAt === null) return;
    const { clock, sender } = this.#deps;
    const skewMs = Math.round(clock.wall() - (sender.aheadMs?.() ?? 0) - sentAt);
    if (Math.abs(skewMs) <= toleranceMs) return;
    const facts = { skew_ms: skewMs, tolerance_ms: toleranceMs };
    if (skewMs > 0 && skewMs <= sender.keptMs) {
      const hint = `${sender.service} sent it again, or this machine's clock is ahead`;
      this.#warn("late", { ...facts, hint });
      return;
    }
    this.#takeOther();
    const isOld = skewMs > 0;
    const hint = isOld
      ? "an old delivery was sent again, or this machine's clock is ahead: compare `date -u` with the right time"
      : "this machine's clock is behind: compare `date -u` with the right time";
    this.#warn("clock", { ...facts, hint });
    const seconds = Math.round(Math.abs(skewMs) / 1_000);
    const allowed = isOld ? sender.keptMs / 1_000 : toleranceMs / 1_000;
    throw new SymphonyError(
      "unauthorized",
      `the delivery was signed ${seconds} s ${isOld ? "ago" : "ahead"} by this clock; ${allowed} s are allowed`,
      { hint },
    );
  }

  #act({ announcement, delivery: { signature, work } }: Signed): void {
    const { type, action, issueId, issueIdentifier } = announcement;
    const { publish, sender } = this.#deps;
    const what = action === null ? type : `${type} ${action}`;
    publish({
      type: "webhook.received",
      issueId,
      issueIdentifier,
      message: `${sender.service} reported ${what}${issueIdentifier === null ? "" : `: ${issueIdentifier}`}`,
      data: { type, action },
    });
    announcement.act();
    if (work !== null) this.#work(signature, work);
  }

  /** A delivery counts as worked only afterwards: after a crash in between, its work is done again. */
  #work(signature: string, work: DeliveryWork): void {
    const { sender, deliveries, log, clock } = this.#deps;
    sender
      .work(work)
      .then(() => deliveries.worked(signature))
      .catch((error: unknown) => {
        if (this.#isClosed) return;
        log.warn("webhook not worked", { kind: sender.kind, reason: messageOf(error) });
        const again = () => {
          this.#again.delete(signature);
          this.#work(signature, work);
        };
        this.#again.set(signature, clock.after(minuteMs, again));
      });
  }

  #audit(group: readonly Signed[]): void {
    const { audit, log, sender } = this.#deps;
    const action = `webhooks.${sender.kind}`;
    try {
      audit(
        group.map(({ announcement, delivery: { at } }) => ({
          ...{ at, actor: "webhook", action, outcome: "ok" },
          target: announcement.subject,
          detail: { type: announcement.type, action: announcement.action },
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
  #warn(reason: string, fields: Readonly<Record<string, unknown>>): void {
    const now = this.#deps.clock.now();
    const last = this.#warned.get(reason);
    if (last && now - last.at < minuteMs) {
      last.suppressed += 1;
      return;
    }
    this.#warned.set(reason, { at: now, suppressed: 0 });
    const suppressed = last?.suppressed ?? 0;
    this.#deps.log.warn(reason === "late" ? "webhook came late" : "webhook refused", {
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

/** One inbox for each service that sends webhooks; they share the list of deliveries. */
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
      `no service ${kind} sends webhooks to this server`,
    );
  }

  /** Does what the last server stored and did not do. */
  resume(): void {
    for (const inbox of this.#inboxes.values()) inbox.resume();
  }

  close(): void {
    for (const inbox of this.#inboxes.values()) inbox.close();
    this.#deliveries.close();
  }
}
