import { readTokens } from "../codex/usage.ts";
import {
  commandEvent,
  fileChangeEvent,
  messageEvents,
  noticeEvent,
  toolCallEvent,
} from "../event-makers.ts";
import { type JsonObject, listOf, objectOf, textOf } from "../json-value.ts";
import { limitIn } from "../limits.ts";
import type { JsonReader, ReaderOptions, Told } from "./output.ts";

/** `codex exec --json`. Its usage counts the whole thread, also when it was resumed. */
export function codexReader({ workspace, wall }: ReaderOptions): JsonReader {
  let lastError: string | null = null;
  return {
    counts: "thread",
    tellsEnd: true,
    read(message) {
      if (message["type"] === "error") lastError = reasonOf(message);
      const told = read(message, workspace, wall);
      return told.length > 0 ? told : [{ type: "activity", method: "output" }];
    },
    limitAtExit: (stderr) => limitIn(lastError, wall()) ?? limitIn(stderr, wall()),
  };
}

function reasonOf(message: JsonObject): string | null {
  return textOf(objectOf(message["error"])["message"]) ?? textOf(message["message"]);
}

function read(message: JsonObject, workspace: string, wall: () => number): readonly Told[] {
  const reason = reasonOf(message);
  switch (message["type"]) {
    case "thread.started": {
      const id = textOf(message["thread_id"]);
      return id === null ? [] : [{ type: "session", id }];
    }
    case "item.started":
      return itemTold(objectOf(message["item"]), false, workspace);
    case "item.completed":
      return itemTold(objectOf(message["item"]), true, workspace);
    case "turn.completed": {
      const tokens = readTokens(message["usage"]);
      return [
        ...(tokens ? [{ type: "usage", tokens } as const] : []),
        { type: "result", failure: null, limit: null },
      ];
    }
    case "turn.failed":
      return [
        {
          type: "result",
          failure: reason ?? "no reason given",
          limit: limitIn(message["error"] ?? reason, wall()),
        },
      ];
    case "error":
      return [noticeEvent(reason ?? "error")];
    default:
      return [];
  }
}

function itemTold(item: JsonObject, completed: boolean, workspace: string): readonly Told[] {
  const { type, status } = item;
  if (type === "command_execution") return [commandTold(item, completed)];
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

function commandTold(item: JsonObject, completed: boolean): Told {
  const { status, exit_code: exitCode } = item;
  const ended = status === "failed" || status === "declined" ? status : "completed";
  return commandEvent({
    command: textOf(item["command"]) ?? "",
    status: completed ? ended : "started",
    exitCode: typeof exitCode === "number" ? exitCode : null,
    output: completed ? textOf(item["aggregated_output"]) : null,
  });
}
