import type { Config } from "../config/config.ts";
import { type Decision, decided, tell } from "./decision.ts";
import type { Input } from "./messages.ts";
import { type Running, type State, setIn, without } from "./state.ts";

type Chosen = Extract<Input, { type: "operator.modelChosen" }>;

/** Keeps the model an operator chose for the issue, or forgets it; what runs is not disturbed. */
export function modelChosen(state: State, input: Chosen): Decision {
  const { issue, model, effort } = input;
  const models =
    model === null
      ? without(state.models, issue.id)
      : setIn(state.models, issue.id, { issue, model, effort });
  const chosen = effort === null ? model : `${model}, reasoning effort ${effort}`;
  return decided(
    { ...state, models },
    { type: "saveRecord", issueId: issue.id },
    tell("model.changed", issue, {
      attemptId: state.running.get(issue.id)?.attemptId ?? null,
      message: chosen === null ? "the default model again" : `model ${chosen}`,
      data: { model, reasoning_effort: effort },
    }),
  );
}

/**
 * When the choice is felt. A thread keeps the model and effort of its last turn, so leaving either to the
 * agent's default again takes a new attempt.
 */
export function choiceApplies(
  state: State,
  { issue, model, effort }: Omit<Chosen, "type">,
  config: Config,
): "next_turn" | "next_attempt" {
  const live = state.running.get(issue.id);
  if (!live || live.stopping) return "next_attempt";
  const before = state.models.get(issue.id);
  const keepsModel = before !== undefined && (model ?? config.codex.model) === null;
  const keepsEffort = before !== undefined && before.effort !== null && effort === null;
  return keepsModel || keepsEffort ? "next_attempt" : "next_turn";
}

/** The model of a turn that starts now. */
export function modelInUse(state: State, entry: Running, config: Config): string | null {
  return state.models.get(entry.issue.id)?.model ?? config.codex.model ?? entry.model;
}
