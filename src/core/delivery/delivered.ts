import { randomUUID } from "node:crypto";
import type { Clock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import type { RepositoryConfig } from "../config/git.ts";
import type { Logger } from "../events/log.ts";
import type { Delivery, Overlap } from "../model/delivery.ts";
import type { Issue } from "../model/issue.ts";
import type { Input } from "../orchestrator/messages.ts";
import type { Loan } from "../repository/mirrors.ts";
import type { EventSink } from "../store/store.ts";
import type { Tracker } from "../tracker/tracker.ts";
import type { DeliveredWork, WorkDiff } from "../workspace/diff.ts";
import type { Forge } from "./forge.ts";

/** That a check was ordered to run again. */
export interface Rerun {
  /** The run that had failed, by `runOf` of the verdict; empty: it was refused. */
  readonly of: string;
  /** When, ms since the epoch. */
  readonly at: number;
}

/** What the first read with another base found. Counts and names: clocks of the site and here differ. */
export interface Retargeted {
  /** The head of then. */
  readonly head: string;
  /** How many reviews there were, the oldest first: they count no more. */
  readonly reviews: number;
  /** Its runs of checks, by `runName` of the verdict. */
  readonly checks: readonly string[];
}

/** Stands in `problemWith` where a newer base could not be merged into the branch. */
export const updateStep = "update";

/** The delivery of one issue, as it is stored. */
export interface Delivered extends Delivery {
  /** As last read before it was offered. */
  readonly issue: Issue;
  /** The attempt whose work is offered; empty before the first. */
  readonly attemptId: string;
  readonly workspacePath: string | null;
  /** The commit of the base that the work was made from; null if that is not known. */
  readonly from: string | null;
  /** What keeps the pushed commit in the mirror. */
  readonly loan: Loan | null;
  /** The hidden text by which the pull request is known as symphony's. */
  readonly marker: string;
  /** What symphony wrote last: what differs belongs to a person. */
  readonly wrote: { readonly title: string; readonly body: string; readonly draft: boolean } | null;
  /** The kind of write that `problem` is about. */
  readonly problemWith: string | null;
  /** The pushed commit and the tip of the base that an update was last tried for. */
  readonly updatedFor?: string | null;
  /** Earlier commits whose reviews hold for `carriedTo`: only the base was merged into them since. */
  readonly carried?: readonly string[];
  /** The commit of an update of the base; what was committed after it has no review yet. */
  readonly carriedTo?: string;
  /** When `pushed` was pushed, ms since the epoch. */
  readonly pushedAt?: number;
  /** Since when reads of the pull request found the same `waitingFor`, ms since the epoch. */
  readonly waitsSince?: number;
  /** A person set another base: evidence that was there before is about a change to the earlier one. */
  readonly retargeted?: Retargeted;
  /** A check was seen on one of its commits. */
  readonly hadChecks?: boolean;
  /** The commit and the reason that its issue was last held for. */
  readonly stuckFor?: string;
  /** A person ordered the delivery: a branch that was removed or set back is made again. */
  readonly remakes?: boolean;
  /** When the work began, ms since the epoch. */
  readonly startedAt?: number;
  /** Live branches that began earlier and conflict with this one, as last compared. */
  readonly overlaps?: readonly Overlap[];
  /** What symphony ran again, by `rerunKey`. */
  readonly reruns: Readonly<Record<string, Rerun>>;
  /** The last pushed commit that the pull request was seen with; null: none yet. */
  readonly shown: string | null;
  /** Comments of the issue that are older are not read, ms since the epoch. */
  readonly commentsFrom?: number;
  /** What the living comment in the tracker says, and when it was written; omitted: it has none. */
  readonly comment?: { readonly text: string; readonly at: number };
}

/** What deliveries reach beyond themselves. */
export interface Reach {
  readonly clock: Clock;
  readonly log: Logger;
  readonly bus: EventSink;
  config(): Config;
  tracker(): Tracker;
  /** The site of a repository's pull requests; null: it has none that symphony knows. Throws `invalid_config`. */
  forgeFor(repository: RepositoryConfig): Forge | null;
  /** Pushes a commit of a workspace; as `pushCommit`. */
  push: PushPort;
  /** Whether the remote's base branch contains a commit; null: it cannot be determined now. */
  isContained(repository: RepositoryConfig, commit: string, base: string): Promise<boolean | null>;
  /** Keeps a pushed commit in the mirror, also when its branch is deleted. Rejects when it cannot be fetched. */
  keep(repository: RepositoryConfig, branch: string, commit: string): Promise<Loan>;
  release(loan: Loan): Promise<void>;
  /** What pushed work changes. Rejects with `no_repository`. */
  diff(repository: RepositoryConfig, work: DeliveredWork): Promise<WorkDiff>;
  /** The newest commit of a branch of the remote; null: not known now. */
  headOf(repository: RepositoryConfig, branch: string): Promise<string | null>;
  /** Whether merging a commit into the remote's base branch would change nothing; null: not known now. */
  isIncluded(repository: RepositoryConfig, commit: string, base: string): Promise<boolean | null>;
  /** The name of the remote's default branch; null: it has none, or it is not known now. */
  defaultBranch(repository: RepositoryConfig): Promise<string | null>;
  /** Who wrote the newest commit of a branch of the remote, and its subject; null: not known now. */
  newestOf(repository: RepositoryConfig, branch: string): Promise<Newest | null>;
  /** The repository's own template for the text of pull requests; null: none, or not known now. */
  pullRequestFrame(repository: RepositoryConfig, base: string): Promise<string | null>;
  /** Tells the scheduler. */
  post(input: Extract<Input, { type: `offer.${string}` | "radar.updated" }>): void;
  /** Tells the scheduler where an issue is about to wait, or what is offered; resolves when that is on disk. */
  rests(input: Extract<Input, { type: "offer.resting" | "offer.resumed" }>): Promise<void>;
  /** Removes secrets from what a forge or a tracker shows. */
  redact(text: string): string;
  /** The last message of an attempt's agent. */
  lastMessage(attemptId: string): string | null;
  /** Whether an attempt works on the issue now. */
  isRunning(issueId: string): boolean;
  /** Whether a person works in the issue's workspace now. */
  isAttached(issueId: string): boolean;
  /** Whether the issue has ended in its tracker. */
  isEnded(issueId: string): boolean;
}

/** A commit in the words of its author, which are untrusted. */
export interface Newest {
  readonly commit: string;
  readonly author: string;
  readonly subject: string;
}

export type PushPort = (order: {
  readonly repository: RepositoryConfig;
  readonly path: string;
  readonly commit: string;
  readonly branch: string;
  readonly expected: string | null;
  readonly credential: { readonly user: string; readonly password: string } | null;
  readonly signal: AbortSignal;
}) => Promise<PushAnswer>;

export type PushAnswer =
  | { readonly outcome: "pushed" | "already_there" }
  | { readonly outcome: "moved"; readonly found: string | null }
  | {
      readonly outcome: "refused";
      readonly final: boolean;
      readonly reason: string;
      /** As `Refusal.category`. */
      readonly category?: string;
    };

/** The commits whose reviews hold for `commit` too. */
export function carriedInto(
  { carried = [], carriedTo }: Delivered,
  commit: string | null,
): readonly string[] {
  return commit !== null && carriedTo === commit ? carried : [];
}

/** Its pull request was closed, which a person may undo. */
export function isClosed({ over, pullRequest }: Pick<Delivered, "over" | "pullRequest">): boolean {
  return over && pullRequest?.state === "closed";
}

/** What a pushed branch without a pull request waits for. */
export function awaitsMerge({ branch, base }: Pick<Delivered, "branch" | "base">): string {
  return `a person to merge ${branch} into ${base ?? "its base"}`;
}

/** A delivery of which nothing is known yet. */
export function fresh(issue: Issue): Delivered {
  return {
    issue,
    issueId: issue.id,
    issueIdentifier: issue.identifier,
    attemptId: "",
    mode: "none",
    repository: null,
    branch: null,
    base: null,
    head: null,
    pushed: null,
    pullRequest: null,
    waitingFor: null,
    problem: null,
    problemWith: null,
    offeredAt: 0,
    seenAt: null,
    over: false,
    merged: null,
    workspacePath: null,
    from: null,
    loan: null,
    marker: `<!-- symphony ${randomUUID()} -->`,
    wrote: null,
    reruns: {},
    shown: null,
  };
}
