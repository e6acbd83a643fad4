import { z } from "zod";
import {
  notNegative,
  oneOf,
  positive,
  section,
  solidText,
  text,
  variableName,
} from "../../config/agents.ts";
import type { AgentSection } from "../../config/sections.ts";
import { renamed } from "../../model/names.ts";

declare module "../../config/config.ts" {
  interface Config {
    readonly openai: OpenaiConfig;
  }
}

const schema = section({
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
  /** Paths that commands in the sandbox may read in addition to the system and what is on PATH. */
  readonly readablePaths: readonly string[];
  /** Names of extra environment variables that commands may see. */
  readonly envPassthrough: readonly string[];
}

function openaiConfigOf(written: z.output<typeof schema>): OpenaiConfig {
  const { max_output_tokens: most } = written;
  return { ...renamed(schema, written), maxOutputTokens: most > 0 ? most : null };
}

/** The built-in agent, and the provider of models it talks to. */
export const openaiSection: AgentSection<OpenaiConfig, typeof schema> = {
  schema,
  meanings: {
    base_url: "Where the models are: https, or http on this machine",
    api_key: "$NAME is looked up in the secrets, then in the environment, at each request",
    model: "Model of the built-in agent",
    api: "responses, chat (Chat Completions) or auto: responses where the provider has it",
    context_tokens: "What the model can hold; the conversation is shortened before it is full",
    max_output_tokens: "Longest answer; 0: left to the model",
    max_requests_per_turn: "Requests to the model after which a turn has failed",
    max_retries: "How often one request is tried again after a failure that may pass",
    request_timeout_ms: "Longest silence of the provider, ms; then the request is tried again",
    command_timeout_ms: "Longest time for one command, ms",
    command_output_bytes: "Output of a command the model sees: the beginning and the end",
    command_file_bytes: "Largest file a command may write",
    command_processes: "Most processes of one attempt at a time",
    readable_paths:
      "Paths that commands may read in addition to the system and what is on PATH, such as /home/me/.cargo",
    env_passthrough: "Environment variables that commands may see",
  },
  example: { base_url: "https://api.openai.com/v1", model: "gpt-5.5" },
  settings: openaiConfigOf,
};
