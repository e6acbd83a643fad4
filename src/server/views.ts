import type { z } from "zod";
import { AttemptView } from "../contract/attempts.ts";
import { IssueDetail } from "../contract/issues.ts";
import { Snapshot } from "../contract/system.ts";
import {
  type BlockedRow,
  type CompletedRow,
  DeliveryView,
  EventView,
  type OverlapView,
  type RetryingRow,
  type ReviewRow,
  type RunningRow,
  type StoppedRow,
  TokenCounts,
} from "../contract/values.ts";
import { type KeptRow, KeptView } from "../contract/work.ts";
import { type Delivered, updateStep } from "../core/delivery/delivered.ts";
import type { Feedback } from "../core/delivery/store.ts";
import type { RecordTrouble } from "../core/journal/recorder.ts";
import type { Attempt, Tokens } from "../core/model/attempt.ts";
import {
  type Delivery,
  deliveryInWords,
  needsPerson,
  type Overlap,
  placeOf,
  progressOf,
} from "../core/model/delivery.ts";
import type { SymphonyEvent } from "../core/model/event.ts";
import type { Issue, IssueStatus } from "../core/model/issue.ts";
import { type Unwritten, writerOf } from "../core/model/names.ts";
import { heldStep, type NextStep, nextCommand } from "../core/model/next-step.ts";
import { workInWords } from "../core/model/work.ts";
import type { WorkerHost } from "../core/model/worker.ts";
import type { TemplateChoice } from "../core/orchestrator/choice.ts";
import { reviewOpens } from "../core/orchestrator/explain.ts";
import type { Completed, Retry, Review, Running, Stopped } from "../core/orchestrator/issues.ts";
import type { IssueStatusView } from "../core/orchestrator/snapshot.ts";
import type { View } from "../core/orchestrator/view.ts";
import { answeredBy, endedAsk, type Waiting } from "../core/orchestrator/waits.ts";
import type { Kept } from "../core/workspace/kept.ts";

// Core's values in the layout of the contract. The writers convert names and times, and write nothing that it does not name.

const writeAttempt = writerOf(AttemptView);
const writeDetail = writerOf(IssueDetail);
const writeDelivery = writerOf(DeliveryView);
const writeKept = writerOf(KeptView);
const writeSnapshot = writerOf(Snapshot);
const writeTokens = writerOf(TokenCounts);

export const eventView = writerOf(EventView);
export const trackerView = writerOf(Snapshot.shape.tracker);

/** RFC 3339 in UTC with milliseconds. */
export function time(ms: number): string {
  return new Date(ms).toISOString();
}

export function tokensView(tokens: Tokens): z.output<typeof TokenCounts> {
  return writeTokens(counted(tokens));
}

export function attemptView(attempt: Attempt): z.output<typeof AttemptView> {
  return writeAttempt(shownAttempt(attempt));
}

export function keptView(kept: Kept): z.output<typeof KeptView> {
  return writeKept(shownKept(kept));
}

function counted(tokens: Tokens): Unwritten<typeof TokenCounts> {
  return {
    inputTokens: tokens.input,
    cachedInputTokens: tokens.cachedInput,
    outputTokens: tokens.output,
    reasoningOutputTokens: tokens.reasoningOutput,
    totalTokens: tokens.total,
  };
}

function shownAttempt(attempt: Attempt): Unwritten<typeof AttemptView> {
  const { workspaceKey: key, workspacePath: path, startedAt, endedAt } = attempt;
  return {
    ...attempt,
    durationMs: endedAt === null ? null : Math.max(Math.round(endedAt - startedAt), 0),
    tokens: counted(attempt.tokens),
    workspace: key === null || path === null ? null : { key, path },
  };
}

/** What every row says of its issue. */
function row(issue: Issue, status: IssueStatus) {
  const { id: issueId, identifier: issueIdentifier, url: issueUrl } = issue;
  const { title, state, priority, labels, updatedAt } = issue;
  return {
    issueId,
    issueIdentifier,
    issueUrl,
    title,
    state,
    status,
    priority,
    labels,
    updatedAt,
  };
}

/** The host that has the workspace of an issue, and its path there. */
interface Away {
  readonly host: string;
  readonly path: string;
}

function runningRow(entry: Running, away: Away | null): Unwritten<typeof RunningRow> {
  return {
    ...entry,
    ...row(entry.issue, "running"),
    workspacePath: away?.path ?? entry.workspacePath,
    attempt: entry.attempt ?? 0,
    stopping: entry.stopping?.reason ?? null,
    workerHost: entry.worker ?? null,
    // The times of the day, where the entry has those of the process's clock.
    startedAt: entry.startedWall,
    lastEventAt: entry.lastEventWall,
    tokens: counted(entry.tokens),
  };
}

function retryingRow(
  entry: Retry,
  away: Away | null,
  workerHost: string | null,
): Unwritten<typeof RetryingRow> {
  return {
    ...entry,
    workspacePath: away?.path ?? entry.workspacePath,
    ...row(entry.issue, "retrying"),
    // The time of the day, where the entry has that of the process's clock.
    dueAt: entry.dueWall,
    workerHost: away?.host ?? workerHost,
  };
}

