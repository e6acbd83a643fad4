import { type JsonObject, listOf, objectOf, textOf } from "../../text/text.ts";
import { readTokens } from "../codex/protocol.ts";
import {
  commandEvent,
  fileChangeEvent,
  messageEvents,
  noticeEvent,
  toolCallEvent,
} from "../event-makers.ts";
import { geminiWait, type Limit, limitIn, limitInOutput } from "../limits.ts";
import { refusalInWords } from "../refusals.ts";
import { timeOf, waitOf } from "../reset-time.ts";
import { type JsonReader, type OutputEvent, type ReaderOptions, ToolCalls } from "./reader.ts";

/** `codex exec --json`. Its usage counts the whole thread, also when it was resumed. */
export function codexReader({ workspace, wall }: ReaderOptions): JsonReader {
  let lastError: string | null = null;
  return {
    counts: "thread",
    tellsEnd: true,
    logIn: logInWith("codex login"),
    read(message) {
      if (message["type"] === "error") lastError = reasonOf(message);
      const events = readCodexExec(message, workspace, wall);
      return events.length > 0 ? events : [{ type: "activity", method: "output" }];
    },
    limitAtExit: (stderr) => limitIn(lastError, wall()) ?? limitInOutput(stderr, wall()),
  };
}

function logInWith(command: string): string {
  return `log in: ${command}, or pass its key: command.env_passthrough; then: symphony refresh`;
}

/** The words of a failure, whose error may be a text, or an object with a message. */
function reasonOf({ error, message }: JsonObject): string | null {
  return textOf(error) ?? textOf(objectOf(error)["message"]) ?? textOf(message);
}

/** The end of a turn that failed, by the words of the program's provider. */
function failed(words: string | null, limit: Limit | null): OutputEvent {
  const refusal = limit === null && words !== null ? refusalInWords(words) : null;
  const failure = words || "no reason given";
  return { type: "result", failure, limit, ...(refusal !== null && { refusal }) };
}

function readCodexExec(
  message: JsonObject,
  workspace: string,
  wall: () => number,
): readonly OutputEvent[] {
  const reason = reasonOf(message);
  switch (message["type"]) {
    case "thread.started": {
      const id = textOf(message["thread_id"]);
      return id === null ? [] : [{ type: "session", id }];
    }
    case "item.started":
      return eventsOfItem(objectOf(message["item"]), false, workspace);
    case "item.completed":
      return eventsOfItem(objectOf(message["item"]), true, workspace);
    case "turn.completed": {
      const tokens = readTokens(message["usage"]);
      return [
        ...(tokens ? [{ type: "usage", tokens } as const] : []),
        { type: "result", failure: null, limit: null },
      ];
    }
    case "turn.failed":
      return [failed(reason, limitIn(message["error"] ?? reason, wall()))];
    case "error":
      return [noticeEvent(reason ?? "error")];
    default:
      return [];
  }
}

function eventsOfItem(
  item: JsonObject,
  completed: boolean,
  workspace: string,
): readonly OutputEvent[] {
  const { type, status } = item;
  if (type === "command_execution") return [commandOf(item, completed)];
  if (!completed) return [];
  switch (type) {
    case "agent_message":
      return messageEvents(textOf(item["text"]) ?? "");
    case "file_change": {
      const paths = listOf(item["changes"]).map((change) => textOf(objectOf(change)["path"]) ?? "");
      return [fileChangeEvent(textOf(status) ?? "completed", paths, workspace)];
    }
    case "mcp_tool_call": {
      const tool = [item["server"], item["tool"]].filter((part) => typeof part === "string");
      return [toolCallEvent(tool.join("."), status === "failed" ? "failed" : "completed")];
    }
    case "error":
      return [noticeEvent(textOf(item["message"]) ?? "error")];
    default:
      return [];
  }
}

function commandOf(item: JsonObject, completed: boolean): OutputEvent {
  const { status, exit_code: exitCode } = item;
  const ended = status === "failed" || status === "declined" ? status : "completed";
  return commandEvent({
    command: textOf(item["command"]) ?? "",
    status: completed ? ended : "started",
    exitCode: typeof exitCode === "number" ? exitCode : null,
    output: completed ? textOf(item["aggregated_output"]) : null,
  });
}

const geminiNames = { commands: ["run_shell_command"], edits: ["write_file", "replace", "edit"] };
const maxHeldChars = 64_000;

/** `gemini --output-format stream-json`: https://geminicli.com/docs/cli/headless/ */
export function geminiReader({ workspace, wall }: ReaderOptions): JsonReader {
  const calls = new ToolCalls({ ...geminiNames, workspace });
  let held = "";
  let lastError: string | null = null;
  const flush = () => {
    const text = held;
    held = "";
    return messageEvents(text);
  };
  return {
    counts: "turn",
    tellsEnd: true,
    logIn: logInWith("gemini"),
    read(message) {
      if (message["type"] === "error") lastError = textOf(message["message"]);
      if (message["type"] === "message" && message["role"] === "assistant") {
        const text = textOf(message["content"]) ?? "";
        // Parts of one message follow each other; any other line ends it.
        if (message["delta"] !== true) return [...flush(), ...messageEvents(text)];
        if (held.length < maxHeldChars) held += text;
        return [{ type: "activity", method: "message" }];
      }
      const events = [...flush(), ...readGemini(message, calls, wall)];
      return events.length > 0 ? events : [{ type: "activity", method: "output" }];
    },
    end: flush,
    limitAtExit: (stderr) => limitIn(lastError, wall()) ?? limitInOutput(stderr, wall()),
    limitWaitedFor: (stderr) => geminiWait(stderr, wall()),
  };
}

