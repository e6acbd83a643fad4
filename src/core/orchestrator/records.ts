import type { Config } from "../config/config.ts";
import { type Attempt, noTokens, type Tokens } from "../model/attempt.ts";
import type {
  AgentPause,
  AgentTrouble,
  DispatchPause,
  HostTrouble,
  StorageTrouble,
} from "../model/gates.ts";
import { type Issue, normalState } from "../model/issue.ts";
import type { CompletedRecord, IssueRecord } from "../store/store.ts";
import { idleOf } from "./brakes.ts";
import { queueOf, selectForDispatch } from "./dispatch.ts";
import { dispatchGates } from "./explain.ts";
import { dayIndex, hoursPassed } from "./gates.ts";
import {
  type Claim,
  type Completed,
  type Dismissal,
  type Ended,
  type Held,
  IssueMap,
  type IssueRow,
  noChoices,
  type Retry,
  type Running,
} from "./issues.ts";
import { lossesOf } from "./losses.ts";
import type { AttemptOrder } from "./messages.ts";
import { revisionOf } from "./offer.ts";
import { rowsListed } from "./reconcile.ts";
import { stampOf } from "./start.ts";
import { emptyState, type State } from "./state.ts";

/** What must survive a restart for one issue, or null for nothing. */
export function recordOf(state: State, issueId: string): IssueRecord | null {
  const row = state.issues.get(issueId);
  if (!row) return null;
  const { pick, templateId, allowanceAfter, worker } = row.choices;
  const { offer } = row;
  const claim = savedClaimOf(row);
  const isChosen = [pick, templateId, allowanceAfter, worker].some((one) => one !== null);
  if (claim === null && !isChosen && offer === null) return null;
  return {
    issue: row.issue,
    ...noClaim,
    ...claim,
    offer,
    model: pick?.model ?? null,
    effort: pick?.effort ?? null,
    agent: pick?.agent ?? null,
    templateId,
    allowanceAfter,
    worker,
  };
}

type SavedClaim = Pick<IssueRecord, "held" | "failed" | "retry" | "dismissed" | "review">;

const noClaim: SavedClaim = {
  held: null,
  failed: null,
  retry: null,
  dismissed: null,
  review: null,
};

/** What is saved of a claim; of an attempt that is being stopped, the claim that follows. */
function savedClaimOf(row: IssueRow): Partial<SavedClaim> | null {
  switch (row.claim) {
    case "held":
      return { held: savedHold(row) };
    case "review":
      return { review: { since: row.sinceWall, workspacePath: row.workspacePath } };
    case "failed":
      return { failed: { reason: row.reason, error: row.error, since: row.sinceWall } };
    case "completed":
      return row.dismissed && { dismissed: savedDismissal(row.dismissed) };
    case "retrying": {
      const { attempt, failures, dueWall, error, waits, stays } = row;
      const kept = waits?.gate === "storage" ? null : waits;
      const retry = { attempt, failures, dueAt: dueWall, error, waits: kept };
      return { retry: { ...retry, ...(stays !== undefined && { stays }), ...lossesOf(row) } };
    }
    case "running":
      return savedRunOf(row);
    default:
      return null;
  }
}

/** A live attempt that is a retry is saved as one that is due: a crash must not reset the count. */
function savedRunOf(entry: Running): Partial<SavedClaim> | null {
  const { attempt, failures, startedWall, stopping } = entry;
  if (stopping?.leadsTo === "hold")
    return { held: { reason: stopping.reason, since: stopping.sinceWall } };
  if (stopping?.leadsTo === "dismiss") return { dismissed: savedDismissal(stopping.dismissed) };
  if (attempt === null || stopping?.leadsTo === "release") return null;
  const retry = { attempt, failures, dueAt: startedWall, error: null, waits: null };
  return { retry: { ...retry, ...lossesOf(entry) } };
}

function savedHold({ reason, sinceWall: since, attached, templateId, next }: Held) {
  const of = { ...(attached && { attached }), ...(templateId && { templateId }) };
  return { reason, since, ...of, ...(next && { next }) };
}

function savedDismissal({ state, sinceWall }: Dismissal) {
  return { state, since: sinceWall };
}

export interface Restored {
  readonly records: ReadonlyMap<string, IssueRecord>;
  readonly totals: { readonly tokens: Tokens; readonly seconds: number };
  readonly lastAttemptId: string | null;
  /** Attempts that an earlier server began and whose agents still run. */
  readonly adopted?: readonly Running[];
  /** For display; oldest first. */
  readonly completed?: readonly CompletedRecord[];
  /** The last attempt of an issue, for completed ones that were recorded without it. */
  last?(issueId: string): Ended | null;
  /** Of all issues, on the current day (UTC). */
  readonly tokensToday?: number;
  /** An operator paused dispatch. */
  readonly paused?: DispatchPause | null;
  /** Of agents, as last saved. */
  readonly pauses?: readonly AgentPause[];
  /** Work whose delivery is on disk; a crash may have come before the record of its issue. */
  readonly offered?: readonly Offered[];
  /** Attempts run on workers, of which none is known yet. */
  readonly hasFleet?: boolean;
}

