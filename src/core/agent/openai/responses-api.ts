import type OpenAI from "openai";
import type { ResponseStreamEvent } from "openai/resources/responses/responses";
import type { Tokens } from "../../model/attempt.ts";
import { type JsonObject, listOf, objectOf, textOf } from "../../text/text.ts";
import { usageIn } from "../counts.ts";
import { type AgentImage, dataUrl, withoutImages } from "../images.ts";
import { sendable } from "./calls.ts";
import { failedWith } from "./failures.ts";
import { effortOf, imagePart, limitsOf, type Shape, shaped } from "./request.ts";
import {
  checkLength,
  type Item,
  type Listening,
  type ModelReply,
  type ModelRequest,
  readItem,
} from "./thread.ts";

/**
 * One request with the Responses API. `sealed`: requests the encrypted reasoning, to send it back
 * later. Rejects with the original error.
 */
export async function askResponses(
  client: OpenAI,
  request: ModelRequest & { readonly sealed: boolean },
  { signal, shape, hasEnded }: Listening & { readonly shape: Shape },
): Promise<ModelReply> {
  const { model, items, maxOutputTokens } = request;
  const effort = effortOf(request.effort);
  const body = {
    model,
    instructions: request.instructions,
    input: inputOf(items, request.sealed, shape.omit),
    tools: request.tools.map(({ name, description, inputSchema }) => ({
      type: "function" as const,
      name,
      description,
      parameters: { ...inputSchema },
      strict: false,
    })),
    store: false,
    stream: true as const,
    prompt_cache_key: request.threadId,
    ...(request.tools.length > 0 ? { parallel_tool_calls: true } : {}),
    ...(request.sealed ? { include: ["reasoning.encrypted_content" as const] } : {}),
    ...(effort === null ? {} : { reasoning: { effort } }),
    ...(maxOutputTokens === null ? {} : { max_output_tokens: maxOutputTokens }),
  };
  const { data: stream, response } = await client.responses
    .create(shaped(body, shape), { signal })
    .withResponse();
  const reading = new ResponsesReading();
  for await (const event of stream) reading.take(event);
  return { ...reading.reply(hasEnded()), limits: limitsOf(response.headers) };
}

/**
 * The conversation as this API takes it: without the reasoning of another API, and without reasoning that nothing
 * follows, which is refused.
 */
export function inputOf(items: readonly Item[], sealed: boolean, omit: readonly string[] = []) {
  const input: OpenAI.Responses.ResponseInputItem[] = [];
  for (const [at, item] of items.entries()) {
    if (item.type === "thought") continue;
    if (item.type === "reasoning") {
      const next = items
        .slice(at + 1)
        .find(({ type }) => type !== "reasoning" && type !== "thought");
      const isFollowed =
        next?.type === "function_call" || (next?.type === "message" && next.role === "assistant");
      if (sealed && isFollowed) input.push(item);
    } else if (item.type === "function_call") {
      const { type, call_id } = item;
      input.push({ type, call_id, ...sendable(item) });
    } else if (item.type === "message") {
      const { images = [], ...bare } = item;
      const { content } = bare;
      if (images.length === 0) input.push(bare);
      else if (omit.includes(imagePart)) input.push({ ...bare, content: withoutImages(content) });
      else input.push({ type: "message", role: "user", content: shownContent(content, images) });
    } else input.push(item);
  }
  return input;
}

function shownContent(text: string, images: readonly AgentImage[]) {
  const shown = images.map((image) => ({
    ...{ type: "input_image" as const, detail: "auto" as const },
    image_url: dataUrl(image),
  }));
  return [{ type: "input_text" as const, text }, ...shown];
}

/** Collects the events of one answer. */
export class ResponsesReading {
  readonly #items: Item[] = [];
  #usage: Tokens | null = null;
  #chars = 0;
  #ended = false;
  #cut: ModelReply["cut"] = null;

  /** What came in parts, by its place in the answer: some providers send no whole items. */
  readonly #parts = new Map<unknown, { text: string; call: JsonObject | null; args: string }>();

