import type { CommandConfig } from "../../config/command-section.ts";
import type { Tokens } from "../../model/attempt.ts";
import type { AgentEvent } from "../agent.ts";
import { messageEvents, noticeEvent } from "../event-makers.ts";
import { isObject, type JsonObject } from "../json-value.ts";
import type { Limit } from "../limits.ts";
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
  /** How the turn ended: the program is to exit now. One that says nothing is judged by its exit code. */
  | { readonly type: "result"; readonly failure: string | null; readonly limit: Limit | null }
  /** A tool of the tracker to be run host-side. */
  | {
      readonly type: "tool";
      readonly id: string | number | null;
      readonly tool: string;
      readonly args: unknown;
    };

interface Reader {
  /** Whose tokens `usage` counts. */
  readonly counts: "turn" | "thread";
  /** True when the program always tells a result: one that exits without it was cut off. */
  readonly tellsEnd: boolean;
  /** What was held back until the end. */
  end?(): readonly Told[];
  /** The limit that made a program exit with a failure and without a result; `stderr` is the end of what it wrote there. */
  limitAtExit?(stderr: string): Limit | null;
  /** The limit that a living program has told on stderr it waits for, where that is too long to hold a slot. */
  limitWaitedFor?(stderr: string): Limit | null;
}

/** Reads the output of one turn. */
export interface OutputReader extends Reader {
  line(line: string): readonly Told[];
  end(): readonly Told[];
}

/** A reader of one JSON object; what it does not know is a sign of life. */
export interface JsonReader extends Reader {
  read(message: JsonObject): readonly Told[];
}

export interface ReaderOptions {
  readonly workspace: string;
  /** Epoch ms, for times that a program tells as a duration or a time of day. */
  wall(): number;
}

export function readerFor(output: CommandConfig["output"], options: ReaderOptions): OutputReader {
  switch (output) {
    case "text":
      return textReader();
    case "jsonl":
      return jsonLines(ownReader(options));
    case "claude":
      return jsonLines(claudeReader(options));
    case "gemini":
      return jsonLines(geminiReader(options));
    case "codex":
      return jsonLines(codexReader(options));
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
    tellsEnd: false,
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
    ...reader,
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
