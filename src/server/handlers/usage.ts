import type { Api } from "../../contract/api.ts";
import type { outcomes } from "../../contract/system.ts";
import { type Bill, billsOf, sumOf } from "../../core/config/bills.ts";
import type { Core } from "../../core/core.ts";
import { findIssueId } from "../../core/find-issue.ts";
import type { UsageRow } from "../../core/store/store.ts";
import type { Handlers } from "../mount.ts";
import { tokensView } from "../views.ts";

type Outcome = (typeof outcomes)[number];

export function usageHandlers(core: Core): Handlers<Api["usage"]> {
  return {
    async list({ query }) {
      const { by, since, until, issue, limit, offset } = query;
      const isSplit = query.outcome === "true";
      const { usage } = core.config.current.config;
      const isByOutcome = by === "outcome";
      const rows = core.history.usage({
        group: isByOutcome ? "agent" : by,
        byIssue: isByOutcome || isSplit,
        ...(since !== undefined && { since }),
        ...(until !== undefined && { until }),
        ...(issue !== undefined && { issue }),
      });
      // An empty table must not look like an answer about an issue that does not exist.
      if (rows.length === 0 && issue !== undefined) await findIssueId(core, issue);
      const keyOf = keysBy(core, { isByOutcome, isSplit });
      const bills = [
        ...billsOf(
          rows.map((row) => ({ ...row, key: keyOf(row) })),
          usage,
        ),
      ];
      if (by !== "day") bills.sort(([, a], [, b]) => b.tokens.total - a.tokens.total);
      return {
        by,
        currency: usage.currency,
        rows: bills.slice(offset, offset + limit).map(([joined, bill]) => {
          const { key, outcome } = parted(joined);
          return { key, outcome, ...billView(bill) };
        }),
        sum: billView(sumOf(bills.map(([, bill]) => bill))),
        total: bills.length,
        limit,
        offset,
      };
    },
  };
}

/** No name has it. */
const separator = "\u0000";

/** The key of a row; with `isSplit`, and the outcome of its issue. */
function keysBy(
  core: Core,
  { isByOutcome, isSplit }: { readonly isByOutcome: boolean; readonly isSplit: boolean },
): (row: UsageRow) => string {
  const known = new Map<string, Outcome>();
  const outcome = ({ issue }: UsageRow): Outcome => {
    if (issue === undefined) return "unknown";
    const found = known.get(issue.id) ?? outcomeOf(issue, core);
    known.set(issue.id, found);
    return found;
  };
  return (row) => {
    const key = isByOutcome ? outcome(row) : row.key;
    return isSplit ? `${key}${separator}${outcome(row)}` : key;
  };
}

function parted(joined: string): { readonly key: string; readonly outcome: Outcome | null } {
  const [key = "", outcome] = joined.split(separator);
  return { key, outcome: (outcome as Outcome | undefined) ?? null };
}

/** What became of an issue up to now. */
function outcomeOf(
  { id, identifier }: NonNullable<UsageRow["issue"]>,
  { deliveries, orchestrator, history }: Core,
): Outcome {
  const delivery = deliveries.of(id);
  const pull = delivery?.pullRequest?.state;
  const isOver = delivery?.over === true && delivery.offeredAt > 0;
  if (isOver && pull === "merged") return "merged";
  if (isOver && pull === "closed") return "closed";
  // Only a merge ends a branch that was pushed without a pull request.
  if (isOver && delivery.mode === "branch" && delivery.pushed !== null) return "merged";
  const status = orchestrator.statusOf(identifier)?.status ?? null;
  if (status === "review") return "in_review";
  const isUnchanged = history.latestAttempt(id)?.status === "no_changes";
  if (isUnchanged && (status === "held" || status === null)) return "no_changes";
  if (status === "held" || status === "failed" || status === "completed") return status;
  return status === null ? "unknown" : "open";
}

function billView({ tokens, cost, unpriced }: Bill) {
  return { tokens: tokensView(tokens), cost, unpriced_models: [...unpriced] };
}
