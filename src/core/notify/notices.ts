// Messages to people: which events they are about, what they say, and how they reach their receivers.

import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { pause, within } from "../clock.ts";
import type { NotifyRule } from "../config/notify.ts";
import type { Bus } from "../events/bus.ts";
import type { Logger } from "../events/log.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import type { SymphonyEvent } from "../model/event.ts";
import { type Opening, openingAt } from "../model/hours.ts";
import type { FailureCategory } from "../model/notice.ts";
import { nearest } from "../text/nearest.ts";
import type { Message } from "./message.ts";
import { endedBy, keyOf, occasionEvents, occasionOf } from "./occasions.ts";
import { identityOf, type ReceiverDeps, send, settingFault } from "./receivers.ts";
import type { Sent } from "./sending.ts";
import {
  type Addition,
  type Batch,
  NoticeStore,
  type Open,
  type Outcome,
  stoppedMs,
} from "./store.ts";

export interface NoticesDeps extends ReceiverDeps {
  readonly dataDir: string;
  readonly log: Logger;
  readonly bus: Pick<Bus, "subscribe" | "publish" | "lastSeq">;
  rules(): readonly NotifyRule[];
  /** The title of an issue that the scheduler knows. */
  titleOf(issueId: string): string | null;
}

/** A rule with what became of its last message. */
export interface NoticeRule {
  readonly rule: NotifyRule;
  /** Occasions that are not reported yet. */
  readonly waiting: number;
  /** Epoch ms; null: it is not in its quiet hours. */
  readonly quietUntil: number | null;
  /** What keeps it from being sent, as `settingFault`; null: nothing. */
  readonly fault: string | null;
  /** null: none was sent since the rule is there. */
  readonly last: Outcome | null;
}

export interface TestResult {
  readonly rule: NotifyRule;
  readonly id: string;
  readonly outcome: Sent["outcome"];
  readonly category: FailureCategory | null;
  readonly reason: string;
  readonly durationMs: number;
}

/** Waits before the second and the third try. */
const retryWaits: readonly number[] = [2_000, 10_000];
const maxTries = retryWaits.length + 1;
/** What needs a person does not wait for a whole batch. */
const needsBatchMs = 5_000;
/** A machine that sleeps stops its timers, and its clock may be set, so that a long wait is looked at again. */
const recheckMs = 60_000;
/** After the disk refused something. */
const diskWaitMs = 5_000;
const closeGraceMs = 2_000;
/** For so long what is reported waits for a secret of its rule that is not set. */
const heldMs = 3 * 24 * 3_600_000;
/** Beyond this, events are read from the journal again later. */
const maxBuffered = 10_000;

/**
 * Reports occasions to receivers, each once. What was handled is on disk, so that a restart reports nothing twice and misses
 * nothing; with the first rules it begins with what happens then. Nothing else waits for it.
 */
export class Notices {
  readonly #deps: NoticesDeps;
  readonly #leaving = new AbortController();
  readonly #busy = new Map<string, Promise<void>>();
  readonly #timers = new Map<string, () => void>();
  /** Rules whose notices wait for a secret, which the log says. */
  readonly #held = new Set<string>();
  #store: NoticeStore | null = null;
  #unsubscribe = () => {};
  #buffer: SymphonyEvent[] = [];
  #isFlushPlanned = false;
  /** Events were left out, and are read from the journal again. */
  #isBehind = false;
  #isClosed = false;

  constructor(deps: NoticesDeps) {
    this.#deps = deps;
  }

  /** Follows the configuration in force: to be called at the start and after each change of the rules. Never throws. */
  follow(): void {
    if (this.#isClosed) return;
    try {
      this.#follow();
    } catch (error) {
      this.#deps.log.error("notices", { reason: messageOf(error) });
      this.#later("follow ", diskWaitMs, () => this.follow());
    }
  }

  #follow(): void {
    const { rules, bus, log, dataDir } = this.#deps;
    const names = rules().map(({ name }) => name);
    if (names.length === 0) {
      this.#unsubscribe();
      this.#unsubscribe = () => {};
      this.#buffer = [];
      if (this.#store !== null || existsSync(join(dataDir, "notify.db"))) this.#opened().forget();
      return;
    }
    const store = this.#opened();
    const dropped = store.keepOnly(names);
    if (dropped > 0) log.info("notices of removed rules are dropped", { count: dropped });
    if (store.handled() === null) store.beginAt(bus.lastSeq);
    this.#unsubscribe();
    const afterSeq = store.handled() ?? bus.lastSeq;
    this.#buffer = [];
    this.#isBehind = false;
    this.#unsubscribe = bus.subscribe({ afterSeq, filter: { types: occasionEvents } }, (event) =>
      this.#receive(event),
    );
    for (const name of names) this.#kick(name);
  }

