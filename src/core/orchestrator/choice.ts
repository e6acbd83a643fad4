import type { AgentPick } from "../config/agents.ts";
import { type Config, effortOf, modelOf } from "../config/config.ts";
import { type Issue, normalState } from "../model/issue.ts";
import { type Decision, decided, tell } from "./decision.ts";
import type { Input } from "./messages.ts";
import type { State } from "./state.ts";

type Chosen = Extract<Input, { type: "operator.modelChosen" }>;

/** The agent, model and effort of an issue; null leaves the value to the agent. */
export interface Choice {
  readonly agent: string;
  readonly model: string | null;
  readonly effort: string | null;
}

/**
 * The choice for an issue, in this order: the operator's, its labels', its tracker state's, the
 * configuration's. A model that was chosen together with another agent is ignored.
 */
export function choiceFor(state: State, issue: Issue, config: Config): Choice {
  const picks = [state.issues.get(issue.id)?.choices.pick, ...picksFor(issue, config)];
  const agent = firstOf(picks, (pick) => pick.agent) ?? config.agent.use;
  const fitting = picks.filter((pick) => pick?.agent == null || pick.agent === agent);
  return {
    agent,
    model: firstOf(fitting, (pick) => pick.model) ?? modelOf(config, agent),
    effort: firstOf(fitting, (pick) => pick.effort) ?? effortOf(config, agent),
  };
}

/** The choice for the next turn of a live attempt; ignores a model chosen for a different agent. */
export function choiceOfTurn(state: State, issueId: string, config: Config): Omit<Choice, "agent"> {
  const entry = state.issues.of("running").get(issueId);
  if (!entry) return { model: null, effort: null };
  const choice = choiceFor(state, entry.issue, config);
  return choice.agent === entry.agent ? choice : { model: entry.model, effort: null };
}

/** Saves or clears the operator's model for the issue; a running turn is not changed. */
export function modelChosen(state: State, input: Chosen): Decision {
  const { issue, model, effort, agent } = input;
  const pick = model === null && agent === null ? null : { agent, model, effort };
  const chosen = [
    agent && `agent ${agent}`,
    model && `model ${model}`,
    effort && `reasoning effort ${effort}`,
  ].filter(Boolean);
  return decided(
    { ...state, issues: state.issues.choosing(issue, { pick }) },
    { type: "saveRecord", issueId: issue.id },
    tell("model.changed", issue, {
      attemptId: state.issues.of("running").get(issue.id)?.attemptId ?? null,
      message: chosen.length === 0 ? "the default model" : chosen.join(", "),
      data: { model, reasoning_effort: effort, agent },
    }),
  );
}

/**
 * When the choice takes effect. A thread keeps the model and effort of its last turn, so restoring
 * the agent's default for either one needs a new attempt, and so does another agent.
 */
export function choiceApplies(
  state: State,
  input: Omit<Chosen, "type">,
  config: Config,
): "next_turn" | "next_attempt" {
  const live = state.issues.of("running").get(input.issue.id);
  if (!live || live.stopping) return "next_attempt";
  const before = choiceFor(state, live.issue, config);
  const after = choiceFor(
    modelChosen(state, { ...input, type: "operator.modelChosen" }).state,
    live.issue,
    config,
  );
  if (after.agent !== live.agent) return "next_attempt";
  const keepsModel = before.model !== null && after.model === null;
  const keepsEffort = before.effort !== null && after.effort === null;
  return keepsModel || keepsEffort ? "next_attempt" : "next_turn";
}

function picksFor(issue: Issue, { agent }: Config): readonly (AgentPick | undefined)[] {
  if (agent.byLabel.size === 0 && agent.byState.size === 0) return [];
  const labelled = [...agent.byLabel].filter(([label]) => issue.labels.includes(label));
  return [...labelled.map(([, pick]) => pick), agent.byState.get(normalState(issue.state))];
}

function firstOf(
  picks: readonly (AgentPick | null | undefined)[],
  part: (pick: AgentPick) => string | null,
): string | null {
  for (const pick of picks) {
    const value = pick ? part(pick) : null;
    if (value !== null) return value;
  }
  return null;
}

/** The template id of the workflow file's body. */
export const workflowTemplateId = "workflow";

/** The template id of the prompt that the workflow file names for a tracker state in normal form. */
export function stateTemplateId(state: string): string {
  return `${workflowTemplateId}:${state}`;
}

/** The template of an issue's next attempt, and what it follows from. */
export interface TemplateChoice {
  readonly id: string;
  readonly from: "operator" | "state" | "workflow";
}

/** In this order: the operator's, that of the issue's tracker state, the body of the workflow file. */
export function templateFor(
  chosen: string | null,
  issue: Issue,
  { promptStates }: Pick<Config, "promptStates">,
): TemplateChoice {
  if (chosen !== null) return { id: chosen, from: "operator" };
  const current = normalState(issue.state);
  if (promptStates.includes(current)) return { id: stateTemplateId(current), from: "state" };
  return { id: workflowTemplateId, from: "workflow" };
}

/** Identifiers of the issues that override with `templateId`. */
export function overriddenWith(state: State, templateId: string): readonly string[] {
  return [...state.issues.values()]
    .filter(({ choices }) => choices.templateId === templateId)
    .map(({ issue }) => issue.identifier);
}

/** Takes effect with the issue's next attempt; a live one keeps the prompt it was started with. */
export function templateChosen(
  state: State,
  { issue, templateId }: Extract<Input, { type: "operator.templateChosen" }>,
): Decision {
  const before = state.issues.get(issue.id)?.choices.templateId ?? null;
  const event = tell("template.changed", issue, {
    message:
      templateId === null
        ? "the next attempt uses the workflow's prompt"
        : `the next attempt uses template ${templateId}`,
    data: { change: templateId === null ? "cleared" : "chosen", template_id: templateId },
  });
  return decided(
    { ...state, issues: state.issues.choosing(issue, { templateId }) },
    { type: "saveRecord", issueId: issue.id },
    ...(before === templateId ? [] : [event]),
  );
}
