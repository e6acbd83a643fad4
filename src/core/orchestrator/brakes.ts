import type { Config } from "../config/config.ts";
import { type Idle, noTokens } from "../model/attempt.ts";
import { type Issue, normalState } from "../model/issue.ts";
import { grouped } from "../text/text.ts";
import { andThen, type Context, type Decision, decided, type Prior } from "./decision.ts";
import type { Running } from "./issues.ts";
import type { Input } from "./messages.ts";
import { attemptOf, claimed, type State } from "./state.ts";
import { hold } from "./stop.ts";

/** A limit that one issue has reached, with its numbers. */
interface Brake {
  readonly name: "tokens_per_issue" | "turns_without_progress" | "attempt_timeout_ms";
  readonly what: string;
  readonly used: number;
  readonly limit: number;
}

type BrakeContext = Pick<Context, "config" | "now" | "wall">;
type Counted = Pick<Running, "spentBefore" | "idle" | "tokens" | "startedAt">;

/** Holds a live issue that has reached one of its limits; its attempt is stopped at once. */
export function braked(state: State, issueId: string, context: BrakeContext): Decision {
  const entry = state.issues.of("running").get(issueId);
  if (!entry || entry.stopping) return decided(state);
  const brake = brakeOf(entry, context);
  return brake ? holdBy(state, entry.issue, { brake, context }) : decided(state);
}

/** Holds an issue if its earlier attempts have already reached a limit; null if they have not. */
export function brakedBefore(
  state: State,
  issue: Issue,
  { prior, context }: { prior: Prior; context: BrakeContext },
): Decision | null {
  const counted = {
    spentBefore: prior.tokens,
    idle: idleOf(prior, issue),
    tokens: noTokens,
    startedAt: context.now,
  };
  const brake = brakeOf(counted, context);
  return brake ? holdBy(state, issue, { brake, context }) : null;
}

/** Stops every attempt that has exceeded its time limit. */
export function stopOverdue(state: State, context: Context): Decision {
  if (context.config.brakes.attemptTimeoutMs === null) return decided(state);
  return [...state.issues.of("running").keys()].reduce(
    (decision, id) => andThen(decision, (next) => braked(next, id, context)),
    decided(state),
  );
}

/** A turn completed: it made progress, or it is counted as one without progress. */
export function turned(
  state: State,
  input: Extract<Input, { type: "attempt.turned" }>,
  context: BrakeContext,
): Decision {
  const entry = state.issues.of("running").get(input.issueId);
  if (entry?.attemptId !== input.attemptId || entry.stopping) return decided(state);
  const issueMark = input.issue ? markOf(input.issue) : null;
  const moved = input.moved || issueMark !== entry.idle.issueMark;
  const idle: Idle = {
    turns: moved ? 0 : entry.idle.turns + 1,
    issueMark: issueMark ?? entry.idle.issueMark,
  };
  const next = { ...entry, idle };
  const counted = decided(claimed(state, next), { type: "saveAttempt", attempt: attemptOf(next) });
  return andThen(counted, (last) => braked(last, input.issueId, context));
}

/** Turns without progress when the next attempt begins; a change by someone else resets them. */
export function idleOf({ idle }: Pick<Prior, "idle">, issue: Issue): Idle {
  const issueMark = markOf(issue);
  return { turns: idle?.issueMark === issueMark ? idle.turns : 0, issueMark };
}

/** Resets the issue's brakes: only attempts after `after` count. */
export function allowedAnew(
  state: State,
  issue: Issue,
  { after, context }: { after: string; context: Context },
): State {
  const prior = context.prior(issue.id, allowedAfter(state, issue.id));
  if (prior.tokens === 0 && (prior.idle?.turns ?? 0) === 0) return state;
  return { ...state, issues: state.issues.choosing(issue, { allowanceAfter: after }) };
}

/** The newest attempt that the issue's brakes do not count; empty when they count all. */
export function allowedAfter(state: State, issueId: string): string {
  return state.issues.get(issueId)?.choices.allowanceAfter ?? "";
}

/** The fields of an issue that show that it was worked on. */
function markOf(issue: Issue): string {
  return JSON.stringify([normalState(issue.state), issue.updatedAt, [...issue.labels].sort()]);
}

function brakeOf(entry: Counted, { config, now }: Pick<BrakeContext, "config" | "now">) {
  return brakesOf(entry, config.brakes, now - entry.startedAt).find(
    ({ used, limit }) => used >= limit,
  );
}

function brakesOf(entry: Counted, limits: Config["brakes"], tookMs: number): readonly Brake[] {
  const tokens = entry.spentBefore + entry.tokens.total;
  const { turns } = entry.idle;
  const all: readonly (Omit<Brake, "limit"> & { readonly limit: number | null })[] = [
    {
      name: "tokens_per_issue",
      what: "token budget used up",
      used: tokens,
      limit: limits.tokensPerIssue,
    },
    {
      name: "turns_without_progress",
      what: "turns in a row changed neither the workspace nor the issue",
      used: turns,
      limit: limits.turnsWithoutProgress,
    },
    {
      name: "attempt_timeout_ms",
      what: "the attempt took too long",
      used: Math.round(tookMs),
      limit: limits.attemptTimeoutMs,
    },
  ];
  return all.flatMap((one) => (one.limit === null ? [] : [{ ...one, limit: one.limit }]));
}

function holdBy(
  state: State,
  issue: Issue,
  { brake, context }: { brake: Brake; context: BrakeContext },
): Decision {
  const { name, what, used, limit } = brake;
  const unit = name === "attempt_timeout_ms" ? " ms" : "";
  const reason = `${what}: ${grouped(used)} of ${grouped(limit)}${unit} (brakes.${name})`;
  return hold(state, issue, {
    reason,
    context,
    data: { brake: name, used, limit },
    ...(name === "attempt_timeout_ms" && { outcome: "timed_out" as const }),
  });
}
