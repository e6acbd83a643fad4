import { setImmediate as turn } from "node:timers/promises";
import { IssueMap, type IssueRow } from "../orchestrator/issues.ts";
import { redactKey } from "../text/redact.ts";

/** What JSON can hold. */
export type Json = string | number | boolean | null | readonly Json[] | JsonMap;
interface JsonMap {
  readonly [key: string]: Json;
}

/** How an object that is written once is referred to. */
export type Ref = Json;

export interface Writing {
  /** The reference to `value` if it is one of the objects that are written once, else null. */
  refer(value: object): Ref | null;
  /** `text` without secrets. */
  redact(text: string): string;
}

export interface Reading {
  resolve(ref: Ref): unknown;
}

/** No secret contains it, so what stands on either side of it is examined separately. */
const separator = "\0";

/**
 * The exact codec of states and inputs: plain data, Map, Set, bigint, undefined, the numbers that JSON cannot hold, and the
 * one class of the state. It knows no field by name, so a new field needs no change. Text is redacted as it is written.
 * Throws TypeError for a function or an unknown class: such a value could not be read back.
 *
 * A value that JSON cannot hold is an object with the key `$`: its first letter says what it is. A plain object that has this
 * key itself is written as its entries.
 */
export function encode(value: unknown, { refer, redact }: Writing): Json {
  const texts: string[] = [];
  const written = write(value, { refer, text: (text) => collected(texts, text) });
  const all = texts.join(separator);
  // Nearly every record has no secret: one search in all of its texts, not one in each.
  if (redact(all) === all) return written;
  return write(value, { refer, text: redact });
}

/** Entries of a map or a list that are encoded in one go, which takes about a ms. */
const atOnce = 16;

/**
 * The JSON of `encode` as text, made of a whole state, which nothing changes meanwhile: other work has its turn after every few
 * entries of its maps and lists.
 */
export async function textInTurns(state: object, writing: Writing): Promise<string> {
  const parts: string[] = [];
  for (const [key, part] of Object.entries(state)) {
    const name = JSON.stringify(redactKey(key, writing.redact));
    parts.push(`${name}:${await partInTurns(part, writing)}`);
  }
  return `{${parts.join()}}`;
}

async function partInTurns(part: unknown, writing: Writing): Promise<string> {
  const text = (value: unknown) => JSON.stringify(encode(value, writing));
  const isMap = part instanceof Map || part instanceof IssueMap;
  if (!(isMap || Array.isArray(part)) || writing.refer(part) !== null) return text(part);
  const texts: string[] = [];
  let done = 0;
  for (const entry of part) {
    texts.push(...(isMap ? entry.map(text) : [text(entry)]));
    done += 1;
    if (done % atOnce === 0) await turn();
  }
  if (!isMap) return `[${texts.join()}]`;
  return `{"$":"${part instanceof Map ? "m" : "i"}","v":[${texts.join()}]}`;
}

function collected(texts: string[], text: string): string {
  texts.push(text);
  return text;
}

interface Writer {
  refer(value: object): Ref | null;
  text(text: string): string;
}

function write(value: unknown, writer: Writer): Json {
  switch (typeof value) {
    case "string":
      return writer.text(value);
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0)
        ? value
        : marked("n", numberName(value));
    case "boolean":
      return value;
    case "undefined":
      return marked("u", null);
    case "bigint":
      return marked("b", String(value));
    case "object":
      return value === null ? null : writeObject(value, writer);
    default:
      throw new TypeError(`a ${typeof value} cannot be recorded`);
  }
}

function writeObject(value: object, writer: Writer): Json {
  const ref = writer.refer(value);
  if (ref !== null) return marked("r", ref);
  if (Array.isArray(value)) return value.map((item) => write(item, writer));
  if (value instanceof Map) return marked("m", flat(value, writer));
  if (value instanceof Set)
    return marked(
      "s",
      [...value].map((item) => write(item, writer)),
    );
  if (value instanceof IssueMap) return marked("i", flat(value, writer));
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    throw new TypeError(`an object of the class ${value.constructor.name} cannot be recorded`);
  }
  const entries = Object.entries(value);
  if (Object.hasOwn(value, "$")) return marked("o", flat(entries, writer));
  return Object.fromEntries(
    entries.map(([key, item]) => [redactKey(key, writer.text), write(item, writer)]),
  );
}

function flat(entries: Iterable<readonly [unknown, unknown]>, writer: Writer): readonly Json[] {
  return [...entries].flatMap(([key, item]) => [write(key, writer), write(item, writer)]);
}

function numberName(value: number): string {
  return Object.is(value, -0) ? "-0" : String(value);
}

type Mark = "n" | "u" | "b" | "r" | "m" | "s" | "i" | "o";

function marked(mark: Mark, value: Json): Json {
  return { $: mark, v: value };
}

/** True if `decode` changes nothing of the JSON `text`: a text that holds this as data has it escaped. */
export function isPlain(text: string): boolean {
  return !text.includes('"$":');
}

/** The value that `encode` wrote; maps and sets in their order. Throws TypeError for anything else. */
export function decode(json: Json, reading: Reading): unknown {
  if (typeof json !== "object" || json === null) return json;
  if (isList(json)) return json.map((item) => decode(item, reading));
  if (!Object.hasOwn(json, "$")) {
    return Object.fromEntries(
      Object.entries(json).map(([key, item]) => [key, decode(item, reading)]),
    );
  }
  return read(String(json["$"]), json["v"] ?? null, reading);
}

function read(mark: string, value: Json, reading: Reading): unknown {
  switch (mark) {
    case "n":
      return Number(value);
    case "u":
      return undefined;
    case "b":
      return BigInt(String(value));
    case "r":
      return reading.resolve(value);
    case "m":
      return new Map(pairs(value, reading));
    case "s":
      return new Set(items(value).map((item) => decode(item, reading)));
    case "i":
      // Only an `IssueMap` is written with this mark.
      return IssueMap.from(new Map(pairs(value, reading) as [string, IssueRow][]));
    case "o":
      return Object.fromEntries(pairs(value, reading) as [string, unknown][]);
    default:
      throw new TypeError(`the mark ${mark} is not known: the record is of a later version`);
  }
}

function pairs(value: Json, reading: Reading): [unknown, unknown][] {
  const all = items(value);
  return Array.from({ length: all.length / 2 }, (_, at) => [
    decode(all[at * 2] ?? null, reading),
    decode(all[at * 2 + 1] ?? null, reading),
  ]);
}

function items(value: Json): readonly Json[] {
  if (isList(value)) return value;
  throw new TypeError("the record is damaged: a list is missing");
}

export function isList(json: Json | undefined): json is readonly Json[] {
  return Array.isArray(json);
}
