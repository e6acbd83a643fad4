import type { Config, TrackerConfig } from "../config/config.ts";
import { noTokens } from "../model/attempt.ts";
import { type Issue, normalState } from "../model/issue.ts";
import { allowedAfter, brakedBefore, idleOf } from "./brakes.ts";
import {
  agentsFor,
  type Choice,
  choiceFor,
  choiceWith,
  keepingTo,
  takesTurns,
  templateFor,
} from "./choice.ts";
import { type Context, type Decision, decided, type Prior, tell } from "./decision.ts";
import { gateOf } from "./gates.ts";
import { type Running, workspacePathOf } from "./issues.ts";
import { type Losses, lossesOf } from "./losses.ts";
import type { Effect } from "./messages.ts";
import { wantedFor, whyNoWorker, workerFor, workersOf } from "./placement.ts";
import { queueRetry } from "./retry.ts";
import { attemptOf, claimed, type State } from "./state.ts";

/** As for every retry that waits for a gate: the wall clock may be behind, and a gate may open at no known time. */
const shortestWaitMs = 1_000;
const openWaitMs = 10 * 60_000;

export interface Birth extends Losses {
  /** The retry number; null on a first run. */
  readonly attempt: number | null;
  readonly failures: number;
}

const notBegun = {
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
  usedTool: false,
  questions: [],
  stopping: null,
} as const;

/** Claims the issue and orders its attempt: one atomic decision (O-14). */
export function startAttempt(state: State, issue: Issue, birth: Birth, context: Context): Decision {
  const stamp = Math.max(state.lastAttemptStamp + 1, context.wall);
  const prior = context.prior(issue.id, allowedAfter(state, issue.id));
  const braked = brakedBefore(state, issue, { prior, context });
  if (braked) return braked;
  const { choices, offer = null } = state.issues.get(issue.id) ?? {};
  const { id: templateId } = templateFor(choices?.templateId ?? null, issue, context.config);
  const begun = begunOf(prior, offer !== null);
  const choice = choiceAfter(begun, { state, issue, config: context.config });
  if (!takesTurns(state, choice.agent)) {
    return waitForAgent(state, issue, { birth, agent: choice.agent, context });
  }
  const isAway = workersOf(state, context.config) !== null;
  const worker = !isAway
    ? null
    : workerFor(state, context.config, {
        wanted: wantedFor(state, issue, context.config, choice.agent),
        before: prior.worker ?? null,
        hasFailed: prior.last?.outcome === "failed",
      });
  if (isAway && worker === null)
    return waitForWorker(state, issue, { birth, choice, begun, context });
  const { agent } = choice;
  const thread = offer === null ? prior.resume : prior.thread;
  const resume = thread?.agent === agent ? thread : null;
  const entry: Running = {
    ...notBegun,
    claim: "running",
    issue,
    attemptId: attemptIdOf(stamp),
    number: prior.count + 1,
    attempt: birth.attempt,
    failures: birth.failures,
    ...lossesOf(birth),
    agent,
    model: choice.model,
    templateId,
    startedAt: context.now,
    startedWall: context.wall,
    threadTokens: resume?.tokens ?? noTokens,
    startedIn: normalState(issue.state),
    spentBefore: prior.tokens,
    idle: idleOf(prior, issue),
    ...(worker !== null && { worker }),
  };
  const resumeThreadId = resume?.threadId ?? null;
  return decided(
    claimed({ ...state, lastAttemptStamp: stamp }, entry),
    { type: "clearTimer", input: { type: "retry.due", issueId: issue.id } },
    { type: "saveRecord", issueId: issue.id },
    dispatched(entry, choice, resumeThreadId !== null),
    ...moveOf(entry, context.config.tracker),
    {
      type: "startAttempt",
      row: attemptOf(entry),
      attemptId: entry.attemptId,
      issue,
      attempt: birth.attempt,
      resumeThreadId,
      isRound: offer !== null,
      agent,
      ...(begun !== null && begun !== agent && { takesOver: true }),
      templateId,
      ...(worker !== null && { worker }),
    },
  );
}

/** All workers that can run its agent are full or gone: nothing runs on this machine instead, and no attempt is counted. */
function waitForWorker(
  state: State,
  issue: Issue,
  {
    birth,
    choice: { agent },
    begun,
    context,
  }: { birth: Birth; choice: Choice; begun: string | null; context: Context },
): Decision {
  const { now, wall, config } = context;
  return queueRetry(
    state,
    {
      ...{ issue, attempt: birth.attempt ?? 1, failures: birth.failures, after: null },
      ...lossesOf(birth),
      error: whyNoWorker(state, config, wantedFor(state, issue, config, agent)),
      workspacePath: workspacePathOf(state.issues.get(issue.id)),
      ...(begun === agent && { stays: agent }),
    },
    { delayMs: shortestWaitMs, now, wall, wantsSlot: true },
  );
}

function dispatched(entry: Running, { standsInFor }: Choice, resume: boolean): Effect {
  const { issue, attemptId, attempt, number, agent } = entry;
  const retry = attempt === null ? "" : `, retry ${attempt}`;
  const instead = standsInFor === null ? "" : ` with ${agent} in place of ${standsInFor}`;
  const on = entry.worker === undefined ? "" : ` on ${entry.worker}`;
  return tell("issue.dispatched", issue, {
    attemptId,
    message: `dispatched${on}${instead}${retry}`,
    data: {
      ...{ attempt, number, resume, agent, stands_in_for: standsInFor },
      ...(entry.worker !== undefined && { worker: entry.worker }),
    },
  });
}

/** The agent that has begun work which the next attempt would continue; null: there is none. */
function begunOf({ resume, thread, last }: Prior, isOffered: boolean): string | null {
  const open = isOffered ? thread : resume;
  if (open === null) return null;
  // Refused before it did anything.
  const isEmpty = open.tokens.total === 0 && last?.outcome === "failed";
  return isEmpty ? null : open.agent;
}

interface ChoiceAfter {
  readonly state: State;
  readonly issue: Issue;
  readonly config: Config;
}

/** The choice for an issue whose work `begun` has begun, if anyone has. */
function choiceAfter(begun: string | null, { state, issue, config }: ChoiceAfter): Choice {
  const choice = choiceFor(state, issue, config);
  if (begun === null || config.agent.handover || choice.agent === begun) return choice;
  const [agent = choice.agent] = keepingTo(begun, agentsFor(state, issue, config), config);
  return agent === begun ? choiceWith(begun, { state, issue, config }) : choice;
}

/** Its work waits for the agent that has begun it, as no other one may continue it. */
function waitForAgent(
  state: State,
  issue: Issue,
  { birth, agent, context }: { birth: Birth; agent: string; context: Context },
): Decision {
  const { now, wall } = context;
  const gate = gateOf(state, agent);
  const { attempt, failures } = birth;
  const delayMs = Math.max((gate?.untilWall ?? wall + openWaitMs) - wall, shortestWaitMs);
  const waits = gate?.wait.gate === "storage" ? null : (gate?.wait ?? null);
  return queueRetry(
    state,
    {
      issue,
      attempt: attempt ?? 1,
      failures,
      ...lossesOf(birth),
      error: gate?.detail ?? null,
      workspacePath: workspacePathOf(state.issues.get(issue.id)),
      after: null,
      stays: agent,
    },
    { delayMs, now, wall, waits },
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
