// Safe text: display, parsing and redaction.

/** CSI, OSC and two-character escape sequences of terminals (ECMA-48). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: it removes control characters
const escapes = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])/g;
const breaks = /[\t\n\v\f\r\u0085\u2028\u2029]+/g;
/** Other control characters, and characters that reorder or hide the text around them. */
const hidden = /[\p{Cc}\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]/gu;
/** Far above every limit in use: hostile text must not cost more than the part of it that is shown. */
const maxScannedChars = 64 * 1024;

/** Untrusted text as one plain line: no control characters or escape sequences, at most `maxChars` with the ellipsis. */
export function oneLine(text: string, maxChars: number): string {
  const line = text
    .slice(0, maxScannedChars)
    .toWellFormed()
    .replaceAll(escapes, "")
    .replaceAll(breaks, " ")
    .replaceAll(hidden, "");
  return cut(line, maxChars);
}

/** At most `maxChars` UTF-16 units, never half a surrogate pair; truncated text ends in an ellipsis. */
export function cut(text: string, maxChars: number): string {
  if (text.length <= maxChars) return text;
  const head = text.slice(0, maxChars - 1);
  return `${head.isWellFormed() || !text.isWellFormed() ? head : head.slice(0, -1)}…`;
}

/** How far a cut may move, so that it splits no word: a partial secret would not be recognized by the redaction. */
const wordChars = 200;

/** Text of an agent, made safe for display: plain lines, at most `maxChars` with the ellipsis. */
export function displayText(text: string, maxChars: number): string {
  if (text.length <= maxChars) return plainLines(text);
  const head = text.slice(0, maxChars - 1);
  const gap = head.slice(-wordChars).search(/\s\S*$/);
  const whole = gap === -1 ? head : head.slice(0, Math.max(head.length - wordChars, 0) + gap);
  return `${plainLines(whole)}…`;
}

/** The same, keeping the end. */
export function displayTail(text: string, maxChars: number): string {
  if (text.length <= maxChars) return plainLines(text);
  const tail = text.slice(1 - maxChars);
  const gap = tail.slice(0, wordChars).search(/\s/);
  return `…${plainLines(gap === -1 ? tail : tail.slice(gap + 1))}`;
}

function plainLines(text: string): string {
  const lines = text.split("\n").map((line) => oneLine(line, Number.POSITIVE_INFINITY));
  return lines.join("\n");
}

/** The value of JSON text; undefined, which JSON cannot say, for text that is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The same for a line of a program's output: some systems begin it with a byte order mark. */
export function parseJsonLine(line: string): unknown {
  return parseJson(line.replace(/^\ufeff/, ""));
}

/** An object read from JSON, of which nothing is known yet. */
export type JsonObject = Readonly<Record<string, unknown>>;

const none: JsonObject = Object.freeze({});

/** `value` if it is a plain object, else an empty one, so that a path can be read without checks. */
export function objectOf(value: unknown): JsonObject {
  return isObject(value) ? value : none;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function textOf(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** Both sides are hashed first, so that the time taken reveals neither length nor content (THREAT-21). */
export function sameText(given: string, expected: string): boolean {
  // At its use: most commands that shorten or clean a text compare none.
  const { createHash, timingSafeEqual } = process.getBuiltinModule("node:crypto");
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}

/** A number of bytes for persons: `1.5 GiB`, `300 MiB`. */
export function sizeText(bytes: number): string {
  if (bytes >= 1024 ** 3) return `${(bytes / 1024 ** 3).toFixed(1)} GiB`;
  return `${Math.round(bytes / 1024 ** 2)} MiB`;
}

/** A number with separators: 20,431,000. */
export function grouped(value: number): string {
  return value.toLocaleString("en-US");
}

/** `text` as one word of a POSIX shell, with any content. */
export function shellQuoted(text: string): string {
  return /^[A-Za-z0-9_/.:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

// An agent may choose names that are not UTF-8, and two of those must not become equal when they are read. So a raw name
// has one character for each byte (latin1), and only this file converts between the two forms.

/** The file `name` (raw, relative; empty for `root` itself) below `root` (plain text), in the form for node:fs. */
export function fileAt(root: string, name: string): Buffer {
  return name === "" ? Buffer.from(root) : Buffer.from(`${rawName(root)}/${name}`, "latin1");
}

/** Plain text as a raw name. */
export function rawName(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

/** A raw name as readable text. */
export function plainName(name: string): string {
  return Buffer.from(name, "latin1").toString("utf8");
}

/** The wait that an HTTP header `Retry-After` asks for at `wall`: seconds, or a date (RFC 9110, 10.2.3); null: neither. */
export function retryAfterMs(header: string | null, wall: number): number | null {
  if (header === null || header.trim() === "") return null;
  const seconds = Number(header);
  const ms = Number.isFinite(seconds) ? seconds * 1_000 : Date.parse(header) - wall;
  return Number.isFinite(ms) ? Math.max(ms, 0) : null;
}
