import { addTokens, noTokens, type Tokens } from "../../model/attempt.ts";

/**
 * The usage of a thread, from the totals that codex reports. When the context is full, codex replaces its total by the
 * size of the model's window, with all parts 0, and counts the parts anew: a total that has no parts was not used.
 * Source: `TokenUsageInfo::fill_to_context_window` in codex-rs.
 */
export class ThreadTotals {
  /** What was used before the counters began anew. */
  #before = noTokens;
  #current = noTokens;
  #wasFull = false;

  /** The usage so far by a reported `total`; null when it reports none. `window`: the model's, in tokens. */
  counted(total: Tokens, window: number | null): Tokens | null {
    const parts = total.input + total.output;
    if (total.total === 0) return null;
    if (parts === 0) {
      this.#wasFull = true;
      this.#before = addTokens(this.#before, this.#current);
      this.#current = noTokens;
      return null;
    }
    // A resumed thread may have been full in an earlier session.
    if (window !== null && window > 0 && total.total - parts >= window) this.#wasFull = true;
    this.#current = this.#wasFull ? { ...total, total: parts } : total;
    return addTokens(this.#before, this.#current);
  }
}
