import type { AgentPick } from "../config/agents.ts";
import type { Config } from "../config/config.ts";
import type { Tokens } from "../model/attempt.ts";
import type { Offer, Overlap } from "../model/delivery.ts";
import type { Issue, IssueStatus } from "../model/issue.ts";
import type { FoundIssue } from "../tracker/tracker.ts";
import { slotsFor, waitingFor } from "./dispatch.ts";
import { type Configured, dispatchGates, type Explained } from "./explain.ts";
import { dayGate, hostGate, hoursGate, pausedGate } from "./gates.ts";
import type { Completed, Failed, Held, Retry, Review, Running, Stopped } from "./issues.ts";
import { isFree, type State } from "./state.ts";
import { isAsking, type Waiting, waitOf } from "./waits.ts";

/** The operator's view. Lists are cut to `limit`; `counts` are the full numbers. */
export interface Snapshot {
  readonly counts: Readonly<Record<IssueStatus, number>>;
  readonly queued: readonly { readonly issue: Issue; readonly waitingFor: string }[];
  readonly running: readonly Running[];
  readonly retrying: readonly Retry[];
  readonly blocked: readonly Waiting[];
  readonly review: readonly Review[];
  readonly held: readonly Held[];
  readonly failed: readonly Failed[];
  /** Newest first. */
  readonly completed: readonly Completed[];
  readonly totals: { readonly tokens: Tokens; readonly secondsRunning: number };
  readonly rateLimits: State["rateLimits"];
  /** Live branches that git cannot merge with each other. */
  readonly conflicts: readonly Overlap[];
  /** What keeps issues from starting now. */
  readonly paused: readonly Paused[];
}

/** A closed gate that concerns more than one issue. */
export interface Paused {
  readonly gate: "paused" | "active_hours" | "host" | "day_budget" | "provider" | "agent";
  /** null: every agent. */
  readonly agent: string | null;
  /** null: not known. */
  readonly untilWall: number | null;
  readonly reason: string;
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
  const { issues } = state;
  const [held, failed] = [issues.of("held"), issues.of("failed")];
  const [retrying, blocked] = [issues.of("retrying"), issues.of("blocked")];
  const completed = issues.of("completed");
  const slots = slotsFor(state, config);
  const entries = [...issues.of("running").values()];
  const live = entries.filter((entry) => !isAsking(entry));
  const asking = entries.filter(isAsking);
  return {
    counts: {
      queued: queue.length,
      running: live.length,
      retrying: retrying.size,
      blocked: blocked.size + asking.length,
      review: issues.of("review").size,
      held: held.size,
      failed: failed.size,
      completed: completed.size,
    },
    queued: queue
      .slice(0, limit)
      .map((issue) => ({ issue, waitingFor: waitingFor(issue, slots, { state, config }) })),
    running: live.slice(0, limit),
    retrying: [...retrying.values()].sort((a, b) => a.dueAt - b.dueAt).slice(0, limit),
    blocked: [...asking.flatMap(waitOf), ...blocked.values()].slice(0, limit),
    review: [...issues.of("review").values()].slice(0, limit),
    held: [...held.values()].slice(0, limit),
    failed: [...failed.values()].slice(0, limit),
    completed: [...completed.values()].slice(-Math.min(limit, completedShown)).reverse(),
    totals: { tokens: state.usage.tokens, secondsRunning: secondsRunning(state, view.now) },
    rateLimits: state.rateLimits,
    conflicts: state.overlaps.filter((one) => one.conflicts).slice(0, limit),
    paused: pausedNow(state, config),
  };
}

/** The closed gates that concern more than one issue. */
export function pausedNow(state: State, config: Config): readonly Paused[] {
  const shut = [
    { gate: "paused", shut: pausedGate(state) },
    { gate: "active_hours", shut: hoursGate(state) },
    { gate: "host", shut: hostGate(state) },
    { gate: "day_budget", shut: dayGate(state.day, config) },
  ] as const;
  const all = shut.flatMap(({ gate, shut: one }) =>
    one ? [{ gate, agent: null, untilWall: one.untilWall, reason: one.detail }] : [],
  );
  const unable = [...state.troubles].map(([agent, { detail: reason }]) => {
    return { gate: "agent", agent, untilWall: null, reason } as const;
  });
  const active = [...state.pauses.values()].filter((pause) => pause.active);
  const providers = active.map(({ agent, untilWall, reason }) => {
    return { gate: "provider", agent, untilWall, reason } as const;
  });
  return [...all, ...unable, ...providers];
}

