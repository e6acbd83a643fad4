import type { z } from "zod";
import type { AgentTools } from "../agent/agent.ts";
import type { Clock } from "../clock.ts";
import type { TrackerConfig } from "../config/config.ts";
import type { Meter } from "../events/meter.ts";
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

/** Looks a name up in the secrets, then in the environment. */
export type Lookup = (name: string) => string | undefined;

/** What a tracker posts when something changed, in words of our own. It is a hint: nothing in it is taken for a state. */
export interface WebhookEvent {
  /** The tracker's own words for what changed and how, such as `Issue` and `update`. */
  readonly type: string;
  readonly action: string;
  /** When it was signed, ms since the epoch. */
  readonly sentAt: number;
  /** The issue that changed. */
  readonly issueId: string | null;
  /** What people call that issue; null where it does not look like it. */
  readonly issueIdentifier: string | null;
  /** A comment that is new. */
  readonly comment: { readonly id: string; readonly issueId: string } | null;
}

/** The deliveries of one kind of tracker: how they are signed, and what they say. */
export interface TrackerWebhook {
  /** The service's name, for people. */
  readonly service: string;
  readonly signature: {
    /** The header that holds it, in lower case. */
    readonly header: string;
    readonly description: string;
  };
  /** What is posted, for the API's document. */
  readonly body: z.ZodType;
  /** The secret that deliveries are signed with, looked up at each call; null when there is none. */
  secret(provider: TrackerConfig["provider"], lookup: Lookup): string | null;
  /** The variable or stored secret that holds it; null when the workflow file holds the secret itself. */
  secretName(provider: TrackerConfig["provider"]): string | null;
  /** The name unless the configuration says another. */
  readonly defaultSecretName: string;
  /** As the tracker writes it into the header. */
  sign(body: Uint8Array | string, secret: string): string;
  /** Throws `invalid_request` for what is no event of this tracker. */
  read(body: Uint8Array): WebhookEvent;
  /** A delivery as the tracker would post it when an issue changes, for a test of the way to here; null: of no issue. */
  sample(issue: { readonly id: string; readonly identifier: string } | null, wall: number): unknown;
  /** What to do where the tracker refuses to register an address. */
  readonly byHand: string;
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

/** What every kind of tracker is created with. */
export interface TrackerDeps {
  readonly dataDir: string;
  readonly clock: Clock;
  /** Told how many records of a read could not be used (T-6). */
  onMalformed?(count: number): void;
  /** Told of every request as it ended. */
  readonly meter?: Meter;
  /** The value behind `$NAME`. */
  readonly lookup: Lookup;
}
