// Where issues come from: one folder for each tracker, listed in kinds.ts.

import type { z } from "zod";
import type { AgentTools } from "../agent/agent.ts";
import type { Clock } from "../clock.ts";
import type { TrackerConfig } from "../config/config.ts";
import type { Problem } from "../config/finding.ts";
import type { Meter } from "../events/meter.ts";
import type { CommentList, Issue, IssueName, TrackerState } from "../model/issue.ts";
import type { PartialReads } from "./partial.ts";

/**
 * Where issues come from. The scheduler uses only the two reads (T-1). Every rejection is a
 * SymphonyError with a tracker code; a partial list is never returned (T-7).
 */
export interface Tracker {
  readonly kind: string;
  /**
   * Every issue of the scope in one of `states`, in the tracker's order, including those that cannot be dispatched.
   * Resolves to the *same array* as last time when nothing changed, so that callers can skip their work.
   * `[]` sends no request and returns `[]`.
   */
  fetchIssuesByStates(states: readonly string[]): Promise<readonly Issue[]>;
  /** Complete snapshots in the order of the ids, each id once; an omitted id is gone from the scope. */
  fetchIssuesByIds(ids: readonly string[]): Promise<readonly Issue[]>;
  /** The two reads for polls, where one of several repositories may fail by itself. Absent where none can. */
  readonly partial?: PartialReads;
  /**
   * One issue by its identifier or an earlier one, in the scope or not; null: the tracker has none. One
   * request, for people who ask and never for a poll. Absent when the tracker cannot be asked for one.
   */
  find?(identifier: string): Promise<FoundIssue | null>;
  /** Why the last read of this issue found none, such as `moved to the project Billing`; null: not known. Takes what `find` does. */
  whyGone?(id: string): string | null;
  /** The id of the issue that a webhook names by another id of the tracker; null: of none in the scope. Absent without such. */
  idOfNode?(nodeId: string, projectId: string | null): Promise<string | null>;
  /** One comment in its current form, by its id; null when there is none. Absent when the tracker sends no comments. */
  comment?(id: string): Promise<TrackerComment | null>;
  /**
   * The newest comments of an issue with their ids, oldest first, to find commands: those since `since` (ms since the epoch; at
   * most the newest 500), and earlier ones as far as they come with them. Absent when the tracker has none.
   */
  newComments?(issue: IssueName, since: number): Promise<readonly TimedComment[]>;
  /** The name by which comments mention symphony's own user, such as `symphony-bot`; null: not known. */
  ownLogin?(): string | null;
  /** How far this machine's clock is ahead of the tracker's, ms: its times are compared with ours. Absent when it has none. */
  aheadMs?(): number;
  /** Conversations that people open with symphony's own user. Absent when there are none, or they are not answered. */
  readonly conversations?: TrackerConversations;
  /** The newest comments of an issue, for people and templates. Absent when the tracker has no comments. */
  comments?(issue: IssueName): Promise<CommentList>;
  /**
   * The states that the scope has, and its labels if they are wanted, to check the names of a configuration. Absent where the
   * tracker cannot be asked.
   */
  scopeNames?(wanted: { readonly labels: boolean }): Promise<ScopeNames>;
  /** Makes the tracker send webhooks to an address. Absent when the tracker sends none. */
  registerWebhook?(order: WebhookOrder): Promise<WebhookRegistration>;
  /**
   * What its budget asks of polls that come every `intervalMs`; called once a poll. null: nothing. Absent when the
   * tracker has no budget.
   */
  pollPace?(intervalMs: number): PollPace | null;
  /** The share of its budget that is left, 0 to 1; null: it has not said. Absent without a budget. */
  budgetLeft?(): number | null;
  /** What the last poll left out because symphony does not work on it, such as `2 drafts`; null: nothing. Absent without such. */
  leftOut?(): string | null;
  /** What is left of its budget after the last request, in words; null: it has not said. Absent without a budget. */
  quota?(): string | null;
  /** Where people upload files of issues. Absent when it has no such place. */
  readonly uploads?: Uploads;
  /** Where it is asked. Absent when its issues are on this machine. */
  readonly address?: string;
  /** Absent where people make and edit issues in the tracker itself, and in an own store (`openIssues`); `editorOf` completes it. */
  readonly editor?: IssueEditor;
  /** Tools for one agent session working on `issue`. */
  bindTools(issue: Issue): AgentTools;
  /** Environment variables holding this tracker's credential. */
  readonly secretEnvNames: readonly string[];
  /** For an operator's transition, never for the scheduler. */
  readonly workflow: TrackerWorkflow;
  /** Calls `onChange` when issues changed outside a poll, if the tracker can detect it. Returns how to stop it. */
  watch(onChange: () => void): () => void;
  close(): void | Promise<void>;
}

