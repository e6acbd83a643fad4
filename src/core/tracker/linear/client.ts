import type { LinearError } from "@linear/sdk";
import { tooLargeIn, wholeText } from "../../answers.ts";
import { type Clock, pause } from "../../clock.ts";
import { type ErrorCode, SymphonyError } from "../../model/errors.ts";
import { outbound } from "../../outbound.ts";
import { isRecord, listOf } from "../normalize.ts";
import {
  budgetFrom,
  type LinearBudget,
  longestWaitMs,
  type PassCost,
  refillMs,
  unknownBudget,
  waitAfterRefusalMs,
} from "./budget.ts";
import { requireReachable } from "./settings.ts";

/** The outcome of one request, for metrics. */
export interface RequestOutcome {
  /** Name of the GraphQL operation, such as `SymphonyCandidates`. */
  readonly operation: string;
  readonly outcome: "ok" | ErrorCode;
  readonly durationMs: number;
  readonly budget: LinearBudget;
}

export interface LinearClientOptions {
  readonly endpoint: string;
  readonly clock: Clock;
  /** The `Authorization` header, read for each request. */
  readonly authorization: () => string;
  /** Longest time for one request, including its response. */
  readonly timeoutMs?: number;
  readonly onRequest?: (outcome: RequestOutcome) => void;
}

export interface LinearRequest {
  /** For metrics; sent only as part of the document. */
  readonly operation: string;
  readonly document: string;
  readonly variables: Readonly<Record<string, unknown>>;
}

/** A response: data, or a refusal with its error. */
export type LinearAnswer =
  | { readonly ok: true; readonly data: unknown; readonly complexity: number }
  | { readonly ok: false; readonly refusal: Refusal; readonly error: SymphonyError };

const defaultTimeoutMs = 30_000;
const impatientMs = 10_000;
const retryDelaysMs = [500, 2_000];
/** A shorter wait for the rate limit is slept through; a longer one is refused without a request. */
const longestSilentWaitMs = 10_000;

/** GraphQL over @linear/sdk with what the SDK lacks: time limits, retries, the rate limit, typed errors. */
export class LinearClient {
  readonly #options: LinearClientOptions;
  readonly #timeoutMs: number;
  readonly #closed = new AbortController();
  #budget = unknownBudget;
  #spent: PassCost = { requests: 0, complexity: 0 };
  #notBefore = Number.NEGATIVE_INFINITY;

