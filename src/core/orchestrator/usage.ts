import type { Tokens } from "../model/attempt.ts";

/** What a thread's new absolute `total` adds over its high-water `mark`; a decrease adds nothing (E-7). */
export function tokensAdded(mark: Tokens, total: Tokens): Tokens {
  return combine(mark, total, (old, now) => Math.max(now - old, 0));
}

/** The high-water mark after `total` was heard. */
export function highWater(mark: Tokens, total: Tokens): Tokens {
  return combine(mark, total, Math.max);
}

export function addTokens(a: Tokens, b: Tokens): Tokens {
  return combine(a, b, (x, y) => x + y);
}

function combine(a: Tokens, b: Tokens, join: (x: number, y: number) => number): Tokens {
  return {
    input: join(a.input, b.input),
    cachedInput: join(a.cachedInput, b.cachedInput),
    output: join(a.output, b.output),
    reasoningOutput: join(a.reasoningOutput, b.reasoningOutput),
    total: join(a.total, b.total),
  };
}