export interface Offered {
  readonly issue: Issue;
  readonly attemptId: string;
  readonly head: string | null;
  readonly workspacePath: string | null;
  readonly since: number;
}

/** The state after a start: decisions and waiting issues, no claims of live processes. */
export function restoredState(from: Restored, clocks: { now: number; wall: number }): State {
  const pauses = new Map(
    (from.pauses ?? []).map((pause) => [pause.agent, restoredPause(pause, clocks.wall)]),
  );
  const rows = new Map<string, IssueRow>();
  const done = new Map<string, Completed>();
  for (const row of from.completed ?? []) {
    const { id } = row.issue;
    const known = row.attemptId === null ? withLast(row, from) : row;
    const completed: Completed = { ...known, claim: "completed", dismissed: null };
    done.set(id, completed);
    rows.set(id, { ...completed, choices: noChoices, offer: null });
  }
  for (const [id, record] of from.records) {
    const { issue, model, effort, agent, templateId, allowanceAfter, worker, offer } = record;
    const pick = model || agent ? { agent, model, effort } : null;
    const known = done.get(id) ?? { claim: "free", issue, worked: offer !== null };
    const decided = claimFrom(record, done.get(id), clocks);
    const isBare = decided?.claim === "completed" && decided.attemptId === null;
    const claim = (isBare ? withLast(decided, from) : decided) ?? known;
    rows.set(id, { ...claim, choices: { pick, templateId, allowanceAfter, worker }, offer });
    // A crash may have come before the pause itself was saved.
    const pause = pauseFrom(record, clocks.wall);
    const saved = pause && pauses.get(pause.agent);
    if (pause && !saved?.active && !saved?.isStart) {
      pauses.set(pause.agent, { ...pause, hits: saved?.hits ?? 0 });
    }
  }
  for (const { issue, attemptId, head, workspacePath, since: sinceWall } of from.offered ?? []) {
    if (rows.has(issue.id)) continue;
    const restsIn = [normalState(issue.state)];
    const offer = { attemptId, head, revision: revisionOf(issue), restsIn, rounds: 0 };
    const claim = { claim: "review", issue, sinceWall, workspacePath } as const;
    rows.set(issue.id, { ...claim, choices: noChoices, offer });
  }
  for (const entry of from.adopted ?? []) {
    const { id } = entry.issue;
    const { choices, offer } = rows.get(id) ?? { choices: noChoices, offer: null };
    rows.set(id, { ...entry, choices, offer });
  }
  return {
    ...emptyState(),
    issues: IssueMap.from(rows),
    workers: from.hasFleet ? [] : null,
    pauses,
    paused: from.paused ?? null,
    day: { index: dayIndex(clocks.wall), tokens: from.tokensToday ?? 0, reached: false },
    lastAttemptStamp: stampOf(from.lastAttemptId),
    usage: { tokens: from.totals.tokens, seconds: from.totals.seconds },
  };
}

/** The saved claim; the stricter one if there are two; null for none. */
function claimFrom(
  { issue, held, failed, dismissed, retry, review }: IssueRecord,
  done: Completed | undefined,
  clocks: { now: number; wall: number },
): Claim | null {
  if (held) {
    const { reason, since: sinceWall, attached, templateId, next } = held;
    return {
      claim: "held",
      issue,
      reason,
      error: null,
      sinceWall,
      ...(attached && { attached }),
      ...(templateId && { templateId }),
      ...(next && { next }),
    };
  }
  if (failed) {
    const { reason, error, since } = failed;
    return { claim: "failed", issue, reason, error, sinceWall: since };
  }
  if (dismissed) return completedFrom(issue, dismissed, done);
  if (retry) return retryFrom({ ...retry, issue }, clocks);
  if (!review) return null;
  const { since: sinceWall, workspacePath } = review;
  return { claim: "review", issue, sinceWall, workspacePath };
}

/** With what the last attempt used and how it ended. */
function withLast<T extends Pick<Completed, "issue">>(row: T, from: Pick<Restored, "last">): T {
  const last = from.last?.(row.issue.id) ?? null;
  if (last === null) return row;
  const { attemptId, outcome, tokens } = last;
  return { ...row, attemptId, outcome, tokens };
}

/** An issue that an operator completed, with the data from the list of completed issues. */
function completedFrom(
  issue: Issue,
  { state, since }: NonNullable<IssueRecord["dismissed"]>,
  done: Completed | undefined,
): Completed {
  return {
    claim: "completed",
    attemptId: null,
    outcome: "none",
    endedWall: since,
    tokens: noTokens,
    ...done,
    issue,
    dismissed: { state, sinceWall: since },
  };
}

/** A start is a new try of an agent that could not be started. */
function restoredPause(pause: AgentPause, wall: number): AgentPause {
  const isOver = pause.isStart === true || pause.untilWall <= wall;
  return { ...pause, active: pause.active && !isOver };
}

