import type OpenAI from "openai";
import type {
  ChatCompletionAssistantMessageParam,
  ChatCompletionChunk,
  ChatCompletionMessageParam,
} from "openai/resources/chat/completions";
import type { Tokens } from "../../model/attempt.ts";
import { isObject, type JsonObject, listOf, objectOf, parseJson, textOf } from "../../text/text.ts";
import { dataUrl, withoutImages } from "../images.ts";
import { failedWith } from "./failures.ts";
import { effortOf, imagePart, limitsOf, type Shape, shaped, withoutNames } from "./request.ts";
import {
  type Call,
  checkLength,
  type Item,
  type Listening,
  type ModelReply,
  type ModelRequest,
  sendable,
} from "./thread.ts";

/**
 * One request with Chat Completions, for providers without a newer API. Rejects with the original
 * error.
 */
export async function askChat(
  client: OpenAI,
  request: ModelRequest,
  { signal, shape }: Listening & { readonly shape: Shape },
): Promise<ModelReply> {
  const effort = effortOf(request.effort);
  const tools = request.tools.map(({ name, description, inputSchema }) => ({
    type: "function" as const,
    function: { name, description, parameters: { ...inputSchema } },
  }));
  // The older name: many providers support no other, and those that want the newer one say so.
  const maxName = shape.newMaxTokens ? "max_completion_tokens" : "max_tokens";
  const body = {
    model: request.model,
    messages: chatMessages(request.instructions, request.items, shape),
    stream: true as const,
    stream_options: { include_usage: true },
    ...(tools.length > 0 ? { tools } : {}),
    ...(effort === null ? {} : { reasoning_effort: effort }),
    ...(request.maxOutputTokens === null ? {} : { [maxName]: request.maxOutputTokens }),
  };
  const { data: stream, response } = await client.chat.completions
    .create(shaped(body, shape), { signal })
    .withResponse();
  const reading = new ChatReading();
  for await (const chunk of stream) reading.take(chunk);
  return { ...reading.reply(), limits: limitsOf(response.headers) };
}

/** The conversation as chat messages: calls belong to the preceding message of the assistant. */
export function chatMessages(
  instructions: string,
  items: readonly Item[],
  { omit }: Pick<Shape, "omit"> = { omit: [] },
): ChatCompletionMessageParam[] {
  const messages: ChatCompletionMessageParam[] = [{ role: "system", content: instructions }];
  let speaking: ChatCompletionAssistantMessageParam | null = null;
  // DeepSeek refuses a request in which the reasoning of any earlier call is missing.
  let thought: JsonObject = {};
  for (const item of items) {
    switch (item.type) {
      case "message":
        speaking =
          item.role === "assistant"
            ? { role: "assistant", content: item.content, ...thought }
            : null;
        thought = {};
        messages.push(speaking ?? { role: "user", content: userContent(item, omit) });
        break;
      case "thought":
        speaking = null;
        thought = withoutNames(item.fields, omit);
        break;
      case "function_call":
        if (!speaking) {
          speaking = { role: "assistant", content: null, ...thought };
          thought = {};
          messages.push(speaking);
        }
        speaking.tool_calls = [...(speaking.tool_calls ?? []), toolCall(item)];
        break;
      case "function_call_output":
        speaking = null;
        messages.push({ role: "tool", tool_call_id: item.call_id, content: item.output });
        break;
      case "reasoning":
    }
  }
  return messages;
}

function userContent(
  { content, images = [] }: Extract<Item, { type: "message" }>,
  omit: readonly string[],
) {
  if (images.length === 0) return content;
  if (omit.includes(imagePart)) return withoutImages(content);
  const shown = images.map((image) => ({
    type: "image_url" as const,
    image_url: { url: dataUrl(image) },
  }));
  return [{ type: "text" as const, text: content }, ...shown];
}

function toolCall(call: Call) {
  return { id: call.call_id, type: "function" as const, function: sendable(call), ...call.extra };
}

interface OpenCall {
  id: string;
  name: string;
  written: string;
  extra: JsonObject;
}

/** The fields in which providers put the reasoning of a message, and want it back. */
const thoughtFields = ["reasoning_content", "reasoning", "reasoning_details"] as const;

/** Collects the chunks of one answer. */
export class ChatReading {
  #text = "";
  #chars = 0;
  #ended = false;
  #cut: ModelReply["cut"] = null;
  #usage: Tokens | null = null;
  readonly #thought: Record<string, unknown> = {};
  readonly #calls: OpenCall[] = [];
  /** The call that the next part of an index belongs to. */
  readonly #open = new Map<number, OpenCall>();

