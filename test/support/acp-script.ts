import type { PermissionOption, SessionUpdate, ToolCallUpdate } from "@agentclientprotocol/sdk";

/** What the scripted agent does in a turn, one after the other. */
export type AcpStep =
  | { readonly do: "update" | "foreign"; readonly update: SessionUpdate }
  | { readonly do: "ask"; readonly toolCall: ToolCallUpdate; readonly options: PermissionOption[] }
  | { readonly do: "request"; readonly method: string }
  /** Waits until it is told so. */
  | { readonly do: "cancelled" | "steered" }
  | { readonly do: "write"; readonly line: string }
  | { readonly do: "exit"; readonly status: number };

export interface AcpTurn {
  readonly steps: readonly AcpStep[];
  /** The answer to the prompt; `end_turn` if left out. */
  readonly end?: Readonly<Record<string, unknown>>;
  /** Answers with this error instead. */
  readonly error?: {
    readonly code: number;
    readonly message: string;
    readonly data?: unknown;
  };
  /** Dies once it has answered. */
  readonly dies?: boolean;
}

export interface AcpScript {
  /** Written to stderr as it is ended, as gemini does with all that it has to say there. */
  readonly lastWords?: string;
  /** What `initialize` answers beside the version. */
  readonly hello?: Readonly<Record<string, unknown>>;
  /** What opening a session answers beside its id. */
  readonly opened?: Readonly<Record<string, unknown>>;
  readonly wantsLogin?: boolean;
  /** Refuses every change of its mode. */
  readonly fixedMode?: boolean;
  readonly steering?: string;
  /** The last one is played again. */
  readonly turns: readonly AcpTurn[];
}

/** A piece of a message. */
export function piece(text: string, messageId: string | null = null): AcpStep {
  const content = { type: "text", text } as const;
  return { do: "update", update: { sessionUpdate: "agent_message_chunk", content, messageId } };
}
