// The way of finished work to its person, and back: branch, pull request, reviews and checks.

import { randomUUID } from "node:crypto";
import type { RepositoryConfig } from "../config/git.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { type Issue, normalState } from "../model/issue.ts";
import type { OfferOrder } from "../orchestrator/messages.ts";
import type { Offered } from "../orchestrator/records.ts";
import type { Refusal } from "../repository/push.ts";
import { repositoryNamed, repositoryOfWork } from "../repository/routing.ts";
import { gitHead } from "../repository/survey.ts";
import type { WorkDiff } from "../workspace/diff.ts";
import type { BranchBook } from "../workspace/fill.ts";
import type { ConversationTable } from "./conversation-table.ts";
import { type Delivered, fresh, type Reach } from "./delivered.ts";
import { HeldWork, type Remade } from "./held-work.ts";
import { type CommentPorts, LivingComments } from "./living-comment.ts";
import { isSetBack } from "./moved-branch.ts";
import { offerOf } from "./offer.ts";
import { Outbox, type Written } from "./outbox.ts";
import { Outcomes } from "./outcomes.ts";
import { Radar, type RadarPorts } from "./radar.ts";
import { siteProblems } from "./reachable.ts";
import { type DeliveryStore, type Entry, type Feedback, type NewEntry, startKey } from "./store.ts";
import { type UpdatePorts, Updates } from "./updates.ts";
import { Watch } from "./watch.ts";
import { Writes } from "./writes.ts";

export interface DeliveriesDeps extends Reach {
  readonly store: DeliveryStore;
  /** Omitted: no branch is updated when its base moves. */
  readonly updates?: UpdatePorts & RadarPorts;
  /** Omitted: no comments are written to the tracker. */
  readonly comments?: CommentPorts;
  /** Carries out a command of a comment; omitted: there are none. */
  runCommand?(entry: Entry): Promise<Written>;
  /** Makes a step in a conversation; omitted: there are none. */
  runConversation?(entry: Entry): Promise<Written>;
  /** As `trialPush`; omitted: pushes are not tried at start. */
  tryPush?(repository: RepositoryConfig): Promise<Refusal | null>;
  /** As `HeldWork` needs it. */
  remake?(issueId: string, signal: AbortSignal): Promise<Remade | null>;
  /** Whether a write is this server's to make now; omitted: each is. */
  mayWrite?(): boolean;
  /** Called after each such try. */
  conversationWritten?(entry: Entry, written: Written): void;
}

const offering: ReadonlySet<string> = new Set(["push", "pull_request"]);
const unled = "it is not certain that this server leads the fleet";
const notNow = (wall: number): Written => ({ outcome: "later", at: wall + 5_000, reason: unled });

/** Every delivery, its writes and what comes back. */
export class Deliveries implements BranchBook {
  readonly #deps: DeliveriesDeps;
  readonly #outbox: Outbox;
  readonly #watch: Watch;
  readonly #updates: Updates | null;
  readonly #radar: Radar | null;
  readonly #comments: LivingComments | null;
  readonly #held: HeldWork;
  #version = 0;
  /** Reads what every delivery has become, now. Never rejects. */
  readonly lookAtAll = (): Promise<void> => this.#watch.all(true);

