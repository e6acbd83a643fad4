import type { Approvals } from "../../config/agents.ts";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import { type JsonObject, listOf, objectOf, oneLine, textOf } from "../../text/text.ts";
import type { SessionSpec } from "../agent.ts";
import type { GuardedLaunch } from "../guard/disarm.ts";
import type { AcpLink } from "./link.ts";
import type { AcpConfig } from "./settings.ts";

/** One value that an agent offers; a person may write its id or its name. */
interface Offer {
  readonly id: string;
  readonly name: string;
}

/**
 * How an agent lets its model, its effort, its mode or a further option be chosen: by an option of
 * the session, or by the older method.
 */
export interface Choice extends Offer {
  readonly method: "session/set_config_option" | "session/set_model" | "session/set_mode";
  /** The parameters for one value, in addition to the session id. */
  params(value: string): JsonObject;
  readonly current: string | null;
  readonly offered: readonly Offer[];
}

/** null: the agent does not offer this choice. */
export interface Choices {
  readonly model: Choice | null;
  readonly effort: Choice | null;
  /** The mode of permissions, or of the agent's task; the agent defines which. */
  readonly mode: Choice | null;
  /** All options of the session, those above included. */
  readonly options: readonly Choice[];
}

/** Reads the choices in the answer to `session/new`, `resume` or `load`. */
export function choicesIn(opened: unknown): Choices {
  const answer = objectOf(opened);
  const written = listOf(answer["configOptions"]).map(objectOf);
  const inCategory = (category: string, ...names: readonly string[]) => {
    const found =
      written.find((option) => option["category"] === category) ??
      written.find((option) => !option["category"] && names.includes(lower(option["id"])));
    return found === undefined ? null : optionChoice(found);
  };
  return {
    model: inCategory("model", "model") ?? modelChoice(objectOf(answer["models"])),
    effort: inCategory("thought_level", "effort", "thought_level", "reasoning_effort"),
    mode: inCategory("mode", "mode") ?? modeChoice(objectOf(answer["modes"])),
    options: written.map(optionChoice).filter((choice) => choice !== null),
  };
}

function optionChoice(option: JsonObject): Choice | null {
  const configId = textOf(option["id"]);
  if (configId === null) return null;
  if (option["type"] === "boolean") return switchChoice(configId, option);
  const groups = listOf(option["options"]).map(objectOf);
  const values = groups.flatMap((group) => [group, ...listOf(group["options"]).map(objectOf)]);
  return {
    ...{ id: configId, name: textOf(option["name"]) ?? configId },
    method: "session/set_config_option",
    params: (value) => ({ configId, value }),
    current: textOf(option["currentValue"]),
    offered: offersIn(values, "value"),
  };
}

/** An option that is on or off; its value is no id. */
function switchChoice(configId: string, option: JsonObject): Choice {
  return {
    ...{ id: configId, name: textOf(option["name"]) ?? configId },
    method: "session/set_config_option",
    params: (value) => ({ configId, type: "boolean", value: value === "true" }),
    current: typeof option["currentValue"] === "boolean" ? String(option["currentValue"]) : null,
    offered: ["true", "false"].map((value) => ({ id: value, name: value })),
  };
}

function modeChoice(modes: JsonObject): Choice | null {
  const offered = offersIn(listOf(modes["availableModes"]).map(objectOf), "id");
  if (offered.length === 0) return null;
  return {
    ...{ id: "mode", name: "Mode", offered },
    method: "session/set_mode",
    params: (modeId) => ({ modeId }),
    current: textOf(modes["currentModeId"]),
  };
}

function modelChoice(models: JsonObject): Choice | null {
  const offered = offersIn(listOf(models["availableModels"]).map(objectOf), "modelId");
  if (offered.length === 0) return null;
  return {
    ...{ id: "model", name: "Model", offered },
    method: "session/set_model",
    params: (modelId) => ({ modelId }),
    current: textOf(models["currentModelId"]),
  };
}

function offersIn(values: readonly JsonObject[], key: string): readonly Offer[] {
  return values.flatMap((value) => {
    const id = textOf(value[key]);
    return id === null ? [] : [{ id, name: textOf(value["name"]) ?? id }];
  });
}

/** The one of `offers` that a person wrote, by its id, else by its name. */
function named<Named extends Offer>(offers: readonly Named[], wanted: string): Named | undefined {
  return (
    offers.find(({ id }) => id === wanted) ??
    offers.find(({ id, name }) => [lower(id), lower(name)].includes(lower(wanted)))
  );
}

