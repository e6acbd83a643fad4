import type { z } from "zod";
import type { AttemptView } from "../contract/attempts.ts";
import { type IssueDetail, issueView } from "../contract/issues.ts";
import type { Snapshot as SnapshotView } from "../contract/system.ts";
import type {
  BlockedRow,
  CompletedRow,
  EventView,
  QueuedRow,
  RetryingRow,
  RunningRow,
  StoppedRow,
  TokenCounts,
} from "../contract/values.ts";
import type { KeptRow, KeptView } from "../contract/work.ts";
import { holdView } from "../contract/work-view.ts";
import type { Attempt, Tokens } from "../core/model/attempt.ts";
import type { SymphonyEvent } from "../core/model/event.ts";
import type { Issue, IssueStatus } from "../core/model/issue.ts";
import { workInWords } from "../core/model/work.ts";
import type { Completed, Retry, Running, Stopped } from "../core/orchestrator/issues.ts";
import type { View } from "../core/orchestrator/operations.ts";
import type { IssueStatusView, Waiting } from "../core/orchestrator/snapshot.ts";
import type { TrackerHealth } from "../core/tracker/tracker.ts";
import type { Kept } from "../core/workspace/kept.ts";

// The only place that converts core's camelCase and milliseconds to the wire's snake_case and RFC 3339 times.

/** RFC 3339 in UTC with milliseconds. */
export function time(ms: number): string {
  return new Date(ms).toISOString();
}

/** As `time`; null stays null. */
export function timeOrNull(ms: number | null): string | null {
  return ms === null ? null : time(ms);
}

export function tokensView(tokens: Tokens): z.output<typeof TokenCounts> {
  return {
    input_tokens: tokens.input,
    cached_input_tokens: tokens.cachedInput,
    output_tokens: tokens.output,
    reasoning_output_tokens: tokens.reasoningOutput,
    total_tokens: tokens.total,
  };
}

export function eventView(event: SymphonyEvent): z.output<typeof EventView> {
  return {
    seq: event.seq,
    type: event.type,
    at: time(event.at),
    issue_id: event.issueId,
    issue_identifier: event.issueIdentifier,
    attempt_id: event.attemptId,
    session_id: event.sessionId,
    message: event.message,
    data: { ...event.data },
  };
}

export function attemptView(attempt: Attempt): z.output<typeof AttemptView> {
  const { workspaceKey: key, workspacePath: path, git, startedAt, endedAt } = attempt;
  return {
    id: attempt.id,
    issue_id: attempt.issueId,
    issue_identifier: attempt.issueIdentifier,
    number: attempt.number,
    status: attempt.status,
    phase: attempt.phase,
    agent: attempt.agent,
    model: attempt.model,
    template_id: attempt.templateId,
    worker_host: attempt.workerHost,
    thread_id: attempt.threadId,
    session_id: attempt.sessionId,
    turn_count: attempt.turnCount,
    started_at: time(startedAt),
    ended_at: timeOrNull(endedAt),
    duration_ms: endedAt === null ? null : Math.max(Math.round(endedAt - startedAt), 0),
    tokens: tokensView(attempt.tokens),
    error: attempt.error && { ...attempt.error },
    workspace: key === null || path === null ? null : { key, path },
    git: git && {
      branch: git.branch,
      head_before: git.headBefore,
      head_after: git.headAfter,
      commits: git.commits,
      changed_files: git.changedFiles,
    },
  };
}

function row<S extends IssueStatus>(issue: Issue, status: S) {
  return {
    issue_id: issue.id,
    issue_identifier: issue.identifier,
    issue_url: issue.url,
    title: issue.title,
    state: issue.state,
    status,
    priority: issue.priority,
    labels: [...issue.labels],
    updated_at: timeOrNull(issue.updatedAt),
  };
}

