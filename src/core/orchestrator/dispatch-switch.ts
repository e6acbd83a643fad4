import type { Clock } from "../clock.ts";
import type { DispatchPause } from "../model/gates.ts";
import type { StoredPause } from "../store/pause.ts";
import type { Orchestrator } from "./orchestrator.ts";

interface SwitchDeps {
  readonly orchestrator: Pick<Orchestrator, "state" | "apply">;
  readonly stored: Pick<StoredPause, "put">;
  readonly clock: Clock;
}

/** Pauses and resumes the start of new work. Each request is on disk before it takes effect, one after the other. */
export class DispatchSwitch {
  readonly #deps: SwitchDeps;
  #last: Promise<unknown> = Promise.resolve();

  constructor(deps: SwitchDeps) {
    this.#deps = deps;
  }

  /** A pause in force gets the new reason and keeps its time. Rejects with `storage_unavailable`; then nothing has changed. */
  pause(reason: string | null, by: string): Promise<DispatchPause> {
    return this.#inTurn(async () => {
      const { orchestrator, stored, clock } = this.#deps;
      const sinceWall = orchestrator.state.paused?.sinceWall ?? clock.wall();
      const pause = { reason, by, sinceWall };
      await stored.put(pause);
      await orchestrator.apply({ type: "dispatch.paused", pause });
      return pause;
    });
  }

  /** Resolves to the pause that ended; null: there was none. Rejects with `storage_unavailable`; then it is still paused. */
  resume(by: string): Promise<DispatchPause | null> {
    return this.#inTurn(async () => {
      const { orchestrator, stored } = this.#deps;
      const { paused } = orchestrator.state;
      if (paused === null) return null;
      await stored.put(null);
      await orchestrator.apply({ type: "dispatch.resumed", by });
      return paused;
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }
}
