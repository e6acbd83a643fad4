import assert from "node:assert/strict";
import type { Config } from "../../../src/core/config/config.ts";
import { type Issue, normalState } from "../../../src/core/model/issue.ts";
import type { Effect } from "../../../src/core/orchestrator/messages.ts";
import type { State } from "../../../src/core/orchestrator/state.ts";

/** Everything at the same time of a simulated world is one tick. */
const tickMs = 1;
/** The maximum for one issue between two polls: a slot may be freed and taken by another issue several times. */
const readsAtMost = 5;

/** Checks that a free slot and a matching issue of the known queue coexist for at most one tick. */
export class SlotWatch {
  readonly #config: Config;
  readonly #reads = new Set<number>();
  readonly #asked = new Map<string, number>();
  #since = new Map<string, number>();
  /** Consecutive attempts that failed before their first turn: after three, only polls start the next. */
  #falseStarts = 0;

  constructor(config: Config) {
    this.#config = config;
  }

  heard(effect: Effect): void {
    if (effect.type !== "publish") return;
    const { type, data } = effect.event;
    if (type === "turn.started") this.#falseStarts = 0;
    if (type !== "attempt.ended") return;
    if (Number(data?.["turn_count"]) > 0) this.#falseStarts = 0;
    else if (data?.["outcome"] === "failed" && !/limit/.test(effect.event.message)) {
      this.#falseStarts += 1;
    }
  }

  /** The core has started a read of issues before it launches them. */
  asked({ request, ids }: Extract<Effect, { type: "verifyIssues" }>): void {
    this.#reads.add(request);
    for (const id of ids) {
      const times = (this.#asked.get(id) ?? 0) + 1;
      this.#asked.set(id, times);
      assert.ok(times <= readsAtMost, `${id} is read again and again`);
    }
  }

  /** A poll has read the list: its issues may be read again. */
  listed(): void {
    this.#asked.clear();
  }

  /** A read of issues before their launch is under way. */
  get isReading(): boolean {
    return this.#reads.size > 0;
  }

  answered(request: number): void {
    this.#reads.delete(request);
  }

  /** The machine was suspended: the time in which issues waited does not count. */
  woke(): void {
    this.#since.clear();
  }

  /** A new process: the answers to the old one's requests are lost. */
  restarted(): void {
    this.#reads.clear();
    this.#asked.clear();
    this.#since.clear();
    this.#falseStarts = 0;
  }

  look(state: State, now: number): void {
    const fitting = this.#isReady(state) ? this.#fitting(state) : [];
    this.#since = new Map(fitting.map(({ id }) => [id, this.#since.get(id) ?? now]));
    for (const [id, since] of this.#since) {
      assert.ok(now - since <= tickMs, `${id} waits beside a free slot for ${now - since} ms`);
    }
  }

  /** The tracker works, the first poll is done, and no pending read will start an attempt anyway. */
  #isReady({ draining, trackerError, poll, storage, paused, hours, host }: State): boolean {
    const isIdle = poll.phase === "idle" && poll.lastWall !== null && this.#reads.size === 0;
    const isHeld = paused !== null || hours?.open === false || host !== null;
    const isShut = storage !== null || isHeld;
    return isIdle && !draining && trackerError === null && !isShut && this.#falseStarts < 3;
  }

  #fitting(state: State): readonly Issue[] {
    const { maxConcurrentAgents, maxConcurrentAgentsByState } = this.#config.agent;
    const continuing = [...state.issues.of("retrying").values()].filter(
      ({ checking, error }) => checking !== null || error === null,
    );
    const taken = [...state.issues.of("running").values(), ...continuing].map(({ issue }) => issue);
    const { tokensPerDay } = this.#config.brakes;
    const isSpent = tokensPerDay !== null && state.day.tokens >= tokensPerDay;
    const { use, fallback } = this.#config.agent;
    const isPaused = [use, ...fallback].every(
      (agent) => state.pauses.get(agent)?.active === true || state.troubles.has(agent),
    );
    if (taken.length >= maxConcurrentAgents || isSpent || isPaused) return [];
    return state.queue.filter(({ id, state: name, dispatchable }) => {
      const own = normalState(name);
      const same = taken.filter((issue) => normalState(issue.state) === own).length;
      const isFree = (state.issues.get(id)?.claim ?? "free") === "free";
      return dispatchable && isFree && same < (maxConcurrentAgentsByState[own] ?? Infinity);
    });
  }
}
