import type { Issue } from "../model/issue.ts";
import {
  andThen,
  type Context,
  closeRequest,
  type Decision,
  decided,
  openRequest,
} from "./decision.ts";
import { byDispatchOrder, firstToFit, slotsFor, slotsWithout } from "./dispatch.ts";
import { shutGate } from "./gates.ts";
import type { Retry, Running } from "./issues.ts";
import type { Exit, Input } from "./messages.ts";
import { isAgentsOwn } from "./pauses.ts";
import { hasPlace } from "./placement.ts";
import { hasBegun, startAll } from "./poll.ts";
import { recheck } from "./recheck.ts";
import { isFree, type State } from "./state.ts";
import { troubled } from "./tracker-health.ts";

type Answer = Extract<Input, { type: "issues.verified" | "issues.verifyFailed" }>;

/** After this many consecutive attempts without a first turn, only polls start the next one. */
const maxFalseStarts = 3;

/** Frequent inputs that neither free a slot nor open a gate: the queue is not searched for them. */
const frequent: ReadonlySet<Input["type"]> = new Set([
  "attempt.entered",
  "attempt.reported",
  "attempt.turned",
]);

/**
 * Orders a refill when an issue of the known queue could start after `decision`. A poll that runs
 * or is due at once does the same by itself; after a tracker failure only the next poll sends a
 * request.
 */
export function withRefill(
  before: State,
  decision: Decision,
  { input, context }: { input: Input; context: Context },
): Decision {
  const { state, effects } = decision;
  if (state === before) return decision;
  if (frequent.has(input.type) && state.refill === before.refill) return decision;
  if (!mayRefill(state, context) || nextToStart(state, context).length === 0) return decision;
  if (effects.some((one) => one.type === "setTimer" && isPollNow(one))) return decision;
  return andThen(decision, (next) =>
    decided(
      { ...next, refill: { ...next.refill, isDue: true } },
      { type: "setTimer", input: { type: "refill.due" }, delayMs: 0 },
    ),
  );
}

function isPollNow({ input, delayMs }: { readonly input: Input; readonly delayMs: number }) {
  return input.type === "poll.due" && delayMs === 0;
}

/** Reads again what could start, the queue in one request (O-13, O-26), each retry on its own. */
export function refillDue(state: State, context: Context): Decision {
  const ordered = { ...state, refill: { ...state.refill, isDue: false } };
  if (!mayRefill(ordered, context)) return decided(ordered);
  const next = nextToStart(ordered, context);
  const retrying = state.issues.of("retrying");
  const retries = next.filter(({ id }) => retrying.has(id));
  const queued = next.filter(({ id }) => !retrying.has(id));
  const rechecked = retries.reduce(
    (decision, { id }) => andThen(decision, (last) => recheck(last, id)),
    decided(ordered),
  );
  if (queued.length === 0) return rechecked;
  return andThen(rechecked, (last) => {
    const ids = queued.map(({ id }) => id);
    const { state: opened, request } = openRequest(last);
    const unblocked = new Set([...opened.refill.unblocked].filter((id) => !ids.includes(id)));
    return decided(
      { ...opened, refill: { ...opened.refill, request, unblocked } },
      { type: "verifyIssues", request, ids },
    );
  });
}

/** Handles the answer to the read of a refill; null for any other. */
export function refillAnswered(state: State, input: Answer, context: Context): Decision | null {
  if (input.request !== state.refill.request) return null;
  const ended = { ...state, refill: { ...state.refill, request: null } };
  if (input.type === "issues.verifyFailed") {
    return troubled(closeRequest(ended, input.request), input.error);
  }
  if (context.problem) return decided(closeRequest(ended, input.request));
  return startAll(ended, input, context);
}

/** Also false while the tracker's last answer is a failure: then the next poll tries it first. */
function mayRefill(state: State, context: Context): boolean {
  const { draining, poll, refill, trackerError, storage } = state;
  const isShut = context.problem !== null || trackerError !== null || storage !== null;
  if (draining || isShut) return false;
  const isReading = poll.phase !== "idle" || refill.request !== null;
  return hasBegun(state) && agentsStart(state) && !isReading && !refill.isDue;
}

/** What would start now, in order: queued issues, and retries that wait only for a slot. */
function nextToStart(state: State, context: Context): readonly Issue[] {
  const { config } = context;
  const retries = [...state.issues.of("retrying").values()];
  const taken = retries.filter(isAboutToRun).map(({ issue }) => issue);
  const slots = slotsWithout(slotsFor(state, config), taken);
  if (slots.free === 0) return [];
  const waiting = retries.filter(({ wantsSlot, checking }) => wantsSlot && checking === null);
  const all =
    waiting.length === 0
      ? state.queue
      : [...state.queue, ...waiting.map(({ issue }) => issue)].sort(byDispatchOrder);
  const wanting = new Set(waiting.map(({ issue }) => issue));
  const { unblocked } = state.refill;
  return firstToFit(all, slots, (issue) => {
    const isReady = issue.dispatchable || unblocked.has(issue.id);
    if (!wanting.has(issue) && !(isReady && isFree(state, issue))) return false;
    return shutGate(state, issue, config) === null && hasPlace(state, issue, config);
  });
}

/**
 * It keeps its slot: its read is open, or its attempt has just completed and it continues within a
 * second. Otherwise queued issues would take the slot of every running issue between two of its
 * attempts.
 */
function isAboutToRun({ checking, error }: Retry): boolean {
  return checking !== null || error === null;
}

/**
 * Whether agents reach a turn. If they do not, free slots are left to the polls: a missing program
 * or a failing hook would otherwise go through the whole queue in seconds, with a workspace for
 * each issue.
 */
function agentsStart({ refill }: State): boolean {
  return refill.falseStarts < maxFalseStarts;
}

/** Counts whether the attempt started; a stopped one and a provider's limit do not count. */
export function withStart(state: State, { turnCount, stopping }: Running, exit: Exit): State {
  if (turnCount > 0) return withTurn(state);
  if (stopping || exit.kind !== "failed" || isAgentsOwn(exit)) return state;
  return { ...state, refill: { ...state.refill, falseStarts: state.refill.falseStarts + 1 } };
}

/** An agent began a turn. */
export function withTurn(state: State): State {
  if (state.refill.falseStarts === 0) return state;
  return { ...state, refill: { ...state.refill, falseStarts: 0 } };
}
