import { messageOf, SymphonyError } from "./model/errors.ts";
import { cut } from "./one-line.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFormat = "text" | "json";
export type LogFields = Readonly<Record<string, unknown>>;

interface LogRecord {
  readonly at: string;
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

/** Requirement G-3. */
const maxValueChars = 2_048;
const lookedAtChars = 64 * 1024;
const maxFields = 64;
/** A field of the same name must not pass for them. */
const own = new Set(["time", "level", "msg"]);
const plain = /^[\w.:/@+,%-]+$/;
/** Whatever a terminal or a reader of lines could take for more than text; JSON leaves these as they are. */
const unsafe = /[\p{Cc}\p{Cf}\u2028\u2029]/gu;

/** One record on one line: `key=value` pairs, or a JSON object. Never throws; no text can end the line or its own value. */
export function formatRecord(
  record: LogRecord,
  format: LogFormat,
  redact: (text: string) => string,
): string {
  const { at, level, message } = record;
  const fields = Object.entries(record.fields).slice(0, maxFields).flatMap(expand);
  const safe = [
    ["time", at] as const,
    ["level", level] as const,
    ["msg", safeValue(message, redact)] as const,
    ...fields.map(([key, value]) => [keyOf(key), safeValue(value, redact)] as const),
  ];
  if (format === "json") return escapeUnsafe(JSON.stringify(Object.fromEntries(safe)));
  return safe.map(([key, value]) => `${key}=${textOf(value)}`).join(" ");
}

/** An error becomes its message, its code and, when it is a bug, its stack. */
function expand([key, value]: [string, unknown]): [string, unknown][] {
  if (!(value instanceof Error)) return value === undefined ? [] : [[key, value]];
  const facts: [string, unknown][] = [[key, messageOf(value)]];
  if (value instanceof SymphonyError) facts.push([`${key}_code`, value.code]);
  else facts.push([`${key}_stack`, value.stack ?? ""]);
  return facts;
}

function keyOf(key: string): string {
  const name = key.replaceAll(/[^\w.]/g, "_").slice(0, 64);
  return name === "" || own.has(name) ? `_${name}` : name;
}

function safeValue(
  value: unknown,
  redact: (text: string) => string,
): string | number | boolean | null {
  if (value === null || typeof value === "boolean") return value;
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
  const text = typeof value === "string" ? value : jsonOf(value);
  return cut(redact(text.slice(0, lookedAtChars).toWellFormed()), maxValueChars);
}

function jsonOf(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return "[unreadable]";
  }
}

function textOf(value: string | number | boolean | null): string {
  if (typeof value !== "string") return String(value);
  return plain.test(value) ? value : escapeUnsafe(JSON.stringify(value));
}

function escapeUnsafe(json: string): string {
  return json.replaceAll(unsafe, (character) =>
    character
      .split("")
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
      .join(""),
  );
}
