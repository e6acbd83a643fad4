import type { Needs } from "../../model/attempt.ts";
import {
  displayText,
  isObject,
  type JsonObject,
  listOf,
  objectOf,
  textOf,
} from "../../text/text.ts";
import type { AgentEvent } from "../agent.ts";
import {
  commandEvent,
  fileChangeEvent,
  messageEvents,
  noticeEvent,
  toolCallEvent,
} from "../event-makers.ts";

const maxHeldChars = 64_000;
/** Calls without an end must not fill the memory. */
const maxOpenCalls = 1_000;

/**
 * Translates the updates of one session; parts of a message are joined until another update
 * arrives.
 */
export class Updates {
  readonly #workspace: string;
  readonly #calls = new Map<string, ToolCall>();
  #held = "";
  #heldId: string | null = null;
  #plan = "";

  constructor(workspace: string) {
    this.#workspace = workspace;
  }

  read(update: JsonObject): AgentEvent[] {
    const kind = textOf(update["sessionUpdate"]) ?? "";
    const activity: AgentEvent = { type: "activity", method: kind.slice(0, 100) };
    const events = this.#translate(kind, update);
    return events.length > 0 ? events : [activity];
  }

  /** The last message, when nothing follows it. */
  flush(): AgentEvent[] {
    const text = this.#held;
    this.#held = "";
    this.#heldId = null;
    return messageEvents(text);
  }

  #translate(kind: string, update: JsonObject): AgentEvent[] {
    switch (kind) {
      case "agent_message_chunk":
        return this.#chunk(update);
      case "tool_call":
      case "tool_call_update":
        return this.#call(update);
      case "plan":
        return this.#planned(listOf(update["entries"]).map(objectOf));
      case "notice": {
        const parts = [update["title"], update["description"]];
        const words = parts.filter((part) => typeof part === "string").join(": ");
        return [noticeEvent(words || "notice")];
      }
      default:
        return [];
    }
  }

  #chunk(update: JsonObject): AgentEvent[] {
    const content = objectOf(update["content"]);
    const id = textOf(update["messageId"]);
    const before = id !== this.#heldId ? this.flush() : [];
    this.#heldId = id;
    if (content["type"] === "text" && this.#held.length < maxHeldChars) {
      this.#held += textOf(content["text"]) ?? "";
    }
    return before;
  }

  #call(update: JsonObject): AgentEvent[] {
    const id = textOf(update["toolCallId"]) ?? "";
    const before = this.#calls.get(id);
    const call = mergedCall(before ?? null, update);
    const events = this.flush();
    if (!before) events.push(...callStarted(call));
    if (call.status === "completed" || call.status === "failed") {
      this.#calls.delete(id);
      events.push(...callEnded(call, this.#workspace));
    } else if (before || this.#calls.size < maxOpenCalls) {
      this.#calls.set(id, call);
    }
    return events;
  }

  #planned(entries: readonly JsonObject[]): AgentEvent[] {
    const done = entries.filter((entry) => entry["status"] === "completed").length;
    const now = entries.find((entry) => entry["status"] === "in_progress");
    const current = now ? `: ${textOf(now["content"]) ?? ""}` : "";
    const plan = `plan: ${done} of ${entries.length} done${current}`;
    if (plan === this.#plan) return [];
    this.#plan = plan;
    return [...this.flush(), noticeEvent(plan)];
  }
}

/** The usage reported at the end of a turn; null when the agent does not count. */
export function readUsage(result: unknown) {
  const { usage } = objectOf(result);
  if (!isObject(usage)) return null;
  const count = (name: string) => {
    const value = usage[name];
    return typeof value === "number" && Number.isSafeInteger(value) && value > 0 ? value : 0;
  };
  const output = count("outputTokens");
  // Agents differ in whether their input includes cached tokens; their total always does.
  const total = Math.max(count("totalTokens"), count("inputTokens") + output);
  return {
    input: total - output,
    cachedInput: count("cachedReadTokens"),
    output,
    reasoningOutput: count("thoughtTokens"),
    total,
  };
}

const maxHeldOutput = 16_000;
const edits: ReadonlySet<string> = new Set(["edit", "delete", "move"]);
/** Kinds of calls that only read: they are not reported as actions. */
const readOnlyKinds: ReadonlySet<string> = new Set(["read", "search", "think", "switch_mode"]);

