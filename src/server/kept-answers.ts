const most = 8;

/**
 * Answers that were written out once, for as long as nothing that they tell of changed: readers ask far more often than
 * anything happens.
 */
export class KeptAnswers<T> {
  readonly #kept = new Map<string, T>();
  #marks: readonly unknown[] = [];

  /** The answer to `question`; made anew when one of `marks`, all that it depends on, is not what it was. */
  get(question: string, marks: readonly unknown[], make: () => T): T {
    const same = marks.every((mark, index) => mark === this.#marks[index]);
    if (!same) this.#kept.clear();
    this.#marks = marks;
    const known = this.#kept.get(question);
    if (known !== undefined) return known;
    if (this.#kept.size >= most) this.#kept.clear();
    const made = make();
    this.#kept.set(question, made);
    return made;
  }
}
