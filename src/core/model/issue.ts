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
  readonly branchName: string | null;
  readonly url: string | null;
  readonly assigneeId: string | null;
  /** Trimmed, lowercased, without duplicates. */
  readonly labels: readonly string[];
  readonly blockedBy: readonly Blocker[];
  /** True only when every rule of the provider allows work now (assignee filter, open blockers). */
  readonly dispatchable: boolean;
  /** Milliseconds since the epoch, or null when the tracker gives no usable instant. */
  readonly createdAt: number | null;
  readonly updatedAt: number | null;
}

export interface Blocker {
  readonly id: string | null;
  readonly identifier: string | null;
  readonly state: string | null;
}

/** One state of the tracker's own workflow. */
export interface TrackerState {
  readonly name: string;
  readonly terminal: boolean;
}

/** How state names are compared everywhere: trimmed and lowercased (requirement N-6). */
export function normalState(name: string): string {
  return name.trim().toLowerCase();
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

/** What a retry waits for in addition to its time: the next budget day, an agent's provider, another branch. */
export type Wait =
  | { readonly gate: "day_budget" }
  | { readonly gate: "provider"; readonly agent: string }
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
