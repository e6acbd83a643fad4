import type { Clock } from "../../clock.ts";
import { type ErrorCode, SymphonyError } from "../../model/errors.ts";
import {
  budgetFrom,
  type LinearBudget,
  longestWaitMs,
  refillMs,
  unknownBudget,
  waitAfterRefusalMs,
} from "./budget.ts";
import { requireReachable } from "./destination.ts";
import {
  isRateLimited,
  type Redact,
  type Refusal,
  redactorOf,
  refusalError,
  refusalOf,
  transportError,
} from "./failures.ts";

/** One request as it ended, for metrics. */
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
  /** The `Authorization` header, asked for at each request. */
  readonly authorization: () => string;
  /** Longest time for one request, its answer included. */
  readonly timeoutMs?: number;
  readonly onRequest?: (outcome: RequestOutcome) => void;
}

export interface LinearRequest {
  /** For metrics; sent only as part of the document. */
  readonly operation: string;
  readonly document: string;
  readonly variables: Readonly<Record<string, unknown>>;
}

/** What came back: data, or a refusal with its error. */
export type LinearAnswer =
  | { readonly ok: true; readonly data: unknown; readonly complexity: number }
  | { readonly ok: false; readonly refusal: Refusal; readonly error: SymphonyError };

const defaultTimeoutMs = 30_000;
const retryDelaysMs = [500, 2_000];
/** A shorter wait for the rate limit is slept through; a longer one is a refusal of our own. */
const longestSilentWaitMs = 10_000;

/** GraphQL over @linear/sdk with what the SDK leaves out: time limits, retries, the rate limit, typed errors. */
export class LinearClient {
  readonly #options: LinearClientOptions;
  readonly #timeoutMs: number;
  readonly #closed = new AbortController();
  #budget = unknownBudget;
  #notBefore = Number.NEGATIVE_INFINITY;

  constructor(options: LinearClientOptions) {
    this.#options = options;
    this.#timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  }

  get budget(): LinearBudget {
    return this.#budget;
  }

  /** The data of a query. Network errors, timeouts and server errors are tried three times in all. */
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

  /** The data of a mutation, sent once: after a broken connection nobody knows whether it was carried out. */
  async write(request: LinearRequest): Promise<unknown> {
    return (await this.#once(request)).data;
  }

  /**
   * Sends anything once, with a header of the caller's, and outlives `close`: live agent sessions keep their
   * tools. Rejects only when there was no answer; `missing_linear_api_token` is the caller's.
   */
  execute(request: LinearRequest, authorization: string): Promise<LinearAnswer> {
    return this.#send(request, { authorization, signal: new AbortController().signal });
  }

  /** Ends the reads and writes under way; their callers get `tracker_request`. */
  close(): void {
    this.#closed.abort();
  }

  async #once(request: LinearRequest): Promise<{ data: unknown; complexity: number }> {
    const authorization = this.#options.authorization();
    const answer = await this.#send(request, { authorization, signal: this.#closed.signal });
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

  /** The SDK takes 57 ms to load, so it is loaded by the first request and never on the way to `--help`. */
  async #post(request: LinearRequest, how: How): Promise<LinearAnswer> {
    const { LinearError, LinearGraphQLClient } = await import("@linear/sdk");
    await requireReachable(this.#options.endpoint);
    const redact = redactorOf(how.authorization);
    // Not AbortSignal.timeout: AbortSignal.any holds its sources weakly, and a collected one never fires.
    const late = new AbortController();
    const expire = () => late.abort(new DOMException("no answer in time", "TimeoutError"));
    const timer = setTimeout(expire, this.#timeoutMs);
    const client = new LinearGraphQLClient(this.#options.endpoint, {
      headers: { authorization: how.authorization, "user-agent": "symphony" },
      // A redirect could carry the key to a host that nobody chose.
      redirect: "error",
      signal: AbortSignal.any([late.signal, how.signal]),
    });
    try {
      const answer = await client.rawRequest(request.document, { ...request.variables });
      this.#learn(answer.headers ?? new Headers());
      return { ok: true, data: answer.data, complexity: this.#budget.lastComplexity ?? 0 };
    } catch (cause) {
      if (how.signal.aborted) throw closedError();
      if (cause instanceof LinearError) return this.#refused(refusalOf(cause), redact);
      throw transportError(cause, this.#timeoutMs, redact);
    } finally {
      clearTimeout(timer);
    }
  }

  #refused(refusal: Refusal, redact: Redact): LinearAnswer {
    const { clock } = this.#options;
    const told = this.#learn(refusal.headers);
    const error = refusalError(refusal, redact);
    if (!isRateLimited(refusal)) return { ok: false, refusal, error };
    const waitMs = waitAfterRefusalMs(refusal.headers, told, clock.wall());
    this.#notBefore = Math.max(this.#notBefore, clock.now() + waitMs);
    return { ok: false, refusal, error: rateLimited(waitMs, error.details) };
  }

  /** Keeps what the answer says of the budget, and gives back only that: what was empty then may be full by now. */
  #learn(headers: Headers): LinearBudget {
    this.#budget = budgetFrom(headers, this.#budget);
    const { lastComplexity } = this.#budget;
    const told = budgetFrom(headers, { ...unknownBudget, lastComplexity });
    const waitMs = Math.min(refillMs(told), longestWaitMs);
    if (waitMs > 0) this.#notBefore = this.#options.clock.now() + waitMs;
    return told;
  }

  async #respectRateLimit(signal: AbortSignal): Promise<void> {
    const waitMs = Math.ceil(this.#notBefore - this.#options.clock.now());
    if (waitMs <= 0) return;
    if (waitMs > longestSilentWaitMs) throw rateLimited(waitMs, {});
    await this.#pause(waitMs, signal);
  }

  #pause(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(closedError());
      const stop = () => {
        cancel();
        reject(closedError());
      };
      const cancel = this.#options.clock.after(ms, () => {
        signal.removeEventListener("abort", stop);
        resolve();
      });
      signal.addEventListener("abort", stop, { once: true });
    });
  }
}

interface How {
  readonly authorization: string;
  readonly signal: AbortSignal;
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
