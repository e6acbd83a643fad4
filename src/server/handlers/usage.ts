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
      const isOfIssues = by === "outcome" || by === "label";
      const rows = core.history.usage({
        group: isOfIssues ? "agent" : by,
        byIssue: isOfIssues || isSplit,
        ...(since !== undefined && { since }),
        ...(until !== undefined && { until }),
        ...(issue !== undefined && { issue }),
      });
      // An empty table must not look like an answer about an issue that does not exist.
      if (rows.length === 0 && issue !== undefined) await findIssueId(core, issue);
      const keysOf = keysBy(core, { by, isSplit });
      const keyed = rows.flatMap((row) => keysOf(row).map((key) => ({ ...row, key })));
      const bills = [...billsOf(keyed, usage)];
      if (by !== "day") bills.sort(([, a], [, b]) => b.tokens.total - a.tokens.total);
      return {
        by,
        currency: usage.currency,
        rows: bills.slice(offset, offset + limit).map(([joined, bill]) => {
          const { key, outcome } = parted(joined);
          return { key, outcome, ...billView(bill) };
        }),
        // Not of the bills: an issue counts in the row of each of its labels.
        sum: billView(sumOf(billsOf(rows, usage).values())),
        total: bills.length,
        limit,
        offset,
      };
    },
  };
}

const unknownLabel = "unknown label";
/** No name has it. */
const separator = "\u0000";

/** The keys of a row, several for the labels of its issue; with `isSplit`, and the outcome of its issue. */
function keysBy(
  core: Core,
  { by, isSplit }: { readonly by: string; readonly isSplit: boolean },
): (row: UsageRow) => readonly string[] {
  const known = new Map<string, Outcome>();
  const outcome = ({ issue }: UsageRow): Outcome => {
    if (issue === undefined) return "unknown";
    const found = known.get(issue.id) ?? outcomeOf(issue, core);
    known.set(issue.id, found);
    return found;
  };
  return (row) => {
    const names = by === "label" ? labelsOf(row, core) : null;
    const keys = names ?? [by === "outcome" ? outcome(row) : row.key];
    return isSplit ? keys.map((key) => `${key}${separator}${outcome(row)}`) : keys;
  };
}

/** The labels of a row's issue as last read: from memory, else as they were when its work was offered. */
function labelsOf({ issue }: UsageRow, { deliveries, orchestrator }: Core): readonly string[] {
  if (issue === undefined) return [unknownLabel];
  const known = orchestrator.statusOf(issue.identifier)?.issue ?? deliveries.of(issue.id)?.issue;
  if (known === undefined) return [unknownLabel];
  return known.labels.length === 0 ? [""] : [...new Set(known.labels)];
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
  // A pushed branch without a pull request ends with its issue too, merged or not.
  if (isOver && delivery.pushed !== null && delivery.merged === delivery.pushed) return "merged";
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
