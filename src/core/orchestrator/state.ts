import type { Ask } from "../agent/agent.ts";
import type { AgentPick } from "../config/agents.ts";
import type { TrackerConfig } from "../config/config.ts";
import {
  type Attempt,
  type AttemptGit,
  type AttemptStatus,
  type Idle,
  type Needs,
  noTokens,
  type Phase,
  type Tokens,
} from "../model/attempt.ts";
import type { StorageTrouble } from "../model/event.ts";
import type { Issue, Wait } from "../model/issue.ts";

/** The whole scheduling state. Only `step` makes a new one. `At` fields are monotonic ms, `Wall` fields epoch ms. */
export interface State {
  /** The last complete candidate list, as the tracker gave it. */
  readonly candidates: readonly Issue[];
  /** Those of it that are ours, in dispatch order; some wait for a blocker. */
  readonly queue: readonly Issue[];
  /** The settings `queue` was made with. */
  readonly queuedFor: TrackerConfig | null;
  readonly running: ReadonlyMap<string, Running>;
  readonly retrying: ReadonlyMap<string, Retry>;
  readonly blocked: ReadonlyMap<string, Blocked>;
  readonly held: ReadonlyMap<string, Stopped>;
  readonly failed: ReadonlyMap<string, Stopped>;
  /** Oldest first, at most `completedKept`. */
  readonly completed: ReadonlyMap<string, Completed>;
  /** Completed by an operator while still active: the tracker state at that time. */
  readonly dismissed: ReadonlyMap<string, Dismissed>;
  /** The model an operator chose for an issue. */
  readonly models: ReadonlyMap<string, ModelChoice>;
  /** The prompt template an operator chose for an issue. */
  readonly templates: ReadonlyMap<string, TemplateOverride>;
  /** Issues an operator let go on: from where their brakes count anew. */
  readonly allowances: ReadonlyMap<string, Allowance>;
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

export interface Running {
  readonly issue: Issue;
  readonly attemptId: string;
  /** 1-based count of the issue's attempts. */
  readonly number: number;
  /** The retry number it was born with; null for a first run. */
  readonly attempt: number | null;
  /** Failed runs in a row before this one. */
  readonly failures: number;
  readonly agent: string;
  readonly model: string | null;
  readonly templateId: string;
  readonly startedAt: number;
  readonly startedWall: number;
  readonly phase: Phase;
  readonly workspaceKey: string | null;
  readonly workspacePath: string | null;
  readonly threadId: string | null;
  readonly turnId: string | null;
  readonly turnCount: number;
  readonly sessionId: string | null;
  readonly lastEventAt: number | null;
  readonly lastEventWall: number | null;
  readonly lastEvent: string | null;
  readonly lastMessage: string | null;
  /** What this attempt used. */
  readonly tokens: Tokens;
  /** The thread's own absolute totals so far. */
  readonly threadTokens: Tokens;
  /** A tool of the tracker was called in this turn: the agent may have moved its issue itself. */
  readonly usedTool: boolean;
  /** What the agent waits for a person to say, oldest first. */
  readonly asked: readonly Question[];
  /** Tokens of the issue's earlier attempts, as far as its brake counts them. */
  readonly spentBefore: number;
  /** Over the attempts: turns in a row without progress. */
  readonly idle: Idle;
  readonly stopping: Stop | null;
  /** Its agent lives on when this server ends. */
  readonly lasting?: boolean;
}

/** An ordered stop: why, and what becomes of the issue once the agent is really gone. */
export interface Stop {
  readonly reason: string;
  /** The turn under way may end by itself first, for a short while; until then it is heard. */
  readonly gently: boolean;
  readonly leadsTo: "retry" | "release" | "clean" | "hold" | "dismiss" | "shutdown";
  /** How the attempt counts as ended, where the stop alone does not say. */
  readonly outcome?: "timed_out";
}

export interface Retry {
  readonly issue: Issue;
  readonly attempt: number;
  readonly failures: number;
  readonly dueAt: number;
  readonly dueWall: number;
  readonly error: string | null;
  readonly workspacePath: string | null;
  /** The attempt that ended well before this look, if one did. */
  readonly after: Ended | null;
  /** The read that decides about it, while it is under way. */
  readonly checking: number | null;
  /** What it waits for beside its time; it goes on when that is over. */
  readonly waits: Wait | StorageWait | null;
  /** It was due and found no free slot: the next one may be its own, before its time too. */
  readonly wantsSlot: boolean;
}

/** Until everything that happened is saved. A restart has nothing to wait for. */
export interface StorageWait {
  readonly gate: "storage";
}

export interface Ended {
  readonly attemptId: string;
  readonly outcome: string;
  readonly endedWall: number;
  readonly tokens: Tokens;
}

export interface Blocked {
  readonly issue: Issue;
  readonly needs: Needs;
  readonly sinceWall: number;
  readonly workspacePath: string | null;
}

export interface Stopped {
  readonly issue: Issue;
  readonly reason: string;
  readonly error: string | null;
  readonly sinceWall: number;
}

export interface Completed extends Omit<Ended, "attemptId"> {
  readonly issue: Issue;
  readonly attemptId: string | null;
}

export interface Question extends Ask {
  readonly needs: Needs;
}

/** What an operator chose for an issue; null leaves that part as it would be otherwise. */
export interface ModelChoice extends AgentPick {
  readonly issue: Issue;
}

export interface Dismissed {
  readonly issue: Issue;
  readonly state: string;
  readonly sinceWall: number;
}

/** Outlives the issue's claim, so it keeps the issue as it was when it was chosen. */
export interface TemplateOverride {
  readonly issue: Issue;
  readonly templateId: string;
}

export interface Allowance {
  readonly issue: Issue;
  /** The newest attempt that counts no more. */
  readonly after: string;
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

export const completedKept = 1_000;

/** In `running`, `retrying` or `blocked`: no poll may select it (O-8, O-27). */
export function isClaimed(state: State, issueId: string): boolean {
  return state.running.has(issueId) || state.retrying.has(issueId) || state.blocked.has(issueId);
}

/** Stopped by a person or by the retry cap: only an operator's transition starts it again. */
export function isStopped(state: State, issueId: string): boolean {
  return state.held.has(issueId) || state.failed.has(issueId);
}

/** A copy of `map` with `key` set to `value`. */
export function setIn<K, V>(map: ReadonlyMap<K, V>, key: K, value: V): ReadonlyMap<K, V> {
  return new Map(map).set(key, value);
}

/** `map` without `key`; the same map when it has none. */
export function without<K, V>(map: ReadonlyMap<K, V>, key: K): ReadonlyMap<K, V> {
  if (!map.has(key)) return map;
  const copy = new Map(map);
  copy.delete(key);
  return copy;
}

/** Nothing known, nothing done. */
export function emptyState(): State {
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
    allowances: new Map(),
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
