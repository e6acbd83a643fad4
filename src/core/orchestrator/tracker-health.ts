import type { Unread } from "../tracker/partial.ts";
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

/** The list was read, but for a part of the scope: that part is reported once, and when it is back. */
export function partlyRead(state: State, unread: Unread | null): Decision {
  const { unread: last } = state.poll;
  const next = { ...state, poll: { ...state.poll, unread }, trackerRead: true, trackerError: null };
  if (unread === null) {
    return recovered(last === null ? state : { ...next, trackerError: state.trackerError ?? last });
  }
  if (last?.message === unread.message) return decided(next);
  const { code, message } = unread;
  return decided(next, {
    type: "publish",
    event: { type: "tracker.error", message, data: { code } },
  });
}

/** Whether an issue is of the part that a list could not read. */
export function isUnread(id: string, unread: Unread | null | undefined): boolean {
  return unread?.ids.some((beginning) => id.startsWith(beginning)) === true;
}