  /** Throws the failure that the provider reports. */
  take(chunk: ChatCompletionChunk): void {
    if (chunk.usage) this.#usage = usageOf(chunk.usage);
    requireNoError(chunk);
    const [choice] = chunk.choices ?? [];
    if (!choice) return;
    requireNoError(choice);
    this.#chars += JSON.stringify(choice.delta ?? "").length;
    checkLength(this.#chars);
    const delta = objectOf(choice.delta);
    this.#text += textIn(delta["content"]) || textIn(delta["refusal"]);
    this.#think(delta);
    for (const part of listOf(delta["tool_calls"])) this.#call(objectOf(part));
    const reason: string | null = choice.finish_reason ?? null;
    if (reason === "error") throw failedWith({ message: "the provider ended with an error" });
    if (reason) this.#ended = true;
    if (reason === "length") this.#cut = "length";
    if (reason === "content_filter") this.#cut = "filter";
  }

  #think(delta: JsonObject): void {
    for (const name of thoughtFields) {
      const [part, before] = [delta[name], this.#thought[name]];
      if (typeof part === "string" && part !== "") {
        this.#thought[name] = `${textOf(before) ?? ""}${part}`;
      } else if (Array.isArray(part)) {
        this.#thought[name] = [...listOf(before), ...part];
      }
    }
  }

  /** Some providers give every call the same index: another id begins another call. */
  #call(part: JsonObject): void {
    const index = typeof part["index"] === "number" ? part["index"] : 0;
    const named = objectOf(part["function"]);
    const [id, name] = [textOf(part["id"]) ?? "", textOf(named["name"]) ?? ""];
    const written =
      typeof named["arguments"] === "object" && named["arguments"] !== null
        ? JSON.stringify(named["arguments"])
        : (textOf(named["arguments"]) ?? "");
    let call = this.#open.get(index);
    const isAnother =
      call !== undefined &&
      (id !== "" && call.id !== ""
        ? id !== call.id
        : name !== "" && call.name !== "" && isObject(parseJson(call.written)));
    if (!call || isAnother) {
      call = { id: "", name: "", written: "", extra: {} };
      this.#open.set(index, call);
      this.#calls.push(call);
    }
    call.id ||= id;
    call.name ||= name;
    call.written += written;
    if (isObject(part["extra_content"])) call.extra = { extra_content: part["extra_content"] };
  }

  /** Throws when the answer was cut off. */
  reply(): Omit<ModelReply, "limits"> {
    if (!this.#ended) throw new Error("the answer was cut off");
    const text: Item[] =
      this.#text === "" ? [] : [{ type: "message", role: "assistant", content: this.#text }];
    // A truncated call could do something other than intended.
    const calls = this.#cut !== null ? [] : this.#calls;
    const hasThought = Object.keys(this.#thought).length > 0 && text.length + calls.length > 0;
    const thought: Item[] = hasThought ? [{ type: "thought", fields: this.#thought }] : [];
    return {
      items: [
        ...thought,
        ...text,
        ...calls.map(
          ({ id, name, written, extra }, index): Item => ({
            type: "function_call",
            call_id: id || `call_${index}`,
            name,
            arguments: written,
            ...(Object.keys(extra).length > 0 && { extra }),
          }),
        ),
      ],
      usage: this.#usage,
      cut: this.#cut,
    };
  }
}

/** Text, or the texts of a list of parts; the parts in which a model thinks are none of its answer. */
function textIn(content: unknown): string {
  if (typeof content === "string") return content;
  return listOf(content)
    .map((part) => (isObject(part) ? (textOf(part["text"]) ?? "") : (textOf(part) ?? "")))
    .join("");
}

/** Some providers report a failure inside of the stream, which then ends as if it were whole. */
function requireNoError(at: object): void {
  const error: unknown = Reflect.get(at, "error");
  if (isObject(error)) throw failedWith(error);
  if (typeof error === "string" && error !== "") throw failedWith({ message: error });
}

function usageOf(usage: OpenAI.CompletionUsage): Tokens {
  const { prompt_tokens: input, completion_tokens: output } = usage;
  return {
    input,
    cachedInput: usage.prompt_tokens_details?.cached_tokens ?? 0,
    output,
    reasoningOutput: usage.completion_tokens_details?.reasoning_tokens ?? 0,
    total: usage.total_tokens ?? input + output,
  };
}
