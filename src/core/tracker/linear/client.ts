import { wholeText } from "../../answers.ts";
import { type Clock, ClockGap, pause } from "../../clock.ts";
import { type ErrorCode, SymphonyError } from "../../model/errors.ts";
import { outbound } from "../../outbound.ts";
import { isRecord } from "../normalize.ts";
import {
  budgetFrom,
  type LinearBudget,
  longestWaitMs,
  type PassCost,
  refillMs,
  unknownBudget,
  waitAfterRefusalMs,
} from "./budget.ts";
import {
  closedError,
  isRateLimited,
  type Redact,
  type Refusal,
  rateLimited,
  redactorOf,
  refusalError,
  refusalOf,
  transportError,
} from "./refusal.ts";
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
  readonly authorization: () => string | Promise<string>;
  /** After a 401: whether another value of it is worth one more try. */
  readonly recover?: ((authorization: string) => boolean) | undefined;
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
const pageGrowthMs = 1_800_000;
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
  readonly gap: ClockGap;
  #pageLimit = Number.POSITIVE_INFINITY;
  #pageGrowsAt = Number.POSITIVE_INFINITY;
  #notBefore = Number.NEGATIVE_INFINITY;

  constructor(options: LinearClientOptions) {
    this.#options = options;
    this.gap = new ClockGap(options.clock);
    this.#timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  }

  get budget(): LinearBudget {
    return this.#budget;
  }

  /** What all requests so far have cost, as far as Linear said so. */
  get spent(): PassCost {
    return this.#spent;
  }

  /** Issues on a page at most: fewer once Linear has refused a page as too large. Twice as many are tried each half hour. */
  get pageLimit(): number {
    const now = this.#options.clock.now();
    if (now >= this.#pageGrowsAt) {
      this.#pageLimit *= 2;
      this.#pageGrowsAt = now + pageGrowthMs;
    }
    return this.#pageLimit;
  }

  /** Linear has refused a page of so many issues. */
  refusedPage(first: number): void {
    this.#pageLimit = Math.min(this.#pageLimit, Math.floor(first / 2));
    this.#pageGrowsAt = this.#options.clock.now() + pageGrowthMs;
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
  execute(request: LinearRequest, authorization: () => string | Promise<string>) {
    const { signal } = new AbortController();
    return this.#authorized(request, authorization, { signal, timeoutMs: this.#timeoutMs });
  }

  /** Ends the running reads and writes; their callers get `tracker_request`. */
  close(): void {
    this.#closed.abort();
  }

  async #once(
    request: LinearRequest,
    timeoutMs = this.#timeoutMs,
  ): Promise<{ data: unknown; complexity: number }> {
    const how = { signal: this.#closed.signal, timeoutMs };
    const answer = await this.#authorized(request, this.#options.authorization, how);
    if (!answer.ok) throw answer.error;
    return answer;
  }

  /** What Linear does not accept was not done, so that a write too may be sent again. */
  async #authorized(
    request: LinearRequest,
    authorizationOf: () => string | Promise<string>,
    how: Omit<How, "authorization">,
  ): Promise<LinearAnswer> {
    const authorization = await authorizationOf();
    const answer = await this.#send(request, { ...how, authorization });
    const isRefused = !answer.ok && answer.refusal.status === 401;
    if (!isRefused || !this.#options.recover?.(authorization)) return answer;
    return this.#send(request, { ...how, authorization: await authorizationOf() });
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
      const sentAt = this.#options.clock.wall();
      const answer = await sdkRequest(sdk, request, { ...how, endpoint, signal });
      this.gap.learn(answer.headers.get("date"), sentAt);
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
    const { clock, recover } = this.#options;
    const reported = this.#learn(refusal.headers);
    const error = refusalError(refusal, redact, recover !== undefined);
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