/** One tool call of an agent, with what has been reported so far. */
interface ToolCall {
  readonly kind: string;
  readonly name: string;
  readonly command: string;
  readonly status: string;
  readonly paths: readonly string[];
  readonly output: string | null;
  readonly exitCode: number | null;
}

/** Merges an update into a call; fields that the update omits are unchanged. */
function mergedCall(before: ToolCall | null, update: JsonObject): ToolCall {
  const title = textOf(update["title"]);
  const paths = pathsOf(update);
  const raw = objectOf(update["rawOutput"]);
  return {
    kind: textOf(update["kind"]) ?? before?.kind ?? "other",
    name: textOf(update["name"]) ?? before?.name ?? title ?? "tool",
    command: commandOf(update) ?? before?.command ?? title ?? "",
    status: textOf(update["status"]) ?? before?.status ?? "pending",
    paths: paths.length > 0 ? paths : (before?.paths ?? []),
    output: outputOf(before?.output ?? null, update, raw),
    exitCode: exitCodeOf(update, raw) ?? before?.exitCode ?? null,
  };
}

function callStarted({ kind, command }: ToolCall): AgentEvent[] {
  if (kind !== "execute") return [];
  return [commandEvent({ command, status: "started", exitCode: null, output: null })];
}

function callEnded(call: ToolCall, workspace: string): AgentEvent[] {
  const { kind, name, command, paths, output, exitCode } = call;
  const status = call.status === "failed" ? "failed" : "completed";
  if (kind === "execute") {
    const failed = status === "failed" || (exitCode !== null && exitCode !== 0);
    return [commandEvent({ command, status: failed ? "failed" : "completed", exitCode, output })];
  }
  if (edits.has(kind)) return [fileChangeEvent(status, paths, workspace)];
  return readOnlyKinds.has(kind) ? [] : [toolCallEvent(name, status)];
}

function commandOf(update: JsonObject): string | null {
  const { command } = objectOf(update["rawInput"]);
  if (Array.isArray(command)) return command.filter((part) => typeof part === "string").join(" ");
  return textOf(command);
}

function pathsOf(update: JsonObject): string[] {
  const content = listOf(update["content"]).map(objectOf);
  const diffs = content.filter((part) => part["type"] === "diff");
  const places = diffs.length > 0 ? diffs : listOf(update["locations"]).map(objectOf);
  const paths = places.map((place) => textOf(place["path"])).filter((path) => path !== null);
  return [...new Set(paths)];
}

/** The output is reported as content, as raw output, or in parts for a terminal of the agent. */
function outputOf(before: string | null, update: JsonObject, raw: JsonObject): string | null {
  const delta = textOf(objectOf(objectOf(update["_meta"])["terminal_output_delta"])["data"]);
  if (delta !== null) return `${before ?? ""}${delta}`.slice(-maxHeldOutput);
  const texts = listOf(update["content"])
    .map((part) => textOf(objectOf(objectOf(part)["content"])["text"]))
    .filter((text) => text !== null);
  if (texts.length > 0) return texts.join("\n").slice(-maxHeldOutput);
  const whole =
    textOf(update["rawOutput"]) ?? textOf(raw["formatted_output"]) ?? textOf(raw["output"]);
  return whole?.slice(-maxHeldOutput) ?? before;
}

function exitCodeOf(update: JsonObject, raw: JsonObject): number | null {
  const terminal = objectOf(objectOf(update["_meta"])["terminal_exit"]);
  const codes = [terminal["exit_code"], raw["exitCode"], raw["exit_code"]];
  return codes.find((code) => typeof code === "number") ?? null;
}

const allowing = ["allow_once", "allow_always"];
const rejecting = ["reject_once", "reject_always"];

/** The answer to `session/request_permission`: one of the agent's options, or none. */
export interface Outcome {
  readonly outcome:
    | { readonly outcome: "selected"; readonly optionId: string }
    | { readonly outcome: "cancelled" };
}

export const unanswered: Outcome = { outcome: { outcome: "cancelled" } };

/**
 * The option that approves or declines, for this call only if possible; without such an option
 * nothing is chosen.
 */
export function outcomeOf(params: JsonObject, approve: boolean): Outcome {
  const options = listOf(params["options"]).map(objectOf);
  for (const kind of approve ? allowing : rejecting) {
    const optionId = textOf(options.find((option) => option["kind"] === kind)?.["optionId"]);
    if (optionId !== null) return { outcome: { outcome: "selected", optionId } };
  }
  return unanswered;
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