/** The pause that remains of a provider's limit. */
function pauseFrom({ retry }: IssueRecord, wall: number): AgentPause | null {
  if (retry?.waits?.gate !== "provider" || retry.dueAt <= wall) return null;
  const { agent, isOpen = false } = retry.waits;
  const reason = retry.error ?? "the provider's limit";
  return { agent, untilWall: retry.dueAt, reason, isNamed: !isOpen, hits: 0, active: true };
}

function retryFrom(
  { dueAt, ...kept }: NonNullable<IssueRecord["retry"]> & { readonly issue: Issue },
  clocks: { now: number; wall: number },
): Retry {
  return {
    ...kept,
    claim: "retrying",
    dueAt: clocks.now + Math.max(dueAt - clocks.wall, 0),
    dueWall: dueAt,
    workspacePath: null,
    after: null,
    queuedState: normalState(kept.issue.state),
    checking: null,
    wantsSlot: false,
  };
}

/** Facts about an attempt that continues which the history does not have. */
export interface AdoptionFacts {
  /** As last known. */
  readonly issue: Issue;
  /** The retry number that it was started with, and the failures before it. */
  readonly attempt: number | null;
  readonly failures: number;
  /** When the agent last sent an event. */
  readonly lastEventWall: number;
  /** Tokens of the issue's earlier attempts, as far as its brake counts them. */
  readonly spentBefore: number;
}

/** The live row of an attempt that an earlier server began. Its silence is counted from now. */
export function adoptedEntry(
  row: Attempt,
  { issue, attempt, failures, lastEventWall, spentBefore }: AdoptionFacts,
  clocks: { readonly now: number; readonly wall: number },
): Running {
  const { sessionId, threadId } = row;
  const prefix = `${threadId}-`;
  return {
    claim: "running",
    issue,
    startedIn: normalState(issue.state),
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
    lastEventWall,
    lastEvent: null,
    lastMessage: null,
    tokens: row.tokens,
    threadTokens: row.threadTokens,
    usedTool: false,
    questions: [],
    stopping: null,
    detached: true,
  };
}

/** The order that continues the attempt. */
export function adoptionOf(entry: Running): AttemptOrder {
  const { attemptId, issue, attempt, agent, templateId, turnCount } = entry;
  const { workspaceKey: key, workspacePath: path, threadId: resumeThreadId } = entry;
  const adopt = {
    key: key ?? "",
    path: path ?? "",
    turnCount,
    sinceWall: entry.lastEventWall ?? 0,
  };
  const isRound = false;
  return { attemptId, issue, attempt, resumeThreadId, isRound, agent, templateId, adopt };
}

export interface PlanRow {
  readonly issue: Issue;
  readonly runs: boolean;
  /** The detail of a closed gate; null if the issue runs. */
  readonly why: string | null;
}

interface Known {
  readonly records: ReadonlyMap<string, IssueRecord>;
  readonly wall: number;
  /** Why nothing could be saved now. */
  readonly storage?: StorageTrouble | null;
  readonly paused?: DispatchPause | null;
  readonly pauses?: readonly AgentPause[];
  readonly host?: HostTrouble | null;
  /** Agents that cannot be started, by name. */
  readonly troubles?: ReadonlyMap<string, AgentTrouble>;
}

/** A plan restores no attempts, and completes nothing. */
const noPrior = { count: 0, resume: null, thread: null, tokens: 0, idle: null };

/** What a first poll at `wall` would start, in order, and why it would not start the rest. Pure. */
export function planOf(
  issues: readonly Issue[],
  config: Config,
  { storage = null, host = null, troubles = new Map(), ...saved }: Known,
): readonly PlanRow[] {
  const { wall } = saved;
  const totals = { tokens: noTokens, seconds: 0 };
  const before = restoredState({ ...saved, totals, lastAttemptId: null }, { now: 0, wall });
  const { state: restored } = hoursPassed(before, { config, wall });
  const queue = queueOf(issues, config.tracker);
  const poll = { ...restored.poll, lastWall: wall };
  const listed = { ...restored, candidates: issues, queue, storage, host, poll, troubles };
  const { state } = rowsListed(
    listed,
    { issues, request: 0 },
    { config, now: 0, wall, prior: () => noPrior },
  );
  const selected = new Set(selectForDispatch(state, config, new Set()));
  const others = issues.filter((issue) => !queue.includes(issue));
  return [...queue, ...others].map((issue) => {
    if (selected.has(issue)) return { issue, runs: true, why: null };
    const shut = dispatchGates(issue, state, { config, problem: null }).filter(({ pass }) => !pass);
    // The gate that a retry waits for says more than the fact that it waits.
    const gate = shut.find((one) => one.gate !== "not_claimed") ?? shut[0];
    const why = gate ? gate.detail : "every slot is taken by an issue before it";
    return { issue, runs: false, why };
  });
}
