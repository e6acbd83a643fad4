import { answerCommand } from "../model/next-step.ts";
import { tell } from "./decision.ts";
import type { Blocked, Running } from "./issues.ts";
import type { Effect } from "./messages.ts";

// What an issue asks a person, of a live agent or of one whose run has ended with it.

/** A question to a person: open until `untilWall` with a live agent, else indefinitely. */
export interface Waiting extends Omit<Blocked, "claim"> {
  readonly untilWall?: number;
  readonly attemptId?: string;
  /** Of the live agent's request. */
  readonly askId?: string;
  /** What the live agent asks next to it, and gets an answer to afterwards. */
  readonly further?: readonly string[];
}

/** True if its agent is live and waits for a person. */
export function isAsking(entry: Running): boolean {
  return entry.questions.length > 0 && !entry.stopping;
}

/** Names what an issue asks whose run has ended with it, as the id of a live agent's request does. */
export function endedAsk({ sinceWall }: Pick<Blocked, "sinceWall">): string {
  return `ended_${sinceWall}`;
}

/** A live agent's question, in the form of one whose run has ended with it. */
export function waitOf({ issue, questions, workspacePath, attemptId }: Running): Waiting[] {
  const [first, ...others] = questions;
  if (!first) return [];
  const { id: askId, needs, sinceWall, untilWall } = first;
  const further = others.map((one) => one.needs.prompt);
  return [{ issue, needs, sinceWall, untilWall, workspacePath, attemptId, askId, further }];
}

/** The command that answers it. */
export function answeredBy(wait: Waiting): string {
  const { issue, needs, askId: id = endedAsk(wait), further = [] } = wait;
  return answerCommand(issue.identifier, { kind: needs.kind, id, further });
}

/** Publishes that an issue waits for a person. */
export function blockedBy(wait: Waiting, attemptId: string): Effect {
  const { kind, prompt, options } = wait.needs;
  return tell("issue.blocked", wait.issue, {
    attemptId,
    message: `waits for a person: ${prompt}`,
    data: { needs: { kind, options }, next: answeredBy(wait) },
  });
}
