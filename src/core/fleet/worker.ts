import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { AgentKind } from "../agent/kinds.ts";
import { type Clock, pause, within } from "../clock.ts";
import { leaseRange } from "../config/fleet.ts";
import { SymphonyError } from "../model/errors.ts";
import { Guardian } from "../process/guardian.ts";
import { hasProc } from "../process/table.ts";
import { WorkerAgents } from "./agents.ts";
import { type Engine, type Job, type Part, skewOf } from "./engine.ts";
import { Hosted, type HostedDeps } from "./hosted.ts";
import type { Identity } from "./join.ts";
import { afterRenewal, Deadline, grantedMs } from "./judging.ts";
import {
  claimLease,
  giveBackLease,
  leaseTimes,
  type Presence,
  protocol,
  readLead,
  renewLease,
} from "./lease.ts";
import { checksFor, endOrders, orderOf } from "./orders.ts";
import { OwnDir } from "./own-dir.ts";
import { lost as workerLost } from "./runs.ts";
import { keyFor } from "./sealing.ts";
import { Taking } from "./taking.ts";
import { EarlyParts, readStreams, Talk } from "./talk.ts";

export interface WorkerOptions {
  readonly engine: Engine;
  readonly identity: Identity;
  readonly kinds: readonly AgentKind[];
  readonly labels: readonly string[];
  /** Attempts at the same time. */
  readonly capacity: number;
  /** Its own directory, which this process has locked. */
  readonly dir: string;
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  readonly version: string;
  readonly prepare: HostedDeps["prepare"];
  hide(value: string): void;
  log(message: string, fields?: Readonly<Record<string, unknown>>): void;
  readonly signal: AbortSignal;
}

const clockCheckMs = 60_000;
const watchMs = 250;
const firstListMs = 10_000;

/**
 * A worker: takes the attempts that the orchestrator places on it while its lease lasts. Resolves when `signal` aborts or the
 * orchestrator lets it go, with no agent left. Rejects with `worker_refused` when another process is this worker, or the
 * orchestrator has removed it, and with `engine_refused`.
 */
export async function runWorker(options: WorkerOptions): Promise<void> {
  if (!hasProc) {
    const message = "a worker needs Linux: elsewhere agents that hang cannot be found and ended";
    throw new SymphonyError("worker_refused", message, { hint: "run it on a Linux machine" });
  }
  const worker = new FleetWorker(options);
  await worker.run();
}

