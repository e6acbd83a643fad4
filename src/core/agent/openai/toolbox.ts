import type { AgentEvent, AgentTools, ToolSpec } from "../agent.ts";
import { displayText } from "../display-text.ts";
import { isObject } from "../json-value.ts";
import type { Call, Item } from "./items.ts";
import { type Tool, ToolError } from "./tool.ts";

const maxResultChars = 200_000;
/** Told by events of their own. */
const toldOtherwise: ReadonlySet<string> = new Set(["shell", "apply_patch"]);

/** Everything the model may call: the agent's own tools, then the tracker's. */
export class Toolbox {
  readonly specs: readonly ToolSpec[];
  readonly #own: ReadonlyMap<string, Tool>;
  readonly #tracker: AgentTools;
  readonly #emit: (event: AgentEvent) => void;

  constructor(own: readonly Tool[], tracker: AgentTools, emit: (event: AgentEvent) => void) {
    this.#own = new Map(own.map((tool) => [tool.spec.name, tool]));
    this.#tracker = tracker;
    this.#emit = emit;
    const others = tracker.specs.filter(({ name }) => !this.#own.has(name));
    this.specs = [...own.map(({ spec }) => spec), ...others];
  }

  /**
   * Answers the calls of one response. Neighbours that only read run together, the others one after the
   * other as the model ordered them. Rejects when the turn is to end; `answered` has then got what was done.
   */
  async answer(
    calls: readonly Call[],
    signal: AbortSignal,
    answered: (item: Item) => Promise<void>,
  ): Promise<void> {
    for (const group of this.#groups(calls)) {
      const outputs = await Promise.all(
        group.map(async (call): Promise<Item> => {
          const output = await this.#run(call, signal);
          return { type: "function_call_output", call_id: call.call_id, output };
        }),
      );
      for (const output of outputs) await answered(output);
      signal.throwIfAborted();
    }
  }

  #groups(calls: readonly Call[]): readonly (readonly Call[])[] {
    const groups: Call[][] = [];
    let reading = false;
    for (const call of calls) {
      const readsOnly = this.#own.get(call.name)?.readsOnly ?? false;
      if (readsOnly && reading) groups.at(-1)?.push(call);
      else groups.push([call]);
      reading = readsOnly;
    }
    return groups;
  }

  async #run(call: Call, signal: AbortSignal): Promise<string> {
    signal.throwIfAborted();
    const args = argumentsOf(call);
    const tool = this.#own.get(call.name);
    if (!tool) return this.#tracked(call.name, args ?? {});
    try {
      if (args === null) throw new ToolError("the arguments are no JSON object");
      const output = await tool.run(args, signal);
      this.#told(call.name, "completed");
      return output.slice(0, maxResultChars);
    } catch (error) {
      if (!(error instanceof ToolError)) throw error;
      this.#told(call.name, "failed");
      return `failed: ${error.message}`.slice(0, maxResultChars);
    }
  }

  async #tracked(name: string, args: unknown): Promise<string> {
    const known = this.#tracker.specs.some((spec) => spec.name === name);
    const { success, output } = await this.#tracker.call(name, args);
    const outcome = known ? (success ? "completed" : "failed") : "unsupported";
    this.#emit({ type: "tool_call", tool: displayText(name, 200), outcome });
    return output.slice(0, maxResultChars);
  }

  #told(name: string, outcome: "completed" | "failed"): void {
    if (outcome === "failed" || !toldOtherwise.has(name))
      this.#emit({ type: "tool_call", tool: name, outcome });
  }
}

function argumentsOf({ arguments: written }: Call): Readonly<Record<string, unknown>> | null {
  if (written.trim() === "") return {};
  try {
    const value: unknown = JSON.parse(written);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}
