import type { TrackerConfig } from "../config/config.ts";
import type { Offer } from "../model/delivery.ts";
import { type Issue, normalState } from "../model/issue.ts";
import { andThen, type Context, type Decision, decided, isStale, raiseFences } from "./decision.ts";
import { standingOf } from "./dispatch.ts";
import { whyLeft } from "./explain.ts";
import type {
  Blocked,
  Completed,
  Free,
  IssueRow,
  Kept,
  Retry,
  Review,
  Running,
  Stop,
  Stopped,
} from "./issues.ts";
import type { Effect, Gone, Input } from "./messages.ts";
import { revisionOf, runAgain } from "./offer.ts";
import { relisted, unlisted } from "./queue.ts";
import { close, dropRetry, invisible, release } from "./retry.ts";
import { candidateOf } from "./snapshot.ts";
import { claimed, type State } from "./state.ts";
import { orderStop } from "./stop.ts";
import { isUnread } from "./tracker-health.ts";

/** Limit of issues without a claim that one poll reads in addition: a page of the tracker. */
const restingAtOnce = 50;

/** Stops every attempt that has been silent for longer than the limit (O-30); 0 or less is off. */
export function stopStalled(state: State, context: Context): Decision {
  const limitMs = context.config.agent.stallTimeoutMs;
  if (limitMs <= 0) return decided(state);
  return [...state.issues.of("running").values()].reduce((decision, entry) => {
    const silentMs = context.now - (entry.lastEventAt ?? entry.startedAt);
    // An attempt that waits for a person is silent for a reason, and for a limited time.
    if (entry.stopping || entry.questions.length > 0 || silentMs <= limitMs) return decision;
    const reason = `stalled: no event for ${Math.round(silentMs)} ms`;
    const stop: Stop = { reason, leadsTo: "retry", gently: false };
    return andThen(decision, (next) => orderStop(next, entry, stop));
  }, decided(state));
}

/**
 * The server did not run for `ms`: that time is neither silence nor work of an attempt. The silence of each is counted anew,
 * and its time limit is longer by `ms`.
 */
export function stoodStill(state: State, ms: number, context: Context): Decision {
  const { now } = context;
  return [...state.issues.of("running").values()].reduce((decision, entry) => {
    const startedAt = Math.min(entry.startedAt + ms, now);
    return decided(claimed(decision.state, { ...entry, startedAt, lastEventAt: now }));
  }, decided(state));
}

/**
 * The issues that a poll reads by id: all that run, wait for a person or a gate or are stopped,
 * and, a page at a time, those that were worked on and are not closed yet. `watchFrom` is where the
 * next poll continues with them.
 */
export function watched(
  state: State,
  context: Pick<Context, "config">,
): { readonly ids: readonly string[]; readonly watchFrom: number } {
  const { issues } = state;
  const live = [...issues.of("running").values()].filter((entry) => !entry.stopping);
  // A retry that waits only for its time is read when it is due; one that waits for a gate, when
  // the list no longer shows it.
  const gated = [...issues.of("retrying").values()].filter(
    ({ waits, issue }) => waits !== null && !candidateOf(state, issue.id),
  );
  const resting = restingIds(state, context);
  const from = resting.length > restingAtOnce ? state.watchFrom % resting.length : 0;
  const inTurn = [...resting.slice(from), ...resting.slice(0, from)].slice(0, restingAtOnce);
  return {
    ids: [
      ...[...live, ...gated].map(({ issue }) => issue.id),
      ...issues.of("blocked").keys(),
      ...issues.of("review").keys(),
      ...issues.of("held").keys(),
      ...issues.of("failed").keys(),
      ...inTurn,
    ],
    watchFrom: from + inTurn.length,
  };
}

/** Completed or released after work, and not closed. */
function restingIds(state: State, { config }: Pick<Context, "config">): readonly string[] {
  const free = [...state.issues.of("free").values()].filter(({ worked }) => worked);
  const open = openOf(state.issues.of("completed"), config.tracker);
  return [...free, ...open].map(({ issue }) => issue.id);
}

const knownOpen = new WeakMap<
  ReadonlyMap<string, Completed>,
  { readonly tracker: TrackerConfig; readonly rows: readonly Completed[] }
>();

/**
 * The completed issues that are not closed, or were when a person completed them: an overtaken answer may have shown such a one
 * as closed, which decides nothing. Computed when one is completed, not in each poll.
 */
function openOf(
  completed: ReadonlyMap<string, Completed>,
  tracker: TrackerConfig,
): readonly Completed[] {
  const known = knownOpen.get(completed);
  if (known?.tracker === tracker) return known.rows;
  const rows = [...completed.values()].filter(
    ({ issue, dismissed }) => dismissed !== null || standingOf(issue, tracker) !== "terminal",
  );
  knownOpen.set(completed, { tracker, rows });
  return rows;
}

