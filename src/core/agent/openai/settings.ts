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

const headerName = z
  .string("must be the name of a header")
  .regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$/, "must be the name of a header");
const headerValue = z
  .string("must be text")
  .regex(/^[\x20-\x7e]{1,4000}$/, "must be one line of ASCII text");

/** Shorter than the default of `agent.silence_timeout_ms`, so that a request is repeated before the attempt ends. */
export const defaultRequestTimeoutMs = 240_000;

const schema = section({
  base_url: solidText.default("https://api.openai.com/v1"),
  api_key: solidText.default("$OPENAI_API_KEY"),
  model: solidText.default("gpt-5.5"),
  api: oneOf("auto", "responses", "chat").default("auto"),
  api_key_header: headerName.default("authorization"),
  headers: z.record(headerName, headerValue, "must be a map of headers").default({}),
  extra_body: z.record(z.string(), z.unknown(), "must be a map").default({}),
  omit: z.array(solidText, "must be a list of names").default([]),
  context_tokens: positive.default(200_000),
  max_output_tokens: notNegative.default(0),
  max_requests_per_turn: positive.default(500),
  max_retries: notNegative.default(6),
  request_timeout_ms: positive.default(defaultRequestTimeoutMs),
  command_timeout_ms: positive.default(600_000),
  command_output_bytes: positive.default(32_768),
  command_file_bytes: positive.default(1_073_741_824),
  command_processes: positive.default(512),
  readable_paths: z.array(text, "must be a list").default([]),
  env_passthrough: z.array(variableName, "must be a list").default([]),
});

export interface OpenaiConfig {
  readonly baseUrl: string;
  /** As written: a `$NAME` is resolved at each request. */
  readonly apiKey: string;
  readonly model: string;
  readonly api: "auto" | "responses" | "chat";
  /** The header that carries the key, in lower case; `authorization` carries it as `Bearer KEY`. */
  readonly apiKeyHeader: string;
  /** Further headers; a value of the form `$NAME` is resolved at each request. */
  readonly headers: Readonly<Record<string, string>>;
  /** Added to the body of every request to the model. */
  readonly extraBody: Readonly<Record<string, unknown>>;
  /** Names that are left out of the body. */
  readonly omit: readonly string[];
  /** The size of the model's context; the conversation is shortened before it is full. */
  readonly contextTokens: number;
  /** null leaves it to the model. */
  readonly maxOutputTokens: number | null;
  readonly maxRequestsPerTurn: number;
  /** Limit for the retries of one request. */
  readonly maxRetries: number;
  /** Limit for the provider's silence. */
  readonly requestTimeoutMs: number;
  readonly commandTimeoutMs: number;
  /** Limit for the part of a command's output that the model sees: the beginning and the end. */
  readonly commandOutputBytes: number;
  /** Limit for the size of a file that a command writes. */
  readonly commandFileBytes: number;
  /** Limit for the simultaneous processes of one attempt. */
  readonly commandProcesses: number;
  /** Paths that commands in the sandbox may read in addition to the system and what is on PATH. */
  readonly readablePaths: readonly string[];
  /** Names of extra environment variables that commands may see. */
  readonly envPassthrough: readonly string[];
}

function openaiConfigOf(written: z.output<typeof schema>): OpenaiConfig {
  const { max_output_tokens: most, api_key_header: header } = written;
  return {
    ...renamed(schema, written),
    apiKeyHeader: header.toLowerCase(),
    maxOutputTokens: most > 0 ? most : null,
  };
}

/** The built-in agent, and its provider of models. */
export const openaiSection: AgentSection<OpenaiConfig, typeof schema> = {
  schema,
  meanings: {
    base_url:
      "The provider's address: https, or http on this machine; may end with a query such as ?api-version=…",
    api_key: "$NAME is resolved from the secrets, then from the environment, at each request",
    model: "Model of the built-in agent",
    api: "responses, chat (Chat Completions) or auto: responses where the provider has it",
    api_key_header: "Header that carries the key, such as api-key; authorization: Bearer KEY",
    headers: "Further headers of every request; a value $NAME is resolved as api_key is",
    extra_body:
      "Added to the body of every request to the model, such as { provider: { order: [x] } }",
    omit: "Names that are left out of the body, such as stream_options",
    context_tokens: "Size of the model's context; the conversation is shortened before it is full",
    max_output_tokens: "Limit for an answer; 0: left to the model",
    max_requests_per_turn: "Limit for the requests to the model in one turn; then the turn fails",
    max_retries: "How often one request is tried again after a temporary failure",
    request_timeout_ms: "Limit for the provider's silence, ms; then the request is tried again",
    command_timeout_ms: "Limit for the time of one command, ms",
    command_output_bytes:
      "Limit for the output of a command that the model sees: the beginning and the end",
    command_file_bytes: "Limit for the size of a file that a command writes",
    command_processes: "Limit for the simultaneous processes of one attempt",
    readable_paths:
      "Paths that commands may read in addition to the system and what is on PATH, such as /home/me/.cargo",
    env_passthrough: "Environment variables that commands may see",
  },
  example: { base_url: "https://api.openai.com/v1", model: "gpt-5.5" },
  wholeMaps: ["headers", "extra_body"],
  settings: openaiConfigOf,
};
