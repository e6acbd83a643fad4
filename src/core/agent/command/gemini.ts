import { readTokens } from "../codex/usage.ts";
import { messageEvents, noticeEvent } from "../event-makers.ts";
import { geminiWait } from "../gemini-wait.ts";
import { type JsonObject, objectOf, textOf } from "../json-value.ts";
import { limitIn } from "../limits.ts";
import type { JsonReader, ReaderOptions, Told } from "./output.ts";
import { ToolCalls } from "./tool-calls.ts";

const names = { commands: ["run_shell_command"], edits: ["write_file", "replace", "edit"] };
const maxHeldChars = 64_000;

/** `gemini --output-format stream-json`: https://geminicli.com/docs/cli/headless/ */
export function geminiReader({ workspace, wall }: ReaderOptions): JsonReader {
  const calls = new ToolCalls({ ...names, workspace });
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
    read(message) {
      if (message["type"] === "error") lastError = textOf(message["message"]);
      if (message["type"] === "message" && message["role"] === "assistant") {
        const text = textOf(message["content"]) ?? "";
        // Pieces of one message follow each other; anything else ends it.
        if (message["delta"] !== true) return [...flush(), ...messageEvents(text)];
        if (held.length < maxHeldChars) held += text;
        return [{ type: "activity", method: "message" }];
      }
      const told = [...flush(), ...read(message, calls, wall)];
      return told.length > 0 ? told : [{ type: "activity", method: "output" }];
    },
    end: flush,
    limitAtExit: (stderr) => limitIn(lastError, wall()) ?? limitIn(stderr, wall()),
    limitWaitedFor: (stderr) => geminiWait(stderr, wall()),
  };
}

function read(message: JsonObject, calls: ToolCalls, wall: () => number): Told[] {
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

function resultOf(message: JsonObject, wall: () => number): Told[] {
  const stats = objectOf(message["stats"]);
  const tokens = readTokens(stats);
  const cached = readTokens({ input: stats["cached"] })?.input ?? 0;
  const { error } = message;
  const why = textOf(objectOf(error)["message"]) ?? "no reason given";
  const failed = message["status"] === "error";
  return [
    ...(tokens ? [{ type: "usage", tokens: { ...tokens, cachedInput: cached } } as const] : []),
    {
      type: "result",
      failure: failed ? why : null,
      limit: failed ? limitIn(error, wall()) : null,
    },
  ];
}
