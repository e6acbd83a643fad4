import { type Issue, normalState } from "../model/issue.ts";
import type { Prior } from "../orchestrator/decision.ts";
import type { Effect, Exit, Input } from "../orchestrator/messages.ts";
import type { Lookup } from "./record.ts";
import type { Replayed } from "./replay.ts";

/** A later input about an issue, in ms after the start of the attempt that it followed. */
export interface Later {
  readonly afterMs: number;
  readonly input: Input;
}

/** One attempt as it was: what it reported, and what followed for its issue until the next one. */
export interface PastAttempt {
  readonly attemptId: string;
  readonly agent: string;
  readonly label: string | null;
  readonly startedWall: number;
  readonly inputs: Later[];
  /** null: it had not ended when the record did, or a restart cut it off. */
  endedMs: number | null;
  exit: Exit | null;
  tokens: number;
  /** What the start looked up. */
  prior: Prior | null;
}

/** An issue as it was read at a moment; null: it was no longer listed. */
interface Seen {
  readonly wall: number;
  readonly issue: Issue | null;
}

/** A decision that matters to an operator. */
export interface Choice {
  readonly wall: number;
  readonly issue: string;
  readonly what: string;
}

/** Which published events are decisions about an issue. */
const decisionEvents: ReadonlySet<string> = new Set([
  "issue.held",
  "issue.failed",
  "issue.completed",
  "issue.review",
]);

/** The decision in words; null: the effect is no decision of its own. */
export function choiceOf(effect: Effect, wall: number): Choice | null {
  if (effect.type === "startAttempt") {
    return { wall, issue: effect.issue.identifier, what: "start" };
  }
  if (effect.type !== "publish") return null;
  const { type, issueIdentifier } = effect.event;
  if (!decisionEvents.has(type) || !issueIdentifier) return null;
  return { wall, issue: issueIdentifier, what: type.replace("issue.", "") };
}

type Start = Extract<Effect, { type: "startAttempt" }>;
type OfAttempt = Extract<Input, { attemptId: string }>;

/** What happened outside of the scheduler while the record was made: the tracker, the agents, people. */
export class PastWeek {
  readonly attempts = new Map<string, PastAttempt[]>();
  readonly choices: Choice[] = [];
  /** Inputs of people and of the tracker that no attempt caused. */
  readonly others: { readonly wall: number; readonly input: Input }[] = [];
  readonly #seen = new Map<string, Seen[]>();
  readonly #byId = new Map<string, PastAttempt>();
  /** When each issue was last read, changed or not. */
  readonly #lastRead = new Map<string, number>();
  #listed: ReadonlySet<string> = new Set();
  endWall = 0;

  /** The decisions must come in their order. */
  add(one: Replayed): void {
    const { input, effects, wall, lookups } = one;
    this.endWall = Math.max(this.endWall, wall);
    for (const effect of effects) {
      const choice = choiceOf(effect, wall);
      if (choice) this.choices.push(choice);
      if (effect.type === "startAttempt") this.#started(effect, wall, lookups);
    }
    this.#read(input, wall, one);
    if ("attemptId" in input) this.#reported(input, one);
    else if (input.type.startsWith("offer.") && "issueId" in input) this.#followed(input, wall);
    else if (/^(operator|issue\.hinted|storage|radar)/.test(input.type)) {
      this.others.push({ wall, input });
    }
  }

  /** The issue as it was last seen not after `wall`; undefined: it was not known yet. */
  seen(issueId: string, wall: number): Issue | null | undefined {
    return this.#seen.get(issueId)?.findLast((one) => one.wall <= wall)?.issue;
  }

  get issueIds(): Iterable<string> {
    return this.#seen.keys();
  }

