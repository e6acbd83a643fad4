import { retryAfterMs } from "../../text/text.ts";

/** One hourly allowance. Linear refills it continuously, so there is no point in waiting for `resetAt` (an hour ahead). */
export interface Allowance {
  readonly limit: number;
  readonly remaining: number;
  /** Milliseconds since the epoch, by Linear's clock. */
  readonly resetAt: number | null;
}

/** Our rate budget according to Linear's last response; null where it has reported nothing yet. */
export interface LinearBudget {
  readonly requests: Allowance | null;
  readonly complexity: Allowance | null;
  /** The limit of the last operation, if it has its own. */
  readonly endpoint: Allowance | null;
  /** Points charged for the last query. */
  readonly lastComplexity: number | null;
}

export const unknownBudget: LinearBudget = {
  requests: null,
  complexity: null,
  endpoint: null,
  lastComplexity: null,
};

const hourMs = 3_600_000;
/** The wait when Linear refuses without giving one. */
const defaultWaitMs = 60_000;
/** Upper bound of a wait, whatever a header says: after that, one request tries again. */
export const longestWaitMs = 300_000;
/** Share of each hourly budget that full passes may use. */
const fullPassShare = 0.5;

/** Headers of https://linear.app/developers/rate-limiting; a missing header keeps its last value. */
export function budgetFrom(headers: Headers, before: LinearBudget): LinearBudget {
  return {
    requests: allowance(headers, "requests") ?? before.requests,
    complexity: allowance(headers, "complexity") ?? before.complexity,
    endpoint: allowance(headers, "endpoint-requests"),
    lastComplexity: numberOf(headers.get("x-complexity")) ?? before.lastComplexity,
  };
}

function allowance(headers: Headers, name: string): Allowance | null {
  const limit = numberOf(headers.get(`x-ratelimit-${name}-limit`));
  const remaining = numberOf(headers.get(`x-ratelimit-${name}-remaining`));
  if (limit === null || remaining === null || limit <= 0) return null;
  return { limit, remaining, resetAt: numberOf(headers.get(`x-ratelimit-${name}-reset`)) };
}

function numberOf(text: string | null): number | null {
  const value = text === null || text.trim() === "" ? Number.NaN : Number(text);
  return Number.isFinite(value) && value >= 0 ? value : null;
}

/** Milliseconds until the budget holds one more query of the last one's price; 0 if it does already. */
export function refillMs(budget: LinearBudget): number {
  return Math.max(
    refill(budget.requests, 1),
    refill(budget.endpoint, 1),
    refill(budget.complexity, budget.lastComplexity ?? 1),
  );
}

function refill(allowance: Allowance | null, need: number): number {
  if (allowance === null) return 0;
  const missing = Math.min(need, allowance.limit) - allowance.remaining;
  return missing <= 0 ? 0 : Math.ceil((missing * hourMs) / allowance.limit);
}

/** Milliseconds to send nothing to Linear after a refusal: the wait it requests, else the refill, within bounds. */
export function waitAfterRefusalMs(headers: Headers, budget: LinearBudget, wallMs: number): number {
  // Both dates come from Linear's clock, so that an error of the local clock has no effect.
  const linearWall = Date.parse(headers.get("date") ?? "");
  const wall = Number.isNaN(linearWall) ? wallMs : linearWall;
  const after = retryAfterMs(headers.get("retry-after"), wall);
  const asked = after ?? (refillMs(budget) || defaultWaitMs);
  return Math.min(Math.max(asked, 1_000), longestWaitMs);
}

/** The share of the hour's budget that is left, 0 to 1: the smaller of both; null: Linear has not said. */
export function shareLeft({ requests, complexity }: LinearBudget): number | null {
  const shares = [requests, complexity].flatMap((one) =>
    one === null ? [] : [Math.max(one.remaining, 0) / one.limit],
  );
  return shares.length === 0 ? null : Math.min(...shares);
}

/** The cost of one full pass. */
export interface PassCost {
  readonly requests: number;
  readonly complexity: number;
}

/** Below this share of an hourly budget, polls become slower. */
const scarceShare = 0.25;
/** Share of what is refilled that polls may use then. */
const pollShare = 0.5;

/** The time between polls that a budget running out asks for; null while there is enough. */
export function slowedPollMs(
  intervalMs: number,
  cost: PassCost,
  budget: LinearBudget,
): number | null {
  const slowed = (spent: number, allowance: Allowance | null) => {
    if (allowance === null) return 0;
    const left = Math.max(allowance.remaining, 0) / allowance.limit;
    if (left >= scarceShare) return 0;
    const refilledMs = (spent * hourMs) / (allowance.limit * pollShare);
    // Others spend from the same budget, so that the own cost alone does not tell how fast it goes.
    return Math.max(refilledMs, (intervalMs * scarceShare) / Math.max(left, 0.01));
  };
  const ms = Math.ceil(
    Math.min(
      Math.max(slowed(cost.requests, budget.requests), slowed(cost.complexity, budget.complexity)),
      longestWaitMs,
    ),
  );
  return ms > intervalMs ? ms : null;
}

/** Shortest time between full passes of this cost that leaves the rest of the budget to other requests. */
export function fullPassSpacingMs(cost: PassCost, budget: LinearBudget): number {
  const spacing = (spent: number, allowance: Allowance | null) =>
    allowance === null ? 0 : (spent * hourMs) / (allowance.limit * fullPassShare);
  return Math.max(
    spacing(cost.requests, budget.requests),
    spacing(cost.complexity, budget.complexity),
  );
}
