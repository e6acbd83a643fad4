// Durable data: SQLite files and small documents.

import type { Attempt } from "../model/attempt.ts";
import type { Offer } from "../model/delivery.ts";
import type { EventDraft, EventType, SymphonyEvent } from "../model/event.ts";
import type { Attached, Issue, Wait } from "../model/issue.ts";
import type { HeldNext } from "../model/next-step.ts";
import type { NamedTokens } from "./named-tokens.ts";
import type { StoredAgentPauses, StoredPause } from "./pause.ts";
import type { StoredTemplates } from "./templates.ts";

/** All durable state. Only one process owns it at a time. */
export interface Store {
  readonly records: IssueRecords;
  readonly history: History;
  readonly templates: StoredTemplates;
  readonly pause: StoredPause;
  readonly agentPauses: StoredAgentPauses;
  readonly tokens: NamedTokens;
  close(): Promise<void>;
}

/** State of one issue that must survive a restart: an operator's decision, a pending retry. */
export interface IssueRecord {
  readonly issue: Issue;
  readonly held: {
    readonly reason: string;
    readonly since: number;
    /** A person works in its workspace. */
    readonly attached?: Attached | undefined;
    /** A template that cannot be rendered for it. */
    readonly templateId?: string | undefined;
    /** What continues it; default: another run. */
    readonly next?: HeldNext | undefined;
  } | null;
  readonly failed: {
    readonly reason: string;
    readonly error: string | null;
    readonly since: number;
  } | null;
  /** `dueAt` is wall-clock ms since the epoch. */
  readonly retry: {
    readonly attempt: number;
    /** Failed runs in a row, limited by `agent.max_retries`. */
    readonly failures: number;
    readonly dueAt: number;
    readonly error: string | null;
    readonly waits: Wait | null;
    /** The agent that has begun the work. */
    readonly stays?: string;
    /** Workers that died in a row while it ran on them. */
    readonly losses?: readonly string[];
  } | null;
  /** Completed by an operator while the tracker's state is still active: not started while `state` is unchanged. */
  readonly dismissed: { readonly state: string; readonly since: number } | null;
  /** Its work is offered and waits for people. */
  readonly review: { readonly since: number; readonly workspacePath: string | null } | null;
  readonly offer: Offer | null;
  readonly model: string | null;
  /** The prompt template chosen by an operator. */
  readonly templateId: string | null;
  /** Reasoning effort chosen with `model`. */
  readonly effort: string | null;
  /** The agent chosen by an operator. */
  readonly agent: string | null;
  /** An operator released it after a brake: its brakes count only attempts after this one. */
  readonly allowanceAfter: string | null;
  /** The worker that alone runs its attempts, chosen by an operator. */
  readonly worker: string | null;
}

/** Small documents of operators (lowdb): read once at start, written through. */
export interface IssueRecords {
  /** As loaded at start, with later changes. */
  all(): ReadonlyMap<string, IssueRecord>;
  /** On disk (fsynced) when it resolves; null removes. Rejects with `storage_unavailable`. */
  put(issueId: string, record: IssueRecord | null): Promise<void>;
}

/** A completed issue, as the snapshot lists it. */
export interface CompletedRecord {
  readonly issue: Issue;
  /** null when it was completed without an attempt. */
  readonly attemptId: string | null;
  readonly outcome: string;
  /** Wall-clock ms. */
  readonly endedWall: number;
  readonly tokens: Attempt["tokens"];
}

export interface AttemptPage {
  readonly attempts: readonly Attempt[];
  readonly total: number;
}

export interface EventQuery {
  /** Only events with a greater seq. */
  readonly afterSeq: number;
  readonly limit: number;
  readonly issueIdentifiers?: readonly string[];
  /** In addition to those of `issueIdentifiers`: of these issues, whatever their identifiers. */
  readonly issueIds?: readonly string[];
  readonly attemptId?: string;
  readonly types?: readonly EventType[];
}