/** Ended attempts plus the elapsed time of live ones (E-10). */
export function secondsRunning(state: State, now: number): number {
  let ms = 0;
  for (const entry of state.issues.of("running").values()) ms += now - entry.startedAt;
  return state.usage.seconds + ms / 1_000;
}

/** Everything known about one issue. */
export interface IssueStatusView {
  readonly issue: Issue;
  /** null: known, but neither waiting nor worked on. */
  readonly status: IssueStatus | null;
  readonly running: Running | null;
  readonly retry: Retry | null;
  readonly blocked: Waiting | null;
  readonly review: Review | null;
  readonly stopped: Stopped | null;
  readonly completed: Completed | null;
  /** null: nothing is offered. */
  readonly offer: Offer | null;
  readonly override: AgentPick | null;
  readonly templateId: string | null;
  /** Live branches that change the same files as its own. */
  readonly overlaps: readonly Overlap[];
  readonly explain: readonly Explained[];
  readonly read: TrackerRead;
}

/** When an issue was read from the tracker, and when it is read again. */
export interface TrackerRead {
  /** It was so at this time, or later; null: not known. */
  readonly atWall: number | null;
  /** null: now, or never. */
  readonly nextWall: number | null;
  /** What reads it then. */
  readonly next: string;
}

/** The status of the issue with `identifier` (any case), or null. */
export function statusOfIdentifier(
  state: State,
  configured: Configured,
  identifier: string,
  names?: EarlierNames,
): IssueStatusView | null {
  const id = idNow(state, identifier, names);
  return id === null ? null : statusOfId(state, configured, id);
}

/** The newest snapshot of an issue in memory. An issue without a claim is taken from the list. */
export function knownIssue(state: State, id: string): Issue | null {
  const row = state.issues.get(id);
  return row && row.claim !== "free" ? row.issue : candidateOf(state, id);
}

/** The issue from the list. */
export function candidateOf(state: State, id: string): Issue | null {
  return candidatesById(state.candidates).get(id) ?? null;
}

function statusOfId(state: State, configured: Configured, id: string): IssueStatusView | null {
  const issue = knownIssue(state, id);
  if (issue === null) return null;
  const row = state.issues.get(id);
  const running = row?.claim === "running" ? row : null;
  const [asking] = running && isAsking(running) ? waitOf(running) : [];
  return {
    issue,
    status: statusOf(state, issue),
    running,
    retry: row?.claim === "retrying" ? row : null,
    blocked: asking ?? (row?.claim === "blocked" ? row : null),
    review: row?.claim === "review" ? row : null,
    stopped: row?.claim === "held" || row?.claim === "failed" ? row : null,
    completed: row?.claim === "completed" ? row : null,
    offer: row?.offer ?? null,
    override: row?.choices.pick ?? null,
    templateId: row?.choices.templateId ?? null,
    overlaps: state.overlaps.filter(
      ({ first, second }) => first.issueId === id || second.issueId === id,
    ),
    explain: dispatchGates(issue, state, configured),
    read: { atWall: readWall(state, id), ...nextRead(state, id) },
  };
}

/** The status of an issue that is not in memory, as the tracker just described it. */
export function statusOfFound(
  state: State,
  configured: Configured,
  { issue, scope, atWall }: FoundIssue & { readonly atWall: number },
): IssueStatusView {
  const row = state.issues.get(issue.id);
  const gates = [...scope, ...dispatchGates(issue, state, configured)];
  const isOpen = gates.every(({ pass }) => pass);
  return {
    issue,
    status: null,
    running: null,
    retry: null,
    blocked: null,
    review: null,
    stopped: null,
    completed: null,
    offer: row?.offer ?? null,
    override: row?.choices.pick ?? null,
    templateId: row?.choices.templateId ?? null,
    overlaps: [],
    explain: isOpen ? [...gates, unlistedGate] : gates,
    read: { atWall, ...nextRead(state, issue.id) },
  };
}

