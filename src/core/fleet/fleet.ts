// Attempts on other machines: who leads, which workers there are, and where their agents are.

import { hostname } from "node:os";
import { pause, within } from "../clock.ts";
import { messageOf, type SymphonyError } from "../model/errors.ts";
import type { WorkerHost } from "../model/worker.ts";
import { admitWorkers } from "./admission.ts";
import { listFor, type WantedAgent } from "./agents.ts";
import { copySize } from "./copy.ts";
import type { Engine, Queue } from "./engine.ts";
import { isSettled } from "./judging.ts";
import { Lead } from "./lead.ts";
import { type LeaseTimes, leadOf, leaseTimes, readLead, readPresence } from "./lease.ts";
import { lettersKey, type Member, Members, type MembersOptions } from "./members.ts";
import { openEngine } from "./opening.ts";
import { forgetWorker, orderChecks, orderEnd, orderWorker } from "./orders.ts";
import type { Placement } from "./remote.ts";
import { judge, lost, type Run } from "./runs.ts";
import { type Sighting, sighted } from "./sighting.ts";
import { whyNothing } from "./standing.ts";
import { type Listener, readStreams, Talk } from "./talk.ts";

type Say = (message: string, fields?: Readonly<Record<string, unknown>>) => void;

export interface FleetOptions extends MembersOptions {
  readonly url: string;
  readonly leaseMs: number;
  readonly log: Record<"info" | "warn", Say>;
  /** The agents that workers are to check: those of the configuration, and those that operators chose. */
  agents(): readonly WantedAgent[];
  /** Called whenever what may be placed where has changed. */
  changed(workers: readonly WorkerHost[]): void;
  /** Called once, when another orchestrator leads the fleet that this one led: this server has to end. */
  overtaken(host: string): void;
}

const tickMs = 1_000;
const againMs = 30_000;

/** The orchestrator's side of a fleet. */
export class Fleet {
  readonly #options: FleetOptions;
  readonly #engine: Engine;
  readonly #members: Members;
  readonly #lead: string;
  readonly #times: LeaseTimes;
  readonly #sightings = new Map<string, Sighting>();
  readonly #runs = new Map<string, Run>();
  readonly #queues = new Map<string, Queue>();
  readonly #stop = new AbortController();
  /** Since when it leads; null: it does not. */
  #leadsSince: number | null = null;
  readonly #mine: Lead;
  #hasLed = false;
  #answeredAt: number;
  /** Members that were removed, until their lease is over. */
  readonly #removed = new Map<string, Member>();
  /** The list of agents that each member was given, by its id. */
  readonly #listed = new Map<string, string>();
  #asked = 0;
  #shown = "";
  #loops: Promise<unknown> = Promise.resolve();

  private constructor(options: FleetOptions, engine: Engine, members: Members) {
    this.#options = options;
    this.#engine = engine;
    this.#members = members;
    this.#lead = leadOf(members.epoch, hostname(), options.dataDir, options.leaseMs);
    this.#times = leaseTimes(options.leaseMs);
    this.#answeredAt = options.clock.now();
    this.#mine = new Lead(options.clock);
  }

  /** Connects; nothing is placed yet. Rejects as `openEngine` and `Members.open`. */
  static async open(options: FleetOptions): Promise<Fleet> {
    const members = await Members.open(options);
    const how = { fleet: members.fleet, tables: "make", log: options.log } as const;
    const engine = await openEngine(options.url, how);
    const fleet = new Fleet(options, engine, members);
    fleet.#loops = Promise.all([fleet.#watch(), fleet.#read(), fleet.#admit()]);
    return fleet;
  }

  /** The workers, as the scheduler places attempts on them. */
  get workers(): readonly WorkerHost[] {
    return this.#members.all.map((member) => this.#view(member));
  }

