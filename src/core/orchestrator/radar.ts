import type { Config } from "../config/config.ts";
import type { Offer, Overlap } from "../model/delivery.ts";
import type { Issue } from "../model/issue.ts";
import { andThen, type Context, type Decision, decided, tell } from "./decision.ts";
import type { Review } from "./issues.ts";
import type { Effect, Input, OfferOrder } from "./messages.ts";
import type { State } from "./state.ts";

// Live branches that conflict with each other, and what follows for their issues.

type Updated = Extract<Input, { type: "radar.updated" }>;

const namedAtMost = 3;

/** The branches of one repository were compared. */
export function radarUpdated(state: State, input: Updated, context: Context): Decision {
  const known = state.overlaps.filter(({ repository }) => repository === input.repository);
  const others = state.overlaps.filter(({ repository }) => repository !== input.repository);
  const next = input.overlaps ?? known;
  const events = input.isRestored
    ? []
    : [
        ...missingIn(next, known).map((one) => toldOf(one, "conflict.found")),
        ...missingIn(known, next).map((one) => toldOf(one, "conflict.resolved")),
      ];
  const compared = decided({ ...state, overlaps: [...others, ...next] }, ...events);
  return andThen(compared, (now) =>
    andThen(ordered(now, context.config), (last) => released(last, input.judged, context.config)),
  );
}

/** Notes which work waits for another branch: the base has moved when that one was merged. */
function ordered(state: State, config: Config): Decision {
  const after = [...state.issues.of("review").values()].filter(
    ({ issue, offer }) => offer?.waits === true && orderGate(state, issue, config) !== null,
  );
  return after.reduce((decision, { issue, offer }) => {
    const waiting = offer && { ...offer, waits: "branch" as const };
    const issues = decision.state.issues.offering(issue, waiting);
    const save: Effect = { type: "saveRecord", issueId: issue.id };
    return decided({ ...decision.state, issues }, ...decision.effects, save);
  }, decided(state));
}

/** The conflicts of `some` that are none in `others`. */
function missingIn(some: readonly Overlap[], others: readonly Overlap[]): readonly Overlap[] {
  const known = new Set(others.filter(({ conflicts }) => conflicts).map(keyOf));
  return some.filter((one) => one.conflicts && !known.has(keyOf(one)));
}

function keyOf({ first, second }: Overlap): string {
  return [first.issueId, second.issueId].sort().join(" ");
}

function toldOf(one: Overlap, type: "conflict.found" | "conflict.resolved"): Effect {
  const { repository, first, second } = one;
  const issue = { id: second.issueId, identifier: second.issueIdentifier };
  const message =
    type === "conflict.found"
      ? `conflicts with ${first.issueIdentifier} in ${namedIn(one)}`
      : `conflicts with ${first.issueIdentifier} no more`;
  const files = one.files.filter(({ kind }) => kind === "conflict").map(({ path }) => path);
  return tell(type, issue, {
    message,
    data: { repository, with: first.issueIdentifier, branch: second.branch, files },
  });
}

/** The files that two branches cannot be merged in, as text. */
function namedIn({ files }: Overlap): string {
  const paths = files.filter(({ kind }) => kind === "conflict").map(({ path }) => path);
  const more = paths.length > namedAtMost ? ` and ${paths.length - namedAtMost} more` : "";
  return `${paths.slice(0, namedAtMost).join(", ")}${more}`;
}

/** Why the issue must wait for one that began earlier; null: no live branch keeps it. */
export function conflictOf(state: State, { id }: Pick<Issue, "id">): string | null {
  if (state.overlaps.length === 0) return null;
  const found = state.overlaps.find(({ conflicts, second }) => conflicts && second.issueId === id);
  return found === undefined
    ? null
    : `${found.first.issueIdentifier}, which conflicts in ${namedIn(found)}`;
}

/** Why the work of an issue is not offered yet; null: it may be. */
export function orderGate(state: State, issue: Issue, { delivery }: Config): string | null {
  if (delivery.conflicts !== "order") return null;
  const reason = conflictOf(state, issue);
  return reason === null ? null : `the end of ${reason} (delivery.conflicts: order)`;
}

/** Offers what waited for another branch, once its commit was compared with all others. */
function released(state: State, judged: Updated["judged"], config: Config): Decision {
  const free = [...state.issues.of("review").values()].filter(
    ({ issue, offer }) =>
      offer?.waits &&
      (config.delivery.conflicts !== "order" || judged.get(issue.id) === offer.head) &&
      orderGate(state, issue, config) === null,
  );
  return free.reduce((decision, row) => {
    const { issue, offer } = row;
    if (offer === null) return decision;
    const issues = decision.state.issues.offering(issue, { ...offer, waits: false });
    return decided(
      { ...decision.state, issues },
      ...decision.effects,
      { type: "saveRecord", issueId: issue.id },
      {
        type: "offerWork",
        ...offerAgain(row, offer),
        updates: offer.waits === "branch" ? "behind" : "conflicts",
      },
    );
  }, decided(state));
}

/** The order to offer the work of a review. */
export function offerAgain(
  { issue, workspacePath }: Review,
  { attemptId, head }: Pick<Offer, "attemptId" | "head">,
): OfferOrder {
  return { issue, attemptId, workspacePath, head, from: null, moves: true };
}
