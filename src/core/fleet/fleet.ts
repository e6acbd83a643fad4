// Attempts on other machines: who leads, which workers there are, and where their agents are.

import { hostname } from "node:os";
import { type Clock, pause, within } from "../clock.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import type { WorkerHost } from "../model/worker.ts";
import { parseJson } from "../text/text.ts";
import { Engine, type Queue } from "./engine.ts";
import { Request } from "./join.ts";
import {
  leaseMs,
  leaveLead,
  type Presence,
  protocol,
  readPresence,
  renewMs,
  takeLead,
} from "./lease.ts";
import { type Member, Members } from "./members.ts";
import type { Placement } from "./remote.ts";
import { keyFor, seal, unseal } from "./sealing.ts";
import { type Listener, type Part, readStreams, Talk } from "./talk.ts";

export interface FleetOptions {
  readonly url: string;
  readonly dataDir: string;
  readonly clock: Clock;
  readonly log: {
    info(message: string, fields?: Readonly<Record<string, unknown>>): void;
    warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  };
  /** Called whenever what may be placed where has changed. */
  changed(workers: readonly WorkerHost[]): void;
}

/** Clocks that are further apart than this are no ground for times that two machines compare. */
const maxSkewMs = leaseMs / 4;
const tickMs = 1_000;

/** What is known of a member's process. */
interface Sighting {
  presence: Presence | null;
  /** Since when its lease is not there; null: it is. */
  missingSince: number | null;
  missingWall: number | null;
  beat: number;
}

interface Run {
  readonly member: Member;
  readonly instance: string;
  readonly gone: PromiseWithResolvers<SymphonyError>;
  talk: Talk | null;
  dispatchedAt: number | null;
  wasSeen: boolean;
  /** The member's beat at the time it was withdrawn. */
  withdrawnBeat: number | null;
}

/** The orchestrator's side of a fleet. */
export class Fleet {
  readonly #options: FleetOptions;
  readonly #engine: Engine;
  readonly #members: Members;
  readonly #lead: string;
  readonly #startedAt: number;
  readonly #sightings = new Map<string, Sighting>();
  readonly #runs = new Map<string, Run>();
  readonly #queues = new Map<string, Queue>();
  readonly #stop = new AbortController();
  #leads = false;
  #refusedBy: string | null = null;
  /** Until then a missing lease proves nothing: the engine may have lost it. */
  #unsureUntil: number;
  #engineRun = "";
  #shown = "";
  #loops: Promise<unknown> = Promise.resolve();

  private constructor(options: FleetOptions, engine: Engine, members: Members) {
    this.#options = options;
    this.#engine = engine;
    this.#members = members;
    this.#lead = `${members.epoch}|${hostname()}|${options.dataDir}`;
    this.#startedAt = options.clock.now();
    this.#unsureUntil = this.#startedAt + leaseMs;
  }

  /** Connects; nothing is placed yet. Rejects as `Engine.open` and `Members.open`. */
  static async open(options: FleetOptions): Promise<Fleet> {
    const members = await Members.open(options.dataDir);
    const engine = await Engine.open(options.url, members.fleet);
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
    const order = this.#engine.key("order", member.id);
    if (drain) await this.#engine.redis.set(order, "drain");
    else await this.#engine.redis.del(order);
    this.#tellChanges();
    return this.#view(member);
  }

