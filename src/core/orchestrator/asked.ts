import type { AgentEvent } from "../agent/agent.ts";
import { SymphonyError } from "../model/errors.ts";
import { andThen, type Decision, decided, tell } from "./decision.ts";
import type { Input } from "./messages.ts";
import { requeue } from "./operator.ts";
import { type Asked, type Running, type State, setIn } from "./state.ts";

type Responded = Extract<Input, { type: "operator.responded" }>;

/** What the agent waits for after `event`; an issue that waits for a person is `blocked`, its agent lives on. */
export function askedAfter(asked: readonly Asked[], event: AgentEvent): readonly Asked[] {
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
