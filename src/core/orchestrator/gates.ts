import type { DispatchPause, HostTrouble } from "../model/gates.ts";
import { type ActiveHours, hoursText, openingAt } from "../model/hours.ts";
import type { Wait } from "../model/issue.ts";
import { type Context, type Decision, decided } from "./decision.ts";
import type { StorageWait } from "./issues.ts";
import type { Effect } from "./messages.ts";
import type { HoursNow, State } from "./state.ts";

/** A condition that keeps an issue from starting, possibly until a known time. */
export interface Gate {
  readonly wait: Wait | StorageWait;
  readonly detail: string;
  /** null if not known. */
  readonly untilWall: number | null;
}

/** An operator paused all dispatch. */
export function pausedGate({ paused }: Pick<State, "paused">): Gate | null {
  if (paused === null) return null;
  return { wait: { gate: "paused" }, detail: dispatchPauseText(paused), untilWall: null };
}

/** A short text that says who paused dispatch, when and why. */
export function dispatchPauseText({ reason, by, sinceWall }: DispatchPause): string {
  const why = reason === null ? "" : `: ${reason}`;
  return `dispatch is paused (${by}, ${timeOf(sinceWall)})${why}`;
}

/** The time is outside `agent.active_hours`. */
export function hoursGate({ hours }: Pick<State, "hours">): (Gate & { untilWall: number }) | null {
  if (hours === null || hours.open) return null;
  const detail = `outside agent.active_hours (${hoursText(hours.of)}), opens at ${timeOf(hours.untilWall)}`;
  return { wait: { gate: "active_hours" }, detail, untilWall: hours.untilWall };
}

/** The host has too little of something. */
export function hostGate({ host }: Pick<State, "host">): Gate | null {
  return host && { wait: { gate: "host" }, detail: host.detail, untilWall: null };
}

/** Running attempts continue; nothing new starts until the host has enough again. */
export function hostChanged(state: State, trouble: HostTrouble | null): Decision {
  if (trouble !== null) {
    const short = tellAll("host.short", `nothing new is started: ${trouble.detail}`, {});
    return decided({ ...state, host: trouble }, short);
  }
  if (state.host === null) return decided(state);
  return decided(
    { ...state, host: null },
    tellAll("host.recovered", "the host has enough again", {}),
  );
}

/** An operator pauses dispatch, or pauses it again with another reason. */
export function dispatchPaused(state: State, pause: DispatchPause): Decision {
  const sinceWall = state.paused?.sinceWall ?? pause.sinceWall;
  const paused = { ...pause, sinceWall };
  const { reason, by } = paused;
  return decided(
    { ...state, paused },
    tellAll("dispatch.paused", dispatchPauseText(paused), { reason, by }),
  );
}

/** An operator resumes it; nothing happens when it is not paused. */
export function dispatchResumed(state: State, by: string): Decision {
  if (state.paused === null) return decided(state);
  return decided(
    { ...state, paused: null },
    tellAll("dispatch.resumed", "dispatch is resumed", { by }),
  );
}

type HoursContext = Pick<Context, "config" | "wall">;

/** Applies what the time changes about the active hours; `isDue`: by the monotonic clock it is time to look. */
export function hoursPassed(state: State, { config, wall }: HoursContext, isDue = false): Decision {
  const wanted = config.agent.activeHours;
  const known = state.hours;
  if (wanted === null) {
    if (known === null) return decided(state);
    const opened = known.open ? [] : [openedNow("there are no agent.active_hours any more")];
    return decided({ ...state, hours: null }, clearDue, ...opened);
  }
  const isKnown = known !== null && sameHours(known.of, wanted);
  if (isKnown && !isDue && wall >= known.fromWall && wall < known.untilWall) return decided(state);
  const { open, untilWall } = openingAt(wanted, wall);
  const hours: HoursNow = { of: wanted, open, fromWall: wall, untilWall };
  const next = { ...state, hours };
  const delayMs = Math.max(untilWall - wall, 1);
  const due: Effect = { type: "setTimer", input: { type: "hours.due" }, delayMs };
  if (open === (known?.open ?? true)) return decided(next, due);
  if (open) return decided(next, due, openedNow(hoursText(wanted)));
  const until = { opens_at: timeOf(untilWall) };
  return decided(next, due, tellAll("hours.closed", hoursGate(next)?.detail ?? "", until));
}

const clearDue: Effect = { type: "clearTimer", input: { type: "hours.due" } };

function openedNow(why: string): Effect {
  return tellAll("hours.opened", `new work may start: ${why}`, {});
}

function sameHours(a: ActiveHours, b: ActiveHours): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

function tellAll(
  type:
    | `dispatch.${"paused" | "resumed"}`
    | `hours.${"closed" | "opened"}`
    | `host.${"short" | "recovered"}`,
  message: string,
  data: Readonly<Record<string, unknown>>,
): Effect {
  return { type: "publish", event: { type, message, data } };
}

function timeOf(wall: number): string {
  return new Date(wall).toISOString();
}
