import type { AgentEvent } from "../agent.ts";
import { commandEvent, fileChangeEvent, toolCallEvent } from "../event-makers.ts";

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
