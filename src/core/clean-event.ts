import type { EventDraft, SymphonyEvent } from "./model/event.ts";
import { cut, oneLine } from "./one-line.ts";

const maxMessageChars = 1_000;
const maxValueChars = 16 * 1024;
const maxDataChars = 256 * 1024;
/** Text is redacted before it is cut, lest half a secret stays; far beyond the cut nobody looks. */
const lookedAtChars = 64 * 1024;

interface Stamp {
  readonly seq: number;
  readonly at: number;
  readonly redact: (text: string) => string;
}

/** The event of a draft: one safe line as message, JSON-safe data of bounded size, no known secret in either. Never throws. */
export function cleanEvent(draft: EventDraft, { seq, at, redact }: Stamp): SymphonyEvent {
  return {
    seq,
    type: draft.type,
    at,
    issueId: draft.issueId ?? null,
    issueIdentifier: draft.issueIdentifier ?? null,
    attemptId: draft.attemptId ?? null,
    sessionId: draft.sessionId ?? null,
    message: cleanMessage(draft.message, redact),
    data: cleanData(draft.data ?? {}, redact),
  };
}

/** Redacted twice: a value may span lines, and one torn apart by control characters appears only without them. */
function cleanMessage(message: string, redact: (text: string) => string): string {
  const line = oneLine(redact(message.slice(0, lookedAtChars)), Number.POSITIVE_INFINITY);
  return cut(redact(line), maxMessageChars);
}

function cleanData(
  data: Readonly<Record<string, unknown>>,
  redact: (text: string) => string,
): Readonly<Record<string, unknown>> {
  try {
    const json = JSON.stringify(data, (_key, value) => cleanValue(value, redact));
    if (json.length > maxDataChars) return { truncated: true, chars: json.length };
    return JSON.parse(json);
  } catch {
    return { unreadable: true };
  }
}

function cleanValue(value: unknown, redact: (text: string) => string): unknown {
  if (typeof value === "string") {
    return cut(redact(value.slice(0, lookedAtChars).toWellFormed()), maxValueChars);
  }
  if (typeof value === "bigint") return String(value);
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [redact(key), item]));
}
