import { tooLargeIn } from "../../answers.ts";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import { maxNamedMs } from "../../model/gates.ts";
import { tunnelRefusal } from "../../outbound.ts";
import { isObject, type JsonObject, listOf, objectOf, textOf } from "../../text/text.ts";
import { limitIn } from "../limits.ts";
import { noCredit, proxyHint } from "../refusals.ts";
import { timeIn, timeOf, waitOf } from "../reset-time.ts";
import { webPage } from "./bodies.ts";
import { imagePart, optionalParts } from "./request.ts";

/** How a failed request is handled. */
export type Failure =
  /** The same request may succeed later; `waitMs` is the delay that the provider asks for. */
  | {
      readonly kind: "passing";
      readonly message: string;
      readonly waitMs: number | null;
      readonly limited: boolean;
    }
  /** No request is accepted until `untilWall`, or until the account is paid. */
  | { readonly kind: "limited"; readonly message: string; readonly untilWall: number | null }
  /** The provider does not have this API. */
  | { readonly kind: "other api"; readonly message: string }
  /** The model does not encrypt its reasoning. */
  | { readonly kind: "no sealing"; readonly message: string }
  /** `contextTokens` is the size of the model's context, where the provider names it. */
  | { readonly kind: "too long"; readonly message: string; readonly contextTokens: number | null }
  /** It cannot take these parts of the request. */
  | { readonly kind: "parts"; readonly message: string; readonly names: readonly string[] }
  /** The model made a call that the provider itself could not read: another answer may be better. */
  | { readonly kind: "bad call"; readonly message: string }
  | { readonly kind: "final"; readonly error: SymphonyError };

const maxMessageChars = 500;
const maxWaitMs = 60_000;
const quotaCodes = /insufficient_quota|usage_limit|billing|quota_exceeded|credit/i;
/** 498: Groq has no room for a request of its flexible tier. */
const passingStatus: ReadonlySet<number> = new Set([408, 409, 425, 429, 498]);

/** Classifies an error of a request to the provider; `key` is never part of a message. */
export function judgeFailure(
  error: unknown,
  { wall, key, keyName }: { wall: number; key: string; keyName: string | null },
): Failure {
  const thrown = objectOf(error);
  const body = bodyOf(thrown);
  const message = messageWithoutKey(error, key);
  const code = textOf(body["code"]) ?? textOf(thrown["code"]) ?? textOf(body["type"]) ?? "";
  const status = thrown["status"] ?? statusIn(body) ?? statusOf(code, message);
  const isTold = typeof thrown["status"] === "number";
  if (error instanceof SymphonyError) return { kind: "final", error };
  const large = tooLargeIn(error);
  // The same request would bring the same answer.
  if (large !== null) {
    const hint = "symphony config get openai.base_url";
    return { kind: "final", error: new SymphonyError("provider_error", large.message, { hint }) };
  }
  const long = tooLongIn(`${code} ${message}`, body);
  if (long !== null && !isMaxTokens(message)) {
    return { kind: "too long", message, contextTokens: long.contextTokens };
  }
  const tunnel = tunnelRefusal(error);
  if (tunnel !== null || status === 407) {
    const refused = { status: tunnel ?? 407, code, isTold: true, hint: proxyHint };
    return { kind: "final", error: refusedBy(message, refused) };
  }
  if (typeof status !== "number") return unnumbered(code, message);
  // A proxy or a firewall on the way, which may have disliked this one text.
  if (code === webPage && (status === 401 || status === 403)) {
    return { kind: "passing", message, waitMs: null, limited: false };
  }
  if (status === 402 || noCredit.test(`${code} ${message}`)) {
    return { kind: "final", error: refusedBy(message, { status, code, isTold, hint: creditHint }) };
  }
  const isLimit = status === 429;
  const named =
    headerWait(thrown["headers"], { wall, isLimit }) ?? (isLimit ? saidWait(body, wall) : null);
  const wait = named !== null && named > maxNamedMs ? null : named;
  // Some answer with 400, or with 200 and the error in its place.
  if (status < 500 && quotaCodes.test(`${code} ${textOf(body["type"]) ?? ""}`)) {
    const resetWall = resetOf(body, wall) ?? (wait === null ? null : wall + wait);
    return { kind: "limited", message, untilWall: resetWall ?? timeIn(message, wall) };
  }
  if (wait !== null && wait > maxWaitMs) {
    return { kind: "limited", message, untilWall: wall + wait };
  }
  // Providers answer it with 400, 404, 422 or 500.
  if (refusedImage.test(message)) return { kind: "parts", message, names: [imagePart] };
  if (passingStatus.has(status) || status >= 500) {
    if (status === 501) return { kind: "other api", message };
    return { kind: "passing", message, waitMs: wait, limited: status === 429 };
  }
  const isModerated =
    listOf(objectOf(body["metadata"])["reasons"]).length > 0 ||
    moderated.test(`${code} ${message}`);
  const param = textOf(body["param"]);
  return refusal({ status, code, keyName, isModerated, param, isTold }, message);
}

