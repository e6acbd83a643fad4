import { isObject, parseJsonLine } from "../../text/text.ts";
import { messageEvents, noticeEvent } from "../event-makers.ts";
import { claudeReader } from "./claude.ts";
import type { JsonReader, OutputEvent, Reader, ReaderOptions } from "./reader.ts";
import { codexReader, geminiReader, ownReader } from "./readers.ts";
import type { CommandConfig } from "./settings.ts";

const maxBlockChars = 32_768;

/** Reads the output of one turn. */
export interface OutputReader extends Reader {
  line(line: string): readonly OutputEvent[];
  end(): readonly OutputEvent[];
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
      const message = parseJsonLine(line);
      if (isObject(message)) return reader.read(message);
      // `claude -p --output-format json --verbose` writes all of its lines as one list.
      if (Array.isArray(message) && message.some(isObject))
        return message.filter(isObject).flatMap((one) => reader.read(one));
      return line.trimStart().startsWith("{") ? [noticeEvent(line, true)] : [{ type: "log", line }];
    },
    end: () => reader.end?.() ?? [],
  };
}
