import type { Ask } from "../agent/agent.ts";
import type { AgentPick } from "../config/agents.ts";
import type { Idle, Needs, Phase, Tokens } from "../model/attempt.ts";
import type { Offer } from "../model/delivery.ts";
import type { Attached, Issue, Wait } from "../model/issue.ts";
import type { HeldNext } from "../model/next-step.ts";
import { Rows } from "./rows.ts";

/** Part of every claim: the newest snapshot of the issue that was read. */
interface Claimed {
  readonly issue: Issue;
}

/** An attempt is live, until its agent is gone, even if it is being stopped. */
export interface Running extends Claimed {
  readonly claim: "running";
  readonly attemptId: string;
  /** 1-based count of the issue's attempts. */
  readonly number: number;
  /** The retry number that it was started with; null for a first run. */
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
  /** Parts of them by model, as far as this server received them. */
  readonly threadModels?: Readonly<Record<string, Tokens>>;
  /** A tool of the tracker was called in this turn: the agent may have moved its own issue. */
  readonly usedTool: boolean;
  /** The agent's open questions to a person, oldest first. */
  readonly questions: readonly Question[];
  /** The issue's state when the attempt started, in normal form. */
  readonly startedIn: string;
  /** Tokens of the issue's earlier attempts, as far as its brake counts them. */
  readonly spentBefore: number;
  /** Across attempts: consecutive turns without progress. */
  readonly idle: Idle;
  readonly stopping: Stop | null;
  /** The agent outlives this server. */
  readonly detached?: boolean;
  /** The worker that runs it; absent: this machine. */
  readonly worker?: string;
  /** As `Losses`, before this attempt. */
  readonly losses?: readonly string[];
}

/** An ordered stop: its reason, and what follows for the issue once the agent is gone. */
export type Stop = {
  readonly reason: string;
  /**
   * The current turn may end by itself within a short grace period; its events are accepted until
   * then.
   */
  readonly gently: boolean;
  /** The outcome of the attempt, where the stop alone does not determine it. */
  readonly outcome?: "timed_out";
} & (
  | { readonly leadsTo: "retry" | "release" | "shutdown" | "move" }
  | { readonly leadsTo: "hold"; readonly sinceWall: number }
  | { readonly leadsTo: "dismiss"; readonly dismissed: Dismissal }
);

export interface Retry extends Claimed {
  readonly claim: "retrying";
  readonly attempt: number;
  readonly failures: number;
  /** As `Losses`. */
  readonly losses?: readonly string[];
  readonly dueAt: number;
  readonly dueWall: number;
  readonly error: string | null;
  readonly workspacePath: string | null;
  /** The attempt that completed before this recheck, if there was one. */
  readonly after: Ended | null;
  /** The tracker state when it was queued: if it has changed since, the wait ends. */
  readonly queuedState: string;
  /** The request that decides about it, while it is open. */
  readonly checking: number | null;
  /** A gate that it waits for in addition to its time; it continues when the gate opens. */
  readonly waits: Wait | StorageWait | null;
  /** The agent that has begun the work: no other one continues it without `agent.handover`. */
  readonly stays?: string;
  /** It was due and found no free slot: it may take the next one, even before its next due time. */
  readonly wantsSlot: boolean;
}

/** Waits until every write is saved. After a restart there is nothing to wait for. */
export interface StorageWait {
  readonly gate: "storage";
}

export interface Ended {
  readonly attemptId: string;
  readonly outcome: string;
  readonly endedWall: number;
  readonly tokens: Tokens;
}

/** The run has ended and the issue waits for a person. */
export interface Blocked extends Claimed {
  readonly claim: "blocked";
  readonly needs: Needs;
  readonly sinceWall: number;
  readonly workspacePath: string | null;
}

/** Stopped until an operator lets it continue, or the tracker closes it. */
interface StoppedClaim extends Claimed {
  readonly reason: string;
  readonly error: string | null;
  readonly sinceWall: number;
}

