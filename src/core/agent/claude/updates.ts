import { addTokens, highWater, noTokens, type Tokens } from "../../model/attempt.ts";
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
    return total === null ? [] : [total];
  }

  /** What a result reports in addition to its outcome. */
  result(result: Result): AgentEvent[] {
    const total = this.#usage.settled(result);
    return [...(total === null ? [] : [total]), ...denialNotices(result), ...costNotices(result)];
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

/** Tokens of one process, by model. */
type ByModel = ReadonlyMap<string, Tokens>;
type Total = Extract<AgentEvent, { type: "tokens" }>;

/** A request that has no result yet. */
interface Open {
  readonly model: string;
  readonly tokens: Tokens;
}

/** The tokens of one process, with those of requests that are still running. */
class Usage {
  #settled: ByModel = new Map();
  /** Requests since the last result, by the id of their message. */
  readonly #open = new Map<string, Open>();
  #current: string | null = null;

  streamed({ event, api_message_id: named }: MessageOf<"stream_event">): Total | null {
    const { message, usage } = event;
    if (event.type === "message_start" && message?.usage) {
      const { id, model = "" } = message;
      this.#current = id;
      this.#open.set(id, { model, tokens: streamedTokens(message.usage) });
      return this.#total();
    }
    const id = named ?? this.#current;
    const known = id === null ? undefined : this.#open.get(id);
    if (event.type !== "message_delta" || !usage || id === null || !known) return null;
    const { model, tokens } = known;
    // Providers other than Anthropic may know the input only at the end.
    const counted = highWater(tokens, streamedTokens(usage));
    const total = counted.input + counted.output;
    this.#open.set(id, { model, tokens: { ...counted, total } });
    return this.#total();
  }

  /** The program's own count, with subagents and caches, replaces what was added up from the stream; one of zeros does not. */
  settled({ model_usage_since_last_result: used = {} }: Result): Total | null {
    const counts = Object.entries(used).map(([model, usage]) => ({
      model,
      tokens: tokensOf(usage),
    }));
    const isCounted = counts.some(({ tokens }) => tokens.total > 0);
    const all = isCounted ? counts : [...this.#open.values()];
    this.#open.clear();
    this.#current = null;
    if (all.length === 0) return null;
    this.#settled = added(this.#settled, all);
    return this.#total();
  }

  #total(): Total {
    const models = added(this.#settled, [...this.#open.values()]);
    const total = [...models.values()].reduce(addTokens, noTokens);
    return { type: "tokens", total, models: Object.fromEntries(models) };
  }
}

function added(models: ByModel, more: readonly Open[]): ByModel {
  const sum = new Map(models);
  for (const { model, tokens } of more) {
    sum.set(model, addTokens(sum.get(model) ?? noTokens, tokens));
  }
  return sum;
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
