// The way of finished work to its person, and back: branch, pull request, reviews and checks.

import { randomUUID } from "node:crypto";
import type { RepositoryConfig } from "../config/git.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { type Issue, normalState } from "../model/issue.ts";
import type { OfferOrder } from "../orchestrator/messages.ts";
import { repositoryFor } from "../repository/routing.ts";
import { gitHead } from "../repository/survey.ts";
import type { BranchBook } from "../workspace/fill.ts";
import { type Delivered, fresh, type Reach } from "./delivered.ts";
import { Outbox, type Written } from "./outbox.ts";
import { Radar, type RadarPorts } from "./radar.ts";
import type { DeliveryStore, Entry, Feedback, NewEntry } from "./store.ts";
import { type UpdatePorts, Updates } from "./updates.ts";
import { Watch } from "./watch.ts";
import { answersIn, replyText } from "./wording.ts";
import { Writes } from "./writes.ts";

export interface DeliveriesDeps extends Reach {
  readonly store: DeliveryStore;
  /** Omitted: no branch is updated when its base moves. */
  readonly updates?: UpdatePorts & RadarPorts;
}

/** Every delivery, its writes and what comes back. */
export class Deliveries implements BranchBook {
  readonly #deps: DeliveriesDeps;
  readonly #outbox: Outbox;
  readonly #watch: Watch;
  readonly #updates: Updates | null;
  readonly #radar: Radar | null;
  #version = 0;

