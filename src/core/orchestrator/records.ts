import { noTokens, type Tokens } from "../model/attempt.ts";
import type { IssueRecord } from "../store/store.ts";
import { stampOf } from "./start.ts";
import type { Running, State } from "./state.ts";

/** What must outlive a restart for one issue, or null for nothing. */
export function recordOf(state: State, issueId: string): IssueRecord | null {
  const held = state.held.get(issueId);
  const failed = state.failed.get(issueId);
  const dismissed = state.dismissed.get(issueId);
  const choice = state.models.get(issueId);
  const template = state.templates.get(issueId);
  const retry = retryOf(state, issueId);
  const entry = held ?? failed ?? dismissed ?? retry;
  const live = state.running.get(issueId);
  const issue = entry?.issue ?? live?.issue ?? template?.issue ?? choice?.issue;
  if (!issue || (!entry && !choice && !template)) return null;
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
        }
      : null,
    dismissed: dismissed ? { state: dismissed.state, since: dismissed.sinceWall } : null,
    model: choice?.model ?? null,
    effort: choice?.effort ?? null,
    agent: choice?.kind ?? null,
    templateId: template?.templateId ?? null,
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
  return { issue, attempt, failures, dueWall: startedWall, error: null };
}

export interface Restored {
  readonly records: ReadonlyMap<string, IssueRecord>;
  readonly totals: { readonly tokens: Tokens; readonly seconds: number };
  readonly lastAttemptId: string | null;
  /** What an earlier server began and an agent still works on. */
  readonly adopted?: readonly Running[];
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
      const { attempt, failures, dueAt, error } = record.retry;
      retrying.set(id, {
        issue,
        attempt,
        failures,
        error,
        dueAt: clocks.now + Math.max(dueAt - clocks.wall, 0),
        dueWall: dueAt,
        workspacePath: null,
        after: null,
        checking: null,
      });
    }
    const { model, effort, agent: kind, templateId } = record;
    if (model || kind) models.set(id, { issue, kind, model, effort });
    if (templateId) templates.set(id, { issue, templateId });
  }
  const running = new Map((from.adopted ?? []).map((entry) => [entry.issue.id, entry]));
  for (const id of running.keys()) retrying.delete(id);
  return {
    ...state,
    running,
    held,
    failed,
    retrying,
    dismissed,
    models,
    templates,
    lastAttemptStamp: stampOf(from.lastAttemptId),
    usage: { tokens: from.totals.tokens, seconds: from.totals.seconds },
  };
}

function emptyState(): State {
  return {
    candidates: [],
    queue: [],
    queuedFor: null,
    running: new Map(),
    retrying: new Map(),
    blocked: new Map(),
    held: new Map(),
    failed: new Map(),
    completed: new Map(),
    dismissed: new Map(),
    models: new Map(),
    templates: new Map(),
    fences: new Map(),
    listFence: 0,
    placed: new Map(),
    openRequests: new Set(),
    lastRequest: 0,
    poll: {
      phase: "idle",
      request: 0,
      tried: new Set(),
      again: false,
      startedAt: 0,
      lastWall: null,
      nextWall: null,
    },
    lastAttemptStamp: 0,
    usage: { tokens: noTokens, seconds: 0 },
    rateLimits: null,
    trackerError: null,
    draining: false,
  };
}
