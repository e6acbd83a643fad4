import type { Ask } from "../agent/agent.ts";
import type { AgentPick } from "../config/agents.ts";
import type { Idle, Needs, Phase, Tokens } from "../model/attempt.ts";
import type { Issue, Wait } from "../model/issue.ts";

/** What every claim says: the newest snapshot of its issue that was read. */
interface Claimed {
  readonly issue: Issue;
}

/** An attempt is live. Until its agent is gone it stays so, whatever is to become of the issue then. */
export interface Running extends Claimed {
  readonly claim: "running";
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
export type Stop = {
  readonly reason: string;
  /** The turn under way may end by itself first, for a short while; until then it is heard. */
  readonly gently: boolean;
  /** How the attempt counts as ended, where the stop alone does not say. */
  readonly outcome?: "timed_out";
} & (
  | { readonly leadsTo: "retry" | "release" | "shutdown" }
  | { readonly leadsTo: "hold"; readonly sinceWall: number }
  | { readonly leadsTo: "dismiss"; readonly dismissed: Dismissal }
);

export interface Retry extends Claimed {
  readonly claim: "retrying";
  readonly attempt: number;
  readonly failures: number;
  readonly dueAt: number;
  readonly dueWall: number;
  readonly error: string | null;
  readonly workspacePath: string | null;
  /** The attempt that ended well before this recheck, if one did. */
  readonly after: Ended | null;
  /** The tracker state when it was queued: an issue that was moved since is not kept waiting. */
  readonly queuedState: string;
  /** The read that decides about it, while it is under way. */
  readonly checking: number | null;
  /** What it waits for in addition to its time; it continues when that is over. */
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

/** Its run has ended and it waits for a person. */
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

/** By an operator or a limit. */
export interface Held extends StoppedClaim {
  readonly claim: "held";
}

/** By the retry limit. */
export interface Failed extends StoppedClaim {
  readonly claim: "failed";
}

export type Stopped = Held | Failed;

export interface Completed extends Claimed, Omit<Ended, "attemptId"> {
  readonly claim: "completed";
  /** null when no attempt led to it. */
  readonly attemptId: string | null;
  /** An operator completed it while the tracker said that it is open; null otherwise. */
  readonly dismissed: Dismissal | null;
}

/** Completed by an operator: that holds while the tracker state is the one at that time. */
export interface Dismissal {
  readonly state: string;
  readonly sinceWall: number;
}

/** No claim: here for what an operator chose for it, or for the workspace that its work left. */
export interface Free extends Claimed {
  readonly claim: "free";
  /** It was worked on and is not closed: it is read again until then, so that its workspace is cleaned up. */
  readonly worked: boolean;
}

export type Claim = Running | Retry | Blocked | Held | Failed | Completed | Free;
export type ClaimName = Claim["claim"];

/**
 * What an operator chose for an issue. It belongs to the row because it has the life of one: it is saved in the same
 * record, it outlives every claim, and a row that has neither a claim nor a choice is forgotten.
 */
export interface Choices {
  /** Agent, model and effort; null leaves that part as it would be otherwise. */
  readonly pick: AgentPick | null;
  /** The prompt template of the next attempt. */
  readonly templateId: string | null;
  /** The newest attempt that its brakes count no more. */
  readonly allowanceAfter: string | null;
}

export const noChoices: Choices = { pick: null, templateId: null, allowanceAfter: null };

/** All that is known of one issue next to the tracker's list. */
export type IssueRow = Claim & { readonly choices: Choices };
type RowOf<C extends ClaimName> = Extract<Claim, { claim: C }> & { readonly choices: Choices };

export interface Question extends Ask {
  readonly needs: Needs;
}

type Bucket = ReadonlyMap<string, IssueRow>;
type ByClaim = { readonly [C in ClaimName]: ReadonlyMap<string, RowOf<C>> };

/** The order of a walk through all rows: what is worked on first. */
const claimNames = [
  "running",
  "retrying",
  "blocked",
  "held",
  "failed",
  "free",
  "completed",
] as const satisfies readonly ClaimName[];

const places = Object.fromEntries(claimNames.map((name, place) => [name, place]));
const emptyBucket: Bucket = new Map();

function placeOf(claim: ClaimName): number {
  return places[claim] ?? 0;
}

/**
 * The one map of issues: an issue has one row, and a row has one claim. Rows lie in one bucket per claim, so that an
 * event of a live attempt copies the few rows that run and not a thousand completed ones, and a walk over one claim
 * touches no other. `with` is the only way to put a row in, and it takes the issue out of every other bucket.
 */
export class IssueMap implements ReadonlyMap<string, IssueRow> {
  static readonly empty = new IssueMap(claimNames.map(() => emptyBucket));
  /** In the order of `claimNames`. */
  readonly #buckets: readonly Bucket[];

  private constructor(buckets: readonly Bucket[]) {
    this.#buckets = buckets;
  }

  /** The map of these rows, in their order. */
  static from(rows: ReadonlyMap<string, IssueRow>): IssueMap {
    const kept = [...rows].filter(([, row]) => isWorthKeeping(row));
    return new IssueMap(
      claimNames.map((name) => new Map(kept.filter(([, { claim }]) => claim === name))),
    );
  }

  /** The rows with this claim, those that got it last behind the others. */
  of<C extends ClaimName>(claim: C): ByClaim[C] {
    // A row lies in the bucket that its own claim names: see `#put`.
    return (this.#buckets[placeOf(claim)] ?? emptyBucket) as ByClaim[C];
  }

  get(id: string): IssueRow | undefined {
    for (const bucket of this.#buckets) {
      // Most are empty most of the time, and 10,000 candidates are looked up in one poll.
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

  /** The map in which the issue has this claim and no other; what an operator chose for it stays. */
  with(claim: Claim): IssueMap {
    const known = this.get(claim.issue.id);
    const choices = known?.choices ?? noChoices;
    // The next row of a live attempt is a copy of its row, and need not be copied once more.
    const isRow = "choices" in claim && claim.choices === choices;
    return this.#put(isRow ? (claim as IssueRow) : { ...claim, choices }, known);
  }

  /** The map in which `choices` hold for the issue, whatever its claim. */
  choosing(issue: Issue, choices: Partial<Choices>): IssueMap {
    const known = this.get(issue.id);
    const row = known ?? { claim: "free", issue, worked: false, choices: noChoices };
    return this.#put({ ...row, choices: { ...row.choices, ...choices } }, known);
  }

  #put(row: IssueRow, known: IssueRow | undefined): IssueMap {
    const { id } = row.issue;
    const buckets = this.#buckets.slice();
    const place = placeOf(row.claim);
    const own = buckets[place] ?? emptyBucket;
    buckets[place] = isWorthKeeping(row) ? new Map(own).set(id, row) : without(own, id);
    if (known && known.claim !== row.claim) {
      const before = placeOf(known.claim);
      buckets[before] = without(buckets[before] ?? emptyBucket, id);
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
  if (row.claim !== "free" || row.worked) return true;
  const { pick, templateId, allowanceAfter } = row.choices;
  return pick !== null || templateId !== null || allowanceAfter !== null;
}

/** `map` without `key`; the same map when it has none. */
export function without<K, V>(map: ReadonlyMap<K, V>, key: K): ReadonlyMap<K, V> {
  if (!map.has(key)) return map;
  const copy = new Map(map);
  copy.delete(key);
  return copy;
}
