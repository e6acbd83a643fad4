import { addTokens, highWater, noTokens, type Tokens } from "../../model/attempt.ts";
import { isObject, type JsonObject, listOf, objectOf, textOf } from "../../text/text.ts";
import type { AgentEvent } from "../agent.ts";
import { countOf } from "../counts.ts";
import { messageEvents, noticeEvent } from "../event-makers.ts";
import { type Limit, limitIn, limitInOutput } from "../limits.ts";
import { isPage, isUnavailable, type Refusal, refusalInWords, refusalNamed } from "../refusals.ts";
import { timeOf } from "../reset-time.ts";
import { type JsonReader, type OutputEvent, type ReaderOptions, ToolCalls } from "./reader.ts";

/** Its own tools that are reported as commands and as changes of files. */
export const claudeTools = {
  commands: ["Bash"],
  edits: ["Edit", "MultiEdit", "Write", "NotebookEdit"],
};
const tooManyRequests = 429;
const maxOpenMessages = 10_000;

/** `claude -p --output-format stream-json --verbose`: https://code.claude.com/docs/en/headless */
export function claudeReader(options: ReaderOptions): JsonReader {
  const reader = new ClaudeReader(options);
  return {
    counts: "turn",
    tellsEnd: true,
    read(message) {
      const events = reader.read(message);
      return events.length > 0 ? events : [{ type: "activity", method: "output" }];
    },
    limitAtExit: (stderr) => reader.limitAtExit(stderr),
  };
}

class ClaudeReader {
  readonly #calls: ToolCalls;
  readonly #limits: ClaudeLimits;
  /**
   * The tokens of previous results: a background task that ends starts another turn of the same
   * process.
   */
  #counted: Tokens = noTokens;
  /** The tokens of requests since the last result, by the id of their message. */
  readonly #open = new Map<string, Tokens>();

  constructor(options: ReaderOptions) {
    this.#limits = new ClaudeLimits(() => options.wall());
    this.#calls = new ToolCalls({ ...claudeTools, workspace: options.workspace });
  }

