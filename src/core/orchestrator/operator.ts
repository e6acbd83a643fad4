import type { AgentEvent } from "../agent/agent.ts";
import { SymphonyError } from "../model/errors.ts";
import { type Issue, type IssueStatus, normalState } from "../model/issue.ts";
import { allowedAnew } from "./brakes.ts";
import { andThen, type Context, type Decision, decided, tell } from "./decision.ts";
import type { Question, Running, Stop } from "./issues.ts";
import type { Effect, Input } from "./messages.ts";
import { runAgain } from "./offer.ts";
import { recheckRequested } from "./poll.ts";
import { relisted } from "./queue.ts";
import { complete } from "./retry.ts";
import { knownIssue, statusOf } from "./snapshot.ts";
import { attemptIdOf } from "./start.ts";
import { claimed, type State } from "./state.ts";
import { hold, stopFor } from "./stop.ts";
import { blockedBy, endedAsk, waitOf } from "./waits.ts";

type Target = "queued" | "held" | "completed";

const targets: Readonly<Record<IssueStatus, readonly Target[]>> = {
  queued: ["held", "completed"],
  running: ["held", "completed"],
  retrying: ["queued", "held", "completed"],
  blocked: ["queued", "held", "completed"],
  review: ["queued", "held", "completed"],
  held: ["queued", "completed"],
  failed: ["queued", "held", "completed"],
  completed: ["queued"],
};

/** The statuses that an operator may move the issue to now. */
export function targetsOf(state: State, issue: Issue): readonly Target[] {
  const row = state.issues.get(issue.id);
  if (row?.claim === "running") return targets.running;
  const status = statusOf(state, issue);
  if (status === null) return [];
  // An issue that the tracker closed can be reopened only there.
  if (row?.claim === "completed" && row.dismissed === null) return [];
  return targets[status];
}

/** Stops the attempt and holds the issue. Throws `not_running`. */
export function aborted(
  state: State,
  input: Extract<Input, { type: "operator.aborted" }>,
  context: Context,
): Decision {
  const row = state.issues.get(input.issueId);
  if (row?.claim !== "running" && row?.claim !== "blocked") {
    throw new SymphonyError("not_running", "the issue has no running attempt", {
      hint: "symphony transition ISSUE held",
    });
  }
  const reason = input.reason ? `aborted: ${input.reason}` : "aborted by an operator";
  return hold(state, row.issue, { reason, context });
}

/** Passes guidance to the current turn. Throws `no_active_turn`. */
export function steered(
  state: State,
  input: Extract<Input, { type: "operator.steered" }>,
): Decision {
  const entry = state.issues.of("running").get(input.issueId);
  if (!entry || entry.stopping || entry.turnId === null) {
    throw new SymphonyError("no_active_turn", "no turn is running that could be steered", {
      details: { phase: entry?.phase ?? null, stopping: entry?.stopping?.reason ?? null },
    });
  }
  const { steerId, message } = input;
  return decided(state, { type: "steerAttempt", attemptId: entry.attemptId, steerId, message });
}

/**
 * Moves the issue to a status. Throws `transition_not_allowed`; `details.allowed` lists the valid
 * targets.
 */
export function transitioned(
  state: State,
  input: Extract<Input, { type: "operator.transitioned" }> & { readonly issue: Issue },
  context: Context,
): Decision {
  const { issue, to, reason } = input;
  const allowed = targetsOf(state, issue);
  const isAtRest = input.unlisted !== undefined && to === "held" && statusOf(state, issue) === null;
  if (!allowed.includes(to) && !isAtRest) {
    const status = statusOf(state, issue) ?? "not queued";
    throw new SymphonyError(
      "transition_not_allowed",
      `${issue.identifier} is ${status} and cannot go to ${to}`,
      { details: { status, allowed } },
    );
  }
  switch (to) {
    case "held":
      return hold(state, issue, { reason: reason ?? "held by an operator", context });
    case "queued":
      return requeue(withFreshBrakes(state, issue, context), issue, { reason, context });
    case "completed":
      return dismiss(state, issue, { reason: reason ?? "completed by an operator", context });
  }
}

/** An operator lets the issue continue: its brakes start again from zero. */
function withFreshBrakes(state: State, issue: Issue, context: Context): State {
  return allowedAnew(state, issue, { after: attemptIdOf(state.lastAttemptStamp), context });
}

/** Clears holds, failures and retry counts, and reads the issue at once. */
function requeue(
  state: State,
  issue: Issue,
  { reason, context }: { readonly reason: string | null; readonly context: Context },
): Decision {
  if (state.issues.get(issue.id)?.offer) {
    return runAgain(state, issue, {
      message: reason ?? "queued by an operator",
      byPerson: true,
      context,
    });
  }
  const free = relisted(claimed(state, { claim: "free", issue, worked: true }), issue, context);
  return andThen(
    decided(
      free,
      { type: "clearTimer", input: { type: "retry.due", issueId: issue.id } },
      { type: "saveRecord", issueId: issue.id },
      tell("issue.queued", issue, { message: reason ?? "queued by an operator" }),
    ),
    (next) => recheckRequested(next, issue.id),
  );
}

