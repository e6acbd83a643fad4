import type { Needs } from "../../model/attempt.ts";
import { displayText } from "../display-text.ts";
import { type JsonObject, listOf, objectOf, textOf } from "../json-value.ts";

const allowing = ["allow_once", "allow_always"];
const rejecting = ["reject_once", "reject_always"];

/** The answer to `session/request_permission`: an option of the agent's own, else no answer at all. */
export interface Outcome {
  readonly outcome:
    | { readonly outcome: "selected"; readonly optionId: string }
    | { readonly outcome: "cancelled" };
}

export const unanswered: Outcome = { outcome: { outcome: "cancelled" } };

/** The option that says yes or no, for this once if there is one; without it nothing is chosen. */
export function outcomeOf(params: JsonObject, approve: boolean): Outcome {
  const options = listOf(params["options"]).map(objectOf);
  for (const kind of approve ? allowing : rejecting) {
    const optionId = textOf(options.find((option) => option["kind"] === kind)?.["optionId"]);
    if (optionId !== null) return { outcome: { outcome: "selected", optionId } };
  }
  return unanswered;
}

/** What a person is asked. */
export function permissionNeeds(params: JsonObject): Needs {
  const call = objectOf(params["toolCall"]);
  const title = textOf(call["title"]) ?? "something it does not name";
  const command = textOf(objectOf(call["rawInput"])["command"]);
  const reason = textOf(objectOf(call["rawInput"])["reason"]);
  const lines = [title, command === title ? null : command, reason].filter(Boolean);
  return {
    kind: "approval",
    prompt: displayText(`May the agent do this?\n${lines.join("\n")}`, 2_000),
    options: ["accept", "decline"],
  };
}
