import { SymphonyError } from "../model/errors.ts";
import { isObject, parseJson } from "../text/text.ts";
import { timeIn, timeOf, waitOf } from "./reset-time.ts";

/** The provider of an agent refuses requests for a while. */
export interface Limit {
  /** When it accepts them again, epoch ms; null when it does not say. */
  readonly untilWall: number | null;
}

const tooManyRequests = 429;
const maxDepth = 8;
const maxValues = 500;
const maxTextChars = 8_000;

/** Phrases for a usage limit. Limits of one conversation, such as its context, do not count. */
const limitPhrases = new RegExp(
  [
    "(?:usage|rate|session|weekly|daily|hourly|monthly|spend(?:ing)?|hour|request|quota)s?[ _-]?limit",
    "(?:hit|reached) your (?:[\\w.-]{1,20} ){0,3}limit",
    "(?:exceeded|exhausted|reached|hit|used up) (?:your|the|its) (?:[\\w-]{1,20} )?(?:quota|capacity)",
    "quota (?:has been |is |was )?(?:exceeded|exhausted|reached|used up)",
    "quota will reset",
    "(?:insufficient|out of) ?_?quota",
    "resource[_ ](?:has been )?exhausted",
    "resourceexhausted",
    "too many requests",
    "out of (?:[\\w-]{1,20} ){0,2}(?:usage(?! credits)|messages|requests|prompts)",
    "no (?:[\\w-]{1,20} ){0,2}(?:requests|messages|prompts) (?:left|remaining)",
    "used (?:up )?(?:all|100 ?%) of (?:your|the|its)(?: [\\w-]{1,20}){0,2} (?:session|usage|plan|requests|messages|prompts|limit|quota|allowance|budget)",
    "limit of (?:[\\w-]{1,20} ){0,2}(?:requests|messages|prompts)",
    "(?:message|prompt)s?[ _-]limit",
    // Alone a budget is a word of any text, also of an issue's.
    "(?:exceeded|exhausted|reached|hit|spent|over|used(?: up)?)(?: all of)? (?:your|the|its|our) (?:[\\w-]{1,20} ){0,3}(?:budget|allowance|cap)\\b",
    "(?:hourly|daily|weekly|monthly|message|request|spend(?:ing)?) (?:[\\w-]{1,20} )?(?:budget|allowance|cap)\\b.{0,20} (?:exceeded|exhausted|reached|used up|spent|hit)\\b",
    "per[ _-](?:minute|hour|day|week|month)(?: \\w{1,10})? limit",
    "(?:budget|allowance|usage) (?:has been |has |is |was )?(?:exceeded|exhausted|used up)",
    "quota (?:has |is |was )?(?:run out|spent)",
    "(?:usage|message|request|spend(?:ing)?) (?:cap|allowance) (?:has been |was |is )?(?:reached|hit|exceeded|used up)",
    "used up (?:your|the|its) (?:[\\w-]{1,20} ){0,3}(?:messages|requests|prompts|usage|tokens)",
    "concurren(?:cy|t[ _]requests?)[ _]limit",
    "throttlingexception",
    "(?:requests?|account|organi[sz]ation|project|key|token|client|model|you|calls?|tokens) (?:\\w{1,12} )?(?:is|are|was|were|been|being) (?:\\w{2,12}ly )?throttled",
    "(?:status|http|code|error|rejected)(?: code)?\\W{0,3}429(?!\\d)",
  ].join("|"),
);
/**
 * Phrases that sound like a usage limit and are none: missing payment, a request that is too large,
 * an overloaded provider.
 */
const otherPhrases = new RegExp(
  [
    "credit balance",
    "insufficient (?:balance|credit|fund)",
    "out of (?:usage )?credits",
    "payment required",
    "billing_error",
    "overloaded",
    "request too large",
    "reduce your message size",
    "(?:prompt|input) is too long",
    "(?:context|thinking|reasoning) (?:window|length|limit|budget)",
    "disk quota",
    "long context",
  ].join("|"),
);
const limitNames =
  /^(?:rate_?limit(?:ed|_?error|_?exceeded|_?reached)?|usage_?limit(?:_?reached|_?exceeded)?|quota_?(?:exceeded|exhausted)|insufficient_?quota|resource_?exhausted|too_?many_?requests|throttling(?:_?exception)?|budget_?exceeded)$/;

const statusKeys = new Set(["status", "statuscode", "code", "httpstatus", "httpstatuscode"]);
const nameKeys = new Set([
  "status",
  "code",
  "type",
  "reason",
  "name",
  "errorkind",
  "error",
  "kind",
]);
const waitKeys = new Set([
  ...["retryafter", "retrydelay", "retryin", "retryafterseconds", "retrydelayseconds"],
  ...["resetsin", "resetafter", "resetsinseconds", "resetinseconds", "xratelimitresetafter"],
]);
const waitMsKeys = new Set(["retryafterms", "retrydelayms", "resetsinms"]);
const timeKeys = new Set([
  ...["resetsat", "resetat", "resettime", "quotaresettime", "quotaresettimestamp", "retryat"],
  ...["anthropicratelimitunifiedreset", "xratelimitreset", "ratelimitreset", "reset"],
]);
const textKeys = /^data$|message|detail|description|reason|body|text|title|error/;

/** The values in an agent's error, at any depth. */
interface Found {
  limited: boolean;
  untilWall: number | null;
  values: number;
  readonly texts: string[];
}

/**
 * The usage limit that a failure reports, or null. `failure` is only the content of a failure
 * channel: an error object, or the text of an error. Never pass what an agent says in its answers.
 */