function runningRow(entry: Running): z.output<typeof RunningRow> {
  return {
    ...row(entry.issue, "running"),
    attempt_id: entry.attemptId,
    attempt: entry.attempt ?? 0,
    phase: entry.phase,
    stopping: entry.stopping?.reason ?? null,
    session_id: entry.sessionId,
    thread_id: entry.threadId,
    turn_count: entry.turnCount,
    agent: entry.agent,
    model: entry.model,
    worker_host: null,
    workspace_path: entry.workspacePath,
    started_at: time(entry.startedWall),
    last_event: entry.lastEvent,
    last_message: entry.lastMessage,
    last_event_at: timeOrNull(entry.lastEventWall),
    tokens: tokensView(entry.tokens),
  };
}

function queuedRow(entry: View["snapshot"]["queued"][number]): z.output<typeof QueuedRow> {
  return { ...row(entry.issue, "queued"), waiting_for: entry.waitingFor };
}

function retryingRow(entry: Retry): z.output<typeof RetryingRow> {
  return {
    ...row(entry.issue, "retrying"),
    attempt: entry.attempt,
    due_at: time(entry.dueWall),
    error: entry.error,
    worker_host: null,
    workspace_path: entry.workspacePath,
  };
}

function needsView(wait: Waiting): z.output<typeof BlockedRow>["needs"] {
  const { needs, sinceWall, untilWall, attemptId } = wait;
  return {
    ...needs,
    options: [...needs.options],
    since: time(sinceWall),
    until: timeOrNull(untilWall ?? null),
    attempt_id: attemptId ?? null,
  };
}

function stoppedRow(entry: Stopped, status: "held" | "failed"): z.output<typeof StoppedRow> {
  const { issue, reason, error, sinceWall } = entry;
  return { ...row(issue, status), reason, error, since: time(sinceWall) };
}

function completedRow(entry: Completed): z.output<typeof CompletedRow> {
  return {
    ...row(entry.issue, "completed"),
    attempt_id: entry.attemptId,
    ended_at: time(entry.endedWall),
    outcome: entry.outcome,
    tokens: tokensView(entry.tokens),
  };
}

export function trackerView(health: TrackerHealth): z.output<typeof SnapshotView>["tracker"] {
  const { kind, healthy, lastError } = health;
  return { kind, healthy, last_error: lastError && { ...lastError } };
}

export function keptView(kept: Kept): z.output<typeof KeptView> {
  const { key, path, since, work, next } = kept;
  return {
    key,
    path,
    since: time(since),
    holds: work.map(holdView),
    summary: workInWords(work),
    next: [...next],
  };
}

function keptRow(kept: Kept): z.output<typeof KeptRow> {
  return {
    ...keptView(kept),
    issue_id: kept.issueId,
    issue_identifier: kept.issueIdentifier,
  };
}

interface Moment {
  readonly wall: number;
  readonly seq: number;
  /** The workspaces that are kept, and how many of them are shown. */
  readonly kept: readonly Kept[];
  readonly limit: number;
}

export function snapshotView(
  view: View,
  { wall, seq, kept, limit }: Moment,
): z.output<typeof SnapshotView> {
  const { snapshot, polling, tracker, problem, storage } = view;
  return {
    generated_at: time(wall),
    seq,
    counts: { ...snapshot.counts },
    queued: snapshot.queued.map(queuedRow),
    running: snapshot.running.map(runningRow),
    retrying: snapshot.retrying.map(retryingRow),
    blocked: snapshot.blocked.map((entry) => ({
      ...row(entry.issue, "blocked"),
      needs: needsView(entry),
    })),
    held: snapshot.held.map((entry) => stoppedRow(entry, "held")),
    failed: snapshot.failed.map((entry) => stoppedRow(entry, "failed")),
    completed: snapshot.completed.map(completedRow),
    kept: kept.slice(0, limit).map(keptRow),
    kept_total: kept.length,
    codex_totals: {
      ...tokensView(snapshot.totals.tokens),
      seconds_running: snapshot.totals.secondsRunning,
    },
    rate_limits: snapshot.rateLimits && { ...snapshot.rateLimits },
    paused: snapshot.paused.map(({ agent, untilWall, reason }) => ({
      agent,
      until: time(untilWall),
      reason,
    })),
    polling: {
      interval_ms: polling.intervalMs,
      last_poll_at: timeOrNull(polling.lastWall),
      next_poll_at: timeOrNull(polling.nextWall),
      last_error: polling.lastError && { ...polling.lastError },
    },
    tracker: trackerView(tracker),
    storage: storage && {
      reason: storage.reason,
      waiting: storage.waiting,
      since: time(storage.sinceWall),
    },
    problem: problem && { ...problem },
  };
}