/** An operator's message to an agent, kept until the agent accepts it. */
export interface Steer {
  readonly id: string;
  readonly issueId: string;
  readonly attemptId: string;
  /** The turn it was meant for. */
  readonly turnId: string;
  readonly message: string;
  /** The caller's `Idempotency-Key`, unique per issue. */
  readonly key: string | null;
  readonly at: number;
  readonly delivered: boolean;
}

/**
 * Append-mostly history (SQLite): attempts, events with a gapless `seq`, steers, audit. All calls are synchronous. A write that
 * the disk refuses throws, or is kept and retried where `keptStore` says so; calls that report it then return false.
 */
export interface History {
  /** Inserts or replaces by id. True: it is on disk. */
  saveAttempt(attempt: Attempt): boolean;
  /** The attempt, and its usage since the last count: both or neither. */
  saveUsed(used: Used): void;
  /** Tokens by issue, attempt, model, agent or day, each row of one model. */
  usage(query: UsageQuery): readonly UsageRow[];
  /** All tokens of the UTC day that `at` (epoch ms) falls into. */
  tokensOfDay(at: number): number;
  attempt(id: string): Attempt | null;
  attemptsOf(issueId: string, limit: number, offset: number): AttemptPage;
  /** Attempts without a recorded end: those that a crash interrupted. */
  openAttempts(): readonly Attempt[];
  /** Sums over all attempts: tokens and seconds of ended ones. */
  totals(): { readonly tokens: Attempt["tokens"]; readonly seconds: number };
  lastAttemptId(): string | null;
  /** Total tokens of an issue's attempts newer than the attempt `after`. */
  tokensSince(issueId: string, after: string): number;
  /** The newest attempt of an issue, by id. */
  latestAttempt(issueId: string): Attempt | null;
  /** Every directory that an attempt is known to have used, even if it no longer exists; read once, then cached. */
  workspacePlaces(): Iterable<WorkspacePlace>;
  /** The one of these at `path`, or null. */
  workspacePlaceAt(path: string): WorkspacePlace | null;
  /** Those whose newest attempt worked on this issue. */
  workspacePlacesOf(issueId: string): Iterable<WorkspacePlace>;
  /** The id of the issue whose attempts were recorded under this identifier (ignoring case). */
  issueIdOf(identifier: string): string | null;
  /** Every identifier that attempts of the issue were recorded under. */
  identifiersOf(issueId: string): readonly string[];

  /** One small step: the oldest events that are old enough. */
  removeOldEvents(removal: Removal): RemovalStep;
  /** One small step: ended attempts that are old enough. Each issue's newest in every directory is kept, and so are all sums. */
  removeOldAttempts(removal: AttemptRemoval): RemovalStep;
  /** For the list that is shown again after a restart; the newest `most` are kept. */
  saveCompleted(record: CompletedRecord, most: number): void;
  /** Oldest first, without issues that were started again since. */
  completed(): readonly CompletedRecord[];

  lastSeq(): number;
  /** One transaction; `events` continue the series. */
  appendEvents(events: readonly SymphonyEvent[]): void;
  /** Oldest first. */
  events(query: EventQuery): readonly SymphonyEvent[];
  /** Newest `limit` events of an issue, newest first. */
  recentEvents(issueId: string, limit: number): readonly SymphonyEvent[];
  /** The last event of a type that an attempt published; null: none. */
  lastEvent(attemptId: string, type: EventType): SymphonyEvent | null;
  /** The oldest seq kept, 0 when there is none. */
  oldestSeq(): number;

  /** Returns the earlier steer if `key` was used before on this issue. Durable when it returns. */
  addSteer(steer: Steer): { readonly steer: Steer; readonly duplicate: boolean };
  markDelivered(steerId: string): void;
  /** The steer that an earlier call with this `Idempotency-Key` created. */
  steerByKey(issueId: string, key: string): Steer | null;
  /** Removes a steer that the agent refused: a refusal changes nothing. */
  dropSteer(steerId: string): void;
  undelivered(issueId: string): readonly Steer[];

