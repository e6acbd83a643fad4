import type { TrackerConfig } from "../config/config.ts";
import {
  type Attempt,
  type AttemptGit,
  type AttemptStatus,
  noTokens,
  type Tokens,
} from "../model/attempt.ts";
import type { Overlap } from "../model/delivery.ts";
import type {
  AgentPause,
  AgentTrouble,
  DispatchPause,
  HostTrouble,
  StorageTrouble,
} from "../model/gates.ts";
import type { ActiveHours } from "../model/hours.ts";
import type { Issue } from "../model/issue.ts";
import type { WorkerHost } from "../model/worker.ts";
import type { Unread } from "../tracker/partial.ts";
import type { PollPace } from "../tracker/tracker.ts";
import { type Claim, IssueMap, type Running } from "./issues.ts";

/** The whole scheduling state; only `step` creates one. `At` is monotonic ms, `Wall` epoch ms. */
export interface State {
  /** The last complete candidate list, as the tracker returned it. */
  readonly candidates: readonly Issue[];
  /** Its issues in scope, in dispatch order; some wait for a blocker. */
  readonly queue: readonly Issue[];
  /** The settings that `queue` was built with. */
  readonly queuedFor: TrackerConfig | null;
  /** Issues with a claim, an operator's choice or a workspace to remove; one row each. */
  readonly issues: IssueMap;
  /** Where in the finished and free rows the next poll continues to read. */
  readonly watchFrom: number;
  /** Agents whose provider refused a turn because of its limit, by name. */
  readonly pauses: ReadonlyMap<string, AgentPause>;
  /** Agents that cannot be started, by name. */
  readonly troubles: ReadonlyMap<string, AgentTrouble>;
  readonly day: Day;
  /** Live branches that change the same files. */
  readonly overlaps: readonly Overlap[];
  /** Per issue, the number of the request whose answer was applied last. */
  readonly fences: ReadonlyMap<string, number>;
  /** The number of the candidate read that was applied last: a fence for every issue. */
  readonly listFence: number;
  /** Issues put into `candidates` and `queue` since the last list, with the request of the read. */
  readonly placed: ReadonlyMap<string, number>;
  /** Open reads; a fence older than all of them is dropped. */
  readonly openRequests: ReadonlySet<number>;
  readonly lastRequest: number;
  readonly poll: Poll;
  readonly refill: Refill;
  /** Names the next attempt: ids increase even when the wall clock goes back. */
  readonly lastAttemptStamp: number;
  readonly usage: Usage;
  readonly rateLimits: Readonly<Record<string, unknown>> | null;
  readonly trackerError: Fault | null;
  /** A read of the tracker has ended, well or not; until then nothing is known about its health. */
  readonly trackerRead: boolean;
  /** An operator paused the start of new work. */
  readonly paused: DispatchPause | null;
  /** Whether `agent.active_hours` are open; null: there are none. */
  readonly hours: HoursNow | null;
  /** The host has too little of something for new work. */
  readonly host: HostTrouble | null;
  /** The workers of the fleet; null: attempts run on this machine. */
  readonly workers: readonly WorkerHost[] | null;
  /** Set while refused writes wait to be repeated: nothing new is started. */
  readonly storage: StorageTrouble | null;
  readonly draining: boolean;
}

/** The active hours as last looked up. */
export interface HoursNow {
  readonly of: ActiveHours;
  readonly open: boolean;
  /** The time it was looked up, and the next change. */
  readonly fromWall: number;
  readonly untilWall: number;
}

export interface Fault {
  readonly code: string;
  readonly message: string;
}

/** The token use of all issues on one day (UTC). */
export interface Day {
  /** Days since the epoch. */
  readonly index: number;
  readonly tokens: number;
  /** The budget was found used up, and that was published. */
  readonly reached: boolean;
}

export interface Poll {
  readonly phase: "idle" | "reconciling" | "preflight" | "fetching" | "verifying";
  /** The request that this phase waits for. */
  readonly request: number;
  /** Candidates read in this poll, so that none is read twice. */
  readonly tried: ReadonlySet<string>;
  /** Something changed after this poll's read began: poll again at once. */
  readonly again: boolean;
  readonly startedAt: number;
  readonly lastWall: number | null;
  readonly nextWall: number | null;
  /** The tracker's budget runs out, so that polls are slower than configured. */
  readonly pace: PollPace | null;
  /** What of the scope the last list could not read; null: nothing. */
  readonly unread: Unread | null;
}

/** Starts issues of the known queue when a slot becomes free between two polls. */
export interface Refill {
  /** Ordered for the end of this event loop turn, so that slots freed together share one read. */
  readonly isDue: boolean;
  /** The open read right before launch, or null. */
  readonly request: number | null;
  /**
   * Queued issues whose last open blocker has just closed: read again although the list shows them
   * as blocked.
   */
  readonly unblocked: ReadonlySet<string>;
  /** Consecutive attempts, of all issues, that failed before their first turn. */
  readonly falseStarts: number;
}

export interface Usage {
  readonly tokens: Tokens;
  /** Of ended attempts. */
  readonly seconds: number;
}

/** Limit of completed rows; the same for rows that are free after work. */
export const completedKept = 1_000;

/** In `running`, `retrying` or `blocked`: no poll may select it (O-8, O-27). */
export function isClaimed(state: State, issueId: string): boolean {
  const claim = state.issues.get(issueId)?.claim;
  return claim === "running" || claim === "retrying" || claim === "blocked";
}

/** It has no attempt, is not stopped and is not completed. */
export function isFree(state: State, { id }: Issue): boolean {
  return (state.issues.get(id)?.claim ?? "free") === "free";
}

/** Returns the state in which the issue of `claim` has that claim and no other. */
export function claimed(state: State, claim: Claim): State {
  return { ...state, issues: state.issues.with(claim) };
}

/** A copy of `map` with `key` set to `value`. */
export function setIn<K, V>(map: ReadonlyMap<K, V>, key: K, value: V): ReadonlyMap<K, V> {
  return new Map(map).set(key, value);
}

/** The empty state. */
export function emptyState(): State {
  return {
    candidates: [],
    queue: [],
    queuedFor: null,
    issues: IssueMap.empty,
    watchFrom: 0,
    pauses: new Map(),
    troubles: new Map(),
    day: { index: 0, tokens: 0, reached: false },
    overlaps: [],
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
      pace: null,
      unread: null,
    },
    refill: { isDue: false, request: null, unblocked: new Set(), falseStarts: 0 },
    lastAttemptStamp: 0,
    usage: { tokens: noTokens, seconds: 0 },
    rateLimits: null,
    trackerError: null,
    trackerRead: false,
    paused: null,
    hours: null,
    host: null,
    workers: null,
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

/** A live or just ended attempt, in the form of the history. */
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
    workerHost: entry.worker ?? null,
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
