import type { AgentTools } from "../agent/agent.ts";
import { workspaceMark } from "../workspace/fingerprint.ts";

/** Tells whether a turn led to anything: another state of the workspace, or something written to the tracker. */
export class Progress {
  readonly #path: string;
  #wrote = false;
  #mark: string | null = null;

  constructor(path: string) {
    this.#path = path;
  }

  /** `tools`, whose successful writes count as progress. */
  watching(tools: AgentTools): AgentTools {
    return {
      ...tools,
      call: async (name, args) => {
        const result = await tools.call(name, args);
        if (result.success && tools.writes?.(name, args) !== false) this.#wrote = true;
        return result;
      },
    };
  }

  /** Right before a turn. What hooks did before the first one is not the agent's work. */
  async begin(): Promise<void> {
    this.#wrote = false;
    this.#mark ??= await workspaceMark(this.#path);
  }

  /** Right after it: whether it moved anything. */
  async moved(): Promise<boolean> {
    const mark = await workspaceMark(this.#path);
    const moved = this.#wrote || mark !== this.#mark;
    this.#mark = mark;
    this.#wrote = false;
    return moved;
  }
}
