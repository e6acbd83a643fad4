import type { CommandConfig } from "../../config/command-section.ts";
import type { Tokens } from "../../model/attempt.ts";
import type { AgentEvent } from "../agent.ts";
import { messageEvents, noticeEvent } from "../event-makers.ts";
import { isObject, type JsonObject } from "../json-value.ts";
import { claudeReader } from "./claude.ts";
import { codexReader } from "./codex-exec.ts";
import { geminiReader } from "./gemini.ts";
import { ownReader } from "./own-lines.ts";

const maxBlockChars = 32_768;

/** What a line of a program says: an event, or something the session has to act upon. */
export type Told =
  | AgentEvent
  /** Not meant for us: for the log. */
  | { readonly type: "log"; readonly line: string }
  /** The program's own name for its conversation. */
  | { readonly type: "session"; readonly id: string }
  /** Absolute: of this turn, or of the whole thread if the reader says so. */
  | { readonly type: "usage"; readonly tokens: Tokens }
  /** How the turn ended; a program that says nothing is judged by its exit code. */
  | { readonly type: "result"; readonly failure: string | null }
  /** A tool of the tracker to be run host-side. */
  | {
      readonly type: "tool";
      readonly id: string | number | null;
      readonly tool: string;
      readonly args: unknown;
    };

/** Reads the output of one turn. */
export interface OutputReader {
  /** Whose tokens `usage` counts. */
  readonly counts: "turn" | "thread";
  line(line: string): readonly Told[];
  /** What was held back until the end. */
  end(): readonly Told[];
}

/** A reader of one JSON object; what it does not know is a sign of life. */
export interface JsonReader {
  readonly counts: "turn" | "thread";
  read(message: JsonObject): readonly Told[];
  end?(): readonly Told[];
}

export function readerFor(output: CommandConfig["output"], workspace: string): OutputReader {
  switch (output) {
    case "text":
      return textReader();
    case "jsonl":
      return jsonLines(ownReader(workspace));
    case "claude":
      return jsonLines(claudeReader(workspace));
    case "gemini":
      return jsonLines(geminiReader(workspace));
    case "codex":
      return jsonLines(codexReader(workspace));
  }
}

/** Blocks of text between blank lines, each a message. */
function textReader(): OutputReader {
  let held: string[] = [];
  let chars = 0;
  const flush = () => {
    const text = held.join("\n");
    held = [];
    chars = 0;
    return messageEvents(text);
  };
  return {
    counts: "turn",
    line(line) {
      if (line.trim() === "" || chars > maxBlockChars) {
        const told = flush();
        if (line.trim() !== "") held.push(line);
        return told;
      }
      held.push(line);
      chars += line.length;
      return [];
    },
    end: flush,
  };
}

function jsonLines(reader: JsonReader): OutputReader {
  return {
    counts: reader.counts,
    line(line) {
      if (line.trim() === "") return [];
      const message = parsed(line);
      if (isObject(message)) return reader.read(message);
      return line.trimStart().startsWith("{") ? [noticeEvent(line, true)] : [{ type: "log", line }];
    },
    end: () => reader.end?.() ?? [],
  };
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}
