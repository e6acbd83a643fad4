import type { Config } from "../config/config.ts";
import { type Attempt, noTokens, type Tokens } from "../model/attempt.ts";
import type { StorageTrouble } from "../model/event.ts";
import type { Issue } from "../model/issue.ts";
import type { CompletedRecord, IssueRecord } from "../store/store.ts";
import { idleOf } from "./brakes.ts";
import { dayIndex, dispatchGates, queueOf, selectForDispatch } from "./dispatch.ts";
import type { AttemptOrder } from "./messages.ts";
import { stampOf } from "./start.ts";
import { emptyState, type Retry, type Running, type State } from "./state.ts";

/** What must outlive a restart for one issue, or null for nothing. */
export function recordOf(state: State, issueId: string): IssueRecord | null {
  const held = state.held.get(issueId);
  const failed = state.failed.get(issueId);
  const dismissed = state.dismissed.get(issueId);
  const choice = state.models.get(issueId);
  const template = state.templates.get(issueId);
  const retry = retryOf(state, issueId);
  const allowance = state.allowances.get(issueId);
  const entry = held ?? failed ?? dismissed ?? retry;
  const live = state.running.get(issueId);
  const issue = entry?.issue ?? live?.issue ?? template?.issue ?? choice?.issue ?? allowance?.issue;
  if (!issue || (!entry && !choice && !template && !allowance)) return null;
  return {
    issue,
    held: held ? { reason: held.reason, since: held.sinceWall } : null,
    failed: failed ? { reason: failed.reason, error: failed.error, since: failed.sinceWall } : null,
    retry: retry
      ? {
          attempt: retry.attempt,
          failures: retry.failures,
          dueAt: retry.dueWall,
          error: retry.error,
          waits: retry.waits?.gate === "storage" ? null : retry.waits,
        }
      : null,
    dismissed: dismissed ? { state: dismissed.state, since: dismissed.sinceWall } : null,
    model: choice?.model ?? null,
    effort: choice?.effort ?? null,
    agent: choice?.kind ?? null,
    templateId: template?.templateId ?? null,
    allowanceAfter: allowance?.after ?? null,
  };
}

/** A live attempt that is itself a retry counts as one that is due: a crash must not reset the count. */
function retryOf(state: State, issueId: string) {
  const waiting = state.retrying.get(issueId);
  if (waiting) return waiting;
  const live = state.running.get(issueId);
  if (!live || live.attempt === null || (live.stopping && live.stopping.leadsTo !== "shutdown")) {
    return null;
  }
  const { issue, attempt, failures, startedWall } = live;
  return { issue, attempt, failures, dueWall: startedWall, error: null, waits: null };
}

export interface Restored {
  readonly records: ReadonlyMap<string, IssueRecord>;
  readonly totals: { readonly tokens: Tokens; readonly seconds: number };
  readonly lastAttemptId: string | null;
  /** What an earlier server began and an agent still works on. */
  readonly adopted?: readonly Running[];
  /** For display; oldest first. */
  readonly completed?: readonly CompletedRecord[];
  /** Of all issues, in the day that it is now (UTC). */
  readonly tokensToday?: number;
}

