import type { Bus } from "./bus.ts";
import type { Clock } from "./clock.ts";
import { formatRecord, type LogFields, type LogFormat, type LogLevel } from "./log-format.ts";
import { messageOf } from "./model/errors.ts";
import type { EventType, SymphonyEvent } from "./model/event.ts";

const rank: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

/** What is not plain news: too much of it, or something to look at. */
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
  "budget.reached": "warn",
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

/** Where lines go. `write` gets one record with its newline; a throw is reported on the other sinks. */
export interface LogSink {
  readonly name: string;
  write(line: string): void;
}

/** Records for operators. No call throws; values may be anybody's text. Keys are snake_case. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` to every record, such as `issue_id` and `issue_identifier`. */
  child(fields: LogFields): Logger;
}

interface LoggerOptions {
  /** The least level that is written. */
  readonly level: LogLevel;
  readonly format: LogFormat;
  readonly sinks: readonly LogSink[];
  readonly clock: Clock;
  /** Takes known secrets out of every value. */
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
    writeAll(shared, { level, message, fields: { ...context, ...fields } });
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
  const line = format(shared, entry);
  for (const sink of sinks) {
    const error = tryWrite(sink, line);
    if (error === null) {
      shared.failing.delete(sink);
    } else if (!shared.failing.has(sink)) {
      shared.failing.add(sink);
      reportFailure(shared, sink, error);
    }
  }
}

/** Requirement G-4: a sink that fails is told of on those that remain. */
function reportFailure(shared: Shared, broken: LogSink, error: unknown): void {
  const fields = { sink: broken.name, reason: messageOf(error) };
  const line = format(shared, { level: "error", message: "Log sink failed", fields });
  for (const sink of shared.options.sinks) {
    if (sink !== broken) tryWrite(sink, line);
  }
}

function format({ options }: Shared, entry: Entry): string {
  const at = new Date(options.clock.wall()).toISOString();
  return `${formatRecord({ ...entry, at }, options.format, options.redact)}\n`;
}

/** What the sink threw, or null. */
function tryWrite(sink: LogSink, line: string): unknown {
  try {
    sink.write(line);
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

/** A retry after a failure is something to look at; the look after a normal end is not. */
function levelOf({ type, data }: SymphonyEvent): LogLevel {
  if (type === "issue.retrying" && typeof data["error"] === "string") return "warn";
  return levels[type] ?? "info";
}

function fieldsOf(event: SymphonyEvent): LogFields {
  const outcome = outcomes[event.type];
  return {
    // First, so that no fact can pass for one of the names below.
    ...factsOf(event),
    event: event.type,
    seq: event.seq,
    ...(event.issueId === null ? {} : { issue_id: event.issueId }),
    ...(event.issueIdentifier === null ? {} : { issue_identifier: event.issueIdentifier }),
    ...(event.attemptId === null ? {} : { attempt_id: event.attemptId }),
    ...(lifecycle.test(event.type) ? { session_id: event.sessionId ?? "unknown" } : {}),
    ...(outcome === undefined ? {} : { outcome }),
  };
}

/** The simple ones: nested data is for the stream, where it is whole. */
function factsOf(event: SymphonyEvent): LogFields {
  const simple = Object.entries(event.data).filter(([, value]) => typeof value !== "object");
  return Object.fromEntries(simple.slice(0, maxFacts));
}