/** The place of uploaded files. */
export interface Uploads {
  /** Whether the file of an address was uploaded to this tracker. */
  holds(url: URL): boolean;
  /** The value of the header `authorization` for a file that it holds; null: it is public. It is sent nowhere else. */
  authorization(url: URL, issueId: string): string | null | Promise<string>;
  /** Whether the address of an upload may lead there; it is read without a credential. Absent: nowhere. */
  leadsTo?(url: URL): boolean;
}

/** An issue, and what it has of the scope that the configuration sets in the tracker. */
export interface FoundIssue {
  readonly issue: Issue;
  /** One line for each setting of the scope, and one if it is archived. */
  readonly scope: readonly ScopeLine[];
}

/** A setting of the scope, and whether an issue fits it. */
export interface ScopeLine {
  /** Such as `project`. */
  readonly gate: string;
  readonly pass: boolean;
  /** What was found. */
  readonly detail: string;
  /** What would make it fit; null: it fits. */
  readonly opens: string | null;
}

/** Polls are slower than configured, for a while. */
export interface PollPace {
  readonly intervalMs: number;
  /** For people. */
  readonly reason: string;
}

/** The names that the configured scope of a tracker has. */
export interface ScopeNames {
  /** Team to its states, in the tracker's order; null instead of a team: the states of all issues. */
  readonly teams: ReadonlyMap<string | null, readonly string[]>;
  /** null: not known, not wanted, or any text is a label. */
  readonly labels: readonly string[] | null;
  /** What else is wrong between the settings and the tracker. */
  readonly problems?: readonly Problem[];
}

/** A project of a tracker: what its setting takes, and its name for people. */
export interface ScopeProject {
  readonly id: string;
  readonly name: string;
  /** It is none of those that `projectKey` takes, but a board for `boardKey` of the tracker's set-up. */
  readonly isBoard?: boolean;
}

/** Below this share of the tracker's budget the rest is left to moves and polls: the work's steps are not shown. */
export const writeReserve = 0.1;

/** A comment with this never steers: symphony's own, and one of an agent that has a key other than the server's. */
export const ownMarker = "<!-- symphony -->";

/** A comment, and whether it is by the `own` credential, by a `machine` (bot, app, integration), or by a `person`. */
export interface TrackerComment {
  readonly id: string;
  readonly issueId: string;
  readonly body: string;
  readonly author: string;
  readonly by: "person" | "own" | "machine";
  /**
   * False: a person who may not write there, whose comments steer nothing. null: that could not be asked now. Omitted: every
   * person who comments may.
   */
  readonly mayWrite?: boolean | null;
  /** Ms since the epoch; omitted or null: not known. */
  readonly createdAt?: number | null;
  /** The conversation that it was written in, which gets the answer; omitted: it is a comment. */
  readonly conversation?: string;
  /** It opened the conversation: where no agent works yet, the first turn reads it. */
  readonly opens?: boolean;
}

export interface TimedComment extends TrackerComment {
  readonly createdAt: number | null;
}

/**
 * Conversations that people open with symphony's own user in the tracker, by delegating an issue to it or mentioning it. Every rejection is a SymphonyError with a tracker's code.
 */
export interface TrackerConversations {
  /** `progress`: states and counts; `detail`: also the commands and messages of the agent. */
  readonly shows: "progress" | "detail";
  /** As the tracker has it now; null: there is none, or no longer. */
  read(id: string): Promise<TrackerConversation | null>;
  /** What a person wrote in one; null: there is no such text. */
  prompt(id: string): Promise<ConversationPrompt | null>;
  /** Says something, once for each `key`: resolves also if an earlier try whose answer was lost has said it. */
  say(id: string, key: string, activity: Activity): Promise<void>;
  /** The addresses that the tracker shows with it; they replace the earlier ones. */
  link(id: string, links: readonly ConversationLink[]): Promise<void>;
}

