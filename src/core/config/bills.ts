import { addTokens, noTokens, type Tokens } from "../model/attempt.ts";
import type { UsageRow } from "../store/store.ts";
import type { Price, UsageConfig } from "./agents.ts";

/** Tokens and their cost. */
export interface Bill {
  readonly tokens: Tokens;
  /** null when a model in this row has no price. */
  readonly cost: number | null;
  readonly unpriced: readonly string[];
}

/** The rows of each key, merged and priced: days in their order, all others most tokens first. */
export function billsOf(
  rows: readonly UsageRow[],
  { prices }: UsageConfig,
): ReadonlyMap<string, Bill> {
  const bills = new Map<string, Bill>();
  for (const row of rows) {
    bills.set(row.key, joined(bills.get(row.key) ?? nothing, billOf(row, prices)));
  }
  return bills;
}

export function sumOf(bills: Iterable<Bill>): Bill {
  return [...bills].reduce(joined, nothing);
}

const nothing: Bill = { tokens: noTokens, cost: 0, unpriced: [] };
const million = 1_000_000;

function billOf({ model, tokens }: UsageRow, prices: UsageConfig["prices"]): Bill {
  const price = model === null ? undefined : prices.get(model);
  if (tokens.total === 0) return { tokens, cost: 0, unpriced: [] };
  if (!price) return { tokens, cost: null, unpriced: [model ?? "default"] };
  return { tokens, cost: costOf(tokens, price), unpriced: [] };
}

/** Cached input is part of the input, and reasoning part of the output, as the providers count them. */
function costOf({ input, cachedInput, output }: Tokens, price: Price): number {
  const fresh = Math.max(input - cachedInput, 0);
  return (fresh * price.input + cachedInput * price.cachedInput + output * price.output) / million;
}

function joined(a: Bill, b: Bill): Bill {
  return {
    tokens: addTokens(a.tokens, b.tokens),
    cost: a.cost === null || b.cost === null ? null : a.cost + b.cost,
    unpriced: [...new Set([...a.unpriced, ...b.unpriced])],
  };
}