/** Stopped by an operator or a limit. */
export interface Held extends StoppedClaim {
  readonly claim: "held";
  /** A person works in its workspace. */
  readonly attached?: Attached;
  /** This template cannot be rendered for it: it continues when the template changes. */
  readonly templateId?: string;
  /** What continues it; default: another run. */
  readonly next?: HeldNext;
}

/** Stopped by the retry limit. */
export interface Failed extends StoppedClaim {
  readonly claim: "failed";
}

export type Stopped = Held | Failed;

export interface Completed extends Claimed, Omit<Ended, "attemptId"> {
  readonly claim: "completed";
  /** null when no attempt led to it. */
  readonly attemptId: string | null;
  /** Set if an operator completed it while the tracker had it open; else null. */
  readonly dismissed: Dismissal | null;
}

/** Completed by an operator: valid as long as the tracker state does not change. */
export interface Dismissal {
  readonly state: string;
  readonly sinceWall: number;
}

/** No claim: the row exists for an operator's choices, or for the workspace that was left. */
export interface Free extends Claimed {
  readonly claim: "free";
  /** It was worked on and is read until it is closed; then its workspace is removed. */
  readonly worked: boolean;
}

/** The issue's work is offered to people; nothing runs until they or a check answer. */
export interface Review extends Claimed {
  readonly claim: "review";
  readonly sinceWall: number;
  readonly workspacePath: string | null;
}

export type Claim = Running | Retry | Blocked | Review | Held | Failed | Completed | Free;
export type ClaimName = Claim["claim"];

/** Where the work on an issue is; null: unknown, or nowhere. */
export function workspacePathOf(row: Claim | null | undefined): string | null {
  return row && "workspacePath" in row ? row.workspacePath : null;
}

/**
 * What an operator chose for an issue. It is part of the row because it has the same lifetime: it
 * is saved in the same record, it outlives every claim, and a row with neither a claim nor a choice
 * is deleted.
 */
export interface Choices {
  /** Agent, model and effort; null keeps the default for that part. */
  readonly pick: AgentPick | null;
  /** The prompt template of the next attempt. */
  readonly templateId: string | null;
  /** The newest attempt that the issue's brakes no longer count. */
  readonly allowanceAfter: string | null;
  /** The worker that alone runs its attempts; null: any. */
  readonly worker: string | null;
}

export const noChoices: Choices = {
  pick: null,
  templateId: null,
  allowanceAfter: null,
  worker: null,
};

/** The part of a row that outlives its claim. */
export interface Kept {
  readonly choices: Choices;
  readonly offer: Offer | null;
}

const nothingKept: Kept = { choices: noChoices, offer: null };

/** Everything known about one issue in addition to the tracker's list. */
export type IssueRow = Claim & Kept;
type RowOf<C extends ClaimName> = Extract<Claim, { claim: C }> & Kept;

export interface Question extends Ask {
  readonly needs: Needs;
}

type Bucket = Rows<IssueRow>;
type ByClaim = { readonly [C in ClaimName]: ReadonlyMap<string, RowOf<C>> };

/** The order of iteration over all rows: active work first. */
const claimNames = [
  "running",
  "retrying",
  "blocked",
  "review",
  "held",
  "failed",
  "free",
  "completed",
] as const satisfies readonly ClaimName[];

const places = Object.fromEntries(claimNames.map((name, place) => [name, place]));
const emptyBucket: Bucket = Rows.of();

function placeOf(claim: ClaimName): number {
  return places[claim] ?? 0;
}

/**
 * The one map of issues: an issue has one row, and a row has one claim. Rows are kept in one bucket
 * per claim, so that an event of a live attempt copies the few running rows and not a thousand
 * completed ones, and an iteration over one claim reads no other. `with` is the only way to insert
 * a row, and it removes the issue from every other bucket.
 */
export class IssueMap implements ReadonlyMap<string, IssueRow> {
  static readonly empty = new IssueMap(claimNames.map(() => emptyBucket));
  /** In the order of `claimNames`. */
  readonly #buckets: readonly Bucket[];

  private constructor(buckets: readonly Bucket[]) {
    this.#buckets = buckets;
  }

