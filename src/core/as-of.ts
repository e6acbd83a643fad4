import type { Config } from "./config/config.ts";
import type { Core } from "./core.ts";
import type { Moment } from "./journal/file.ts";
import { stateAt } from "./journal/reading.ts";
import type { ShownConfig } from "./journal/record.ts";
import { SymphonyError } from "./model/errors.ts";
import type { Fault, State } from "./orchestrator/state.ts";
import { type View, viewIn } from "./orchestrator/view.ts";

/** What the scheduler knew and was configured to do at an earlier moment. */
export interface Then {
  readonly state: State;
  readonly config: Config;
  readonly problem: Fault | null;
  readonly shown: ShownConfig;
  /** The time that was asked for, or that of the decision that published the event. */
  readonly wall: number;
  /** The last event before the decision. */
  readonly event: number;
  view(limit: number): View;
}

/**
 * Replays the record up to `at`: the number of an event, or a time. Rejects with `not_recorded` if
 * the record does not reach back that far, and for a moment that is still to come.
 */
export async function asOf(
  { recorder, bus, clock }: Pick<Core, "recorder" | "bus" | "clock">,
  at: string,
): Promise<Then> {
  const moment = momentOf(at, { wall: clock.wall(), event: bus.lastSeq });
  return recorder.read(async (file) => {
    const then = await stateAt(file, moment);
    const { state, config, problem, warnings, shown } = then;
    const wall = "at" in moment ? moment.at : then.wall;
    // The monotonic clock continued after the last decision.
    const now = then.now + Math.max(wall - then.wall, 0);
    const view = (limit: number) => viewIn(state, { config, problem, warnings }, { now, limit });
    return { state, config, problem, shown, wall, event: then.event, view };
  });
}

/** The schema of the route has checked the form. Nothing later than now can be shown. */
function momentOf(text: string, now: { readonly wall: number; readonly event: number }): Moment {
  const isEvent = /^\d+$/.test(text);
  const value = isEvent ? Number(text) : Date.parse(text);
  if (isEvent ? value <= now.event : value <= now.wall) {
    return isEvent ? { event: value } : { at: value };
  }
  const last = isEvent
    ? `event ${text} is not published yet; the last one is ${now.event}`
    : `${text} is still to come`;
  throw new SymphonyError("not_recorded", last, { hint: "symphony events shows the last ones" });
}
