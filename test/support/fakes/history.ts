import type { History } from "../../../src/core/store/store.ts";

/** A real history whose writes of events fail on request, as on a full disk. */
export function breakable(history: History): { history: History; break(): void; mend(): void } {
  let broken = false;
  return {
    history: {
      ...history,
      appendEvents(events) {
        if (broken) throw new Error("disk is full");
        history.appendEvents(events);
      },
    },
    break: () => {
      broken = true;
    },
    mend: () => {
      broken = false;
    },
  };
}
