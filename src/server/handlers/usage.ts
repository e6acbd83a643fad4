import type { Api } from "../../contract/api.ts";
import type { Core } from "../../core/core.ts";
import { type Bill, billsOf, sumOf } from "../../core/usage.ts";
import type { Handlers } from "../mount.ts";
import { tokensView } from "../views.ts";

/** Counted from the history at each request, so nothing can be stale. */
export function usageHandlers(core: Core): Handlers<Api["usage"]> {
  return {
    list({ query }) {
      const { by, since, until, issue, limit, offset } = query;
      const { usage } = core.config.current.config;
      const rows = core.history.usage({
        group: by,
        ...(since !== undefined && { since }),
        ...(until !== undefined && { until }),
        ...(issue !== undefined && { issue }),
      });
      const bills = [...billsOf(rows, usage)];
      if (by !== "day") bills.sort(([, a], [, b]) => b.tokens.total - a.tokens.total);
      return {
        by,
        currency: usage.currency,
        rows: bills
          .slice(offset, offset + limit)
          .map(([key, bill]) => ({ key, ...billView(bill) })),
        sum: billView(sumOf(bills.map(([, bill]) => bill))),
        total: bills.length,
        limit,
        offset,
      };
    },
  };
}

function billView({ tokens, cost, unpriced }: Bill) {
  return { tokens: tokensView(tokens), cost, unpriced_models: [...unpriced] };
}
