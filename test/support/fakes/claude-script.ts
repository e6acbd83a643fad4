/** The steps of the scripted Claude Code in a turn, in order. The shapes are those of the real program. */
export type ClaudeStep =
  | { readonly do: "say"; readonly text: string }
  /** A tool call with its permission; `runs` is what the tool answers. `asks: false`: allowed by a rule. */
  | {
      readonly do: "tool";
      readonly name: string;
      readonly input: Readonly<Record<string, unknown>>;
      readonly asks?: boolean;
      readonly runs?: string;
      readonly fails?: boolean;
      /** `input.command` is really run, once it is allowed. */
      readonly really?: boolean;
    }
  /** Calls a tool of the MCP server `tracker` and says what it answered. */
  | { readonly do: "mcp"; readonly tool: string; readonly args: unknown }
  /** Tokens of one request as they are streamed. */
  | {
      readonly do: "usage";
      readonly id: string;
      readonly input: number;
      readonly output: number;
      readonly cached?: number;
    }
  /** Waits for a message in mid-turn, and takes it up; the real program writes its record later. */
  | { readonly do: "steered"; readonly records?: boolean }
  /** Reports a limit that ends so many seconds later, and notes when. */
  | { readonly do: "limit"; readonly seconds: number }
  /** Waits until the turn is interrupted. */
  | { readonly do: "interrupted" }
  | { readonly do: "write"; readonly line: object | string }
  | { readonly do: "exit"; readonly status: number };

export interface ClaudeTurn {
  readonly steps: readonly ClaudeStep[];
  /** Fields of the result; null: the program exits without one. */
  readonly result?: Readonly<Record<string, unknown>> | null;
}

export interface ClaudeScript {
  readonly version?: string;
  readonly capabilities?: readonly string[];
  /** Names that `set_model` accepts; all if omitted. */
  readonly models?: readonly string[];
  /** A later process plays the turns after those of an earlier one. */
  readonly continues?: boolean;
  /** The last turn is repeated. */
  readonly turns: readonly ClaudeTurn[];
}

/** The usage of one turn by model. */
export function used(input: number, output: number, cached = 0, model = "claude-opus-5-5") {
  return {
    model_usage_since_last_result: {
      [model]: {
        ...{ inputTokens: input, outputTokens: output, cacheReadInputTokens: cached },
        ...{ cacheCreationInputTokens: 0, costUSD: 0.01, contextWindow: 1_000_000 },
      },
    },
  };
}
