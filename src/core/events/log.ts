import {
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import type { Writable } from "node:stream";
import type { Clock } from "../clock.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import type { EventType, SymphonyEvent } from "../model/event.ts";
import { cut } from "../text/text.ts";
import type { Bus } from "./bus.ts";
import { causeOf, currentCause } from "./causes.ts";

const rank: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

/** Types whose level is not `info`: frequent ones, and those that need attention. */
const levels: Partial<Record<EventType, LogLevel>> = {
  "attempt.phase": "debug",
  "agent.message": "debug",
  "agent.command": "debug",
  "agent.file_change": "debug",
  "agent.tool_call": "debug",
  "agent.tokens": "debug",
  "agent.rate_limits": "debug",
  "agent.notice": "debug",
  "poll.completed": "debug",
  "issue.blocked": "warn",
  "issue.failed": "warn",
  "turn.failed": "warn",
  "approval.requested": "warn",
  "config.rejected": "warn",
  "hook.failed": "warn",
  "storage.error": "error",
  "tracker.error": "warn",
  "provider.paused": "warn",
  "agent.unavailable": "warn",
  "budget.reached": "warn",
  "dispatch.paused": "warn",
  "host.short": "warn",
  "notice.failed": "warn",
};

const outcomes: Partial<Record<EventType, string>> = {
  "issue.completed": "completed",
  "issue.failed": "failed",
  "issue.retrying": "retrying",
  "issue.blocked": "blocked",
  "issue.held": "held",
  "turn.completed": "completed",
  "turn.failed": "failed",
  "hook.failed": "failed",
};

const maxFacts = 32;
const lifecycle = /^(attempt|session|turn|agent|approval|steer)\./;

/** Where lines go. `write` gets one record with its newline; an exception is reported on the other sinks. */
export interface LogSink {
  readonly name: string;
  /** This sink's own form of a record, without its newline; null leaves it out. By default the logger's format. */
  form?(record: LogRecord, redact: (text: string) => string): string | null;
  write(line: string): void;
}

/** Records for operators. No call throws; values may be untrusted text. Keys are snake_case. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` to every record, such as `issue_id` and `issue_identifier`. */
  child(fields: LogFields): Logger;
}

interface LoggerOptions {
  /** The lowest level that is written. */
  readonly level: LogLevel;
  readonly format: LogFormat;
  readonly sinks: readonly LogSink[];
  readonly clock: Clock;
  /** Removes known secrets from every value. */
  readonly redact: (text: string) => string;
}

export function createLogger(options: LoggerOptions): Logger {
  return loggerWith({ options, failing: new Set() }, {});
}

interface Shared {
  readonly options: LoggerOptions;
  /** Sinks whose failure was reported and that have not worked since. */
  readonly failing: Set<LogSink>;
}

function loggerWith(shared: Shared, context: LogFields): Logger {
  const log = (level: LogLevel) => (message: string, fields?: LogFields) => {
    if (rank[level] < rank[shared.options.level]) return;
    writeAll(shared, { level, message, fields: { ...context, ...currentCause(), ...fields } });
  };
  return {
    debug: log("debug"),
    info: log("info"),
    warn: log("warn"),
    error: log("error"),
    child: (fields) => loggerWith(shared, { ...context, ...fields }),
  };
}

