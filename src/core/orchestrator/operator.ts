import type { AgentEvent } from "../agent/agent.ts";
import { SymphonyError } from "../model/errors.ts";
import { type Issue, type IssueStatus, normalState } from "../model/issue.ts";
import { allowedAnew } from "./brakes.ts";
import { andThen, type Context, type Decision, decided, tell } from "./decision.ts";
import type { Effect, Input } from "./messages.ts";
import { recheckRequested } from "./poll.ts";
import { hold, stopFor, unclaimed } from "./reconcile.ts";
import { complete } from "./retry.ts";
import { statusOf } from "./snapshot.ts";
import { attemptIdOf } from "./start.ts";
import { type Question, type Running, type State, setIn } from "./state.ts";

type Target = "queued" | "held" | "completed";

const targets: Readonly<Record<IssueStatus, readonly Target[]>> = {
  queued: ["held", "completed"],
  running: ["held", "completed"],
  retrying: ["queued", "held", "completed"],
  blocked: ["queued", "held", "completed"],
  held: ["queued", "completed"],
  failed: ["queued", "held", "completed"],
  completed: ["queued"],
};

/** The statuses a person may move the issue to now. */
export function targetsOf(state: State, issue: Issue): readonly Target[] {
  if (state.running.has(issue.id)) return targets.running;
  const status = statusOf(state, issue);
  if (status === null) return [];
  // An issue the tracker itself closed can only be opened there.
  if (status === "completed" && !state.dismissed.has(issue.id)) return [];
  return targets[status];
}

/** Stops the attempt and holds the issue. Throws `not_running`. */
export function aborted(
  state: State,
  input: Extract<Input, { type: "operator.aborted" }>,
  context: Context,
): Decision {
  const entry = state.running.get(input.issueId);
  const blocked = state.blocked.get(input.issueId);
  const issue = entry?.issue ?? blocked?.issue;
  if (!issue) {
    throw new SymphonyError("not_running", "the issue has no running attempt", {
      hint: "symphony transition ISSUE held",
    });
  }
  const reason = input.reason ? `aborted: ${input.reason}` : "aborted by an operator";
  return hold(state, issue, { reason, context });
}

/** Hands guidance to the turn in flight. Throws `no_active_turn`. */
export function steered(
  state: State,
  input: Extract<Input, { type: "operator.steered" }>,
): Decision {
  const entry = state.running.get(input.issueId);
  if (!entry || entry.stopping || entry.turnId === null) {
    throw new SymphonyError("no_active_turn", "no turn is under way that could be steered", {
      details: { phase: entry?.phase ?? null, stopping: entry?.stopping?.reason ?? null },
    });
  }
  const { steerId, message } = input;
  return decided(state, { type: "steerAttempt", attemptId: entry.attemptId, steerId, message });
}

/** Moves the issue to a status. Throws `transition_not_allowed`; `details.allowed` says what would do. */
export function transitioned(
  state: State,
  input: Extract<Input, { type: "operator.transitioned" }> & { readonly issue: Issue },
  context: Context,
): Decision {
  const { issue, to, reason } = input;
  const allowed = targetsOf(state, issue);
  if (!allowed.includes(to)) {
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
      return requeue(letGoOn(state, issue, context), issue, reason);
    case "completed":
      return dismiss(state, issue, { reason: reason ?? "completed by an operator", context });
  }
}

/** An operator's word that it is to go on opens a fresh allowance for the issue's brakes. */
function letGoOn(state: State, issue: Issue, context: Context): State {
  return allowedAnew(state, issue, { after: attemptIdOf(state.lastAttemptStamp), context });
}

/** Forgets holds, failures and retry counts, and looks at the issue at once. */
function requeue(state: State, issue: Issue, reason: string | null): Decision {
  const free = unclaimed(state, issue.id);
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

/** Done for us, whatever the tracker says, until its state changes. */
function dismiss(
  state: State,
  issue: Issue,
  { reason, context }: { reason: string; context: Context },
): Decision {
  const row = { issue, state: normalState(issue.state), sinceWall: context.wall };
  const waiting = state.retrying.get(issue.id) ?? state.blocked.get(issue.id);
  const look: Effect[] = state.running.has(issue.id)
    ? []
    : [{ type: "lookAtWorkspace", issue, path: waiting?.workspacePath ?? null }];
  const next = {
    ...unclaimed(state, issue.id),
    dismissed: setIn(state.dismissed, issue.id, row),
  };
  return andThen(stopFor(next, issue, { reason, leadsTo: "dismiss", gently: false }), (stopping) =>
    andThen(
      decided(
        stopping,
        { type: "clearTimer", input: { type: "retry.due", issueId: issue.id } },
        { type: "saveRecord", issueId: issue.id },
        ...look,
      ),
      (last) => complete(last, issue, null, context.wall),
    ),
  );
}

type Responded = Extract<Input, { type: "operator.responded" }>;

/** What the agent waits for after `event`; an issue that waits for a person is `blocked`, its agent lives on. */
export function questionsAfter(asked: readonly Question[], event: AgentEvent): readonly Question[] {
  switch (event.type) {
    case "approval.requested":
      return event.ask ? [...asked, { ...event.ask, needs: event.needs }] : asked;
    case "approval.resolved":
      return asked.filter(({ id }) => id !== event.askId);
    case "turn.completed":
    case "turn.failed":
      return [];
    default:
      return asked;
  }
}

/** Tells that an issue began to wait, when it did. */
export function blockedNow(before: Running, after: Running): Decision["effects"] {
  const [first] = after.asked;
  if (before.asked.length > 0 || !first) return [];
  const { kind, prompt, options } = first.needs;
  return [
    tell("issue.blocked", after.issue, {
      attemptId: after.attemptId,
      message: `waits for a person: ${prompt}`,
      data: { needs: { kind, options } },
    }),
  ];
}

/**
 * A person answered. A live agent hears it at once; where the run has ended with its question, the issue is
 * started again and its thread goes on with the answer. Throws `nothing_asked`.
 */
export function responded(state: State, input: Responded): Decision {
  const entry = state.running.get(input.issueId);
  const [first] = entry?.asked ?? [];
  if (entry && first && !entry.stopping) {
    const { answer } = input;
    return decided(state, {
      type: "answerAttempt",
      attemptId: entry.attemptId,
      askId: first.id,
      answer,
    });
  }
  const blocked = state.blocked.get(input.issueId);
  if (!blocked) {
    throw new SymphonyError("nothing_asked", "the issue asks for nothing now", {
      hint: "symphony inbox",
    });
  }
  return andThen(decided(state), (next) => requeue(next, blocked.issue, "answered by a person"));
}

/** The state with `entry` in it. */
export function withRunning(state: State, entry: Running): State {
  return { ...state, running: setIn(state.running, entry.issue.id, entry) };
}