function lower(text: unknown): string {
  return String(text).trim().toLowerCase();
}

/** The id of a value that may be written by its name; a value that is not offered is unchanged. */
export function valueIn({ offered }: Choice, wanted: string): string {
  return named(offered, wanted)?.id ?? wanted;
}

/** The offered values, for an error. */
export function offersOf({ offered }: Pick<Choice, "offered">): string {
  return offered
    .slice(0, 20)
    .map(({ id }) => oneLine(id, 100))
    .join(", ");
}

/**
 * The mode in which agents ask before they act: that of gemini, and of claude-agent-acp, which
 * starts in another mode.
 */
const askingMode = "default";

interface ChoosingDeps {
  readonly link: AcpLink;
  readonly spec: Pick<SessionSpec, "askPolicy">;
  readonly config: Pick<AcpConfig, "mode" | "options">;
  readonly limitMs: number;
  readonly guarded: GuardedLaunch;
  notice(message: string): void;
}

/**
 * Sets the mode and the options of the configuration in a session that was opened. Rejects with
 * `response_error`, naming what the agent offers.
 */
export async function chooseSettings(
  sessionId: string,
  choices: Choices,
  deps: ChoosingDeps,
): Promise<void> {
  const { config } = deps;
  if (config.mode === null) await chooseAskingMode(sessionId, choices.mode, deps);
  else await chooseMode(sessionId, { choice: choices.mode, wanted: config.mode }, deps);
  for (const [name, value] of Object.entries(config.options)) {
    const choice = named(choices.options, name);
    if (!choice) throw notOffered(`option ${name} (acp.options)`, { offered: choices.options });
    await set(sessionId, { choice, wanted: String(value), what: `${name} (acp.options)` }, deps);
  }
}

async function chooseMode(
  sessionId: string,
  { choice, wanted }: { readonly choice: Choice | null; readonly wanted: string },
  deps: ChoosingDeps,
): Promise<void> {
  if (!choice) throw notOffered(`mode ${wanted} (acp.mode)`, { offered: [] });
  await set(sessionId, { choice, wanted, what: "mode (acp.mode)" }, deps);
  const { approvals } = deps.spec.askPolicy;
  if (approvals === "auto" || valueIn(choice, wanted) === askingMode) return;
  deps.notice(
    `agent.approvals is ${approvals}, and acp.mode is ${wanted}: in this mode the agent itself decides when it asks`,
  );
}

async function set(
  sessionId: string,
  { choice, wanted, what }: { choice: Choice; wanted: string; what: string },
  { link, limitMs }: ChoosingDeps,
): Promise<void> {
  const value = named(choice.offered, wanted)?.id;
  if (value === undefined) throw notOffered(`${what}: ${wanted}`, choice);
  if (value === choice.current) return;
  await link.request(choice.method, { sessionId, ...choice.params(value) }, limitMs);
}

function notOffered(what: string, choice: Pick<Choice, "offered">): SymphonyError {
  const offers = offersOf(choice) || "none";
  return new SymphonyError(
    "response_error",
    `the agent does not offer ${oneLine(what, 200)}; it offers ${offers}`,
  );
}

/**
 * Chooses the mode in which the agent asks, so that `agent.approvals` decides and not a model of
 * the agent. Rejects with `response_error` when the agent refuses the mode and the setting depends
 * on it; emits an event when there is no such mode.
 */
async function chooseAskingMode(
  sessionId: string,
  choice: Choice | null,
  { link, limitMs, spec, guarded, notice }: ChoosingDeps,
): Promise<void> {
  const { approvals } = spec.askPolicy;
  const mode = choice === null ? undefined : named(choice.offered, askingMode)?.id;
  if (choice === null || mode === undefined) {
    // opencode asks according to its permissions, which its environment sets.
    if (approvals !== "auto" && !guarded.agents.has("opencode")) notice(decidesItself(approvals));
    return;
  }
  if (choice.current === mode) return;
  try {
    await link.request(choice.method, { sessionId, ...choice.params(mode) }, limitMs);
  } catch (error) {
    if (!(error instanceof SymphonyError) || error.code !== "response_error") throw error;
    const message = `the agent does not accept mode ${mode}: ${messageOf(error)}`;
    if (approvals !== "auto") throw new SymphonyError("response_error", message);
    notice(message);
  }
}

function decidesItself(approvals: Approvals): string {
  return `agent.approvals is ${approvals}, but the agent offers no mode in which it asks before it acts: it decides itself when it asks`;
}
