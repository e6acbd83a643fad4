import { addTokens, noTokens, type Tokens } from "../../model/attempt.ts";
import { objectOf, textOf } from "../../text/text.ts";
import type { AgentEvent } from "../agent.ts";
import { claudeTools, denialNotices, spoken } from "../command/claude.ts";
import { ToolCalls } from "../command/reader.ts";
import { messageEvents, noticeEvent } from "../event-makers.ts";
import type { MessageOf, ModelUsage, Result } from "./protocol.ts";

/** Tools that only read are no actions; the answer of the tracker's tools is reported when they ran. */
const quiet = /^(Read|Grep|Glob|LS|TodoWrite|ToolSearch|AskUserQuestion)$|^mcp__/;

/** Translates the lines of one process into events. */
export class Updates {
  readonly #calls: ToolCalls;
  readonly #usage = new Usage();

  constructor(workspace: string) {
    this.#calls = new ToolCalls({ ...claudeTools, workspace });
  }

  assistant({ message, error }: MessageOf<"assistant">): AgentEvent[] {
    const { content } = message;
    if (typeof content === "string") return messageEvents(content);
    // Its text is the program's own about a failure, which the result reports.
    if (error != null) return [];
    const isQuiet = (part: (typeof content)[number]) =>
      part.type === "tool_use" && quiet.test(textOf(part["name"]) ?? "");
    return content.filter((part) => !isQuiet(part)).flatMap((part) => spoken(part, this.#calls));
  }

  /** The results of tools. Other lines of this type are the program's own and no work. */
  user({ message }: MessageOf<"user">): AgentEvent[] {
    const { content } = message;
    if (typeof content === "string") return [];
    return content.flatMap((part) => {
      if (part.type !== "tool_result") return [];
      const output = part["content"];
      const parts = Array.isArray(output) ? output.map((one) => textOf(objectOf(one)["text"])) : [];
      return this.#calls.ended(textOf(part["tool_use_id"]), {
        failed: part["is_error"] === true,
        output: textOf(output) ?? parts.filter((text) => text !== null).join("\n"),
      });
    });
  }

  stream(message: MessageOf<"stream_event">): AgentEvent[] {
    const total = this.#usage.streamed(message);
    return total === null ? [] : [{ type: "tokens", total }];
  }

  /** What a result reports in addition to its outcome. */
  result(result: Result): AgentEvent[] {
    const total = this.#usage.settled(result);
    return [
      ...(total === null ? [] : [{ type: "tokens", total } as const]),
      ...denialNotices(result),
      ...costNotices(result),
    ];
  }
}

/** Tokens and estimated cost by model, since the last result. */
function costNotices({ model_usage_since_last_result: used = {} }: Result): AgentEvent[] {
  const models = Object.entries(used).map(([model, usage]) => {
    const { input, output } = tokensOf(usage);
    return `${model} ${input} in, ${output} out, $${usage.costUSD.toFixed(4)}`;
  });
  if (models.length === 0) return [];
  return [noticeEvent(`usage as the agent reports it: ${models.join("; ")}`)];
}

/** The tokens of one process, with those of requests that are still running. */
class Usage {
  #settled: Tokens = noTokens;
  /** Requests since the last result, by the id of their message. */
  readonly #open = new Map<string, Tokens>();
  #current: string | null = null;

  streamed({ event, api_message_id: named }: MessageOf<"stream_event">): Tokens | null {
    const { message, usage } = event;
    if (event.type === "message_start" && message?.usage) {
      this.#current = message.id;
      this.#open.set(message.id, streamedTokens(message.usage));
      return this.#total();
    }
    const id = named ?? this.#current;
    const known = id === null ? undefined : this.#open.get(id);
    if (event.type !== "message_delta" || !usage || id === null || !known) return null;
    const output = Math.max(known.output, usage.output_tokens);
    this.#open.set(id, { ...known, output, total: known.input + output });
    return this.#total();
  }

  /** The program's own count replaces what was added up from the stream. */
  settled({ model_usage_since_last_result: used }: Result): Tokens | null {
    if (used === undefined) return null;
    this.#open.clear();
    this.#current = null;
    this.#settled = Object.values(used).map(tokensOf).reduce(addTokens, this.#settled);
    return this.#settled;
  }

  #total(): Tokens {
    return [...this.#open.values()].reduce(addTokens, this.#settled);
  }
}

type StreamUsage = NonNullable<MessageOf<"stream_event">["event"]["usage"]>;

function streamedTokens(usage: StreamUsage): Tokens {
  const cachedInput = usage.cache_read_input_tokens;
  const input = usage.input_tokens + usage.cache_creation_input_tokens + cachedInput;
  const output = usage.output_tokens;
  return { input, cachedInput, output, reasoningOutput: 0, total: input + output };
}

/** The provider reports tokens from its cache, and those written to it, separately from the rest of the input. */
function tokensOf(usage: ModelUsage): Tokens {
  const cachedInput = usage.cacheReadInputTokens;
  const input = usage.inputTokens + usage.cacheCreationInputTokens + cachedInput;
  const output = usage.outputTokens;
  return {
    ...{ input, cachedInput, output, total: input + output },
    reasoningOutput: usage.thinkingTokens,
  };
}
