import type { Attempt } from "../model/attempt.ts";
import type { EventDraft, EventType, SymphonyEvent } from "../model/event.ts";
import type { Issue } from "../model/issue.ts";
import type { Wait } from "../model/wait.ts";
import type { StoredTemplates } from "../workflow/templates.ts";
import type { AttemptRemoval, Removal, RemovalStep } from "./aged.ts";

/** Everything durable. One process owns it at a time. */
export interface Store {
  readonly records: IssueRecords;
  readonly history: History;
  readonly templates: StoredTemplates;
  close(): Promise<void>;
}

/** What must outlive a restart for one issue: an operator's decision, a pending retry. */
export interface IssueRecord {
  readonly issue: Issue;
  readonly held: { readonly reason: string; readonly since: number } | null;
  readonly failed: {
    readonly reason: string;
    readonly error: string | null;
    readonly since: number;
  } | null;
  /** `dueAt` is wall-clock ms since the epoch. */
  readonly retry: {
    readonly attempt: number;
    /** Failed runs in a row, which `agent.max_retries` counts. */
    readonly failures: number;
    readonly dueAt: number;
    readonly error: string | null;
    readonly waits: Wait | null;
  } | null;
  /** Completed by an operator while the tracker still says active: not started while `state` stays. */
  readonly dismissed: { readonly state: string; readonly since: number } | null;
  readonly model: string | null;
  /** The prompt template an operator chose. */
  readonly templateId: string | null;
  /** Reasoning effort chosen with `model`. */
  readonly effort: string | null;
  /** The agent an operator chose. */
  readonly agent: string | null;
  /** An operator let it go on: its brakes count the attempts after this one. */
  readonly allowanceAfter: string | null;
}

/** Small operator's documents (lowdb): read once at start, written through. */
export interface IssueRecords {
  /** As loaded at start and changed since. */
  all(): ReadonlyMap<string, IssueRecord>;
  /** On disk (fsynced) when it resolves; null removes. Rejects with `storage_unavailable`. */
  put(issueId: string, record: IssueRecord | null): Promise<void>;
}

/** An issue that is done, as the snapshot lists it. */
export interface CompletedRecord {
  readonly issue: Issue;
  /** null when no attempt led to it. */
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
  readonly attemptId?: string;
  readonly types?: readonly EventType[];
}

/** A message of an operator to an agent, kept until the agent took it up. */
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
 * the disk refuses throws, or is kept and repeated where `keptStore` says so; then what tells of it gives false.
 */
export interface History {
  /** Inserts or replaces by id. True: it is on disk. */
  saveAttempt(attempt: Attempt): boolean;
  /** The attempt, and what it used since it was counted last: both or neither. */
  saveUsed(used: Used): void;
  /** Tokens by issue, attempt, model, agent or day, each row of one model. */
  usage(query: UsageQuery): readonly UsageRow[];
  /** All tokens of the UTC day that `at` (epoch ms) falls into. */
  tokensOfDay(at: number): number;
  attempt(id: string): Attempt | null;
  attemptsOf(issueId: string, limit: number, offset: number): AttemptPage;
  /** Attempts that no end was recorded for: what a crash interrupted. */
  openAttempts(): readonly Attempt[];
  /** Sums over all attempts: tokens and seconds of ended ones. */
  totals(): { readonly tokens: Attempt["tokens"]; readonly seconds: number };
  lastAttemptId(): string | null;
  /** Total tokens of an issue's attempts newer than the attempt `after`. */
  tokensSince(issueId: string, after: string): number;
  /** The newest attempt of an issue, by id. */
  latestAttempt(issueId: string): Attempt | null;
  /** Every directory that an attempt is known to have worked in, whatever has become of it; read once, then remembered. */
  workspacePlaces(): Iterable<WorkspacePlace>;
  /** Of those the one at `path`, or null. */
  workspacePlaceAt(path: string): WorkspacePlace | null;
  /** Of those the ones whose newest attempt was at this issue. */
  workspacePlacesOf(issueId: string): Iterable<WorkspacePlace>;
  /** The issue that attempts were recorded under this identifier for (any case). */
  issueIdOf(identifier: string): string | null;

