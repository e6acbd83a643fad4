import { z } from "zod";
import type { AgentConfig, AgentPick, Approvals, BrakesConfig, UsageConfig } from "./config.ts";
import {
  map,
  notNegative,
  oneOf,
  positive,
  section,
  solidText,
  text,
  wholeNumber,
} from "./fields.ts";

const word = solidText.nullable().default(null);
const pick = z.looseObject(
  { kind: word, model: word, reasoning_effort: word },
  "must be a map with kind, model or reasoning_effort",
);
const price = z.number("must be a number").min(0, "must not be negative");
const agentKind = oneOf("codex", "openai", "command", "acp");

/** What every agent obeys: which one runs, how many, how long, and when a person is asked. */
export const agentSection = section({
  kind: agentKind.default("codex"),
  model: word,
  reasoning_effort: word,
  by_state: z.record(text, pick, "must be a map").default({}),
  by_label: z.record(text, pick, "must be a map").default({}),
  level: oneOf("safe", "networked", "danger").default("safe"),
  approvals: oneOf("auto", "ask", "decline").optional(),
  approval_timeout_ms: notNegative.default(1_800_000),
  max_concurrent_agents: positive.default(10),
  max_turns: positive.default(20),
  max_retry_backoff_ms: positive.default(300_000),
  max_retries: notNegative.nullable().default(10),
  max_concurrent_agents_by_state: map.default({}),
});

/** Limits that put an issue to `held`; 0 turns one off. */
export const brakesSection = section({
  tokens_per_issue: wholeNumber.default(20_000_000),
  tokens_per_day: wholeNumber.default(100_000_000),
  turns_without_progress: wholeNumber.default(5),
  attempt_timeout_ms: wholeNumber.default(14_400_000),
});

/** What tokens cost: prices by model in money per million. */
export const usageSection = section({
  currency: solidText.default("USD"),
  prices: z
    .record(
      text,
      z.looseObject({
        input: price.default(0),
        cached_input: price.nullable().default(null),
        output: price.default(0),
      }),
      "must be a map",
    )
    .default({}),
});

type WrittenAgent = z.output<typeof agentSection>;

export function agentConfigOf(
  written: WrittenAgent & {
    readonly approvals: Approvals;
    readonly max_concurrent_agents_by_state: Record<string, number>;
  },
): AgentConfig {
  return {
    kind: written.kind,
    model: written.model,
    effort: written.reasoning_effort,
    byState: picksOf(written.by_state),
    byLabel: picksOf(written.by_label),
    level: written.level,
    approvals: written.approvals,
    approvalTimeoutMs: written.approval_timeout_ms,
    maxConcurrentAgents: written.max_concurrent_agents,
    maxTurns: written.max_turns,
    maxRetryBackoffMs: written.max_retry_backoff_ms,
    maxRetries: written.max_retries,
    maxConcurrentAgentsByState: written.max_concurrent_agents_by_state,
  };
}

export function brakesConfigOf(written: z.output<typeof brakesSection>): BrakesConfig {
  return {
    tokensPerIssue: limitOf(written.tokens_per_issue),
    tokensPerDay: limitOf(written.tokens_per_day),
    turnsWithoutProgress: limitOf(written.turns_without_progress),
    attemptTimeoutMs: limitOf(written.attempt_timeout_ms),
  };
}

export function usageConfigOf(written: z.output<typeof usageSection>): UsageConfig {
  const prices = Object.entries(written.prices).map(
    ([model, { input, cached_input: cachedInput, output }]) =>
      [model, { input, cachedInput: cachedInput ?? input, output }] as const,
  );
  return { currency: written.currency, prices: new Map(prices) };
}

/** Keys trimmed and lowercased, in the order they were written. */
function picksOf(written: WrittenAgent["by_state"]): ReadonlyMap<string, AgentPick> {
  return new Map(
    Object.entries(written).map(([key, { kind, model, reasoning_effort: effort }]) => [
      key.trim().toLowerCase(),
      { kind, model, effort },
    ]),
  );
}

function limitOf(value: number): number | null {
  return value > 0 ? value : null;
}
