import type { z } from "zod";
import { type AnswerKind, AnswerTooLarge, wholeBytes } from "../answers.ts";
import { ForgeError } from "../model/forge-error.ts";
import { outbound } from "../outbound.ts";
import { isObject, type JsonObject, listOf, objectOf, oneLine, textOf } from "../text/text.ts";

/** The part of fetch that octokit uses. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export interface FetchLimits {
  /** Longest time for one request, including its answer. */
  readonly timeoutMs: number;
  readonly closed: AbortSignal;
  /** How much of an answer is read. */
  readonly kind: AnswerKind;
}

const maxRedirects = 3;
const longestMessage = 300;
/** A body is not allowed with these. */
const bodiless: ReadonlySet<number> = new Set([204, 205, 304]);

/**
 * fetch with limits: a time, a size, and redirects only within the same origin, because the credential goes along (a
 * renamed repository answers so). Rejects with ForgeError `unavailable`, or `malformed` for an answer above the limit.
 */
export function boundedFetch(limits: FetchLimits): Fetch {
  const { kind } = limits;
  return (url, init) =>
    inTime(limits, async (signal) => {
      const response = await following(url, { ...init, signal }, { kind });
      if (bodiless.has(response.status)) {
        await response.body?.cancel();
        return new Response(null, response);
      }
      const { status, headers } = response;
      const whole = await wholeBytes(response.body, { host: new URL(url).host, kind });
      return new Response(whole, { status, headers });
    });
}

/** Runs `work` with a signal that ends it late or at `close`, and turns what it throws into a ForgeError. */
export async function inTime<T>(
  { timeoutMs, closed }: Pick<FetchLimits, "timeoutMs" | "closed">,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  // Not AbortSignal.timeout: AbortSignal.any holds its sources weakly, and a collected one never fires.
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), timeoutMs);
  try {
    return await work(AbortSignal.any([late.signal, closed]));
  } catch (error) {
    if (error instanceof ForgeError) throw error;
    if (closed.aborted) throw closedError();
    if (error instanceof AnswerTooLarge) throw new ForgeError("malformed", error.message);
    if (late.signal.aborted) {
      throw new ForgeError("unavailable", `GitHub did not answer in ${timeoutMs} ms`);
    }
    throw new ForgeError("unavailable", `GitHub cannot be reached: ${reasonOf(error)}`);
  } finally {
    clearTimeout(timer);
  }
}

/** fetch that follows redirects within the origin, except those of the status `until`; `kind` says how much is read. */
export async function following(
  url: string,
  init: RequestInit,
  { kind, until = null }: { readonly kind: AnswerKind; readonly until?: number | null },
): Promise<Response> {
  let at = url;
  for (let hop = 0; ; hop++) {
    const response = await outbound(at, { ...init, redirect: "manual" }, kind);
    const location = redirectOf(response, at);
    if (location === null || response.status === until) return response;
    await response.body?.cancel();
    if (location.origin !== new URL(url).origin) {
      throw new ForgeError("refused", "GitHub redirects to another host, which gets no credential");
    }
    if (hop >= maxRedirects) throw new ForgeError("refused", "GitHub redirects without end");
    at = location.href;
  }
}

/** Where a redirect leads to; null: the answer is none. */
export function redirectOf(response: Response, from: string): URL | null {
  if (![301, 302, 307, 308].includes(response.status)) return null;
  const location = response.headers.get("location");
  return location === null ? null : URL.parse(location, from);
}

/** fetch reports "fetch failed" and keeps the reason in its cause. It holds no header of the request. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : null;
  if (!(cause instanceof Error)) return error instanceof Error ? oneLine(error.message, 100) : "";
  // A host with several addresses fails with an error without a message.
  const code: unknown = Reflect.get(cause, "code");
  return oneLine(cause.message || (textOf(code) ?? "no reason"), 100);
}

/** An answer that is not a success. */
export interface Refusal {
  readonly status: number;
  /** With names in lower case. */
  readonly headers: Readonly<Record<string, string | number | undefined>>;
  readonly data: unknown;
}

