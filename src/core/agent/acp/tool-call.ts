import type { AgentEvent } from "../agent.ts";
import { commandEvent, fileChangeEvent, toolCallEvent } from "../event-makers.ts";
import { type JsonObject, listOf, objectOf, textOf } from "../json-value.ts";

const maxHeldOutput = 16_000;
const edits: ReadonlySet<string> = new Set(["edit", "delete", "move"]);
/** What an agent looks at is no deed. */
const quiet: ReadonlySet<string> = new Set(["read", "search", "think", "switch_mode"]);

/** One tool call of an agent as far as it has been told. */
export interface ToolCall {
  readonly kind: string;
  readonly name: string;
  readonly command: string;
  readonly status: string;
  readonly paths: readonly string[];
  readonly output: string | null;
  readonly exitCode: number | null;
}

/** The call with what an update says; what that leaves out stays as it was. */
export function mergedCall(before: ToolCall | null, update: JsonObject): ToolCall {
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

export function callStarted({ kind, command }: ToolCall): AgentEvent[] {
  if (kind !== "execute") return [];
  return [commandEvent({ command, status: "started", exitCode: null, output: null })];
}

export function callEnded(call: ToolCall, workspace: string): AgentEvent[] {
  const { kind, name, command, paths, output, exitCode } = call;
  const status = call.status === "failed" ? "failed" : "completed";
  if (kind === "execute") {
    const failed = status === "failed" || (exitCode !== null && exitCode !== 0);
    return [commandEvent({ command, status: failed ? "failed" : "completed", exitCode, output })];
  }
  if (edits.has(kind)) return [fileChangeEvent(status, paths, workspace)];
  return quiet.has(kind) ? [] : [toolCallEvent(name, status)];
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

/** Told as content, as raw output, or piece by piece for a terminal of the agent's own. */
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
  const told = [terminal["exit_code"], raw["exitCode"], raw["exit_code"]];
  return told.find((code) => typeof code === "number") ?? null;
}
