const starts = new WeakMap<object, FirstStart>();

/** That of all agents that get this environment. */
export function firstStartIn(env: object): FirstStart {
  const known = starts.get(env) ?? new FirstStart();
  starts.set(env, known);
  return known;
}

/**
 * Keeps other starts waiting until a first one has opened its session. opencode makes its database at its first start in a
 * home; those that start at the same time find half of it and exit.
 */
class FirstStart {
  #running: Promise<void> | null = null;
  #isOver = false;

  /** Runs `open` when no first start is in progress, or when `signal` aborts. */
  async run<Opened>(signal: AbortSignal, open: () => Promise<Opened>): Promise<Opened> {
    const { promise: aborted, resolve } = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => resolve(), { once: true });
    while (!this.#isOver && this.#running !== null && !signal.aborted) {
      await Promise.race([this.#running, aborted]);
    }
    signal.throwIfAborted();
    const opened = open();
    if (this.#isOver) return opened;
    const over = () => {
      this.#isOver = true;
    };
    this.#running = opened
      .then(over, () => {})
      .finally(() => {
        this.#running = null;
      });
    return opened;
  }
}
