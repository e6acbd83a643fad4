import { createHash } from "node:crypto";
import type { Offer } from "../model/delivery.ts";
import { type Issue, normalState } from "../model/issue.ts";
import { andThen, type Context, type Decision, decided, tell } from "./decision.ts";
import { standingOf } from "./dispatch.ts";
import { type Ended, type Running, type Stop, workspacePathOf } from "./issues.ts";
import type { Effect, Input, Made, OfferOrder } from "./messages.ts";
import { offerAgain, orderGate } from "./radar.ts";
import { close, complete, queueRetry } from "./retry.ts";
import { claimed, type State } from "./state.ts";
import { hold, stopFor } from "./stop.ts";

// Work that was offered to people: how an issue gets there, and what leads it on.

/** Identifies what a person wrote in the issue. */
export function revisionOf({ title, description }: Issue): string {
  return createHash("sha256")
    .update(JSON.stringify([title, description]))
    .digest("hex")
    .slice(0, 16);
}

interface WellEnded {
  readonly made: Made;
  /** As read after the last turn. */
  readonly issue: Issue;
  readonly ended: Ended;
  readonly context: Context;
}

/** A run ended well: its work is offered, or a person learns why there is nothing to offer. */
export function wellEnded(
  state: State,
  entry: Running,
  { made, issue, ended, context }: WellEnded,
): Decision {
  const { tracker } = context.config;
  const earlier = state.issues.get(issue.id)?.offer ?? null;
  if (made.kind === "refused") {
    const { reason, next } = made;
    const data = { attempt: entry.attemptId };
    return hold(state, issue, { reason, context, data, ...(next && { next }) });
  }
  const head = made.kind === "changed" ? made.head : null;
  const from = made.kind === "changed" ? (made.from ?? null) : null;
  const order = orderOf(entry, issue, { head, from });
  if (standingOf(issue, tracker) === "terminal") {
    const offered: Effect[] = made.kind === "changed" ? [{ ...order, moves: false }] : [];
    const path = entry.workspacePath;
    return andThen(decided(state, ...offered), (next) =>
      close(next, issue, { ended, path, context }),
    );
  }
  const { onSuccess } = tracker;
  if (made.kind === "unchanged" && earlier === null && onSuccess.kind !== "state") {
    return hold(state, issue, { reason: nothingChanged, context, data: { outcome: "no_changes" } });
  }
  const stateNow = normalState(issue.state);
  const isMovedByAgent =
    stateNow !== entry.startedIn && stateNow !== normalState(tracker.inProgress ?? "");
  const isUnchanged = made.kind === "unchanged";
  return propose(state, order, { moves: !isMovedByAgent, isUnchanged, context });
}

/** The work goes to its people, and the issue waits for them. */
function propose(
  state: State,
  order: Omit<OfferOrder, "moves"> & { readonly type: "offerWork" },
  {
    moves,
    isUnchanged = false,
    context,
  }: { readonly moves: boolean; readonly isUnchanged?: boolean; readonly context: Context },
): Decision {
  const { issue, attemptId, head, workspacePath } = order;
  const { onSuccess } = context.config.tracker;
  const staysHere = context.config.delivery.mode === "none";
  const earlier = state.issues.get(issue.id)?.offer ?? null;
  const stateNow = normalState(issue.state);
  // Its commit has to be compared with the other branches first.
  const mustWait =
    context.config.delivery.conflicts === "order" && head !== null && onSuccess.kind !== "hold";
  const first = orderGate(state, issue, context.config);
  const offer: Offer = {
    attemptId,
    head: head ?? earlier?.head ?? null,
    revision: revisionOf(issue),
    restsIn: [stateNow],
    rounds: earlier?.rounds ?? 0,
    ...(mustWait && { waits: first === null ? true : "branch" }),
  };
  const offered = { ...state, issues: state.issues.offering(issue, offer) };
  if (onSuccess.kind === "hold") {
    return andThen(decided(offered, { ...order, moves: false }), (next) =>
      hold(next, issue, { reason: waitsForPerson, next: "look", context }),
    );
  }
  return decided(
    claimed(offered, { claim: "review", issue, sinceWall: context.wall, workspacePath }),
    { type: "saveRecord", issueId: issue.id },
    mustWait ? { ...order, moves, waitsFor: first ?? notCompared } : { ...order, moves },
    tell("issue.review", issue, {
      attemptId,
      message: isUnchanged ? unchangedReview : "its work is ready for review",
      data: { head: offer.head, rounds: offer.rounds, delivers: head !== null && !staysHere },
    }),
  );
}

