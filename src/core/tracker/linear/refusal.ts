// What Linear refuses, and what keeps it from answering, as errors without the key.

import type { LinearError } from "@linear/sdk";
import { tooLargeIn } from "../../answers.ts";
import { type ErrorCode, SymphonyError } from "../../model/errors.ts";
import { isRecord, listOf } from "../normalize.ts";

/** A response of Linear that is not plain success. */
export interface Refusal {
  readonly status: number;
  readonly headers: Headers;
  readonly errors: readonly unknown[];
  readonly data: unknown;
  /** The body, if it was not JSON. */
  readonly text: string | null;
}

/** Removes one secret from any text that is about to leave the adapter. */
export type Redact = (text: string) => string;

const longestBodyBytes = 1_000;
const longestMessage = 300;

export function redactorOf(authorization: string): Redact {
  const token = authorization.replace(/^Bearer /, "");
  return (text) => text.replaceAll(token, "[redacted]");
}

/** What the SDK keeps of the response inside the error that it throws. */
export function refusalOf(error: LinearError): Refusal {
  const response: Readonly<Record<string, unknown>> = { ...error.raw?.response };
  const { status, headers, error: text } = response;
  return {
    status: typeof status === "number" ? status : 0,
    headers: headers instanceof Headers ? headers : new Headers(),
    errors: listOf(response["errors"]),
    data: response["data"] ?? null,
    text: typeof text === "string" ? text : null,
  };
}

/** Linear limits with HTTP 400; a proxy in front of it, with 429. */
export function isRateLimited(refusal: Refusal): boolean {
  return (
    refusal.status === 429 ||
    refusal.errors.some((error) => {
      const { type, code } = extensionsOf(error);
      return type === "ratelimited" || code === "RATELIMITED";
    })
  );
}

/** `tracker_rate_limited`, `tracker_status` (not 200) or `tracker_response` (requirement L-12). */
export function refusalError(refusal: Refusal, redact: Redact, isApp: boolean): SymphonyError {
  const { status } = refusal;
  const { type, code: linearCode } = extensionsOf(refusal.errors[0]);
  const said = plain(redact(firstMessage(refusal.errors)), longestMessage);
  const internal = type === "internal error" || type === "lock timeout";
  const details = {
    status,
    retryable: status >= 500 || internal,
    ...(typeof type === "string" ? { type: plain(redact(type), 100) } : {}),
    ...(typeof linearCode === "string" ? { linearCode: plain(redact(linearCode), 100) } : {}),
    body: capBytes(redact(bodyOf(refusal)), longestBodyBytes),
  };
  const [code, message] = verdict(refusal, isApp ? "the app's token" : "the API key");
  const check = isApp
    ? "Check client_id and client_secret of tracker.provider.oauth, and that the app is still installed in the workspace: docs/trackers/linear-agent.md"
    : "check the API key: symphony secrets list";
  const hint = status === 401 ? { hint: check } : {};
  return new SymphonyError(code, said === "" ? message : `${message}: ${said}`, {
    details,
    ...hint,
  });
}

function verdict(refusal: Refusal, credential: string): readonly [ErrorCode, string] {
  const { status, errors, text } = refusal;
  if (isRateLimited(refusal)) return ["tracker_rate_limited", "Linear's rate limit is reached"];
  if (status === 401) return ["tracker_status", `Linear did not accept ${credential} (HTTP 401)`];
  if (status === 403) return ["tracker_status", "Linear does not permit this (HTTP 403)"];
  if (status !== 200) return ["tracker_status", `Linear answered with HTTP ${status}`];
  if (errors.length > 0) return ["tracker_response", "Linear answered with an error"];
  if (text !== null) return ["tracker_response", "Linear's answer is not JSON"];
  return ["tracker_response", "Linear's answer holds no data"];
}

/** An error thrown before there was a response, or while it was read. */
export function transportError(cause: unknown, timeoutMs: number, redact: Redact): SymphonyError {
  if (cause instanceof DOMException && cause.name === "TimeoutError") {
    const message = `Linear did not answer in ${timeoutMs} ms`;
    return new SymphonyError("tracker_request", message, {
      details: { timeoutMs, retryable: true },
    });
  }
  const large = tooLargeIn(cause);
  if (large !== null) {
    const { host, limitBytes } = large;
    return new SymphonyError("tracker_response", large.message, {
      cause: large,
      details: { host, limitBytes, retryable: false },
      hint: "check tracker.endpoint: symphony config get tracker",
    });
  }
  if (cause instanceof SyntaxError || !isFetchFailure(cause)) {
    return new SymphonyError("tracker_response", "Linear's answer is not valid JSON", {
      details: { retryable: false },
    });
  }
  const message = `Linear cannot be reached: ${plain(redact(rootMessage(cause)), longestMessage)}`;
  return new SymphonyError("tracker_request", message, { details: { retryable: true } });
}

/** A TypeError without a cause is the SDK's: it reads the errors of an answer without a check. */
function isFetchFailure(cause: unknown): cause is Error {
  return cause instanceof Error && !(cause instanceof TypeError && cause.cause === undefined);
}

/** fetch reports "fetch failed" and keeps the reason in its cause. */
function rootMessage(error: Error): string {
  const { cause } = error;
  if (!(cause instanceof Error)) return error.message;
  const code = "code" in cause && typeof cause.code === "string" ? cause.code : "";
  return cause.message || code || error.message;
}

/** One line without control characters. */
function plain(text: string, limit: number): string {
  return text
    .replaceAll(/[\p{Cc}\u2028\u2029]+/gu, " ")
    .trim()
    .slice(0, limit);
}

/** At most `limit` bytes of UTF-8, cut between characters. */
export function capBytes(text: string, limit: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= limit) return text;
  return new TextDecoder().decode(bytes.subarray(0, limit), { stream: true });
}

function bodyOf(refusal: Refusal): string {
  return refusal.text ?? JSON.stringify({ errors: refusal.errors, data: refusal.data });
}

function extensionsOf(error: unknown): Readonly<Record<string, unknown>> {
  const extensions = isRecord(error) ? error["extensions"] : null;
  return isRecord(extensions) ? extensions : {};
}

function firstMessage(errors: readonly unknown[]): string {
  const shown = extensionsOf(errors[0])["userPresentableMessage"];
  const message = isRecord(errors[0]) ? errors[0]["message"] : null;
  return [message, shown].find((text) => typeof text === "string" && text !== "")?.toString() ?? "";
}

export function rateLimited(
  waitMs: number,
  details: Readonly<Record<string, unknown>>,
): SymphonyError {
  const seconds = Math.ceil(waitMs / 1_000);
  const message = `Linear's rate limit is reached; asking again in ${seconds} s`;
  return new SymphonyError("tracker_rate_limited", message, {
    details: { ...details, retryable: false, retryAfterMs: waitMs },
  });
}

export function closedError(): SymphonyError {
  return new SymphonyError("tracker_request", "The connection to Linear was closed", {
    details: { retryable: false },
  });
}