export function limitIn(failure: unknown, wall: number): Limit | null {
  const found: Found = { limited: false, untilWall: null, values: 0, texts: [] };
  collect(failure, { key: "message", depth: 0, wall }, found);
  const words = found.texts.join("\n");
  const text = words.slice(0, maxTextChars).toLowerCase();
  if (found.limited && found.untilWall !== null) return { untilWall: found.untilWall };
  if (otherPhrases.test(text) || !(found.limited || limitPhrases.test(text))) return null;
  return { untilWall: found.untilWall ?? timeIn(words, wall) };
}

/** What a line of free text says when something was refused, and not only spoken of. */
const refusing =
  /error\b|fail|refus|reject|denied|exceed|exhaust|insufficient|reached|\bhit\b|\bspent\b|used (?:up|all|\d+ ?%)|over (?:your|the|its)|ran out|run out|out of|too many|\bno (?:\w+ ){0,2}(?:left|remaining)|no \w+ remaining|try again|come back|\bwait\b|retry|resets? (?:at|in|on)|429|limited|throttled|throttlingexception/i;

/** The line below that of a limit, which says until when. */
const waits = /^\W*(?:please )?(?:try again|retry(?:ing)?|come back|(?:it )?resets?)\b/i;

/**
 * The usage limit that the free output of a program reports, such as its stderr, which may also speak of limits that it
 * works on: an error's document, or a line that says a limit and that something was refused.
 */
export function limitInOutput(output: string, wall: number): Limit | null {
  const limit = limitIn(output, wall);
  if (limit === null || jsonIn(output) !== null) return limit;
  const lines = output.split("\n").filter((line) => line.trim() !== "");
  const says = (line: string, at: number) => {
    if (limitIn(line, wall) === null) return false;
    const next = lines[at + 1] ?? "";
    return refusing.test(line) || (waits.test(next) && timeIn(next, wall) !== null);
  };
  return lines.some(says) ? limit : null;
}

/**
 * The error of a turn that the provider refused for its limit; `message` is the agent's text about
 * it.
 */
export function limitError(
  message: string,
  { untilWall }: Limit,
  details: Readonly<Record<string, unknown>> = {},
): SymphonyError {
  return new SymphonyError("provider_limited", `the provider's limit is reached: ${message}`, {
    details: { ...details, untilWall },
  });
}

interface Place {
  /** The key of the value, without separators. */
  readonly key: string;
  readonly depth: number;
  readonly wall: number;
}

function collect(value: unknown, place: Place, found: Found): void {
  if (place.depth > maxDepth || ++found.values > maxValues) return;
  if (Array.isArray(value)) {
    for (const one of value) collect(one, { ...place, depth: place.depth + 1 }, found);
  } else if (isObject(value)) {
    for (const [name, one] of Object.entries(value)) {
      const key = name.toLowerCase().replaceAll(/[-_ ]/g, "");
      collect(one, { ...place, key, depth: place.depth + 1 }, found);
    }
  } else if (typeof value === "string" || typeof value === "number") {
    take(value, place, found);
  }
}

function take(value: string | number, place: Place, found: Found): void {
  const { key, wall } = place;
  if (statusKeys.has(key) && Number(value) === tooManyRequests) found.limited = true;
  const at = timeAt(value, key, wall);
  if (at !== null && at > wall) found.untilWall = Math.max(found.untilWall ?? 0, at);
  if (typeof value === "number") return;
  const name = value.slice(0, 100).toLowerCase().replaceAll(/[- ]/g, "_");
  if (nameKeys.has(key) && limitNames.test(name)) found.limited = true;
  if (!textKeys.test(key)) return;
  const inner = jsonIn(value);
  if (inner === null) found.texts.push(value.slice(0, maxTextChars));
  else collect(inner, { ...place, depth: place.depth + 1 }, found);
}

function timeAt(value: string | number, key: string, wall: number): number | null {
  if (timeKeys.has(key)) return timeOf(value);
  if (waitMsKeys.has(key)) return wall + Number(value);
  if (!waitKeys.has(key)) return null;
  const wait = waitOf(value);
  // `Retry-After` may also be a date.
  return wait === null ? timeOf(value) : wall + wait;
}

/**
 * Agents embed the provider's whole answer in their own text: `[API Error:
 * {"error":{"code":429,…}}]`.
 */
function jsonIn(text: string): unknown {
  const start = text.indexOf("{");
  const end = text.lastIndexOf("}");
  if (start === -1 || end < start || text.length > maxTextChars * 4) return null;
  const body = parseJson(text.slice(start, end + 1));
  if (body === undefined) return null;
  return { message: `${text.slice(0, start)} ${text.slice(end + 1)}`, body };
}

/**
 * Gemini waits by itself for a shorter time; during a longer wait another attempt should use its
 * slot.
 */
const maxOwnWaitMs = 120_000;
const waiting =
  /Attempt \d+ failed(?:(?!Attempt \d+ failed)[\s\S])*Retrying after (\d{1,12})(?:\.\d+)?ms\.\.\.\s*$/;

/**
 * The limit that Gemini CLI waits for, or null. It waits for hours when the provider names a time,
 * and reports this only on stderr: `Attempt 1 failed: … Your quota will reset after 3h20m11s..
 * Retrying after 12773246ms...`. `stderr` is the end of its output there.
 */
export function geminiWait(stderr: string, wall: number): Limit | null {
  const [text, waitMs] = waiting.exec(stderr) ?? [];
  if (text === undefined || Number(waitMs) <= maxOwnWaitMs) return null;
  // The provider's time has priority: the agent adds a random time to its own wait.
  return limitIn(text, wall);
}
