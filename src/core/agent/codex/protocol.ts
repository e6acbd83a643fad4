import type { Needs } from "../../model/attempt.ts";
import type { AgentEvent } from "../agent.ts";
import { displayTail, displayText } from "../display-text.ts";
import { type JsonObject, listOf, objectOf, textOf } from "../json-value.ts";
import { readRateLimits, readTotals, readTurnUsage } from "./usage.ts";

const maxMessageChars = 32_768;
const maxCommandChars = 2_000;
const maxOutputChars = 4_000;
const maxNoticeChars = 1_000;
const maxPaths = 100;
const inputMethods = /^turn\/(needs?_input|input_required|(request|provide)_(input|response))$/;

/** What a translation depends on beside the notification. */
export interface Context {
  /** null until the thread is open. */
  readonly threadId: string | null;
  readonly workspace: string;
  /** Guidance that was accepted and not yet taken up. */
  readonly steers: ReadonlySet<string>;
  /** True once the thread reported an absolute total. */
  readonly hasTotals: boolean;
}

/** How a turn ended, as the agent says. */
export interface TurnEnding {
  /** null when the agent names none. */
  readonly turnId: string | null;
  readonly status: "completed" | "failed" | "interrupted";
  readonly message: string;
  /** codex's own word for the failure, such as `usageLimitExceeded`. */
  readonly info: unknown;
}

/** Translates one notification of the app-server. Unknown ones are a sign of life (A-12, E-4, E-12). */
export function translate(method: string, params: JsonObject, context: Context): AgentEvent[] {
  const activity: AgentEvent = { type: "activity", method };
  if (/delta$/i.test(method) || isForeign(params, context.threadId)) return [activity];
  // What an item holds was written by the agent: no figures are read from there.
  if (method.startsWith("item/")) return orActivity(itemEvents(method, params, context), activity);
  return orActivity([...noticeOf(method, params), ...figures(method, params, context)], activity);
}

/** The end of a turn of this thread, or null. */
export function readEnding(
  method: string,
  params: JsonObject,
  threadId: string | null,
): TurnEnding | null {
  const statuses: Readonly<Record<string, TurnEnding["status"]>> = {
    "turn/completed": "completed",
    "turn/failed": "failed",
    "turn/cancelled": "interrupted",
  };
  const implied = Object.hasOwn(statuses, method) ? statuses[method] : undefined;
  if (!implied || isForeign(params, threadId)) return null;
  const turn = objectOf(params["turn"]);
  const error = objectOf(turn["error"] ?? params["error"]);
  const told = turn["status"];
  return {
    turnId: textOf(turn["id"]) ?? textOf(params["turnId"]),
    status: told === "failed" || told === "interrupted" ? told : implied,
    message: displayText(textOf(error["message"]) ?? "no reason given", maxNoticeChars),
    info: error["codexErrorInfo"] ?? null,
  };
}

/** A notification by which the agent asks a person, or null. */
export function readInputRequired(method: string, params: JsonObject): Needs | null {
  if (!method.startsWith("turn/")) return null;
  const flagged = params["requiresInput"] === true || params["needsInput"] === true;
  return flagged || inputMethods.test(method) ? questionOf(params) : null;
}

/** What a request for input says, in the words a person is shown. */
export function questionOf(params: JsonObject): Needs {
  const questions = listOf(params["questions"]).map(objectOf);
  const asked = questions.map((question) => textOf(question["question"]) ?? "");
  const told = textOf(params["message"]) ?? textOf(params["reason"]) ?? textOf(params["prompt"]);
  const prompt = [...asked, told ?? ""].filter((line) => line.trim() !== "").join("\n");
  const labels = questions.flatMap((question) => optionLabels(question));
  return {
    kind: "question",
    prompt: displayText(prompt || "The agent asks for input.", maxNoticeChars),
    options: labels.slice(0, 20).map((label) => displayText(label, 200)),
  };
}

export function optionLabels(question: JsonObject): string[] {
  const labels = listOf(question["options"]).map((option) => textOf(objectOf(option)["label"]));
  return labels.filter((label) => label !== null);
}

