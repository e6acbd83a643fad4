import { z } from "zod";

export interface AgentConfig {
  /** Which runtime: `codex`, `openai`, `command` or `acp`. */
  readonly kind: string;
  /** Over the model of the runtime's own section; null leaves it to that. */
  readonly model: string | null;
  readonly effort: string | null;
  /** What issues in a tracker state, or with a label, get instead; a label wins. Keys lowercased. */
  readonly byState: ReadonlyMap<string, AgentPick>;
  readonly byLabel: ReadonlyMap<string, AgentPick>;
  /** What the agent's commands may reach: nothing outside the workspace, the network too, or everything. */
  readonly level: "safe" | "networked" | "danger";
  /** What becomes of an agent's wish for an approval: granted, a person is asked, declined. */
  readonly approvals: Approvals;
  /** How long an approval or a question waits for a person; 0: the run ends at once. */
  readonly approvalTimeoutMs: number;
  readonly maxConcurrentAgents: number;
  readonly maxTurns: number;
  readonly maxRetryBackoffMs: number;
  /** Failures in a row before an issue becomes `failed`; null for no end. */
  readonly maxRetries: number | null;
  /** Keys trimmed and lowercased. */
  readonly maxConcurrentAgentsByState: Readonly<Record<string, number>>;
}

/** null: as it would be otherwise. */
export interface AgentPick {
  readonly kind: string | null;
  readonly model: string | null;
  readonly effort: string | null;
}

export type Approvals = "auto" | "ask" | "decline";

/** Limits that put an issue to `held`; null is off. */
export interface BrakesConfig {
  readonly tokensPerIssue: number | null;
  /** Of all issues together; a day ends at midnight UTC. */
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

/** The kinds of value a written configuration is made of, each with the words for a wrong one. */
export const text = z.string({
  error: ({ input }) => (input === undefined ? "is required" : "must be text"),
});
export const solidText = text.refine((value) => value.trim() !== "", "must not be blank");
export const texts = z.array(text, "must be a list");
export const map = z.record(z.string(), z.unknown(), "must be a map");
export const wholeNumber = z.int("must be a whole number");
export const positive = wholeNumber.min(1, "must be greater than 0");
const notNegative = wholeNumber.min(0, "must not be negative");
export const variableName = text.regex(
  /^[A-Za-z_][A-Za-z0-9_]*$/,
  "must be the name of a variable",
);

/** One of a few words; the refusal lists them. */
export function oneOf<const Words extends readonly [string, ...string[]]>(...words: Words) {
  return z.enum(words, `must be ${words.slice(0, -1).join(", ")} or ${words.at(-1)}`);
}

/** A map of known keys; others are kept and mean nothing. */
export function section<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  return z.looseObject(shape, "must be a map");
}

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

/** The built-in agent, and the provider of models it talks to. */
export const openaiSection = section({
  base_url: solidText.default("https://api.openai.com/v1"),
  api_key: solidText.default("$OPENAI_API_KEY"),
  model: solidText.default("gpt-5.5"),
  api: oneOf("auto", "responses", "chat").default("auto"),
  context_tokens: positive.default(200_000),
  max_output_tokens: notNegative.default(0),
  max_requests_per_turn: positive.default(500),
  max_retries: notNegative.default(6),
  request_timeout_ms: positive.default(240_000),
  command_timeout_ms: positive.default(600_000),
  command_output_bytes: positive.default(32_768),
  command_file_bytes: positive.default(1_073_741_824),
  command_processes: positive.default(512),
  readable_paths: z.array(text, "must be a list").default([]),
  env_passthrough: z.array(variableName, "must be a list").default([]),
});

export interface OpenaiConfig {
  readonly baseUrl: string;
  /** As written: a `$NAME` is looked up at each request. */
  readonly apiKey: string;
  readonly model: string;
  readonly api: "auto" | "responses" | "chat";
  /** What the model can hold; the conversation is shortened before it is full. */
  readonly contextTokens: number;
  /** null leaves it to the model. */
  readonly maxOutputTokens: number | null;
  readonly maxRequestsPerTurn: number;
  /** Of one request. */
  readonly maxRetries: number;
  /** Longest silence of the provider. */
  readonly requestTimeoutMs: number;
  readonly commandTimeoutMs: number;
  /** Of a command's output, what the model sees: the beginning and the end. */
  readonly commandOutputBytes: number;
  /** Largest file a command may write. */
  readonly commandFileBytes: number;
  /** Most processes of one attempt at a time. */
  readonly commandProcesses: number;
  /** Directories that commands in the sandbox may read beside those of the system. */
  readonly readablePaths: readonly string[];
  /** Names of extra environment variables that commands may see. */
  readonly envPassthrough: readonly string[];
}

