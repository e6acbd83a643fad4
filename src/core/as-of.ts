import type { Clock } from "./clock.ts";
import type { Config } from "./config/config.ts";
import type { Core } from "./core.ts";
import type { Moment } from "./journal/file.ts";
import { stateAt } from "./journal/reading.ts";
import type { ShownConfig } from "./journal/record.ts";
import { SymphonyError } from "./model/errors.ts";
import { type View, viewIn } from "./orchestrator/operations.ts";
import type { State } from "./orchestrator/state.ts";

/** What the scheduler knew and was configured to do at an earlier moment. */
export interface Then {
  readonly state: State;
  readonly config: Config;
  readonly shown: ShownConfig;
  /** The time that was asked for, or that of the decision that published the event. */
  readonly wall: number;
  /** The last event before the decision. */
  readonly event: number;
  view(limit: number): View;
}

/**
 * Replays the record up to `at`: the number of an event, or a time. Rejects with `invalid_request`, and with `not_recorded` if
 * the record does not reach back that far.
 */
export async function asOf(
  { recorder, bus }: Pick<Core, "recorder" | "bus">,
  clock: Clock,
  at: string,
): Promise<Then> {
  const moment = momentOf(at, { wall: clock.wall(), event: bus.lastSeq });
  return recorder.read(async (file) => {
    const then = await stateAt(file, moment);
    const { state, config, problem, shown } = then;
    const wall = "at" in moment ? moment.at : then.wall;
    // The monotonic clock went on after the last decision.
    const now = then.now + Math.max(wall - then.wall, 0);
    const view = (limit: number) => viewIn(state, { config, problem }, { now, limit });
    return { state, config, shown, wall, event: then.event, view };
  });
}

/** Nothing later than now can be shown. */
function momentOf(text: string, now: { readonly wall: number; readonly event: number }): Moment {
  if (/^\d{1,15}$/.test(text)) {
    const event = Number(text);
    if (event >= 1 && event <= now.event) return { event };
    throw refused(`at: there is no event ${text}; the last one is ${now.event}`);
  }
  const at = /^\d{4}-\d\d-\d\dT/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(at)) throw refused(`at: "${text}" is neither an event's number nor a time`);
  if (at > now.wall) throw refused(`at: ${text} is in the future`);
  return { at };
}

function refused(message: string): SymphonyError {
  return new SymphonyError("invalid_request", message, {
    hint: "at=1234 is as of event 1234, at=2026-11-23T17:00:00Z as of that time",
  });
}
