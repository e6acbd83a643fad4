import type { PermissionOption, SessionUpdate, ToolCallUpdate } from "@agentclientprotocol/sdk";

/** The steps of the scripted agent in a turn, in order. */
export type AcpStep =
  | { readonly do: "update" | "foreign"; readonly update: SessionUpdate }
  | { readonly do: "ask"; readonly toolCall: ToolCallUpdate; readonly options: PermissionOption[] }
  /** Runs a command, once it is allowed where it asks; a cancelled turn does not wait for it. */
  | { readonly do: "run"; readonly command: string; readonly asks?: boolean }
  | { readonly do: "request"; readonly method: string }
  /** Calls a tool of the session's first MCP server, which it starts for this. */
  | { readonly do: "tool"; readonly name: string; readonly arguments: Record<string, unknown> }
  /** Waits until the turn is cancelled or steered. */
  | { readonly do: "cancelled" | "steered" }
  /** Waits until a further prompt of the same turn has been played. */
  | { readonly do: "prompted" }
  /** Crashes with these last words on stderr. */
  | { readonly do: "die"; readonly words: string }
  | { readonly do: "write"; readonly line: string }
  | { readonly do: "exit"; readonly status: number };

export interface AcpTurn {
  readonly steps: readonly AcpStep[];
  /** The answer to the prompt; default `end_turn`. */
  readonly end?: Readonly<Record<string, unknown>>;
  /** The error to answer with instead. */
  readonly error?: {
    readonly code: number;
    readonly message: string;
    readonly data?: unknown;
  };
  /** Chunks of its message that it sends after the answer. */
  readonly after?: readonly string[];
  /** Exits after it has answered. */
  readonly dies?: boolean;
}

export interface AcpScript {
  /** Written to stderr when the agent is ended; gemini writes its stderr at that time. */
  readonly lastWords?: string;
  /** The fields of the answer to `initialize`, in addition to the version. */
  readonly hello?: Readonly<Record<string, unknown>>;
  /** The fields of the answer to a new session, in addition to its id. */
  readonly opened?: Readonly<Record<string, unknown>>;
  readonly wantsLogin?: boolean;
  /** The error with which a request before the first prompt is answered, by its method. */
  readonly refuses?: Readonly<Record<string, AcpTurn["error"]>>;
  /** Whether every change of the mode is refused. */
  readonly fixedMode?: boolean;
  readonly steering?: string;
  /** The history that it sends after it has answered `session/load`. */
  readonly replays?: readonly (string | SessionUpdate)[];
  /** It sends the whole history only so long after the answer. */
  readonly replaysAfterMs?: number;
  /** A later process plays the turns after those of an earlier one. */
  readonly continues?: boolean;
  /** The last turn is repeated. */
  readonly turns: readonly AcpTurn[];
}

/** A chunk of a message. */
export function piece(text: string, messageId: string | null = null): AcpStep {
  const content = { type: "text", text } as const;
  return { do: "update", update: { sessionUpdate: "agent_message_chunk", content, messageId } };
}
