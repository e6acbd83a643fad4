import { randomUUID } from "node:crypto";
import {
  type FileHandle,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
} from "node:fs/promises";
import { join } from "node:path";
import { noTokens, type Tokens } from "../../model/attempt.ts";
import { SymphonyError } from "../../model/errors.ts";
import { isObject, type JsonObject, listOf, objectOf, parseJson, textOf } from "../../text/text.ts";
import type { ToolSpec } from "../agent.ts";
import type { AgentImage } from "../images.ts";

const idForm = /^thr_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const maxFileBytes = 64 * 1024 * 1024;

/**
 * One conversation, kept line by line in a private file, so that it can continue after a crash.
 * When `add` resolves, the new items are in the file.
 */
export class Thread {
  readonly id: string;
  #items: readonly Item[];
  #totals: Tokens;
  readonly #path: string;
  #file: FileHandle | null = null;
  /** The provider's last count, and the number of items that it included. */
  #counted = { tokens: 0, items: 0 };

  private constructor(path: string, id: string, kept: { items: readonly Item[]; totals: Tokens }) {
    this.#path = path;
    this.id = id;
    this.#items = kept.items;
    this.#totals = kept.totals;
  }

  static async create(dir: string): Promise<Thread> {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const id = `thr_${randomUUID()}`;
    const thread = new Thread(join(dir, `${id}.jsonl`), id, { items: [], totals: noTokens });
    await thread.#rewrite();
    return thread;
  }

  /** null for a thread that is not stored here, or not in a readable form. */
  static async open(dir: string, id: string): Promise<Thread | null> {
    if (!idForm.test(id)) return null;
    const path = join(dir, `${id}.jsonl`);
    const text = await readFile(path, "utf8").catch(() => null);
    const kept = text === null || text.length > maxFileBytes ? null : read(text);
    if (!kept) return null;
    const thread = new Thread(path, id, { ...kept, items: withAnswers(kept.items) });
    // Repairs a torn end, and stores the answers that were added.
    await thread.#rewrite();
    return thread;
  }

  get items(): readonly Item[] {
    return this.#items;
  }

  /** Absolute: the sum of all requests on this thread. */
  get totals(): Tokens {
    return this.#totals;
  }

  /**
   * The tokens that it needs of the model's context: as counted, plus an estimate for newer items.
   */
  get size(): number {
    return this.#counted.tokens + tokensIn(this.#items.slice(this.#counted.items));
  }

  /** Records the provider's count for the whole conversation. */
  counted(tokens: number): void {
    this.#counted = { tokens, items: this.#items.length };
  }

  async add(items: readonly Item[], used: Tokens | null = null): Promise<void> {
    this.#items = [...this.#items, ...items];
    if (used) this.#totals = sum(this.#totals, used);
    await this.#file?.appendFile(line({ items, totals: this.#totals }));
  }

  /** Replaces the whole conversation with a shorter one. */
  async replace(items: readonly Item[], used: Tokens | null): Promise<void> {
    this.#items = items;
    this.#counted = { tokens: 0, items: 0 };
    if (used) this.#totals = sum(this.#totals, used);
    await this.#rewrite();
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = null;
    await file?.close();
  }

  async #rewrite(): Promise<void> {
    await this.close();
    const draft = `${this.#path}.new`;
    await rm(draft, { force: true });
    const file = await open(draft, "wx", 0o600);
    await file.appendFile(line({ items: this.#items, totals: this.#totals }));
    await file.sync();
    await rename(draft, this.#path);
    this.#file = file;
  }
}

/** Removes threads to which nothing was added since `wall`: they are no longer resumed. */
export async function forgetThreads(dir: string, wall: number): Promise<void> {
  const names = await readdir(dir).catch(() => []);
  for (const name of names.filter((one) => one.startsWith("thr_"))) {
    const stats = await stat(join(dir, name)).catch(() => null);
    if (stats && stats.mtimeMs < wall) await rm(join(dir, name), { force: true });
  }
}

function line({ items, totals }: { items: readonly Item[]; totals: Tokens }): string {
  return `${JSON.stringify({ items: withoutImages(items).bare, totals })}\n`;
}

/** A last line torn by a crash is left out; with any other unreadable line the result is null. */
function read(text: string): { items: readonly Item[]; totals: Tokens } | null {
  const items: Item[] = [];
  let totals: Tokens = noTokens;
  const lines = text.split("\n").slice(0, -1);
  for (const written of lines) {
    const value = parseJson(written);
    if (!isObject(value)) return null;
    for (const item of listOf(value["items"])) {
      const known = readItem(item);
      if (known) items.push(known);
    }
    totals = totalsOf(value["totals"]);
  }
  return lines.length === 0 ? null : { items, totals };
}

function totalsOf(value: unknown): Tokens {
  const counts = objectOf(value);
  const count = (name: string) => {
    const found = counts[name];
    return typeof found === "number" && Number.isSafeInteger(found) && found >= 0 ? found : 0;
  };
  return {
    input: count("input"),
    cachedInput: count("cachedInput"),
    output: count("output"),
    reasoningOutput: count("reasoningOutput"),
    total: count("total"),
  };
}

function sum(a: Tokens, b: Tokens): Tokens {
  return {
    input: a.input + b.input,
    cachedInput: a.cachedInput + b.cachedInput,
    output: a.output + b.output,
    reasoningOutput: a.reasoningOutput + b.reasoningOutput,
    total: a.total + b.total,
  };
}

const maxAnswerChars = 16_000_000;

/** One item of a conversation, in the terms of the Responses API. */
export type Item =
  | {
      readonly type: "message";
      readonly role: "user" | "assistant";
      readonly content: string;
      /** Only while the session lives: they are not in the file, and not in a shortened conversation. */
      readonly images?: readonly AgentImage[];
    }
  | Thought
  | Call
  | { readonly type: "function_call_output"; readonly call_id: string; readonly output: string }
  | Reasoning;

export interface Call {
  readonly type: "function_call";
  readonly call_id: string;
  readonly name: string;
  /** JSON as the model wrote it. */
  readonly arguments: string;
  /** What Chat Completions puts next to a call and wants back, such as Gemini's signature of its thoughts. */
  readonly extra?: JsonObject;
}

/**
 * The reasoning of a message of Chat Completions: the fields of the message next to its text, as DeepSeek, Moonshot and
 * OpenRouter send them and want them back.
 */
export interface Thought {
  readonly type: "thought";
  readonly fields: JsonObject;
}

/** The model's encrypted reasoning: only the provider can read it. */
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
  /** The usage of this request only; null when the provider does not report it. */
  readonly usage: Tokens | null;
  readonly limits: JsonObject | null;
  /** Why it is incomplete: it was too long, or the provider's filter stopped it. */
  readonly cut: "length" | "filter" | null;
}

export interface Listening {
  readonly signal: AbortSignal;
  /** The stream of the answer said that it is whole. */
  hasEnded(): boolean;
}

/** An item from the provider or a file; null for a kind that is not used here. */
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
    case "thought":
      return isObject(value["fields"]) ? { type: "thought", fields: value["fields"] } : null;
    case "reasoning":
      return readReasoning(value);
    default:
      return null;
  }
}