  constructor(options: LinearClientOptions) {
    this.#options = options;
    this.#timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  }

  get budget(): LinearBudget {
    return this.#budget;
  }

  /** What all requests so far have cost, as far as Linear said so. */
  get spent(): PassCost {
    return this.#spent;
  }

  /** The data of a query. After network errors, timeouts and server errors it is retried, up to three tries in all. */
  async read(request: LinearRequest): Promise<{ data: unknown; complexity: number }> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#once(request);
      } catch (error) {
        const delayMs = retryDelaysMs[attempt];
        const retryable = error instanceof SymphonyError && error.details["retryable"] === true;
        if (delayMs === undefined || !retryable) throw error;
        await this.#pause(delayMs, this.#closed.signal);
      }
    }
  }

  /** The data of a query that a person waits for: sent once, and within 10 s. */
  async readOnce(request: LinearRequest): Promise<{ data: unknown; complexity: number }> {
    return this.#once(request, Math.min(impatientMs, this.#timeoutMs));
  }

  /** The data of a mutation, sent once: after a broken connection its outcome is unknown. */
  async write(request: LinearRequest): Promise<unknown> {
    return (await this.#once(request)).data;
  }

  /**
   * Sends any document once, with a header of the caller's, and outlives `close`: live agent sessions keep their
   * tools. Rejects only when there was no response; `missing_tracker_secret` comes from the caller.
   */
  execute(request: LinearRequest, authorization: string): Promise<LinearAnswer> {
    const { signal } = new AbortController();
    return this.#send(request, { authorization, signal, timeoutMs: this.#timeoutMs });
  }

  /** Ends the running reads and writes; their callers get `tracker_request`. */
  close(): void {
    this.#closed.abort();
  }

  async #once(
    request: LinearRequest,
    timeoutMs = this.#timeoutMs,
  ): Promise<{ data: unknown; complexity: number }> {
    const authorization = this.#options.authorization();
    const how = { authorization, signal: this.#closed.signal, timeoutMs };
    const answer = await this.#send(request, how);
    if (!answer.ok) throw answer.error;
    return answer;
  }

  async #send(request: LinearRequest, how: How): Promise<LinearAnswer> {
    await this.#respectRateLimit(how.signal);
    if (how.signal.aborted) throw closedError();
    const startedAt = this.#options.clock.now();
    const report = (outcome: RequestOutcome["outcome"]) =>
      this.#options.onRequest?.({
        operation: request.operation,
        outcome,
        durationMs: this.#options.clock.now() - startedAt,
        budget: this.#budget,
      });
    try {
      const answer = await this.#post(request, how);
      report(answer.ok ? "ok" : answer.error.code);
      return answer;
    } catch (error) {
      report(error instanceof SymphonyError ? error.code : "tracker_request");
      throw error;
    }
  }

  /** The SDK takes 57 ms to load, so it is loaded by the first request and never for `--help`. */
  async #post(request: LinearRequest, how: How): Promise<LinearAnswer> {
    const sdk = await import("@linear/sdk");
    await requireReachable(this.#options.endpoint);
    const redact = redactorOf(how.authorization);
    // Not AbortSignal.timeout: AbortSignal.any holds its sources weakly, and a collected one never fires.
    const late = new AbortController();
    const expire = () => late.abort(new DOMException("no answer in time", "TimeoutError"));
    const timer = setTimeout(expire, how.timeoutMs);
    const signal = AbortSignal.any([late.signal, how.signal]);
    try {
      const { endpoint } = this.#options;
      const answer = await sdkRequest(sdk, request, { ...how, endpoint, signal });
      this.#learn(answer.headers);
      return { ok: true, data: answer.data, complexity: this.#budget.lastComplexity ?? 0 };
    } catch (cause) {
      if (how.signal.aborted) throw closedError();
      if (cause instanceof sdk.LinearError) return this.#refused(refusalOf(cause), redact);
      throw transportError(cause, how.timeoutMs, redact);
    } finally {
      clearTimeout(timer);
    }
  }

  #refused(refusal: Refusal, redact: Redact): LinearAnswer {
    const { clock } = this.#options;
    const reported = this.#learn(refusal.headers);
    const error = refusalError(refusal, redact);
    if (!isRateLimited(refusal)) return { ok: false, refusal, error };
    const waitMs = waitAfterRefusalMs(refusal.headers, reported, clock.wall());
    this.#notBefore = Math.max(this.#notBefore, clock.now() + waitMs);
    return { ok: false, refusal, error: rateLimited(waitMs, error.details) };
  }

  /** Records what the response says about the budget, and returns only that: earlier values may be out of date. */
  #learn(headers: Headers): LinearBudget {
    this.#budget = budgetFrom(headers, this.#budget);
    const { requests, complexity } = this.#spent;
    const cost = Number(headers.get("x-complexity") ?? 0) || 0;
    this.#spent = { requests: requests + 1, complexity: complexity + cost };
    const { lastComplexity } = this.#budget;
    const reported = budgetFrom(headers, { ...unknownBudget, lastComplexity });
    const waitMs = Math.min(refillMs(reported), longestWaitMs);
    if (waitMs > 0) this.#notBefore = this.#options.clock.now() + waitMs;
    return reported;
  }

  async #respectRateLimit(signal: AbortSignal): Promise<void> {
    const waitMs = Math.ceil(this.#notBefore - this.#options.clock.now());
    if (waitMs <= 0) return;
    if (waitMs > longestSilentWaitMs) throw rateLimited(waitMs, {});
    await this.#pause(waitMs, signal);
  }

  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    await pause(this.#options.clock, ms, signal).catch(() => {
      throw closedError();
    });
  }
}

type Sdk = Pick<typeof import("@linear/sdk"), "GraphQLClientError" | "parseLinearError">;

