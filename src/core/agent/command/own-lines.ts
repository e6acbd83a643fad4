import { readTokens } from "../codex/usage.ts";
import {
  commandEvent,
  fileChangeEvent,
  messageEvents,
  noticeEvent,
  toolCallEvent,
} from "../event-makers.ts";
import { type JsonObject, listOf, textOf } from "../json-value.ts";
import type { Limit } from "../limits.ts";
import { timeOf, waitOf } from "../reset-time.ts";
import type { JsonReader, ReaderOptions, Told } from "./output.ts";

/** symphony's own JSON lines: a small vocabulary for programs that are written for it. */
export function ownReader({ workspace, wall }: ReaderOptions): JsonReader {
  return {
    counts: "turn",
    tellsEnd: false,
    read(message) {
      return message["type"] === "result"
        ? [resultTold(message, wall())]
        : read(message, workspace);
    },
  };
}

function read(message: JsonObject, workspace: string): readonly Told[] {
  const { type } = message;
  const text = textOf(message["text"]) ?? textOf(message["message"]) ?? "";
  switch (type) {
    case "message":
      return messageEvents(text);
    case "command":
      return [commandTold(message)];
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
      return toolTold(message);
    default:
      return [{ type: "activity", method: "output" }];
  }
}

function resultTold(message: JsonObject, wall: number): Told {
  if (message["success"] !== false) return { type: "result", failure: null, limit: null };
  const failure = textOf(message["text"]) ?? textOf(message["message"]) ?? "";
  return { type: "result", failure: failure || "no reason given", limit: limitOf(message, wall) };
}

/** Only the program's own word counts here, never its prose: it was written for this format. */
function limitOf(message: JsonObject, wall: number): Limit | null {
  if (message["limited"] !== true) return null;
  const wait = waitOf(message["retry_after"]);
  return { untilWall: timeOf(message["resets_at"]) ?? (wait === null ? null : wall + wait) };
}

function commandTold(message: JsonObject): Told {
  const { status, exit_code: exitCode } = message;
  const known = ["started", "completed", "failed", "declined"] as const;
  return commandEvent({
    command: textOf(message["command"]) ?? "",
    status: known.find((word) => word === status) ?? "completed",
    exitCode: typeof exitCode === "number" ? exitCode : null,
    output: textOf(message["output"]),
  });
}

function toolTold(message: JsonObject): readonly Told[] {
  const { id, tool } = message;
  if (typeof tool !== "string") return [toolCallEvent("", "unsupported")];
  const named = typeof id === "string" || typeof id === "number" ? id : null;
  return [{ type: "tool", id: named, tool, args: message["arguments"] ?? {} }];
}