const notCompared = "a comparison with the other branches (delivery.conflicts: order)";
const waitsForPerson = "done, and waits for a person (tracker.on_success)";
const unchangedReview = "its agent ended without a change, and it waits for review";
const nothingChanged =
  "the agent ended its turn without a change (no_changes): read its last message, then say more in the issue and queue it again, or complete it";

function orderOf(
  { attemptId, workspacePath }: Running,
  issue: Issue,
  work: { readonly head: string | null; readonly from: string | null },
) {
  return { type: "offerWork", issue, attemptId, workspacePath, ...work } as const;
}

interface Again {
  /** Why, for the event. */
  readonly message: string;
  /** A person did it: the rounds begin again. */
  readonly byPerson: boolean;
  /** It was sent back with feedback. */
  readonly hasFeedback?: boolean;
  readonly context: Pick<Context, "now" | "wall">;
}

/** Starts the next attempt of an issue whose work was offered, also in the state that it rests in. */
export function runAgain(
  state: State,
  issue: Issue,
  { message, byPerson, hasFeedback = false, context }: Again,
): Decision {
  const row = state.issues.get(issue.id);
  const { now, wall } = context;
  const offer = row?.offer && {
    ...row.offer,
    // A person has moved it to another state, such as QA, and asks for more: it may run there.
    ...(hasFeedback && byPerson && { restsIn: withState(row.offer, issue.state) }),
    revision: revisionOf(issue),
    rounds: byPerson ? 0 : row.offer.rounds + 1,
    exhausted: false,
  };
  const next = offer ? { ...state, issues: state.issues.offering(issue, offer) } : state;
  const workspacePath = row?.claim === "review" ? row.workspacePath : null;
  const retry = { issue, attempt: 1, failures: 0, error: null, workspacePath, after: null };
  const data = hasFeedback ? { feedback_by: byPerson ? "person" : "machine" } : {};
  return queueRetry(next, retry, { delayMs: 0, now, wall, message, data });
}

type About<T extends Input["type"]> = Extract<Input, { type: T }>;
type Report = About<
  "offer.resting" | "offer.answered" | "offer.merged" | "offer.stopped" | "offer.resumed"
>;

/** Something happened to offered work outside of symphony. */
export function offerReported(state: State, input: Report, context: Context): Decision {
  switch (input.type) {
    case "offer.resting":
      return resting(state, input);
    case "offer.answered":
      return answered(state, input, context);
    case "offer.merged":
      return merged(state, input, context);
    case "offer.stopped":
      return offerStopped(state, input, context);
    case "offer.resumed":
      return resumed(state, input, context);
  }
}

/** The issue is about to be moved to where its offered work waits. */
function resting(state: State, { issueId, state: name }: About<"offer.resting">): Decision {
  const row = state.issues.get(issueId);
  if (!row?.offer) return decided(state);
  const restsIn = withState(row.offer, name);
  return decided(
    { ...state, issues: state.issues.offering(row.issue, { ...row.offer, restsIn }) },
    { type: "saveRecord", issueId },
  );
}

/** The states in which the work may wait and run; the last one is where it is. */
function withState({ restsIn }: Offer, name: string): readonly string[] {
  const to = normalState(name);
  return [...restsIn.filter((one) => one !== to), to];
}

/** People or checks answered: the next turn of the same thread reads it, within the limit of rounds. */
function answered(
  state: State,
  { issueId, byPerson, summary }: About<"offer.answered">,
  context: Context,
): Decision {
  const row = state.issues.get(issueId);
  const waits =
    row?.claim === "review" ||
    (row?.claim === "free" && row.offer !== null) ||
    (byPerson && row?.claim === "held" && !row.attached && row.offer?.exhausted === true);
  // A live or waiting attempt reads it in its next turn; a stopped issue waits for an operator.
  if (!row || !waits || state.draining) return decided(state);
  const { maxRounds } = context.config.delivery;
  const rounds = row.offer?.rounds ?? 0;
  if (!byPerson && rounds >= maxRounds) {
    const next = `a comment of a person, or symphony deliver ${row.issue.identifier}, which begins the rounds anew`;
    const reason = `${rounds} rounds of feedback without a word of a person (delivery.max_rounds); the last one: ${summary}; next: ${next}`;
    const exhausted = row.offer && { ...row.offer, exhausted: true };
    const marked = { ...state, issues: state.issues.offering(row.issue, exhausted) };
    return hold(marked, row.issue, { reason, context, data: { rounds }, next: "deliver" });
  }
  return runAgain(state, row.issue, { message: summary, byPerson, hasFeedback: true, context });
}

