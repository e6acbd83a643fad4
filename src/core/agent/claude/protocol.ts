import { z } from "zod";
import { parseJsonLine } from "../../text/text.ts";
import { countOf } from "../counts.ts";
import type { AgentImage } from "../images.ts";

// The lines of `claude --output-format stream-json`, as far as symphony reads them. Further fields are ignored.

const block = z.looseObject({ type: z.string() });
const content = z.union([z.string(), z.array(block)]).default([]);
const parent = z.string().nullish();
const count = z
  .unknown()
  .transform((value) => countOf(value) ?? 0)
  .default(0);
/** An unreadable field of a result must not hide that the turn has ended. */
const words = z.string().nullish().catch(null);
const cost = z.coerce.number().nonnegative().catch(0).default(0);

const controlRequest = z.looseObject({
  type: z.literal("control_request"),
  request_id: z.string(),
  request: z.looseObject({ subtype: z.string() }),
});
const controlResponse = z.looseObject({
  type: z.literal("control_response"),
  response: z.looseObject({
    subtype: z.string(),
    request_id: z.string(),
    response: z.looseObject({}).nullish(),
    error: z.string().nullish(),
    error_code: z.string().nullish(),
  }),
});
const controlCancel = z.looseObject({
  type: z.literal("control_cancel_request"),
  request_id: z.string(),
});
const system = z.looseObject({
  type: z.literal("system"),
  subtype: z.string(),
  claude_code_version: z.string().optional(),
  capabilities: z.array(z.string()).optional(),
  error_status: z.number().nullish(),
  error: z.string().nullish(),
  attempt: z.number().optional(),
  max_retries: z.number().optional(),
});
const assistant = z.looseObject({
  type: z.literal("assistant"),
  message: z.looseObject({ id: z.string().optional(), model: z.string().optional(), content }),
  parent_tool_use_id: parent,
  error: z.string().nullish(),
});
const user = z.looseObject({
  type: z.literal("user"),
  message: z.looseObject({ content }),
  parent_tool_use_id: parent,
});
const modelUsage = z.looseObject({
  inputTokens: count,
  outputTokens: count,
  thinkingTokens: count,
  cacheReadInputTokens: count,
  cacheCreationInputTokens: count,
  costUSD: cost,
});
const result = z.looseObject({
  type: z.literal("result"),
  subtype: z.string().catch("unknown"),
  is_error: z
    .unknown()
    .optional()
    .transform((value) => String(value) === "true"),
  terminal_reason: words,
  result: words,
  errors: z.array(z.string()).optional().catch(undefined),
  permission_denials: z
    .array(z.looseObject({ tool_name: z.string() }))
    .optional()
    .catch(undefined),
  model_usage_since_last_result: z.record(z.string(), modelUsage).optional().catch(undefined),
});
const streamUsage = z.looseObject({
  input_tokens: count,
  cache_creation_input_tokens: count,
  cache_read_input_tokens: count,
  output_tokens: count,
});
const streamEvent = z.looseObject({
  type: z.literal("stream_event"),
  parent_tool_use_id: parent,
  /** The message that the event belongs to: subagents stream at the same time. */
  api_message_id: z.string().optional(),
  event: z.looseObject({
    type: z.string(),
    message: z
      .looseObject({
        id: z.string(),
        model: z.string().optional(),
        usage: streamUsage.optional(),
      })
      .optional()
      .catch(undefined),
    usage: streamUsage.optional().catch(undefined),
  }),
});
const lifecycle = z.looseObject({
  type: z.literal("command_lifecycle"),
  command_uuid: z.string(),
  state: z.string(),
});
const rateLimit = z.looseObject({
  type: z.literal("rate_limit_event"),
  rate_limit_info: z.looseObject({}),
});

const options = [
  controlRequest,
  controlResponse,
  controlCancel,
  system,
  assistant,
  user,
  result,
  streamEvent,
  lifecycle,
  rateLimit,
] as const;
const known = z.discriminatedUnion("type", options);

export type Message = z.output<typeof known>;
export type MessageOf<Type extends Message["type"]> = Extract<Message, { type: Type }>;
export type ControlRequest = MessageOf<"control_request">;
export type Result = MessageOf<"result">;
export type ModelUsage = z.output<typeof modelUsage>;

/** One line: a message; the name of a type that is not read; or text that is no message. */
export type Line =
  | { readonly type: "message"; readonly message: Message }
  | { readonly type: "other"; readonly name: string }
  | { readonly type: "stray"; readonly malformed: boolean };

const typed = z.looseObject({ type: z.string() });
const types: ReadonlySet<string> = new Set(options.map(({ shape }) => shape.type.value));

export function readLine(line: string): Line {
  const value = parseJsonLine(line);
  const message = known.safeParse(value);
  if (message.success) return { type: "message", message: message.data };
  const other = typed.safeParse(value);
  if (other.success && !types.has(other.data.type)) {
    return { type: "other", name: other.data.type.slice(0, 100) };
  }
  return { type: "stray", malformed: line.trimStart().startsWith("{") };
}

/** What a version must have: guidance with receipts, and an interrupt that says what it left queued. */
export const requiredCapabilities: readonly string[] = ["interrupt_receipt_v1", "msg_lifecycle_v1"];

/** The answer to `initialize`. */
export const initialized = z.looseObject({
  claude_code_version: z.string().optional(),
  models: z
    .array(
      z.looseObject({
        value: z.string(),
        resolvedModel: z.string().optional(),
      }),
    )
    .default([]),
});

/** A request to use one tool. */
export const toolPermission = z.looseObject({
  tool_name: z.string(),
  display_name: z.string().optional(),
  input: z.looseObject({}).default({}),
  description: z.string().optional(),
  decision_reason: z.string().optional(),
  requires_user_interaction: z.boolean().optional(),
});
export type ToolPermission = z.output<typeof toolPermission>;

/** The input of the tool AskUserQuestion. */
export const userQuestions = z.looseObject({
  questions: z
    .array(
      z.looseObject({
        question: z.string(),
        options: z.array(z.looseObject({ label: z.string() })).default([]),
      }),
    )
    .min(1),
});

/** A message of an MCP server that runs in symphony. */
export const mcpMessage = z.looseObject({
  server_name: z.string(),
  message: z.looseObject({
    method: z.string().optional(),
    id: z.union([z.string(), z.number()]).optional(),
    params: z.looseObject({}).optional(),
  }),
});

/**
 * A message for the agent. `client_composed` keeps the program from obeying a text that begins with
 * `/`, and from reading files that it mentions with `@`.
 */
export function userLine(uuid: string, text: string, images: readonly AgentImage[] = []): object {
  const blocks = images.map(({ mediaType, base64 }) => ({
    type: "image",
    source: { type: "base64", media_type: mediaType, data: base64 },
  }));
  return {
    type: "user",
    uuid,
    client_composed: true,
    message: {
      role: "user",
      content: blocks.length === 0 ? text : [{ type: "text", text }, ...blocks],
    },
    parent_tool_use_id: null,
  };
}
