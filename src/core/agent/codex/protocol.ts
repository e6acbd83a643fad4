import type { Needs, Tokens } from "../../model/attempt.ts";
import type { SymphonyError } from "../../model/errors.ts";
import {
  displayTail,
  displayText,
  isObject,
  type JsonObject,
  listOf,
  objectOf,
  textOf,
} from "../../text/text.ts";
import type { AgentEvent } from "../agent.ts";
import { countOf } from "../counts.ts";
import { limitError } from "../limits.ts";
import { isPage, refusalError, refusalOfStatus } from "../refusals.ts";
import { timeIn, timeOf } from "../reset-time.ts";

const maxMessageChars = 32_768;
const maxCommandChars = 2_000;
const maxOutputChars = 4_000;
const maxNoticeChars = 1_000;
const maxPaths = 100;
const inputMethods = /^turn\/(needs?_input|input_required|(request|provide)_(input|response))$/;

/** The state that a translation needs in addition to the notification. */
export interface Context {
  /** null until the thread is open. */
  readonly threadId: string | null;
  readonly workspace: string;
  /** Guidance that was accepted by codex but has not reached the turn yet. */
  readonly steers: ReadonlySet<string>;
  /** True once the thread reported an absolute total. */
  readonly hasTotals: boolean;
}

/** How a turn ended, as reported by the agent. */
export interface TurnOutcome {
  /** null when the agent names none. */
  readonly turnId: string | null;
  readonly status: "completed" | "failed" | "interrupted";
  readonly message: string;
  /** codex's own name for the failure, such as `usageLimitExceeded`. */
  readonly info: unknown;
}

/** Translates one notification of the app-server. Unknown ones are a sign of life (A-12, E-4, E-12). */
export function translate(method: string, params: JsonObject, context: Context): AgentEvent[] {
  const activity: AgentEvent = { type: "activity", method };
  if (/delta$/i.test(method) || isForeign(params, context.threadId)) return [activity];
  // The agent wrote the content of an item: no figures are read from it.
  if (method.startsWith("item/")) return orActivity(itemEvents(method, params, context), activity);
  return orActivity([...noticeOf(method, params), ...figures(method, params, context)], activity);
}

/** The end of a turn of this thread, or null. */
export function readOutcome(
  method: string,
  params: JsonObject,
  threadId: string | null,
): TurnOutcome | null {
  const statuses: Readonly<Record<string, TurnOutcome["status"]>> = {
    "turn/completed": "completed",
    "turn/failed": "failed",
    "turn/cancelled": "interrupted",
  };
  const implied = Object.hasOwn(statuses, method) ? statuses[method] : undefined;
  if (!implied || isForeign(params, threadId)) return null;
  const turn = objectOf(params["turn"]);
  const error = objectOf(turn["error"] ?? params["error"]);
  const status = turn["status"];
  return {
    turnId: textOf(turn["id"]) ?? textOf(params["turnId"]),
    status: status === "failed" || status === "interrupted" ? status : implied,
    message: displayText(textOf(error["message"]) ?? "no reason given", maxNoticeChars),
    info: error["codexErrorInfo"] ?? null,
  };
}

/** What codex says, again and again, for as long as it does not reach its provider; null: anything else. */
export function readUnreached(method: string, params: JsonObject): string | null {
  const { message, additionalDetails } = objectOf(params["error"]);
  const isWaiting = method === "error" && /waiting for network/i.test(textOf(message) ?? "");
  return isWaiting ? (textOf(additionalDetails) ?? textOf(message)) : null;
}

/** A notification with which the agent asks a person, or null. */
export function readInputRequired(method: string, params: JsonObject): Needs | null {
  if (!method.startsWith("turn/")) return null;
  const flagged = params["requiresInput"] === true || params["needsInput"] === true;
  return flagged || inputMethods.test(method) ? questionOf(params) : null;
}

