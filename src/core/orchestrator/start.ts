import type { TrackerConfig } from "../config/config.ts";
import { noTokens } from "../model/attempt.ts";
import { type Issue, normalState } from "../model/issue.ts";
import { allowedAfter, brakedBefore, idleOf } from "./brakes.ts";
import { choiceFor, templateFor } from "./choice.ts";
import { type Context, type Decision, decided, tell } from "./decision.ts";
import type { Running } from "./issues.ts";
import type { Effect } from "./messages.ts";
import { attemptOf, claimed, type State } from "./state.ts";

export interface Birth {
  /** The retry number; null on a first run. */
  readonly attempt: number | null;
  readonly failures: number;
}

/** Claims the issue and orders its attempt: one atomic decision (O-14). */
export function startAttempt(state: State, issue: Issue, birth: Birth, context: Context): Decision {
  const stamp = Math.max(state.lastAttemptStamp + 1, context.wall);
  const prior = context.prior(issue.id, allowedAfter(state, issue.id));
  const braked = brakedBefore(state, issue, { prior, context });
  if (braked) return braked;
  const chosen = state.issues.get(issue.id)?.choices.templateId ?? null;
  const { id: templateId } = templateFor(chosen, issue, context.config);
  const { agent, model } = choiceFor(state, issue, context.config);
  const offer = state.issues.get(issue.id)?.offer ?? null;
  const thread = offer === null ? prior.resume : prior.thread;
  const resume = thread?.agent === agent ? thread : null;
  const entry: Running = {
    claim: "running",
    issue,
    attemptId: attemptIdOf(stamp),
    number: prior.count + 1,
    attempt: birth.attempt,
    failures: birth.failures,
    agent,
    model,
    templateId,
    startedAt: context.now,
    startedWall: context.wall,
    phase: "preparing_workspace",
    workspaceKey: null,
    workspacePath: null,
    threadId: null,
    turnId: null,
    turnCount: 0,
    sessionId: null,
    lastEventAt: null,
    lastEventWall: null,
    lastEvent: null,
    lastMessage: null,
    tokens: noTokens,
    threadTokens: resume?.tokens ?? noTokens,
    usedTool: false,
    questions: [],
    startedIn: normalState(issue.state),
    spentBefore: prior.tokens,
    idle: idleOf(prior, issue),
    stopping: null,
  };
  const { attempt } = birth;
  const resumeThreadId = resume?.threadId ?? null;
  return decided(
    claimed({ ...state, lastAttemptStamp: stamp }, entry),
    { type: "clearTimer", input: { type: "retry.due", issueId: issue.id } },
    { type: "saveRecord", issueId: issue.id },
    tell("issue.dispatched", issue, {
      attemptId: entry.attemptId,
      message: attempt === null ? "dispatched" : `dispatched, retry ${attempt}`,
      data: { attempt, number: entry.number, resume: resumeThreadId !== null },
    }),
    ...moveOf(entry, context.config.tracker),
    {
      type: "startAttempt",
      row: attemptOf(entry),
      attemptId: entry.attemptId,
      issue,
      attempt,
      resumeThreadId,
      isRound: offer !== null,
      agent,
      templateId,
    },
  );
}

/** The move to the state for running work, if the configuration names one. */
function moveOf(
  { issue, attemptId: key, startedIn }: Running,
  { inProgress: to }: TrackerConfig,
): Effect[] {
  if (to === null || normalState(to) === startedIn) return [];
  return [{ type: "moveIssue", issue, to, key }];
}

const idPrefix = "att_";

/** Ids sort by creation time. */
export function attemptIdOf(stamp: number): string {
  return idPrefix + stamp.toString(36).padStart(9, "0");
}

/** The stamp in an attempt id; 0 for none. */
export function stampOf(id: string | null): number {
  const stamp = Number.parseInt((id ?? "").slice(idPrefix.length), 36);
  return Number.isFinite(stamp) ? stamp : 0;
}