/** Throws `provider_error` for an answer that is longer than any model's answer. */
export function checkLength(chars: number): void {
  if (chars <= maxAnswerChars) return;
  throw new SymphonyError(
    "provider_error",
    `an answer was longer than ${maxAnswerChars} characters`,
  );
}

/** Gives every call an answer: a call that a crash left open gets a fixed text. */
export function withAnswers(items: readonly Item[]): readonly Item[] {
  return items.flatMap((item, at): Item[] => {
    if (item.type !== "function_call") return [item];
    const { call_id } = item;
    // Some providers number the calls of each answer anew.
    const next = items.slice(at + 1).find((one) => "call_id" in one && one.call_id === call_id);
    if (next?.type === "function_call_output") return [item];
    const output = "interrupted before it ended; whether it had an effect is not known";
    return [item, { type: "function_call_output", call_id, output }];
  });
}

export function userMessage(content: string, images: readonly AgentImage[] = []): Item {
  return { type: "message", role: "user", content, ...(images.length > 0 && { images }) };
}

/** The items without their images, and the number of these. */
function withoutImages(items: readonly Item[]) {
  let count = 0;
  const bare = items.map((item) => {
    if (item.type !== "message" || !item.images) return item;
    const { images, ...rest } = item;
    count += images.length;
    return rest;
  });
  return { bare, count };
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
  const [id, name] = [textOf(value["call_id"]) || textOf(value["id"]), textOf(value["name"])];
  if (!id || !name) return null;
  const extra = isObject(value["extra"]) ? { extra: value["extra"] } : {};
  const args = value["arguments"];
  const written = isObject(args) ? JSON.stringify(args) : (textOf(args) ?? "");
  return { type: "function_call", call_id: id, name, arguments: written, ...extra };
}

/** Without encryption it could not be sent again. */
function readReasoning(value: JsonObject): Item | null {
  const [id, sealed] = [textOf(value["id"]), textOf(value["encrypted_content"])];
  if (!id || !sealed) return null;
  const summary = listOf(value["summary"]).flatMap((part) => {
    const text = isObject(part) ? textOf(part["text"]) : null;
    return text === null ? [] : [{ type: "summary_text" as const, text }];
  });
  return { type: "reasoning", id, summary, encrypted_content: sealed };
}

/** Requests the summary that replaces the older part. */
export const summaryPrompt = `You are performing a CONTEXT CHECKPOINT: the conversation is about to be shortened. Write a summary for yourself with which the work can continue without a break: the task and its conditions, what was found out, what was changed in which files, what was tried without success, what has to be done next. Call no tool.`;

const charsPerToken = 4;
/** About what providers count for a picture of a screen. */
const tokensPerImage = 1_500;
const maxTaskChars = 40_000;

/** An estimate of the number of tokens. */
export function tokensIn(items: readonly Item[]): number {
  const { bare, count } = withoutImages(items);
  return Math.ceil(JSON.stringify(bare).length / charsPerToken) + count * tokensPerImage;
}

/** The start of the newest part that fits into `tokens`: never between a call and its answer. */
export function tailStart(items: readonly Item[], tokens: number): number {
  let start = items.length;
  for (let left = tokens; start > 0; start--) {
    const item = items[start - 1];
    left -= item ? tokensIn([item]) : 0;
    if (left < 0) break;
  }
  while (start < items.length && !standsAlone(items, start)) start++;
  return start;
}

/** The first task, the summary of the older part, and the newest part unchanged. */
export function shortened(
  items: readonly Item[],
  start: number,
  summary: string | null,
): readonly Item[] {
  const task = items.find((item) => item.type === "message" && item.role === "user");
  const opening =
    task?.type === "message" && items.indexOf(task) < start
      ? [userMessage(task.content.slice(0, maxTaskChars))]
      : [];
  const words = summary ?? "It could not be summarised. Read the workspace to see what was done.";
  const bridge = userMessage(`The older part of this conversation was left out. ${words}`);
  return [...opening, bridge, ...items.slice(start)];
}

function standsAlone(items: readonly Item[], start: number): boolean {
  const calls = new Set<string>();
  for (const item of items.slice(start)) {
    if (item.type === "function_call") calls.add(item.call_id);
    if (item.type === "function_call_output" && !calls.has(item.call_id)) return false;
  }
  return true;
}
