import type { Config } from "../config/config.ts";
import type { Tokens } from "../model/attempt.ts";
import type { Issue, IssueStatus } from "../model/issue.ts";
import { dayGate, dispatchGates, isFree, slotsFor, waitingFor } from "./dispatch.ts";
import type { Blocked, Completed, ModelChoice, Retry, Running, State, Stopped } from "./state.ts";

/** What an operator sees. Lists are cut to `limit`; `counts` are the true numbers. */
export interface Snapshot {
  readonly counts: Readonly<Record<IssueStatus, number>>;
  readonly queued: readonly { readonly issue: Issue; readonly waitingFor: string }[];
  readonly running: readonly Running[];
  readonly retrying: readonly Retry[];
  readonly blocked: readonly Waiting[];
  readonly held: readonly Stopped[];
  readonly failed: readonly Stopped[];
  /** Newest first. */
  readonly completed: readonly Completed[];
  readonly totals: { readonly tokens: Tokens; readonly secondsRunning: number };
  readonly rateLimits: State["rateLimits"];
  /** What starts nothing now. */
  readonly paused: readonly Paused[];
}

export interface Paused {
  /** null: every agent. */
  readonly agent: string | null;
  readonly untilWall: number;
  readonly reason: string;
}

/** Something a person is waited for; with a live agent until `untilWall`, without one for as long as it takes. */
export interface Waiting extends Blocked {
  readonly untilWall?: number;
  readonly attemptId?: string;
}

const completedShown = 50;

/** Reads the state and changes nothing (E-13). `now` is monotonic ms. */
export function snapshot(
  state: State,
  config: Config,
  view: { now: number; limit: number },
): Snapshot {
  const { limit } = view;
  const queue = state.queue.filter((issue) => isFree(state, issue));
  const held = [...state.held.values()].filter((entry) => !state.running.has(entry.issue.id));
  const slots = slotsFor(state, config);
  const entries = [...state.running.values()];
  const live = entries.filter((entry) => !asks(entry));
  const asking = entries.filter(asks);
  return {
    counts: {
      queued: queue.length,
      running: live.length,
      retrying: state.retrying.size,
      blocked: state.blocked.size + asking.length,
      held: held.length,
      failed: state.failed.size,
      completed: state.completed.size,
    },
    queued: queue
      .slice(0, limit)
      .map((issue) => ({ issue, waitingFor: waitingFor(issue, slots, { state, config }) })),
    running: live.slice(0, limit),
    retrying: [...state.retrying.values()].sort((a, b) => a.dueAt - b.dueAt).slice(0, limit),
    blocked: [...asking.flatMap(waitOf), ...state.blocked.values()].slice(0, limit),
    held: held.slice(0, limit),
    failed: [...state.failed.values()].slice(0, limit),
    completed: [...state.completed.values()].slice(-Math.min(limit, completedShown)).reverse(),
    totals: { tokens: state.usage.tokens, secondsRunning: secondsRunning(state, view.now) },
    rateLimits: state.rateLimits,
    paused: pausedNow(state, config),
  };
}

function pausedNow(state: State, config: Config): readonly Paused[] {
  const day = dayGate(state.day, config);
  const all = day ? [{ agent: null, untilWall: day.untilWall, reason: day.detail }] : [];
  const active = [...state.pauses.values()].filter((pause) => pause.active);
  return [...all, ...active.map(({ agent, untilWall, reason }) => ({ agent, untilWall, reason }))];
}

/** Its agent lives and waits for a person. */
function asks(entry: Running): boolean {
  return entry.asked.length > 0 && !entry.stopping;
}

/** What a live agent waits for, in the form of one whose run has ended with it. */
export function waitOf({ issue, asked, workspacePath, attemptId }: Running): Waiting[] {
  const [first] = asked;
  if (!first) return [];
  const { needs, sinceWall, untilWall } = first;
  return [{ issue, needs, sinceWall, untilWall, workspacePath, attemptId }];
}

/** Ended attempts plus the elapsed time of live ones (E-10). */
export function secondsRunning(state: State, now: number): number {
  let ms = 0;
  for (const entry of state.running.values()) ms += now - entry.startedAt;
  return state.usage.seconds + ms / 1_000;
}