  constructor(deps: DeliveriesDeps) {
    const { clock, store, updates: ports } = deps;
    this.#deps = deps;
    this.#held = new HeldWork(deps);
    const save = this.#save.bind(this);
    const order = (issue: Issue, entry: Omit<NewEntry, "issueId">) => this.order(issue, entry);
    this.#comments = deps.comments
      ? new LivingComments({ ...deps, ...deps.comments, save, order })
      : null;
    const isMergeable = (issueId: string, head: string) => this.#watch.isMergeable(issueId, head);
    const writes = new Writes({ ...deps, save, comments: this.#comments, isMergeable });
    const look = (issueId: string) => this.#watch.look(issueId);
    const outcomes = new Outcomes({ ...deps, save, comments: this.#comments, look });
    this.#outbox = new Outbox({
      clock,
      store,
      log: deps.log,
      write: async (entry, signal) =>
        deps.mayWrite?.() === false ? notNow(clock.wall()) : writes.make(entry, signal),
      onWritten: (entry, written) => outcomes.take(entry, written),
    });
    const kick = () => this.#outbox.kick();
    const tellFeedback = (issueId: string) => this.#watch.tellFeedback(issueId);
    this.#updates = ports ? new Updates({ ...deps, ports, save, kick, tellFeedback }) : null;
    this.#radar = ports ? new Radar({ ...deps, ports, save }) : null;
    this.#watch = new Watch({ ...deps, save, kick, updates: this.#updates });
  }

  /** Grows with every change of what `of` returns. */
  get version(): number {
    return this.#version;
  }

  /** How many writes to other systems wait. */
  get waiting(): number {
    return this.#deps.store.waiting();
  }

  of(issueId: string): Delivered | null {
    return this.#deps.store.of(issueId);
  }

  isOurs(repository: string, branch: string, issueId: string): boolean {
    const known = this.of(issueId);
    return known?.repository === repository && known.branch === branch && known.pushed !== null;
  }

  others(repository: string, issueId: string): readonly string[] {
    const isOther = (one: Delivered) => one.repository === repository && one.issueId !== issueId;
    return this.#deps.store.all().flatMap((one) => (isOther(one) && one.branch) || []);
  }

  /** What waits for its people, if no attempt has worked on it since. */
  offered(latestAttempt: (issueId: string) => string | null): readonly Offered[] {
    const waiting = this.#deps.store.all().filter(({ over, head }) => !over && head !== null);
    return waiting
      .filter(({ issueId, attemptId }) => latestAttempt(issueId) === attemptId)
      .map(({ offeredAt: since, ...one }) => ({ ...one, since }));
  }

  /** Continues after a restart: waiting writes, open pull requests, and offers that a crash cut off. */
  start(open: readonly OfferOrder[]): void {
    this.#updates?.start();
    for (const order of open) {
      if (this.of(order.issue.id)?.attemptId !== order.attemptId) this.offer(order);
    }
    this.#outbox.kick();
    this.#comments?.start();
    this.#watch.start();
    this.#radar?.start();
    void this.#tellProblems();
  }

  async #tellProblems(): Promise<void> {
    const { config, log } = this.#deps;
    for (const problem of await siteProblems(config(), this.#deps)) log.warn(problem);
  }

  record({ issue, repository, branch, base, path }: Parameters<BranchBook["record"]>[0]): void {
    const known = this.of(issue.id);
    if (known && this.isOurs(repository, branch, issue.id)) {
      this.#save({ ...known, workspacePath: path });
      return;
    }
    const startedAt = known?.startedAt ?? this.#deps.clock.wall();
    this.#save({ ...fresh(issue), repository, branch, base, workspacePath: path, startedAt });
  }

  /** Brings the work of a run to its person. Durable when it returns. */
  offer(order: OfferOrder): void {
    if (order.waitsFor !== undefined) return this.#wait(order, order.waitsFor);
    const known = this.of(order.issue.id);
    const rule = known && this.#ruleOf(order.issue, known);
    const updates = this.#updates;
    if (!order.updates || !known || !rule || updates === null) return this.#offer(order);
    void updates
      .before(known, rule, order.updates)
      .then((outcome) => {
        // The agent gets the conflict first, and its next turn is offered.
        if (outcome === "conflicts") return;
        this.#offer({ ...order, head: this.of(order.issue.id)?.head ?? order.head });
      })
      .catch((error: unknown) => {
        // The next start offers it, as it does after a crash.
        const { identifier } = order.issue;
        const reason = messageOf(error);
        this.#deps.log.error("not offered", { issue_identifier: identifier, reason });
      });
  }

  /** Its work is done, and another branch goes first. */
  #wait({ issue, head, from, workspacePath }: OfferOrder, waitingFor: string): void {
    const known = this.of(issue.id) ?? fresh(issue);
    const { mode } = this.#deps.config().delivery;
    const path = workspacePath ?? known.workspacePath;
    const next = { ...known, issue, mode, waitingFor, head: head ?? known.head };
    this.#save({ ...next, from: from ?? known.from, workspacePath: path, over: false });
  }

  #offer(order: OfferOrder): void {
    const { issue, attemptId } = order;
    const { config, store, clock } = this.#deps;
    const known = this.of(issue.id) ?? fresh(issue);
    const rule = this.#ruleOf(issue, known);
    const mode = rule === null || known.branch === null ? "none" : config().delivery.mode;
    const given = store.givenTo(attemptId);
    const said = this.#deps.lastMessage(attemptId);
    const { next, entries } = offerOf(order, { known, mode, given, said, wall: clock.wall() });
    this.#save(next, entries);
    store.answer(attemptId);
    this.#outbox.kick();
    // What arrived while the attempt ran was not read by it.
    this.#watch.tellFeedback(issue.id);
  }

  /** By hand: everything that was refused is tried again at once, and the rounds begin anew. */
  async deliver(issueId: string): Promise<Delivered> {
    const { store, clock, rests, post } = this.#deps;
    await Promise.all([this.settled(issueId), this.#updates?.ready(issueId)]);
    await this.#held.offer(issueId);
    const known = this.of(issueId);
    if (known === null || known.head === null || known.mode === "none") {
      throw new SymphonyError("nothing_to_deliver", "the issue has no work that can be delivered", {
        hint: "symphony diff ISSUE shows what its workspace holds",
      });
    }
    const again = { type: "offer.resumed", issueId } as const;
    await rests({ ...again, workspacePath: known.workspacePath, anew: true });
    const isWaiting = store.waitingOf(issueId).some(({ kind }) => offering.has(kind));
    store.retry(issueId, clock.wall());
    const isOpen = known.mode === "branch" || known.pullRequest?.state === "open";
    const isThere = known.pushed === known.head && isOpen && !isSetBack(known, store);
    this.#save({ ...known, remakes: !isThere });
    if (!isWaiting && !isThere) {
      const { issue, attemptId, workspacePath, head, from } = known;
      const order = { issue, attemptId: `${attemptId}:${randomUUID()}`, workspacePath, head, from };
      this.offer({ ...order, moves: true });
      this.#save({ ...(this.of(issueId) ?? known), attemptId });
    }
    this.#outbox.kick();
    await this.settled(issueId);
    await this.#watch.look(issueId);
    const now = this.of(issueId) ?? known;
    // A person opens what a person had closed; or what was refused is done.
    if (!now.over && now.problem === null && (known.over || now.pushed === now.head))
      post({ ...again, workspacePath: now.workspacePath, mended: !known.over });
    this.#watch.tellFeedback(issueId);
    return now;
  }

  /** What was delivered for the issue, also when its workspace is gone; null: nothing was pushed. Rejects with `no_repository`. */
  async diff(issueId: string): Promise<WorkDiff | null> {
    const known = this.of(issueId);
    const rule = repositoryNamed(known?.repository, this.#deps.config().git.repositories);
    if (!known?.branch || known.pushed === null || rule === null) return null;
    const { branch, pushed: head, from } = known;
    return this.#deps.diff(rule, { branch, head, from });
  }

  /** Moves the issue to the state for running work, once for each attempt. */
  moveTo(issue: Issue, to: string, key: string): void {
    const payload = { to, from: normalState(issue.state) };
    this.order(issue, {
      kind: "start",
      key: startKey(key),
      target: `tracker:${issue.id}`,
      payload,
    });
  }

  /** Orders a write about an issue, once for each key. Durable when it returns. */
  order(issue: Issue, entry: Omit<NewEntry, "issueId">): void {
    this.#deps.store.add([{ ...entry, issueId: issue.id }]);
    this.remember(issue);
    this.#outbox.kick();
  }

  /** Orders writes in conversations, once for each key. Durable when it returns. */
  orderNow(entries: readonly NewEntry[]): void {
    this.#deps.store.add(entries);
    this.#outbox.kick();
  }

  /** The conversations that are answered. */
  get conversations(): ConversationTable<NewEntry> {
    return this.#deps.store.conversations;
  }

  /** The writes about an issue that are still to be made. */
  waitingOf(issueId: string): readonly Entry[] {
    return this.#deps.store.waitingOf(issueId);
  }

  /** Whether a write with this key was ever ordered. */
  isOrdered(key: string): boolean {
    return this.#deps.store.isOrdered(key);
  }

  /** Comments of the issue count from this time on, ms since the epoch; from now on if that was not asked before. */
  commentsFrom(issue: Issue): number {
    const known = this.of(issue.id) ?? { ...fresh(issue), over: true };
    if (known.commentsFrom !== undefined) return known.commentsFrom;
    const commentsFrom = this.#deps.clock.wall();
    this.#save({ ...known, commentsFrom });
    return commentsFrom;
  }

  /** Of the other issues comments count from the next time that `commentsFrom` is asked. */
  keepComments(isKept: (issueId: string) => boolean): void {
    for (const { commentsFrom, ...known } of this.#deps.store.all())
      if (commentsFrom !== undefined && !isKept(known.issueId)) this.#save(known);
  }

  /** What the next turn of an attempt must read: also what an attempt was given that ended without an offer. */
  feedback(issueId: string, attemptId: string): readonly Feedback[] {
    return this.#deps.store.unanswered(issueId, attemptId);
  }

  /** What came back last, whatever became of it. */
  lastFeedback(issueId: string): Feedback | null {
    return this.#deps.store.lastFeedback(issueId);
  }

  /** A turn has begun with this feedback. */
  given(
    issueId: string,
    feedback: readonly Pick<Feedback, "source" | "hash">[],
    attemptId: string,
  ): void {
    this.#deps.store.give(issueId, feedback, attemptId);
  }

  /**
   * Resolves when no write of the issue is being made, and its workspace is not being updated; a write
   * that must wait is not waited for.
   */
  async settled(issueId: string): Promise<void> {
    await this.#updates?.settled(issueId);
    for (const target of ["delivery", "answers"]) {
      await this.#outbox.settled(`${target}:${issueId}`);
    }
  }

  /** Resolves when every write that is due was tried. */
  idle(): Promise<void> {
    return this.#outbox.idle();
  }

  /** Before an agent or a person starts in the issue's workspace. */
  async ready(issueId: string): Promise<void> {
    await this.#held.settled(issueId);
    await this.#updates?.ready(issueId);
  }

  /** Whether the remote has the commit that is checked out at `path`, as the remote itself said. */
  async isDelivered(path: string, issueId: string): Promise<boolean> {
    await this.settled(issueId);
    const pushed = this.of(issueId)?.pushed ?? null;
    return pushed !== null && (await gitHead(path))?.head === pushed;
  }

  /** Something changed at the site: reads the pull requests at once. Resolves when they were read; never rejects. */
  async hint(repository: string, number: number | null): Promise<void> {
    const meant = this.#deps.store.all().filter((one) => {
      const isIt = one.repository === repository && one.pullRequest?.state !== "merged";
      return isIt && (number === null || one.pullRequest?.number === number);
    });
    await Promise.all(meant.map(({ issueId }) => this.#watch.look(issueId)));
  }

  /** The configured repositories with this id at their site, whatever their names are there now. */
  async rulesWithId(id: string): Promise<readonly RepositoryConfig[]> {
    const { config, forgeFor } = this.#deps;
    const isIt = (rule: RepositoryConfig) =>
      forgeFor(rule)
        ?.id()
        .then((known) => known === id)
        .catch(() => false);
    const rules = config().git.repositories;
    const found = await Promise.all(rules.map(isIt));
    return rules.filter((_, at) => found[at] === true);
  }

  /** The delivery whose pull request has this number. */
  ofPullRequest(repository: string, number: number): Delivered | null {
    const isIt = (one: Delivered) =>
      one.repository === repository && one.pullRequest?.number === number;
    return this.#deps.store.all().find(isIt) ?? null;
  }

  async close(): Promise<void> {
    this.#comments?.close();
    await this.#held.close();
    await this.#watch.close();
    await this.#radar?.close();
    await this.#updates?.close();
    await this.#outbox.close();
    this.#deps.store.close();
  }

  /** The rule that the workspace was cloned by, as long as it is configured. */
  #ruleOf(issue: Issue, known: Delivered): RepositoryConfig | null {
    return repositoryOfWork(issue, known, this.#deps.config().git.repositories);
  }

  /** The store knows the issue from now on. */
  remember(issue: Issue): void {
    if (this.of(issue.id) === null) this.#save({ ...fresh(issue), over: true });
  }

  #save(delivery: Delivered, entries: readonly NewEntry[] = []): void {
    this.#deps.store.save(delivery, entries);
    this.#version += 1;
  }
}