const unlistedGate: Explained = {
  gate: "candidate",
  pass: false,
  detail: "not among the issues of the last poll",
  opens: "the next poll",
};

/** A status with the issue as the tracker has just described it, which may be newer than what is in memory. */
export function statusWith(
  state: State,
  configured: Configured,
  { status, found: { issue, scope, atWall } }: StatusAndRead,
): IssueStatusView {
  const explain = [...scope, ...dispatchGates(issue, state, configured)];
  return { ...status, issue, explain, read: { ...status.read, atWall } };
}

interface StatusAndRead {
  readonly status: IssueStatusView;
  readonly found: FoundIssue & { readonly atWall: number };
}

/** Every poll reads what is in the list, what runs and what waits; what is done only now and then. */
function readWall({ poll, issues, trackerError }: State, id: string): number | null {
  const claim = issues.get(id)?.claim;
  return claim === "completed" || trackerError !== null ? null : poll.lastWall;
}

/** A poll reads every issue of the scope that is in an active state by then. */
function nextRead({ poll, issues, draining }: State, id: string): Omit<TrackerRead, "atWall"> {
  if (draining) return { nextWall: null, next: "none: the server is stopping" };
  const row = issues.get(id);
  if (row?.claim === "retrying" && row.waits === null) {
    return { nextWall: row.dueWall, next: "its retry" };
  }
  const isRunning = poll.phase !== "idle";
  return { nextWall: poll.nextWall, next: isRunning ? "the poll that runs now" : "the next poll" };
}

/** symphony's status of an issue: its claim, or without one whether it is queued. */
export function statusOf(state: State, issue: Issue): IssueStatus | null {
  const row = state.issues.get(issue.id);
  if (row?.claim === "running") return isAsking(row) ? "blocked" : "running";
  if (row && row.claim !== "free") return row.claim;
  return queuedIds(state.queue).has(issue.id) ? "queued" : null;
}

/** Finds the issue that an identifier named in an earlier attempt. */
interface EarlierNames {
  issueIdOf(identifier: string): string | null;
}

/** The id of the issue in memory that has or, by its attempts, had this identifier. */
function idNow(state: State, identifier: string, names?: EarlierNames): string | null {
  const id = idOf(state, identifier);
  if (id !== null || names === undefined) return id;
  const earlier = names.issueIdOf(identifier.trim());
  return earlier !== null && knownIssue(state, earlier) !== null ? earlier : null;
}

/** The id of the issue with this identifier, in any case. */
function idOf(state: State, identifier: string): string | null {
  const wanted = identifier.trim().toLowerCase();
  for (const claim of ["running", "retrying", "blocked", "review", "held", "failed"] as const) {
    for (const [id, { issue }] of state.issues.of(claim)) {
      if (issue.identifier.toLowerCase() === wanted) return id;
    }
  }
  const candidate = candidatesByName(state.candidates).get(wanted);
  if (candidate !== undefined) return candidate;
  // The newest row wins: an earlier issue may have had the same identifier.
  const done = [...state.issues.of("completed").values()];
  return done.findLast(({ issue }) => issue.identifier.toLowerCase() === wanted)?.issue.id ?? null;
}

const candidatesById = remembered((issues) => new Map(issues.map((issue) => [issue.id, issue])));
const candidatesByName = remembered(
  (issues) => new Map(issues.map((issue) => [issue.identifier.toLowerCase(), issue.id])),
);
const queuedIds = remembered((issues) => new Set(issues.map((issue) => issue.id)));

/** One index per list, created on first use: a list never changes after it was fetched. */
function remembered<T>(index: (issues: readonly Issue[]) => T): (issues: readonly Issue[]) => T {
  const made = new WeakMap<readonly Issue[], { readonly value: T }>();
  return (issues) => {
    const known = made.get(issues) ?? { value: index(issues) };
    made.set(issues, known);
    return known.value;
  };
}