interface Entry {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

function writeAll(shared: Shared, entry: Entry): void {
  const { sinks } = shared.options;
  const record = { ...entry, at: new Date(shared.options.clock.wall()).toISOString() };
  const common = format(shared, record);
  for (const sink of sinks) {
    const error = tryWrite(sink, record, { shared, common });
    if (error === null) {
      shared.failing.delete(sink);
    } else if (!shared.failing.has(sink)) {
      shared.failing.add(sink);
      reportFailure(shared, sink, error);
    }
  }
}

/** Requirement G-4: the failure of a sink is reported on the remaining sinks. */
function reportFailure(shared: Shared, broken: LogSink, error: unknown): void {
  const fields = { sink: broken.name, reason: messageOf(error) };
  const at = new Date(shared.options.clock.wall()).toISOString();
  const record = { at, level: "error", message: "Log sink failed", fields } as const;
  const common = format(shared, record);
  for (const sink of shared.options.sinks) {
    if (sink !== broken) tryWrite(sink, record, { shared, common });
  }
}

function format({ options }: Shared, record: LogRecord): string {
  return `${formatRecord(record, options.format, options.redact)}\n`;
}

/** The exception of the sink, or null. */
function tryWrite(
  sink: LogSink,
  record: LogRecord,
  { shared, common }: { readonly shared: Shared; readonly common: string },
): unknown {
  try {
    const own = sink.form?.(record, shared.options.redact);
    if (own !== null) sink.write(own === undefined ? common : `${own}\n`);
    return null;
  } catch (error) {
    return error ?? new Error("a sink threw nothing");
  }
}

/** Logs every event of the bus with its issue, session and facts (requirements G-1, G-2). Returns how to stop. */
export function logEvents(bus: Bus, logger: Logger): () => void {
  return bus.subscribe({}, (event) => {
    logger[levelOf(event)](event.message, fieldsOf(event));
  });
}

/** A retry after a failure needs attention; the recheck after a normal end does not. */
export function levelOf({ type, data }: SymphonyEvent): LogLevel {
  if (type === "issue.retrying" && typeof data["error"] === "string") return "warn";
  return levels[type] ?? "info";
}

function fieldsOf(event: SymphonyEvent): LogFields {
  const outcome = outcomes[event.type];
  return {
    // First, so that no fact can replace one of the names below.
    ...factsOf(event),
    event: event.type,
    seq: event.seq,
    ...(event.issueId === null ? {} : { issue_id: event.issueId }),
    ...(event.issueIdentifier === null ? {} : { issue_identifier: event.issueIdentifier }),
    ...(event.attemptId === null ? {} : { attempt_id: event.attemptId }),
    ...causeOf(event),
    ...(lifecycle.test(event.type) ? { session_id: event.sessionId ?? "unknown" } : {}),
    ...(outcome === undefined ? {} : { outcome }),
  };
}

/** Only simple values: nested data is in the stream, where it is complete. */
function factsOf(event: SymphonyEvent): LogFields {
  const simple = Object.entries(event.data).filter(([, value]) => typeof value !== "object");
  return Object.fromEntries(simple.slice(0, maxFacts));
}

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFormat = "logfmt" | "json";
type LogFields = Readonly<Record<string, unknown>>;

export interface LogRecord {
  readonly at: string;
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

/** Requirement G-3. */
const maxValueChars = 2_048;
const maxScannedChars = 64 * 1024;
const maxFields = 64;
/** A field with one of these names is renamed, so that it cannot replace them. */
const own = new Set(["time", "level", "msg"]);
const plain = /^[\w.:/@+,%-]+$/;
/** Characters that a terminal or a line reader could interpret; JSON escapes them itself. */
const unsafe = /[\p{Cc}\p{Cf}\u2028\u2029]/gu;

/** One record on one line: `key=value` pairs, or a JSON object. Never throws; no text can end the line or its own value. */
function formatRecord(
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
  return cut(redact(text.slice(0, maxScannedChars).toWellFormed()), maxValueChars);
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

const maxWaitingBytes = 1024 * 1024;

/** Lines to a stream such as stderr; a reader that is gone or slow causes lost lines, never memory growth or an exit. */
export function streamSink(name: string, stream: Writable): LogSink {
  let failure: Error | null = null;
  stream.on("error", (error) => {
    failure = error;
  });
  return {
    name,
    write(line) {
      // A pipe or terminal that failed once does not recover.
      if (failure) throw failure;
      if (stream.writableLength > maxWaitingBytes) throw new Error("its reader is too slow");
      stream.write(line);
    },
  };
}

interface RotatingOptions {
  readonly file: string;
  /** Default 10 MiB. */
  readonly maxBytes?: number;
  /** Maximum number of files, including the current one. Default 5. */
  readonly files?: number;
}

/** Lines to `file` (0600), then `file.1`, … (requirement G-5). A file removed or moved by other programs is recreated. */
export function rotatingFileSink(options: RotatingOptions): LogSink & { close(): void } {
  return new RotatingFile(options.file, options.maxBytes ?? 10 * 1024 * 1024, options.files ?? 5);
}

class RotatingFile implements LogSink {
  readonly name: string;
  readonly #maxBytes: number;
  readonly #files: number;
  #fd: number | null = null;
  #size = 0;
  /** The disk accepted only a part of the last line. */
  #torn = false;

  constructor(file: string, maxBytes: number, files: number) {
    this.name = file;
    this.#maxBytes = maxBytes;
    this.#files = files;
  }

  write(line: string): void {
    const bytes = Buffer.from(this.#torn ? `\n${line}` : line, "utf8");
    if (this.#fd !== null && !this.#isStillThere(this.#fd)) this.close();
    let fd = this.#fd ?? this.#open();
    if (this.#size > 0 && this.#size + bytes.length > this.#maxBytes) {
      this.#rotate();
      fd = this.#open();
    }
    const written = writeSync(fd, bytes);
    this.#size += written;
    this.#torn = written < bytes.length;
    if (this.#torn) throw new Error("the disk accepted only a part of a line");
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }

  #open(): number {
    mkdirSync(dirname(this.name), { recursive: true, mode: 0o700 });
    const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
    // Not into what a link leads to: a repository of a stranger can bring one.
    const flags = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK;
    const fd = openSync(this.name, flags, 0o600);
    this.#fd = fd;
    this.#size = fstatSync(fd).size;
    return fd;
  }

  #isStillThere(fd: number): boolean {
    const named = statSync(this.name, { throwIfNoEntry: false });
    return named !== undefined && named.ino === fstatSync(fd).ino;
  }

  #rotate(): void {
    this.close();
    if (this.#files < 2) rmSync(this.name, { force: true });
    for (let number = this.#files - 1; number > 0; number--) {
      const from = number === 1 ? this.name : `${this.name}.${number - 1}`;
      if (statSync(from, { throwIfNoEntry: false })) renameSync(from, `${this.name}.${number}`);
    }
    this.#torn = false;
  }
}
