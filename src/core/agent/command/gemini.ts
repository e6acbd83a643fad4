import { readTokens } from "../codex/usage.ts";
import { messageEvents, noticeEvent } from "../event-makers.ts";
import { type JsonObject, objectOf, textOf } from "../json-value.ts";
import type { JsonReader, Told } from "./output.ts";
import { ToolCalls } from "./tool-calls.ts";

const names = { commands: ["run_shell_command"], edits: ["write_file", "replace", "edit"] };
const maxHeldChars = 64_000;

/** `gemini --output-format stream-json`: https://geminicli.com/docs/cli/headless/ */
export function geminiReader(workspace: string): JsonReader {
  const calls = new ToolCalls({ ...names, workspace });
  let held = "";
  const flush = () => {
    const text = held;
    held = "";
    return messageEvents(text);
  };
  return {
    counts: "turn",
    read(message) {
      if (message["type"] === "message" && message["role"] === "assistant") {
        const text = textOf(message["content"]) ?? "";
        // Pieces of one message follow each other; anything else ends it.
        if (message["delta"] !== true) return [...flush(), ...messageEvents(text)];
        if (held.length < maxHeldChars) held += text;
        return [{ type: "activity", method: "message" }];
      }
      const told = [...flush(), ...read(message, calls)];
      return told.length > 0 ? told : [{ type: "activity", method: "output" }];
    },
    end: flush,
  };
}

function read(message: JsonObject, calls: ToolCalls): Told[] {
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
      return resultOf(message);
    default:
      return [];
  }
}

function resultOf(message: JsonObject): Told[] {
  const stats = objectOf(message["stats"]);
  const tokens = readTokens(stats);
  const cached = readTokens({ input: stats["cached"] })?.input ?? 0;
  const why = textOf(objectOf(message["error"])["message"]) ?? "no reason given";
  return [
    ...(tokens ? [{ type: "usage", tokens: { ...tokens, cachedInput: cached } } as const] : []),
    { type: "result", failure: message["status"] === "error" ? why : null },
  ];
}