export interface TrackerConversation {
  readonly id: string;
  /** null: it is about no issue, or the issue is deleted. */
  readonly issue: { readonly id: string; readonly identifier: string } | null;
  /** ms since the epoch; null: the tracker does not say. */
  readonly openedAt: number | null;
  /** Who opened it. */
  readonly by: TrackerComment["by"];
  /** False: a person who may not steer, such as a guest. */
  readonly mayWrite: boolean;
  /** The comment that opened it; null: it was opened by a delegation. */
  readonly comment: TrackerComment | null;
  /** The ids of the newest texts of people in it. */
  readonly prompts: readonly string[];
}

/** A text that a person wrote in a conversation, or the order to stop. */
export interface ConversationPrompt {
  readonly conversationId: string;
  readonly stop: boolean;
  readonly comment: TrackerComment;
}

/** What symphony says in a conversation. */
export interface Activity {
  /**
   * `thought`: what is under way; `action`: a step of the work; `elicitation`: a question; `response`: it is done; `error`: it has
   * failed.
   */
  readonly type: "thought" | "action" | "elicitation" | "response" | "error";
  /** Markdown, ready to be written; of an action one line. */
  readonly body: string;
  /** It is replaced by what is said next; only a thought or an action. */
  readonly passing?: boolean;
  /** Answers that the tracker may offer for an elicitation. */
  readonly options?: readonly string[];
}

export interface ConversationLink {
  readonly label: string;
  readonly url: string;
}

/** What a delivery says of a conversation; a hint. */
export interface ConversationEvent {
  readonly id: string;
  readonly issueId: string | null;
  /** The text that a person wrote in it; null: it was opened. */
  readonly promptId: string | null;
}

/** Writes issues for people. */
export interface IssueEditor {
  /** In the first active state, unless the draft has another. */
  create(draft: IssueDraft): Promise<Issue>;
  edit(issue: Issue, change: IssueChange): Promise<Issue>;
  comment(issue: IssueName, body: string): Promise<void>;
}

export interface IssueDraft {
  readonly title: string;
  readonly description?: string | null | undefined;
  readonly labels?: readonly string[] | undefined;
  readonly priority?: number | null | undefined;
  /** Identifiers. */
  readonly blockedBy?: readonly string[] | undefined;
  readonly state?: string | undefined;
}

/** Omitted fields stay as they are; a list replaces the previous one. */
export type IssueChange = Omit<IssueDraft, "title"> & { readonly title?: string | undefined };

/** Looks a name up in the secrets, then in the environment. */
export type Lookup = (name: string) => string | undefined;

/** A tracker's delivery in symphony's terms. It is only a hint: nothing in it is used as a state. */
export interface WebhookEvent {
  /** The tracker's own terms for what changed and how, such as `Issue` and `update`. */
  readonly type: string;
  readonly action: string;
  /** When it was signed, ms since the epoch. */
  readonly sentAt: number;
  /** The issue that changed. */
  readonly issueId: string | null;
  /** The issue's readable identifier; null if the value does not look like one. */
  readonly issueIdentifier: string | null;
  /** A new or edited comment. */
  readonly comment: { readonly id: string; readonly issueId: string } | null;
  /** A conversation that was opened, or continued by a person. */
  readonly conversation?: ConversationEvent | null;
}

/** A request as it came. */
export interface SignedPost {
  /** The value of a header by its name in lower case. */
  header(name: string): string | undefined;
  /** The raw bytes: they are what is signed. */
  readonly body: Uint8Array;
}

/** How a service signs what it posts, and what it posts. */
export interface SignedWebhook {
  /** The service's display name. */
  readonly service: string;
  readonly signature: {
    /** The header that holds the signature, in lower case. */
    readonly header: string;
    readonly description: string;
    /** What a well-formed one looks like. */
    readonly form: RegExp;
  };
  /** The meaning of each further header that is read. */
  readonly headers: Readonly<Record<string, string>>;
  /** The schema of the body, for the API's document. */
  readonly body: z.ZodType;
  /** The default name of the secret, unless the configuration sets another. */
  readonly defaultSecretName: string;
  /** As the service writes it into the header. */
  sign(body: Uint8Array | string, secret: string): string;
}