/** The state of a fresh start: what an operator decided and what waits, and no claim of a live process. */
export function restoredState(from: Restored, clocks: { now: number; wall: number }): State {
  const state = emptyState();
  const held = new Map(state.held);
  const failed = new Map(state.failed);
  const retrying = new Map(state.retrying);
  const dismissed = new Map(state.dismissed);
  const models = new Map(state.models);
  const templates = new Map(state.templates);
  const allowances = new Map(state.allowances);
  const pauses = new Map(state.pauses);
  for (const [id, record] of from.records) {
    const { issue } = record;
    if (record.held) {
      const { reason, since } = record.held;
      held.set(id, { issue, reason, error: null, sinceWall: since });
    }
    if (record.failed) {
      const { reason, error, since } = record.failed;
      failed.set(id, { issue, reason, error, sinceWall: since });
    }
    if (record.dismissed) {
      dismissed.set(id, {
        issue,
        state: record.dismissed.state,
        sinceWall: record.dismissed.since,
      });
    }
    if (record.retry) {
      const { dueAt, error, waits } = record.retry;
      if (waits?.gate === "provider" && dueAt > clocks.wall) {
        const { agent } = waits;
        const reason = error ?? "the provider's limit";
        pauses.set(agent, { agent, untilWall: dueAt, reason, hits: 0, active: true });
      }
      retrying.set(id, retryFrom({ ...record.retry, issue }, clocks));
    }
    const { model, effort, agent: kind, templateId, allowanceAfter: after } = record;
    if (model || kind) models.set(id, { issue, kind, model, effort });
    if (after) allowances.set(id, { issue, after });
    if (templateId) templates.set(id, { issue, templateId });
  }
  const running = new Map((from.adopted ?? []).map((entry) => [entry.issue.id, entry]));
  for (const id of running.keys()) retrying.delete(id);
  return {
    ...state,
    running,
    completed: completedIn(from, (id) => retrying.has(id) || held.has(id) || failed.has(id)),
    held,
    failed,
    retrying,
    dismissed,
    models,
    templates,
    allowances,
    pauses,
    day: { index: dayIndex(clocks.wall), tokens: from.tokensToday ?? 0, reached: false },
    lastAttemptStamp: stampOf(from.lastAttemptId),
    usage: { tokens: from.totals.tokens, seconds: from.totals.seconds },
  };
}

function retryFrom(
  { dueAt, ...kept }: NonNullable<IssueRecord["retry"]> & { readonly issue: Issue },
  clocks: { now: number; wall: number },
): Retry {
  return {
    ...kept,
    dueAt: clocks.now + Math.max(dueAt - clocks.wall, 0),
    dueWall: dueAt,
    workspacePath: null,
    after: null,
    checking: null,
    wantsSlot: false,
  };
}

/** What was completed and has not been taken up again since. */
function completedIn({ completed = [] }: Restored, again: (id: string) => boolean) {
  const done = completed.filter(({ issue }) => !again(issue.id));
  return new Map(done.map((row) => [row.issue.id, row]));
}

/** What the history does not tell of an attempt that goes on. */
export interface AdoptionFacts {
  /** As it was last known. */
  readonly issue: Issue;
  /** The retry number it was born with, and the failures before. */
  readonly attempt: number | null;
  readonly failures: number;
  /** When its agent was heard last. */
  readonly heardWall: number;
  /** Tokens of the issue's earlier attempts, as far as its brake counts them. */
  readonly spentBefore: number;
}

/** The live row of an attempt that an earlier server began. Its silence counts from here. */
export function adoptedEntry(
  row: Attempt,
  { issue, attempt, failures, heardWall, spentBefore }: AdoptionFacts,
  clocks: { readonly now: number; readonly wall: number },
): Running {
  const { sessionId, threadId } = row;
  const prefix = `${threadId}-`;
  return {
    issue,
    ...{ attempt, failures, threadId, sessionId, spentBefore },
    idle: idleOf(row, issue),
    attemptId: row.id,
    number: row.number,
    agent: row.agent,
    model: row.model,
    templateId: row.templateId ?? "default",
    startedAt: clocks.now - Math.max(clocks.wall - row.startedAt, 0),
    startedWall: row.startedAt,
    phase: row.phase,
    workspaceKey: row.workspaceKey,
    workspacePath: row.workspacePath,
    turnId: sessionId?.startsWith(prefix) ? sessionId.slice(prefix.length) : null,
    turnCount: row.turnCount,
    lastEventAt: clocks.now,
    lastEventWall: heardWall,
    lastEvent: null,
    lastMessage: null,
    tokens: row.tokens,
    threadTokens: row.threadTokens,
    usedTool: false,
    asked: [],
    stopping: null,
    lasting: true,
  };
}

/** The order to go on with it. */
export function adoptionOf(entry: Running): AttemptOrder {
  const { attemptId, issue, attempt, agent, templateId, turnCount } = entry;
  const { workspaceKey: key, workspacePath: path, threadId: resumeThreadId } = entry;
  const adopt = {
    key: key ?? "",
    path: path ?? "",
    turnCount,
    sinceWall: entry.lastEventWall ?? 0,
  };
  return { attemptId, issue, attempt, resumeThreadId, agent, templateId, adopt };
}

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
