import type OpenAI from "openai";
import type {
  ChatCompletionAssistantMessageParam,
  ChatCompletionChunk,
  ChatCompletionMessageParam,
} from "openai/resources/chat/completions";
import type { Tokens } from "../../model/attempt.ts";
import { effortOf, limitsOf } from "./failures.ts";
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
  listening: Listening,
): Promise<ModelReply> {
  const effort = effortOf(request.effort);
  const tools = request.tools.map(({ name, description, inputSchema }) => ({
    type: "function" as const,
    function: { name, description, parameters: { ...inputSchema } },
  }));
  const { data: stream, response } = await client.chat.completions
    .create(
      {
        model: request.model,
        messages: chatMessages(request.instructions, request.items),
        stream: true,
        stream_options: { include_usage: true },
        ...(tools.length > 0 ? { tools } : {}),
        ...(effort === null ? {} : { reasoning_effort: effort }),
        // The older name: providers without the newer API support no other.
        ...(request.maxOutputTokens === null ? {} : { max_tokens: request.maxOutputTokens }),
      },
      { signal: listening.signal },
    )
    .withResponse();
  listening.received();
  const reading = new ChatReading();
  for await (const chunk of stream) {
    listening.received();
    reading.take(chunk);
  }
  return { ...reading.reply(), limits: limitsOf(response.headers) };
}

/** The conversation as chat messages: calls belong to the preceding message of the assistant. */
export function chatMessages(
  instructions: string,
  items: readonly Item[],
): ChatCompletionMessageParam[] {
  const messages: ChatCompletionMessageParam[] = [{ role: "system", content: instructions }];
  let speaking: ChatCompletionAssistantMessageParam | null = null;
  for (const item of items) {
    switch (item.type) {
      case "message":
        speaking = item.role === "assistant" ? { role: "assistant", content: item.content } : null;
        messages.push(speaking ?? { role: "user", content: item.content });
        break;
      case "function_call":
        if (!speaking) {
          speaking = { role: "assistant", content: null };
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

function toolCall({ call_id: id, name, arguments: written }: Call) {
  return { id, type: "function" as const, function: { name, arguments: written } };
}

/** Collects the chunks of one answer. */
export class ChatReading {
  #text = "";
  #chars = 0;
  #ended = false;
  #cut: ModelReply["cut"] = null;
  #usage: Tokens | null = null;
  readonly #calls = new Map<number, { id: string; name: string; written: string }>();

  take(chunk: ChatCompletionChunk): void {
    if (chunk.usage) this.#usage = usageOf(chunk.usage);
    const [choice] = chunk.choices ?? [];
    if (!choice) return;
    this.#chars += JSON.stringify(choice.delta ?? "").length;
    checkLength(this.#chars);
    this.#text += choice.delta?.content ?? choice.delta?.refusal ?? "";
    for (const { index = 0, id, function: named } of choice.delta?.tool_calls ?? []) {
      const call = this.#calls.get(index) ?? { id: "", name: "", written: "" };
      call.id ||= id ?? "";
      call.name ||= named?.name ?? "";
      call.written += named?.arguments ?? "";
      this.#calls.set(index, call);
    }
    if (choice.finish_reason) this.#ended = true;
    if (choice.finish_reason === "length") this.#cut = "length";
    if (choice.finish_reason === "content_filter") this.#cut = "filter";
  }

  /** Throws when the answer was cut off. */
  reply(): Omit<ModelReply, "limits"> {
    if (!this.#ended) throw new Error("the answer was cut off");
    const text: Item[] =
      this.#text === "" ? [] : [{ type: "message", role: "assistant", content: this.#text }];
    // A truncated call could do something other than intended.
    const calls = this.#cut !== null ? [] : [...this.#calls.values()];
    return {
      items: [
        ...text,
        ...calls.map(
          ({ id, name, written }, index): Item => ({
            type: "function_call",
            call_id: id || `call_${index}`,
            name,
            arguments: written,
          }),
        ),
      ],
      usage: this.#usage,
      cut: this.#cut,
    };
  }
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