  nextAuditSeq(): number;
  /** Records an action before it is done. Durable when it returns; the number is for `audit`. */
  auditIntent(intent: AuditIntent): number;
  /** Records an action with its outcome. Durable when it returns true; removes the intent that it completes. */
  audit(entry: AuditEntry, intent?: number): boolean;
  /** Records what is stored elsewhere already. It survives a crash of the process, and 100 ms later a power cut. */
  auditSoon(entries: readonly AuditEntry[]): boolean;
  /** True while the file with the newest entry names an earlier one. */
  isAuditHeadBehind(): boolean;
  /** All entries, and the name of the newest in its file, are on disk when it returns. Throws `storage_unavailable`. */
  writeAuditHead(): void;
  /** Records intents left by a crash as `interrupted`. Returns their number. */
  endAuditIntents(at: number): number;
  auditPage(query: AuditQuery): AuditPage;

  /** Grows with every write: while it is unchanged, all data that can be read here is unchanged. */
  changes(): number;
}

/** A directory used by attempts, with the issue of the newest one there. */
export interface WorkspacePlace {
  readonly path: string;
  readonly issueId: string;
  readonly issueIdentifier: string;
}

/** Tokens that are not counted yet. */
export interface Used {
  readonly attempt: Attempt;
  /** Whose tokens they are; absent: of the attempt's model. */
  readonly model?: string;
  /** May be negative: of what was counted for another model before. */
  readonly tokens: Attempt["tokens"];
  /** Epoch ms. */
  readonly at: number;
}

export interface UsageQuery {
  readonly group: "issue" | "attempt" | "model" | "agent" | "day" | "template";
  /** One row for each issue, too. */
  readonly byIssue?: boolean;
  /** Days as `2026-11-23`, both included. */
  readonly since?: string;
  readonly until?: string;
  /** Only this issue, by identifier, ignoring case. */
  readonly issue?: string;
}

export interface UsageRow {
  readonly key: string;
  /** Only with `byIssue`. */
  readonly issue?: { readonly id: string; readonly identifier: string };
  readonly agent: string;
  readonly model: string | null;
  readonly tokens: Attempt["tokens"];
}

/** `cli`, `api`, `webhook`, `tracker`, `orchestrator`, or the name of a token. */
export type AuditActor = string;

export interface AuditIntent {
  readonly at: number;
  readonly actor: AuditActor;
  readonly action: string;
  readonly target: string | null;
  readonly detail: Readonly<Record<string, unknown>>;
}

export interface AuditEntry extends AuditIntent {
  readonly outcome: string;
}

/** An entry with its place in the chain. */
export interface AuditRecord extends AuditEntry {
  /** 1-based and without gaps. */
  readonly seq: number;
  readonly hash: string;
  /** Empty for the first entry. */
  readonly prevHash: string;
}

export interface AuditQuery {
  readonly limit: number;
  readonly offset: number;
  readonly actor?: AuditActor;
  readonly action?: string;
  /** Ignoring case. */
  readonly target?: string;
  /** Epoch ms: `since` is included, `until` is not. */
  readonly since?: number;
  readonly until?: number;
}

/** Newest first; `total` counts all matches. */
export interface AuditPage {
  readonly entries: readonly AuditRecord[];
  readonly total: number;
}

/** The part of the event series that other parts of core may use. */
export interface EventSink {
  publish(draft: EventDraft): void;
}

/** The result of one small step of a removal. */
export interface RemovalStep {
  readonly removed: number;
  /** Where the next step continues; null when no older row is left to check. */
  readonly next: string | null;
}

export interface Removal {
  /** Epoch ms: only older rows are removed. */
  readonly before: number;
  /** Rows that one step checks. */
  readonly limit: number;
}

export interface AttemptRemoval extends Removal {
  /** Only attempts with a greater id. */
  readonly after: string;
  /** Issues whose attempts are all kept. */
  readonly kept: readonly string[];
}