export interface Judge {
  /** Removes the secrets that are known. */
  readonly redact: (text: string) => string;
  /** Our own clock, ms since the epoch. */
  readonly wall: number;
  /** Refusals by a limit in a row that gave no time. */
  readonly untimed: number;
}

/** The ForgeError of a REST answer. */
export function refusalError(refusal: Refusal, judge: Judge): ForgeError {
  const { status, headers, data } = refusal;
  const said = wordsOf(data);
  const needed = headers["x-accepted-github-permissions"];
  const needs = status === 403 && typeof needed === "string" ? `; needs ${needed}` : "";
  const text = said === "" ? `HTTP ${status}` : `${said} (HTTP ${status}${needs})`;
  const message = oneLine(judge.redact(`GitHub: ${text}`), longestMessage);
  if (isLimit(refusal, said)) return rateLimited(message, headers, judge);
  switch (status) {
    case 401:
      return new ForgeError("unauthorized", message, { status });
    case 403:
      return new ForgeError("forbidden", message, { status });
    case 404:
      return new ForgeError("not_found", message, { status });
    case 410:
      return new ForgeError("gone", message, { status });
    case 501:
      return new ForgeError("refused", message, { status });
    default:
      if (status >= 500 || status === 408) {
        return new ForgeError("unavailable", message, { status });
      }
      // A branch that was just pushed may not have reached the replica that was asked.
      return new ForgeError("refused", message, { status, final: !isUnseenBranch(status, data) });
  }
}

function isLimit({ status, headers }: Refusal, said: string): boolean {
  if (status === 429 || /was submitted too quickly/i.test(said)) return true;
  if (status !== 403) return false;
  const spent = String(headers["x-ratelimit-remaining"] ?? "") === "0";
  return spent || headers["retry-after"] !== undefined || /rate limit|abuse detection/i.test(said);
}

function isUnseenBranch(status: number, data: unknown): boolean {
  if (status !== 422) return false;
  return listOf(objectOf(data)["errors"]).some((error) => {
    const { field, code } = objectOf(error);
    return code === "invalid" && (field === "head" || field === "base");
  });
}

const longestWaitMs = 60 * 60_000;
const firstUntimedWaitMs = 60_000;

/**
 * The wait is a difference of GitHub's own times where it gives one, because our clock may be wrong: `retry-after`, else
 * the reset of a spent budget, else at least a minute, doubled each time (GitHub's "Best practices for using the REST API").
 */
function rateLimited(message: string, headers: Refusal["headers"], judge: Judge): ForgeError {
  const theirs = Date.parse(String(headers["date"] ?? "")) || judge.wall;
  const after = Number.parseFloat(String(headers["retry-after"] ?? ""));
  const reset = Number.parseFloat(String(headers["x-ratelimit-reset"] ?? ""));
  const spent = String(headers["x-ratelimit-remaining"] ?? "") === "0";
  let waitMs = firstUntimedWaitMs * 2 ** Math.min(judge.untimed, 6);
  if (spent && Number.isFinite(reset)) waitMs = reset * 1_000 - theirs;
  if (Number.isFinite(after)) waitMs = after * 1_000;
  // Their times count in seconds, so one more makes sure that it is over.
  waitMs = Math.min(Math.max(waitMs, 0) + 1_000, longestWaitMs + 1_000);
  return new ForgeError("rate_limited", message, { retryAt: judge.wall + waitMs });
}

/** Whether a limit named no time, so that the next wait must be longer. */
export function isUntimed({ headers }: Refusal): boolean {
  return headers["retry-after"] === undefined && String(headers["x-ratelimit-remaining"]) !== "0";
}