export function openaiConfigOf(written: z.output<typeof openaiSection>): OpenaiConfig {
  return {
    baseUrl: written.base_url,
    apiKey: written.api_key,
    model: written.model,
    api: written.api,
    contextTokens: written.context_tokens,
    maxOutputTokens: written.max_output_tokens > 0 ? written.max_output_tokens : null,
    maxRequestsPerTurn: written.max_requests_per_turn,
    maxRetries: written.max_retries,
    requestTimeoutMs: written.request_timeout_ms,
    commandTimeoutMs: written.command_timeout_ms,
    commandOutputBytes: written.command_output_bytes,
    commandFileBytes: written.command_file_bytes,
    commandProcesses: written.command_processes,
    readablePaths: written.readable_paths,
    envPassthrough: written.env_passthrough,
  };
}

const line = solidText.nullable().default(null);

/** Any program as an agent: one process for each turn. */
export const commandSection = section({
  line,
  resume_line: line,
  prompt: oneOf("stdin", "file").default("stdin"),
  output: oneOf("text", "jsonl", "claude", "gemini", "codex").default("text"),
  model: line,
  turn_timeout_ms: positive.default(3_600_000),
  exit_grace_ms: positive.default(5_000),
  writable_paths: z.array(solidText, "must be a list").default([]),
  env_passthrough: z.array(variableName, "must be a list").default([]),
});

export interface CommandConfig {
  /** A shell line, run as `bash -lc` for each turn; null: not set, so the agent cannot run. */
  readonly line: string | null;
  /** The line for a turn that goes on with `$SYMPHONY_SESSION`; null: each turn begins anew. */
  readonly resumeLine: string | null;
  readonly prompt: "stdin" | "file";
  /** What the program writes: text, symphony's own JSON lines, or those of a known program. */
  readonly output: "text" | "jsonl" | "claude" | "gemini" | "codex";
  readonly model: string | null;
  /** Longest silence in a turn. */
  readonly turnTimeoutMs: number;
  /** How long a program may live on once it told how its turn ended. */
  readonly exitGraceMs: number;
  /** Paths the program may write beside its workspace. */
  readonly writablePaths: readonly string[];
  readonly envPassthrough: readonly string[];
}

export function commandConfigOf(written: z.output<typeof commandSection>): CommandConfig {
  return {
    line: written.line,
    resumeLine: written.resume_line,
    prompt: written.prompt,
    output: written.output,
    model: written.model,
    turnTimeoutMs: written.turn_timeout_ms,
    exitGraceMs: written.exit_grace_ms,
    writablePaths: written.writable_paths,
    envPassthrough: written.env_passthrough,
  };
}

const modeWord = solidText.nullable().default(null);

/** Any agent that speaks the Agent Client Protocol. */
export const acpSection = section({
  command: modeWord,
  model: modeWord,
  auth_method: modeWord,
  read_timeout_ms: positive.default(60_000),
  turn_timeout_ms: positive.default(3_600_000),
  writable_paths: z.array(solidText, "must be a list").default([]),
  env_passthrough: z.array(variableName, "must be a list").default([]),
});

export interface AcpConfig {
  /** A shell line, run as `bash -lc`; null: not set, so the agent cannot run. */
  readonly command: string | null;
  readonly model: string | null;
  /** Which of the agent's ways to log in is used; null for none. */
  readonly authMethod: string | null;
  /** Longest wait for one answer of the protocol, a turn's own apart. */
  readonly readTimeoutMs: number;
  /** Longest silence in a turn. */
  readonly turnTimeoutMs: number;
  /** Paths the agent may write beside its workspace. */
  readonly writablePaths: readonly string[];
  readonly envPassthrough: readonly string[];
}

export function acpConfigOf(written: z.output<typeof acpSection>): AcpConfig {
  return {
    command: written.command,
    model: written.model,
    authMethod: written.auth_method,
    readTimeoutMs: written.read_timeout_ms,
    turnTimeoutMs: written.turn_timeout_ms,
    writablePaths: written.writable_paths,
    envPassthrough: written.env_passthrough,
  };
}