  constructor(deps: DeliveriesDeps) {
    const { clock, store } = deps;
    this.#deps = deps;
    const save = (delivery: Delivered, entries?: readonly NewEntry[]) =>
      this.#save(delivery, entries);
    const writes = new Writes({ ...deps, save });
    this.#outbox = new Outbox({
      clock,
      store,
      write: (entry, signal) => writes.make(entry, signal),
      onWritten: (entry, written) => this.#written(entry, written),
    });
    const kick = () => this.#outbox.kick();
    const tellFeedback = (issueId: string) => this.#watch.tellFeedback(issueId);
    const ports = deps.updates;
    this.#updates = ports ? new Updates({ ...deps, ports, save, kick, tellFeedback }) : null;
    this.#radar = ports ? new Radar({ ...deps, ports, save }) : null;
    this.#watch = new Watch({ ...deps, save, kick, updates: this.#updates });
  }

  /** Grows with every change of what `of` returns. */
  get version(): number {
    return this.#version;
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

  /** Continues after a restart: waiting writes, open pull requests, and offers that a crash cut off. */
  start(open: readonly OfferOrder[]): void {
    for (const order of open) {
      if (this.of(order.issue.id)?.attemptId !== order.attemptId) this.offer(order);
    }
    this.#outbox.kick();
    this.#watch.start();
    this.#radar?.start();
  }

  record({ issue, repository, branch, base, path }: Parameters<BranchBook["record"]>[0]): void {
    const known = this.of(issue.id);
    if (known?.repository === repository && known.branch === branch && known.pushed !== null) {
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
      .before(known, rule)
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
  #wait({ issue, head, workspacePath }: OfferOrder, waitingFor: string): void {
    const known = this.of(issue.id) ?? fresh(issue);
    const { mode } = this.#deps.config().delivery;
    const path = workspacePath ?? known.workspacePath;
    const next = { ...known, issue, mode, waitingFor, head: head ?? known.head };
    this.#save({ ...next, workspacePath: path, over: false });
  }

  #offer(order: OfferOrder): void {
    const { issue, attemptId } = order;
    const { config, store, clock } = this.#deps;
    const known = this.of(issue.id) ?? fresh(issue);
    const rule = this.#ruleOf(issue, known);
    const mode = rule === null || known.branch === null ? "none" : config().delivery.mode;
    const head = order.head ?? known.head;
    const next: Delivered = {
      ...known,
      issue,
      issueIdentifier: issue.identifier,
      attemptId,
      mode,
      head,
      workspacePath: order.workspacePath ?? known.workspacePath,
      offeredAt: clock.wall(),
      problem: null,
      problemWith: null,
      over: mode === "none",
      waitingFor: mode === "none" ? "a person to look at it" : "its branch to be pushed",
    };
    const target = `delivery:${issue.id}`;
    const entry = (kind: string, key: string, payload: Entry["payload"]): NewEntry => ({
      ...{ kind, target, issueId: issue.id, payload },
      key: `${kind}:${issue.id}:${key}`,
    });
    const isNew = head !== null && mode !== "none";
    // An order that is repeated gets keys of its own: an earlier one may have been refused for good.
    const again = order.head === null ? attemptId : `${attemptId}:${head}`;
    const entries = [
      ...(isNew ? [entry("push", again, { commit: head })] : []),
      ...(isNew && mode === "pull_request" ? [entry("pull_request", again, { commit: head })] : []),
      ...this.#replies(next, order, entry),
      ...(order.moves ? [entry("move", attemptId, { from: normalState(issue.state), mode })] : []),
    ];
    this.#save(next, entries);
    store.answer(attemptId);
    this.#outbox.kick();
    // What arrived while the attempt ran was not read by it.
    if (store.newFeedback(issue.id).length > 0) this.#watch.tellFeedback(issue.id);
  }

  /** By hand: everything that was refused is tried again at once, and the rounds begin anew. */
  async deliver(issueId: string): Promise<Delivered> {
    const { store, clock } = this.#deps;
    const known = this.of(issueId);
    if (known === null || known.head === null || known.mode === "none") {
      throw new SymphonyError("nothing_to_deliver", "the issue has no work that can be delivered", {
        hint: "symphony diff ISSUE shows what its workspace holds",
      });
    }
    const waiting = store.waitingOf(issueId);
    if (waiting.length > 0) store.retry(issueId, clock.wall());
    else {
      const { issue, attemptId, workspacePath, head } = known;
      const order = { issue, attemptId: `${attemptId}:${randomUUID()}`, workspacePath, head };
      this.offer({ ...order, moves: true });
      const next = this.of(issueId);
      if (next) this.#save({ ...next, attemptId });
    }
    this.#outbox.kick();
    await this.#outbox.settled(`delivery:${issueId}`);
    await this.#watch.look(issueId);
    return this.of(issueId) ?? known;
  }

  /** Moves the issue to the state for running work, once for each attempt. */
  moveTo(issue: Issue, to: string, key: string): void {
    const { store } = this.#deps;
    const payload = { to, from: normalState(issue.state) };
    const target = `tracker:${issue.id}`;
    store.add([{ kind: "start", key: `start:${key}`, target, issueId: issue.id, payload }]);
    this.#remember(issue);
    this.#outbox.kick();
  }

  /** What the next turn of an issue's agent must read. */
  feedback(issueId: string): readonly Feedback[] {
    return this.#deps.store.newFeedback(issueId);
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
    await this.#outbox.settled(`delivery:${issueId}`);
  }

  /** Before an agent starts in the issue's workspace. */
  async ready(issueId: string): Promise<void> {
    await this.#updates?.ready(issueId);
  }

  /** Whether the remote has the commit that is checked out at `path`, as the remote itself said. */
  async isDelivered(path: string, issueId: string): Promise<boolean> {
    await this.settled(issueId);
    const pushed = this.of(issueId)?.pushed ?? null;
    return pushed !== null && (await gitHead(path))?.head === pushed;
  }

  /** Something changed at the site: reads the pull request at once. */
  hint(repository: string, number: number | null): void {
    for (const one of this.#deps.store.all()) {
      const isMeant = one.repository === repository && !one.over;
      if (isMeant && (number === null || one.pullRequest?.number === number)) {
        void this.#watch.look(one.issueId);
      }
    }
  }

  async close(): Promise<void> {
    await this.#watch.close();
    await this.#radar?.close();
    await this.#updates?.close();
    await this.#outbox.close();
    this.#deps.store.close();
  }

  /** The rule that the workspace was cloned by, as long as it is configured. */
  #ruleOf(issue: Issue, known: Delivered): RepositoryConfig | null {
    const { repositories } = this.#deps.config().git;
    if (known.repository === null) return repositoryFor(issue, repositories);
    return repositories.find(({ name }) => name === known.repository) ?? null;
  }

  #replies(
    { pullRequest }: Delivered,
    { attemptId, head }: OfferOrder,
    entry: (kind: string, key: string, payload: Entry["payload"]) => NewEntry,
  ): readonly NewEntry[] {
    if (pullRequest === null) return [];
    const given = this.#deps.store.givenTo(attemptId);
    const answers = answersIn(this.#deps.lastMessage(attemptId), given.length);
    return given.flatMap(({ replyTo, source, hash }, at) => {
      if (replyTo === null) return [];
      const body = replyText(answers.get(at + 1), head);
      return [entry("reply", `${source}:${hash}`, { remark: replyTo, body })];
    });
  }

  /** The store knows the issue from now on. */
  #remember(issue: Issue): void {
    if (this.of(issue.id) === null) this.#save({ ...fresh(issue), over: true });
  }

  #save(delivery: Delivered, entries: readonly NewEntry[] = []): void {
    this.#deps.store.save(delivery, entries);
    this.#version += 1;
  }

  #written(entry: Entry, written: Written): void {
    const { bus, log } = this.#deps;
    const known = this.of(entry.issueId);
    if (known === null) return;
    const { issueId, issueIdentifier } = known;
    if (written.outcome === "done" || written.outcome === "dropped") {
      const isMended = written.outcome === "done" && known.problemWith === entry.kind;
      if (isMended) this.#save({ ...known, problem: null, problemWith: null });
      if (entry.kind === "pull_request" || entry.kind === "push") void this.#watch.look(issueId);
      return;
    }
    if (written.outcome === "later") return;
    const problem = `${written.reason}; next: symphony deliver ${issueIdentifier}`;
    const isNews = known.problem !== problem;
    this.#save({ ...known, problem, problemWith: entry.kind });
    if (!isNews) return;
    log.warn("delivery", { issue_identifier: issueIdentifier, reason: written.reason });
    bus.publish({
      type: "delivery.refused",
      issueId,
      issueIdentifier,
      message: written.reason,
      data: { step: entry.kind, final: written.outcome === "final" },
    });
  }
}