  /** Throws the failure that the provider reports. */
  take(event: ResponseStreamEvent): void {
    const type: string = event.type;
    // OpenRouter's name of it.
    if (type === "response.done") return this.#end(objectOf(Reflect.get(event, "response")));
    switch (event.type) {
      case "response.output_item.added":
        if (event.item.type === "function_call") this.#part(event).call = objectOf(event.item);
        return;
      case "response.output_text.delta":
        this.#part(event).text += event.delta;
        return;
      case "response.output_text.done":
        this.#part(event).text = event.text || this.#part(event).text;
        return;
      case "response.function_call_arguments.delta":
        this.#part(event).args += event.delta;
        return;
      case "response.function_call_arguments.done":
        this.#part(event).args = event.arguments || this.#part(event).args;
        return;
      case "response.output_item.done": {
        const { args } = this.#part(event);
        this.#parts.delete(placeOf(event));
        const isBare = event.item.type === "function_call" && !event.item.arguments;
        this.#add(isBare ? { ...event.item, arguments: args } : event.item);
        return;
      }
      case "response.completed":
        return this.#end(objectOf(event.response));
      case "response.incomplete":
        return this.#end({ ...event.response, status: "incomplete" });
      case "response.failed":
        throw failedWith(objectOf(event.response.error));
      case "error":
        throw failedWith(objectOf(event));
      default:
    }
  }

  #end({ status, error, usage, output, incomplete_details: details }: JsonObject): void {
    // Some providers end each answer as a completed one, and say in it that it is none.
    if (status === "failed" || status === "cancelled") throw failedWith(objectOf(error));
    this.#ended = true;
    this.#usage = usageIn(usage) ?? this.#usage;
    if (status === "incomplete") {
      this.#cut = objectOf(details)["reason"] === "content_filter" ? "filter" : "length";
    }
    this.#addMissing(listOf(output));
    if (this.#items.length === 0) this.#addParts();
  }

  /** Throws when the answer was cut off; `hasEnded`: its stream said that it was not, and ended with no event of its own. */
  reply(hasEnded = false): Omit<ModelReply, "limits"> {
    if (!this.#ended && hasEnded && this.#items.length === 0) this.#addParts();
    const isWhole = this.#ended || (hasEnded && this.#items.length > 0);
    if (!isWhole) throw new Error("the answer was cut off");
    return { items: this.#items, usage: this.#usage, cut: this.#cut };
  }

  /** Some providers send the items, or some of the calls, only at the end. */
  #addMissing(output: readonly unknown[]): void {
    const hadNone = this.#items.length === 0;
    const known = new Set(
      this.#items.map((item) => (item.type === "function_call" ? item.call_id : null)),
    );
    for (const value of output) {
      const { type, call_id: id } = objectOf(value);
      if (hadNone || (type === "function_call" && !known.has(textOf(id)))) this.#add(value);
    }
  }

  #part(event: object) {
    const place = placeOf(event);
    const known = this.#parts.get(place) ?? { text: "", call: null, args: "" };
    this.#parts.set(place, known);
    return known;
  }

  #addParts(): void {
    for (const { text, call, args } of this.#parts.values()) {
      const content = [{ type: "output_text", text }];
      if (text !== "") this.#add({ type: "message", role: "assistant", content });
      if (call !== null && args !== "" && this.#cut === null)
        this.#add({ ...call, arguments: args });
    }
  }

  /** The item, with an id of its own; null for a call that came before. */
  #unlike(item: Item | null): Item | null {
    if (item?.type !== "function_call") return item;
    const same = this.#items.filter(
      (one) => one.type === "function_call" && one.call_id === item.call_id,
    );
    if (same.length === 0) return item;
    const written = (one: Item) => JSON.stringify(one);
    if (same.some((one) => written(one) === written(item))) return null;
    return { ...item, call_id: `${item.call_id}_${this.#items.length}` };
  }

  #add(value: unknown): void {
    const read = objectOf(value);
    const item = this.#unlike(readItem({ ...read, role: read["role"] ?? "assistant" }));
    // A truncated call could do something other than intended.
    const half = item?.type === "function_call" && read["status"] === "incomplete";
    if (!item || half) return;
    this.#chars += JSON.stringify(item).length;
    checkLength(this.#chars);
    this.#items.push(item);
  }
}

/** Providers without it send one item. */
function placeOf(event: object): unknown {
  return Reflect.get(event, "output_index") ?? Reflect.get(event, "item_id") ?? 0;
}