  async invite(validMs: number): Promise<{ readonly token: string; readonly untilWall: number }> {
    const wall = this.#options.clock.wall();
    const untilWall = wall + validMs;
    return { token: await this.#members.invite(untilWall, wall), untilWall };
  }

  /** No new attempts; with `drain` the worker's process ends when it runs none. Rejects with `worker_not_found`. */
  async cordon(
    name: string,
    { cordoned, drain }: { cordoned: boolean; drain: boolean },
  ): Promise<WorkerHost> {
    const member = await this.#members.cordon(name, cordoned);
    await orderWorker(this.#engine, member.id, drain ? "drain" : null);
    this.#tellChanges();
    return this.#view(member);
  }

  /**
   * Checks that the workspace at `path` can go to the worker `name` (null: to any); resolves with its size as a bundle. Rejects
   * with `worker_not_found`, or `workspace_error` and what cannot travel.
   */
  async measure(name: string | null, of: { path: string; maxBytes: number }) {
    if (name !== null) this.#members.named(name);
    return copySize(of.path, { maxBytes: of.maxBytes, signal: this.#stop.signal });
  }

  /** Its attempts end; it cannot come back without a new token. Rejects with `worker_not_found`. */
  async remove(name: string): Promise<void> {
    const member = this.#members.named(name);
    this.#removed.set(member.id, member);
    // Again with each look: the engine may be away now.
    await orderWorker(this.#engine, member.id, "removed").catch(() => {});
    await this.#members.remove(name);
    this.#tellChanges();
  }

  /** Throws `worker_lost` when the worker takes no attempts now. */
  place(name: string, attemptId: string): Placement {
    const member = this.#members.named(name);
    const presence = this.#sightings.get(member.id)?.presence ?? null;
    // An attempt that was begun before a person cordoned the worker continues there.
    if (presence === null || !this.#view({ ...member, cordoned: false }).ready) {
      throw lost(`the worker ${name} is not there any more`);
    }
    const name_ = `${attemptId}-${this.#members.epoch}`;
    const run: Run = {
      ...{ member, instance: presence.instance, sinceWall: presence.sinceWall },
      ...{ gone: Promise.withResolvers<SymphonyError>() },
      ...{ talk: null, dispatchedAt: null, wasSeen: false, missedAt: null },
      ...{ isWithdrawn: false, endOrder: "none" },
    };
    this.#runs.set(name_, run);
    return {
      run: name_,
      gone: run.gone.promise,
      leads: () => this.leads,
      talk: (listener) => this.#talk(name_, run, listener),
      dispatch: () => this.#dispatch(name_, run),
      withdraw: () => this.#withdraw(name_, run),
      close: () => {
        this.#runs.delete(name_);
        // The job of a worker that was lost is without a lock now.
        void this.#queues.get(member.id)?.drop(name_);
      },
    };
  }

  /** Whether no other orchestrator can lead now, so that what this one writes outside is its own to write. */
  get leads(): boolean {
    return this.#mine.lasts;
  }

  /** Before what a person writes; rejects as `Lead.require`. */
  readonly requireLead = (): Promise<void> => this.#mine.require(this.#times);

  /** Has every worker check its agents again. */
  checkAgents(): void {
    this.#asked += 1;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await within(this.#loops, this.#times.renewMs);
    await within(
      this.#engine.leave(this.#lead).catch(() => {}),
      this.#times.renewMs,
    );
    for (const queue of this.#queues.values())
      await within(
        queue.close().catch(() => {}),
        this.#times.renewMs,
      );
    await this.#engine[Symbol.asyncDispose]();
  }

  #talk(name: string, run: Run, listener: Listener): Talk {
    const { id } = run.member;
    const key = lettersKey(run.member);
    const ways = { sends: `down|${id}`, receives: `up|${id}` };
    run.talk = new Talk(
      name,
      { engine: this.#engine, key, stream: { way: "down", worker: id }, ...ways },
      listener,
    );
    return run.talk;
  }

  async #dispatch(name: string, run: Run): Promise<void> {
    const queue = this.#queues.get(run.member.id) ?? this.#engine.queue(run.member.id);
    this.#queues.set(run.member.id, queue);
    run.dispatchedAt = this.#options.clock.now();
    await queue.add(name, run.instance).catch((error: unknown) => {
      throw lost(
        `the worker ${run.member.name} could not be given the attempt: ${messageOf(error)}`,
      );
    });
  }

  async #withdraw(name: string, run: Run): Promise<void> {
    run.isWithdrawn = true;
    if (run.dispatchedAt === null) return run.gone.resolve(lost("it was not given to the worker"));
    await within(
      this.#queues.get(run.member.id)?.drop(name) ?? Promise.resolve(),
      this.#times.renewMs,
    );
    await within(
      this.#orderEnd(name, run).catch(() => {}),
      this.#times.renewMs,
    );
  }

  /** For a worker that its talk does not reach: it reads orders with each renewal, and before it takes a job. */
  async #orderEnd(name: string, run: Run): Promise<void> {
    const isReached = run.talk !== null && !run.talk.isOver && run.talk.isAnswered;
    if (!run.isWithdrawn || isReached || run.endOrder !== "none") return;
    await orderEnd(this.#engine, name);
    run.endOrder = "given";
  }

  async #watch(): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      let reason: unknown = new Error("it does not answer");
      await within(
        this.#tick().catch((error: unknown) => {
          reason = error;
        }),
        this.#times.awayMs,
      );
      if (clock.now() - this.#answeredAt > this.#times.awayMs) this.#loseEngine(reason);
      await pause(clock, tickMs, signal).catch(() => {});
    }
  }

  #loseEngine(reason: unknown): void {
    this.#leadsSince = null;
    // What no worker has yet can be placed again at once; what one has is judged when the engine is back.
    for (const run of this.#runs.values())
      if (run.dispatchedAt === null) run.talk?.fail(lost("the engine does not answer"));
    if (!this.#mine.isAway) {
      this.#options.log.warn("the engine of the fleet does not answer: nothing is placed", {
        reason: messageOf(reason),
        next: "symphony workers list",
      });
    }
    this.#mine.isAway = true;
    this.#tellChanges();
  }

  async #tick(): Promise<void> {
    const { clock, log } = this.#options;
    const members = [
      ...this.#members.all,
      ...this.#removed.values(),
      ...[...this.#runs.values()].map(({ member }) => member),
    ];
    const known = [...new Map(members.map((member) => [member.id, member])).values()];
    const ordered = [...this.#runs.values()].filter(({ endOrder }) => endOrder === "given");
    const from = clock.now();
    const { lead, presences } = await this.#engine.observe(
      this.#lead,
      this.#times.leaseMs,
      known.map(({ id }) => id),
    );
    const now = clock.now();
    const isGap = now - this.#answeredAt > this.#times.awayMs / 2;
    this.#answeredAt = now;
    if (this.#mine.isAway) log.info("the engine of the fleet answers again");
    this.#keepLead(lead, { from, now });
    for (const [at, member] of known.entries()) this.#saw(member, presences[at] ?? null, isGap);
    for (const run of ordered) run.endOrder = this.#sightings.get(run.member.id)?.beat ?? 0;
    for (const [name, run] of this.#runs) {
      const isMember = this.#members.all.some(({ id }) => id === run.member.id);
      const sighting = this.#sightings.get(run.member.id) ?? null;
      judge(run, { name, isMember, sighting, now, leaseMs: this.#times.leaseMs });
    }
    this.#tellChanges();
    if (this.#leadsSince === null) return;
    await this.#listAgents();
    for (const [name, run] of this.#runs) await this.#orderEnd(name, run);
    for (const member of this.#removed.values()) {
      const { lastBeatAt = 0 } = this.#sightings.get(member.id) ?? {};
      const isOver = now - lastBeatAt > this.#times.leaseMs;
      if (isOver && this.#removed.delete(member.id))
        void forgetWorker(this.#engine, this.#queues, member.id);
      else await orderWorker(this.#engine, member.id, "removed");
    }
  }

  /** Gives each member the agents to check, again when it shows that it has not read them. */
  async #listAgents(): Promise<void> {
    const { text, name } = listFor(this.#options.agents(), this.#asked);
    for (const member of this.#members.all) {
      const read = this.#sightings.get(member.id)?.presence?.agents?.list ?? name;
      if (this.#listed.get(member.id) === name && read === name) continue;
      await orderChecks(this.#engine, member, text);
      this.#listed.set(member.id, name);
    }
  }

  #keepLead(answer: string, { from, now }: { from: number; now: number }): void {
    const { log, overtaken } = this.#options;
    if (!answer.startsWith("held ")) {
      this.#mine.extend(from, this.#times);
      this.#leadsSince ??= now;
      this.#hasLed = true;
      return;
    }
    const isNew = this.#mine.heldBy === null;
    const host = readLead(answer.slice(5))?.host ?? "another machine";
    this.#mine.end(host);
    this.#leadsSince = null;
    for (const run of this.#hasLed ? this.#runs.values() : [])
      run.talk?.fail(lost("another orchestrator has taken the fleet over"));
    if (isNew && this.#hasLed) overtaken(host);
    if (isNew && !this.#hasLed)
      log.warn("another orchestrator leads this fleet: nothing is placed", { host });
  }

  #saw(member: Member, sealed: Buffer | null, isGap: boolean): void {
    const { clock, log } = this.#options;
    const presence = sealed === null ? null : readPresence(lettersKey(member), sealed);
    const before = this.#sightings.get(member.id) ?? null;
    const seen = sighted(before, presence, { now: clock.now(), wall: clock.wall(), isGap });
    const isLost = seen.missingWall !== null && before?.missingWall === null;
    if (isLost && before.presence?.left !== true)
      log.warn("a worker is lost", { worker: member.name });
    this.#sightings.set(member.id, seen);
  }

  #view(member: Member): WorkerHost {
    const sighting = this.#sightings.get(member.id) ?? null;
    const { presence = null, missingWall = null } = sighting ?? {};
    const why = whyNothing(member, sighting, {
      ...{ refusedBy: this.#mine.heldBy, leads: this.#leadsSince !== null, times: this.#times },
      ...{ epoch: this.#members.epoch, isSettled: this.#isSettled() },
    });
    const running = [...this.#runs.values()].filter((run) => run.member.id === member.id).length;
    return {
      name: member.name,
      host: presence?.host ?? null,
      labels: presence?.labels ?? [],
      capacity: presence?.capacity ?? 0,
      running,
      ready: why === null,
      why,
      agents: presence === null ? [] : (presence.agents?.agents ?? null),
      version: presence?.version ?? null,
      sinceWall: missingWall ?? presence?.sinceWall ?? member.joinedWall,
    };
  }

  #isSettled(): boolean {
    const sightings = this.#members.all.map(({ id }) => this.#sightings.get(id) ?? null);
    const lead = { since: this.#leadsSince, now: this.#options.clock.now() };
    return isSettled({ ...lead, epoch: this.#members.epoch }, this.#times.leaseMs, sightings);
  }

  #tellChanges(): void {
    const workers = this.workers;
    // Again from time to time: the scheduler notes what failed on a worker, which may be mended before this saw it.
    const round = Math.floor(this.#options.clock.now() / againMs);
    const shown = JSON.stringify([round, workers.map(({ running: _, ...rest }) => rest)]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#options.changed(workers);
  }

  #admit(): Promise<void> {
    const { clock, log } = this.#options;
    return admitWorkers({
      ...{ engine: this.#engine, members: this.#members, clock, log, signal: this.#stop.signal },
      leads: () => this.#leadsSince !== null,
    });
  }

  #read(): Promise<void> {
    return readStreams({
      ...{ engine: this.#engine, signal: this.#stop.signal },
      // What is read is deleted: another server's may not be.
      streams: () =>
        this.#leadsSince === null
          ? []
          : this.#members.all.map(({ id }) => ({ way: "up", worker: id })),
      received: ({ run, seq, isLast, data }) =>
        this.#runs.get(run)?.talk?.received(seq, isLast, data),
    });
  }
}
