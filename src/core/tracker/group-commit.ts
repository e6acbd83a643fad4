interface Waiting<T> {
  readonly item: T;
  readonly done: PromiseWithResolvers<void>;
}

/**
 * Commits the items that arrive during one turn of the event loop together, because the disk is the slow part and one wait
 * is enough. Each item is notified of the commit that it was part of.
 */
export class GroupCommit<T> {
  readonly #commit: (items: readonly T[]) => void;
  #waiting = new Map<string, Waiting<T>>();

  constructor(commit: (items: readonly T[]) => void) {
    this.#commit = commit;
  }

  /** Resolves once `item` is committed; rejects with the reason why its group was not. */
  add(key: string, item: T): Promise<void> {
    if (this.#waiting.size === 0) setImmediate(() => this.flush());
    const done = Promise.withResolvers<void>();
    this.#waiting.set(key, { item, done });
    return done.promise;
  }

  /** Settles an item that waits for its commit. */
  pending(key: string): Promise<void> | undefined {
    return this.#waiting.get(key)?.done.promise;
  }

  /** Commits the waiting items now. */
  flush(): void {
    const group = [...this.#waiting.values()];
    if (group.length === 0) return;
    this.#waiting = new Map();
    try {
      this.#commit(group.map(({ item }) => item));
      for (const { done } of group) done.resolve();
    } catch (error) {
      for (const { done } of group) done.reject(error);
    }
  }
}
