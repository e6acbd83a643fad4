import type { Tokens } from "../../model/attempt.ts";
import type { JsonObject } from "../../text/text.ts";
import type { AgentEvent } from "../agent.ts";
import { commandEvent, fileChangeEvent, toolCallEvent } from "../event-makers.ts";
import type { Limit } from "../limits.ts";

/** Calls that never return must not fill the memory. */
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

/** Pairs the beginning and the end of a program's own tool calls. */
export class ToolCalls {
  readonly #names: ToolCallNames;
  readonly #open = new Map<string, Call>();

  constructor(names: ToolCallNames) {
    this.#names = names;
  }

  begun(told: Call & { readonly id: string | null }): AgentEvent[] {
    const { id, ...call } = told;
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

/** What a line of a program says: an event, or something the session has to act upon. */
export type OutputEvent =
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

/** A reader of one JSON object; what it does not know is a sign of life. */
export interface JsonReader extends Reader {
  read(message: JsonObject): readonly OutputEvent[];
}

export interface ReaderOptions {
  readonly workspace: string;
  /** Epoch ms, for times that a program tells as a duration or a time of day. */
  wall(): number;
}

export interface Reader {
  /** Whose tokens `usage` counts. */
  readonly counts: "turn" | "thread";
  /** True when the program always tells a result: one that exits without it was cut off. */
  readonly tellsEnd: boolean;
  /** What was held back until the end. */
  end?(): readonly OutputEvent[];
  /** The limit that made a program exit with a failure and without a result; `stderr` is the end of what it wrote there. */
  limitAtExit?(stderr: string): Limit | null;
  /** The limit that a living program has told on stderr it waits for, where that is too long to hold a slot. */
  limitWaitedFor?(stderr: string): Limit | null;
}