  /** Its attempts end; it cannot come back without a new token. Rejects with `worker_not_found`. */
  async remove(name: string): Promise<void> {
    const member = await this.#members.remove(name);
    const { redis } = this.#engine;
    await redis.set(this.#engine.key("order", member.id), "removed", "EX", 86_400);
    this.#tellChanges();
  }

  /** Throws `worker_lost` when the worker takes no attempts now. */
  place(name: string, attemptId: string): Placement {
    const member = this.#members.named(name);
    const presence = this.#sightings.get(member.id)?.presence ?? null;
    if (presence === null || !this.#view(member).ready) {
      throw lost(`the worker ${name} is not there any more`);
    }
    const name_ = `${attemptId}-${this.#members.epoch}`;
    const run: Run = {
      ...{ member, instance: presence.instance, gone: Promise.withResolvers<SymphonyError>() },
      ...{ talk: null, dispatchedAt: null, wasSeen: false, withdrawnBeat: null },
    };
    this.#runs.set(name_, run);
    return {
      run: name_,
      gone: run.gone.promise,
      talk: (listener) => this.#talk(name_, run, listener),
      dispatch: () => this.#dispatch(name_, run),
      withdraw: () => this.#withdraw(name_, run),
      close: () => {
        this.#runs.delete(name_);
      },
    };
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await within(this.#loops, renewMs);
    await within(
      leaveLead(this.#engine, this.#lead).catch(() => {}),
      renewMs,
    );
    for (const queue of this.#queues.values())
      await within(
        queue.close().catch(() => {}),
        renewMs,
      );
    await this.#engine[Symbol.asyncDispose]();
  }

  #talk(name: string, run: Run, listener: Listener): Talk {
    const { id, secret } = run.member;
    const key = keyFor(Buffer.from(secret, "base64url"), "letters");
    const stream = this.#engine.key("down", id);
    const ways = { sends: `down|${id}`, receives: `up|${id}` };
    run.talk = new Talk(name, { redis: this.#engine.redis, key, stream, ...ways }, listener);
    return run.talk;
  }

  async #dispatch(name: string, run: Run): Promise<void> {
    const queue = this.#queues.get(run.member.id) ?? this.#engine.queue(run.member.id);
    this.#queues.set(run.member.id, queue);
    run.dispatchedAt = this.#options.clock.now();
    await queue.add(name).catch((error: unknown) => {
      throw lost(
        `the worker ${run.member.name} could not be given the attempt: ${messageOf(error)}`,
      );
    });
  }

  async #withdraw(name: string, run: Run): Promise<void> {
    run.withdrawnBeat = this.#sightings.get(run.member.id)?.beat ?? 0;
    if (run.dispatchedAt === null) return run.gone.resolve(lost("it was not given to the worker"));
    await within(this.#queues.get(run.member.id)?.drop(name) ?? Promise.resolve(), renewMs);
  }

  async #watch(): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await within(
        this.#tick().catch(() => {}),
        renewMs * 2,
      );
      await pause(clock, tickMs, signal).catch(() => {});
    }
  }

  async #tick(): Promise<void> {
    const { clock } = this.#options;
    await this.#keepLead();
    await this.#noticeRestart();
    const { redis } = this.#engine;
    const known = new Map(
      [...this.#members.all, ...[...this.#runs.values()].map(({ member }) => member)].map(
        (member) => [member.id, member],
      ),
    );
    for (const member of known.values()) {
      const sealed = await redis.hgetBuffer(this.#engine.key("worker", member.id), "presence");
      const key = keyFor(Buffer.from(member.secret, "base64url"), "letters");
      this.#saw(member, sealed === null ? null : readPresence(key, sealed));
    }
    const now = clock.now();
    for (const run of this.#runs.values()) this.#judge(run, now);
    this.#tellChanges();
  }

  async #keepLead(): Promise<void> {
    const { clock, log } = this.#options;
    const answer = await takeLead(this.#engine, this.#lead);
    const isHeld = answer.startsWith("held ");
    const by = isHeld ? (answer.split("|")[1] ?? "another machine") : null;
    if (by !== null && this.#refusedBy === null) {
      log.warn("another orchestrator leads this fleet: nothing is placed", { host: by });
    }
    // It was there a moment ago: the engine has lost its keys.
    if (answer === "taken" && this.#leads) this.#unsureUntil = clock.now() + leaseMs;
    if (isHeld && this.#leads) this.#loseAll("another orchestrator has taken the fleet over");
    this.#refusedBy = by;
    this.#leads = !isHeld;
  }

  /** An engine that was restarted or failed over may be without what it had acknowledged. */
  async #noticeRestart(): Promise<void> {
    const info = await this.#engine.redis.info("server");
    const run = /run_id:(\w+)/.exec(info)?.[1] ?? "";
    if (this.#engineRun !== "" && run !== this.#engineRun) {
      this.#unsureUntil = this.#options.clock.now() + leaseMs;
      this.#options.log.warn("the engine was restarted: leases are observed anew", {});
    }
    this.#engineRun = run;
  }

  #saw(member: Member, presence: Presence | null): void {
    const { clock, log } = this.#options;
    const before = this.#sightings.get(member.id);
    const isOld =
      presence !== null &&
      before?.presence?.instance === presence.instance &&
      presence.beat < before.beat;
    if (presence !== null && !isOld) {
      this.#sightings.set(member.id, {
        presence,
        missingSince: null,
        missingWall: null,
        beat: presence.beat,
      });
      return;
    }
    if (before && before.missingSince === null) {
      log.warn("a worker is lost", { worker: member.name });
    }
    this.#sightings.set(member.id, {
      presence: before?.presence ?? null,
      beat: before?.beat ?? 0,
      missingSince: before?.missingSince ?? clock.now(),
      missingWall: before?.missingWall ?? clock.wall(),
    });
  }

  /** Whether a run is certainly over on its worker. */
  #judge(run: Run, now: number): void {
    const { name } = run.member;
    const sighting = this.#sightings.get(run.member.id);
    const { presence = null, missingSince = null, beat = 0 } = sighting ?? {};
    if (!this.#members.all.some(({ id }) => id === run.member.id)) {
      run.talk?.fail(lost(`the worker ${name} was removed`));
    }
    if (presence && presence.instance !== run.instance) {
      return run.gone.resolve(lost(`the worker ${name} has ended its agents`));
    }
    if (missingSince !== null) {
      // Expired by the engine's own time, or, where that may have lost it, not seen for a whole lease by ours.
      const isCertain = missingSince >= this.#unsureUntil || now - missingSince >= leaseMs;
      if (isCertain) run.gone.resolve(lost(`the worker ${name} was lost`));
      return;
    }
    const id = [...this.#runs].find(([, one]) => one === run)?.[0] ?? "";
    if (presence?.runs.includes(id)) {
      run.wasSeen = true;
    } else if (run.wasSeen || (run.withdrawnBeat !== null && beat > run.withdrawnBeat + 1)) {
      run.gone.resolve(lost(`the worker ${name} has ended the agent`));
    } else if (run.dispatchedAt !== null && now - run.dispatchedAt > leaseMs) {
      run.talk?.fail(
        lost(`the worker ${name} did not take the attempt within ${leaseMs / 1_000} s`),
      );
    }
  }

  #loseAll(why: string): void {
    for (const run of this.#runs.values()) run.talk?.fail(lost(why));
  }

  #view(member: Member): WorkerHost {
    const { clock } = this.#options;
    const {
      presence = null,
      missingSince = null,
      missingWall = null,
    } = this.#sightings.get(member.id) ?? {};
    const why = this.#whyNot(member, presence, missingSince !== null);
    const running = [...this.#runs.values()].filter((run) => run.member.id === member.id).length;
    return {
      name: member.name,
      host: presence?.host ?? null,
      labels: presence?.labels ?? [],
      capacity: presence?.capacity ?? 0,
      running,
      ready: why === null && clock.now() >= this.#startedAt,
      why,
      version: presence?.version ?? null,
      sinceWall: missingWall ?? presence?.sinceWall ?? member.joinedWall,
    };
  }

  #whyNot(member: Member, presence: Presence | null, isMissing: boolean): string | null {
    if (this.#refusedBy !== null) return `the orchestrator on ${this.#refusedBy} leads this fleet`;
    if (!this.#leads) return "the engine does not answer";
    if (presence === null) return "it has not come yet";
    if (isMissing) return "lost";
    if (presence.epoch !== String(this.#members.epoch))
      return "it ends agents of an earlier server";
    if (!this.#isSettled()) return "another worker may still run agents of an earlier server";
    if (member.cordoned) return "cordoned";
    if (presence.protocol !== protocol)
      return `its version ${presence.version} does not understand this server`;
    if (Math.abs(presence.skewMs) > maxSkewMs) {
      const seconds = Math.round(presence.skewMs / 1_000);
      return `its clock is ${Math.abs(seconds)} s ${seconds > 0 ? "ahead of" : "behind"} the engine's`;
    }
    return null;
  }

  /** Every worker has ended what it ran for an earlier server, by its word or by the end of its lease. */
  #isSettled(): boolean {
    if (this.#options.clock.now() >= this.#startedAt + leaseMs) return true;
    const epoch = String(this.#members.epoch);
    return this.#members.all.every(({ id }) => this.#sightings.get(id)?.presence?.epoch === epoch);
  }

  #tellChanges(): void {
    const workers = this.workers;
    const shown = JSON.stringify(workers.map(({ running: _, ...rest }) => rest));
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#options.changed(workers);
  }

  #read(): Promise<void> {
    const { waiting, redis } = this.#engine;
    return readStreams({
      ...{ redis: waiting, trim: redis, signal: this.#stop.signal },
      streams: () => this.#members.all.map(({ id }) => this.#engine.key("up", id)),
      received: (_, { run, seq, isLast, data }: Part) =>
        this.#runs.get(run)?.talk?.received(seq, isLast, data),
    });
  }

  async #admit(): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#stop;
    let last = "0-0";
    while (!signal.aborted) {
      try {
        last = await this.#admitAfter(last);
      } catch {
        last = "0-0";
      }
      await pause(clock, tickMs / 2, signal).catch(() => {});
    }
  }

  async #admitAfter(last: string): Promise<string> {
    const { redis } = this.#engine;
    const found = await redis.xrangeBuffer(this.#engine.key("joins"), `(${last}`, "+", "COUNT", 20);
    for (const [id, fields] of found) {
      const [, invitation, , sealed] = fields;
      if (invitation && sealed) await this.#answerJoin(invitation.toString(), sealed);
      await redis.xdel(this.#engine.key("joins"), id);
      last = id.toString();
    }
    return last;
  }

  async #answerJoin(invitation: string, sealed: Buffer): Promise<void> {
    const { clock, log } = this.#options;
    const open = this.#members.invitation(invitation);
    // Without its secret nothing can be answered, and nothing is learned.
    if (open === null) return;
    const key = keyFor(open.secret, "join");
    const plain = unseal(key, `join|${invitation}`, sealed);
    const asked = Request.safeParse(parseJson(plain?.toString() ?? "")).data;
    if (!asked) return;
    const reason = await this.#members.admit(invitation, asked, clock.wall());
    const reply = reason === null ? { ok: true } : { ok: false, reason };
    const answer = seal(key, `joined|${asked.id}`, Buffer.from(JSON.stringify(reply)));
    await this.#engine.redis.set(this.#engine.key("joined", asked.id), answer, "PX", 60_000);
    if (reason === null) log.info("a worker has joined", { worker: asked.name, host: asked.host });
    else log.warn("a worker was refused", { worker: asked.name, host: asked.host, reason });
  }
}

function lost(why: string): SymphonyError {
  return new SymphonyError("worker_lost", why, { hint: "symphony workers list" });
}