/** As `rawRequest` of the SDK, which can only use `fetch`; the errors are the SDK's own. */
async function sdkRequest(
  { GraphQLClientError, parseLinearError }: Sdk,
  { document: query, variables }: LinearRequest,
  { endpoint, authorization, signal }: How & { readonly endpoint: string },
): Promise<{ readonly data: unknown; readonly headers: Headers }> {
  const order: RequestInit = {
    method: "POST",
    headers: { "content-type": "application/json", authorization, "user-agent": "symphony" },
    body: JSON.stringify({ query, variables }),
    // A redirect could carry the key to a host that was not configured.
    redirect: "error",
    signal,
  };
  const response = await outbound(endpoint, order, "tracker");
  const { status, headers } = response;
  const isJson = headers.get("content-type")?.startsWith("application/json") === true;
  const from = { host: new URL(endpoint).host, kind: "tracker" } as const;
  const text = await wholeText(response.body, from);
  const result: unknown = isJson ? JSON.parse(text) : text;
  const facts = isRecord(result) ? result : typeof result === "string" ? { error: result } : {};
  const { errors, data } = facts as { readonly errors?: unknown; readonly data?: unknown };
  if (response.ok && !errors && data) return { data, headers };
  throw parseLinearError(
    new GraphQLClientError({ ...facts, status, headers }, { query, variables: { ...variables } }),
  );
}

interface How {
  readonly authorization: string;
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
}

function rateLimited(waitMs: number, details: Readonly<Record<string, unknown>>): SymphonyError {
  const seconds = Math.ceil(waitMs / 1_000);
  const message = `Linear's rate limit is reached; asking again in ${seconds} s`;
  return new SymphonyError("tracker_rate_limited", message, {
    details: { ...details, retryable: false, retryAfterMs: waitMs },
  });
}

function closedError(): SymphonyError {
  return new SymphonyError("tracker_request", "The connection to Linear was closed", {
    details: { retryable: false },
  });
}

/** A response of Linear that is not plain success. */
interface Refusal {
  readonly status: number;
  readonly headers: Headers;
  readonly errors: readonly unknown[];
  readonly data: unknown;
  /** The body, if it was not JSON. */
  readonly text: string | null;
}

/** Removes one secret from any text that is about to leave the adapter. */
type Redact = (text: string) => string;

const longestBodyBytes = 1_000;
const longestMessage = 300;

export function redactorOf(authorization: string): Redact {
  const token = authorization.replace(/^Bearer /, "");
  return (text) => text.replaceAll(token, "[redacted]");
}

/** What the SDK keeps of the response inside the error that it throws. */
function refusalOf(error: LinearError): Refusal {
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
function isRateLimited(refusal: Refusal): boolean {
  return (
    refusal.status === 429 ||
    refusal.errors.some((error) => {
      const { type, code } = extensionsOf(error);
      return type === "ratelimited" || code === "RATELIMITED";
    })
  );
}

/** `tracker_rate_limited`, `tracker_status` (not 200) or `tracker_response` (requirement L-12). */
function refusalError(refusal: Refusal, redact: Redact): SymphonyError {
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
  const [code, message] = verdict(refusal);
  const hint = status === 401 ? { hint: "Check the Linear API key" } : {};
  return new SymphonyError(code, said === "" ? message : `${message}: ${said}`, {
    details,
    ...hint,
  });
}

function verdict(refusal: Refusal): readonly [ErrorCode, string] {
  const { status, errors, text } = refusal;
  if (isRateLimited(refusal)) return ["tracker_rate_limited", "Linear's rate limit is reached"];
  if (status === 401) return ["tracker_status", "Linear did not accept the API key (HTTP 401)"];
  if (status === 403) return ["tracker_status", "Linear does not permit this (HTTP 403)"];
  if (status !== 200) return ["tracker_status", `Linear answered with HTTP ${status}`];
  if (errors.length > 0) return ["tracker_response", "Linear answered with an error"];
  if (text !== null) return ["tracker_response", "Linear's answer is not JSON"];
  return ["tracker_response", "Linear's answer holds no data"];
}

/** An error thrown before there was a response, or while it was read. */
function transportError(cause: unknown, timeoutMs: number, redact: Redact): SymphonyError {
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