function needsOf(wait: Waiting): Unwritten<typeof BlockedRow>["needs"] {
  const { needs, sinceWall: since, untilWall: until = null, attemptId = null } = wait;
  const { askId: id = endedAsk(wait), further = [] } = wait;
  return { ...needs, id, further, since, until, attemptId };
}

function stoppedRow(
  stopped: Stopped,
  status: "held" | "failed",
  delivery: Delivery | null,
): Unwritten<typeof StoppedRow> {
  const { issue, reason, error, sinceWall: since } = stopped;
  const attached = stopped.claim === "held" && stopped.attached !== undefined;
  const step = stopped.claim === "held" ? heldStep(stopped) : "requeue";
  const next = nextCommand(step === "look" ? lookAt(delivery) : step, issue.identifier);
  const facts = { reason, attached, error, since, next };
  return { ...row(issue, status), ...facts, delivery: delivery && shown(delivery, status) };
}

/** Where a person reads finished work. */
function lookAt(delivery: Delivery | null): NextStep {
  return delivery?.pullRequest ? "open" : "look";
}

/** Nothing but a person leads a held or failed issue on, whatever its work waits for. */
function shown(
  delivery: Delivery,
  status: IssueStatus | null = null,
): Unwritten<typeof DeliveryView> {
  const isStopped = status === "held" || status === "failed";
  // Nothing ends the wait of work without a branch but its issue.
  const isDone = delivery.over && status !== "review";
  const waitingFor = isDone && !isStopped ? null : delivery.waitingFor;
  const now = { ...delivery, waitingFor };
  const isWaiting = isStopped || (!isDone && needsPerson(delivery));
  const words = { place: placeOf(now), progress: progressOf(now) };
  return { ...now, ...words, summary: deliveryInWords(now), needsPerson: isWaiting };
}

export function deliveryView(delivery: Delivery): z.output<typeof DeliveryView> {
  return writeDelivery(shown(delivery));
}

function reviewRow(entry: Review, delivered: Delivered | null): Unwritten<typeof ReviewRow> {
  const { issue, sinceWall: since } = entry;
  const delivery = delivered && shown(delivered, "review");
  const retried = delivered?.problemWith === updateStep ? "attach" : "deliver";
  const step = delivered?.problem ? retried : lookAt(delivered);
  const isWaiting = delivery === null || delivery.needsPerson;
  const next = isWaiting ? nextCommand(step, issue.identifier) : null;
  return { ...row(issue, "review"), delivery, since, next };
}

function completedRow(entry: Completed): Unwritten<typeof CompletedRow> {
  return {
    ...entry,
    ...row(entry.issue, "completed"),
    endedAt: entry.endedWall,
    tokens: counted(entry.tokens),
  };
}

export function overlapView({ files, ...pair }: Overlap): Unwritten<typeof OverlapView> {
  return {
    ...pair,
    files: files.map(({ path, kind, lines: [first, second] }) => ({ path, kind, first, second })),
  };
}

export function shownKept(kept: Kept): Unwritten<typeof KeptRow> {
  return { ...kept, holds: kept.work, summary: workInWords(kept.work) };
}

interface Moment {
  readonly wall: number;
  readonly seq: number;
  /** The workspaces that are kept, and how many of them are shown. */
  readonly kept: readonly Kept[];
  readonly limit: number;
  /** null: decisions are recorded. */
  readonly unrecorded: { readonly trouble: RecordTrouble; readonly lost: number } | null;
  /** Where the work on an issue is. */
  deliveryOf(issueId: string): Delivered | null;
  /** The host that has an issue's workspace; null: it is here. */
  away(issueId: string): Away | null;
  /** Absent: attempts run on this machine, or the moment is one of the past. */
  readonly workers?: readonly WorkerHost[] | undefined;
  /** The worker of the issue's last attempt. */
  workerOf?(issueId: string): string | null;
}

/** A worker in the layout of the contract. */
export function shownWorker({ sinceWall: since, ...worker }: WorkerHost) {
  return { ...worker, since };
}

