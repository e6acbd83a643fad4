import type { Tokens } from "../../model/attempt.ts";
import type { JsonObject } from "../../text/text.ts";
import type { AgentEvent } from "../agent.ts";
import { commandEvent, fileChangeEvent, toolCallEvent } from "../event-makers.ts";
import type { Limit } from "../limits.ts";
import type { Refusal } from "../refusals.ts";

/** Calls without an end must not fill the memory. */
const maxOpen = 1_000;

export interface ToolCallNames {
  /** Tools that run a shell line. */
  readonly commands: readonly string[];
  /** Tools that write one file. */
  readonly edits: readonly string[];
  readonly workspace: string;
}

interface Call {
  readonly tool: string;
  readonly command: string | null;
  readonly path: string | null;
}

/** Matches the beginning and the end of a program's own tool calls. */
export class ToolCalls {
  readonly #names: ToolCallNames;
  readonly #open = new Map<string, Call>();

  constructor(names: ToolCallNames) {
    this.#names = names;
  }

  begun(given: Call & { readonly id: string | null }): AgentEvent[] {
    const { id, ...call } = given;
    if (id !== null && this.#open.size < maxOpen) this.#open.set(id, call);
    const command = this.#commandOf(call);
    if (command === null) return [{ type: "activity", method: "tool" }];
    return [commandEvent({ command, status: "started", exitCode: null, output: null })];
  }

  ended(id: string | null, result: { failed: boolean; output: string | null }): AgentEvent[] {
    const call = id === null ? undefined : this.#open.get(id);
    if (!call || id === null) return [];
    this.#open.delete(id);
    const status = result.failed ? "failed" : "completed";
    const command = this.#commandOf(call);
    if (command !== null) {
      return [commandEvent({ command, status, exitCode: null, output: result.output })];
    }
    if (call.path !== null && this.#names.edits.includes(call.tool)) {
      return [fileChangeEvent(status, [call.path], this.#names.workspace)];
    }
    return [toolCallEvent(call.tool, status)];
  }

  #commandOf({ tool, command }: Call): string | null {
    return this.#names.commands.includes(tool) ? (command ?? "") : null;
  }
}

/** The content of a program's line: an event, or something that the session has to handle. */
export type OutputEvent =
  | AgentEvent
  /** Not part of the format: for the log. */
  | { readonly type: "log"; readonly line: string }
  /** The program's own id for its conversation. */
  | { readonly type: "session"; readonly id: string }
  /** Absolute: for this turn, or for the whole thread if the reader says so. */
  | { readonly type: "usage"; readonly tokens: Tokens }
  /** How the turn ended: the program has to exit now. Without this event the exit code decides. */
  | {
      readonly type: "result";
      readonly failure: string | null;
      readonly limit: Limit | null;
      /** The provider refuses until a person mends it. */
      readonly refusal?: Refusal;
    }
  /** A tool of the tracker, to be run by the server. */
  | {
      readonly type: "tool";
      readonly id: string | number | null;
      readonly tool: string;
      readonly args: unknown;
    };

/** Reads one JSON object; an unknown one is a sign of life. */
export interface JsonReader extends Reader {
  read(message: JsonObject): readonly OutputEvent[];
}

export interface ReaderOptions {
  readonly workspace: string;
  /** Epoch ms, for times that a program gives as a duration or a time of day. */
  wall(): number;
}

export interface Reader {
  /** Whether `usage` counts the turn or the whole thread. */
  readonly counts: "turn" | "thread";
  /** True when the program always reports a result: if it exits without one, it was interrupted. */
  readonly tellsEnd: boolean;
  /** How a person gives its program a login; omitted: as Claude Code gets one. */
  readonly logIn?: string;
  /** The events that were held back until the end. */
  end?(): readonly OutputEvent[];
  /**
   * The limit that made a program exit with a failure and without a result; `stderr` is the end of
   * its output there.
   */
  limitAtExit?(stderr: string): Limit | null;
  /**
   * The limit that a running program waits for, as reported on stderr, when the wait is too long to
   * hold a slot.
   */
  limitWaitedFor?(stderr: string): Limit | null;
}
