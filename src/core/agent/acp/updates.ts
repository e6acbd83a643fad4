import { type JsonObject, listOf, objectOf, textOf } from "../../text/text.ts";
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
  readonly #isOwnTool: (call: JsonObject) => boolean;
  readonly #calls = new Map<string, ToolCall>();
  #held = "";
  #heldId: string | null = null;
  #plan = "";

  /** `isOwnTool`: whether a call is one of the tracker's tools, which are reported where they run. */
  constructor(workspace: string, isOwnTool: (call: JsonObject) => boolean) {
    this.#workspace = workspace;
    this.#isOwnTool = isOwnTool;
  }

  read(update: JsonObject): AgentEvent[] {
    const kind = textOf(update["sessionUpdate"]) ?? "";
    const activity: AgentEvent = { type: "activity", method: kind.slice(0, 100) };
    const events = this.#translate(kind, update);
    return events.length > 0 ? events : [activity];
  }

  /**
   * The call that a permission was given for. It may be the first that is known of it, and it names
   * the command and the files.
   */
  permitted(toolCall: JsonObject): AgentEvent[] {
    if (toolCall["kind"] !== "execute") return this.#call(toolCall);
    const input = objectOf(toolCall["rawInput"]);
    const rawInput = { ...input, command: input["command"] ?? toolCall["title"] };
    return this.#call({ ...toolCall, rawInput });
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
        return isProgramNote(update) ? this.#note(update) : this.#chunk(update);
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
    const id = textOf(update["messageId"]);
    const before = id !== this.#heldId ? this.flush() : [];
    this.#heldId = id;
    if (this.#held.length < maxHeldChars) this.#held += chunkText(update["content"]);
    return before;
  }

  #note(update: JsonObject): AgentEvent[] {
    const text = textOf(objectOf(update["content"])["text"])?.trim() ?? "";
    return text === "" ? [] : [...this.flush(), noticeEvent(text)];
  }

  #call(update: JsonObject): AgentEvent[] {
    const id = textOf(update["toolCallId"]) ?? "";
    const before = this.#calls.get(id);
    const merged = mergedCall(before ?? null, update);
    const hasEnded = merged.status === "completed" || merged.status === "failed";
    const starts = !merged.isTold && (hasEnded || isCommandKnown(merged, update));
    const call = { ...merged, isTold: merged.isTold || starts };
    const events = this.flush();
    if (starts) events.push(...callStarted(call));
    if (hasEnded) {
      this.#calls.delete(id);
      if (!call.isOwn && !this.#isOwnTool(update)) events.push(...callEnded(call, this.#workspace));
    } else if (before || this.#calls.size < maxOpenCalls) {
      this.#calls.set(id, { ...call, isOwn: call.isOwn || this.#isOwnTool(update) });
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
  /** Its start was reported. */
  readonly isTold: boolean;
  /** It is one of the tracker's tools. */
  readonly isOwn: boolean;
}

/** The text of a chunk; some agents send it alone, or a list. */
function chunkText(content: unknown): string {
  if (Array.isArray(content)) return content.map(chunkText).join("");
  const { type, text } = objectOf(content);
  return textOf(content) ?? (type === "text" ? textOf(text) : null) ?? "";
}

/**
 * Words of the agent's program and not of its model, such as the warning of claude-agent-acp about
 * the cost of a mode.
 */
function isProgramNote(update: JsonObject): boolean {
  return objectOf(objectOf(update["_meta"])["claudeCode"])["kind"] === "informational";
}

/**
 * Agents report a call before its input is complete, with a general title; only an agent that never
 * sends the input has the command in the title.
 */
function isCommandKnown({ status }: ToolCall, update: JsonObject): boolean {
  if (commandOf(update) !== null) return true;
  return status === "in_progress" && !("rawInput" in update);
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
    isTold: before?.isTold ?? false,
    isOwn: before?.isOwn ?? false,
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
  // claude-agent-acp puts the content into a block of Markdown, and the output itself here.
  const whole =
    textOf(update["rawOutput"]) ?? textOf(raw["formatted_output"]) ?? textOf(raw["output"]);
  if (whole) return whole.slice(-maxHeldOutput);
  const texts = listOf(update["content"])
    .map((part) => textOf(objectOf(objectOf(part)["content"])["text"]))
    .filter((text) => text !== null);
  return texts.length > 0 ? texts.join("\n").slice(-maxHeldOutput) : before;
}

function exitCodeOf(update: JsonObject, raw: JsonObject): number | null {
  const terminal = objectOf(objectOf(update["_meta"])["terminal_exit"]);
  const codes = [terminal["exit_code"], raw["exitCode"], raw["exit_code"]];
  return codes.find((code) => typeof code === "number") ?? null;
}
