// The nouns that every folder uses: issue, attempt, event, error.

/** A work item as the scheduler sees it. Every tracker normalises into this shape (requirement N-1). */
export interface Issue {
  /** The tracker's own id: opaque, never parsed. */
  readonly id: string;
  /** JSON-safe provider facts kept unchanged for tools; core does not read them. */
  readonly nativeRef: Readonly<Record<string, unknown>> | null;
  /** The identifier that operators use, such as `ENG-123`. Unique in the tracker's scope. */
  readonly identifier: string;
  readonly title: string;
  readonly description: string | null;
  /** 1 (urgent) to 4 (low) order the queue; every other integer and null sort last. */
  readonly priority: number | null;
  /** The tracker's own state name, in its own spelling; compare with `sameState`. */
  readonly state: string;
  /** The tracker's type of that state in lower case, such as `backlog` or `started`; null where states have none. */
  readonly stateType: string | null;
  readonly branchName: string | null;
  readonly url: string | null;
  readonly assigneeId: string | null;
  readonly assignee: Person | null;
  readonly team: Team | null;
  readonly project: Project | null;
  readonly parent: IssueLink | null;
  /** At most the first 10. */
  readonly subIssues: readonly IssueLink[];
  /** Trimmed, lowercased, without duplicates. */
  readonly labels: readonly string[];
  readonly blockedBy: readonly Blocker[];
  /** True only when every rule of the provider allows work now (assignee filter, open blockers). */
  readonly dispatchable: boolean;
  /** Why the tracker does not allow work on it, other than a blocker: `assigned to Ada`; null: nothing. */
  readonly withheld: string | null;
  /** What of it does that; null: the tracker does not say. */
  readonly withheldBy: WithheldBy | null;
  /** Milliseconds since the epoch, or null when the tracker gives no usable instant. */
  readonly createdAt: number | null;
  readonly updatedAt: number | null;
}

export type WithheldBy = (typeof withholders)[number];
export const withholders = ["assignee", "type", "milestone", "repository"] as const;

/** Another issue as far as an issue that names it knows it; never without both id and identifier. */
export interface IssueLink {
  readonly id: string | null;
  readonly identifier: string | null;
  readonly title: string | null;
  readonly state: string | null;
  readonly url: string | null;
}

export type Blocker = IssueLink;

export interface Person {
  readonly id: string;
  readonly name: string | null;
}

export interface Team {
  readonly id: string;
  /** Such as `ENG`. */
  readonly key: string | null;
  readonly name: string | null;
}

export interface Project {
  readonly id: string;
  /** The project's short name in addresses. */
  readonly slug: string | null;
  readonly name: string | null;
}

/** The fields of an issue that only some trackers have, for an issue that has none of them. */
export const withoutRelations = {
  stateType: null,
  assignee: null,
  team: null,
  project: null,
  parent: null,
  subIssues: [],
  withheld: null,
  withheldBy: null,
} as const satisfies Partial<Issue>;

/** A comment as plain text, written by the `own` credential, by a `machine` (bot, app, integration), or by a `person`. */
export interface IssueComment {
  readonly author: string;
  readonly by: "person" | "own" | "machine";
  readonly body: string;
  /** Milliseconds since the epoch, or null when the tracker gives no usable instant. */
  readonly createdAt: number | null;
}

/** The newest comments of an issue, oldest first. */
export interface CommentList {
  readonly comments: readonly IssueComment[];
  /** There are older ones, or text was cut. */
  readonly truncated: boolean;
}

/** One state of the tracker's own workflow. */
export interface TrackerState {
  readonly name: string;
  readonly terminal: boolean;
}

/** How state names are compared everywhere: trimmed and lowercased (requirement N-6). */
export function normalState(name: string): string {
  return name.trim().normalize().toLowerCase();
}

/** symphony's own status of an issue; it is not the tracker's state name. */
export const statuses = [
  "queued",
  "running",
  "retrying",
  "blocked",
  "review",
  "held",
  "failed",
  "completed",
] as const;

export type IssueStatus = (typeof statuses)[number];

/** What a retry waits for in addition to its time: an operator, the active hours, the host, the next budget day, an agent's provider, an agent that cannot be started, another branch. */
export type Wait =
  | { readonly gate: "paused" }
  | { readonly gate: "active_hours" }
  | { readonly gate: "host" }
  | { readonly gate: "day_budget" }
  | {
      readonly gate: "provider";
      readonly agent: string;
      /** The end of the wait is not known. */
      readonly isOpen?: true;
    }
  | { readonly gate: "agent"; readonly agent: string }
  | { readonly gate: "conflicts" };

/** What names an issue: to the tracker, and to people. */
export type IssueName = Pick<Issue, "id" | "identifier">;

/** A person works in the issue's workspace; what the agent is told about when they leave. */
export interface Attached {
  readonly path: string;
  /** The commit that was checked out; null: the workspace has no commit. */
  readonly head: string | null;
  /** The workspace had changes that were not committed. */
  readonly dirty: boolean;
}