/** GraphQL answers errors with HTTP 200. null: there is none. Partial data next to an error is not used. */
export function graphqlError(
  answer: Refusal,
  judge: Judge,
  { partial }: { readonly partial?: readonly string[] | undefined } = {},
): ForgeError | null {
  const all = listOf(objectOf(answer.data)["errors"]);
  const mayBeNull = isObject(objectOf(answer.data)["data"]) ? partial : undefined;
  const errors = mayBeNull ? all.filter((error) => !isOfOneEntry(objectOf(error), mayBeNull)) : all;
  if (errors.length === 0) {
    if (isObject(objectOf(answer.data)["data"])) return null;
    return new ForgeError("malformed", "GitHub's answer holds no data");
  }
  // A limit has a time to wait for, whatever else was refused next to it.
  const first = objectOf(errors.find((error) => isGraphqlLimit(objectOf(error))) ?? errors[0]);
  const said = textOf(first["message"]) ?? "an error without words";
  const message = oneLine(judge.redact(`GitHub: ${said}`), longestMessage);
  const type = textOf(first["type"]) ?? "";
  if (isGraphqlLimit(first)) {
    return rateLimited(message, answer.headers, judge);
  }
  if (type === "NOT_FOUND") return new ForgeError("not_found", message);
  if (type === "FORBIDDEN" || type === "INSUFFICIENT_SCOPES") {
    return new ForgeError("forbidden", message);
  }
  if (/something went wrong|timeout|timed out/i.test(said) || type === "INTERNAL") {
    return new ForgeError("unavailable", message);
  }
  return new ForgeError("refused", message);
}

function isGraphqlLimit({ type, message }: JsonObject): boolean {
  return (
    /RATE_LIMIT/.test(textOf(type) ?? "") ||
    /rate limit|submitted too quickly/i.test(textOf(message) ?? "")
  );
}

/**
 * Such as an issue behind an organization's single sign-on: it, or one of its fields in `mayBeNull`, is null in its list, and
 * the rest of the answer is there.
 */
function isOfOneEntry({ type, path }: JsonObject, mayBeNull: readonly string[]): boolean {
  if (type !== "FORBIDDEN" && type !== "NOT_FOUND") return false;
  const parts = listOf(path);
  const at = parts.findLastIndex((part) => typeof part === "number");
  const field = parts[at + 1];
  return at >= 0 && (field === undefined || mayBeNull.includes(String(field)));
}

/** GitHub's message with the details of a validation; nothing of a web page that a proxy sent. */
function wordsOf(data: unknown): string {
  const { message, errors }: JsonObject = objectOf(data);
  const details = listOf(errors).map((error) => {
    if (typeof error === "string") return error;
    const { message: own, resource, field, code } = objectOf(error);
    return textOf(own) ?? [resource, field, code].filter(textOf).join(" ");
  });
  return [textOf(message) ?? "", ...details].filter((part) => part !== "").join(": ");
}

/** An answer that has the form of `schema`. Throws `malformed`. */
export function shaped<T>(schema: z.ZodType<T>, route: string, data: unknown): T {
  const parsed = schema.safeParse(data);
  if (parsed.success) return parsed.data;
  throw malformed(route);
}

export function malformed(route: string): ForgeError {
  return new ForgeError("malformed", `GitHub's answer to ${route} does not have its form`);
}

export function closedError(): ForgeError {
  return new ForgeError("unavailable", "The connection to GitHub was closed");
}

/** The answer in an error of octokit; null: there was none. */
export function answerIn(thrown: unknown): Refusal | null {
  if (!(thrown instanceof Error)) return null;
  const response = objectOf(Reflect.get(thrown, "response"));
  const { status, headers, data } = response;
  if (typeof status !== "number" || !isObject(headers)) return null;
  return { status, headers: headers as Refusal["headers"], data };
}

/** What is left of an hour, of requests or of points. */
export interface GithubBudget {
  readonly limit: number;
  readonly remaining: number;
  /** Until it is whole again, by GitHub's clock, ms. */
  readonly resetMs: number;
}

/** As the headers of an answer say it; null: they do not, as those of a server without limits. */
export function budgetIn({ headers }: Refusal): GithubBudget | null {
  const told = (name: string) => Number(headers[`x-ratelimit-${name}`] ?? Number.NaN);
  const [limit, remaining] = [told("limit"), told("remaining")];
  if (!(limit > 0 && remaining >= 0)) return null;
  const resetMs = told("reset") * 1_000 - Date.parse(String(headers["date"] ?? ""));
  return { limit, remaining, resetMs: Math.max(resetMs, 0) || 0 };
}