  /** Creates the map of these rows, in their order. */
  static from(rows: ReadonlyMap<string, IssueRow>): IssueMap {
    const kept = [...rows].filter(([, row]) => isWorthKeeping(row));
    return new IssueMap(
      claimNames.map((name) => Rows.of(kept.filter(([, { claim }]) => claim === name))),
    );
  }

  /** The rows with this claim, in the order in which they got it. */
  of<C extends ClaimName>(claim: C): ByClaim[C] {
    // A row is in the bucket of its own claim: see `#put`.
    return (this.#buckets[placeOf(claim)] ?? emptyBucket) as unknown as ByClaim[C];
  }

  get(id: string): IssueRow | undefined {
    for (const bucket of this.#buckets) {
      // Most buckets are empty most of the time, and a poll looks up 10,000 candidates.
      const row = bucket.size > 0 ? bucket.get(id) : undefined;
      if (row !== undefined) return row;
    }
    return undefined;
  }

  has(id: string): boolean {
    return this.get(id) !== undefined;
  }

  get size(): number {
    return this.#buckets.reduce((sum, bucket) => sum + bucket.size, 0);
  }

  /** Returns the map in which the issue has only this claim; choices and offer are kept. */
  with(claim: Claim): IssueMap {
    const known = this.get(claim.issue.id);
    const { choices, offer } = known ?? nothingKept;
    // The next row of a live attempt is already a copy, so it need not be copied again.
    const isRow =
      "choices" in claim && claim.choices === choices && "offer" in claim && claim.offer === offer;
    return this.#put(isRow ? (claim as IssueRow) : { ...claim, choices, offer }, known);
  }

  /** Returns the map in which `choices` apply to the issue, whatever its claim. */
  choosing(issue: Issue, choices: Partial<Choices>): IssueMap {
    const known = this.get(issue.id);
    const row = known ?? { claim: "free", issue, worked: false, ...nothingKept };
    return this.#put({ ...row, choices: { ...row.choices, ...choices } }, known);
  }

  /** Returns the map in which this is the issue's offer, whatever its claim; null: it has none. */
  offering(issue: Issue, offer: Offer | null): IssueMap {
    const known = this.get(issue.id);
    const row = known ?? { claim: "free", issue, worked: true, ...nothingKept };
    return this.#put({ ...row, offer }, known);
  }

  #put(row: IssueRow, known: IssueRow | undefined): IssueMap {
    const { id } = row.issue;
    const buckets = this.#buckets.slice();
    const place = placeOf(row.claim);
    const own = buckets[place] ?? emptyBucket;
    buckets[place] = isWorthKeeping(row) ? own.with(id, row) : own.without(id);
    if (known && known.claim !== row.claim) {
      const before = placeOf(known.claim);
      buckets[before] = (buckets[before] ?? emptyBucket).without(id);
    }
    return new IssueMap(buckets);
  }

  *entries(): MapIterator<[string, IssueRow]> {
    for (const bucket of this.#buckets) yield* bucket;
  }

  *keys(): MapIterator<string> {
    for (const bucket of this.#buckets) yield* bucket.keys();
  }

  *values(): MapIterator<IssueRow> {
    for (const bucket of this.#buckets) yield* bucket.values();
  }

  [Symbol.iterator](): MapIterator<[string, IssueRow]> {
    return this.entries();
  }

  forEach(visit: (row: IssueRow, id: string, all: ReadonlyMap<string, IssueRow>) => void): void {
    for (const [id, row] of this) visit(row, id, this);
  }
}

function isWorthKeeping(row: IssueRow): boolean {
  if (row.claim !== "free" || row.worked || row.offer !== null) return true;
  const { pick, templateId, allowanceAfter, worker } = row.choices;
  return [pick, templateId, allowanceAfter, worker].some((choice) => choice !== null);
}

/** `map` without `key`; the same map when it has none. */
export function without<K, V>(map: ReadonlyMap<K, V>, key: K): ReadonlyMap<K, V> {
  if (!map.has(key)) return map;
  const copy = new Map(map);
  copy.delete(key);
  return copy;
}
