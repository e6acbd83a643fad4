import assert from "node:assert/strict";
import type { Issue } from "../../../src/core/model/issue.ts";
import { config, issue } from "../makers/issue.ts";
import { Network, type Node } from "./fleet-network.ts";
import { Orchestrator } from "./fleet-orchestrator.ts";
import { type Agent, SimulatedWorker } from "./fleet-worker.ts";

const hourMs = 3_600_000;
const healMs = 10 * 60_000;
/** Of one worker; a server that begins does not know of a death that its predecessor has not seen. */
const mostKilled = 3;

/** Whether the agent of the issue ends its worker, each time. */
function isPoison(issueId: string): boolean {
  return Number(/\d+$/.exec(issueId)?.[0]) % 20 === 3;
}

/** A seeded fleet in which one thing after another fails: workers, their ways, clocks, the engine, the server, a second server. */
export class FleetSimulation {
  readonly network: Network;
  readonly #tracker = new Map<string, Issue>();
  readonly #alive = new Set<Agent>();
  readonly #issueOf = new Map<string, string>();
  readonly #acknowledged = new Map<string, number>();
  readonly #workers: readonly SimulatedWorker[];
  readonly #orchestrators: readonly Orchestrator[];
  /** One fault at a time: the invariants are promised for each single one. */
  #quietAt = 0;
  /** A replica that was behind forgets renewals: until the next ones only the server's own clock counts. */
  #behindUntil = 0;
  /** Whose lead the engine had last. */
  #lastLeader: Orchestrator | null = null;
  readonly faults = new Map<string, number>();
  /** Workers that each issue has killed. */
  readonly #killed = new Map<string, number>();