export function snapshotView(
  view: View,
  { wall, seq, kept, limit, unrecorded, deliveryOf, away, workers, workerOf }: Moment,
): z.output<typeof Snapshot> {
  const { snapshot, polling, storage } = view;
  return writeSnapshot({
    ...snapshot,
    generatedAt: wall,
    seq,
    queued: snapshot.queued.map(({ issue, waitingFor }) => ({
      ...row(issue, "queued"),
      waitingFor,
    })),
    running: snapshot.running.map((entry) => runningRow(entry, away(entry.issue.id))),
    retrying: snapshot.retrying.map((entry) =>
      retryingRow(entry, away(entry.issue.id), workerOf?.(entry.issue.id) ?? null),
    ),
    workers: workers?.map(shownWorker),
    blocked: snapshot.blocked.map((entry) => ({
      ...row(entry.issue, "blocked"),
      needs: needsOf(entry),
      next: answeredBy(entry),
    })),
    review: snapshot.review.map((entry) => reviewRow(entry, deliveryOf(entry.issue.id))),
    held: snapshot.held.map((entry) => stoppedRow(entry, "held", deliveryOf(entry.issue.id))),
    failed: snapshot.failed.map((entry) => stoppedRow(entry, "failed", deliveryOf(entry.issue.id))),
    completed: snapshot.completed.map(completedRow),
    kept: kept.slice(0, limit).map(shownKept),
    keptTotal: kept.length,
    codexTotals: {
      ...counted(snapshot.totals.tokens),
      secondsRunning: snapshot.totals.secondsRunning,
    },
    conflicts: snapshot.conflicts.map((one) => {
      const files = one.files.filter(({ kind }) => kind === "conflict");
      return overlapView({ ...one, files });
    }),
    paused: snapshot.paused.map((pause) => ({ ...pause, until: pause.untilWall })),
    polling: { ...polling, lastPollAt: polling.lastWall, nextPollAt: polling.nextWall },
    tracker: view.tracker,
    storage: storage && { ...storage, since: storage.sinceWall },
    unrecorded: unrecorded && {
      reason: unrecorded.trouble.reason,
      since: unrecorded.trouble.sinceWall,
      decisions: unrecorded.lost,
    },
    problem: view.problem,
    warnings: view.warnings,
  });
}

/** The recorded history of one issue, newest first. */
interface Past {
  readonly attempts: readonly Attempt[];
  readonly attemptCount: number;
  readonly events: readonly SymphonyEvent[];
  /** The path of the issue's workspace, or where it would be created now. */
  readonly place: { readonly key: string; readonly path: string } | null;
  /** Nothing is at the place of its newest attempt any more. */
  readonly isGone: boolean;
  readonly away: Away | null;
  /** Every directory of the issue that is kept. */
  readonly kept: readonly Kept[];
  readonly delivery: Delivery | null;
  readonly maxRounds: number;
  /** The template of its next attempt. */
  readonly template: TemplateChoice;
  /** What came back last on its work; null: nothing did. */
  readonly lastFeedback: Pick<Feedback, "author" | "text" | "url" | "byPerson" | "at"> | null;
}

/** One issue for an operator: its current state in memory, and its history (H-5). */
export function detailView(status: IssueStatusView, past: Past): z.output<typeof IssueDetail> {
  const { issue, retry, running } = status;
  const retryAttempt = retry?.attempt ?? 0;
  const workspace = workspaceOf(status, past);
  return writeDetail({
    issueIdentifier: issue.identifier,
    issueId: issue.id,
    status: status.status,
    issue,
    workspace,
    ...keptOf(workspace.path, past.kept),
    ...(past.away && { workspace: { ...workspace, ...past.away } }),
    attempts: {
      count: past.attemptCount,
      restartCount: Math.max(retryAttempt - 1, 0),
      currentRetryAttempt: retryAttempt,
      latest: past.attempts.map(shownAttempt),
    },
    running: running && runningRow(running, past.away),
    retry: retry && { ...retry, dueAt: retry.dueWall },
    needs: status.blocked && needsOf(status.blocked),
    delivery: past.delivery && shown(past.delivery, status.status),
    conflicts: status.overlaps.map(overlapView),
    feedback: status.offer && {
      rounds: status.offer.rounds,
      maxRounds: past.maxRounds,
      last: past.lastFeedback,
    },
    overrides: {
      model: status.override?.model ?? null,
      reasoningEffort: status.override?.effort ?? null,
      agent: status.override?.agent ?? null,
      templateId: status.templateId,
    },
    template: past.template,
    recentEvents: past.events.map((event) => ({ ...event, event: event.type })),
    lastError: lastErrorOf(status, past),
    explain: [...reviewGate(status, past.delivery), ...status.explain],
    trackerRead: {
      at: status.read.atWall,
      nextAt: status.read.nextWall,
      next: status.read.next,
    },
    logs: { codexSessionLogs: [] },
    tracked: {},
  });
}

/** What offered work waits for, as `state` says it. */
function reviewGate({ review }: IssueStatusView, delivery: Delivery | null) {
  if (review === null) return [];
  const detail = delivery === null ? "waits for a person" : deliveryInWords(delivery);
  return [{ gate: "not_in_review", pass: false, detail, opens: reviewOpens }];
}

function workspaceOf(
  { issue, running, retry, blocked }: IssueStatusView,
  { attempts, place, isGone }: Past,
) {
  const latest = attempts.find(({ workspacePath }) => workspacePath !== null);
  const recorded = running ?? retry ?? blocked;
  return {
    key: running?.workspaceKey ?? latest?.workspaceKey ?? place?.key ?? null,
    path:
      recorded?.workspacePath ?? (isGone ? null : (latest?.workspacePath ?? place?.path ?? null)),
    host: latest?.workerHost ?? null,
    branch: latest?.git?.branch ?? issue.branchName,
  };
}

/** The issue's own workspace, separate from others of it that are kept. */
function keptOf(path: string | null, all: readonly Kept[]) {
  const own = all.find((kept) => kept.path === path);
  const others = all.filter((kept) => kept !== own);
  return { kept: own ? shownKept(own) : null, keptElsewhere: others.map(shownKept) };
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
