import { type AgentPause, maxNamedMs, startFaults } from "../model/gates.ts";
import { andThen, type Context, type Decision, decided } from "./decision.ts";
import { dayGate, dayIndex, hoursPassed, pausedText, shutGate, storageGate } from "./gates.ts";
import { type Retry, type Running, without } from "./issues.ts";
import type { Effect, Exit } from "./messages.ts";
import { afterFailedStart } from "./placement.ts";
import { queueRetry } from "./retry.ts";
import { claimed, type State, setIn } from "./state.ts";

const firstPauseMs = 5 * 60_000;
/** The worker has told of the failure by then. */
const elsewhereMs = 3_000;
const longestUnknownMs = 60 * 60_000;
/** The longest known limit of a login is one week: after it a later time is tried. */
const maxNamedPauseMs = 8 * 86_400_000;

type Failed = Extract<Exit, { kind: "failed" }>;
type PauseContext = Pick<Context, "config" | "wall" | "now">;

/** Codes of failures that are those of the provider and not of the issue. */
const providersOwn: ReadonlySet<string> = new Set(["provider_limited", "provider_refused"]);

/**
 * True for a limit, for a login, an account or a model that the provider does not accept, and for a program that cannot be
 * started.
 */
export function isAgentsOwn(exit: Exit): boolean {
  return exit.kind === "failed" && (providersOwn.has(exit.code) || startFaults.has(exit.code));
}

/** The agent takes no turns for now, whatever the issue: pauses it, counts no failure. */
export function agentRefused(
  state: State,
  entry: Running,
  { exit, context }: { exit: Failed; context: Context },
): Decision {
  return onItsWorker(state, entry, { exit, context }) ?? pausedFor(state, entry, { exit, context });
}

/**
 * What failed is that of its worker's machine, such as a program or a login: another worker may run it, and this one tells when
 * it can again. null: it is the provider's, a limit for one is one for all, or the worker checks no agents.
 */
function onItsWorker(
  state: State,
  { worker, agent, issue, attempt, failures, workspacePath, ...entry }: Running,
  { exit, context: { now, wall } }: { exit: Failed; context: Context },
): Decision | null {
  if (worker === undefined || exit.code === "provider_limited") return null;
  const workers = afterFailedStart(state.workers, { worker, agent, trouble: exit.message });
  if (workers === null) return null;
  const retry = { issue, failures, workspacePath, after: null, error: exit.message };
  return queueRetry(
    { ...state, workers },
    { ...retry, attempt: attempt ?? 1, ...(hasBegun(entry) && { stays: agent }) },
    { delayMs: elsewhereMs, now, wall, wantsSlot: true },
  );
}

function hasBegun({ threadId, threadTokens }: Pick<Running, "threadId" | "threadTokens">): boolean {
  return threadId !== null && threadTokens.total > 0;
}

function pausedFor(
  state: State,
  entry: Running,
  { exit, context }: { exit: Failed; context: Context },
): Decision {
  const paused = pause(state, entry.agent, { exit, context });
  const { untilWall = context.wall, isNamed = true } = paused.state.pauses.get(entry.agent) ?? {};
  const queued = andThen(paused, (next) =>
    queueRetry(
      next,
      {
        issue: entry.issue,
        attempt: entry.attempt ?? 1,
        failures: entry.failures,
        error: exit.message,
        workspacePath: entry.workspacePath,
        after: null,
        ...(hasBegun(entry) && { stays: entry.agent }),
      },
      {
        delayMs: Math.max(untilWall - context.wall, 0),
        now: context.now,
        wall: context.wall,
        waits: { gate: "provider", agent: entry.agent, ...(!isNamed && { isOpen: true }) },
      },
    ),
  );
  // Another agent may take it at once.
  return andThen(queued, (next) => woken(next, context));
}

function pause(
  state: State,
  agent: string,
  { exit, context }: { exit: Failed; context: Context },
): Decision {
  const known = state.pauses.get(agent);
  const named = namedTime(exit, context.wall);
  if (known?.active && (named ?? 0) <= known.untilWall) return decided(state);
  const hits = (known?.hits ?? 0) + (known?.active ? 0 : 1);
  // Without a minimum, a provider that refuses right after the time it named would be retried
  // endlessly: times parsed from text are often too short.
  const minMs = named === null ? unknownMs(hits) : known?.active ? 0 : unknownMs(hits - 1);
  const untilWall = Math.max(named ?? 0, context.wall + minMs);
  const next: AgentPause = {
    agent,
    untilWall,
    reason: exit.message,
    ...(startFaults.has(exit.code) && { isStart: true }),
    isNamed: named !== null,
    hits,
    active: true,
  };
  return decided(
    { ...state, pauses: setIn(state.pauses, agent, next) },
    {
      type: "setTimer",
      input: { type: "provider.due", agent },
      delayMs: untilWall - context.wall,
    },
    {
      type: "publish",
      event: {
        type: "provider.paused",
        message: next.isStart ? pausedText(next) : `${pausedText(next)}: ${exit.message}`,
        data: { agent, until: new Date(untilWall).toISOString(), told: named !== null },
      },
    },
  );
}

