import type { TurnEnding } from "./protocol.ts";

/** One turn in flight. Its end may be told before its id is known; it is then kept until the id is. */
export class LiveTurn {
  readonly #opened = Promise.withResolvers<string>();
  readonly #done = Promise.withResolvers<TurnEnding>();
  readonly #early: TurnEnding[] = [];
  #id: string | null = null;
  #ended = false;

  constructor() {
    // Whoever waits sees the failure; with nobody waiting it is no crash.
    this.#opened.promise.catch(() => {});
    this.#done.promise.catch(() => {});
  }

  get id(): string | null {
    return this.#id;
  }

  /** True once the agent told its end; a turn that was given up may still run. */
  get ended(): boolean {
    return this.#ended;
  }

  /** The id, once the agent answered; rejects when the turn failed before. */
  get opened(): Promise<string> {
    return this.#opened.promise;
  }

  get done(): Promise<TurnEnding> {
    return this.#done.promise;
  }

  open(id: string): void {
    this.#id = id;
    this.#opened.resolve(id);
    for (const ending of this.#early) this.end(ending);
  }

  /** An ending that names another turn is not ours. */
  end(ending: TurnEnding): void {
    if (this.#id === null) {
      this.#early.push(ending);
    } else if (ending.turnId === null || ending.turnId === this.#id) {
      this.#ended = true;
      this.#done.resolve(ending);
    }
  }

  fail(error: unknown): void {
    this.#opened.reject(error);
    this.#done.reject(error);
  }
}