/** Aligns the rows with fresh snapshots of `ids`; an issue without a snapshot is out of scope. */
export function reconcile(
  state: State,
  read: { ids: readonly string[]; issues: readonly Issue[]; request: number; gone?: Gone },
  context: Context,
): Decision {
  const byId = new Map(read.issues.map((issue) => [issue.id, issue]));
  const fresh = read.ids.filter((id) => !isStale(state, id, read.request));
  const fenced = raiseFences(overtaken(state, read), fresh, read.request);
  return fresh.reduce(
    (decision, id) =>
      andThen(decision, (next) => {
        const one = { id, issue: byId.get(id) ?? null, why: read.gone?.[id] };
        return seen(next, one, context);
      }),
    decided(fenced),
  );
}

/**
 * Applies answers that are older than the list, about issues that the list does not show: they
 * decide nothing, but they are newer than the snapshots in the rows.
 */
export function overtaken(
  state: State,
  { issues, request }: { readonly issues: readonly Issue[]; readonly request: number },
): State {
  if (state.listFence < request) return state;
  return issues.reduce((next, issue) => {
    const { id } = issue;
    const row = next.issues.get(id);
    const isLate = (next.fences.get(id) ?? 0) > request || candidateOf(next, id) !== null;
    return row && !isLate ? shown(raiseFences(next, [id], request), row, issue) : next;
  }, state);
}

/** Aligns the rows of the issues in the list; other issues are read by id. */
export function rowsListed(
  state: State,
  { issues, request, unread }: Omit<Extract<Input, { type: "candidates.fetched" }>, "type">,
  context: Seeing,
): Decision {
  if (state.issues.size === 0) return decided(state);
  const ids = new Set(state.issues.keys());
  return issues
    .filter(({ id }) => ids.has(id) && !isStale(state, id, request) && !isUnread(id, unread))
    .reduce(
      (decision, issue) =>
        andThen(decision, (next) => seen(next, { id: issue.id, issue }, context)),
      decided(state),
    );
}

type Seeing = Pick<Context, "config" | "now" | "wall" | "prior">;

/** A fresh snapshot of an issue; null: no longer visible, for the reason `why` if the tracker says so. */
export interface Seen {
  readonly id: string;
  readonly issue: Issue | null;
  readonly why?: string | undefined;
}

interface Answer {
  readonly issue: Issue | null;
  /** For null. */
  readonly why: string;
}

/** Applies a fresh snapshot of an issue to its row. */
export function seen(
  state: State,
  { id, issue, why = invisible }: Seen,
  context: Seeing,
): Decision {
  const row = state.issues.get(id);
  switch (row?.claim) {
    case undefined:
      return decided(state);
    case "running":
      return row.stopping
        ? decided(shown(state, row, issue))
        : alignRunning(state, row, { issue, why }, context);
    case "retrying":
      return alignRetry(state, row, { issue, why }, context);
    case "blocked":
      return alignBlocked(state, row, { issue, why }, context);
    case "review":
      return alignReview(state, row, issue, context);
    case "held":
    case "failed":
      return alignStopped(state, row, issue, context);
    case "completed":
      return alignCompleted(state, row, issue, context);
    case "free":
      return alignFree(state, row, issue, context);
  }
}

/** Puts the newest snapshot into the row; returns the same state if nothing differs. */
function shown(state: State, row: IssueRow, issue: Issue | null): State {
  if (issue === null || isSame(row.issue, issue)) return state;
  return claimed(state, { ...row, issue });
}

/** As `shown`, and saves the row, because a restart shows it again. */
function shownAndSaved(state: State, row: IssueRow, issue: Issue | null): Decision {
  const next = shown(state, row, issue);
  if (next === state) return decided(state);
  return decided(next, { type: "saveRecord", issueId: row.issue.id });
}

function isSame(a: Issue, b: Issue): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

function alignRunning(
  state: State,
  entry: Running & Kept,
  { issue, why }: Answer,
  context: Seeing,
): Decision {
  if (issue === null) {
    return orderStop(state, entry, {
      reason: why,
      leadsTo: "release",
      gently: false,
    });
  }
  const fresh = { ...entry, issue };
  // An agent that has just moved its own issue is about to end its turn, or has just ended it. From a worker the word that it
  // used a tool may come after the move.
  const gently = entry.usedTool || entry.worker !== undefined;
  const standing = standingOf(issue, context.config.tracker, entry.offer);
  if (standing === "routable")
    return decided(issue === entry.issue ? state : claimed(state, fresh));
  return orderStop(state, fresh, {
    reason: whyLeft(entry.issue, issue, context.config.tracker),
    leadsTo: "release",
    gently,
  });
}

/**
 * Its own read decides, when it is due, whether it runs again; that it may no longer run applies at
 * once.
 */
