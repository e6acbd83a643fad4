import { setImmediate } from "node:timers/promises";

/** Time and timers, so that tests can control both. */
export interface Clock {
  /** Milliseconds since the epoch, for display and records only: it may jump. */
  wall(): number;
  /** Milliseconds that never go backwards, for every duration and due time. */
  now(): number;
  /** Calls `fn` after `ms`, however long; the returned function cancels it. */
  after(ms: number, fn: () => void): () => void;
  /**
   * Calls `fn` with the time in ms that this process stood still (SIGSTOP, a paused container, a suspended machine), each
   * time by more than 5 s; the returned function ends that. Absent: it never does.
   */
  standstills?(fn: (ms: number) => void): () => void;
}

const beatMs = 1_000;
/** A process that is late by more stood still; a busy one is not. */
const standstillMs = 5_000;
/** After a standstill, what other programs sent meanwhile is read before timers act. */
const graceMs = 2_000;

/** Node fires a longer timer at once, so longer delays are chained. */
const longestTimerMs = 2 ** 31 - 1;

export const systemClock: Clock = {
  wall: () => Date.now(),
  now: () => performance.now(),
  after(ms, fn) {
    let left = Math.max(ms, 0);
    let timer: NodeJS.Timeout;
    let due = performance.now();
    const fire = () => {
      if (performance.now() - due <= standstillMs) return fn();
      timer = setTimeout(fn, Math.min(ms, graceMs));
    };
    const arm = () => {
      const part = Math.min(left, longestTimerMs);
      left -= part;
      due += part;
      timer = setTimeout(left > 0 ? arm : fire, part);
    };
    arm();
    return () => clearTimeout(timer);
  },
  standstills(fn) {
    let last = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      const stood = now - last - beatMs;
      last = now;
      if (stood > standstillMs) fn(stood);
    }, beatMs);
    timer.unref();
    return () => clearInterval(timer);
  },
};

const agreeMs = 2_000;
/** The header counts in whole seconds. */
const dateMs = 1_000;

/** How far this machine's clock is ahead of a server's, as the `date` of its answers says. */
export class ClockGap {
  readonly #clock: Pick<Clock, "wall">;
  /** Ms, negative when it is behind; 0: they agree within 2 s, or no answer has said it. */
  aheadMs = 0;

  constructor(clock: Pick<Clock, "wall">) {
    this.#clock = clock;
  }

  /**
   * `date`: the header of an answer that came just now, to what was sent at `sentAt` by this clock. The answer may have been made at
   * any time between: the gap changes only as far as all these times demand, so that a slow answer is no clock that is wrong.
   */
  learn(date: unknown, sentAt: number): void {
    const theirs = Date.parse(String(date ?? ""));
    if (Number.isNaN(theirs)) return;
    const least = sentAt - theirs - dateMs;
    const most = this.#clock.wall() - theirs;
    // A clock that was set back meanwhile says nothing.
    if (least > most) return;
    const ahead = Math.min(Math.max(this.aheadMs, least), most);
    this.aheadMs = Math.abs(ahead) < agreeMs ? 0 : ahead;
  }
}

/** As `work` ends; after `ms` without its end, what `late` returns or throws. The work itself is not stopped. */
export async function limited<T, L>(
  work: Promise<T>,
  ms: number,
  late: () => L,
  clock: Clock = systemClock,
): Promise<T | Awaited<L>> {
  const over = Promise.withResolvers<Awaited<L>>();
  const cancel = clock.after(ms, () => over.resolve(Promise.try(late)));
  return Promise.race([work, over.promise]).finally(cancel);
}

/** Resolves with `promise`, or after `ms` of real time without it. Rejects as `promise` does. */
export async function within(promise: Promise<unknown>, ms: number): Promise<void> {
  await limited(promise, ms, () => {});
}

/** Resolves after `ms`. Rejects with the signal's reason if that is aborted first, or already. */
export function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const stop = () => {
      cancel();
      reject(signal.reason);
    };
    const cancel = clock.after(ms, () => {
      signal.removeEventListener("abort", stop);
      resolve();
    });
    signal.addEventListener("abort", stop, { once: true });
  });
}

/**
 * Work on what all its callers see, such as a reading of the machine: each gets the result of a run that began after it
 * asked. All who ask while one runs share the next, so a thousand together cost as many runs as one.
 */
export class SharedRuns<T> {
  readonly #work: () => Promise<T>;
  #running: Promise<void> | null = null;
  #next: Promise<T> | null = null;

  constructor(work: () => Promise<T>) {
    this.#work = work;
  }

  /** Rejects as the work does. */
  run(): Promise<T> {
    this.#next ??= this.#after(this.#running);
    return this.#next;
  }

  async #after(before: Promise<void> | null): Promise<T> {
    await before;
    // The callers of this turn of the event loop have asked by now.
    await setImmediate();
    const run = this.#work();
    // What waits for it need not keep its result.
    this.#running = run.then(
      () => {},
      () => {},
    );
    this.#next = null;
    return run;
  }
}
