import { randomUUID } from "node:crypto";
import { ConversationIntake, entryOf, type IntakeDeps, type Step } from "./conversation-intake.ts";
import { noProgress, type Progress, progressOf, saidOf, standingOf } from "./conversation-text.ts";
import { type Conversation, conversationKind } from "./delivery/conversation-table.ts";
import type { Deliveries } from "./delivery/delivery.ts";
import type { Written } from "./delivery/outbox.ts";
import type { Entry, NewEntry } from "./delivery/store.ts";
import type { Bus } from "./events/bus.ts";
import type { Logger } from "./events/log.ts";
import { messageOf, SymphonyError } from "./model/errors.ts";
import { type EventType, type SymphonyEvent, standingTypes } from "./model/event.ts";
import { normalState } from "./model/issue.ts";
import type { Operations } from "./orchestrator/operations.ts";
import {
  type Activity,
  type ConversationEvent,
  type ConversationLink,
  type TrackerConversations,
  writeReserve,
} from "./tracker/tracker.ts";

export interface ConversationDeps extends Omit<IntakeDeps, "reply" | "deliveries" | "operations"> {
  readonly log: Logger;
  readonly bus: Pick<Bus, "subscribe">;
  readonly deliveries: IntakeDeps["deliveries"] & Pick<Deliveries, "of" | "waitingOf">;
  operations(): ReturnType<IntakeDeps["operations"]> &
    Pick<Operations, "statusOf" | "statusOfFound">;
  redact(text: string): string;
}

/** After these the issue may stand elsewhere. */
const shownTypes: ReadonlySet<EventType> = new Set<EventType>(["issue.queued", ...standingTypes]);
const workTypes: ReadonlySet<EventType> = new Set<EventType>([
  "attempt.started",
  "agent.command",
  "agent.file_change",
  "agent.tool_call",
  "agent.message",
]);

const types = [...shownTypes, ...workTypes];

/** The shortest time between two steps of the work that are shown. */
const passingMs = 30_000;
/** How often the live ones are looked at, and how long a new one waits for a first look of the scheduler. */
const lookMs = 5_000;
const settleMs = 5_000;
/** A tracker may call a conversation stale after 30 minutes without a word. */
const silenceMs = 20 * 60_000;
/** How often texts of people whose delivery was lost are looked for. */
const recheckMs = 600_000;
/** As many are read each time, the others the next time. */
const readAtOnce = 50;
/** A write that the tracker refuses with an error of its own is not repeated more often. */
const maxTries = 3;

/**
 * Answers the conversations that people open in the tracker, and shows them where their issues stand. What a delivery reports
 * is ordered in the outbox first, by its id, so that it is done once however often it is reported.
 */
export class Conversations {
  readonly #deps: ConversationDeps;
  readonly #intake: ConversationIntake;
  /** By issue. */
  readonly #progress = new Map<string, Progress>();
  #isClosed = false;
  #lastRead = "";
  #refusal: string | null = null;
  #rechecked = Number.NEGATIVE_INFINITY;
  #cancel = () => {};
  #unsubscribe = () => {};

