import type { AgentTools } from "../agent/agent.ts";
import type { Issue, TrackerState } from "../model/issue.ts";

/**
 * Where issues come from. The scheduler uses the two reads and nothing else (T-1). Every rejection is a
 * SymphonyError with a tracker code; a partial list is never an answer (T-7).
 */
export interface Tracker {
  readonly kind: string;
  /**
   * Every issue of the scope in one of `states`, in the tracker's order, undispatchable ones included.
   * Resolves to the *same array* as last time when nothing changed, so that callers can skip their work.
   * `[]` asks nobody and gives `[]`.
   */
  fetchIssuesByStates(states: readonly string[]): Promise<readonly Issue[]>;
  /** Complete snapshots in the order asked for, each id at most once; an id left out is gone from the scope. */
  fetchIssuesByIds(ids: readonly string[]): Promise<readonly Issue[]>;
  /** One comment as it is now, by its id; null when there is none. Left out by a tracker whose comments nobody sends. */
  comment?(id: string): Promise<TrackerComment | null>;
  /** Has the tracker tell of changes under an address. Left out by a tracker that sends nothing. */
  registerWebhook?(order: WebhookOrder): Promise<WebhookRegistration>;
  /** Tools for one agent session working on `issue`. */
  bindTools(issue: Issue): AgentTools;
  /** Environment variables holding this tracker's credential. */
  readonly secretEnvNames: readonly string[];
  /** For an operator's transition, never for the scheduler. */
  readonly workflow: TrackerWorkflow;
  /** Calls `onChange` when issues changed outside a poll, if the tracker can tell. Returns how to stop it. */
  watch(onChange: () => void): () => void;
  close(): void;
}

/** A comment, and whether it is from `own` credential, from a `machine` (bot, app, integration), or from a `person`. */
export interface TrackerComment {
  readonly id: string;
  readonly issueId: string;
  readonly body: string;
  readonly author: string;
  readonly by: "person" | "own" | "machine";
}

export interface WebhookOrder {
  readonly url: string;
  /** What deliveries are checked with now; null when there is none. */
  readonly secret: string | null;
  /** True when that cannot be changed here, so that the tracker has to take it. */
  readonly secretIsFixed: boolean;
}

export interface WebhookRegistration {
  readonly outcome: "created" | "enabled" | "adopted";
  /** What the tracker signs with from now on. */
  readonly secret: string;
}

export interface TrackerWorkflow {
  /** The states `issue` may be moved to; cached, so that a listing of many issues is cheap. */
  states(issue: Issue): Promise<readonly TrackerState[]>;
  /** Moves the issue; rejects with `transition_not_allowed` for an unknown name. */
  move(issue: Issue, state: string): Promise<void>;
}

export interface TrackerHealth {
  readonly kind: string;
  readonly healthy: boolean;
  readonly lastError: { readonly code: string; readonly message: string } | null;
}
