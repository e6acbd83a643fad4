import { afterRenewal, Deadline } from "../../../src/core/fleet/judging.ts";
import { leaseTimes, type Presence, protocol, readLead } from "../../../src/core/fleet/lease.ts";
import { type Network, Node } from "./fleet-network.ts";

/** An agent that is alive, anywhere. */
export interface Agent {
  readonly issueId: string;
  readonly run: string;
  readonly worker: string;
}

export interface WorkerWatch {
  started(agent: Agent): void;
  ended(agent: Agent): void;
  issueOf(run: string): string;
  /** The agent does what ends its worker's process. */
  kills(agent: Agent): boolean;
}

interface Hosted {
  readonly agent: Agent;
  /** It was started, and has not ended. */
  isAlive: boolean;
  sent: number;
}

const watchMs = 250;
const clockCheckMs = 60_000;
/** Ending the processes of an agent takes time. */
const killMs = 400;

/** A worker of a simulated fleet: the order of its steps is that of core/fleet/worker.ts, its reckoning is that itself. */
export class SimulatedWorker {
  readonly node: Node;
  readonly capacity: number;
  readonly #network: Network;
  readonly #watch: WorkerWatch;
  readonly #runs = new Map<string, Hosted>();
  readonly #taken = new Set<string>();
  readonly deadline = new Deadline();
  #times = leaseTimes(15_000);
  #instance = "";
  #before = "";
  #epoch = "";
  #beat = 0;
  #sinceWall = 0;
  #afterDeath = false;
  #instances = 0;
  #isEnding = false;
  #skewMs = 0;
  /** The other process that ends the agents: it works while the worker is stopped. */
  #guard = 0;

  constructor(name: string, capacity: number, network: Network, watch: WorkerWatch) {
    this.node = new Node(name);
    this.capacity = capacity;
    this.#network = network;
    this.#watch = watch;
  }

