import type { Clock } from "../clock.ts";

export interface RateStanding {
  readonly limit: number;
  readonly remaining: number;
  /** Whole seconds until one more is allowed, or until the oldest one leaves the window. */
  readonly resetSeconds: number;
}

interface RateWindowOptions {
  readonly limit: number;
  readonly windowMs: number;
  readonly clock: Pick<Clock, "now">;
}

/** At most `limit` in any `windowMs`: a sliding window, so the limit cannot be doubled across a boundary. */
export class RateWindow {
  readonly #options: RateWindowOptions;
  #times: number[] = [];

  constructor(options: RateWindowOptions) {
    this.#options = options;
  }

  /** Counts one more; returns false, without counting, when the window is full. */
  take(): boolean {
    const now = this.#forget();
    if (this.#times.length >= this.#options.limit) return false;
    this.#times.push(now);
    return true;
  }

  standing(): RateStanding {
    const { limit, windowMs } = this.#options;
    const now = this.#forget();
    const [oldest = now - windowMs] = this.#times;
    return {
      limit,
      remaining: limit - this.#times.length,
      resetSeconds: Math.max(Math.ceil((oldest + windowMs - now) / 1_000), 0),
    };
  }

  #forget(): number {
    const now = this.#options.clock.now();
    const kept = this.#times.findIndex((time) => time + this.#options.windowMs > now);
    this.#times = kept < 0 ? [] : this.#times.slice(kept);
    return now;
  }
}