/** Everything known of one issue. */
export interface IssueStatusView {
  readonly issue: Issue;
  /** null: known, but neither waiting nor worked on. */
  readonly status: IssueStatus | null;
  readonly running: Running | null;
  readonly retry: Retry | null;
  readonly blocked: Waiting | null;
  readonly stopped: Stopped | null;
  readonly completed: Completed | null;
  readonly override: Omit<ModelChoice, "issue"> | null;
  readonly templateId: string | null;
  readonly explain: readonly { gate: string; pass: boolean; detail: string }[];
}

/** What is known of issue `identifier` (any case), or null. */
export function statusOfIdentifier(
  state: State,
  config: Config,
  identifier: string,
): IssueStatusView | null {
  const id = idOf(state, identifier);
  return id === null ? null : statusOfId(state, config, id);
}

/** The newest snapshot of an issue that memory knows. */
export function knownIssue(state: State, id: string): Issue | null {
  const entry =
    state.running.get(id) ??
    state.retrying.get(id) ??
    state.blocked.get(id) ??
    state.held.get(id) ??
    state.failed.get(id);
  const remote = entry?.issue ?? candidatesById(state.candidates).get(id);
  return remote ?? state.completed.get(id)?.issue ?? state.dismissed.get(id)?.issue ?? null;
}

function statusOfId(state: State, config: Config, id: string): IssueStatusView | null {
  const running = state.running.get(id) ?? null;
  const retry = state.retrying.get(id) ?? null;
  const [asking] = running && asks(running) ? waitOf(running) : [];
  const blocked = asking ?? state.blocked.get(id) ?? null;
  const stopped = state.held.get(id) ?? state.failed.get(id) ?? null;
  const completed = state.completed.get(id) ?? null;
  const issue = knownIssue(state, id);
  if (issue === null) return null;
  return {
    issue,
    status: statusOf(state, issue),
    running,
    retry,
    blocked,
    stopped,
    completed,
    override: state.models.get(id) ?? null,
    templateId: state.templates.get(id)?.templateId ?? null,
    explain: dispatchGates(issue, state, config),
  };
}

/** symphony's view of an issue: the claim first, then what a person decided, then the queue. */
export function statusOf(state: State, issue: Issue): IssueStatus | null {
  const entry = state.running.get(issue.id);
  if (entry) return asks(entry) ? "blocked" : "running";
  if (state.retrying.has(issue.id)) return "retrying";
  if (state.blocked.has(issue.id)) return "blocked";
  if (state.held.has(issue.id)) return "held";
  if (state.failed.has(issue.id)) return "failed";
  if (state.dismissed.has(issue.id)) return "completed";
  if (queuedIds(state.queue).has(issue.id)) return "queued";
  return state.completed.has(issue.id) ? "completed" : null;
}

/** The issue id behind an identifier, whatever its case. */
export function idOf(state: State, identifier: string): string | null {
  const wanted = identifier.trim().toLowerCase();
  for (const map of [state.running, state.retrying, state.blocked, state.held, state.failed]) {
    for (const [id, entry] of map) if (entry.issue.identifier.toLowerCase() === wanted) return id;
  }
  const candidate = candidatesByName(state.candidates).get(wanted);
  if (candidate !== undefined) return candidate;
  for (const map of [state.completed, state.dismissed]) {
    // Newest last: an earlier issue may have had the name before.
    const ids = [...map].filter(([, { issue }]) => issue.identifier.toLowerCase() === wanted);
    const last = ids.at(-1);
    if (last !== undefined) return last[0];
  }
  return null;
}

const candidatesById = remembered((issues) => new Map(issues.map((issue) => [issue.id, issue])));
const candidatesByName = remembered(
  (issues) => new Map(issues.map((issue) => [issue.identifier.toLowerCase(), issue.id])),
);
const queuedIds = remembered((issues) => new Set(issues.map((issue) => issue.id)));

/** One index per list, made when first asked for: a list never changes after it was fetched. */
function remembered<T>(index: (issues: readonly Issue[]) => T): (issues: readonly Issue[]) => T {
  const made = new WeakMap<readonly Issue[], { readonly value: T }>();
  return (issues) => {
    const known = made.get(issues) ?? { value: index(issues) };
    made.set(issues, known);
    return known.value;
  };
}
