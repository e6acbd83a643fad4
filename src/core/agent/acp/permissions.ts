import type { Needs } from "../../model/attempt.ts";
import {
  displayText,
  isObject,
  type JsonObject,
  listOf,
  objectOf,
  textOf,
} from "../../text/text.ts";
import { trackerServer } from "../mcp.ts";

/** The answer to `session/request_permission`: one of the agent's options, or none. */
export interface Outcome {
  readonly outcome:
    | { readonly outcome: "selected"; readonly optionId: string | number }
    | { readonly outcome: "cancelled" };
}

export const unanswered: Outcome = { outcome: { outcome: "cancelled" } };

/** From the preferred option to the last: for this call alone, if possible. */
const allowing = ["allow_once", "allow_always"];
const rejecting = ["reject_once", "reject_always"];
const allowWords =
  /^(?:always )?(?:allow(?:ed)?|approved?|accept(?:ed)?|yes|proceed|grant(?:ed)?|permit(?:ted)?|ok|confirm|run|execute|continue)\b/;
const rejectWords =
  /^(?:always )?(?:reject(?:ed)?|den(?:y|ied)|declined?|disallow|disapproved?|no|not|never|don'?t|do not|cancel(?:led)?|abort|refuse|stop|skip|dismiss|exit)\b/;
const lasting = /\b(?:always|session|all|forever|don'?t ask|remember|permanent(?:ly)?|future)\b/;

/**
 * The option that approves or declines, for this call only if possible. It is found by its kind,
 * which some agents leave out, else by its id and name. Without such an option nothing is chosen.
 */
export function outcomeOf(params: JsonObject, approve: boolean): Outcome {
  const options = listOf(params["options"]).map(optionOf);
  const kinds = approve ? allowing : rejecting;
  const wanted = kinds.map((kind) => options.find((option) => option["kind"] === kind));
  const found = [...wanted, named(options, approve)].find((option) => option !== undefined);
  const optionId = found?.["optionId"];
  const isId = typeof optionId === "string" || typeof optionId === "number";
  return isId ? { outcome: { outcome: "selected", optionId } } : unanswered;
}

/** An option in the words of the protocol, whatever the agent's own are for them. */
function optionOf(option: unknown): JsonObject {
  if (!isObject(option)) return { optionId: option };
  const { optionId = option["id"] ?? option["value"], name = option["label"] ?? option["title"] } =
    option;
  const kind = textOf(option["kind"]);
  return { optionId, name, kind: kind?.replace(/[- ]|(?<=[a-z])(?=[A-Z])/, "_").toLowerCase() };
}

function named(options: readonly JsonObject[], approve: boolean): JsonObject | undefined {
  const known = new Set([...allowing, ...rejecting]);
  const open = options.filter((option) => !known.has(String(option["kind"])));
  const fitting = open.filter((option) => meaning(option) === approve);
  return (
    fitting.find((option) => !wordsOf(option).some((text) => lasting.test(text))) ?? fitting[0]
  );
}

/** Whether an option approves; null when its words do not say it, or contradict each other. */
function meaning(option: JsonObject): boolean | null {
  const texts = wordsOf(option);
  const rejects = texts.some((text) => rejectWords.test(text));
  const allows = texts.some((text) => allowWords.test(text));
  return rejects === allows ? null : allows;
}

/** The kind, the id and the name, as words in lower case; without what stands before a name: a mark, a number, its key. */
function wordsOf(option: JsonObject): readonly string[] {
  const texts = [option["kind"], option["optionId"], option["name"]].map(textOf);
  return texts
    .filter((text) => text !== null)
    .map((text) =>
      text
        .slice(0, 200)
        .replaceAll(/(?<=[a-z])(?=[A-Z])/g, " ")
        .toLowerCase()
        .replaceAll("’", "'")
        .replaceAll(/[^\p{L}\p{N}']+/gu, " ")
        .trim()
        .replace(/^(?:\d{1,2} )?(?:[yn] (?=[a-z]))?/, ""),
    );
}

/** Kinds of calls that act on the machine: none of them is a tool of the tracker. */
const acting: ReadonlySet<string> = new Set(["execute", "edit", "delete", "move", "fetch", "read"]);

/**
 * Whether a call is one of the tracker's tools, by the names that claude-agent-acp, gemini and
 * opencode give them. They are as free as in the other kinds of agents.
 */
export function isTrackerCall(call: JsonObject, tools: readonly string[]): boolean {
  const kind = textOf(call["kind"]);
  if ((kind !== null && acting.has(kind)) || objectOf(call["rawInput"])["command"]) return false;
  const names = [call["name"], call["title"]];
  return tools.some((tool) =>
    [
      `mcp__${trackerServer}__${tool}`,
      `mcp_${trackerServer}_${tool}`,
      `${trackerServer}_${tool}`,
      `${tool} (${trackerServer} MCP Server)`,
    ].some((name) => names.includes(name)),
  );
}

/** The question for a person. */
export function permissionNeeds(params: JsonObject): Needs {
  const call = objectOf(params["toolCall"]);
  const title = textOf(call["title"]) ?? "an action that it does not name";
  const command = textOf(objectOf(call["rawInput"])["command"]);
  const reason = textOf(objectOf(call["rawInput"])["reason"]);
  const lines = [title, command === title ? null : command, reason].filter(Boolean);
  return {
    kind: "approval",
    prompt: displayText(`May the agent do this?\n${lines.join("\n")}`, 2_000),
    options: ["accept", "decline"],
  };
}
