import { z } from "zod";
import type { ActiveHours } from "../model/hours.ts";
import { renamed } from "../model/names.ts";
import { activeHours, activeHoursOf } from "./hours.ts";

export interface AgentConfig {
  /** The agent that runs by default: a name in `agents`, or a kind. */
  readonly use: string;
  /** Agents in the order in which they stand in for one that cannot take turns. */
  readonly fallback: readonly string[];
  /** Whether the next agent also continues work that another one has begun. */
  readonly handover: boolean;
  /** Takes precedence over the model in the section of the kind; null: that model is used. */
  readonly model: string | null;
  readonly effort: string | null;
  /** Overrides for issues in a tracker state, or with a label; a label takes precedence. Keys lowercased. */
  readonly byState: ReadonlyMap<string, AgentPick>;
  readonly byLabel: ReadonlyMap<string, AgentPick>;
  /** What the agent's commands may access: the workspace only, also the network, or everything. */
  readonly level: "safe" | "networked" | "danger";
  /** The hosts that level `networked` reaches, next to the model provider; null: all. */
  readonly network: readonly string[] | null;
  /** Paths that an agent of any kind may read, next to the system, what is on PATH, and toolchains. */
  readonly readable: readonly string[];
  /** The answer to an agent's request for approval: granted, decided by a person, declined. */
  readonly approvals: Approvals;
  /** How long an approval or a question waits for a person; 0: the run ends at once. */
  readonly approvalTimeoutMs: number;
  /** Silence after which an attempt of any kind of agent is stopped and tried again; 0 or less: never. */
  readonly stallTimeoutMs: number;
  readonly maxConcurrentAgents: number;
  /** When new attempts may start; null: always. */
  readonly activeHours: ActiveHours | null;
  readonly maxTurns: number;
  readonly maxRetryBackoffMs: number;
  /** Failures in a row before an issue becomes `failed`; null: no limit. */
  readonly maxRetries: number | null;
  /** The processes of one attempt at the same time; 0: no limit. */
  readonly maxProcesses: number;
  /** The memory of one attempt, in bytes; null: half of the machine's, 0: no limit. */
  readonly maxMemory: number | null;
  /** The largest file that an agent may write, in bytes; 0: no limit. */
  readonly maxFileSize: number;
  /** Keys trimmed and lowercased. */
  readonly maxConcurrentAgentsByState: Readonly<Record<string, number>>;
}

/** null: no override. */
export interface AgentPick {
  /** A name in `agents`, or a kind. */
  readonly agent: string | null;
  readonly model: string | null;
  readonly effort: string | null;
}

/** An agent that the workflow gives a name. */
export interface NamedAgent {
  readonly kind: string;
  /** null: that of its settings. */
  readonly model: string | null;
  readonly effort: string | null;
  /** As the kind reads them. */
  readonly settings: object;
}

/** What an agent that is a separate program may use of the machine, as its section says. */
export interface ProgramAccess {
  /** Paths of the machine that it sees in the sandbox in addition to the system and what is on PATH. */
  readonly readablePaths: readonly string[];
  /** Paths that it may write in addition to its workspace. */
  readonly writablePaths: readonly string[];
  readonly envPassthrough: readonly string[];
}

export type Approvals = "auto" | "ask" | "decline";

/** Limits that put an issue to `held`; null: off. */
export interface BrakesConfig {
  readonly tokensPerIssue: number | null;
  /** All issues together; a day ends at midnight UTC. */
  readonly tokensPerDay: number | null;
  /** Turns in a row that changed neither the workspace nor the issue. */
  readonly turnsWithoutProgress: number | null;
  readonly attemptTimeoutMs: number | null;
}

export interface UsageConfig {
  readonly currency: string;
  /** By model, in `currency` per million tokens. */
  readonly prices: ReadonlyMap<string, Price>;
}

export interface Price {
  readonly input: number;
  readonly cachedInput: number;
  readonly output: number;
}

/** The kinds of value in a written configuration, each with the error message for a wrong value. */
export const text = z.string({
  error: ({ input }) => (input === undefined ? "is required" : "must be text"),
});
export const solidText = text.refine((value) => value.trim() !== "", "must not be blank");
export const texts = z.array(text, "must be a list");
export const map = z.record(z.string(), z.unknown(), "must be a map");
export const wholeNumber = z.int("must be a whole number");
export const positive = wholeNumber.min(1, "must be greater than 0");
export const notNegative = wholeNumber.min(0, "must not be negative");
export const variableName = text.regex(
  /^[A-Za-z_][A-Za-z0-9_]*$/,
  "must be the name of a variable",
);

const sizes: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
};
const sizeError = "must be a number of bytes, or text such as 500MiB or 10GiB";
const sizeText = text.regex(/^\d{1,9} ?(?:B|KiB|MiB|GiB|TiB)$/, sizeError);
/** Bytes, as a number or with a unit. */
export const size = z.union([notNegative, sizeText], sizeError);

/** The number of bytes. */
export function bytesOf(written: z.output<typeof size>): number {
  return inUnits(written, sizes);
}

