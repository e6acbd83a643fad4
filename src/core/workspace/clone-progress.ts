import type { Clock } from "../clock.ts";

const pauseMs = 5_000;
const stage = /^(?:remote: )?([A-Z][a-z]+ [a-z]+):\s+(\d{1,3})%/;

/** Makes of git's many lines of progress one each few seconds. */
export class CloneProgress {
  readonly #clock: Clock;
  readonly #tell: (state: string) => void;
  #last: number;

  constructor(clock: Clock, tell: (state: string) => void) {
    this.#clock = clock;
    this.#tell = tell;
    this.#last = clock.now();
  }

  heard(line: string): void {
    const [, what, percent] = stage.exec(line) ?? [];
    const now = this.#clock.now();
    if (what === undefined || percent === undefined || now - this.#last < pauseMs) return;
    this.#last = now;
    this.#tell(`${what.toLowerCase()} ${percent}%`);
  }
}
