import { Deadline, isSettled, type JudgedRun, verdictOf } from "../../../src/core/fleet/judging.ts";
import { type LeaseTimes, leadOf, leaseTimes, readLead } from "../../../src/core/fleet/lease.ts";
import { nextEpoch } from "../../../src/core/fleet/members.ts";
import { type Sighting, sighted } from "../../../src/core/fleet/sighting.ts";
import { whyNothing } from "../../../src/core/fleet/standing.ts";
import { noTokens } from "../../../src/core/model/attempt.ts";
import type { Issue } from "../../../src/core/model/issue.ts";
import type { WorkerHost } from "../../../src/core/model/worker.ts";
import {
  type Effect,
  type Exit,
  type Input,
  timerKey,
} from "../../../src/core/orchestrator/messages.ts";
import { recordOf, restoredState } from "../../../src/core/orchestrator/records.ts";
import type { State } from "../../../src/core/orchestrator/state.ts";
import { step } from "../../../src/core/orchestrator/step.ts";
import type { IssueRecord } from "../../../src/core/store/store.ts";
import type { config } from "../makers/issue.ts";
import { type Network, Node } from "./fleet-network.ts";

const epochWall = 1e12;
const tickMs = 1_000;

/** What two orchestrators of one project share. */
export interface Shared {
  readonly tracker: Map<string, Issue>;
  readonly workers: readonly string[];
  readonly leaseMs: number;
  readonly settings: ReturnType<typeof config>;
  placed(run: string, issueId: string): void;
  /** The server is certain that no agent of the run is alive. */
  isGone(run: string): void;
  /** It has written that the issue is done. */
  acknowledged(issueId: string, by: Orchestrator): void;
}

interface Run extends JudgedRun {
  readonly issueId: string;
  readonly attemptId: string;
  readonly worker: string;
  dispatchedAt: number | null;
  wasSeen: boolean;
  missedAt: number | null;
  endOrder: JudgedRun["endOrder"];
  seen: number;
  /** Given up: how it ends once it is gone. */
  exit: Exit | null;
}

/** One server of a simulated fleet: the scheduler's `step`, and the fleet's reckoning in the order of core/fleet/fleet.ts. */
export class Orchestrator {
  readonly node: Node;
  readonly #network: Network;
  readonly #shared: Shared;
  readonly #times: LeaseTimes;
  readonly #usedIds = new Set<string>();
  readonly #sightings = new Map<string, Sighting>();
  readonly #runs = new Map<string, Run>();
  readonly #timers = new Map<string, number>();
  readonly #lastWorker = new Map<string, string>();
  /** On disk. */
  #records = new Map<string, IssueRecord>();
  epoch = 0;
  /** It may act in the name of the fleet until then. */
  readonly deadline = new Deadline();
  #lead = "";
  #state: State | null = null;
  #leadsSince: number | null = null;
  #answeredAt = 0;
  #refusedBy: string | null = null;
  #shown = "";
  #order = 0;
  dispatches = 0;
  lives = 0;

  constructor(name: string, network: Network, shared: Shared) {
    this.node = new Node(name);
    this.#network = network;
    this.#shared = shared;
    this.#times = leaseTimes(shared.leaseMs);
  }

  get leads(): boolean {
    return this.node.isAlive && this.#leadsSince !== null;
  }