  read(message: JsonObject): OutputEvent[] {
    const content = listOf(objectOf(message["message"])["content"]).map(objectOf);
    switch (message["type"]) {
      case "system":
        return message["subtype"] === "init" ? sessionOf(message) : [];
      case "rate_limit_event":
        this.#limits.windows(message["rate_limit_info"]);
        return [];
      case "assistant":
        this.#limits.assistant(message, content);
        return [
          ...this.#usageSoFar(objectOf(message["message"])),
          ...content.flatMap((block) => spoken(block, this.#calls)),
        ];
      case "user":
        return content.flatMap((block) => returned(block, this.#calls));
      case "result":
        return [
          ...sessionOf(message),
          ...this.#usage(message),
          ...noticesOf(message),
          this.#resultOf(message),
        ];
      default:
        return [];
    }
  }

  limitAtExit(stderr: string): Limit | null {
    return this.#limits.limitAtExit(stderr);
  }

  /**
   * One message has a line for each of its blocks, most often with the same tokens: those of its
   * beginning. The result replaces them.
   */
  #usageSoFar({ id, usage }: JsonObject): OutputEvent[] {
    const tokens = tokensOf({ usage });
    if (tokens === null || typeof id !== "string") return [];
    const known = this.#open.get(id);
    if (known === undefined && this.#open.size >= maxOpenMessages) return [];
    this.#open.set(id, highWater(known ?? tokens, tokens));
    if (known && known.total >= tokens.total) return [];
    return [{ type: "usage", tokens: this.#soFar() }];
  }

  #usage(message: JsonObject): OutputEvent[] {
    const tokens = tokensByModel(message) ?? tokensOf(message);
    if (tokens === null) return [];
    this.#counted = tokens.total > 0 ? addTokens(this.#counted, tokens) : this.#soFar();
    this.#open.clear();
    return [{ type: "usage", tokens: this.#counted }];
  }

  #soFar(): Tokens {
    return [...this.#open.values()].reduce(addTokens, this.#counted);
  }

  #resultOf(message: JsonObject): OutputEvent {
    const failed = String(message["is_error"]) === "true" || message["subtype"] !== "success";
    // The maximum of turns ends the turn, and the work continues in the next one.
    if (!failed || isMaxTurns(message)) return { type: "result", failure: null, limit: null };
    const failure =
      textOf(message["result"]) ||
      noDiagnostics(listOf(message["errors"])).join("; ") ||
      textOf(message["errors"]) ||
      textOf(objectOf(message["error"])["message"]) ||
      textOf(message["subtype"]) ||
      "no reason given";
    const limit = this.#limits.limitOf(message);
    const refusal = this.#limits.refusalOf(message, failure);
    return { type: "result", failure, limit, ...(refusal !== null && { refusal }) };
  }
}

/** What Claude Code reports about its provider's limits, in its lines of JSON. */
export class ClaudeLimits {
  readonly #wall: () => number;
  /** The provider's last report about the login's usage windows; null while it accepts requests. */
  #refusal: Limit | null = null;
  /** The error in the last line of the main conversation, such as `rate_limit`. */
  #lastError: string | null = null;
  /** The text of the last line of the main conversation, which is that of the error if it is one. */
  #lastWords = "";

  constructor(wall: () => number) {
    this.#wall = wall;
  }

  /** What the provider refuses until a person mends it, by the last line of the main conversation. */
  get refusal(): Refusal | null {
    return refusalNamed(this.#lastError);
  }

  /** That of a result; versions that name no error tell it in the result's text. */
  refusalOf({ terminal_reason: reason, subtype }: JsonObject, words: string): Refusal | null {
    const isTold = subtype === "success" && (reason === undefined || reason === "api_error");
    if (this.refusal === "authentication_failed" && isPage(words)) return null;
    return this.refusal ?? (isTold && this.#lastError === null ? refusalInWords(words) : null);
  }

  /** Whether the provider failed or was not reached, for a result of an error of its API. */
  isUnavailable({ api_error_status: status }: JsonObject, words: string): boolean {
    return this.#lastError === "server_error" || Number(status) >= 500 || isUnavailable(words);
  }

  get lastWords(): string {
    return this.#lastWords;
  }

  /** The windows of the login, in a `rate_limit_event`. */
  windows(info: unknown): void {
    this.#refusal = refusalIn(info, this.#wall());
  }

  /** A line of the type `assistant`, and the blocks of its content. */
  assistant(message: JsonObject, content: readonly JsonObject[]): void {
    // A subagent may fail while its caller continues.
    if (typeof message["parent_tool_use_id"] === "string") return;
    this.#lastError = textOf(message["error"]);
    this.#lastWords = content.map((block) => textOf(block["text"]) ?? "").join("\n");
    if (this.#lastError !== null) {
      // The previous event may name more windows.
      if (this.#refusal?.untilWall != null) return;
      const { rate_limit_info: info } = objectOf(message["api_error_params"]);
      this.#refusal = refusalIn(info, this.#wall()) ?? this.#refusal;
    } else if (objectOf(message["message"])["model"] !== "<synthetic>") {
      // The model has answered: another model was used, or the window was reset.
      this.#refusal = null;
    }
  }

  /**
   * The process may exit without a result; then the last line of the conversation or stderr reports
   * a limit.
   */
  limitAtExit(stderr: string): Limit | null {
    const limited = this.#lastError === "rate_limit";
    return limited
      ? this.#limitIn({ message: this.#lastWords })
      : limitInOutput(stderr, this.#wall());
  }

  /** The limit that made a turn fail, by its result. */
  limitOf(message: JsonObject): Limit | null {
    const { terminal_reason: reason, result, errors } = message;
    // After an end for another reason, such as an interrupt, the text may be written by the model.
    if (reason !== undefined && reason !== "api_error") return null;
    const refused =
      message["api_error_status"] === tooManyRequests ||
      message["api_error"] === "usage_limit_reached";
    return this.#limitIn({ status: refused ? tooManyRequests : null, message: result, errors });
  }

  /**
   * The time of the used-up window, else the time in the text; a refusal without either still
   * counts.
   */
  #limitIn(failure: JsonObject): Limit | null {
    const refusal = this.#refusal;
    if (refusal?.untilWall != null) return refusal;
    const known = refusal !== null || this.#lastError === "rate_limit";
    const status = known ? tooManyRequests : failure["status"];
    const limit = limitIn({ ...failure, status }, this.#wall());
    return limit?.untilWall == null ? (refusal ?? limit) : limit;
  }
}

/**
 * The used-up window of a login, with the latest time if there are several; null while requests are
 * accepted.
 */
function refusalIn(value: unknown, wall: number): Limit | null {
  const info = objectOf(value);
  if (info["status"] !== "rejected" || info["isUsingOverage"] === true) return null;
  const windows = Object.values(objectOf(info["unifiedWindows"])).map(objectOf);
  const used = [info, ...windows.filter(({ status }) => status === "rejected")];
  const times = used.map((window) => timeOf(window["resetsAt"])).filter((at) => at !== null);
  const ahead = times.filter((at) => at > wall);
  return { untilWall: ahead.length === 0 ? null : Math.max(...ahead) };
}

/** Whether a result ended its turn for the maximum of turns. */
export function isMaxTurns(message: JsonObject): boolean {
  return message["subtype"] === "error_max_turns" || message["terminal_reason"] === "max_turns";
}

/** The errors of a result, without the lines for the maker of the program. */
export function noDiagnostics(errors: readonly unknown[]): readonly string[] {
  return errors.filter(
    (error): error is string => typeof error === "string" && !error.startsWith("[ede_diagnostic]"),
  );
}

/** The tools of a result that the agent's own rules denied. */
export function denialNotices(message: JsonObject): AgentEvent[] {
  const denied = listOf(message["permission_denials"]).map((one) =>
    textOf(objectOf(one)["tool_name"]),
  );
  const tools = [...new Set(denied.filter((name) => name !== null))].join(", ");
  return tools === "" ? [] : [noticeEvent(`denied by the agent's own rules: ${tools}`)];
}

/** What a result reports in addition to its outcome and its tokens. */
function noticesOf(message: JsonObject): OutputEvent[] {
  const cost = message["total_cost_usd"];
  const models = Object.keys(objectOf(message["modelUsage"])).join(", ");
  return [
    ...(isMaxTurns(message) ? [noticeEvent("the agent ended its turn early: max turns")] : []),
    ...denialNotices(message),
    ...(typeof cost === "number" && cost > 0
      ? [
          noticeEvent(
            `cost as the agent reports it: $${cost.toFixed(4)}${models && ` (${models})`}`,
          ),
        ]
      : []),
  ];
}

function sessionOf(message: JsonObject): OutputEvent[] {
  const id = textOf(message["session_id"]);
  return id === null ? [] : [{ type: "session", id }];
}

/** A block of the content of an `assistant` line. */
export function spoken(block: JsonObject, calls: ToolCalls): AgentEvent[] {
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

function returned(block: JsonObject, calls: ToolCalls): OutputEvent[] {
  if (block["type"] !== "tool_result") return [];
  const { content } = block;
  const parts = listOf(content).map((part) => textOf(objectOf(part)["text"]) ?? "");
  return calls.ended(textOf(block["tool_use_id"]), {
    failed: block["is_error"] === true,
    output: typeof content === "string" ? content : parts.join("\n"),
  });
}

/** The tokens since the last result, with those of subagents; null for a version that does not report them. */
function tokensByModel(message: JsonObject): Tokens | null {
  const used = message["model_usage_since_last_result"];
  if (!isObject(used)) return null;
  return Object.values(used)
    .map(objectOf)
    .map((one) =>
      tokensOf({
        usage: {
          input_tokens: one["inputTokens"],
          cache_creation_input_tokens: one["cacheCreationInputTokens"],
          cache_read_input_tokens: one["cacheReadInputTokens"],
          output_tokens: one["outputTokens"],
        },
      }),
    )
    .filter((tokens) => tokens !== null)
    .reduce(addTokens, noTokens);
}

/**
 * The tokens of one result. Tokens from the provider's cache are reported separately from the rest
 * of the input.
 */
function tokensOf(message: JsonObject): Tokens | null {
  const { usage } = message;
  if (!isObject(usage)) return null;
  const count = (name: string) => countOf(usage[name]) ?? 0;
  const cachedInput = count("cache_read_input_tokens");
  const input = count("input_tokens") + count("cache_creation_input_tokens") + cachedInput;
  const output = count("output_tokens");
  return { input, cachedInput, output, reasoningOutput: 0, total: input + output };
}
