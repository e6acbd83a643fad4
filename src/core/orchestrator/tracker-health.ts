import { type Decision, decided } from "./decision.ts";
import type { Fault, State } from "./state.ts";

/** The tracker failed: reported once; attempts continue, nothing is dispatched (O-5, INV-20). */
export function troubled(state: State, error: Fault): Decision {
  const same = state.trackerError?.message === error.message;
  const next = { ...state, trackerError: error, trackerRead: true };
  if (same) return decided(next);
  return decided(next, {
    type: "publish",
    event: { type: "tracker.error", message: error.message, data: { code: error.code } },
  });
}

export function recovered(state: State): Decision {
  const next = state.trackerRead ? state : { ...state, trackerRead: true };
  if (state.trackerError === null) return decided(next);
  return decided(
    { ...next, trackerError: null },
    { type: "publish", event: { type: "tracker.recovered", message: "the tracker answers again" } },
  );
}
