import type { Tokens } from "../../model/attempt.ts";
import { SymphonyError } from "../../model/errors.ts";
import type { ToolSpec } from "../agent.ts";
import { isObject, type JsonObject, listOf, textOf } from "../json-value.ts";

const maxAnswerChars = 16_000_000;

/** One piece of a conversation, in the words of the Responses API. */
export type Item =
  | {
      readonly type: "message";
      readonly role: "user" | "assistant";
      readonly content: string;
    }
  | Call
  | { readonly type: "function_call_output"; readonly call_id: string; readonly output: string }
  | Reasoning;

export interface Call {
  readonly type: "function_call";
  readonly call_id: string;
  readonly name: string;
  /** JSON as the model wrote it. */
  readonly arguments: string;
}

/** What the model thought, sealed: only the provider can read it. */
export interface Reasoning {
  readonly type: "reasoning";
  readonly id: string;
  readonly summary: { type: "summary_text"; text: string }[];
  readonly encrypted_content: string;
}

export interface ModelRequest {
  readonly threadId: string;
  readonly model: string;
  readonly effort: string | null;
  readonly instructions: string;
  readonly items: readonly Item[];
  readonly tools: readonly ToolSpec[];
  readonly maxOutputTokens: number | null;
}

export interface ModelReply {
  readonly items: readonly Item[];
  /** Of this request alone; null where the provider does not tell. */
  readonly usage: Tokens | null;
  readonly limits: JsonObject | null;
  /** Why it is not whole: it was too long, or the provider would not let it through. */
  readonly cut: "length" | "filter" | null;
}

/** What to do while an answer comes in. */
export interface Listening {
  readonly signal: AbortSignal;
  /** Something came, whatever it was. */
  heard(): void;
}

/** An item as the provider or a file gives it; null for a kind that means nothing here. */
export function readItem(value: unknown): Item | null {
  if (!isObject(value)) return null;
  switch (value["type"]) {
    case "message":
      return readMessage(value);
    case "function_call":
      return readCall(value);
    case "function_call_output": {
      const [id, output] = [textOf(value["call_id"]), textOf(value["output"])];
      if (id === null || output === null) return null;
      return { type: "function_call_output", call_id: id, output };
    }
    case "reasoning":
      return readReasoning(value);
    default:
      return null;
  }
}

/** Throws `provider_error` for an answer that no model would give. */
export function checkLength(chars: number): void {
  if (chars <= maxAnswerChars) return;
  throw new SymphonyError(
    "provider_error",
    `an answer was longer than ${maxAnswerChars} characters`,
  );
}

/** Every call with an answer: one that a crash left open gets words for it. */
export function withAnswers(items: readonly Item[]): readonly Item[] {
  const answered = new Set(
    items.flatMap((item) => (item.type === "function_call_output" ? [item.call_id] : [])),
  );
  return items.flatMap((item): Item[] => {
    if (item.type !== "function_call" || answered.has(item.call_id)) return [item];
    const output = "interrupted before it ended; whether it had an effect is not known";
    return [item, { type: "function_call_output", call_id: item.call_id, output }];
  });
}

export function userMessage(content: string): Item {
  return { type: "message", role: "user", content };
}

function readMessage(value: JsonObject): Item | null {
  const role = value["role"];
  if (role !== "user" && role !== "assistant") return null;
  const content = value["content"];
  const text =
    typeof content === "string"
      ? content
      : listOf(content)
          .map((part) =>
            isObject(part) ? (textOf(part["text"]) ?? textOf(part["refusal"])) : null,
          )
          .filter((part) => part !== null)
          .join("");
  return text === "" ? null : { type: "message", role, content: text };
}

function readCall(value: JsonObject): Item | null {
  const [id, name] = [textOf(value["call_id"]), textOf(value["name"])];
  if (!id || !name) return null;
  return { type: "function_call", call_id: id, name, arguments: textOf(value["arguments"]) ?? "" };
}

/** Unsealed, it could not be sent again. */
function readReasoning(value: JsonObject): Item | null {
  const [id, sealed] = [textOf(value["id"]), textOf(value["encrypted_content"])];
  if (!id || !sealed) return null;
  const summary = listOf(value["summary"]).flatMap((part) => {
    const text = isObject(part) ? textOf(part["text"]) : null;
    return text === null ? [] : [{ type: "summary_text" as const, text }];
  });
  return { type: "reasoning", id, summary, encrypted_content: sealed };
}