  #started({ issue, attemptId, agent }: Start, wall: number, lookups: readonly Lookup[]) {
    const asked = lookups.find(({ name, args }) => name === "prior" && args[0] === issue.id);
    const attempt: PastAttempt = {
      attemptId,
      agent,
      label: issue.labels[0] ?? null,
      startedWall: wall,
      inputs: [],
      endedMs: null,
      exit: null,
      tokens: 0,
      prior: (asked?.answer as Prior | undefined) ?? null,
    };
    this.#byId.set(attemptId, attempt);
    this.attempts.set(issue.id, [...(this.attempts.get(issue.id) ?? []), attempt]);
  }

  #reported(input: OfAttempt, { wall, before }: Replayed): void {
    const attempt = this.#byId.get(input.attemptId);
    // It is repeated when it comes late: an attempt ends once.
    if (!attempt || attempt.exit !== null) return;
    const afterMs = wall - attempt.startedWall;
    attempt.inputs.push({ afterMs, input });
    const row = before.issues.get(input.issueId);
    if (row?.claim === "running" && row.attemptId === input.attemptId) {
      attempt.tokens = row.tokens.total;
    }
    if (input.type !== "attempt.exited") return;
    attempt.exit = input.exit;
    attempt.endedMs = afterMs;
  }

  #followed(input: Extract<Input, { issueId: string }>, wall: number): void {
    const attempt = this.attempts.get(input.issueId)?.at(-1);
    if (attempt) attempt.inputs.push({ afterMs: wall - attempt.startedWall, input });
    else this.others.push({ wall, input });
  }

  #read(input: Input, wall: number, { context }: Replayed): void {
    if (input.type === "candidates.fetched") {
      this.#list(input.issues, wall, context.config.tracker.activeStates);
    }
    if (input.type === "running.refreshed" || input.type === "issues.verified") {
      for (const issue of input.issues) this.#note(issue, wall);
    }
    if ("issue" in input && input.issue && "state" in input.issue) this.#note(input.issue, wall);
    if (input.type === "attempt.exited" && "issue" in input.exit && input.exit.issue) {
      this.#note(input.exit.issue, wall);
    }
  }

  #list(issues: readonly Issue[], wall: number, activeStates: readonly string[]): void {
    const now = new Set(issues.map(({ id }) => id));
    const active = new Set(activeStates.map(normalState));
    for (const id of this.#listed) {
      const last = this.#seen.get(id)?.at(-1)?.issue;
      // Where it went was read by its id, or is not known.
      if (!now.has(id) && last && active.has(normalState(last.state))) {
        this.#seen.get(id)?.push({ wall: this.#changedAt(id, wall), issue: null });
      }
    }
    for (const issue of issues) this.#note(issue, wall);
    this.#listed = now;
  }

  #note(issue: Issue, wall: number): void {
    const all = this.#seen.get(issue.id) ?? [];
    if (all.at(-1)?.issue !== issue) all.push({ wall: this.#changedAt(issue.id, wall), issue });
    this.#seen.set(issue.id, all);
    this.#lastRead.set(issue.id, wall);
  }

  /** A change that is found after an attempt has ended was made by its agent, unless it was read in between. */
  #changedAt(id: string, wall: number): number {
    const last = this.attempts.get(id)?.at(-1);
    if (!last || last.endedMs === null) return wall;
    const ended = last.startedWall + last.endedMs;
    return ended >= (this.#lastRead.get(id) ?? wall) ? ended : wall;
  }
}

/** What an attempt that never ran is assumed to take. */
export interface Median {
  readonly ms: number;
  readonly tokens: number;
  readonly completes: boolean;
  /** Its issue is closed, or left the active states, when it has ended. */
  readonly closes: boolean;
}

const unknownMs = 600_000;

/** Of the attempts with the same agent and label that ended by themselves; else of the agent, else of all. */
export function medianOf(
  week: PastWeek,
  { agent, label }: Pick<PastAttempt, "agent" | "label">,
): Median {
  const all = [...week.attempts].flatMap(([issueId, list]) =>
    list.map((attempt) => ({ issueId, attempt })),
  );
  const ended = all.filter(({ attempt: { exit } }) => exit && exit.kind !== "stopped");
  const own = ended.filter(({ attempt }) => attempt.agent === agent);
  const same = own.filter(({ attempt }) => attempt.label === label);
  const group = [same, own, ended].find(({ length }) => length > 0) ?? [];
  const isDone = ({ attempt }: (typeof group)[number]) => attempt.exit?.kind === "completed";
  const closes = group.filter(({ issueId, attempt }) => {
    const endWall = attempt.startedWall + (attempt.endedMs ?? 0);
    const next = week.seen(issueId, endWall + 120_000);
    return (
      next === null ||
      (next !== undefined && next.state !== week.seen(issueId, attempt.startedWall)?.state)
    );
  });
  return {
    ms: middle(group.map(({ attempt }) => attempt.endedMs ?? 0)) ?? unknownMs,
    tokens: middle(group.map(({ attempt }) => attempt.tokens)) ?? 0,
    completes: group.filter(isDone).length * 2 >= group.length,
    closes: closes.length * 2 >= group.length,
  };
}

function middle(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? null;
}
