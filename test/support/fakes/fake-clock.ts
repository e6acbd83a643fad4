import type { Clock } from "../../../src/core/clock.ts";

interface Timer {
  readonly due: number;
  readonly order: number;
  readonly fn: () => void;
}

/** A clock that moves only on request. `advance` fires timers in due order. */
export class FakeClock implements Clock {
  #now = 0;
  #wall: number;
  #order = 0;
  readonly #timers = new Set<Timer>();

  constructor(wall = Date.parse("2026-11-23T10:00:00.000Z")) {
    this.#wall = wall;
  }

  now(): number {
    return this.#now;
  }

  wall(): number {
    return this.#wall;
  }

  after(ms: number, fn: () => void): () => void {
    const timer = { due: this.#now + Math.max(ms, 0), order: this.#order++, fn };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Moves both clocks; timers that are due in between fire at their due time. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (let next = this.#next(end); next; next = this.#next(end)) {
      this.#timers.delete(next);
      this.#move(next.due - this.#now);
      next.fn();
    }
    this.#move(end - this.#now);
  }

  /** Moves only the wall clock, as a person or NTP does. */
  jump(ms: number): void {
    this.#wall += ms;
  }

  get pending(): number {
    return this.#timers.size;
  }

  #next(end: number): Timer | undefined {
    return [...this.#timers]
      .filter((timer) => timer.due <= end)
      .sort((a, b) => a.due - b.due || a.order - b.order)[0];
  }

  #move(ms: number): void {
    this.#now += ms;
    this.#wall += ms;
  }
}
