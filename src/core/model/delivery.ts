/** Where the work on one issue is, and what it waits for. Times are ms since the epoch. */
export interface Delivery {
  readonly issueId: string;
  readonly issueIdentifier: string;
  readonly mode: "none" | "branch" | "pull_request";
  /** The name in `git.repositories`; null: the workspace has no repository that symphony cloned. */
  readonly repository: string | null;
  readonly branch: string | null;
  /** The branch that it was made from and is offered to. */
  readonly base: string | null;
  /** The commit that is offered. */
  readonly head: string | null;
  /** The commit that the remote branch is known to have; null: it was not pushed. */
  readonly pushed: string | null;
  readonly pullRequest: PullRequestFacts | null;
  /** One sentence; null: for nothing. */
  readonly waitingFor: string | null;
  /** Why the last step failed, and the next command; null: it did not. */
  readonly problem: string | null;
  readonly offeredAt: number;
  /** When the pull request, or the base, was last read; null: never. */
  readonly seenAt: number | null;
  /** It is merged or closed, or its issue has ended: nothing more is read. */
  readonly over: boolean;
  /** The last pushed commit that was seen merged; null: none was. */
  readonly merged?: string | null;
  /** What the last commit did not take of the workspace, in words; null or omitted: it took everything. */
  readonly leftOut?: string | null;
}

export interface PullRequestFacts {
  readonly number: number;
  readonly url: string;
  readonly state: "open" | "merged" | "closed";
  readonly draft: boolean;
  /** The commit that it has now. */
  readonly headSha: string;
  readonly checks: "none" | "running" | "passed" | "failed" | "unknown";
  readonly review: "none" | "approved" | "changes_requested" | "unknown";
}

/** A branch that people may still merge, or that an agent works on. */
export interface LiveBranch {
  readonly issueId: string;
  readonly issueIdentifier: string;
  readonly branch: string;
  /** When its work began, ms since the epoch. */
  readonly since: number;
}

/** Lines of one file as the base has them, 1-based; a pure insertion has `count` 0. */
export interface ChangedLines {
  readonly start: number;
  readonly count: number;
}

/** A file that two branches change. */
export interface ChangedByBoth {
  readonly path: string;
  /** `conflict`: git cannot merge it. `near`: it can. */
  readonly kind: "conflict" | "near";
  /** What the first and the second changed; empty where lines mean nothing. */
  readonly lines: readonly [readonly ChangedLines[], readonly ChangedLines[]];
}

/** Two live branches of one repository that change the same files. */
export interface Overlap {
  readonly repository: string;
  /** The one whose work began earlier. */
  readonly first: LiveBranch;
  readonly second: LiveBranch;
  /** Git cannot merge the two. */
  readonly conflicts: boolean;
  readonly files: readonly ChangedByBoth[];
}

type Stage = Pick<
  Delivery,
  "mode" | "branch" | "pullRequest" | "waitingFor" | "problem" | "pushed" | "merged" | "leftOut"
>;

/** One line: where the work is, and what it waits for. */
export function deliveryInWords(delivery: Stage): string {
  return `${placeOf(delivery)}; ${progressOf(delivery)}`;
}

/** What it waits for, why its last step failed, or how it ended. */
export function progressOf(delivery: Stage): string {
  const { waitingFor, problem, branch, pullRequest: pull, pushed, merged = pushed } = delivery;
  if (problem !== null) return problem;
  if (waitingFor !== null) {
    const isNamed = branch !== null && placeOf(delivery).includes(branch);
    const waits = `waits for ${isNamed ? waitingFor.replace(branch, () => "it") : waitingFor}`;
    return delivery.leftOut ? `${waits}; left out: ${delivery.leftOut}` : waits;
  }
  if (pull !== null) return pull.state === "open" ? "it is over" : `it was ${pull.state}`;
  if (merged !== pushed) return "its issue ended before it was merged";
  return pushed === null ? "not delivered" : "it was merged";
}

/** Where the work is. */
export function placeOf({ mode, branch, pullRequest: pull, pushed, waitingFor }: Stage): string {
  if (pull !== null) return `pull request #${pull.number} ${pull.url}`;
  if (branch !== null && pushed !== null) return `branch ${branch}`;
  // Its branch is nowhere but there, and is not pushed.
  if (branch === null || mode === "none")
    return waitingFor === null ? "in no branch" : "in its workspace";
  return waitingFor === null
    ? `branch ${branch}, which is not at the remote`
    : `branch ${branch}, not pushed yet`;
}

/** Whether it waits for a person; else it waits for a check, the site or symphony. */
export function needsPerson({ problem, waitingFor }: Pick<Delivery, "problem" | "waitingFor">) {
  // A check that also fails on the base starts no turn: a person has to repair the base.
  return problem !== null || /^a (?:person|review|new review)\b| too$/.test(waitingFor ?? "");
}

/** Work on an issue that was offered to people. It outlives every claim, as choices do. */
export interface Offer {
  /** The attempt that made it. */
  readonly attemptId: string;
  /** The offered commit; null: the workspace has no repository. */
  readonly head: string | null;
  /** What a person had written when it was offered; an edit starts the issue again. */
  readonly revision: string;
  /** The tracker states, in normal form, that the issue may rest in while its work is offered. */
  readonly restsIn: readonly string[];
  /** Rounds of feedback since a person last spoke. */
  readonly rounds: number;
  /** It is not offered yet: it has to be compared with the other branches, or one of them goes first (`branch`). */
  readonly waits?: boolean | "branch";
  /** Held because its rounds are used up: a person's next word continues it. */
  readonly exhausted?: boolean;
}