  /** A new process on what is on its disk. */
  start(): void {
    const { node } = this;
    const { now } = this.#network;
    node.isAlive = true;
    this.lives += 1;
    this.#runs.clear();
    this.#sightings.clear();
    this.#timers.clear();
    this.#leadsSince = null;
    this.#refusedBy = null;
    this.#shown = "";
    this.deadline.end();
    this.#answeredAt = now;
    this.epoch = nextEpoch(this.epoch, epochWall + now, this.#network.pick(1_000));
    this.#lead = leadOf(this.epoch, node.name, "/data", this.#times.leaseMs);
    const totals = { tokens: noTokens, seconds: 0 };
    const lastAttemptId = [...this.#usedIds].sort().at(-1) ?? null;
    const restored = { records: this.#records, totals, lastAttemptId, hasFleet: true };
    this.#state = restoredState(restored, { now, wall: epochWall + now });
    for (const [issueId, entry] of this.#state.issues.of("retrying"))
      this.#perform({
        type: "setTimer",
        input: { type: "retry.due", issueId },
        delayMs: entry.dueAt - now,
      });
    this.#every(() => this.#tick());
    this.#every(() => this.#read());
    this.#network.on(node, 0, () => this.#apply({ type: "poll.due" }));
  }

  kill(): void {
    this.node.kill();
    this.#leadsSince = null;
  }

  /** The issues that wait for a person. */
  get held(): readonly string[] {
    return [...(this.#state?.issues.of("held").keys() ?? [])];
  }

  /** A person lets them run again. */
  release(issueIds: readonly string[]): void {
    for (const issueId of issueIds)
      this.#apply({ type: "operator.transitioned", issueId, to: "queued", reason: null });
  }

  /** A copy of its data directory, as a backup or a moved server has it. */
  copyTo(other: Orchestrator): void {
    other.#records = new Map(this.#records);
    other.epoch = this.epoch;
    for (const id of this.#usedIds) other.#usedIds.add(id);
  }

  #every(run: () => void): void {
    const again = () => {
      run();
      if (this.node.isAlive) this.#network.on(this.node, tickMs, again);
    };
    this.#network.on(this.node, this.#network.pick(tickMs), again);
  }

  #tick(): void {
    const { workers } = this.#shared;
    const { leaseMs, awayMs } = this.#times;
    const from = this.#network.now;
    const ordered = [...this.#runs.values()].filter(({ endOrder }) => endOrder === "given");
    this.#network.ask(this.node, (engine) => engine.observe(this.#lead, leaseMs, workers), {
      answered: ({ lead, presences }) => {
        const { now } = this.#network;
        const isGap = now - this.#answeredAt > awayMs / 2;
        this.#answeredAt = now;
        if (!this.#keepLead(lead, { from, now })) return;
        const seen = { now, wall: epochWall + now, isGap };
        for (const [at, id] of workers.entries()) {
          const before = this.#sightings.get(id) ?? null;
          this.#sightings.set(id, sighted(before, presences[at] ?? null, seen));
        }
        for (const run of ordered)
          if (run.endOrder === "given") run.endOrder = this.#sightings.get(run.worker)?.beat ?? 0;
        for (const [name, run] of this.#runs) this.#judge(name, run);
        this.#tellChanges();
      },
    });
    if (from - this.#answeredAt <= awayMs) return;
    this.#leadsSince = null;
    this.#tellChanges();
  }

  /** false: it has ended, because another one has taken the fleet over. */
  #keepLead(answer: string, { from, now }: { from: number; now: number }): boolean {
    const isHeld = answer.startsWith("held ");
    this.#refusedBy = isHeld ? (readLead(answer.slice(5))?.host ?? "another") : null;
    if (!isHeld) this.deadline.extend(from, this.#times);
    if (isHeld && this.deadline.at > Number.NEGATIVE_INFINITY) {
      this.#network.note(`${this.node.name} ends: ${this.#refusedBy} leads`);
      this.kill();
      return false;
    }
    this.#leadsSince = isHeld ? null : (this.#leadsSince ?? now);
    return true;
  }

  #judge(name: string, run: Run): void {
    const { now } = this.#network;
    const sighting = this.#sightings.get(run.worker) ?? null;
    const verdict = verdictOf(name, run, {
      ...{ sighting, now, leaseMs: this.#times.leaseMs },
    });
    const { gone, failed, isSeen, died } = verdict;
    if (isSeen) run.wasSeen = true;
    run.missedAt = verdict.missedAt ?? null;
    if (failed) this.#giveUp(name, run, failed);
    if (gone) this.#gone(name, run, lost(gone, died === true && run.dispatchedAt !== null));
    else if (run.exit !== null && run.endOrder === "none") this.#orderEnd(name, run);
  }

  #gone(name: string, run: Run, exit: Exit): void {
    this.#shared.isGone(name);
    this.#end(name, run, run.exit ?? exit);
  }

  #giveUp(name: string, run: Run, why: string): void {
    if (run.exit !== null) return;
    run.exit = lost(why);
    if (run.dispatchedAt === null) this.#end(name, run, run.exit);
    else this.#orderEnd(name, run);
  }

  #orderEnd(name: string, run: Run): void {
    if (this.deadline.isOver(this.#network.now)) return;
    this.#network.ask(this.node, (engine) => engine.end(run.worker, name), {
      answered: () => {
        if (run.endOrder === "none") run.endOrder = "given";
      },
    });
  }

  #end(name: string, { issueId, attemptId }: Run, exit: Exit): void {
    if (!this.#runs.delete(name)) return;
    this.#apply({ type: "attempt.exited", issueId, attemptId, exit });
  }

  #tellChanges(): void {
    const workers = this.#view();
    const shown = JSON.stringify(workers);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#apply({ type: "workers.changed", workers });
  }

  #view(): readonly WorkerHost[] {
    const { now } = this.#network;
    const times = this.#times;
    const all = this.#shared.workers.map((id) => this.#sightings.get(id) ?? null);
    const lead = { since: this.#leadsSince, now, epoch: this.epoch };
    const standing = {
      ...{ refusedBy: this.#refusedBy, leads: this.#leadsSince !== null, epoch: this.epoch, times },
      isSettled: isSettled(lead, times.leaseMs, all),
    };
    return this.#shared.workers.map((name, at) => {
      const sighting = all[at] ?? null;
      const why = whyNothing({ cordoned: false }, sighting, standing);
      const capacity = sighting?.presence?.capacity ?? 0;
      const rest = { host: name, labels: [], version: "1", sinceWall: 0, running: 0, agents: null };
      return { name, ...rest, capacity, ready: why === null, why };
    });
  }