/** A number stands for itself; text has one of the units. */
export function inUnits(written: number | string, units: Readonly<Record<string, number>>): number {
  if (typeof written === "number") return written;
  const [, count = "", unit = ""] = /^(\d+) ?([A-Za-z]+)$/.exec(written) ?? [];
  return Number(count) * (units[unit] ?? 1);
}

/** One of a few words; the error message lists them. */
export function oneOf<const Words extends readonly [string, ...string[]]>(...words: Words) {
  return z.enum(words, `must be ${either(words)}`);
}

/** `a, b or c`. */
export function either(words: readonly string[]): string {
  const [last = "", ...others] = words.toReversed();
  return others.length === 0 ? last : `${others.toReversed().join(", ")} or ${last}`;
}

/** A map of known keys; unknown keys are kept and ignored. */
export function section<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  return z.looseObject(shape, "must be a map");
}

/** The keys of a section for `ProgramAccess`. */
export const accessKeys = {
  readable_paths: z.array(solidText, "must be a list").default([]),
  writable_paths: z.array(solidText, "must be a list").default([]),
  env_passthrough: z.array(variableName, "must be a list").default([]),
};

/** What each of `accessKeys` means. */
export function accessMeanings(who: "agent" | "program") {
  return {
    readable_paths: `Paths the ${who} sees in the sandbox in addition to the system and what is on PATH`,
    writable_paths: `Paths the ${who} may write in addition to its workspace`,
    env_passthrough: `Environment variables that the ${who} may see`,
  };
}

const word = solidText.nullable().default(null);
/** It stands in addresses, in labels of metrics, and in dotted paths of the configuration. */
const agentName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/);

const namedAgent = section({
  kind: word,
  model: word,
  reasoning_effort: word,
  provider: map.default({}),
});

/** `agents`: by name; a word alone is a kind with its defaults. */
export const agentsSection = z.record(
  agentName,
  z.union([solidText, namedAgent], "must be a kind of agent, or a map with kind, model, provider"),
  {
    error: ({ code }) =>
      code === "invalid_key"
        ? "must be a name of letters, digits, - and _, such as local"
        : "must be a map of agents by name",
  },
);

const pick = z.looseObject(
  { use: word, kind: word, model: word, reasoning_effort: word },
  "must be a map with use, model or reasoning_effort",
);
const price = z.number("must be a number").min(0, "must not be negative");

const networkEntry = solidText.regex(
  /^(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?(:\d{1,5})?$|^\[?[0-9A-Fa-f:.]+\]?(\/\d{1,3})?$/,
  "must be the name of a host, *.suffix, an address or a network",
);

const agentRules = section({
  use: word,
  fallback: z.array(solidText, "must be a list of agents").default([]),
  handover: z.boolean("must be true or false").default(false),
  model: word,
  reasoning_effort: word,
  by_state: z.record(text, pick, "must be a map").default({}),
  by_label: z.record(text, pick, "must be a map").default({}),
  level: oneOf("safe", "networked", "danger").default("safe"),
  network: z.array(networkEntry, "must be a list").nullable().default(null),
  readable: z.array(solidText, "must be a list").default([]),
  approvals: oneOf("auto", "ask", "decline").optional(),
  approval_timeout_ms: notNegative.default(1_800_000),
  silence_timeout_ms: wholeNumber.optional(),
  max_concurrent_agents: positive.default(10),
  active_hours: activeHours.nullable().default(null),
  max_turns: positive.default(20),
  max_retry_backoff_ms: positive.default(300_000),
  max_retries: notNegative.nullable().default(10),
  max_processes: notNegative.default(1_024),
  max_memory: size.nullable().default(null),
  max_file_size: size.default(4 * 1024 ** 3),
  max_concurrent_agents_by_state: map.default({}),
});

/** Rules for every agent: which one runs, how many, how long, and when a person is needed. The first kind is the default. */
export function agentSectionOf(kinds: readonly [string, ...string[]]) {
  return section({ kind: oneOf(...kinds).default(kinds[0]), ...agentRules.shape });
}

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

type WrittenAgent = z.output<ReturnType<typeof agentSectionOf>>;

export function agentConfigOf(
  written: WrittenAgent & {
    readonly approvals: Approvals;
    readonly max_concurrent_agents_by_state: Record<string, number>;
  },
  defaultSilenceMs: number,
): AgentConfig {
  const {
    reasoningEffort: effort,
    silenceTimeoutMs = defaultSilenceMs,
    ...rules
  } = renamed(agentRules, written);
  return {
    ...rules,
    use: written.use ?? written.kind,
    effort,
    activeHours: activeHoursOf(written.active_hours),
    byState: picksOf(written.by_state),
    byLabel: picksOf(written.by_label),
    approvals: written.approvals,
    maxMemory: written.max_memory === null ? null : bytesOf(written.max_memory),
    maxFileSize: bytesOf(written.max_file_size),
    stallTimeoutMs: silenceTimeoutMs,
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
    Object.entries(written).map(([key, { use, kind, model, reasoning_effort: effort }]) => [
      key.trim().toLowerCase(),
      { agent: use ?? kind, model, effort },
    ]),
  );
}

function limitOf(value: number): number | null {
  return value > 0 ? value : null;
}
