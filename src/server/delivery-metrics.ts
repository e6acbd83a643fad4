import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import type { Core } from "../core/core.ts";
import type { SymphonyEvent } from "../core/model/event.ts";

const hour = 3_600;
const mergeBuckets = [1, 2, 4, 8, 24, 48, 72, 168, 336, 720].map((hours) => hours * hour);

const pullRequestEvents: Readonly<Record<string, string>> = {
  "pull_request.opened": "opened",
  "pull_request.merged": "merged",
  "pull_request.closed": "closed",
};

/** The metrics of delivered work. Returns what counts an event. */
export function deliveryMetrics(registry: Registry, core: Core): (event: SymphonyEvent) => void {
  const registers = [registry];
  outboxGauge(registry, core);
  const pullRequests = new Counter({
    name: "symphony_pull_requests_total",
    help: "Pull requests that were opened, merged or closed without a merge",
    labelNames: ["event"],
    registers,
  });
  const rounds = new Counter({
    name: "symphony_feedback_rounds_total",
    help: "How often offered work went back to its agent, by whose feedback",
    labelNames: ["by"],
    registers,
  });
  const toMerge = new Histogram({
    name: "symphony_issue_to_merge_seconds",
    help: "From the issue's creation, else its first attempt, to the merge of its work",
    buckets: mergeBuckets,
    registers,
  });
  return ({ type, at, issueId, data }) => {
    const what = pullRequestEvents[type];
    // A branch that is merged without a pull request has no number.
    if (what !== undefined && data["number"] !== null) pullRequests.inc({ event: what });
    const by = type === "issue.retrying" ? data["feedback_by"] : undefined;
    if (by === "person" || by === "machine") rounds.inc({ by });
    if (type !== "pull_request.merged" || issueId === null) return;
    const since = beginningOf(issueId, core);
    if (since !== null) toMerge.observe(Math.max(at - since, 0) / 1_000);
  };
}

/** ms since the epoch; null: neither is known. */
function beginningOf(issueId: string, { deliveries, history }: Core): number | null {
  const created = deliveries.of(issueId)?.issue.createdAt ?? null;
  if (created !== null) return created;
  const { total } = history.attemptsOf(issueId, 1, 0);
  const [first] = history.attemptsOf(issueId, 1, Math.max(total - 1, 0)).attempts;
  return first?.startedAt ?? null;
}

/** Counted at each scrape. */
function outboxGauge(registry: Registry, core: Core): void {
  new Gauge({
    name: "symphony_outbox_waiting",
    help: "Writes to other systems, such as pushes and comments, that wait to be made or tried again",
    registers: [registry],
    collect() {
      this.set(core.deliveries.waiting);
    },
  });
}
