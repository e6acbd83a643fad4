import { randomUUID } from "node:crypto";
import { isObject, type JsonObject, objectOf, parseJson, textOf } from "../../text/text.ts";
import type { Call } from "./thread.ts";

// The calls of tools, as models write them and providers stream them.

const maxWrappings = 3;

/**
 * The arguments that a model wrote: none for an empty text or `null`, and what stands in a text of JSON that is itself
 * JSON; null for anything but an object.
 */
export function argumentsIn(written: string, wrappings = 0): JsonObject | null {
  const value = written.trim() === "" ? null : parseJson(written);
  if (value === null) return {};
  if (typeof value !== "string" || wrappings >= maxWrappings) return isObject(value) ? value : null;
  return argumentsIn(value, wrappings + 1);
}

/** As a call may be sent back: what a model wrote may be no JSON, and no name of a tool. */
export function sendable({ name, arguments: written }: Call): { name: string; arguments: string } {
  const clean = name.replaceAll(/[^A-Za-z0-9_-]/g, "_").slice(0, 64);
  const args = isObject(parseJson(written)) ? written : JSON.stringify(argumentsIn(written) ?? {});
  return { name: clean || "unknown", arguments: args };
}

interface OpenCall {
  id: string;
  name: string;
  written: string;
  extra: JsonObject;
}
type Part = Omit<OpenCall, "extra">;

/** Collects the calls of one answer. Some providers give every call one index, or one id, or none. */
export class StreamedCalls {
  readonly #tools: readonly string[];
  readonly #calls: OpenCall[] = [];
  /** The call that the next part of an index belongs to. */
  readonly #open = new Map<number, OpenCall>();

  /** `tools`: the names that may be called; one that comes in parts is put together by them. */
  constructor(tools: readonly string[]) {
    this.#tools = tools;
  }

  get isEmpty(): boolean {
    return this.#calls.length === 0;
  }

  take(part: JsonObject): void {
    const index = Number(part["index"] ?? 0);
    const named = objectOf(part["function"]);
    const args = named["arguments"];
    const read = {
      id: textOf(part["id"]) ?? "",
      name: textOf(named["name"]) ?? "",
      written: isObject(args) ? JSON.stringify(args) : (textOf(args) ?? ""),
    };
    const known = this.#open.get(index) ?? this.#unfinished(read.id);
    const call = known && !this.#isAnother(known, read) ? known : this.#begin();
    this.#open.set(index, call);
    if (!isRepeat(call, read)) {
      call.id ||= read.id;
      call.name = this.#joined(call.name, read.name);
      // Some send an object without keys before the pieces of the true one.
      call.written = call.written === "{}" ? read.written || "{}" : call.written + read.written;
    }
    if (isObject(part["extra_content"])) call.extra = { extra_content: part["extra_content"] };
  }

  items(): readonly Call[] {
    const ids = new Set<string>();
    return this.#calls.map(({ id, name, written, extra }, at) => {
      // Nine letters and digits: Mistral takes no other, and some providers no id twice in a conversation.
      const own = id === "" ? randomUUID().replaceAll("-", "").slice(0, 9) : id;
      const unique = ids.has(own) ? `${own}_${at}` : own;
      ids.add(unique);
      const call = { type: "function_call" as const, call_id: unique, name, arguments: written };
      return { ...call, ...(Object.keys(extra).length > 0 && { extra }) };
    });
  }

  #begin(): OpenCall {
    const call = { id: "", name: "", written: "", extra: {} };
    this.#calls.push(call);
    return call;
  }

  /** The call of this id, where each piece of it has another index. */
  #unfinished(id: string): OpenCall | undefined {
    return this.#calls.find((call) => id !== "" && call.id === id && !isWhole(call));
  }

  #isAnother(call: OpenCall, { id, name, written }: Part): boolean {
    if (id !== "" && call.id !== "" && id !== call.id) return true;
    if (name === "" || call.name === "" || isRepeat(call, { id, name, written })) return false;
    if (call.written !== "") return isWhole(call);
    return id === "" && this.#joined(call.name, name) === call.name && name !== call.name;
  }

  /** Names also come in parts, or grow with each part. */
  #joined(name: string, more: string): string {
    if (name === "" || more === "") return name || more;
    const wanted = name === more || this.#tools.includes(name) ? [] : [more, `${name}${more}`];
    const isPart = (joined: string) =>
      joined.startsWith(name) && this.#tools.some((tool) => tool.startsWith(joined));
    return wanted.find(isPart) ?? name;
  }
}

/** Its arguments are whole. */
function isWhole({ written }: OpenCall): boolean {
  return written !== "" && argumentsIn(written) !== null;
}

/** Some providers end with each call once more. */
function isRepeat(call: OpenCall, { id, name, written }: Part): boolean {
  const isSame = id !== "" ? id === call.id : name === "";
  return isSame && written !== "" && written === call.written && isWhole(call);
}