/** Completes the issue for symphony until its tracker state changes. A live attempt ends first. */
function dismiss(
  state: State,
  issue: Issue,
  { reason, context }: { reason: string; context: Context },
): Decision {
  const { wall } = context;
  const dismissed = { state: normalState(issue.state), sinceWall: wall };
  const saved: Effect[] = [
    { type: "clearTimer", input: { type: "retry.due", issueId: issue.id } },
    { type: "saveRecord", issueId: issue.id },
  ];
  const row = state.issues.get(issue.id);
  if (row?.claim === "running") {
    const stop: Stop = { reason, leadsTo: "dismiss", dismissed, gently: false };
    return andThen(stopFor(state, row, stop), (next) => decided(next, ...saved));
  }
  const isWaiting = row?.claim === "retrying" || row?.claim === "blocked";
  const path = isWaiting ? row.workspacePath : null;
  return andThen(decided(state, ...saved, { type: "lookAtWorkspace", issue, path }), (next) =>
    complete(next, issue, { ended: null, context, dismissed }),
  );
}

type Responded = Extract<Input, { type: "operator.responded" }>;

/** The agent's open questions after `event`; with one, the issue is `blocked`. */
export function questionsAfter(
  questions: readonly Question[],
  event: AgentEvent,
): readonly Question[] {
  switch (event.type) {
    case "approval.requested":
      return event.ask ? [...questions, { ...event.ask, needs: event.needs }] : questions;
    case "approval.resolved":
      return questions.filter(({ id }) => id !== event.askId);
    case "turn.completed":
    case "turn.failed":
      return [];
    default:
      return questions;
  }
}

/** Publishes that an issue has begun to wait for a person, or waits for a further answer. */
export function blockedNow(before: Running, after: Running): Decision["effects"] {
  const [first] = after.questions;
  if (!first || first.id === before.questions[0]?.id) return [];
  return waitOf(after).map((wait) => blockedBy(wait, after.attemptId));
}

/**
 * A person answered. A live agent receives it at once; if the run has ended with its question, the
 * issue is started again and its thread continues with the answer. Throws `nothing_asked`.
 */
export function responded(state: State, input: Responded, context: Context): Decision {
  const entry = state.issues.of("running").get(input.issueId);
  const [first] = entry?.questions ?? [];
  if (entry && first && !entry.stopping) {
    const { answer } = input;
    requireAsked(input, { open: first.id, ...entry });
    return decided(state, {
      type: "answerAttempt",
      attemptId: entry.attemptId,
      askId: first.id,
      answer,
    });
  }
  const blocked = state.issues.of("blocked").get(input.issueId);
  if (!blocked) {
    throw new SymphonyError("nothing_asked", "the issue has no open question", {
      hint: "symphony inbox",
    });
  }
  requireAsked(input, { open: endedAsk(blocked), ...blocked });
  return requeue(state, blocked.issue, { reason: "answered by a person", context });
}

/** An answer must not reach another question than the one that the person saw. */
function requireAsked(
  { askId }: Responded,
  { open, issue }: { readonly open: string; readonly issue: Issue },
): void {
  if (askId === undefined || askId === open) return;
  const message = `${issue.identifier} no longer asks this: it was answered, or its agent has ended`;
  throw new SymphonyError("nothing_asked", message, { hint: "symphony inbox" });
}

const attachedReason = "attached by an operator: symphony attach ISSUE --done continues it";

/**
 * A person works in the issue's workspace: it is held until `detached`. A live attempt is stopped first,
 * if `interrupt` says so; then this input comes again when its agent is gone. Throws `turn_running`, and
 * `transition_not_allowed` for an issue that cannot be held.
 */
export function attached(
  state: State,
  input: Extract<Input, { type: "operator.attached" }>,
  context: Context,
): Decision {
  const issue = knownIssue(state, input.issueId);
  if (!issue) {
    const message = "the issue is at rest, neither queued nor worked on, and cannot be held";
    throw new SymphonyError("transition_not_allowed", message);
  }
  const row = state.issues.get(issue.id);
  const reason = attachedReason.replace("ISSUE", issue.identifier);
  if (row?.claim === "running") {
    if (input.interrupt) return hold(state, issue, { reason, context });
    throw new SymphonyError("turn_running", `an agent works on ${issue.identifier}`, {
      hint: `symphony attach ${issue.identifier} --interrupt stops it first`,
    });
  }
  if (row?.claim === "held" && (row.attached || row.reason === reason)) {
    // Attached again: what the person changed so far is compared with the same commit.
    const known = row.attached?.head != null ? row.attached : input.attached;
    const held = claimed(state, { ...row, reason, attached: known });
    return decided(held, { type: "saveRecord", issueId: issue.id });
  }
  const allowed = targetsOf(state, issue);
  const status = statusOf(state, issue) ?? "not queued";
  if (status !== "held" && !allowed.includes("held")) {
    const message = `${issue.identifier} is ${status} and cannot be held`;
    const hint = `move it to an active state first; symphony diff ${issue.identifier} shows its work`;
    const details = { status, allowed };
    throw new SymphonyError("transition_not_allowed", message, { details, hint });
  }
  return hold(state, issue, { reason, attached: input.attached, context });
}

/** The person has left the workspace: the issue is queued again. Throws `not_attached`. */
export function detached(
  state: State,
  { issueId }: Extract<Input, { type: "operator.detached" }>,
  context: Context,
): Decision {
  const row = state.issues.of("held").get(issueId);
  if (!row?.attached) {
    throw new SymphonyError("not_attached", "no person is attached to the issue", {
      hint: "symphony attach ISSUE",
    });
  }
  const reason = "the person who worked in its workspace has left";
  const { issue } = row;
  return requeue(withFreshBrakes(state, issue, context), issue, { reason, context });
}
