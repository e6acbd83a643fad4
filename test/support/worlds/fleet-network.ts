import { ModelEngine } from "../fakes/model-engine.ts";
import { randomFrom } from "./simulation.ts";

// Time, processes and the network of a simulated fleet.

interface Entry {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

/** A process on a machine of its own, with its way to the engine. */
export class Node {
  readonly name: string;
  isAlive = true;
  /** Timers and answers of an earlier process of it are dropped. */
  life = 0;
  pausedUntil = 0;
  cutUntil = 0;
  slowUntil = 0;
  /** Its wall clock minus the true one, ms. */
  wallOff = 0;
  /** One connection: what is sent later arrives later. */
  lastSent = 0;
  lastAnswered = 0;

  constructor(name: string) {
    this.name = name;
  }

  kill(): void {
    this.isAlive = false;
    this.life += 1;
  }
}

interface Asking<T> {
  answered(value: T): void;
  /** Refused, or no answer in time: it may have been done. */
  failed?(): void;
  readonly timeoutMs?: number;
}

const answerMs = 5_000;

/** The machines around one engine. */
export class Network {
  readonly random: () => number;
  readonly engine: ModelEngine;
  now = 0;
  events = 0;
  trail: string[] = [];
  #agenda: Entry[] = [];
  #order = 0;

  constructor(seed: number) {
    this.random = randomFrom(seed);
    this.engine = new ModelEngine(() => this.now);
  }

  pick(below: number): number {
    return Math.floor(this.random() * below);
  }

  chance(share: number): boolean {
    return this.random() < share;
  }

  note(text: string): void {
    this.trail = [...this.trail.slice(-60), `${Math.round(this.now)} ${text}`];
  }

  /** The next thing that happens. */
  next(): void {
    const entry = this.#agenda.shift();
    if (!entry) throw new Error("the world has stopped");
    this.events += 1;
    this.now = Math.max(this.now, entry.at);
    entry.run();
  }

  later(ms: number, run: () => void): void {
    const entry = { at: this.now + ms, order: this.#order++, run };
    const place = this.#agenda.findLastIndex((other) => other.at <= entry.at);
    this.#agenda.splice(place + 1, 0, entry);
  }

  /** In the process of `node`, unless it ends before; one that is stopped does it when it continues. */
  on(node: Node, ms: number, run: () => void): void {
    const { life } = node;
    const fire = () => {
      if (node.life !== life) return;
      if (node.pausedUntil > this.now) return this.later(node.pausedUntil - this.now, fire);
      run();
    };
    this.later(ms, fire);
  }

  /** A question to the engine and its answer: each may be late, or never arrive. */
  ask<T>(
    node: Node,
    work: (engine: ModelEngine) => T,
    { answered, failed, timeoutMs = answerMs }: Asking<T>,
  ): void {
    let isOpen = true;
    const settle = (run: () => void) => () => {
      if (!isOpen) return;
      isOpen = false;
      run();
    };
    this.on(node, timeoutMs, settle(failed ?? (() => {})));
    const arrival = this.#arrival(node, node.lastSent);
    if (arrival === null) return;
    node.lastSent = arrival;
    this.later(arrival - this.now, () => {
      if (!this.engine.isUp) return this.on(node, 1, settle(failed ?? (() => {})));
      const value = work(this.engine);
      const back = this.#arrival(node, node.lastAnswered);
      if (back === null) return;
      node.lastAnswered = back;
      this.on(
        node,
        back - this.now,
        settle(() => answered(value)),
      );
    });
  }

  /** When what is sent now arrives; null: never. A cut way drops it, or delivers it afterwards. */
  #arrival(node: Node, last: number): number | null {
    const latency = this.pick(node.slowUntil > this.now ? 3_000 : 20);
    if (node.cutUntil <= this.now) return Math.max(this.now + latency, last);
    return this.chance(0.5) ? null : Math.max(node.cutUntil + latency, last);
  }
}
