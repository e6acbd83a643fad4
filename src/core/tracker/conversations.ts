import type { TrackerComment } from "./tracker.ts";

/**
 * Conversations that people open with symphony's own user in the tracker, by delegating an issue to it or mentioning it; Linear
 * calls them agent sessions. Every rejection is a SymphonyError with a tracker's code.
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
   * `thought`: what goes on; `action`: a step of the work; `elicitation`: a question; `response`: it is done; `error`: it has
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
