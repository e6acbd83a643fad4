import type { Clock } from "../clock.ts";
import { ForgeError } from "../model/forge-error.ts";
import { budgetIn, type GithubBudget, isUntimed, type Refusal } from "./answers.ts";

/** GitHub counts the two separately. */
export type Api = "rest" | "graphql";

interface Known {
  readonly budget: GithubBudget;
  /** The end of its hour. */
  readonly until: number;
}

/**
 * What GitHub has said about its limits: the budget of the hour, and a time before which nothing may be sent. Going on
 * after a limit can get the account banned, so it is remembered.
 */
export class RateLimits {
  readonly #clock: Clock;
  readonly #notBefore: Record<Api, number> = { rest: 0, graphql: 0 };
  readonly #budgets: Record<Api, Known | null> = { rest: null, graphql: null };
  /** Requests that count: a 304 does not. */
  readonly spent: Record<Api, number> = { rest: 0, graphql: 0 };
  /** Refusals by a limit in a row that gave no time. */
  untimed = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** null: GitHub has not said since the hour began, or has no limit. */
  budget(api: Api): GithubBudget | null {
    const known = this.#budgets[api];
    return known !== null && this.#clock.now() < known.until ? known.budget : null;
  }

  /** A request was answered. */
  passed(): void {
    this.untimed = 0;
  }

  /** Counts one request, and returns the budget after it. `answer` null: there was none. */
  count(api: Api, answer: Refusal | null): GithubBudget | null {
    if (answer?.status !== 304) this.spent[api] += 1;
    const budget = answer && budgetIn(answer);
    // An answer without the time of the reset is used until the next one.
    if (budget) {
      const until = this.#clock.now() + (budget.resetMs || Number.POSITIVE_INFINITY);
      this.#budgets[api] = { budget, until };
    }
    return this.budget(api);
  }

  /** Remembers the time that a refusal by a limit gives, and returns the error as it is. */
  learned(error: ForgeError, refusal: Refusal, api: Api): ForgeError {
    if (error.category !== "rate_limited" || error.retryAt === null) return error;
    const until = this.#clock.now() + error.retryAt - this.#clock.wall();
    const isPrimary = String(refusal.headers["x-ratelimit-remaining"]) === "0";
    // The two budgets are separate; a secondary limit is common to both.
    for (const one of isPrimary ? [api] : (["rest", "graphql"] as const)) {
      this.#notBefore[one] = Math.max(this.#notBefore[one], until);
    }
    if (isUntimed(refusal)) this.untimed++;
    return error;
  }

  /** Throws `rate_limited`, with the time, while nothing may be sent. */
  require(api: Api): void {
    const waitMs = Math.ceil(this.#notBefore[api] - this.#clock.now());
    if (waitMs <= 0) return;
    const message = `GitHub's rate limit is reached; asking again in ${Math.ceil(waitMs / 1_000)} s`;
    throw new ForgeError("rate_limited", message, { retryAt: this.#clock.wall() + waitMs });
  }
}
