import type { Clock } from "../clock.ts";
import { SymphonyError } from "../model/errors.ts";
import { Deadline } from "./judging.ts";
import type { LeaseTimes } from "./lease.ts";

const lookMs = 50;

/** An orchestrator's lead, as it knows it, with its own time for what it writes: that is over before another one can lead. */
export class Lead {
  readonly #clock: Clock;
  readonly #mine = new Deadline();
  #wall = 0;
  /** The host whose orchestrator leads instead; null: none does, as far as this one knows. */
  heldBy: string | null = null;
  /** The engine does not answer. */
  isAway = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The lead was taken or kept; `from`: the moment before that was asked for, monotonic ms. */
  extend(from: number, times: LeaseTimes): void {
    this.#mine.extend(from, times);
    this.#wall = this.#clock.wall() + this.#mine.at - this.#clock.now();
    [this.heldBy, this.isAway] = [null, false];
  }

  /** The orchestrator on `host` leads. */
  end(host: string): void {
    this.#mine.end();
    [this.heldBy, this.isAway] = [host, false];
  }

  /** The monotonic clock stands still while the machine is suspended, the wall clock does not. */
  get lasts(): boolean {
    return !this.#mine.isOver(this.#clock.now()) && this.#clock.wall() < this.#wall;
  }

  /**
   * Resolves while no other orchestrator can lead: what a person writes here is then not lost. One that stood still looks at the
   * engine first. Rejects with `unavailable`, when nothing was changed.
   */
  async require({ awayMs }: Pick<LeaseTimes, "awayMs">): Promise<void> {
    const end = this.#clock.now() + awayMs;
    while (!this.lasts && this.heldBy === null && !this.isAway && this.#clock.now() < end)
      await new Promise<void>((resolve) => this.#clock.after(lookMs, resolve));
    if (this.lasts) return;
    if (this.heldBy !== null)
      throw new SymphonyError(
        "unavailable",
        `nothing was changed: the orchestrator on ${this.heldBy} leads this fleet, and not this one`,
        { hint: "give the command to that server, or stop it and try again" },
      );
    throw new SymphonyError(
      "unavailable",
      "nothing was changed: the engine of the fleet does not answer, and another orchestrator could lead by now",
      { hint: "try again when it answers: symphony workers list" },
    );
  }
}
