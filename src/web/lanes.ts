import type { z } from "zod";
import type { Snapshot } from "../contract/system.ts";
import { ago, distance, firstOf, thousands, words } from "./words.ts";

// What the page and `symphony watch` show of the state, in the same lanes, order and words.

export type State = z.output<typeof Snapshot>;
type Lists = Pick<
  State,
  "blocked" | "running" | "review" | "queued" | "retrying" | "held" | "failed" | "completed"
>;
export type Row = Lists[keyof Lists][number];
export type BlockedRow = State["blocked"][number];

export type LaneName = "needs" | "running" | "review" | "queued" | "held" | "done";

export interface Lane {
  readonly name: LaneName;
  readonly title: string;
  readonly count: number;
  readonly rows: readonly Row[];
}

/** First what needs a person. Rows beyond what the server sent are counted, and not in `rows`. */
export function lanesOf(state: State, now: number): readonly Lane[] {
  const { counts } = state;
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  const done = state.completed.filter(({ ended_at: at }) => Date.parse(at) >= midnight);
  return [
    { name: "needs", title: "Needs you", count: counts.blocked, rows: state.blocked },
    { name: "running", title: "Running", count: counts.running, rows: state.running },
    { name: "review", title: "Waiting for review", count: counts.review, rows: state.review },
    {
      name: "queued",
      title: "Queued",
      count: counts.queued + counts.retrying,
      rows: [...state.retrying, ...state.queued],
    },
    {
      name: "held",
      title: "Held or failed",
      count: counts.held + counts.failed,
      rows: [...state.failed, ...state.held],
    },
    { name: "done", title: "Done today", count: done.length, rows: done },
  ];
}

/** The other issues whose branches git cannot merge with that of each issue. */
export function conflictsIn({
  conflicts,
}: Pick<State, "conflicts">): ReadonlyMap<string, readonly string[]> {
  const others = new Map<string, string[]>();
  for (const { first, second } of conflicts) {
    for (const [one, other] of [
      [first, second],
      [second, first],
    ] as const) {
      const known = others.get(one.issue_identifier) ?? [];
      others.set(one.issue_identifier, [...known, other.issue_identifier]);
    }
  }
  return others;
}

const othersNamed = 2;

/** Of one issue, and nothing where it conflicts with none. */
export function conflictWords(others: readonly string[] | undefined): string {
  return others === undefined ? "" : `conflicts with ${firstOf(others, othersNamed)}`;
}

/** The command that continues an issue, where a person has to. */
export function nextOf(row: Row): string | null {
  return "next" in row ? row.next : null;
}

/** What a row says about its issue. */
export interface Words {
  /** What it does now, or waits for. */
  readonly what: string;
  readonly fault: string | null;
  /** Times and figures. */
  readonly about: string;
}

export function wordsOf(row: Row, now: number): Words {
  const said = (what: string, about: string, fault: string | null = null) => ({
    ...{ what, about, fault },
  });
  if ("needs" in row) {
    return said(row.needs.prompt, `${row.needs.kind} asked ${ago(row.needs.since, now)}`);
  }
  if ("turn_count" in row) {
    const model = row.model === null ? "" : ` · ${row.model}`;
    const host = row.worker_host ? ` on ${row.worker_host}` : "";
    const tokens = `${thousands(row.tokens.total_tokens)} tokens`;
    return said(
      row.stopping ?? row.last_message ?? words(row.last_event ?? row.phase),
      `${row.agent}${model}${host} · ${words(row.phase)} · ${tokens} · began ${ago(row.started_at, now)}`,
    );
  }
  if ("due_at" in row) {
    return said(
      row.error ?? "tried again",
      `retry ${row.attempt}, due ${distance(row.due_at, now)}`,
    );
  }
  if ("waiting_for" in row) return said(row.waiting_for, "");
  if ("reason" in row) {
    return said(row.reason, `${row.status} ${ago(row.since, now)}`, row.error);
  }
  if ("outcome" in row) {
    const tokens = `${thousands(row.tokens.total_tokens)} tokens`;
    return said(words(row.outcome), `${tokens} · ${ago(row.ended_at, now)}`);
  }
  const { delivery, since } = row;
  const what = delivery === null ? "waits for a person" : (delivery.problem ?? delivery.summary);
  return said(what, ago(since, now));
}

/** Whether a search for `text` finds the issue. */
export function matches(row: Row, text: string): boolean {
  const { issue_identifier: issue, title, state, labels } = row;
  const all = `${issue} ${title} ${state} ${labels.join(" ")}`;
  return all.toLowerCase().includes(text.trim().toLowerCase());
}