function isForeign(params: JsonObject, threadId: string | null): boolean {
  const named = params["threadId"];
  return threadId !== null && typeof named === "string" && named !== threadId;
}

function orActivity(events: AgentEvent[], activity: AgentEvent): AgentEvent[] {
  return events.length > 0 ? events : [activity];
}

function itemEvents(method: string, params: JsonObject, context: Context): AgentEvent[] {
  const item = objectOf(params["item"]);
  const completed = method === "item/completed";
  if (!completed && method !== "item/started") return [];
  switch (item["type"]) {
    case "userMessage":
      return steerDelivered(item, context);
    case "commandExecution":
      return [commandEvent(item, completed)];
    case "fileChange":
      return [fileChangeEvent(item, context.workspace)];
    case "agentMessage":
      return completed ? messageEvents(item) : [];
    case "mcpToolCall":
      return completed ? [mcpCallEvent(item)] : [];
    case "contextCompaction":
      return completed ? [notice("the history was summarised to make room")] : [];
    default:
      return [];
  }
}

function steerDelivered(item: JsonObject, context: Context): AgentEvent[] {
  const steerId = item["clientId"];
  const delivered = typeof steerId === "string" && context.steers.has(steerId);
  return delivered ? [{ type: "steer.delivered", steerId }] : [];
}

function messageEvents(item: JsonObject): AgentEvent[] {
  const text = displayText(textOf(item["text"]) ?? "", maxMessageChars);
  return text.trim() === "" ? [] : [{ type: "message", text }];
}

function commandEvent(item: JsonObject, completed: boolean): AgentEvent {
  const told = item["status"];
  const ended = told === "failed" || told === "declined" ? told : "completed";
  const output = textOf(item["aggregatedOutput"]);
  const exitCode = item["exitCode"];
  return {
    type: "command",
    command: displayText(textOf(item["command"]) ?? "", maxCommandChars),
    status: completed ? ended : "started",
    exitCode: typeof exitCode === "number" ? exitCode : null,
    output: output === null ? null : displayTail(output, maxOutputChars),
  };
}

function fileChangeEvent(item: JsonObject, workspace: string): AgentEvent {
  const inside = `${workspace}/`;
  const paths = listOf(item["changes"]).map((change) => textOf(objectOf(change)["path"]) ?? "");
  return {
    type: "file_change",
    status: displayText(textOf(item["status"]) ?? "unknown", 50),
    paths: paths
      .slice(0, maxPaths)
      .map((path) => displayText(path.startsWith(inside) ? path.slice(inside.length) : path, 500)),
  };
}

function mcpCallEvent(item: JsonObject): AgentEvent {
  const tool = [item["server"], item["tool"]].filter((part) => typeof part === "string").join(".");
  const outcome = item["status"] === "failed" ? "failed" : "completed";
  return { type: "tool_call", tool: displayText(tool, 200), outcome };
}

function noticeOf(method: string, params: JsonObject): AgentEvent[] {
  switch (method) {
    case "error": {
      const error = objectOf(params["error"]);
      const details = [textOf(error["message"]), textOf(error["additionalDetails"])];
      return [notice(details.filter((part) => part !== null).join(": ") || "error")];
    }
    case "warning":
    case "guardianWarning":
      return [notice(textOf(params["message"]) ?? method)];
    case "configWarning":
    case "deprecationNotice":
      return [notice(textOf(params["summary"]) ?? method)];
    default:
      return [];
  }
}

function notice(message: string): AgentEvent {
  return { type: "notice", message: displayText(message, maxNoticeChars), malformed: false };
}

function figures(method: string, params: JsonObject, context: Context): AgentEvent[] {
  const events: AgentEvent[] = [];
  const usage = method === "turn/completed" && !context.hasTotals ? readTurnUsage(params) : null;
  const total = readTotals(params) ?? usage;
  if (total) events.push({ type: "tokens", total });
  const limits = readRateLimits(params);
  if (limits) events.push({ type: "rate_limits", limits });
  return events;
}