/** The recorded history of one issue, newest first. */
interface Past {
  readonly attempts: readonly Attempt[];
  readonly attemptCount: number;
  readonly events: readonly SymphonyEvent[];
  /** The path of the issue's workspace, or where it would be created now. */
  readonly place: { readonly key: string; readonly path: string } | null;
  /** Every directory of the issue that is kept. */
  readonly kept: readonly Kept[];
}

/** One issue for an operator: its current state in memory, and its history (H-5). */
export function detailView(sight: IssueStatusView, past: Past): z.output<typeof IssueDetail> {
  const { issue, retry, running } = sight;
  const retryAttempt = retry?.attempt ?? 0;
  const workspace = workspaceOf(sight, past);
  return {
    issue_identifier: issue.identifier,
    issue_id: issue.id,
    status: sight.status,
    issue: issueView(issue),
    workspace,
    ...keptOf(workspace.path, past.kept),
    attempts: {
      count: past.attemptCount,
      restart_count: Math.max(retryAttempt - 1, 0),
      current_retry_attempt: retryAttempt,
      latest: past.attempts.map(attemptView),
    },
    running: running && runningRow(running),
    retry: retry && { attempt: retry.attempt, due_at: time(retry.dueWall), error: retry.error },
    needs: sight.blocked && needsView(sight.blocked),
    overrides: {
      model: sight.override?.model ?? null,
      reasoning_effort: sight.override?.effort ?? null,
      agent: sight.override?.kind ?? null,
      template_id: sight.templateId,
    },
    recent_events: past.events.map((event) => ({
      at: time(event.at),
      event: event.type,
      message: event.message,
      seq: event.seq,
      attempt_id: event.attemptId,
    })),
    last_error: lastErrorOf(sight, past),
    explain: sight.explain.map((gate) => ({ ...gate })),
    logs: { codex_session_logs: [] },
    tracked: {},
  };
}

function workspaceOf(
  { issue, running, retry, blocked }: IssueStatusView,
  { attempts, place }: Past,
) {
  const latest = attempts.find(({ workspacePath }) => workspacePath !== null);
  const recorded = running ?? retry ?? blocked;
  return {
    key: running?.workspaceKey ?? latest?.workspaceKey ?? place?.key ?? null,
    path: recorded?.workspacePath ?? latest?.workspacePath ?? place?.path ?? null,
    host: latest?.workerHost ?? null,
    branch: latest?.git?.branch ?? issue.branchName,
  };
}

/** The issue's own workspace, separate from others of it that are kept. */
function keptOf(path: string | null, all: readonly Kept[]) {
  const own = all.find((kept) => kept.path === path);
  const others = all.filter((kept) => kept !== own);
  return { kept: own ? keptView(own) : null, kept_elsewhere: others.map(keptView) };
}

/** The current obstacle takes precedence over the error of an earlier attempt. */
function lastErrorOf(
  { stopped, retry, running }: IssueStatusView,
  { attempts }: Past,
): string | null {
  const now = stopped?.error ?? retry?.error;
  if (now != null) return now;
  const ended = attempts.find(({ id }) => id !== running?.attemptId);
  return ended?.error?.message ?? null;
}