  /** One small step: the oldest events that are old enough. */
  removeOldEvents(removal: Removal): RemovalStep;
  /** One small step: ended attempts that are old enough; each issue's newest stays, in every directory, and so do the sums of all. */
  removeOldAttempts(removal: AttemptRemoval): RemovalStep;
  /** For the list that a restart shows again; the newest `most` are kept. */
  saveCompleted(record: CompletedRecord, most: number): void;
  /** Oldest first, without those that were started again since. */
  completed(): readonly CompletedRecord[];

  lastSeq(): number;
  /** One transaction; `events` continue the series. */
  appendEvents(events: readonly SymphonyEvent[]): void;
  /** Oldest first. */
  events(query: EventQuery): readonly SymphonyEvent[];
  /** Newest `limit` events of an issue, newest first. */
  recentEvents(issueId: string, limit: number): readonly SymphonyEvent[];
  /** The oldest seq kept, 0 when there is none. */
  oldestSeq(): number;

  /** Returns the earlier one when `key` was used before on this issue. Durable when it returns. */
  addSteer(steer: Steer): { readonly steer: Steer; readonly duplicate: boolean };
  markDelivered(steerId: string): void;
  /** The steer an earlier call with this `Idempotency-Key` made. */
  steerByKey(issueId: string, key: string): Steer | null;
  /** Takes back one that the agent refused: a refusal changes nothing. */
  dropSteer(steerId: string): void;
  undelivered(issueId: string): readonly Steer[];

  nextAuditSeq(): number;
  /** Who is about to do what. Durable when it returns; the number is for `audit`. */
  auditIntent(intent: AuditIntent): number;
  /** Who did what, with which outcome. Durable when it returns true, and takes out the intent it ends. */
  audit(entry: AuditEntry, intent?: number): boolean;
  /** Several at once, which the disk is waited for once; there is at least one. */
  auditAll(entries: readonly AuditEntry[]): boolean;
  /** True while the file that names the newest entry names an earlier one, because the disk refused it. */
  isAuditHeadBehind(): boolean;
  /** Throws `storage_unavailable`. */
  writeAuditHead(): void;
  /** Enters what a crash left unended as `interrupted`. Returns how many there were. */
  endAuditIntents(at: number): number;
  auditPage(query: AuditQuery): AuditPage;

  /** Grows with every write: as long as it is the same, so is all that can be read here. */
  changes(): number;
}

/** A directory that attempts worked in, with the issue of the newest one there. */
export interface WorkspacePlace {
  readonly path: string;
  readonly issueId: string;
  readonly issueIdentifier: string;
}

/** Tokens that no one has counted yet. */
export interface Used {
  readonly attempt: Attempt;
  readonly tokens: Attempt["tokens"];
  /** Epoch ms. */
  readonly at: number;
}

export interface UsageQuery {
  readonly group: "issue" | "attempt" | "model" | "agent" | "day";
  /** Days as `2026-11-23`, both included. */
  readonly since?: string;
  readonly until?: string;
  /** Only of this issue, by identifier in any case. */
  readonly issue?: string;
}

export interface UsageRow {
  readonly key: string;
  readonly agent: string;
  readonly model: string | null;
  readonly tokens: Attempt["tokens"];
}

export type AuditActor = "cli" | "api" | "webhook" | "tracker" | "orchestrator";

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

/** An entry as it stands in the chain. */
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
  /** In any case. */
  readonly target?: string;
  /** Epoch ms: from then on, and before then. */
  readonly since?: number;
  readonly until?: number;
}

/** Newest first; `total` counts all that match. */
export interface AuditPage {
  readonly entries: readonly AuditRecord[];
  readonly total: number;
}

/** What the parts of core may do with the event series. */
export interface EventSink {
  publish(draft: EventDraft): void;
}
