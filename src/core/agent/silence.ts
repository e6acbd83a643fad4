import type { Clock } from "../clock.ts";

/** Calls `onSilence` once when nothing was heard for `limitMs`. Hearing costs no timer. */
export class SilenceWatch {
  readonly #clock: Clock;
  readonly #limitMs: number;
  readonly #onSilence: () => void;
  #heardAt: number;
  #cancel: () => void;

  constructor(clock: Clock, limitMs: number, onSilence: () => void) {
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.#onSilence = onSilence;
    this.#heardAt = clock.now();
    this.#cancel = clock.after(limitMs, () => this.#look());
  }

  heard(): void {
    this.#heardAt = this.#clock.now();
  }

  stop(): void {
    this.#cancel();
  }

  #look(): void {
    const left = this.#heardAt + this.#limitMs - this.#clock.now();
    if (left > 0) this.#cancel = this.#clock.after(left, () => this.#look());
    else this.#onSilence();
  }
}