/** The offered work was merged: the issue is completed, and its workspace is released. */
function merged(
  state: State,
  { issueId, summary }: About<"offer.merged">,
  context: Context,
): Decision {
  const row = state.issues.get(issueId);
  if (!row) return decided(state);
  const { issue } = row;
  const dismissed = { state: normalState(issue.state), sinceWall: context.wall };
  const free = { ...state, issues: state.issues.offering(issue, null) };
  const cleared: Effect[] = [
    { type: "clearTimer", input: { type: "retry.due", issueId } },
    { type: "saveRecord", issueId },
  ];
  if (row.claim === "running") {
    const stop: Stop = { reason: summary, leadsTo: "dismiss", dismissed, gently: false };
    return andThen(stopFor(free, row, stop), (next) => decided(next, ...cleared));
  }
  const removal: Effect = { type: "removeWorkspace", issue, path: workspacePathOf(row) };
  if (row.claim === "completed") return decided(free, ...cleared, removal);
  return andThen(complete(free, issue, { ended: null, context, dismissed }), (next) =>
    decided(next, ...cleared, removal),
  );
}

/** It waits for people again and takes their feedback: it was stopped, or what kept it from them is mended. */
function resumed(
  state: State,
  { issueId, workspacePath, made, anew, mended }: About<"offer.resumed">,
  context: Context,
): Decision {
  const row = state.issues.get(issueId);
  const isUsed = row?.offer && (row.offer.rounds > 0 || row.offer.exhausted);
  if (anew && row && isUsed && !(row.claim === "held" && row.attached)) {
    const offer = { ...row.offer, rounds: 0, exhausted: false };
    const next = { ...state, issues: state.issues.offering(row.issue, offer) };
    if (row.claim === "held" && row.offer.exhausted)
      return resumed(next, { type: "offer.resumed", issueId, workspacePath }, context);
    return decided(next, { type: "saveRecord", issueId });
  }
  if (anew) return decided(state);
  // Meanwhile it may have been queued or attached to: its next turn offers it.
  if (row?.claim !== "held" || row.attached) return decided(state);
  if (made !== undefined) {
    const order = { type: "offerWork", issue: row.issue, workspacePath, ...made } as const;
    const moves = standingOf(row.issue, context.config.tracker) === "routable";
    return propose(state, order, { moves, context });
  }
  if (row.offer === null || (mended && row.next !== "deliver")) return decided(state);
  const { issue, offer } = row;
  return decided(
    claimed(state, { claim: "review", issue, sinceWall: context.wall, workspacePath }),
    { type: "saveRecord", issueId },
    tell("issue.review", issue, {
      attemptId: offer.attemptId,
      message: "its work is offered again",
      data: { head: offer.head, rounds: offer.rounds },
    }),
  );
}

/** It waits for an operator now. */
function offerStopped(
  state: State,
  { issueId, reason, untilSaid = false, next }: About<"offer.stopped">,
  context: Context,
): Decision {
  const row = state.issues.get(issueId);
  const isOver = row?.claim === "completed" || row?.claim === "held" || row?.claim === "failed";
  if (!row || isOver) return decided(state);
  const exhausted = row.offer && { ...row.offer, exhausted: true };
  const issues = untilSaid ? state.issues.offering(row.issue, exhausted) : state.issues;
  return hold({ ...state, issues }, row.issue, { reason, context, ...(next && { next }) });
}

/** What is offered; a crash may have come between the decision and the delivery. */
export function openOffers({ issues }: State): readonly OfferOrder[] {
  return [...issues.of("review").values()].flatMap((row) =>
    row.offer === null || row.offer.waits ? [] : [offerAgain(row, row.offer)],
  );
}
