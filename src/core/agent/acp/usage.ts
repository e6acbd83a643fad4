import { addTokens, noTokens, type Tokens } from "../../model/attempt.ts";
import { isObject, type JsonObject, listOf, objectOf, textOf } from "../../text/text.ts";
import { countOf, usageIn } from "../counts.ts";

const charsPerToken = 4;
/**
 * Instructions and definitions of tools, which an agent does not show: coding agents send 5,000 to
 * 15,000 tokens of them with each request.
 */
const hiddenTokens = 8_000;
/** Agents shorten the output of a tool before their model reads it. */
const maxOutputChars = 16_000;
/** Calls without an end must not fill the memory. */
const maxOpenCalls = 1_000;

/**
 * The usage reported at the end of a turn; null when the agent does not count. It is in `usage`, in
 * `_meta.usage`, in `_meta.quota.token_count`, or in the rows of `_meta.quota.model_usage`, which also contain requests
 * for titles and permissions: the largest of them.
 */
export function readUsage(result: unknown): Tokens | null {
  const { usage, _meta: meta } = objectOf(result);
  const { quota, usage: inMeta } = objectOf(meta);
  const { token_count: whole, model_usage: rows } = objectOf(quota);
  const models = listOf(rows).map((row) => usageIn(objectOf(row)["token_count"]) ?? noTokens);
  const sum = models.reduce(addTokens, noTokens);
  const all = [usage, inMeta, whole].map((one) => usageIn(one) ?? noTokens);
  const largest = all.reduce((a, b) => (b.total > a.total ? b : a), sum);
  return largest.total === 0 ? null : largest;
}

/** One request of the agent to its model, as far as it can be seen. */
interface ModelRequest {
  /** The characters of the conversation so far. */
  readonly chars: number;
  /** The size of the context in tokens, if the agent reported it for this request. */
  readonly used: number | null;
}

/**
 * Estimates the tokens of a turn from the updates of its session: each answer of the model, after
 * the prompt or after the result of a tool, is one request with the whole conversation.
 */
export class UsageEstimate {
  #chars = 0;
  #outputChars = 0;
  #requests: ModelRequest[] = [];
  /** Reported by `usage_update` since the last request. */
  #used: number | null = null;
  #lastUsed: number | null = null;
  /** The tokens of the text when it was reported. */
  #lastText = 0;
  /** The model is answering; after the result of a tool it is asked again. */
  #answers = false;
  readonly #calls = new Map<string, number>();

  begin(prompt: string): void {
    this.#chars += prompt.length;
    this.#outputChars = 0;
    this.#requests = [];
    this.#used = null;
    this.#answers = false;
    this.#calls.clear();
  }

  read(update: JsonObject): void {
    switch (update["sessionUpdate"]) {
      case "usage_update":
        return this.#reported(update["used"]);
      case "agent_message_chunk":
      case "agent_thought_chunk":
        return this.#said(textOf(objectOf(update["content"])["text"])?.length ?? 0);
      case "tool_call":
      case "tool_call_update":
        return this.#call(update);
      default:
        return;
    }
  }

  /** How many requests were seen in the turn. */
  get requests(): number {
    return this.#requests.length + (this.#used === null || this.#answers ? 0 : 1);
  }

  /** What the turn used at least, by what the agent reported of its context. */
  reported(): Tokens {
    return inputOf(this.#requests.map(({ used }) => used ?? 0));
  }

  /** The same, with a guess for each request that the agent has not reported. It never falls within a turn. */
  guessed(): Tokens {
    const hidden = this.#hidden();
    return inputOf(this.#requests.map(({ chars, used }) => used ?? tokensOf(chars) + hidden));
  }

  /** What each request has in addition to the text: as much as the last one whose size is known. */
  #hidden(): number {
    if (this.#lastUsed === null) return hiddenTokens;
    return Math.max(0, this.#lastUsed - this.#lastText);
  }

  /** What the turn probably used. */
  estimate(): Tokens {
    const late = this.#used === null || this.#answers ? [] : [this.#used];
    const hidden = this.#hidden();
    const each = this.#requests.map(({ chars, used }) => used ?? tokensOf(chars) + hidden);
    const input = [...each, ...late].reduce((all, one) => all + one, 0);
    const output = tokensOf(this.#outputChars);
    return { ...noTokens, input, output, total: input + output };
  }

  #reported(value: unknown): void {
    const used = countOf(value);
    if (used === null || used === 0) return;
    this.#used = used;
    this.#lastUsed = used;
    this.#lastText = tokensOf(this.#chars);
  }

  #said(chars: number): void {
    this.#answered();
    this.#outputChars += chars;
    this.#chars += chars;
  }

  #call(update: JsonObject): void {
    const id = textOf(update["toolCallId"]) ?? "";
    const isNew = !this.#calls.has(id);
    if (isNew && this.#calls.size >= maxOpenCalls) return;
    if (isNew) this.#answered();
    const before = this.#calls.get(id) ?? 0;
    const written = isObject(update["rawInput"]) ? JSON.stringify(update["rawInput"]).length : 0;
    this.#calls.set(id, Math.max(before, written));
    if (update["status"] !== "completed" && update["status"] !== "failed") return;
    const chars = Math.max(before, written);
    this.#outputChars += chars;
    this.#chars += chars + Math.min(outputChars(update), maxOutputChars);
    // Parallel calls are one answer: the model is asked again when all have ended.
    this.#calls.set(id, 0);
    this.#answers = false;
    this.#used = null;
  }

  #answered(): void {
    if (this.#answers) return;
    this.#answers = true;
    this.#requests.push({ chars: this.#chars, used: this.#used });
    this.#used = null;
  }
}

function inputOf(requests: readonly number[]): Tokens {
  const input = requests.reduce((all, one) => all + one, 0);
  return { ...noTokens, input, total: input };
}

function tokensOf(chars: number): number {
  return Math.ceil(chars / charsPerToken);
}

function outputChars(update: JsonObject): number {
  const texts = listOf(update["content"]).map(
    (part) => textOf(objectOf(objectOf(part)["content"])["text"])?.length ?? 0,
  );
  return texts.reduce((all, one) => all + one, 0);
}