/** The status that an error in the middle of an answer names; null: none. */
function statusIn({ code, status }: JsonObject): number | null {
  const named = [code, status].map(Number);
  return named.find((one) => Number.isInteger(one) && one >= 400 && one < 600) ?? null;
}

/** The status that belongs to a refusal in the middle of an answer which names none; null for any other failure. */
function statusOf(code: string, message: string): number | null {
  if (keyCode.test(code) || badKey.test(message)) return 401;
  return noModelCode.test(code) || noModelWords.test(message) ? 404 : null;
}

/** The time that the body of a refusal names, in its words or its fields. */
function saidWait(body: JsonObject, wall: number): number | null {
  const until = limitIn({ ...body, status: 429 }, wall)?.untilWall ?? null;
  return until === null ? null : until - wall;
}

interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly keyName: string | null;
  /** A moderation refused the text of this request. */
  readonly isModerated: boolean;
  /** The status is the provider's own, and not read from its words. */
  readonly isTold: boolean;
  /** The field that the provider names. */
  readonly param: string | null;
}

/** OpenRouter names what it flagged in `metadata`; the others have words for it. */
const moderated = /content_filter|content[_ ]policy|moderation|flagged|safety (?:system|filter)/i;

function refusal(
  { status, code, keyName, isModerated, param, isTold }: Refusal,
  message: string,
): Failure {
  if (status === 413) return { kind: "too long", message, contextTokens: null };
  if (/tool_use_failed/.test(code)) return { kind: "bad call", message };
  if (/encrypted content|encrypted_content/i.test(message)) return { kind: "no sealing", message };
  const noModel = noModelCode.test(code) || noModelWords.test(message);
  if ((status === 404 || status === 405) && !noModel) return { kind: "other api", message };
  if (
    status === 400 &&
    /unsupported_(api|endpoint)|not support.*responses/i.test(`${code} ${message}`)
  )
    return { kind: "other api", message };
  const names = status === 400 || status === 422 ? partsIn(message, param) : [];
  if (names.length > 0) return { kind: "parts", message, names };
  // One text that a moderation refused says nothing about the key.
  const isKey =
    status === 401 || (status === 403 && !isModerated && !noModel) || badKey.test(message);
  const isPlace = noPlace.test(`${code} ${message}`);
  if (isKey || noModel || isPlace) {
    const hint = isPlace
      ? "choose another provider: symphony config overlay set openai.base_url URL"
      : isKey
        ? `symphony secrets add ${keyName ?? "OPENAI_API_KEY"}`
        : "symphony models, then symphony config overlay set openai.model NAME";
    return { kind: "final", error: refusedBy(message, { status, code, isTold, hint }) };
  }
  const error = new SymphonyError(
    "provider_error",
    `the provider refused (${status}): ${message}`,
    { details: { status, code }, hint: "symphony config get openai" },
  );
  return { kind: "final", error };
}

/** Google answers a bad key with 400. */
const badKey =
  /api[_ ]key (?:not valid|is (?:not valid|invalid)|expired|not found)|api_key_invalid|(?:incorrect|invalid) api[_ -]?key|not authenticated|authentication (?:error|failed)/i;
const keyCode =
  /invalid_api_key|invalid_authentication|authentication_error|unauthenticated|unauthorized/i;
const noPlace = /location is not supported|unsupported_country/i;
const noModelCode =
  /model_not_found|model_not_available|model_decommissioned|invalid_model|deploymentnotfound/i;
/** Also in the words of Google, Mistral, DeepSeek, Moonshot, Together, OpenRouter and Azure. */
const noModelWords = new RegExp(
  [
    "\\bmodels?\\b.*(?:not found|not exist|decommissioned|no longer (?:supported|available)|identifier is invalid)",
    "not found the model|invalid model\\b|not a valid model|unable to access model|access to (?:the )?model",
    "no endpoints found|deployment for this resource does not exist|does not support tools",
  ].join("|"),
  "i",
);
const creditHint = "pay the account, then symphony refresh; or choose another provider";

