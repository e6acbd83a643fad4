import type { AgentEvent } from "../agent/agent.ts";
import type { Steer } from "../store/store.ts";
import { steerPrompt } from "./prompt.ts";

/**
 * Guidance that its turn ended without taking up opens the next turn, so none is lost; it counts as
 * delivered when that turn has started.
 */
export class Opening {
  readonly #undelivered: () => readonly Steer[];
  readonly #reported: (event: AgentEvent) => void;
  #carried: readonly Steer[] = [];

  constructor(undelivered: () => readonly Steer[], reported: (event: AgentEvent) => void) {
    this.#undelivered = undelivered;
    this.#reported = reported;
  }

  with(prompt: string): string {
    this.#carried = this.#undelivered();
    if (this.#carried.length === 0) return prompt;
    return `${steerPrompt(this.#carried.map((steer) => steer.message))}\n\n${prompt}`;
  }

  heard(event: AgentEvent): void {
    this.#reported(event);
    if (event.type !== "turn.started") return;
    for (const steer of this.#carried) {
      this.#reported({ type: "steer.delivered", steerId: steer.id });
    }
    this.#carried = [];
  }
}
