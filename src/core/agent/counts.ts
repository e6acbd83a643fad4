import type { Tokens } from "../model/attempt.ts";
import { isObject, objectOf } from "../text/text.ts";

// Counts of tokens, as providers and agents report them.

/** A count, as a number or as its text, rounded; null for a value that is none. */
export function countOf(value: unknown): number | null {
  const number = typeof value === "string" && /^\d+(?:\.\d+)?$/.test(value) ? Number(value) : value;
  if (typeof number !== "number" || !(number >= 0 && number <= Number.MAX_SAFE_INTEGER))
    return null;
  return Math.round(number);
}

const names = {
  input: [
    ...["inputTokens", "input_tokens", "promptTokens", "prompt_tokens"],
    ...["promptTokenCount", "input"],
  ],
  output: [
    ...["outputTokens", "output_tokens", "completionTokens", "completion_tokens"],
    ...["candidatesTokenCount", "output"],
  ],
  cached: [
    ...["cachedReadTokens", "cachedInputTokens", "cached_read_tokens", "cached_input_tokens"],
    ...["cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens"],
    "cachedContentTokenCount",
  ],
  reasoning: [
    ...["thoughtTokens", "reasoningOutputTokens", "thought_tokens", "reasoning_tokens"],
    ...["reasoning_output_tokens", "thoughtsTokenCount"],
  ],
  total: ["totalTokens", "total_tokens", "totalTokenCount", "total"],
} as const;

/** The tokens of a usage, in the names of any provider or agent; null when it has no count above 0. */
export function usageIn(usage: unknown): Tokens | null {
  if (!isObject(usage)) return null;
  const inInput = objectOf(usage["prompt_tokens_details"] ?? usage["input_tokens_details"]);
  const inOutput = objectOf(usage["completion_tokens_details"] ?? usage["output_tokens_details"]);
  const first = (known: readonly string[], ...places: readonly object[]) =>
    places
      .flatMap((place) => known.map((name) => countOf(Reflect.get(place, name)) ?? 0))
      .find((count) => count > 0) ?? 0;
  const cachedInput = first(names.cached, usage, inInput);
  const reasoningOutput = first(names.reasoning, usage, inOutput);
  const [told, output] = [first(names.input, usage), first(names.output, usage)];
  // They differ in whether their input includes cached tokens; their total always does.
  const parts = (cachedInput > told ? told + cachedInput : told) + output;
  const total = Math.max(first(names.total, usage), parts);
  // Gemini and xAI count what a model thinks in their total alone.
  const thought = total - parts === reasoningOutput ? reasoningOutput : 0;
  const counted = { input: total - output - thought, cachedInput, output: output + thought };
  return total === 0 ? null : { ...counted, reasoningOutput, total };
}
