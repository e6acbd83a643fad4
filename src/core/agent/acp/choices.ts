import { type JsonObject, listOf, objectOf, textOf } from "../json-value.ts";

/** How an agent lets its model, its effort or its mode be chosen: by an option of the session, or by the older method. */
export interface Choice {
  readonly method: "session/set_config_option" | "session/set_model" | "session/set_mode";
  /** What goes with the session id for one value. */
  params(value: string): JsonObject;
  readonly current: string | null;
  readonly offered: readonly string[];
}

/** null: the agent offers no choice of that kind. */
export interface Choices {
  readonly model: Choice | null;
  readonly effort: Choice | null;
  /** Of permissions, or of what the agent is for: that is the agent's own. */
  readonly mode: Choice | null;
}

/** Reads what the answer to `session/new`, `resume` or `load` offers. */
export function choicesIn(opened: unknown): Choices {
  const answer = objectOf(opened);
  const options = listOf(answer["configOptions"]).map(objectOf);
  const model = options.find((option) => option["category"] === "model");
  const effort = options.find((option) => option["category"] === "thought_level");
  const mode = options.find((option) => option["category"] === "mode");
  return {
    model: model ? optionChoice(model) : modelChoice(objectOf(answer["models"])),
    effort: effort ? optionChoice(effort) : null,
    mode: mode ? optionChoice(mode) : modeChoice(objectOf(answer["modes"])),
  };
}

function optionChoice(option: JsonObject): Choice | null {
  const configId = textOf(option["id"]);
  if (configId === null) return null;
  const groups = listOf(option["options"]).map(objectOf);
  const values = groups.flatMap((group) => [group, ...listOf(group["options"]).map(objectOf)]);
  return {
    method: "session/set_config_option",
    params: (value) => ({ configId, value }),
    current: textOf(option["currentValue"]),
    offered: values.map((value) => textOf(value["value"])).filter((value) => value !== null),
  };
}

function modeChoice(modes: JsonObject): Choice | null {
  const offered = listOf(modes["availableModes"]).map((mode) => textOf(objectOf(mode)["id"]));
  if (offered.length === 0) return null;
  return {
    method: "session/set_mode",
    params: (modeId) => ({ modeId }),
    current: textOf(modes["currentModeId"]),
    offered: offered.filter((id) => id !== null),
  };
}

function modelChoice(models: JsonObject): Choice | null {
  const offered = listOf(models["availableModels"]).map((model) =>
    textOf(objectOf(model)["modelId"]),
  );
  if (offered.length === 0) return null;
  return {
    method: "session/set_model",
    params: (modelId) => ({ modelId }),
    current: textOf(models["currentModelId"]),
    offered: offered.filter((id) => id !== null),
  };
}