  /** What the agents say, in order and whole, while this one leads. */
  #read(): void {
    if (this.#leadsSince === null) return;
    this.#network.ask(this.node, (engine) => engine.read(this.#shared.workers), {
      answered: (letters) => {
        for (const { run: name, seq, isLast } of letters) {
          const run = this.#runs.get(name);
          if (!run || run.exit !== null || seq <= run.seen) continue;
          if (seq !== run.seen + 1) this.#giveUp(name, run, "the engine has lost a message");
          else if (isLast) this.#done(name, run);
          run.seen = seq;
        }
      },
    });
  }

  /** Nothing is written in the name of a fleet that another one may lead. */
  #done(name: string, run: Run): void {
    if (this.deadline.isOver(this.#network.now)) return this.#giveUp(name, run, "it may not act");
    const known = this.#shared.tracker.get(run.issueId);
    if (!known) return;
    const issue = { ...known, state: "Done" };
    this.#shared.tracker.set(run.issueId, issue);
    this.#shared.acknowledged(run.issueId, this);
    this.#end(name, run, { kind: "completed", issue, git: null });
  }

  #apply(input: Input): void {
    if (this.#state === null || !this.node.isAlive) return;
    const { now } = this.#network;
    const { state, effects } = step(this.#state, input, {
      ...{ config: this.#shared.settings, problem: null, now, wall: epochWall + now },
      prior: (issueId) => {
        const worker = this.#lastWorker.get(issueId) ?? null;
        return { count: 0, resume: null, thread: null, tokens: 0, idle: null, worker };
      },
    });
    this.#state = state;
    for (const effect of effects) this.#perform(effect);
  }

  #perform(effect: Effect): void {
    switch (effect.type) {
      case "startAttempt":
        return this.#start(effect);
      case "stopAttempt": {
        const found = [...this.#runs].find(([, one]) => one.attemptId === effect.attemptId);
        if (found) this.#giveUp(...found, "it was stopped");
        return;
      }
      case "setTimer": {
        const key = timerKey(effect.input);
        const order = this.#order++;
        this.#timers.set(key, order);
        return this.#network.on(this.node, Math.max(effect.delayMs, 0), () => {
          if (this.#timers.get(key) === order) this.#apply(effect.input);
        });
      }
      case "clearTimer":
        return void this.#timers.delete(timerKey(effect.input));
      case "saveRecord": {
        const record = this.#state === null ? null : recordOf(this.#state, effect.issueId);
        if (record === null) this.#records.delete(effect.issueId);
        else this.#records.set(effect.issueId, record);
        return;
      }
      default: {
        const reply = this.#reply(effect);
        if (reply !== null)
          this.#network.on(this.node, this.#network.pick(500), () => this.#apply(reply()));
      }
    }
  }

  #start({ attemptId, issue: { id: issueId }, worker = "" }: Effect & { type: "startAttempt" }) {
    const sighting = this.#sightings.get(worker) ?? null;
    this.dispatches += 1;
    this.#usedIds.add(attemptId);
    this.#lastWorker.set(issueId, worker);
    const name = `${attemptId}-${this.epoch}`;
    const run: Run = {
      ...{ issueId, attemptId, worker, instance: sighting?.presence?.instance ?? "" },
      sinceWall: sighting?.presence?.sinceWall ?? 0,
      ...{ dispatchedAt: null, wasSeen: false, missedAt: null },
      ...{ endOrder: "none", seen: 0, exit: null },
    };
    this.#runs.set(name, run);
    this.#shared.placed(name, issueId);
    // Its workspace is made first.
    this.#network.on(this.node, 100 + this.#network.pick(3_000), () => {
      if (this.#runs.get(name) !== run || run.exit !== null) return;
      const isReady = this.#view().find((one) => one.name === worker)?.ready === true;
      const isSame = this.#sightings.get(worker)?.presence?.instance === run.instance;
      if (!isReady || !isSame || this.deadline.isOver(this.#network.now))
        return this.#giveUp(name, run, "is not there any more");
      run.dispatchedAt = this.#network.now;
      this.#network.ask(
        this.node,
        (engine) => engine.add(worker, { run: name, instance: run.instance }),
        {
          answered: () => {},
          failed: () => this.#giveUp(name, run, "could not be given the attempt"),
        },
      );
    });
  }

  #reply(effect: Effect): (() => Input) | null {
    const { tracker } = this.#shared;
    const read = (ids: readonly string[]) => ids.flatMap((id) => tracker.get(id) ?? []);
    switch (effect.type) {
      case "preflight":
        return () => ({ type: "preflight.ended", request: effect.request, problem: null });
      case "fetchCandidates":
        return () => {
          const issues = [...tracker.values()].filter(({ state }) => state === "Todo");
          return { type: "candidates.fetched", request: effect.request, issues };
        };
      case "refreshRunning":
        return () => ({ ...effect, type: "running.refreshed", issues: read(effect.ids) });
      case "verifyIssues":
        return () => ({ ...effect, type: "issues.verified", issues: read(effect.ids) });
      case "checkIssue":
        return () => ({
          ...effect,
          ...{ type: "issue.checked", issue: tracker.get(effect.issueId) ?? null },
        });
      default:
        return null;
    }
  }
}

function lost(message: string, died = false): Exit {
  const workerDied = died && ({ workerDied: true } as const);
  return { kind: "failed", code: "worker_lost", message, git: null, ...workerDied };
}
