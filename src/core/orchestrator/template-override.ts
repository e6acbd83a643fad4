import { type Decision, decided, tell } from "./decision.ts";
import type { Input } from "./messages.ts";
import { type State, setIn, without } from "./state.ts";

/** The id that the body of the workflow file goes by. */
export const workflowTemplateId = "workflow";

/** The template that the issue's next attempt is prompted with. */
export function templateIdOf(state: State, issueId: string): string {
  return state.templates.get(issueId)?.templateId ?? workflowTemplateId;
}

/** Identifiers of the issues that override with `templateId`. */
export function overriddenWith(state: State, templateId: string): readonly string[] {
  return [...state.templates.values()]
    .filter((override) => override.templateId === templateId)
    .map(({ issue }) => issue.identifier);
}

/** Takes effect with the issue's next attempt; a live one keeps the prompt it was started with. */
export function templateChosen(
  state: State,
  { issue, templateId }: Extract<Input, { type: "operator.templateChosen" }>,
): Decision {
  const before = state.templates.get(issue.id)?.templateId ?? null;
  const templates =
    templateId === null
      ? without(state.templates, issue.id)
      : setIn(state.templates, issue.id, { issue, templateId });
  const told = tell("template.changed", issue, {
    message:
      templateId === null
        ? "the next attempt goes back to the workflow's prompt"
        : `the next attempt is prompted with ${templateId}`,
    data: { change: templateId === null ? "cleared" : "chosen", template_id: templateId },
  });
  return decided(
    { ...state, templates },
    { type: "saveRecord", issueId: issue.id },
    ...(before === templateId ? [] : [told]),
  );
}
