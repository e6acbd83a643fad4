import type { Clock } from "../clock.ts";

const pauseMs = 5_000;
const stage = /^(?:remote: )?([A-Z][a-z]+ [a-z]+):\s+(\d{1,3})%/;

interface ProgressListener {
  /** For the record. */
  tell(state: string): void;
  /** Each state, for a terminal. */
  live(state: string): void;
}

/** Reads git's many lines of progress, and reduces them to one every few seconds for the record. */
export class CloneProgress {
  readonly #clock: Clock;
  readonly #listener: ProgressListener;
  #last: number;

  constructor(clock: Clock, listener: ProgressListener) {
    this.#clock = clock;
    this.#listener = listener;
    this.#last = clock.now();
  }

  received(line: string): void {
    const [, what, percent] = stage.exec(line) ?? [];
    if (what === undefined || percent === undefined) return;
    const state = `${what.toLowerCase()} ${percent}%`;
    this.#listener.live(state);
    const now = this.#clock.now();
    if (now - this.#last < pauseMs) return;
    this.#last = now;
    this.#listener.tell(state);
  }
}