/** How long to wait after this number of consecutive refusals. */
function unknownMs(hits: number): number {
  return hits < 1 ? 0 : Math.min(firstPauseMs * 2 ** (hits - 1), longestUnknownMs);
}

/** The time that a provider named, if it is in the future and plausible; limited to the longest pause. */
function namedTime({ untilWall }: Failed, wall: number): number | null {
  if (untilWall == null || !(untilWall > wall) || untilWall - wall > maxNamedMs) return null;
  return Math.min(untilWall, wall + maxNamedPauseMs);
}

/** A turn of this agent completed: its next pause counts as the first again. */
export function turnWentWell(state: State, agent: string): State {
  const known = state.pauses.get(agent);
  return known && !known.active ? { ...state, pauses: without(state.pauses, agent) } : state;
}

/**
 * Applies what time alone changes: the active hours begin or end, a new day begins, paused providers
 * may be tried, waiting retries continue.
 */
export function timePassed(state: State, context: PauseContext): Decision {
  const hours = hoursPassed(state, context);
  const day = andThen(hours, (next) => dayPassed(next, context));
  const pauses = andThen(day, (next) => pausesPassed(next, context));
  return andThen(pauses, (next) => woken(next, context));
}

/** Begins a new day, and publishes when the day's token budget is used up or available again. */
export function dayPassed(state: State, { config, wall }: PauseContext): Decision {
  const index = dayIndex(wall);
  const day = index === state.day.index ? state.day : { ...state.day, index, tokens: 0 };
  const gate = dayGate(day, config);
  const reached = gate !== null;
  if (reached === day.reached) return decided(day === state.day ? state : { ...state, day });
  const timer: Effect = gate
    ? { type: "setTimer", input: { type: "day.due" }, delayMs: Math.max(gate.untilWall - wall, 0) }
    : { type: "clearTimer", input: { type: "day.due" } };
  const effect: Effect = {
    type: "publish",
    event: gate
      ? {
          type: "budget.reached",
          message: gate.detail,
          data: {
            brake: "tokens_per_day",
            used: day.tokens,
            limit: config.brakes.tokensPerDay,
            until: new Date(gate.untilWall).toISOString(),
          },
        }
      : {
          type: "budget.renewed",
          message: "the day's token budget is available again",
          data: { brake: "tokens_per_day", used: day.tokens, limit: config.brakes.tokensPerDay },
        },
  };
  return decided({ ...state, day: { ...day, reached } }, effect, timer);
}

/** The wait has passed by the monotonic clock; a wall clock that was set back cannot extend it. */
export function pauseElapsed(state: State, agent: string, { wall }: PauseContext): State {
  const known = state.pauses.get(agent);
  if (!known?.active || known.untilWall <= wall) return state;
  return { ...state, pauses: setIn(state.pauses, agent, { ...known, untilWall: wall }) };
}

/** An operator asks to try again: pauses whose end the provider did not name are over. */
export function pausesTried(state: State, context: PauseContext): Decision {
  const open = [...state.pauses.values()].filter(({ active, isNamed }) => active && !isNamed);
  if (open.length === 0) return decided(state);
  const elapsed = open.reduce((next, { agent }) => pauseElapsed(next, agent, context), state);
  return timePassed(elapsed, context);
}

function pausesPassed(state: State, { wall }: PauseContext): Decision {
  const over = [...state.pauses.values()].filter(
    ({ active, untilWall }) => active && untilWall <= wall,
  );
  return over.reduce(
    (decision, known) =>
      decided(
        {
          ...decision.state,
          pauses: setIn(decision.state.pauses, known.agent, { ...known, active: false }),
        },
        ...decision.effects,
        { type: "clearTimer", input: { type: "provider.due", agent: known.agent } },
        {
          type: "publish",
          event: {
            type: "provider.resumed",
            message: `${known.agent} may run again`,
            data: { agent: known.agent },
          },
        },
      ),
    decided(state),
  );
}

/** Retries whose gate has opened become due now, even before their time. */
function woken(state: State, { config, now, wall }: PauseContext): Decision {
  if (state.draining) return decided(state);
  const isOpen = ({ waits, issue }: Retry) =>
    // A retry that waits for the disk is saved first, whatever else it waits for.
    (waits?.gate === "storage" ? storageGate(state) : shutGate(state, issue, config)) === null;
  const open = [...state.issues.of("retrying").values()].filter(
    (entry) => entry.waits !== null && isOpen(entry),
  );
  return open.reduce((decision, entry) => {
    const { id } = entry.issue;
    const due: Retry = { ...entry, dueAt: now, dueWall: wall, waits: null };
    return decided(
      claimed(decision.state, due),
      ...decision.effects,
      { type: "setTimer", input: { type: "retry.due", issueId: id }, delayMs: 0 },
      { type: "saveRecord", issueId: id },
    );
  }, decided(state));
}