/** The deliveries of one kind of tracker: their signature and content. */
export interface TrackerWebhook extends SignedWebhook {
  /** The secret that deliveries are signed with, looked up at each call; null when there is none. */
  secret(provider: TrackerConfig["provider"], lookup: Lookup): string | null;
  /** The variable or stored secret that holds it; null when the workflow file holds the secret itself. */
  secretName(provider: TrackerConfig["provider"]): string | null;
  /** Throws `invalid_request` for a body that is not an event of this tracker. */
  read(body: Uint8Array): WebhookEvent;
  /** A delivery as the tracker would send it for a changed issue, to test the webhook path; null: without an issue. */
  sample(issue: { readonly id: string; readonly identifier: string } | null, wall: number): unknown;
  /** What to do if the tracker refuses to register an address. */
  readonly byHand: string;
}

export interface WebhookOrder {
  readonly url: string;
  /** The secret that deliveries are checked with now; null when there is none. */
  readonly secret: string | null;
  /** True when that secret cannot be changed here, so that the tracker has to use it. */
  readonly secretIsFixed: boolean;
}

export interface WebhookRegistration {
  readonly outcome: "created" | "enabled" | "adopted";
  /** The secret that the tracker signs with from now on. */
  readonly secret: string;
}

export interface TrackerWorkflow {
  /** The states `issue` may be moved to; cached, so that a listing of many issues is cheap. */
  states(issue: Issue): Promise<readonly TrackerState[]>;
  /** Moves the issue; rejects with `transition_not_allowed` for an unknown name. */
  move(issue: Issue, state: string): Promise<void>;
  /** Links an address in the issue, once for each `key`. Absent when the tracker has no links. */
  link?(issue: Issue, link: TrackerLink): Promise<void>;
  /**
   * Writes symphony's own comment, one for each `key`: a later text replaces the earlier one. Resolves when it is there, also
   * if an earlier try whose answer was lost has written it. Absent when the tracker takes no comments.
   */
  comment?(issue: IssueName, comment: KeyedComment): Promise<void>;
}

export interface KeyedComment {
  /** Names this one comment. */
  readonly key: string;
  /** Markdown, ready to be written. */
  readonly body: string;
}

export interface TrackerLink {
  /** Names this one link: the same again changes nothing. */
  readonly key: string;
  readonly url: string;
  readonly title: string;
}

export interface TrackerHealth {
  readonly kind: string;
  /** `starting`: no read has ended yet. */
  readonly status: "starting" | "healthy" | "failing";
  /** null while `starting`. */
  readonly healthy: boolean | null;
  readonly lastError: { readonly code: string; readonly message: string } | null;
}

/** What every kind of tracker is created with. */
export interface TrackerDeps {
  readonly dataDir: string;
  readonly clock: Clock;
  /** Called with the number of records of a read that could not be used (T-6), and the names of the first, where known. */
  onMalformed?(count: number, names?: readonly string[]): void;
  /** Called with what a read left out of a board, when that changes, such as `acme/1: 2 drafts`. */
  onLeftOut?(what: string): void;
  /** Called with the outcome of every request. */
  readonly meter?: Meter;
  /** The value behind `$NAME`. */
  readonly lookup: Lookup;
  /** The server's environment and its workflow file, for a tracker that is a program; omitted: nothing, and here. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly workflowPath?: string;
  /** Omitted where credentials that a service replaces cannot be kept: outside of the server. */
  readonly keeper?: CredentialKeeper;
}

/** Keeps credentials that a service replaces while they are used. */
export interface CredentialKeeper {
  /** Sealed and on disk when it resolves. Rejects with the codes of the storage. */
  keep(name: string, value: string): Promise<void>;
  /** From now on the value is redacted. */
  learn(value: string): void;
  /** Reports that a value could not be kept. */
  failed(message: string): void;
}
