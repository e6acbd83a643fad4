/** A queue between one writer and one reader. It ends once, and what was pushed before is still read. */
export class Inbox<T, Fault> implements AsyncIterable<T> {
  #items: T[] = [];
  #ended = false;
  #fault: Fault | null = null;
  #wake = () => {};

  /** Items that nobody has read yet. */
  get size(): number {
    return this.#items.length;
  }

  /** Why it ended; null for a plain end. */
  get fault(): Fault | null {
    return this.#fault;
  }

  push(item: T): void {
    if (this.#ended) return;
    this.#items.push(item);
    this.#wake();
  }

  end(fault: Fault | null): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#fault = fault;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void> {
    for (;;) {
      const batch = this.#items;
      this.#items = [];
      yield* batch;
      if (this.#items.length > 0) continue;
      if (this.#ended) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