/** A key, an account or a model that the provider does not accept: the same for every issue, until it is mended. */
function refusedBy(
  message: string,
  { hint, isTold, ...details }: { status: number; code: string; isTold: boolean; hint: string },
): SymphonyError {
  // The client's words often begin with the status.
  const words = message.replace(new RegExp(`^${details.status} `), "");
  const said = `the provider refused${isTold ? ` (${details.status})` : ""}: ${words}`;
  return new SymphonyError("provider_refused", said, { details, hint });
}

/** The words of many providers for a conversation that does not fit. */
const tooLongWords = new RegExp(
  [
    "context_length_exceeded|exceed_context_size|context (?:length|window|size|limit)|contextlength",
    "too many tokens|(?:prompt|input|message|conversation|request)(?: text)? (?:is )?too (?:long|large)",
    "is too long to fit|too large for model|reduce (?:the length of )?(?:your|the) (?:message|prompt|input)",
    "input token length|model token limit|input token count|maximum (?:prompt|input) length|exceeds? the max(?:imum)?[^.]{0,40}tokens",
    "request too large",
    // Text Generation Inference, Alibaba, Zhipu, vLLM, Moonshot.
    "max_new_tokens\\W{0,3} must be|range of input length|exceeds? max(?:imum)? length|maximum model length|exceeds? max message tokens",
    "max_(?:completion_|output_)?tokens must be at least 1, got -",
  ].join("|"),
  "i",
);
const windowWords = [
  /must be <= ?([\d,]+)/i,
  /input length should be \[\d+, ?([\d,]+)\]/i,
  /maximum model length of ([\d,]+)/i,
  /while limit is ([\d,]+)/i,
  /maximum (?:context|prompt|input) length (?:is|of) ([\d,]+)/i,
  /([\d,]+) maximum context length/i,
  /> ?([\d,]+)(?: maximum|, decrease)/i,
  /maximum number of (?:input )?tokens allowed \(?([\d,]+)/i,
  /context (?:length|size|window)(?: of| is)?:?(?: only)? \(?([\d,]+)/i,
  /model token limit ?: ?([\d,]+)/i,
  /limit ([\d,]+), requested/i,
];

function tooLongIn(words: string, body: JsonObject): { contextTokens: number | null } | null {
  const [, limit, requested] = /limit ([\d,]+)[^.]{0,40}requested ([\d,]+)/i.exec(words) ?? [];
  // A limit by the minute that one request alone passes; else it is reached, and waiting helps.
  const isOverAlone = numberIn(requested) > numberIn(limit);
  if (limit !== undefined && !isOverAlone) return null;
  if (!isOverAlone && !tooLongWords.test(words)) return null;
  const named = typeof body["n_ctx"] === "number" ? body["n_ctx"] : null;
  const told = windowWords.map((form) => numberIn(form.exec(words)?.[1])).find((size) => size > 0);
  return { contextTokens: named ?? told ?? null };
}

function numberIn(text: string | undefined): number {
  return Number(text?.replaceAll(",", "") ?? 0);
}

/** `max_tokens` is larger than what the model can answer, which is no matter of the conversation. */
function isMaxTokens(message: string): boolean {
  return /max_(?:completion_|output_)?tokens\W{0,3}(?:or \W?max_completion_tokens\W{0,3})?(?:is |value )?too large/i.test(
    message,
  );
}

const refusedPart = new RegExp(
  [
    "un(?:supported|recognized|known|expected)|not (?:supported|permitted|allowed)|does ?n[o']t support",
    "extra (?:inputs|fields)|invalid (?:argument|parameter|field|name)|cannot find field",
    "additional propert|too large|must be (?:less than|at most|<=)|valid range",
  ].join("|"),
  "i",
);

/** A model that takes no images, in the words of OpenAI, DeepSeek, vLLM, llama.cpp, OpenRouter and Ollama. */
const refusedImage =
  /image_url\W{0,3} is only supported|unknown variant \W?image_url|is not a multimodal model|image input is not supported|support(?:s|ed)? image input|does not support (?:image|vision)|input_image/i;

/** The parts of a request that a refusal names; `param` is the field that it is about, such as `reasoning.effort`. */
function partsIn(message: string, param: string | null): readonly string[] {
  if (!refusedPart.test(message)) return [];
  const named = optionalParts.filter((name) => name === param?.split(/[.[]/)[0]);
  if (named.length > 0 && !message.includes("max_completion_tokens")) return named;
  return optionalParts.filter((name) => new RegExp(`(?<![\\w])${name}(?![\\w])`).test(message));
}

/** An error that a provider reports inside of an answer. */
export function failedWith(error: JsonObject): Error {
  const { code, message } = error;
  const status = typeof code === "number" && code >= 400 && code < 600 ? { status: code } : {};
  const said = textOf(message) ?? "no reason given";
  return Object.assign(new Error(said), { code, error, headers: new Headers(), ...status });
}

/** An error without a status: the connection broke, or the stream contained its own error. */
function unnumbered(code: string, message: string): Failure {
  if (quotaCodes.test(code)) return { kind: "limited", message, untilWall: null };
  if (/tool_use_failed/.test(code)) return { kind: "bad call", message };
  if (/redirect/i.test(message)) {
    return {
      kind: "final",
      error: new SymphonyError("provider_error", `the provider redirects requests: ${message}`, {
        hint: "set openai.base_url to the address it redirects to, if you trust that address",
      }),
    };
  }
  return { kind: "passing", message, waitMs: null, limited: code === "rate_limit_exceeded" };
}

/** The error object of the body, which the client has unwrapped. */
function bodyOf(thrown: JsonObject): JsonObject {
  const body = thrown["error"];
  return isObject(body) ? (isObject(body["error"]) ? body["error"] : body) : {};
}

function messageWithoutKey(error: unknown, key: string): string {
  const causes: string[] = [messageOf(error)];
  // `fetch failed` alone does not give the cause.
  for (let at = objectOf(error)["cause"]; at !== undefined && causes.length < 4; ) {
    causes.push(messageOf(at));
    at = objectOf(at)["cause"];
  }
  const words = [...new Set(causes.filter((cause) => cause !== ""))].join(": ");
  return (key.length < 4 ? words : words.replaceAll(key, "[redacted]")).slice(0, maxMessageChars);
}

function resetOf(body: JsonObject, wall: number): number | null {
  const after = waitOf(body["resets_in_seconds"]);
  return after === null ? timeOf(body["resets_at"]) : wall + after;
}

/** `Retry-After` in seconds or as a date, its variant in milliseconds, and the reset of a window that is used up. */
function headerWait(
  headers: unknown,
  { wall, isLimit }: { wall: number; isLimit: boolean },
): number | null {
  if (!(headers instanceof Headers)) return null;
  const fine = Number(headers.get("retry-after-ms") ?? Number.NaN);
  if (Number.isFinite(fine) && fine >= 0) return fine;
  const after = waitIn(headers.get("retry-after"), wall);
  if (after !== null || !isLimit) return after;
  const resets = [...headers].flatMap(([name, value]) => resetIn(name, value, headers));
  const waits = resets.map((one) => waitIn(one, wall)).filter((one) => one !== null);
  return waits.length > 0 ? Math.max(...waits) : null;
}

function waitIn(written: string | null, wall: number): number | null {
  const at = timeOf(written);
  return waitOf(written) ?? (at === null ? null : Math.max(at - wall, 0));
}

/**
 * The reset of a window that is used up, in one header: OpenAI and Groq `x-ratelimit-reset-requests`, Cerebras
 * `x-ratelimit-reset-requests-day`, OpenRouter `x-ratelimit-reset`, Anthropic `anthropic-ratelimit-tokens-reset`; `ratelimit-reset` and
 * `ratelimit` of the IETF's drafts (draft-ietf-httpapi-ratelimit-headers, 03 and 10).
 */
function resetIn(name: string, value: string, headers: Headers): readonly string[] {
  if (!/^(?:[a-z]{1,20}-){0,2}rate-?limit/.test(name)) return [];
  if (name === "ratelimit") {
    const used = value
      .split(/,(?!\s*(?:remaining|reset)=)/)
      .filter((one) => /\b(?:r|remaining)=0\b/.test(one));
    return used.flatMap((one) => /\b(?:t|reset)=(\d{1,9})\b/.exec(one)?.[1] ?? []);
  }
  if (!name.includes("reset")) return [];
  const left = headers.get(name.replace(/reset(?:-after)?/, "remaining"));
  // A provider with one window may not say that it is used up.
  const isAlone = /^(?:x-)?ratelimit-reset(?:-after)?$/.test(name);
  return left === null ? (isAlone ? [value] : []) : Number(left) <= 0 ? [value] : [];
}
