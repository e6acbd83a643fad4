import type { Clock } from "../clock.ts";

/** A figure this old is measured again when somebody asks. */
const staleMs = 60_000;

interface Figure<T> {
  readonly value: T;
  readonly at: number;
}

/** What takes long to find out about a directory; null where there is nothing to say. */
type Measure<T> = (path: string, signal: AbortSignal) => Promise<T | null>;

/** Figures of directories: measured in the background, one directory after another, and remembered. */
export class Measured<T> {
  readonly #clock: Clock;
  readonly #measure: Measure<T>;
  readonly #leaving = new AbortController();
  readonly #figures = new Map<string, Figure<T | null>>();
  #waiting: string[] = [];
  #work: Promise<void> | null = null;

  constructor(clock: Clock, measure: Measure<T>) {
    this.#clock = clock;
    this.#measure = measure;
  }

  /** As last measured; null before, and where there was nothing to say. */
  of(path: string): T | null {
    return this.#figures.get(path)?.value ?? null;
  }

  /** Every figure there is. */
  figures(): readonly T[] {
    return [...this.#figures.values()].flatMap(({ value }) => (value === null ? [] : [value]));
  }

  /** Whether `path` has been measured, with or without a figure. */
  has(path: string): boolean {
    return this.#figures.has(path);
  }

  /** Has `paths` measured where that is due, and forgets every other one. Returns at once. */
  follow(paths: readonly string[]): void {
    const wanted = new Set(paths);
    for (const path of this.#figures.keys()) if (!wanted.has(path)) this.#figures.delete(path);
    const now = this.#clock.now();
    this.#waiting = paths.filter((path) => {
      const known = this.#figures.get(path);
      return known === undefined || now - known.at >= staleMs;
    });
    if (this.#waiting.length > 0) this.#work ??= this.#run();
  }

  /** Resolves when nothing is being measured. */
  async settled(): Promise<void> {
    await this.#work;
  }

  /** As `settled`, but no longer than `ms`. */
  async settledWithin(ms: number): Promise<void> {
    const { promise, resolve: enough } = Promise.withResolvers<void>();
    const cancel = this.#clock.after(ms, enough);
    await Promise.race([this.settled(), promise]);
    cancel();
  }

  /** Ends what is under way. */
  async close(): Promise<void> {
    this.#leaving.abort();
    this.#waiting = [];
    await this.#work;
  }

  async #run(): Promise<void> {
    const { signal } = this.#leaving;
    for (let path = this.#waiting.shift(); path !== undefined; path = this.#waiting.shift()) {
      const value = await this.#measure(path, signal);
      if (!signal.aborted) this.#figures.set(path, { value, at: this.#clock.now() });
    }
    this.#work = null;
  }
}
