import type OpenAI from "openai";
import type { ResponseStreamEvent } from "openai/resources/responses/responses";
import type { Tokens } from "../../model/attempt.ts";
import { objectOf } from "../../text/text.ts";
import { effortOf, limitsOf } from "./failures.ts";
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
  listening: Listening,
): Promise<ModelReply> {
  const { model, items, maxOutputTokens } = request;
  const effort = effortOf(request.effort);
  const { data: stream, response } = await client.responses
    .create(
      {
        model,
        instructions: request.instructions,
        input: items.filter((item) => request.sealed || item.type !== "reasoning"),
        tools: request.tools.map(({ name, description, inputSchema }) => ({
          type: "function" as const,
          name,
          description,
          parameters: { ...inputSchema },
          strict: false,
        })),
        store: false,
        stream: true,
        prompt_cache_key: request.threadId,
        ...(request.tools.length > 0 ? { parallel_tool_calls: true } : {}),
        ...(request.sealed ? { include: ["reasoning.encrypted_content" as const] } : {}),
        ...(effort === null ? {} : { reasoning: { effort } }),
        ...(maxOutputTokens === null ? {} : { max_output_tokens: maxOutputTokens }),
      },
      { signal: listening.signal },
    )
    .withResponse();
  listening.received();
  const reading = new ResponsesReading();
  for await (const event of stream) {
    listening.received();
    reading.take(event);
  }
  return { ...reading.reply(), limits: limitsOf(response.headers) };
}

/** Collects the events of one answer. */
export class ResponsesReading {
  readonly #items: Item[] = [];
  #usage: Tokens | null = null;
  #chars = 0;
  #ended = false;
  #cut: ModelReply["cut"] = null;

  /** Throws the failure that the provider reports. */
  take(event: ResponseStreamEvent): void {
    switch (event.type) {
      case "response.output_item.done":
        this.#add(event.item);
        return;
      case "response.completed":
      case "response.incomplete":
        this.#ended = true;
        this.#usage = usageOf(event.response.usage);
        if (event.type === "response.incomplete") {
          const reason = event.response.incomplete_details?.reason;
          this.#cut = reason === "content_filter" ? "filter" : "length";
        }
        // Some providers send the items only at the end.
        if (this.#items.length === 0) for (const item of event.response.output) this.#add(item);
        return;
      case "response.failed":
        throw failed(event.response.error);
      case "error":
        throw failed(event);
      default:
    }
  }

  /** Throws when the answer was cut off. */
  reply(): Omit<ModelReply, "limits"> {
    if (!this.#ended) throw new Error("the answer was cut off");
    return { items: this.#items, usage: this.#usage, cut: this.#cut };
  }

  #add(value: unknown): void {
    const item = readItem(value);
    // A truncated call could do something other than intended.
    const half = item?.type === "function_call" && objectOf(value)["status"] === "incomplete";
    if (!item || half) return;
    this.#chars += JSON.stringify(item).length;
    checkLength(this.#chars);
    this.#items.push(item);
  }
}

function failed(error: { readonly code?: string | null; readonly message?: string } | null): Error {
  const { code = null, message = "no reason given" } = error ?? {};
  return Object.assign(new Error(message), { code });
}

function usageOf(usage: OpenAI.Responses.ResponseUsage | null | undefined): Tokens | null {
  if (!usage) return null;
  const { input_tokens: input, output_tokens: output } = usage;
  return {
    input,
    cachedInput: usage.input_tokens_details?.cached_tokens ?? 0,
    output,
    reasoningOutput: usage.output_tokens_details?.reasoning_tokens ?? 0,
    total: usage.total_tokens ?? input + output,
  };
}