  /** A new process, with nothing of an earlier one. */
  start(): void {
    const { node } = this;
    node.isAlive = true;
    this.#isEnding = false;
    this.#sinceWall += 1;
    this.#instance = "";
    this.#before = "";
    this.deadline.end();
    this.#taken.clear();
    this.#checkClock();
    this.#every(
      () => this.#times.renewMs,
      () => this.#tick(),
    );
    this.#every(
      () => watchMs,
      () => this.#look(),
    );
    this.#every(
      () => 1_000,
      () => this.#take(),
    );
    this.#every(
      () => clockCheckMs,
      () => this.#checkClock(),
    );
  }

  /** The guardian notices at once. */
  kill(): void {
    this.node.kill();
    this.#afterDeath = true;
    for (const hosted of this.#runs.values())
      this.#network.later(this.#network.pick(killMs), () => this.#die(hosted));
    this.#runs.clear();
  }

  get isIdle(): boolean {
    return this.#runs.size === 0;
  }

  #every(ms: () => number, run: () => void): void {
    const again = () => {
      run();
      this.#network.on(this.node, ms(), again);
    };
    this.#network.on(this.node, this.#network.pick(ms()), again);
  }

  #checkClock(): void {
    this.#network.ask(this.node, () => 0, {
      answered: () => {
        this.#skewMs = this.node.wallOff;
      },
    });
  }

  #presence(): Presence {
    this.#beat += 1;
    return {
      ...{ instance: this.#instance, epoch: this.#epoch, beat: this.#beat, host: this.node.name },
      ...{ pid: 1, labels: [], capacity: this.capacity, version: "1", protocol },
      ...{ sinceWall: this.#sinceWall, afterDeath: this.#afterDeath },
      ...{ skewMs: this.#skewMs, runs: [...this.#runs.keys()], leaseMs: this.#times.leaseMs },
      ...{ takes: true, left: false, agents: null },
    };
  }

  #tick(): void {
    if (this.#isEnding) return;
    const from = this.#network.now;
    const { name } = this.node;
    if (this.#instance === "") return this.#claim(from);
    const presence = this.#presence();
    this.#network.ask(this.node, (engine) => engine.renew(name, presence), {
      answered: (answer) => {
        // Another process of its own time by now.
        if (this.#isEnding || presence.instance !== this.#instance) return;
        const next = afterRenewal(answer);
        if (next === "wait") return;
        if ("ends" in next) return this.#endAll(next.ends);
        this.#extend(from);
        this.#endOrdered();
      },
    });
  }

  #claim(from: number): void {
    const { name } = this.node;
    this.#network.ask(this.node, (engine) => engine.lead, {
      answered: (text) => {
        const lead = readLead(text);
        if (lead === null || this.#instance !== "" || this.#isEnding) return;
        this.#epoch = lead.epoch;
        this.#times = leaseTimes(lead.leaseMs);
        const instance = `${name}-${this.node.life}-${++this.#instances}`;
        const presence = { ...this.#presence(), instance };
        this.#network.ask(this.node, (engine) => engine.claim(name, presence, this.#before), {
          answered: (answer) => {
            if (answer !== "ok" || this.#instance !== "" || this.#isEnding) return;
            this.#instance = instance;
            this.#extend(from);
          },
          failed: () => {
            this.#before = instance;
          },
        });
      },
    });
  }

  #extend(from: number): void {
    this.deadline.extend(from, this.#times);
    const own = ++this.#guard;
    const { life } = this.node;
    this.#network.later(Math.max(this.deadline.at - this.#network.now, 0), () => {
      if (own !== this.#guard || life !== this.node.life) return;
      for (const hosted of this.#runs.values())
        this.#network.later(this.#network.pick(killMs), () => this.#die(hosted));
    });
  }

  #look(): void {
    if (!this.deadline.isOver(this.#network.now) || this.#instance === "") return;
    this.#endAll("its lease could not be renewed in time");
  }

  /** Ends every agent, and only then gives up the lease. */
  #endAll(why: string): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#network.note(`${this.node.name} ends its agents: ${why}`);
    this.deadline.end();
    const ending = [...this.#runs.values()];
    this.#network.on(this.node, this.#network.pick(killMs), () => {
      for (const hosted of ending) this.#die(hosted);
      this.#runs.clear();
      if (this.#instance !== "") this.#before = this.#instance;
      this.#instance = "";
      this.#isEnding = false;
    });
  }

  #endOrdered(): void {
    const runs = [...this.#runs.keys()];
    if (runs.length === 0) return;
    this.#network.ask(this.node, (engine) => engine.ended(runs), {
      answered: (ended) => {
        for (const run of ended) this.#finish(run);
      },
    });
  }

  #take(): void {
    const { name } = this.node;
    if (this.deadline.isOver(this.#network.now) || this.#runs.size >= this.capacity) return;
    this.#network.ask(this.node, (engine) => engine.take(name), {
      answered: (job) => {
        // An earlier process, or a lease that was lost in between, has no claim.
        if (job?.instance === this.#instance) this.#host(job.run);
      },
    });
  }

  #host(run: string): void {
    if (this.deadline.isOver(this.#network.now) || this.#runs.has(run)) return;
    if (run.split("-").at(-1) !== this.#epoch || this.#taken.has(run)) return;
    const agent = { issueId: this.#watch.issueOf(run), run, worker: this.node.name };
    const hosted: Hosted = { agent, isAlive: false, sent: 0 };
    this.#taken.add(run);
    this.#runs.set(run, hosted);
    this.#network.ask(this.node, (engine) => engine.ended([run]), {
      answered: ([ended]) => {
        if (this.#runs.get(run) !== hosted) return;
        if (ended !== undefined || this.deadline.isOver(this.#network.now))
          return this.#finish(run);
        hosted.isAlive = true;
        this.#watch.started(agent);
        this.#work(hosted);
      },
      failed: () => this.#finish(run),
    });
  }

  /** Says something now and then, ends by itself, and says so last. */
  #work(hosted: Hosted): void {
    const { run } = hosted.agent;
    this.#network.on(this.node, 500 + this.#network.pick(8_000), () => {
      if (this.#runs.get(run) !== hosted || !hosted.isAlive || this.#isEnding) return;
      if (this.#watch.kills(hosted.agent)) return;
      const isLast = this.#network.chance(0.4);
      if (isLast) this.#die(hosted);
      this.#say(hosted, { run, seq: ++hosted.sent, isLast });
    });
  }

  /** Repeated until the engine has it. */
  #say(hosted: Hosted, letter: { run: string; seq: number; isLast: boolean }): void {
    const { run } = hosted.agent;
    if (this.#runs.get(run) !== hosted) return;
    this.#network.ask(this.node, (engine) => engine.say(this.node.name, letter), {
      answered: () => {
        if (!letter.isLast) return this.#work(hosted);
        if (this.#runs.get(run) === hosted) this.#runs.delete(run);
      },
      failed: () => this.#network.on(this.node, 500, () => this.#say(hosted, letter)),
    });
  }

  #finish(run: string): void {
    const hosted = this.#runs.get(run);
    if (!hosted) return;
    this.#network.on(this.node, this.#network.pick(killMs), () => {
      this.#die(hosted);
      if (this.#runs.get(run) === hosted) this.#runs.delete(run);
    });
  }

  #die(hosted: Hosted): void {
    if (!hosted.isAlive) return;
    hosted.isAlive = false;
    this.#watch.ended(hosted.agent);
  }
}