function readGemini(message: JsonObject, calls: ToolCalls, wall: () => number): OutputEvent[] {
  switch (message["type"]) {
    case "init": {
      const id = textOf(message["session_id"]);
      return id === null ? [] : [{ type: "session", id }];
    }
    case "tool_use": {
      const input = objectOf(message["parameters"]);
      return calls.begun({
        id: textOf(message["tool_id"]),
        tool: textOf(message["tool_name"]) ?? "",
        command: textOf(input["command"]),
        path: textOf(input["file_path"]),
      });
    }
    case "tool_result":
      return calls.ended(textOf(message["tool_id"]), {
        failed: message["status"] === "error",
        output: textOf(message["output"]) ?? textOf(objectOf(message["error"])["message"]),
      });
    case "error":
      return [noticeEvent(textOf(message["message"]) ?? "error")];
    case "result":
      return resultOf(message, wall);
    default:
      return [];
  }
}

function resultOf(message: JsonObject, wall: () => number): OutputEvent[] {
  const stats = objectOf(message["stats"]);
  const tokens = readTokens(stats);
  const cached = readTokens({ input: stats["cached"] })?.input ?? 0;
  const isFailed = message["status"] === "error";
  return [
    ...(tokens ? [{ type: "usage", tokens: { ...tokens, cachedInput: cached } } as const] : []),
    isFailed
      ? failed(reasonOf(message), limitIn(message["error"], wall()))
      : { type: "result", failure: null, limit: null },
  ];
}

/** symphony's own JSON lines: a small format for programs that are written for it. */
export function ownReader({ workspace, wall }: ReaderOptions): JsonReader {
  return {
    counts: "turn",
    tellsEnd: false,
    read(message) {
      return message["type"] === "result"
        ? [resultEvent(message, wall())]
        : readOwnLine(message, workspace);
    },
  };
}

function readOwnLine(message: JsonObject, workspace: string): readonly OutputEvent[] {
  const { type } = message;
  const text = textOf(message["text"]) ?? textOf(message["message"]) ?? "";
  switch (type) {
    case "message":
      return messageEvents(text);
    case "command":
      return [commandEventOf(message)];
    case "file_change": {
      const paths = listOf(message["paths"]).filter((path) => typeof path === "string");
      return [fileChangeEvent(textOf(message["status"]) ?? "completed", paths, workspace)];
    }
    case "tokens": {
      const tokens = readTokens(message);
      return tokens ? [{ type: "usage", tokens }] : [];
    }
    case "session": {
      const id = textOf(message["id"]);
      return id === null ? [] : [{ type: "session", id }];
    }
    case "notice":
    case "error":
      return [noticeEvent(text || String(type))];
    case "steer_delivered": {
      const steerId = textOf(message["id"]);
      return steerId === null ? [] : [{ type: "steer.delivered", steerId }];
    }
    case "tool_call":
      return toolEventOf(message);
    default:
      return [{ type: "activity", method: "output" }];
  }
}

function resultEvent(message: JsonObject, wall: number): OutputEvent {
  const { success = message["error"] === undefined } = message;
  if (String(success) === "true") return { type: "result", failure: null, limit: null };
  const failure = textOf(message["text"]) ?? reasonOf(message) ?? "";
  return { type: "result", failure: failure || "no reason given", limit: limitOf(message, wall) };
}

/**
 * Only an explicit error of the program counts here, never its text: it was written for this
 * format.
 */
function limitOf(message: JsonObject, wall: number): Limit | null {
  if (message["limited"] !== true) return null;
  const wait = waitOf(message["retry_after"]);
  const at = timeOf(message["resets_at"]) ?? (wait === null ? null : wall + wait);
  return { untilWall: at ?? timeOf(message["retry_after"]) };
}

function commandEventOf(message: JsonObject): OutputEvent {
  const { status, exit_code: exitCode } = message;
  const known = ["started", "completed", "failed", "declined"] as const;
  return commandEvent({
    command: textOf(message["command"]) ?? "",
    status: known.find((word) => word === status) ?? "completed",
    exitCode: typeof exitCode === "number" ? exitCode : null,
    output: textOf(message["output"]),
  });
}

function toolEventOf(message: JsonObject): readonly OutputEvent[] {
  const { id, tool } = message;
  if (typeof tool !== "string") return [toolCallEvent("", "unsupported")];
  const named = typeof id === "string" || typeof id === "number" ? id : null;
  return [{ type: "tool", id: named, tool, args: message["arguments"] ?? {} }];
}