  constructor(seed: number) {
    const network = new Network(seed);
    this.network = network;
    const leaseMs = network.chance(0.5) ? 15_000 : 6_000;
    for (let at = 1; at <= 8; at++) {
      const made = issue(`SIM-${at}`);
      this.#tracker.set(made.id, made);
    }
    const count = 2 + network.pick(3);
    const watch = {
      started: (agent: Agent) => this.#started(agent),
      ended: (agent: Agent) => void this.#alive.delete(agent),
      issueOf: (run: string) => this.#issueOf.get(run) ?? "",
      kills: (agent: Agent) => this.#kills(agent),
    };
    this.#workers = Array.from(
      { length: count },
      (_, at) => new SimulatedWorker(`w${at + 1}`, 1 + network.pick(3), network, watch),
    );
    const settings = config({ agent: { maxRetries: null, maxRetryBackoffMs: 500 } });
    const shared = {
      ...{ tracker: this.#tracker, leaseMs, settings },
      workers: this.#workers.map(({ node }) => node.name),
      placed: (run: string, issueId: string) => void this.#issueOf.set(run, issueId),
      isGone: (run: string) => this.#isGone(run),
      acknowledged: (id: string, by: Orchestrator) => this.#acknowledge(id, by),
    };
    this.#orchestrators = ["main", "second"].map((name) => new Orchestrator(name, network, shared));
    this.#main.start();
    for (const worker of this.#workers) worker.start();
    this.#watchLeases();
    this.#disturbLater();
  }

  get dispatches(): number {
    return this.#orchestrators.reduce((sum, { dispatches }) => sum + dispatches, 0);
  }

  get completed(): number {
    return this.#acknowledged.size;
  }

  run(events: number): void {
    const until = this.network.events + events;
    while (this.network.events < until) this.network.next();
  }

  /** Ends all faults, then requires that every issue is worked on to its end, once. */
  heal(): void {
    this.#quietAt = Number.POSITIVE_INFINITY;
    const { network } = this;
    const until = network.now + healMs;
    while (network.now < until) network.next();
    if (!this.#orchestrators.some(({ leads }) => leads)) {
      const [main] = this.#orchestrators;
      main?.start();
    }
    const leader = this.#orchestrators.find(({ leads }) => leads);
    leader?.release(leader.held.filter((id) => !isPoison(id)));
    // From one end to the next: many issues may wait for one slot.
    let end = network.now + healMs;
    for (let done = this.completed; network.now < end; network.next()) {
      if (this.completed === done) continue;
      done = this.completed;
      end = network.now + healMs;
    }
    const held = leader?.held ?? [];
    const open = [...this.#tracker.values()].filter(
      ({ id, state }) => state !== "Done" && !(isPoison(id) && held.includes(id)),
    );
    assert.deepEqual(
      open.map(({ id }) => id),
      [],
      "a placed attempt neither ended nor came back",
    );
    assert.equal(this.#alive.size, 0, "an agent is left");
    assert.ok(
      this.#workers.every(({ isIdle }) => isIdle),
      "a slot of a worker is lost",
    );
  }

  get #main(): Orchestrator {
    return this.#orchestrators[0] as Orchestrator;
  }

  #started(agent: Agent): void {
    this.network.note(`${agent.worker} starts ${agent.run}`);
    const twin = [...this.#alive].find(({ issueId }) => issueId === agent.issueId);
    assert.equal(twin, undefined, `${agent.issueId} runs twice: ${twin?.run} and ${agent.run}`);
    assert.ok(!this.#acknowledged.has(agent.issueId), `${agent.issueId} is done again`);
    this.#alive.add(agent);
  }

  #isGone(run: string): void {
    const agent = [...this.#alive].find((one) => one.run === run);
    assert.equal(agent, undefined, `${run} counts as gone while its agent is alive`);
  }

  #acknowledge(issueId: string, by: Orchestrator): void {
    assert.ok(!this.#acknowledged.has(issueId), `${issueId} is acknowledged twice`);
    assert.ok(
      this.#lastLeader === null || this.#lastLeader === by,
      `${by.node.name} writes after another one has taken the fleet over`,
    );
    this.#acknowledged.set(issueId, this.network.now);
    // There is always work.
    const at = this.#tracker.size + 1;
    if (this.#quietAt === Number.POSITIVE_INFINITY) return;
    const made = issue(`SIM-${at}`);
    this.#tracker.set(made.id, made);
  }

  /** It ends its worker after some time, which is started again. */
  #kills({ issueId, worker: name }: Agent): boolean {
    if (!isPoison(issueId)) return false;
    const { network } = this;
    const count = (this.#killed.get(issueId) ?? 0) + 1;
    network.note(`${issueId} kills ${name}, its worker number ${count}`);
    const lives = this.#orchestrators.reduce((sum, { lives: one }) => sum + one, 0);
    assert.ok(count < mostKilled + lives, `${issueId} has killed ${count} workers`);
    this.#killed.set(issueId, count);
    const worker = this.#workers.find(({ node }) => node.name === name);
    worker?.kill();
    network.later(1_000 + network.pick(40_000), () => worker?.start());
    return true;
  }

  get killed(): number {
    return [...this.#killed.values()].reduce((sum, count) => sum + count, 0);
  }

  /** A worker's own time for agents ends before its lease does; and who leads. */
  #watchLeases(): void {
    const { network } = this;
    for (const { node, deadline } of this.#workers) {
      const lease = network.engine.lease(node.name);
      const isOwn = node.isAlive && deadline.at > Number.NEGATIVE_INFINITY;
      if (lease && isOwn && network.now > this.#behindUntil)
        assert.ok(deadline.at < lease.until, `${node.name} may run agents longer than its lease`);
    }
    const text = network.engine.lead;
    const leader = this.#orchestrators.find(({ epoch }) => text?.startsWith(`${epoch}|`));
    if (leader) this.#lastLeader = leader;
    network.later(250, () => this.#watchLeases());
  }

  #disturbLater(): void {
    const { network } = this;
    network.later(2_000 + network.pick(20_000), () => {
      if (network.now >= this.#quietAt && this.#quietAt !== Number.POSITIVE_INFINITY)
        this.#disturb();
      this.#disturbLater();
    });
  }

  #disturb(): void {
    const { network } = this;
    const ms = 500 + network.pick(network.chance(0.5) ? 6_000 : 60_000);
    // Whatever it brought about is over before the next one.
    this.#quietAt = network.now + ms + 45_000;
    const worker = this.#workers[network.pick(this.#workers.length)] as SimulatedWorker;
    const server = this.#orchestrators.find(({ leads }) => leads) ?? this.#main;
    const nodes: readonly Node[] = [worker.node, worker.node, server.node];
    const node = nodes[network.pick(nodes.length)] as Node;
    const faults: Readonly<Record<string, () => void>> = {
      "worker killed": () => {
        worker.kill();
        network.later(ms, () => worker.start());
      },
      partition: () => {
        node.cutUntil = network.now + ms;
      },
      paused: () => {
        node.pausedUntil = network.now + ms;
        if (node === server.node) this.#startSecond(server, network.pick(ms));
      },
      slow: () => {
        node.slowUntil = network.now + ms;
      },
      "clock off": () => {
        worker.node.wallOff = network.chance(0.5) ? hourMs : -hourMs;
        network.later(ms + 60_000, () => {
          worker.node.wallOff = 0;
        });
      },
      ...this.#faultsOfEngine(ms),
      "server killed": () => {
        server.kill();
        network.later(ms, () => this.#restart(server));
      },
      "server killed while a worker is cut off": () => {
        worker.node.cutUntil = network.now + ms;
        server.kill();
        network.later(network.pick(500), () => this.#restart(server));
      },
      "second server": () => this.#startSecond(server, 0),
    };
    const names = Object.keys(faults);
    const name = names[network.pick(names.length)] as string;
    this.faults.set(name, (this.faults.get(name) ?? 0) + 1);
    network.note(`fault: ${name}, ${ms} ms`);
    faults[name]?.();
  }

  #faultsOfEngine(ms: number): Readonly<Record<string, () => void>> {
    const { network } = this;
    const { engine } = network;
    const down = (then: () => void) => {
      engine.isUp = false;
      network.later(ms, () => {
        then();
        engine.isUp = true;
      });
    };
    return {
      "engine flushed": () => engine.flush(),
      "engine restarted empty": () => down(() => engine.flush()),
      "engine restarted": () => down(() => {}),
      "engine failed over": () => {
        const behind = engine.copy();
        this.#behindUntil = network.now + ms + 30_000;
        network.later(network.pick(2_000), () => down(() => engine.become(behind)));
      },
    };
  }

  #restart(server: Orchestrator): void {
    if (!server.node.isAlive && !this.#orchestrators.some(({ leads }) => leads)) server.start();
  }

  /** Another server with a copy of the data, on another machine; later the one that does not lead is ended. */
  #startSecond(first: Orchestrator, afterMs: number): void {
    const { network } = this;
    const second = this.#orchestrators.find((one) => one !== first);
    if (!second || second.node.isAlive) return;
    network.later(afterMs, () => {
      if (second.node.isAlive) return;
      first.copyTo(second);
      second.start();
      network.later(120_000, () => {
        for (const one of this.#orchestrators)
          if (!one.leads && this.#orchestrators.some(({ leads }) => leads)) one.kill();
      });
    });
  }
}
