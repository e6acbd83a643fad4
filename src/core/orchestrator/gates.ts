import type { Config } from "../config/config.ts";
import {
  type AgentPause,
  type AgentTrouble,
  type DispatchPause,
  type HostTrouble,
  unsavedText,
} from "../model/gates.ts";
import { type ActiveHours, hoursText, openingAt } from "../model/hours.ts";
import type { Issue, Wait } from "../model/issue.ts";
import { grouped } from "../text/text.ts";
import { agentsFor, takesTurns } from "./choice.ts";
import { type Context, type Decision, decided } from "./decision.ts";
import type { StorageWait } from "./issues.ts";
import type { Effect } from "./messages.ts";
import { conflictOf } from "./radar.ts";
import type { Day, HoursNow, State } from "./state.ts";

const dayMs = 86_400_000;

/** A condition that keeps an issue from starting, possibly until a known time. */
export interface Gate {
  readonly wait: Wait | StorageWait;
  readonly detail: string;
  /** null if not known. */
  readonly untilWall: number | null;
}

type TimedGate = Gate & { readonly wait: Wait; readonly untilWall: number };

/** The closed gate that keeps a valid issue from starting now; null when all are open. */
export function shutGate(state: State, issue: Issue, config: Config): Gate | null {
  return (
    commonGate(state, config) ??
    agentGate(state, issue, config) ??
    conflictGate(state, issue, config)
  );
}

/** The closed gate that keeps every issue from starting now. */
export function commonGate(state: State, config: Config): Gate | null {
  return (
    storageGate(state) ??
    pausedGate(state) ??
    hoursGate(state) ??
    hostGate(state) ??
    dayGate(state.day, config)
  );
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
export function hoursGate({ hours }: Pick<State, "hours">): TimedGate | null {
  if (hours === null || hours.open) return null;
  const detail = `outside agent.active_hours (${hoursText(hours.of)}), opens at ${timeOf(hours.untilWall)}`;
  return { wait: { gate: "active_hours" }, detail, untilWall: hours.untilWall };
}

/** The host has too little of something. */
export function hostGate({ host }: Pick<State, "host">): Gate | null {
  return host && { wait: { gate: "host" }, detail: host.detail, untilWall: null };
}

/** While writes are not on disk, a crash could start the same work a second time. */
export function storageGate({ storage }: Pick<State, "storage">): Gate | null {
  if (storage === null) return null;
  return { wait: { gate: "storage" }, detail: unsavedText(storage), untilWall: null };
}

/** The day's token budget, when it is used up. */
export function dayGate(day: Day, { brakes }: Config): TimedGate | null {
  const limit = brakes.tokensPerDay;
  if (limit === null || day.tokens < limit) return null;
  const untilWall = (day.index + 1) * dayMs;
  const numbers = `${grouped(day.tokens)} of ${grouped(limit)}`;
  return {
    wait: { gate: "day_budget" },
    detail: `the day's token budget is used up: ${numbers} (brakes.tokens_per_day), next day at ${timeOf(untilWall)}`,
    untilWall,
  };
}

/** None of the agents that may run the issue takes turns now; the gate of the preferred one. */
export function agentGate(state: State, issue: Issue, config: Config): Gate | null {
  if (state.pauses.size === 0 && state.troubles.size === 0) return null;
  const agents = agentsFor(state, issue, config);
  if (agents.some((agent) => takesTurns(state, agent))) return null;
  const [first, ...others] = agents.flatMap((agent) => gateOf(state, agent) ?? []);
  if (first === undefined) return null;
  const times = [first, ...others].flatMap(({ untilWall }) => untilWall ?? []);
  return {
    wait: first.wait,
    detail: [first, ...others].map(({ detail }) => detail).join("; "),
    untilWall: times.length === 0 ? null : Math.min(...times),
  };
}

/** Why the agent takes no turns now; null when it does. */
export function gateOf({ pauses, troubles }: State, agent: string): Gate | null {
  const trouble = troubles.get(agent);
  if (trouble) {
    return { wait: { gate: "agent", agent }, detail: troubleText(agent, trouble), untilWall: null };
  }
  const pause = pauses.get(agent);
  if (!pause?.active) return null;
  const { untilWall } = pause;
  return { wait: { gate: "provider", agent }, detail: pausedText(pause), untilWall };
}

/** A short text that says why nothing is started with an agent. */
export function troubleText(agent: string, { detail }: Pick<AgentTrouble, "detail">): string {
  return `nothing is started with ${agent}: ${detail}`;
}

/** A live branch of an issue that began earlier, with which its own conflicts (`delivery.conflicts`). */
export function conflictGate(state: State, issue: Issue, { delivery }: Config): Gate | null {
  const reason = delivery.conflicts === "hold" ? conflictOf(state, issue) : null;
  if (reason === null) return null;
  const detail = `waits for ${reason} (delivery.conflicts: hold)`;
  return { wait: { gate: "conflicts" }, detail, untilWall: null };
}

/** A short text that says why an agent's issues wait. */
export function pausedText({ agent, untilWall, isStart, reason }: AgentPause): string {
  if (isStart)
    return `${agent} could not be started, tried again at ${timeOf(untilWall)}: ${reason}`;
  return `the provider (${agent}) accepts no turns until ${timeOf(untilWall)}`;
}

/** The day (UTC) that contains `wall`. */
export function dayIndex(wall: number): number {
  return Math.floor(wall / dayMs);
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