function alignRetry(
  state: State,
  entry: Retry & IssueRow,
  { issue, why }: Answer,
  context: Seeing,
): Decision {
  const stays =
    issue !== null && standingOf(issue, context.config.tracker, entry.offer) === "routable";
  return stays
    ? decided(shown(state, entry, issue))
    : dropRetry(state, entry, { issue, why }, context);
}

/** A blocked issue has no process: it is closed, released or updated at once (O-38). */
function alignBlocked(
  state: State,
  entry: Blocked & Kept,
  { issue, why }: Answer,
  context: Seeing,
): Decision {
  if (issue === null) return release(state, entry.issue, { why, wall: context.wall });
  switch (standingOf(issue, context.config.tracker, entry.offer)) {
    case "routable":
      return decided(claimed(state, { ...entry, issue }));
    case "terminal":
      return close(state, issue, { ended: null, path: entry.workspacePath, context });
    default:
      return release(state, issue, {
        why: whyLeft(entry.issue, issue, context.config.tracker),
        wall: context.wall,
      });
  }
}

/**
 * Offered work waits in any state that is not active. A person starts the issue again by an edit,
 * or by moving it from where it rests to an active state.
 */
function alignReview(
  state: State,
  row: Review & IssueRow,
  issue: Issue | null,
  context: Seeing,
): Decision {
  if (issue === null) return decided(state);
  const { tracker } = context.config;
  if (standingOf(issue, tracker) === "terminal") {
    return close(state, issue, { ended: null, path: row.workspacePath, context });
  }
  const { offer } = row;
  if (offer === null) return shownAndSaved(state, row, issue);
  if (offer.revision !== revisionOf(issue)) {
    return runAgain(state, issue, { message: "it was edited", byPerson: true, context });
  }
  const isResting = offer.restsIn.includes(normalState(issue.state));
  const standing = standingOf(issue, tracker);
  if (!isResting && (standing === "routable" || standing === "waiting")) {
    return runAgain(state, issue, { message: `moved to ${issue.state}`, byPerson: true, context });
  }
  return shownAndSaved(settled(state, offer, issue), row, issue);
}

/** Once the issue is where it was moved to, the state before that is no place to rest any more. */
function settled(state: State, offer: Offer, issue: Issue): State {
  const target = offer.restsIn.at(-1);
  if (offer.restsIn.length < 2 || target !== normalState(issue.state)) return state;
  return { ...state, issues: state.issues.offering(issue, { ...offer, restsIn: [target] }) };
}

/**
 * A held or failed issue stays so in any state: only an operator, or its end in the tracker,
 * releases it. An issue that is not visible stays so too: a wrong filter must not start what an
 * operator stopped.
 */
function alignStopped(
  state: State,
  row: Stopped & IssueRow,
  issue: Issue | null,
  context: Seeing,
): Decision {
  if (issue !== null && standingOf(issue, context.config.tracker) === "terminal") {
    return close(state, issue, { ended: null, path: null, context });
  }
  return shownAndSaved(state, row, issue);
}

/**
 * An issue that an operator completed stays completed while its tracker state does not change. In
 * another state, and for every other completed issue: if active, it is a candidate again; once
 * closed, its workspace is removed. It is counted once.
 */
function alignCompleted(
  state: State,
  row: Completed & IssueRow,
  issue: Issue | null,
  context: Seeing,
): Decision {
  if (issue === null) return decided(state);
  const { tracker } = context.config;
  if (row.dismissed?.state === normalState(issue.state)) return shownAndSaved(state, row, issue);
  const save: Effect[] = row.dismissed ? [{ type: "saveRecord", issueId: issue.id }] : [];
  const standing = standingOf(issue, tracker);
  if (standing === "routable" || standing === "waiting") {
    const free = claimed(state, { claim: "free", issue, worked: true });
    return decided(relisted(free, issue, context), ...save);
  }
  const wasClosed = row.dismissed === null && standingOf(row.issue, tracker) === "terminal";
  const clean: Effect[] =
    standing === "terminal" && !wasClosed ? [{ type: "removeWorkspace", issue, path: null }] : [];
  const isChanged = row.dismissed !== null || !isSame(row.issue, issue);
  const next = isChanged ? claimed(state, { ...row, issue, dismissed: null }) : state;
  return decided(next, ...save, ...clean);
}

/** A released issue is watched until it is closed; then its workspace is removed. */
function alignFree(
  state: State,
  row: Free & IssueRow,
  issue: Issue | null,
  context: Seeing,
): Decision {
  if (!row.worked) return decided(shown(state, row, issue));
  if (issue === null) return decided(claimed(state, { ...row, worked: false }));
  if (standingOf(issue, context.config.tracker) !== "terminal") {
    const next = shown(state, row, issue);
    return decided(next === state ? state : relisted(next, issue, context));
  }
  const closed = unlisted(claimed(state, { claim: "free", issue, worked: false }), issue.id);
  return decided(closed, {
    type: "removeWorkspace",
    issue,
    path: null,
  });
}
