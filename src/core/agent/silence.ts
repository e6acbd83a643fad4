import type { Clock } from "../clock.ts";

interface Listener {
  /** True while somebody else is to speak: silence does not count then. */
  waits(): boolean;
  onSilence(): void;
}

/** Calls `onSilence` once when nothing was heard for `limitMs`. Hearing costs no timer. */
export class SilenceWatch {
  readonly #clock: Clock;
  readonly #limitMs: number;
  readonly #listener: Listener;
  #heardAt: number;
  #cancel: () => void;

  constructor(clock: Clock, limitMs: number, listener: Listener) {
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.#listener = listener;
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
    if (this.#listener.waits()) this.heard();
    const left = this.#heardAt + this.#limitMs - this.#clock.now();
    if (left > 0) this.#cancel = this.#clock.after(left, () => this.#look());
    else this.#listener.onSilence();
  }
}
