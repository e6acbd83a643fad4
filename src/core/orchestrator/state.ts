import type { TrackerConfig } from "../config/config.ts";
import {
  type Attempt,
  type AttemptGit,
  type AttemptStatus,
  noTokens,
  type Tokens,
} from "../model/attempt.ts";
import type { StorageTrouble } from "../model/event.ts";
import type { Issue } from "../model/issue.ts";
import { type Claim, IssueMap, type Running } from "./issues.ts";

/** The whole scheduling state. Only `step` makes a new one. `At` fields are monotonic ms, `Wall` fields epoch ms. */
export interface State {
  /** The last complete candidate list, as the tracker gave it. */
  readonly candidates: readonly Issue[];
  /** Those of it that are ours, in dispatch order; some wait for a blocker. */
  readonly queue: readonly Issue[];
  /** The settings `queue` was made with. */
  readonly queuedFor: TrackerConfig | null;
  /** Every issue with a claim, an operator's choice or a workspace to clean up; an issue has one row. */
  readonly issues: IssueMap;
  /** Where in the finished and free rows the next poll continues to read. */
  readonly watchFrom: number;
  /** Agents whose provider refused a turn for its limit, by kind. */
  readonly pauses: ReadonlyMap<string, Pause>;
  readonly day: Day;
  /** Per issue, the number of the request whose answer was applied last. */
  readonly fences: ReadonlyMap<string, number>;
  /** The number of the candidate read that was applied last: a fence for every issue. */
  readonly listFence: number;
  /** Issues put into `candidates` and `queue` between two lists, with the read that spoke of them. */
  readonly placed: ReadonlyMap<string, number>;
  /** Reads under way; a fence older than all of them is forgotten. */
  readonly openRequests: ReadonlySet<number>;
  readonly lastRequest: number;
  readonly poll: Poll;
  readonly refill: Refill;
  /** Names the next attempt: ids grow even when the wall clock goes back. */
  readonly lastAttemptStamp: number;
  readonly usage: Usage;
  readonly rateLimits: Readonly<Record<string, unknown>> | null;
  readonly trackerError: Fault | null;
  /** Writes that the disk refused wait to be repeated: nothing new is started. */
  readonly storage: StorageTrouble | null;
  readonly draining: boolean;
}

export interface Fault {
  readonly code: string;
  readonly message: string;
}

/** The provider of one agent takes no turns. */
export interface Pause {
  readonly agent: string;
  readonly untilWall: number;
  readonly reason: string;
  /** Refusals in a row, with no good turn between them: each makes the next pause longer. */
  readonly hits: number;
  /** False once it is over; kept until a turn went well, so that the next one knows of it. */
  readonly active: boolean;
}

/** What all issues used in one day (UTC). */
export interface Day {
  /** Days since the epoch. */
  readonly index: number;
  readonly tokens: number;
  /** The budget was found used up, and that was told. */
  readonly reached: boolean;
}

export interface Poll {
  readonly phase: "idle" | "reconciling" | "preflight" | "fetching" | "verifying";
  /** The read this phase waits for. */
  readonly request: number;
  /** Candidates looked at in this poll, so that none is asked for twice. */
  readonly tried: ReadonlySet<string>;
  /** Something changed after this poll's read began: poll again at once. */
  readonly again: boolean;
  readonly startedAt: number;
  readonly lastWall: number | null;
  readonly nextWall: number | null;
}

/** Starting what waits in the known queue when a slot becomes free between two polls. */
export interface Refill {
  /** Ordered for the end of this turn of the event loop: slots that become free together share one read. */
  readonly isDue: boolean;
  /** The read right before launch that is under way, or null. */
  readonly request: number | null;
  /** Issues of the queue whose last open blocker has just closed: read again although the list says that they wait. */
  readonly unblocked: ReadonlySet<string>;
  /** Attempts in a row, of all issues, that failed before their first turn. */
  readonly falseStarts: number;
}

export interface Usage {
  readonly tokens: Tokens;
  /** Of ended attempts. */
  readonly seconds: number;
}

/** Completed rows at most; the same for rows that are free after work. */
export const completedKept = 1_000;

/** In `running`, `retrying` or `blocked`: no poll may select it (O-8, O-27). */
export function isClaimed(state: State, issueId: string): boolean {
  const claim = state.issues.get(issueId)?.claim;
  return claim === "running" || claim === "retrying" || claim === "blocked";
}

/** Nobody works on it, nobody stopped it, and it is not done. */
export function isFree(state: State, { id }: Issue): boolean {
  return (state.issues.get(id)?.claim ?? "free") === "free";
}

/** The state in which the issue of `claim` has that claim and no other. */
export function claimed(state: State, claim: Claim): State {
  return { ...state, issues: state.issues.with(claim) };
}

/** A copy of `map` with `key` set to `value`. */
export function setIn<K, V>(map: ReadonlyMap<K, V>, key: K, value: V): ReadonlyMap<K, V> {
  return new Map(map).set(key, value);
}

/** Nothing known, nothing done. */
export function emptyState(): State {
  return {
    candidates: [],
    queue: [],
    queuedFor: null,
    issues: IssueMap.empty,
    watchFrom: 0,
    pauses: new Map(),
    day: { index: 0, tokens: 0, reached: false },
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
    refill: { isDue: false, request: null, unblocked: new Set(), falseStarts: 0 },
    lastAttemptStamp: 0,
    usage: { tokens: noTokens, seconds: 0 },
    rateLimits: null,
    trackerError: null,
    storage: null,
    draining: false,
  };
}

export interface AttemptEnd {
  readonly status: AttemptStatus;
  readonly endedWall: number;
  readonly error: Attempt["error"];
  readonly git: AttemptGit | null;
}

/** The history's form of a live attempt, or of one that just ended. */
export function attemptOf(entry: Running, end: AttemptEnd | null = null): Attempt {
  return {
    id: entry.attemptId,
    issueId: entry.issue.id,
    issueIdentifier: entry.issue.identifier,
    number: entry.number,
    status: end?.status ?? (entry.threadId === null ? "preparing" : "running"),
    phase: entry.phase,
    agent: entry.agent,
    model: entry.model,
    templateId: entry.templateId,
    workerHost: null,
    threadId: entry.threadId,
    sessionId: entry.sessionId,
    turnCount: entry.turnCount,
    startedAt: entry.startedWall,
    endedAt: end?.endedWall ?? null,
    tokens: entry.tokens,
    threadTokens: entry.threadTokens,
    error: end?.error ?? null,
    workspaceKey: entry.workspaceKey,
    workspacePath: entry.workspacePath,
    git: end?.git ?? null,
    idle: entry.idle,
  };
}
