import { answerMs } from "./engine.ts";

/** Each part is with the database or given up after `answerMs`, so that none comes below one that is older than this. */
const settledMs = 2 * answerMs;

/**
 * Below which number no part is looked for: rows that are deleted but not cleaned up yet would make each look slower. Numbers
 * are given before parts can be read, so that one may become readable after a higher one.
 */
export class Floor {
  readonly #clock: { now(): number };
  #floor = 0;
  #highest = 0;
  #next: { readonly id: number; readonly at: number };

  /** `clock`: monotonic ms. */
  constructor(clock: { now(): number } = performance) {
    this.#clock = clock;
    this.#next = { id: 0, at: clock.now() };
  }

  get at(): number {
    return this.#floor;
  }

  /** A look found parts with these numbers, in order. One below the floor: the database counts anew. */
  saw(ids: readonly number[]): void {
    const [lowest = this.#floor + 1] = ids;
    const isNew = lowest <= this.#floor;
    const now = this.#clock.now();
    this.#highest = Math.max(isNew ? 0 : this.#highest, ids.at(-1) ?? 0);
    if (!isNew && now - this.#next.at < settledMs) return;
    this.#floor = isNew ? 0 : this.#next.id;
    this.#next = { id: this.#highest, at: now };
  }
}