class FleetWorker {
  readonly #options: WorkerOptions;
  readonly #key: Buffer;
  readonly #sinceWall: number;
  readonly #runs = new Map<
    string,
    { readonly hosted: Hosted; readonly job: Job; readonly token: string }
  >();
  readonly #talks = new Map<string, Talk>();
  readonly #taken = new Set<string>();
  readonly #early: EarlyParts;
  readonly #agents: WorkerAgents;
  readonly #dir: OwnDir;
  /** Aborted: the next renewal comes at once. */
  #soon = new AbortController();
  #guardian: Guardian;
  #taking: Taking | null = null;
  #epoch = "";
  #times = leaseTimes(leaseRange.usual);
  #instance = "";
  #beat = 0;
  readonly #deadline = new Deadline();
  #ending: Promise<void> | null = null;
  #skewMs = 0;
  #heldSince: number | null = null;
  readonly #stop = new AbortController();
  #failure: unknown = null;

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#key = keyFor(options.identity.secret, "letters");
    this.#sinceWall = options.clock.wall();
    this.#early = new EarlyParts(options.clock);
    const { kinds, clock, env, dir, hide, log, identity } = options;
    this.#dir = new OwnDir(dir);
    this.#agents = new WorkerAgents({
      ...{ kinds, clock, env, dir, hide, log, key: this.#key, worker: identity.id },
      workspaceRoot: this.#dir.workspaceRoot,
      changed: () => this.#soon.abort(),
    });
    this.#guardian = new Guardian(this.#dir.runId);
  }

  async run(): Promise<void> {
    const { engine, identity, signal, clock } = this.#options;
    await this.#dir.enter(this.#options.log);
    const ends = AbortSignal.any([signal, this.#stop.signal]);
    this.#taking = new Taking({
      open: () =>
        engine.taker({
          worker: identity.id,
          take: (job, token) => this.#take(job, token),
          lockMs: leaseRange.usual,
          concurrency: this.#options.capacity,
        }),
      waiting: () => engine.waiting(identity.id),
      log: this.#options.log,
    });
    const reading = readStreams({
      ...{ engine, signal: ends },
      streams: () => [{ way: "down", worker: identity.id }],
      received: (part) => this.#received(part),
    });
    const tried = (work: Promise<unknown>) =>
      within(
        work.catch(() => {}),
        this.#times.renewMs,
      );
    const watch = setInterval(() => this.#watch(), watchMs);
    try {
      await this.#checkClock();
      const startedAt = clock.now();
      let checkedAt = startedAt;
      while (!ends.aborted) {
        await tried(this.#tick());
        if (clock.now() - checkedAt > clockCheckMs) {
          checkedAt = clock.now();
          await tried(this.#checkClock());
        }
        // The list of agents comes with the first look of the server.
        const isNew = !this.#agents.isAsked && clock.now() - startedAt < firstListMs;
        const next = AbortSignal.any([ends, this.#soon.signal]);
        await pause(clock, isNew ? watchMs : this.#times.renewMs, next).catch(() => {});
        this.#soon = new AbortController();
      }
    } finally {
      await this.#endAll("the worker is stopping");
      clearInterval(watch);
      this.#agents.close();
      this.#stop.abort();
      const presence = { ...this.#presence(), instance: this.#before };
      await tried(giveBackLease(engine, { worker: identity.id, key: this.#key, presence }));
      await within(this.#taking.close(), this.#times.renewMs);
      await within(reading, this.#times.renewMs);
      this.#guardian.dismiss();
      await this.#dir.leave();
    }
    if (this.#failure !== null) throw this.#failure;
  }

  /** One renewal; everything that was renewed counts from the moment before it was asked for. */
  async #tick(): Promise<void> {
    const { engine, identity, clock } = this.#options;
    if (engine.trouble !== null)
      throw this.#refuse("engine_refused", `the engine refuses this worker: ${engine.trouble}`);
    await this.#ending;
    await this.#readOrders();
    this.#agents.asked(await checksFor(engine, identity.id));
    const from = clock.now();
    const renewal = { worker: identity.id, presence: this.#presence(), key: this.#key };
    if (this.#instance === "") return this.#claim(from);
    const answer = await renewLease(engine, renewal);
    // Late, for a lease that this process gives up or has given up.
    if (this.#ending !== null || renewal.presence.instance !== this.#instance) return;
    const next = afterRenewal(answer);
    if (next === "wait") return;
    if ("ends" in next) return this.#endAll(next.ends);
    this.#extend(from, next.leadMs);
    this.#taking?.keep();
    await this.#endOrdered();
    await this.#renewJobs();
    await this.#taking?.replaceStuck(this.#runs.size < this.#options.capacity);
  }

  async #claim(from: number): Promise<void> {
    const { engine, identity, clock, log, capacity } = this.#options;
    const lead = readLead(await engine.lead());
    if (lead === null) return;
    if (lead.epoch !== this.#epoch) this.#taken.clear();
    this.#epoch = lead.epoch;
    // It stays for the whole epoch.
    this.#times = leaseTimes(lead.leaseMs);
    // Not its own before the engine says so: until then it has no lease that could run out.
    const instance = randomUUID();
    const answer = await claimLease(engine, {
      ...{ worker: identity.id, key: this.#key, before: this.#before },
      presence: { ...this.#presence(), instance, takes: true },
    }).catch(() => "");
    const leadMs = grantedMs(answer);
    if (leadMs !== null && this.#instance !== "") return;
    if (leadMs !== null) {
      this.#instance = instance;
      this.#heldSince = null;
      this.#extend(from, leadMs);
      this.#taking?.keep();
      return log("the worker is ready", { worker: identity.name, capacity });
    }
    // Not answered: it may have been taken, and the next claim replaces it.
    if (answer === "") this.#before = instance;
    if (answer !== "held") return;
    this.#heldSince ??= clock.now();
    if (clock.now() - this.#heldSince < this.#times.leaseMs + this.#times.renewMs) return;
    throw this.#refuse(
      "worker_refused",
      `another process is the worker ${identity.name} already: its directory was copied, or it runs twice`,
    );
  }

  /** The instance that this process was before. */
  #before = "";

  #extend(from: number, leadMs: number): void {
    const { clock } = this.#options;
    this.#deadline.extend(from, this.#times, leadMs);
    if (!this.#guardian.isAlive) this.#guardian = new Guardian(this.#dir.runId);
    this.#guardian.extend(this.#deadline.at - clock.now());
  }

  async #renewJobs(): Promise<void> {
    await Promise.all(
      [...this.#runs.values()].map(async ({ hosted, job, token }) => {
        const kept = await job
          .extendLock(token, this.#times.leaseMs)
          // The engine does not answer: that says nothing of the job.
          .catch(() => null);
        if (kept === 0) void hosted.end(lost("its job is not this worker's any more"));
      }),
    );
  }

  /** Notices at once, after a standstill too, that the lease has run out. */
  #watch(): void {
    if (!this.#deadline.isOver(this.#options.clock.now()) || this.#instance === "") return;
    void this.#endAll("its lease could not be renewed in time");
  }

  requireLease(): void {
    if (!this.#deadline.isOver(this.#options.clock.now())) return;
    throw lost("the lease of the worker has run out");
  }

  /** Ends every agent, and only then gives up the lease. */
  #endAll(why: string): Promise<void> {
    this.#ending ??= this.#end(why).finally(() => {
      this.#ending = null;
    });
    return this.#ending;
  }

  async #end(why: string): Promise<void> {
    const { log } = this.#options;
    this.#deadline.end();
    const ended = [...this.#runs.values()].map(({ hosted }) => hosted.end(lost(why)));
    if (ended.length > 0) log("agents are ended", { reason: why, agents: ended.length });
    await Promise.all(ended);
    await this.#dir.endProcesses();
    this.#guardian.rest();
    this.#early.clear();
    if (this.#instance !== "") this.#before = this.#instance;
    this.#instance = "";
  }

  async #take(job: Job, token: string): Promise<void> {
    const { engine, identity } = this.#options;
    const run = String(job.id);
    this.requireLease();
    if (!run.endsWith(`-${this.#epoch}`)) throw lost("it was placed by an earlier server");
    // One that was lost in between has no claim to what it was to get: it may run elsewhere.
    const meant = job.data["instance"];
    if (meant !== undefined && meant !== this.#instance) throw lost("it was placed before that");
    // An engine that failed over gives what it has given already.
    if (this.#taken.has(run)) throw lost("it was taken before");
    this.#taken.add(run);
    const hosted = new Hosted(run, this.#hostedDeps());
    const talk = new Talk(
      run,
      {
        ...{ engine, key: this.#key, stream: { way: "up", worker: identity.id } },
        ...{ sends: `up|${identity.id}`, receives: `down|${identity.id}` },
      },
      hosted,
    );
    hosted.attach(talk);
    this.#runs.set(run, { hosted, job, token });
    // With the run in the presence already: an order that comes later finds it there.
    if (await this.#isOrderedToEnd(run)) {
      void hosted.end(lost("the server has given it up"));
    } else {
      this.#talks.set(run, talk);
      for (const { seq, isLast, data } of this.#early.take(run)) talk.received(seq, isLast, data);
    }
    await hosted.over;
    this.#runs.delete(run);
    this.#talks.delete(run);
    this.#early.close(run);
  }

  #hostedDeps(): HostedDeps {
    const { kinds, clock, env, dir, hide, log, prepare } = this.#options;
    return {
      ...{ kinds, clock, env, hide, log, dir, prepare, agents: this.#agents },
      workspaceRoot: this.#dir.workspaceRoot,
      requireLease: () => this.requireLease(),
    };
  }

  #received(part: Part): void {
    const talk = this.#talks.get(part.run);
    if (talk) return talk.received(part.seq, part.isLast, part.data);
    this.#early.add(part);
  }

  /** Not known: as if ordered, for the server may have given it to another worker. */
  async #isOrderedToEnd(run: string): Promise<boolean> {
    return (await endOrders(this.#options.engine, [run]).catch(() => [run])).length > 0;
  }

  /** Attempts that the server has given up although it cannot say so in their talk. */
  async #endOrdered(): Promise<void> {
    for (const run of await endOrders(this.#options.engine, [...this.#runs.keys()]))
      void this.#runs.get(run)?.hosted.end(lost("the server has given it up"));
  }

  /** What the orchestrator has ordered while it may not have been reachable: to leave, or that it was removed. */
  async #readOrders(): Promise<void> {
    const { engine, identity, log } = this.#options;
    const order = await orderOf(engine, identity.id);
    if (order === "removed") {
      throw this.#refuse(
        "worker_refused",
        `the worker ${identity.name} was removed from the fleet`,
      );
    }
    if (order !== "drain" || this.#runs.size > 0) return;
    log("the worker is drained", { worker: identity.name });
    this.#stop.abort();
  }

  async #checkClock(): Promise<void> {
    this.#skewMs = Math.round(await skewOf(this.#options.engine, this.#options.clock));
  }

  #presence(): Presence {
    const { capacity, version } = this.#options;
    this.#beat += 1;
    return {
      ...{ instance: this.#instance, epoch: this.#epoch, beat: this.#beat },
      ...{ host: hostname(), pid: process.pid, sinceWall: this.#sinceWall },
      ...{ labels: [...this.#options.labels], capacity, version, protocol, skewMs: this.#skewMs },
      runs: [...this.#runs.keys()],
      leaseMs: this.#times.leaseMs,
      agents: this.#agents.found,
      ...{ left: false, afterDeath: this.#dir.afterDeath },
      takes: this.#instance === "" || this.#taking?.isRunning === true,
    };
  }

  #refuse(code: "worker_refused" | "engine_refused", message: string): SymphonyError {
    const hint =
      code === "engine_refused"
        ? "correct the URL of the engine"
        : "symphony workers invite, on the server, then join again with another --dir";
    this.#failure = new SymphonyError(code, message, { hint });
    this.#stop.abort();
    return this.#failure as SymphonyError;
  }
}

const lost = (why: string): SymphonyError =>
  workerLost(`the agent on the worker was ended: ${why}`);
