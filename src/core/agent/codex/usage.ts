import type { Tokens } from "../../model/attempt.ts";
import { isObject, type JsonObject, objectOf } from "../json-value.ts";

const keys = {
  input: ["inputTokens", "input_tokens", "promptTokens", "prompt_tokens", "input"],
  cachedInput: ["cachedInputTokens", "cached_input_tokens"],
  output: ["outputTokens", "output_tokens", "completionTokens", "completion_tokens", "output"],
  reasoningOutput: ["reasoningOutputTokens", "reasoning_output_tokens"],
  total: ["totalTokens", "total_tokens", "total"],
} as const;

/**
 * The absolute totals of a thread (E-4), wherever a notification carries them; null when it has none.
 * `last` usage, context windows and generic `usage` maps are no totals (E-5).
 */
export function readTotals(params: JsonObject): Tokens | null {
  const current = objectOf(params["tokenUsage"])["total"];
  const message = objectOf(params["msg"]);
  const info = isObject(message["info"]) ? message["info"] : objectOf(message["payload"])["info"];
  return readTokens(current) ?? readTokens(objectOf(info)["total_token_usage"]);
}

/** Usage that the end of a turn carries (E-9): a reading for whoever has heard no total. */
export function readTurnUsage(params: JsonObject): Tokens | null {
  return readTokens(objectOf(params["turn"])["usage"]) ?? readTokens(params["usage"]);
}

/** Counts in any of the known spellings (E-6); null when there is none at all. */
export function readTokens(value: unknown): Tokens | null {
  if (!isObject(value)) return null;
  const input = count(value, keys.input);
  const output = count(value, keys.output);
  const total = count(value, keys.total);
  if (input === null && output === null && total === null) return null;
  return {
    input: input ?? 0,
    cachedInput: count(value, keys.cachedInput) ?? 0,
    output: output ?? 0,
    reasoningOutput: count(value, keys.reasoningOutput) ?? 0,
    total: total ?? (input ?? 0) + (output ?? 0),
  };
}

function count(value: JsonObject, names: readonly string[]): number | null {
  for (const name of names) {
    const found = value[name];
    const number = typeof found === "string" && /^\d+$/.test(found) ? Number(found) : found;
    if (typeof number === "number" && Number.isSafeInteger(number) && number >= 0) return number;
  }
  return null;
}

const deepestLimits = 6;
const windows = ["primary", "secondary", "credits"];
const limitNames = ["limitId", "limit_id", "limitName", "limit_name"];

/** The rate-limit object anywhere in an update (E-11); null when there is none with a figure in it. */
export function readRateLimits(value: unknown, depth = 0): JsonObject | null {
  if (depth > deepestLimits) return null;
  if (Array.isArray(value)) return firstOf(value, depth);
  if (!isObject(value)) return null;
  const named = limitNames.some((name) => typeof value[name] === "string");
  if (named && windows.some((name) => isObject(value[name]))) return value;
  return firstOf(Object.values(value), depth);
}

function firstOf(values: readonly unknown[], depth: number): JsonObject | null {
  for (const value of values.slice(0, 100)) {
    const found = readRateLimits(value, depth + 1);
    if (found) return found;
  }
  return null;
}