  constructor(deps: ConversationDeps) {
    this.#deps = deps;
    this.#intake = new ConversationIntake({
      ...deps,
      reply: (...answer) => this.reply(...answer),
    });
  }

  start(): void {
    this.#unsubscribe = this.#deps.bus.subscribe({ filter: { types } }, (event) =>
      this.#heed(event),
    );
    this.#plan();
  }

  close(): void {
    this.#isClosed = true;
    this.#unsubscribe();
    this.#cancel();
  }

  /** A delivery reports a conversation. Durable when it returns. */
  received({ id, issueId, promptId }: ConversationEvent): void {
    if (this.#port() === null) return;
    const about = { issueId: issueId ?? "", id };
    if (promptId !== null) {
      this.#order([entryOf(about, `prompted:${promptId}`, { step: "prompted", prompt: promptId })]);
      return;
    }
    this.#order([
      entryOf(about, `ack:${id}`, { step: "ack" }),
      entryOf(about, `opened:${id}`, { step: "opened" }),
    ]);
  }

  /** Answers a person in the conversation that the text came from. */
  reply(id: string, key: string, body: string, type?: Activity["type"]): void {
    const known = this.#deps.deliveries.conversations.of(id);
    const claim = known && this.#deps.orchestrator().state.issues.get(known.issueId)?.claim;
    const isAtWork = claim === "running" || claim === "retrying";
    const usual = isAtWork ? "thought" : claim === "blocked" ? "elicitation" : "response";
    const activity = { type: type ?? usual, body };
    const about = { issueId: known?.issueId ?? "", id };
    this.#order([entryOf(about, `reply:${key}`, { step: "reply", activity })]);
  }

  /** Makes one step. Rejects with what may pass. */
  async run(entry: Entry): Promise<Written> {
    const port = this.#port();
    if (port === null) return { outcome: "dropped" };
    // As `entryOf` wrote it.
    const { id, ...step } = entry.payload as unknown as { readonly id: string } & Step;
    try {
      return await this.#step(port, { id, entry, step });
    } catch (error) {
      const { code = null, details = {} } = error instanceof SymphonyError ? error : {};
      // What the tracker itself refuses is not mended by asking for ever.
      const isRefused = code === "tracker_response" && details["retryable"] !== true;
      if (code === "issue_not_found" || (isRefused && entry.tries + 1 >= maxTries)) {
        if (step.step === "say") this.#end(id);
        // The same addresses are not offered again.
        if (step.step === "link") this.#change(id, { links: JSON.stringify(step.links) });
        return { outcome: "final", reason: messageOf(error) };
      }
      throw error;
    }
  }

  /** A step has ended. A refusal that holds for every conversation, such as of the credential, is said once. */
  written({ payload }: Entry, written: Written): void {
    if (written.outcome === "done") this.#refusal = null;
    if (written.outcome === "final" || written.outcome === "failed") {
      const isNews = this.#refusal !== written.reason;
      this.#refusal = written.reason;
      if (isNews) this.#deps.log.warn("conversation", { reason: written.reason });
    }
    const conversation = this.#deps.deliveries.conversations.of(String(payload["id"]));
    if (conversation !== null) this.#lookSafely(conversation);
  }

  async #step(
    port: TrackerConversations,
    { id, entry, step }: { readonly id: string; readonly entry: Entry; readonly step: Step },
  ): Promise<Written> {
    switch (step.step) {
      case "ack":
        await port.say(id, entry.key, { type: "thought", body: "symphony has got this." });
        return done;
      case "opened":
        return this.#intake.opened(port, id);
      case "prompted":
        return this.#intake.prompted(port, step.prompt);
      case "reply":
        await port.say(id, entry.key, step.activity);
        return done;
      case "link":
        await port.link(id, step.links);
        this.#change(id, { links: JSON.stringify(step.links) });
        return done;
      case "say":
        return this.#say(port, { id, entry, step });
    }
  }

  async #say(
    port: TrackerConversations,
    {
      id,
      entry,
      step,
    }: {
      readonly id: string;
      readonly entry: Entry;
      readonly step: Extract<Step, { step: "say" }>;
    },
  ): Promise<Written> {
    const { deliveries, clock } = this.#deps;
    const known = deliveries.conversations.of(id);
    const now = known?.live === true ? this.#standing(known) : null;
    // Never tried, and not true any more.
    const isLate = step.said !== null && now !== null && saidOf(now) !== step.said;
    if (entry.tries === 0 && isLate) return { outcome: "dropped" };
    await port.say(id, entry.key, step.activity);
    this.#change(id, { saidAt: clock.wall(), ...(step.said !== null && { said: step.said }) });
    return done;
  }

  #heed({ type, issueId, message }: SymphonyEvent): void {
    const about = this.#deps.deliveries.conversations
      .live()
      .filter((one) => one.issueId === issueId);
    if (issueId === null || about.length === 0) return;
    if (workTypes.has(type)) this.#count(issueId, type, message);
    if (type === "issue.dispatched")
      for (const { id, stopped } of about) if (stopped) this.#change(id, { stopped: false });
    if (shownTypes.has(type)) for (const one of about) this.#lookSafely(one);
  }

  #count(issueId: string, type: EventType, message: string): void {
    const before = this.#progress.get(issueId) ?? noProgress;
    const add = (wanted: EventType) => (type === wanted ? 1 : 0);
    if (type === "attempt.started") this.#progress.delete(issueId);
    else
      this.#progress.set(issueId, {
        commands: before.commands + add("agent.command"),
        files: before.files + add("agent.file_change"),
        tools: before.tools + add("agent.tool_call"),
        last: message,
      });
  }

  #plan(): void {
    if (this.#isClosed) return;
    this.#cancel = this.#deps.clock.after(lookMs, () => {
      this.#plan();
      const live = this.#port() === null ? [] : this.#deps.deliveries.conversations.live();
      for (const one of live) this.#lookSafely(one);
      void this.#recheck(live);
    });
  }

  /** What the disk refuses is looked at again later. */
  #lookSafely(one: Conversation): void {
    try {
      this.#look(one);
    } catch (error) {
      const fields = { issue_identifier: one.issueIdentifier, reason: messageOf(error) };
      this.#deps.log.warn("conversation not looked at", fields);
    }
  }

  /** Finds texts of people whose delivery was lost. Never rejects. */
  async #recheck(live: readonly Conversation[]): Promise<void> {
    const { clock, log, tracker } = this.#deps;
    const port = this.#port();
    const isDue = clock.now() >= this.#rechecked + recheckMs;
    if (!isDue || port === null || live.length === 0) return;
    this.#rechecked = clock.now();
    const all = live.toSorted((a, b) => (a.id < b.id ? -1 : 1));
    const from = all.findIndex(({ id }) => id > this.#lastRead);
    const next = all.slice(Math.max(from, 0)).slice(0, readAtOnce);
    for (const { id, issueId } of next) {
      this.#lastRead = id;
      if (this.#isClosed || (tracker().budgetLeft?.() ?? 1) < 0.5) return;
      try {
        const found = await port.read(id);
        // The store may be closed by now.
        if (this.#isClosed) return;
        for (const promptId of found?.prompts ?? []) this.received({ id, issueId, promptId });
        if (found === null) this.#end(id);
      } catch (error) {
        log.debug("conversation not read", { reason: messageOf(error) });
      }
    }
  }

  /** Orders what is to be said now, one thing at a time. */
  #look({ id }: Conversation): void {
    const { deliveries, clock } = this.#deps;
    const known = deliveries.conversations.of(id);
    const port = this.#port();
    if (known?.live !== true || port === null || this.#isClosed) return;
    const standing = this.#standing(known);
    const said = saidOf(standing);
    const links = this.#links(known);
    const isLinked = links.length === 0 || JSON.stringify(links) === known.links;
    const silent = Math.abs(clock.wall() - known.saidAt);
    const isOver = said === known.said && isLinked && silent >= settleMs && this.#isOver(known);
    const passing = said === known.said ? this.#passing(known, port, silent) : null;
    if (isLinked && said === known.said && passing === null && !isOver) return;
    const waits = deliveries
      .waitingOf(known.issueId)
      .some(
        ({ kind, payload }) =>
          kind === conversationKind &&
          payload["id"] === id &&
          (payload["step"] === "say" || payload["step"] === "link" || payload["step"] === "opened"),
      );
    if (waits) return;
    if (isOver) return this.#end(id);
    if (!isLinked)
      return this.#order([entryOf(known, `link:${randomUUID()}`, { step: "link", links })]);
    const claim = this.#deps.orchestrator().state.issues.get(known.issueId)?.claim ?? "free";
    // It has just been received, and a poll may start it at once.
    if (claim === "free" && clock.wall() < known.at + settleMs) return;
    const isThought = standing.type === "thought" && known.said?.startsWith("thought ") === true;
    if (passing === null && isThought && (silent < passingMs || this.#isScarce())) return;
    if (passing !== null) this.#progress.delete(known.issueId);
    const step: Step =
      passing === null
        ? { step: "say", activity: standing, said }
        : { step: "say", activity: passing, said: null };
    this.#order([entryOf(known, `say:${randomUUID()}`, step)]);
  }

  /** The rest of the tracker's budget is for answers, questions and moves. */
  #isScarce(): boolean {
    return (this.#deps.tracker().budgetLeft?.() ?? 1) < writeReserve;
  }

  /** It has ended in the tracker, or for symphony, and nothing of people waits. */
  #isOver({ issueId }: Conversation): boolean {
    const { orchestrator, deliveries, config } = this.#deps;
    const row = orchestrator().state.issues.get(issueId);
    if (deliveries.waitingOf(issueId).length > 0) return false;
    if (row !== undefined && row.claim !== "free") return row.claim === "completed";
    const state = normalState((row?.issue ?? deliveries.of(issueId)?.issue)?.state ?? "");
    return config().tracker.terminalStates.some((one) => normalState(one) === state);
  }

  /** A step of the work, or a sign of life. */
  #passing({ issueId }: Conversation, port: TrackerConversations, silent: number): Activity | null {
    const claim = this.#deps.orchestrator().state.issues.get(issueId)?.claim;
    if (claim !== "running" || silent < passingMs || this.#isScarce()) return null;
    const progress = this.#progress.get(issueId);
    const activity = progress
      ? progressOf(progress, port.shows, (text) => this.#deps.redact(text))
      : null;
    if (activity !== null) return activity;
    return silent < silenceMs ? null : { type: "thought", body: "Still at work.", passing: true };
  }

  #standing({ issueId, issueIdentifier, stopped }: Conversation): Activity {
    const { deliveries, orchestrator, operations, clock, config } = this.#deps;
    const row = orchestrator().state.issues.get(issueId);
    const known = deliveries.of(issueId);
    const issue = row?.issue ?? known?.issue;
    const status =
      operations().statusOf(issueIdentifier) ??
      (issue ? operations().statusOfFound({ issue, scope: [], atWall: clock.wall() }) : null);
    const gates = status?.explain ?? [];
    const { delivery, tracker } = config();
    const { mode: delivers } = delivery;
    const standing = { row, known, gates, stopped, delivers, prefix: tracker.commandPrefix };
    return standingOf(standing, (text) => this.#deps.redact(text));
  }

  #links({ issueId, issueIdentifier }: Conversation): readonly ConversationLink[] {
    const { config, deliveries } = this.#deps;
    const page = config().server.publicUrl?.replace(/\/+$/, "");
    const pull = deliveries.of(issueId)?.pullRequest ?? null;
    return [
      ...(page === undefined
        ? []
        : [{ label: "symphony", url: `${page}/#/issue/${encodeURIComponent(issueIdentifier)}` }]),
      ...(pull === null ? [] : [{ label: `Pull request #${pull.number}`, url: pull.url }]),
    ];
  }

  #change(id: string, change: Partial<Conversation>): void {
    const { conversations } = this.#deps.deliveries;
    const known = conversations.of(id);
    if (known !== null) conversations.save({ ...known, ...change });
  }

  #end(id: string): void {
    this.#change(id, { live: false });
  }

  #port(): TrackerConversations | null {
    return this.#deps.tracker().conversations ?? null;
  }

  #order(entries: readonly NewEntry[]): void {
    this.#deps.deliveries.orderNow(entries);
  }
}

const done: Written = { outcome: "done" };
