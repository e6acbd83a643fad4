import type { Config, TrackerConfig } from "../config/config.ts";
import type { Offer } from "../model/delivery.ts";
import { type Blocker, type Issue, normalState } from "../model/issue.ts";
import { agentGate, commonGate, conflictGate, shutGate } from "./gates.ts";
import { hasPlace, wantedFor, whyNoWorker, workerSlots } from "./placement.ts";
import { isFree, type State } from "./state.ts";

/** What an issue's tracker data means for scheduling. */
export type Standing = "routable" | "waiting" | "inactive" | "terminal";

/**
 * `waiting`: in scope and active, but the tracker does not allow work on it now (a blocker, an
 * assignee).
 */
export function standingOf(
  issue: Issue,
  tracker: TrackerConfig,
  /** An issue whose work is offered may also run in the states that it rests in. */
  offer: Pick<Offer, "restsIn"> | null = null,
): Standing {
  const { active, terminal } = stateSets(tracker);
  const state = normalState(issue.state);
  if (terminal.has(state)) return "terminal";
  const isActive = active.has(state) || offer?.restsIn.includes(state) === true;
  if (!isActive || !labelsFit(issue, tracker)) return "inactive";
  return issue.dispatchable ? "routable" : "waiting";
}

/** The issues in scope, in dispatch order (O-7, O-9). */
export function queueOf(issues: readonly Issue[], tracker: TrackerConfig): readonly Issue[] {
  return issues
    .filter((issue) => {
      const standing = standingOf(issue, tracker);
      return standing === "routable" || standing === "waiting";
    })
    .sort(byDispatchOrder);
}

export interface Slots {
  readonly free: number;
  /** Free slots of the states that have their own limit. */
  readonly byState: ReadonlyMap<string, number>;
}

/** Free slots now: an attempt that is being stopped still holds its slot (O-10, O-11). */
export function slotsFor(state: State, config: Config): Slots {
  const { maxConcurrentAgents, maxConcurrentAgentsByState } = config.agent;
  const byState = new Map(Object.entries(maxConcurrentAgentsByState));
  const running = state.issues.of("running");
  for (const { issue } of running.values()) take(byState, issue);
  const onWorkers = workerSlots(state, config) ?? Number.POSITIVE_INFINITY;
  const free = Math.min(maxConcurrentAgents - running.size, onWorkers);
  return { free: Math.max(free, 0), byState };
}

/** `slots` without those that `issues` are about to take. */
export function slotsWithout(slots: Slots, issues: readonly Issue[]): Slots {
  const byState = new Map(slots.byState);
  for (const issue of issues) take(byState, issue);
  return { free: Math.max(slots.free - issues.length, 0), byState };
}

export function hasSlot(slots: Slots, issue: Issue): boolean {
  return slots.free > 0 && (slots.byState.get(normalState(issue.state)) ?? 1) > 0;
}

/** The next issues to start, as many as there are free slots, without those in `tried` (O-12). */
export function selectForDispatch(
  state: State,
  config: Config,
  tried: ReadonlySet<string>,
): readonly Issue[] {
  if (commonGate(state, config)) return [];
  return firstToFit(state.queue, slotsFor(state, config), (issue) => {
    if (tried.has(issue.id) || !issue.dispatchable || !isFree(state, issue)) return false;
    const isOpen = agentGate(state, issue, config) === null;
    return isOpen && conflictGate(state, issue, config) === null && hasPlace(state, issue, config);
  });
}

/** The first of `issues` that `mayStart`, as many as fit the slots; full states are skipped. */
export function firstToFit(
  issues: readonly Issue[],
  slots: Slots,
  mayStart: (issue: Issue) => boolean,
): readonly Issue[] {
  const byState = new Map(slots.byState);
  const selected: Issue[] = [];
  for (const issue of issues) {
    if (selected.length >= slots.free) break;
    if ((byState.get(normalState(issue.state)) ?? 1) <= 0 || !mayStart(issue)) continue;
    take(byState, issue);
    selected.push(issue);
  }
  return selected;
}

/** A short text that says why a queued issue does not run yet. */
export function waitingFor(
  issue: Issue,
  slots: Slots,
  { state, config }: { state: State; config: Config },
): string {
  if (!issue.dispatchable) {
    const blockers = openBlockers(issue, config.tracker);
    return blockers.length > 0
      ? `blocked by ${blockersText(blockers)}`
      : (issue.withheld ?? "not dispatchable now");
  }
  const gate = shutGate(state, issue, config);
  if (gate) return gate.detail;
  const noWorker = whyNoWorker(state, config, wantedFor(state, issue, config));
  if (noWorker !== null || slots.free <= 0) return noWorker ?? "a free slot";
  if (!hasSlot(slots, issue)) return `a free slot for ${issue.state}`;
  const { pace } = state.poll;
  return pace === null ? "the next poll" : `the next poll; ${pace.reason}`;
}

