/**
 * Keeps other starts waiting until a first one has opened its session. codex and opencode make their databases at their first
 * start in a home; those that start at the same time find half of them. After a failure the next one is the first.
 */
class FirstStart {
  #running: Promise<void> | null = null;
  #isOver = false;

  /** Runs `open` when no first start is in progress, or rejects when `signal` aborts. */
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

const starts = new Map<string, FirstStart>();

/** That of all agents whose home is this directory. */
export function firstStartIn(home: string): FirstStart {
  const known = starts.get(home) ?? new FirstStart();
  starts.set(home, known);
  return known;
}
