/** One hourly allowance. Linear refills it evenly, so its `resetAt` (an hour ahead) is not worth waiting for. */
export interface Allowance {
  readonly limit: number;
  readonly remaining: number;
  /** Milliseconds since the epoch, by Linear's clock. */
  readonly resetAt: number | null;
}

/** What Linear's last answer said about our rate budget; null where it said nothing yet. */
export interface LinearBudget {
  readonly requests: Allowance | null;
  readonly complexity: Allowance | null;
  /** The own limit of the operation asked last, where it has one. */
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
/** When Linear refuses without saying for how long. */
const defaultWaitMs = 60_000;
/** No wait is longer, whatever a header says: after that, one request asks again. */
export const longestWaitMs = 300_000;
/** How much of each hourly budget full passes may use. */
const fullPassShare = 0.5;

/** Headers of https://linear.app/developers/rate-limiting; what is missing keeps its last value. */
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

/** Milliseconds until the budget holds one more query of the last one's price; 0 when it does already. */
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

/** Milliseconds to leave Linear alone after a refusal: what it asks for, else the refill, within bounds. */
export function waitAfterRefusalMs(headers: Headers, budget: LinearBudget, wallMs: number): number {
  const asked = retryAfterMs(headers, wallMs) ?? (refillMs(budget) || defaultWaitMs);
  return Math.min(Math.max(asked, 1_000), longestWaitMs);
}

function retryAfterMs(headers: Headers, wallMs: number): number | null {
  const text = headers.get("retry-after");
  const seconds = numberOf(text);
  if (seconds !== null) return seconds * 1_000;
  const until = Date.parse(text ?? "");
  if (Number.isNaN(until)) return null;
  // Both dates from the same clock, so that our own may be wrong.
  const theirs = Date.parse(headers.get("date") ?? "");
  return Math.max(until - (Number.isNaN(theirs) ? wallMs : theirs), 0);
}

/** What one full pass took. */
export interface PassCost {
  readonly requests: number;
  readonly complexity: number;
}

/** Shortest time between full passes of this cost that leaves the rest of the budget to everything else. */
export function fullPassSpacingMs(cost: PassCost, budget: LinearBudget): number {
  const spacing = (spent: number, allowance: Allowance | null) =>
    allowance === null ? 0 : (spent * hourMs) / (allowance.limit * fullPassShare);
  return Math.max(
    spacing(cost.requests, budget.requests),
    spacing(cost.complexity, budget.complexity),
  );
}