/** The queue after `closed` ended, and its issues that now have no other open blocker. */
export function withoutBlocker(
  queue: readonly Issue[],
  closed: Issue,
  tracker: TrackerConfig,
): { readonly queue: readonly Issue[]; readonly unblocked: readonly string[] } {
  const isBlocked = ({ dispatchable, blockedBy }: Issue) =>
    !dispatchable && blockedBy.some(({ id }) => id === closed.id);
  if (!queue.some(isBlocked)) return { queue, unblocked: [] };
  const unblocked: string[] = [];
  const next = queue.map((issue) => {
    if (!isBlocked(issue)) return issue;
    const blockedBy = issue.blockedBy.map((blocker) =>
      blocker.id === closed.id ? { ...blocker, state: closed.state } : blocker,
    );
    const freed = { ...issue, blockedBy };
    if (openBlockers(freed, tracker).length === 0) unblocked.push(issue.id);
    return freed;
  });
  return { queue: next, unblocked };
}

/** Blockers that have not ended. */
export function openBlockers(issue: Issue, tracker: TrackerConfig): readonly Blocker[] {
  const { terminal } = stateSets(tracker);
  return issue.blockedBy.filter(({ state }) => state === null || !terminal.has(normalState(state)));
}

/** The issues of a ring of blockers that this one is part of, from it on: each waits for the next. Empty: there is none. */
export function ringOf(
  issue: Issue,
  listed: readonly Issue[],
  tracker: TrackerConfig,
): readonly Issue[] {
  const seen = new Set<Issue>();
  const walk = (at: Issue): readonly Issue[] => {
    seen.add(at);
    for (const link of openBlockers(at, tracker)) {
      const isIt = ({ id, identifier }: Issue) =>
        link.id === null ? identifier === link.identifier : id === link.id;
      if (isIt(issue)) return [at];
      const next = seen.size < longestRing ? listed.find(isIt) : undefined;
      const rest = next && !seen.has(next) ? walk(next) : [];
      if (rest.length > 0) return [at, ...rest];
    }
    return [];
  };
  return walk(issue);
}

/** Issues that are looked at for one. */
const longestRing = 50;

/** Their names, each with its state. */
export function blockersText(blockers: readonly Blocker[]): string {
  return blockers
    .map((blocker) => `${blockerName(blocker)} (${blocker.state ?? "unknown"})`)
    .join(", ");
}

export function blockerName({ identifier, id }: Blocker): string {
  return identifier ?? id ?? "?";
}

/** Whether the labels are those of the scope: all of the required, one of `any`, none of the excluded. */
function labelsFit(
  { labels }: Issue,
  { requiredLabels, anyLabels, excludedLabels }: TrackerConfig,
): boolean {
  const has = (label: string) => labels.includes(label);
  return (
    requiredLabels.every(has) &&
    (anyLabels.length === 0 || anyLabels.some(has)) &&
    !excludedLabels.some(has)
  );
}

function take(byState: Map<string, number>, issue: Issue): void {
  const key = normalState(issue.state);
  const left = byState.get(key);
  if (left !== undefined) byState.set(key, left - 1);
}

/** Compares two issues by which is started first (O-9). */
export function byDispatchOrder(a: Issue, b: Issue): number {
  return (
    rank(a.priority) - rank(b.priority) ||
    byAge(a.createdAt, b.createdAt) ||
    byCodePoint(a.identifier, b.identifier)
  );
}

/** Priorities range from 1 (urgent) to 4 (low); any other value sorts last. */
function rank(priority: number | null): number {
  return priority !== null && priority >= 1 && priority <= 4 ? priority : 5;
}

function byAge(a: number | null, b: number | null): number {
  if (a === b) return 0;
  if (a === null) return 1;
  return b === null ? -1 : a - b;
}

function byCodePoint(a: string, b: string): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    if (a[i] !== b[i]) return (a.codePointAt(i) ?? 0) - (b.codePointAt(i) ?? 0);
  }
  return a.length - b.length;
}

interface StateSets {
  readonly active: ReadonlySet<string>;
  readonly terminal: ReadonlySet<string>;
}

const knownSets = new WeakMap<TrackerConfig, StateSets>();

/** Created once for each configuration: a poll of 10,000 candidates needs it for each one. */
export function stateSets(tracker: TrackerConfig): StateSets {
  const known = knownSets.get(tracker) ?? {
    active: new Set(tracker.activeStates.map(normalState)),
    terminal: new Set(tracker.terminalStates.map(normalState)),
  };
  knownSets.set(tracker, known);
  return known;
}