/** A request for input, as text for a person. */
export function questionOf(params: JsonObject): Needs {
  const questions = listOf(params["questions"]).map(objectOf);
  const questionTexts = questions.map((question) => textOf(question["question"]) ?? "");
  const message = textOf(params["message"]) ?? textOf(params["reason"]) ?? textOf(params["prompt"]);
  const prompt = [...questionTexts, message ?? ""].filter((line) => line.trim() !== "").join("\n");
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
      return completed ? [notice("the history was summarised to free space")] : [];
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
  const status = item["status"];
  const ended = status === "failed" || status === "declined" ? status : "completed";
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

const keys = {
  input: ["inputTokens", "input_tokens", "promptTokens", "prompt_tokens", "input"],
  cachedInput: ["cachedInputTokens", "cached_input_tokens"],
  output: ["outputTokens", "output_tokens", "completionTokens", "completion_tokens", "output"],
  reasoningOutput: ["reasoningOutputTokens", "reasoning_output_tokens"],
  total: ["totalTokens", "total_tokens", "total"],
} as const;

/**
 * The absolute totals of a thread (E-4) in any notification; null when it has none. `last` usage,
 * context windows and generic `usage` maps are no totals (E-5).
 */
export function readTotals(params: JsonObject): Tokens | null {
  const current = objectOf(params["tokenUsage"])["total"];
  const message = objectOf(params["msg"]);
  const info = isObject(message["info"]) ? message["info"] : objectOf(message["payload"])["info"];
  return readTokens(current) ?? readTokens(objectOf(info)["total_token_usage"]);
}

/** The size of the model's context in tokens; null when the notification names none. */
export function readWindow(params: JsonObject): number | null {
  return count(objectOf(params["tokenUsage"]), ["modelContextWindow"]);
}

/** The usage at the end of a turn (E-9), for a thread that has reported no total. */
function readTurnUsage(params: JsonObject): Tokens | null {
  return readTokens(objectOf(params["turn"])["usage"]) ?? readTokens(params["usage"]);
}

/** Counts in any of the known spellings (E-6); null when there are none. */
export function readTokens(value: unknown): Tokens | null {
  if (!isObject(value)) return null;
  const input = count(value, keys.input);
  const output = count(value, keys.output);
  const total = count(value, keys.total);
  if (input === null && output === null && total === null) return null;
  const cachedInput = count(value, keys.cachedInput) ?? 0;
  // More than the whole is counted apart from it.
  const whole = (input ?? 0) + (cachedInput > (input ?? 0) ? cachedInput : 0);
  return {
    ...{ input: whole, cachedInput, output: output ?? 0 },
    reasoningOutput: count(value, keys.reasoningOutput) ?? 0,
    total: Math.max(total ?? 0, whole + (output ?? 0)),
  };
}

function count(value: JsonObject, names: readonly string[]): number | null {
  for (const name of names) {
    const found = countOf(value[name]);
    if (found !== null && found === Number(value[name])) return found;
  }
  return null;
}

const maxLimitsDepth = 6;
const windows = ["primary", "secondary", "credits"];
const limitNames = ["limitId", "limit_id", "limitName", "limit_name"];

/**
 * The rate-limit object at any depth of an update (E-11); null when there is none with a figure in
 * it.
 */
export function readRateLimits(value: unknown, depth = 0): JsonObject | null {
  if (depth > maxLimitsDepth) return null;
  if (Array.isArray(value)) return firstOf(value, depth);
  if (!isObject(value)) return null;
  const named = limitNames.some((name) => typeof value[name] === "string");
  if (named && windows.some((name) => isObject(value[name]))) return value;
  return firstOf(Object.values(value), depth);
}

function firstOf(values: readonly unknown[], depth: number): JsonObject | null {
  for (const value of values.slice(0, 100)) {
    const found = readRateLimits(value, depth + 1);
    if (found) return found;
  }
  return null;
}

const tooMany = 429;
/** codex rounds: a window at this percentage is used up. */
const fullPercent = 99;
const limitWindows = ["primary", "secondary"];

/**
 * The provider's limit that made a turn fail, or null when it failed for another reason. `limits`
 * are the last ones received: a used-up window gives the time from which turns are accepted again;
 * without one the message may give it.
 */
export function providerLimit(
  { message, info }: Pick<TurnOutcome, "message" | "info">,
  { limits, wall }: { readonly limits: JsonObject | null; readonly wall: number },
): SymphonyError | null {
  if (info !== "usageLimitExceeded" && statusIn(info) !== tooMany) return null;
  return limitError(message, { untilWall: resetIn(limits) ?? timeIn(message, wall) }, { info });
}

/** What codex says of a login or a model that its provider does not take; it has no code for a model of another plan. */
const refusedLogin =
  /\b(?:token|session|login)\b[^.]{0,40}\b(?:expired|revoked|invalid)|(?:log|sign) in again|not logged in/i;
const refusedModel =
  /\bmodel\b[^.]{0,80}\b(?:is not supported|not found|does not exist|not available)/i;

export const logIn =
  "log in: codex login, or give the key of its own provider: symphony secrets add NAME; then: symphony refresh";

const missingKey = /Missing environment variable:? [`'"]?([A-Za-z_][A-Za-z0-9_]{0,100})/;

/** What a person does for a variable of codex's own provider; `names`: all that codex is to get. */
export function passKey(names: string): string {
  return `write codex.env_passthrough: [${names}] in the workflow file`;
}

/** A refusal that each further turn would meet, until a person mends it; null for any other failure. */
export function providerRefusal({
  message,
  info,
}: Pick<TurnOutcome, "message" | "info">): SymphonyError | null {
  const key = missingKey.exec(message)?.[1];
  if (key !== undefined) return refusalError("authentication_failed", message, passKey(key));
  const status = Object.values(objectOf(info)).map((cause) => objectOf(cause)["httpStatusCode"]);
  const byStatus = refusalOfStatus(status.find((one) => typeof one === "number") ?? null, message);
  const refusal =
    info === "modelNotFound" || refusedModel.test(message)
      ? "model_not_found"
      : (info === "unauthorized" && !isPage(message)) || refusedLogin.test(message)
        ? "authentication_failed"
        : byStatus;
  return refusal && refusalError(refusal, message, logIn);
}

const outages = ["serverOverloaded", "internalServerError"];
const brokenStreams = [
  ...["httpConnectionFailed", "responseStreamConnectionFailed", "responseStreamDisconnected"],
  "responseTooManyFailedAttempts",
];

/** Whether codex says that its provider failed or was not reached; a refusal with a status of 4xx is none. */
export function isOutage(info: unknown): boolean {
  if (typeof info === "string") return outages.includes(info);
  const cause = brokenStreams.map((name) => objectOf(info)[name]).find(isObject);
  if (cause === undefined) return false;
  const status = cause["httpStatusCode"];
  return typeof status !== "number" || status >= 500;
}

/** The HTTP status of `{responseTooManyFailedAttempts: {httpStatusCode}}`. */
function statusIn(info: unknown): unknown {
  return objectOf(objectOf(info)["responseTooManyFailedAttempts"])["httpStatusCode"];
}

/** Epoch ms at which the last used-up window is reset. */
function resetIn(limits: JsonObject | null): number | null {
  const full = limitWindows
    .map((name) => limits?.[name])
    .filter(isObject)
    .filter((window) => Number(window["usedPercent"] ?? window["used_percent"]) >= fullPercent)
    .map((window) => timeOf(window["resetsAt"] ?? window["resets_at"]))
    .filter((at) => at !== null);
  return full.length === 0 ? null : Math.max(...full);
}
