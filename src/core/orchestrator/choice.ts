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
  /** The agent that it stands in for; null: it is the chosen one. */
  readonly standsInFor: string | null;
  readonly model: string | null;
  readonly effort: string | null;
}

/**
 * The choice for an issue's next attempt. Its agent in this order: the operator's, its labels', its tracker state's, the
 * configuration's; while that one takes no turns, the first after it in `agent.fallback` that does.
 */
export function choiceFor(state: State, issue: Issue, config: Config): Choice {
  const agents = agentsFor(state, issue, config);
  const [first = config.agent.use] = agents;
  const agent = agents.find((one) => takesTurns(state, one)) ?? first;
  return choiceWith(agent, { state, issue, config });
}

/**
 * The agents that may run the issue's next attempt, the preferred one first. Work that has begun stays with its agent,
 * unless `agent.handover` is set.
 */
export function agentsFor(state: State, issue: Issue, config: Config): readonly string[] {
  const row = state.issues.get(issue.id);
  const agents = eligibleFor(row?.choices.pick ?? null, issue, config);
  const stays = row?.claim === "retrying" ? row.stays : undefined;
  return stays === undefined ? agents : keepingTo(stays, agents, config);
}

/** `agents`, or the one that has begun the work: where it may continue, no other one does. */
export function keepingTo(
  begun: string,
  agents: readonly string[],
  { agent: { handover } }: Config,
): readonly string[] {
  return !handover && agents.includes(begun) ? [begun] : agents;
}

/** Neither paused nor known to be unable to start. */
export function takesTurns({ pauses, troubles }: State, agent: string): boolean {
  return pauses.get(agent)?.active !== true && !troubles.has(agent);
}

/**
 * The chosen agent, and those that may stand in for it. An agent that a label or a state chose has stand-ins only if it is
 * in the list itself; what an operator chose for the issue has none.
 */
function eligibleFor(pick: AgentPick | null, issue: Issue, config: Config): readonly string[] {
  if (pick !== null && pick.agent !== null) return [pick.agent];
  const { use, fallback } = config.agent;
  const chosen = firstOf(picksFor(issue, config), (one) => one.agent) ?? use;
  const place = fallback.indexOf(chosen);
  if (place === -1 && chosen !== use) return [chosen];
  return [...new Set([chosen, ...fallback.slice(place + 1)])];
}

interface ChoiceOf {
  readonly state: State;
  readonly issue: Issue;
  readonly config: Config;
}

/** The choice with this agent. A model that was chosen together with another agent is ignored. */
export function choiceWith(agent: string, { state, issue, config }: ChoiceOf): Choice {
  const own = state.issues.get(issue.id)?.choices.pick ?? null;
  const picks = [own, ...picksFor(issue, config)];
  const [chosen = config.agent.use] = eligibleFor(own, issue, config);
  // A model without an agent is meant for the chosen one: a stand-in may not have it.
  const fits = (pick: AgentPick) => (pick.agent === null ? chosen === agent : pick.agent === agent);
  const fitting = picks.filter((pick) => pick != null && fits(pick));
  return {
    agent,
    standsInFor: chosen === agent ? null : chosen,
    model: firstOf(fitting, (pick) => pick.model) ?? modelOf(config, agent),
    effort: firstOf(fitting, (pick) => pick.effort) ?? effortOf(config, agent),
  };
}

/** The choice for the next turn of a live attempt; ignores a model chosen for a different agent. */
export function choiceOfTurn(
  state: State,
  issueId: string,
  config: Config,
): Pick<Choice, "model" | "effort"> {
  const entry = state.issues.of("running").get(issueId);
  if (!entry) return { model: null, effort: null };
  const { issue, agent, model } = entry;
  return agentsFor(state, issue, config).includes(agent)
    ? choiceWith(agent, { state, issue, config })
    : { model, effort: null };
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
  const { issue } = live;
  const { state: next } = modelChosen(state, { ...input, type: "operator.modelChosen" });
  if (!agentsFor(next, issue, config).includes(live.agent)) return "next_attempt";
  const before = choiceWith(live.agent, { state, issue, config });
  const after = choiceWith(live.agent, { state: next, issue, config });
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