  #opened(): NoticeStore {
    this.#store ??= new NoticeStore(this.#deps.dataDir);
    return this.#store;
  }

  /** A listener of the bus must not wait, and a burst is one write. */
  #receive(event: SymphonyEvent): void {
    if (this.#buffer.length >= maxBuffered) {
      this.#isBehind = true;
      this.#unsubscribe();
      return;
    }
    this.#buffer.push(event);
    if (this.#isFlushPlanned) return;
    this.#isFlushPlanned = true;
    setImmediate(() => {
      this.#isFlushPlanned = false;
      this.#flush();
    });
  }

  #flush(): void {
    const last = this.#buffer.at(-1);
    if (last === undefined || this.#store === null || this.#isClosed) return;
    const { log } = this.#deps;
    try {
      const steps = this.#buffer.flatMap((event) => this.#stepOf(event) ?? []);
      this.#store.add({ seq: last.seq, steps });
      this.#buffer = [];
      if (this.#isBehind) this.follow();
      const names = steps.flatMap((one) => ("prefix" in one ? [] : one.rules));
      for (const name of new Set(names)) this.#kick(name);
    } catch (error) {
      log.error("notices not noted", { reason: messageOf(error) });
      this.#later("flush ", diskWaitMs, () => this.#flush());
    }
  }

  #stepOf(event: SymphonyEvent): Batch["steps"][number] | null {
    return endedBy(event) ?? this.#additionOf(event);
  }

  /** An occasion with the rules that report it: of several for one receiver, the first. */
  #additionOf(event: SymphonyEvent): Addition | null {
    const { rules, titleOf, redactor } = this.#deps;
    const { issueId } = event;
    const title = issueId === null ? null : titleOf(issueId);
    const occasion = occasionOf(event, title === null ? null : redactor.redact(title));
    if (occasion === null) return null;
    const fitting = rules().filter(({ when }) => occasion.names.some((one) => when.includes(one)));
    const byReceiver = Map.groupBy(fitting, (rule) => identityOf(rule, this.#deps));
    const names = [...byReceiver.values()].flatMap(([first]) => first?.name ?? []);
    return { occasion, rules: names, key: keyOf(event) };
  }

  /** Sends what is due of a rule, or plans when it is. */
  #kick(name: string): void {
    if (this.#isClosed || this.#busy.has(name)) return;
    const rule = this.#deps.rules().find((one) => one.name === name);
    if (rule === undefined) return;
    const work = this.#work(rule)
      .catch((error: unknown) => {
        if (this.#leaving.signal.aborted) return null;
        this.#deps.log.error("notices", { rule: name, reason: messageOf(error) });
        return diskWaitMs;
      })
      .then((waitMs) => {
        this.#busy.delete(name);
        if (waitMs !== null) this.#later(name, waitMs, () => this.#kick(name));
      });
    this.#busy.set(name, work);
  }

  /** Resolves with the time until there is more to do, ms; null: when something happens. */
  async #work(rule: NotifyRule): Promise<number | null> {
    const { clock } = this.#deps;
    for (;;) {
      const store = this.#store;
      if (store === null || this.#isClosed) return null;
      const open = store.open(rule.name);
      const due = open?.due ?? this.#dueOf(rule, store);
      if (due === null) return null;
      const wall = clock.wall();
      const waitMs = Math.max(due, this.#quietUntil(rule) ?? 0) - wall;
      if (waitMs > 0) return Math.min(waitMs, recheckMs);
      if (wall < due + heldMs && this.#isHeld(rule)) return recheckMs;
      await this.#try(rule, open ?? store.collect(rule.name, `ntc_${randomUUID()}`, wall), store);
    }
  }

  #isHeld(rule: NotifyRule): boolean {
    const fault = settingFault(rule, this.#deps);
    if (fault === null) this.#held.delete(rule.name);
    else if (!this.#held.has(rule.name)) {
      this.#held.add(rule.name);
      this.#deps.log.warn("notices wait", { rule: rule.name, reason: fault });
    }
    return fault !== null;
  }

  #dueOf({ name, batchMs }: NotifyRule, store: NoticeStore): number | null {
    const { oldest, oldestNeed, oldestStop } = store.collected(name);
    const dues = [
      oldest === null ? [] : oldest + batchMs,
      oldestNeed === null ? [] : oldestNeed + Math.min(batchMs, needsBatchMs),
      oldestStop === null ? [] : oldestStop + Math.max(batchMs, stoppedMs),
    ].flat();
    return dues.length === 0 ? null : Math.min(...dues);
  }

  #quietUntil({ quietHours }: NotifyRule): number | null {
    if (quietHours === null) return null;
    const { open, untilWall }: Opening = openingAt(quietHours, this.#deps.clock.wall());
    return open ? untilWall : null;
  }

  async #try(rule: NotifyRule, open: Open, store: NoticeStore): Promise<void> {
    const { clock } = this.#deps;
    // Begun by a server that was killed: it is repeated once, and marked.
    if (open.isBegun && open.isRepeated) {
      const reason = "the server ended twice before it could note whether it was sent";
      this.#settle(rule, store.message(open.id, true), {
        ...{ outcome: "unknown", category: null, reason, tries: open.tries },
      });
      return;
    }
    const message = store.message(open.id, open.isBegun || open.isRepeated);
    // What cannot be noted is not sent.
    store.begin(open.id, open.isBegun);
    const sent = await send(rule, message, { deps: this.#deps, signal: this.#leaving.signal });
    if (this.#leaving.signal.aborted) return;
    const tries = open.tries + 1;
    await this.#noted(() => {
      if (sent.outcome === "sent") {
        this.#settle(rule, message, { ...sent, category: null, tries });
        return;
      }
      const wait = retryWaits[tries - 1];
      if (sent.isFinal || tries >= maxTries || wait === undefined) {
        this.#settle(rule, message, { ...sent, tries });
        return;
      }
      const due = clock.wall() + (sent.retryAfterMs ?? wait);
      store.retry(open.id, due, sent.mayHaveArrived);
    });
  }

  /** Notes an outcome, however long the disk refuses it: what was sent is not sent again in between. */
  async #noted(note: () => void): Promise<void> {
    let isReported = false;
    for (;;) {
      try {
        note();
        return;
      } catch (error) {
        if (!isReported) this.#deps.log.error("notices not noted", { reason: messageOf(error) });
        isReported = true;
        await pause(this.#deps.clock, diskWaitMs, this.#leaving.signal);
      }
    }
  }

  #settle(
    { name, to }: NotifyRule,
    { id, total }: Message,
    ended: Pick<Outcome, "outcome" | "category" | "reason" | "tries">,
  ): void {
    const { bus, clock } = this.#deps;
    const { outcome, category, reason, tries } = ended;
    this.#store?.settle(name, { outcome, category, reason, tries, id, total, at: clock.wall() });
    const what = total === 1 ? "a notice" : `a notice of ${total}`;
    const how = tries > 1 ? ` after ${tries} tries` : "";
    bus.publish({
      type: outcome === "sent" ? "notice.sent" : "notice.failed",
      message:
        outcome === "sent"
          ? `${what} was sent to ${name}${how}`
          : `${what} did not reach ${name}${how}: ${reason}`,
      data: { rule: name, to, notice_id: id, total, tries, outcome, category },
    });
  }

  #later(name: string, ms: number, then: () => void): void {
    this.#timers.get(name)?.();
    if (this.#isClosed) return;
    this.#timers.set(name, this.#deps.clock.after(Math.max(ms, 0), then));
  }

  /** The rules in force with their last outcomes. */
  list(): readonly NoticeRule[] {
    return this.#deps.rules().map((rule) => ({
      rule,
      waiting: this.#store?.waiting(rule.name) ?? 0,
      quietUntil: this.#quietUntil(rule),
      fault: settingFault(rule, this.#deps),
      last: this.#store?.outcome(rule.name) ?? null,
    }));
  }

  /**
   * Sends a test notice through each rule now, or through one, with a single try; quiet hours do not hold it back. Rejects
   * with `not_found` for a rule that does not exist.
   */
  async test(name: string | null): Promise<readonly TestResult[]> {
    const rules = this.#deps.rules();
    const chosen = name === null ? rules : rules.filter((rule) => rule.name === name);
    if (name !== null && chosen.length === 0) throw noRule(name, rules);
    return Promise.all(chosen.map((rule) => this.#test(rule)));
  }

  async #test(rule: NotifyRule): Promise<TestResult> {
    const { clock } = this.#deps;
    const startedAt = clock.now();
    const message = testMessage(rule, clock.wall());
    const { signal } = this.#leaving;
    const sent = await send(rule, message, { deps: this.#deps, signal });
    return {
      ...{ rule, id: message.id, outcome: sent.outcome, reason: sent.reason },
      category: sent.outcome === "failed" ? sent.category : null,
      durationMs: Math.round(clock.now() - startedAt),
    };
  }

  /** A try that is under way may end within two seconds; one that does not is repeated by the next server, and marked. */
  async close(): Promise<void> {
    this.#flush();
    this.#isClosed = true;
    this.#unsubscribe();
    for (const cancel of this.#timers.values()) cancel();
    await within(Promise.allSettled(this.#busy.values()), closeGraceMs);
    this.#leaving.abort();
    await Promise.allSettled(this.#busy.values());
    this.#store?.close();
    this.#store = null;
  }
}

function testMessage({ name, when }: NotifyRule, wall: number): Message {
  const reason = `the rule ${name} reaches you; it reports ${when.join(", ")}`;
  const one = { seq: 0, at: wall, names: [], issueIdentifier: null, title: null };
  return {
    ...{ id: `ntc_${randomUUID()}`, isRepeat: false, type: "test", total: 1, counts: new Map() },
    occasions: [{ ...one, url: null, next: null, reason, full: reason }],
  };
}

function noRule(name: string, rules: readonly NotifyRule[]): SymphonyError {
  const names = rules.map((rule) => rule.name);
  const near = nearest(name, names);
  const list =
    names.length === 0 ? "notify in WORKFLOW.md has no rules" : `there are ${names.join(", ")}`;
  return new SymphonyError("not_found", `there is no rule ${name} in notify`, {
    hint: near === null ? list : `did you mean ${near}?`,
  });
}
