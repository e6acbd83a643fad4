import type OpenAI from "openai";
import type {
  ChatCompletionAssistantMessageParam,
  ChatCompletionChunk,
  ChatCompletionMessageParam,
} from "openai/resources/chat/completions";
import { highWater, type Tokens } from "../../model/attempt.ts";
import { isObject, type JsonObject, listOf, objectOf, textOf } from "../../text/text.ts";
import { usageIn } from "../counts.ts";
import { dataUrl, withoutImages } from "../images.ts";
import { errorIn } from "./bodies.ts";
import { StreamedCalls, sendable } from "./calls.ts";
import { failedWith } from "./failures.ts";
import { effortOf, imagePart, limitsOf, type Shape, shaped, withoutNames } from "./request.ts";
import {
  type Call,
  checkLength,
  type Item,
  type Listening,
  type ModelReply,
  type ModelRequest,
} from "./thread.ts";

/**
 * One request with Chat Completions, for providers without a newer API. Rejects with the original
 * error.
 */
export async function askChat(
  client: OpenAI,
  request: ModelRequest,
  { signal, shape, hasEnded }: Listening & { readonly shape: Shape },
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
  const reading = new ChatReading(request.tools.map(({ name }) => name));
  for await (const chunk of stream) reading.take(chunk);
  return { ...reading.reply(hasEnded()), limits: limitsOf(response.headers) };
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

// Further reasons: Mistral's `model_length`, DeepSeek's `insufficient_system_resource`, Zhipu's `network_error` and
// `sensitive`, Gemini's malformed calls and its safety, vLLM's `abort`.
const broken = /^(?:error|insufficient_system_resource|network_error|abort(?:ed)?|cancelled)$/i;
const cutOff = /^(?:length|max_tokens|max_output_tokens|model_length)$/i;
const filtered = /content_filter|refusal|sensitive|safety|recitation|blocklist|prohibited/i;

/** OpenRouter streams one piece of reasoning in several parts of the same index, and wants it back whole. */
function joined(parts: readonly unknown[], value: unknown): readonly unknown[] {
  const [last, next] = [objectOf(parts.at(-1)), objectOf(value)];
  const isSame =
    typeof next["index"] === "number" &&
    last["index"] === next["index"] &&
    last["type"] === next["type"];
  if (!isSame) return [...parts, value];
  const texts = ["text", "summary", "data"].flatMap((name) => {
    const [before, more] = [textOf(last[name]), textOf(next[name])];
    return before === null || more === null ? [] : [[name, `${before}${more}`] as const];
  });
  const known = Object.entries(next).filter(([, one]) => one !== null);
  return [
    ...parts.slice(0, -1),
    { ...last, ...Object.fromEntries(known), ...Object.fromEntries(texts) },
  ];
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
  /** null: none was seen, or they have no number. */
  #choice: number | null = null;
  readonly #thought: Record<string, unknown> = {};
  readonly #calls: StreamedCalls;

  constructor(tools: readonly string[] = []) {
    this.#calls = new StreamedCalls(tools);
  }

  /** Throws the failure that the provider reports. */
  take(chunk: ChatCompletionChunk): void {
    this.#count(chunk.usage);
    // Groq's earlier place of it.
    this.#count(objectOf(Reflect.get(chunk, "x_groq"))["usage"]);
    requireNoError(chunk);
    const choice = this.#choiceOf(chunk);
    if (!choice) {
      // The last chunk of a provider that gives no reason for the end of its answer.
      this.#ended ||= this.#hasSaid && usageIn(chunk.usage) !== null;
      return;
    }
    // Moonshot's place of it.
    this.#count(Reflect.get(choice, "usage"));
    requireNoError(choice);
    // Some servers send the whole message in one chunk.
    const delta = objectOf(choice.delta ?? Reflect.get(choice, "message"));
    this.#chars += JSON.stringify(delta).length;
    checkLength(this.#chars);
    this.#text += textIn(delta["content"]) || textIn(delta["refusal"]);
    this.#think(delta);
    for (const part of callsIn(delta)) this.#calls.take(objectOf(part));
    const reason: string | null = choice.finish_reason ?? null;
    if (!reason) return;
    const message = `the provider ended its answer: ${reason.slice(0, 100)}`;
    if (/malformed/i.test(reason)) throw failedWith({ code: "tool_use_failed", message });
    if (broken.test(reason)) throw failedWith({ message });
    this.#ended = true;
    if (cutOff.test(reason)) this.#cut = "length";
    if (filtered.test(reason)) this.#cut = "filter";
  }

  /** It grows in an answer: some providers end with one of zeros, or say each part in another chunk. */
  #count(usage: unknown): void {
    const counted = usageIn(usage);
    if (counted === null) return;
    const { input, output, total, ...parts } = highWater(this.#usage ?? counted, counted);
    this.#usage = { input, output, total: Math.max(total, input + output), ...parts };
  }

  /** One answer is asked for: of several, it is the first that speaks. */
  #choiceOf({ choices }: ChatCompletionChunk) {
    const all = listOf(choices) as ChatCompletionChunk.Choice[];
    const own = all.find(({ index }) => index === this.#choice) ?? null;
    if (own !== null || this.#choice !== null) return own;
    const first = all.find(({ index }) => index === 0) ?? all[0] ?? null;
    this.#choice = first?.index ?? null;
    return first;
  }

  #think(delta: JsonObject): void {
    for (const name of thoughtFields) {
      const [part, before] = [delta[name], this.#thought[name]];
      if (typeof part === "string" && part !== "") {
        this.#thought[name] = `${textOf(before) ?? ""}${part}`;
      } else if (Array.isArray(part)) {
        this.#thought[name] = part.reduce(joined, listOf(before));
      }
    }
  }

  get #hasSaid(): boolean {
    return this.#text !== "" || !this.#calls.isEmpty;
  }

  /** Throws when the answer was cut off; `hasEnded`: its stream said that it was not, which counts where no reason is given. */
  reply(hasEnded = false): Omit<ModelReply, "limits"> {
    if (!this.#ended && !(hasEnded && this.#hasSaid)) throw new Error("the answer was cut off");
    const text: Item[] =
      this.#text === "" ? [] : [{ type: "message", role: "assistant", content: this.#text }];
    // A truncated call could do something other than intended.
    const calls = this.#cut !== null ? [] : this.#calls.items();
    const hasThought = Object.keys(this.#thought).length > 0 && text.length + calls.length > 0;
    const thought: Item[] = hasThought ? [{ type: "thought", fields: this.#thought }] : [];
    return {
      items: [...thought, ...text, ...calls],
      usage: this.#usage,
      cut: this.#cut,
    };
  }
}

/** Also one call that is in no list, and the only call of the API's first form. */
function callsIn(delta: JsonObject): readonly unknown[] {
  const { tool_calls: all, function_call: first } = delta;
  if (isObject(all)) return [all];
  return isObject(first) ? [{ function: first }] : listOf(all);
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
  const { choices, usage, object } = objectOf(at);
  const said =
    object === "error" || (choices ?? usage) === undefined ? errorIn(objectOf(at)) : null;
  if (typeof said === "string") throw failedWith({ ...at, message: said });
  if (isObject(error)) throw failedWith(error);
  if (typeof error === "string" && error !== "") throw failedWith({ message: error });
}
