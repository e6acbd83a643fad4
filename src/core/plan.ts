import type { Config } from "./config/config.ts";
import { noTokens } from "./model/attempt.ts";
import type { Issue } from "./model/issue.ts";
import type { StorageTrouble } from "./model/storage.ts";
import { dispatchGates, queueOf, selectForDispatch } from "./orchestrator/dispatch.ts";
import { restoredState } from "./orchestrator/records.ts";
import type { IssueRecord } from "./store/store.ts";

export interface PlanRow {
  readonly issue: Issue;
  readonly runs: boolean;
  /** A gate that says no; null for what runs. */
  readonly why: string | null;
}

interface Known {
  readonly records: ReadonlyMap<string, IssueRecord>;
  readonly wall: number;
  /** Why nothing could be saved now. */
  readonly storage?: StorageTrouble | null;
}

/** What a first poll at `wall` would start, best first, and why it would leave the rest. Pure. */
export function planOf(
  issues: readonly Issue[],
  config: Config,
  { records, wall, storage = null }: Known,
): readonly PlanRow[] {
  const totals = { tokens: noTokens, seconds: 0 };
  const restored = restoredState({ records, totals, lastAttemptId: null }, { now: 0, wall });
  const queue = queueOf(issues, config.tracker);
  const state = { ...restored, candidates: issues, queue, storage };
  const selected = new Set(selectForDispatch(state, config, new Set()));
  const others = issues.filter((issue) => !queue.includes(issue));
  return [...queue, ...others].map((issue) => {
    if (selected.has(issue)) return { issue, runs: true, why: null };
    const shut = dispatchGates(issue, state, config).filter(({ pass }) => !pass);
    // Whatever a retry waits for says more than that it waits.
    const gate = shut.find((one) => one.gate !== "not_claimed") ?? shut[0];
    const why = gate ? gate.detail : "every slot is taken by an issue before it";
    return { issue, runs: false, why };
  });
}
