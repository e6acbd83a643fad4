import type { z } from "zod";

/** An answer that GitHub confirms with 304 as long as it has not changed. */
export interface KeptAnswer {
  /** When it was read, ms of the monotonic clock. */
  readonly at: number;
  readonly data: unknown;
  readonly hasNext: boolean;
  readonly etag: string;
  /** What `data` was read with. */
  readonly schema: z.ZodType;
}

const maxChars = 32 * 1024 * 1024;
/** An older one is read once more: a cache on the way, or a tag that missed a change, would hide it for ever. */
export const keptMs = 30 * 60_000;

/** The last answer of each address, for conditional reads; the oldest are dropped above 32 million characters in all. */
export class KeptAnswers {
  readonly #answers = new Map<string, KeptAnswer & { readonly chars: number }>();
  #chars = 0;
  #token: string | null = null;

  /** The answer for this token: GitHub's tags differ for each token, also for each hourly token of an app. */
  get(address: string, token: string): KeptAnswer | null {
    if (this.#token !== token) {
      this.#answers.clear();
      this.#chars = 0;
      this.#token = token;
    }
    return this.#answers.get(address) ?? null;
  }

  put(address: string, answer: KeptAnswer): void {
    const chars = sizeOf(answer.data);
    this.#chars += chars - (this.#answers.get(address)?.chars ?? 0);
    // Deleted first, so that the order is that of the last change.
    this.#answers.delete(address);
    this.#answers.set(address, { ...answer, chars });
    for (const [oldest, { chars: freed }] of this.#answers) {
      if (this.#chars <= maxChars) return;
      this.#answers.delete(oldest);
      this.#chars -= freed;
    }
  }
}

/** About the size of a value in memory; octokit turns very large numbers into bigints, which JSON does not have. */
function sizeOf(value: unknown): number {
  const text = JSON.stringify(value, (_key, part: unknown) => {
    return typeof part === "bigint" ? part.toString() : part;
  });
  return text?.length ?? 0;
}
