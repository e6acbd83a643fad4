import { noTokens, type Tokens } from "../../model/attempt.ts";
import { addTokens } from "../../orchestrator/usage.ts";
import { messageEvents } from "../event-makers.ts";
import { isObject, type JsonObject, listOf, objectOf, textOf } from "../json-value.ts";
import { type Limit, limitIn } from "../limits.ts";
import { timeOf } from "../reset-time.ts";
import type { JsonReader, ReaderOptions, Told } from "./output.ts";
import { ToolCalls } from "./tool-calls.ts";

const names = { commands: ["Bash"], edits: ["Edit", "MultiEdit", "Write", "NotebookEdit"] };
const tooManyRequests = 429;

/** `claude -p --output-format stream-json --verbose`: https://code.claude.com/docs/en/headless */
export function claudeReader(options: ReaderOptions): JsonReader {
  const reader = new ClaudeReader(options);
  return {
    counts: "turn",
    tellsEnd: true,
    read(message) {
      const told = reader.read(message);
      return told.length > 0 ? told : [{ type: "activity", method: "output" }];
    },
    limitAtExit: (stderr) => reader.limitAtExit(stderr),
  };
}

class ClaudeReader {
  readonly #options: ReaderOptions;
  readonly #calls: ToolCalls;
  /** What the provider said last of the login's windows; null while it takes requests. */
  #refusal: Limit | null = null;
  /** The error of the main conversation's last line, such as `rate_limit`. */
  #lastError: string | null = null;
  /** The words that came with it. */
  #lastWords = "";
  /** Of the results before: a background task that ends begins another turn of the same process. */
  #counted: Tokens = noTokens;

  constructor(options: ReaderOptions) {
    this.#options = options;
    this.#calls = new ToolCalls({ ...names, workspace: options.workspace });
  }

  read(message: JsonObject): Told[] {
    const content = listOf(objectOf(message["message"])["content"]).map(objectOf);
    switch (message["type"]) {
      case "system":
        return message["subtype"] === "init" ? sessionOf(message) : [];
      case "rate_limit_event":
        this.#refusal = refusalIn(message["rate_limit_info"], this.#options.wall());
        return [];
      case "assistant":
        this.#errorIn(message, content);
        return content.flatMap((block) => spoken(block, this.#calls));
      case "user":
        return content.flatMap((block) => returned(block, this.#calls));
      case "result":
        return [...sessionOf(message), ...this.#usage(message), this.#ending(message)];
      default:
        return [];
    }
  }

  /** It may exit without a result; a limit is then told by the last line of the conversation, or on stderr. */
  limitAtExit(stderr: string): Limit | null {
    const limited = this.#lastError === "rate_limit";
    return limited
      ? this.#limitIn({ message: this.#lastWords })
      : limitIn(stderr, this.#options.wall());
  }

  #errorIn(message: JsonObject, content: readonly JsonObject[]): void {
    // A subagent may fail while its caller continues.
    if (typeof message["parent_tool_use_id"] === "string") return;
    this.#lastError = textOf(message["error"]);
    this.#lastWords = content.map((block) => textOf(block["text"]) ?? "").join("\n");
    if (this.#lastError !== null) {
      // The event before it may name more windows.
      if (this.#refusal?.untilWall != null) return;
      const { rate_limit_info: info } = objectOf(message["api_error_params"]);
      this.#refusal = refusalIn(info, this.#options.wall()) ?? this.#refusal;
    } else if (objectOf(message["message"])["model"] !== "<synthetic>") {
      // The model has answered: another one was asked, or the window began anew.
      this.#refusal = null;
    }
  }

  #usage(message: JsonObject): Told[] {
    const tokens = tokensOf(message);
    if (tokens === null) return [];
    this.#counted = addTokens(this.#counted, tokens);
    return [{ type: "usage", tokens: this.#counted }];
  }

  #ending(message: JsonObject): Told {
    const failed = message["is_error"] === true || message["subtype"] !== "success";
    if (!failed) return { type: "result", failure: null, limit: null };
    const failure = textOf(message["result"]) || textOf(message["subtype"]) || "no reason given";
    return { type: "result", failure, limit: this.#limitOf(message) };
  }

  #limitOf(message: JsonObject): Limit | null {
    const { terminal_reason: reason, result, errors } = message;
    // What ended for another reason, such as an interrupt, may carry words of the model.
    if (reason !== undefined && reason !== "api_error") return null;
    const refused =
      message["api_error_status"] === tooManyRequests ||
      message["api_error"] === "usage_limit_reached";
    return this.#limitIn({ status: refused ? tooManyRequests : null, message: result, errors });
  }

  /** The time of the window that is used up, else that of the words; a refusal without either is still one. */
  #limitIn(failure: JsonObject): Limit | null {
    const refusal = this.#refusal;
    if (refusal?.untilWall != null) return refusal;
    const known = refusal !== null || this.#lastError === "rate_limit";
    const status = known ? tooManyRequests : failure["status"];
    const told = limitIn({ ...failure, status }, this.#options.wall());
    return told?.untilWall == null ? (refusal ?? told) : told;
  }
}

/** A login's window that is used up, with the latest time of those that are; null where requests are taken. */
function refusalIn(value: unknown, wall: number): Limit | null {
  const info = objectOf(value);
  if (info["status"] !== "rejected" || info["isUsingOverage"] === true) return null;
  const windows = Object.values(objectOf(info["unifiedWindows"])).map(objectOf);
  const used = [info, ...windows.filter(({ status }) => status === "rejected")];
  const times = used.map((window) => timeOf(window["resetsAt"])).filter((at) => at !== null);
  const ahead = times.filter((at) => at > wall);
  return { untilWall: ahead.length === 0 ? null : Math.max(...ahead) };
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

/** Of one result. What came from the provider's cache is told apart from the rest of the input. */
function tokensOf(message: JsonObject): Tokens | null {
  const { usage } = message;
  if (!isObject(usage)) return null;
  const count = (name: string) => {
    const value = usage[name];
    return typeof value === "number" && Number.isSafeInteger(value) && value > 0 ? value : 0;
  };
  const cachedInput = count("cache_read_input_tokens");
  const input = count("input_tokens") + count("cache_creation_input_tokens") + cachedInput;
  const output = count("output_tokens");
  return { input, cachedInput, output, reasoningOutput: 0, total: input + output };
}
