import type { Tokens } from "../../model/attempt.ts";
import { messageEvents } from "../event-makers.ts";
import { isObject, type JsonObject, listOf, objectOf, textOf } from "../json-value.ts";
import type { JsonReader, Told } from "./output.ts";
import { ToolCalls } from "./tool-calls.ts";

const names = { commands: ["Bash"], edits: ["Edit", "MultiEdit", "Write", "NotebookEdit"] };

/** `claude -p --output-format stream-json --verbose`: https://code.claude.com/docs/en/headless */
export function claudeReader(workspace: string): JsonReader {
  const calls = new ToolCalls({ ...names, workspace });
  return {
    counts: "turn",
    read(message) {
      const told = read(message, calls);
      return told.length > 0 ? told : [{ type: "activity", method: "output" }];
    },
  };
}

function read(message: JsonObject, calls: ToolCalls): Told[] {
  const content = listOf(objectOf(message["message"])["content"]).map(objectOf);
  switch (message["type"]) {
    case "system":
      return message["subtype"] === "init" ? sessionOf(message) : [];
    case "assistant":
      return content.flatMap((block) => spoken(block, calls));
    case "user":
      return content.flatMap((block) => returned(block, calls));
    case "result":
      return [...sessionOf(message), ...usageOf(message), ending(message)];
    default:
      return [];
  }
}

function sessionOf(message: JsonObject): Told[] {
  const id = textOf(message["session_id"]);
  return id === null ? [] : [{ type: "session", id }];
}

function spoken(block: JsonObject, calls: ToolCalls): Told[] {
  if (block["type"] === "text") return messageEvents(textOf(block["text"]) ?? "");
  if (block["type"] !== "tool_use") return [];
  const input = objectOf(block["input"]);
  return calls.begun({
    id: textOf(block["id"]),
    tool: textOf(block["name"]) ?? "",
    command: textOf(input["command"]),
    path: textOf(input["file_path"]) ?? textOf(input["notebook_path"]),
  });
}

function returned(block: JsonObject, calls: ToolCalls): Told[] {
  if (block["type"] !== "tool_result") return [];
  const { content } = block;
  const parts = listOf(content).map((part) => textOf(objectOf(part)["text"]) ?? "");
  return calls.ended(textOf(block["tool_use_id"]), {
    failed: block["is_error"] === true,
    output: typeof content === "string" ? content : parts.join("\n"),
  });
}

/** Of the whole run. What came from the provider's cache is told apart from the rest of the input. */
function usageOf(message: JsonObject): Told[] {
  const { usage } = message;
  if (!isObject(usage)) return [];
  const count = (name: string) => {
    const value = usage[name];
    return typeof value === "number" && Number.isSafeInteger(value) && value > 0 ? value : 0;
  };
  const cachedInput = count("cache_read_input_tokens");
  const input = count("input_tokens") + count("cache_creation_input_tokens") + cachedInput;
  const output = count("output_tokens");
  const tokens: Tokens = { input, cachedInput, output, reasoningOutput: 0, total: input + output };
  return [{ type: "usage", tokens }];
}

function ending(message: JsonObject): Told {
  const failed = message["is_error"] === true || message["subtype"] !== "success";
  const why = textOf(message["result"]) ?? textOf(message["subtype"]) ?? "no reason given";
  return { type: "result", failure: failed ? why : null };
}
