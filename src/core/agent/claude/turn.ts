import type { SessionTurn } from "../session.ts";

/**
 * One turn in flight. Guidance that comes while the last answer is written becomes a turn of the
 * agent's own, with a result of its own: the turn lasts until all of it has its result.
 */
export class LiveTurn implements SessionTurn {
  readonly uuid: string;
  /** The agent was reminded that its issue is not finished. */
  wasReminded = false;
  readonly #done = Promise.withResolvers<void>();
  /** Guidance that was sent and is not in a request to the model yet. */
  readonly #waiting = new Map<string, PromiseWithResolvers<boolean>>();
  #begun = false;
  #ended = false;
  /** A result was read, and guidance still waited. */
  #hasResult = false;

  constructor(uuid: string) {
    this.uuid = uuid;
    // Callers that wait receive the failure; without one it must not crash the process.
    this.#done.promise.catch(() => {});
  }

  /** null until the agent has begun with it. */
  get id(): string | null {
    return this.#begun ? this.uuid : null;
  }

  get ended(): boolean {
    return this.#ended;
  }

  get done(): Promise<void> {
    return this.#done.promise;
  }

  begin(): void {
    this.#begun = true;
  }

  /** Resolves with true once the agent has the message, with false when the turn ends without it. */
  awaits(uuid: string): Promise<boolean> {
    const taken = Promise.withResolvers<boolean>();
    this.#waiting.set(uuid, taken);
    return taken.promise;
  }

  /** The agent reported the state of a message. */
  changed(uuid: string, state: string): void {
    if (uuid === this.uuid) {
      // The result of a turn may be too long to be read; its end is reported here as well.
      if (state === "completed" && this.#waiting.size === 0) this.#finish(null);
      return;
    }
    const waiting = this.#waiting.get(uuid);
    if (!waiting) return;
    waiting.resolve(state !== "cancelled");
    if (state === "queued") return;
    this.#waiting.delete(uuid);
    if (state === "started") this.#hasResult = false;
    if (this.#hasResult && this.#waiting.size === 0) this.#finish(null);
  }

  /** A result was read; `error` is null when it ended well. */
  end(error: unknown): void {
    if (error !== null) return this.#finish(error);
    this.#hasResult = true;
    if (this.#waiting.size === 0) this.#finish(null);
  }

  fail(error: unknown): void {
    this.#finish(error);
  }

  #finish(error: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const { resolve } of this.#waiting.values()) resolve(false);
    this.#waiting.clear();
    if (error === null) this.#done.resolve();
    else this.#done.reject(error);
  }
}
