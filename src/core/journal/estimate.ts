import type { Config } from "../config/config.ts";
import { noTokens } from "../model/attempt.ts";
import { type Issue, normalState } from "../model/issue.ts";
import type { Context, Prior } from "../orchestrator/decision.ts";
import {
  type Effect,
  type Exit,
  type Input,
  type TimerInput,
  timerKey,
} from "../orchestrator/messages.ts";
import type { State } from "../orchestrator/state.ts";
import { step } from "../orchestrator/step.ts";
import { type Choice, choiceOf, medianOf, type PastAttempt, type PastWeek } from "./week.ts";

/** How long a read takes: long enough to stay after what caused it. */
const readMs = 200;
const stopMs = 1_000;
/** A circle of inputs without any time between them would never end. */
const maxInputs = 5_000_000;

/** Where the recorded decisions end to be the new ones. */
export interface Departure {
  readonly state: State;
  /** The effects of the first decision that differs. */
  readonly effects: readonly Effect[];
  readonly now: number;
  readonly wall: number;
  readonly config: Config;
  /** Timers that are set, with their due times (monotonic). */
  readonly timers: ReadonlyMap<string, { readonly input: TimerInput; readonly dueAt: number }>;
  /** Reads without an answer. */
  readonly reads: readonly Read[];
  /** The attempts that were started until then, by issue, with their times. */
  readonly starts: ReadonlyMap<string, readonly number[]>;
  /** What decisions read in addition. */
  rest(): object;
}

export type Read = Extract<Effect, { readonly request: number }>;

export interface Estimated extends Choice {
  /** The attempt takes the median of others: it never ran in the record. */
  readonly estimated: boolean;
}

interface Run {
  readonly issue: Issue;
  readonly attemptId: string;
  readonly startedAt: number;
  /** null: it never ran. */
  readonly past: PastAttempt | null;
  cancelled: boolean;
}

/** A world in which the recorded attempts run again, at other times, for another configuration. */
export class Estimate {
  readonly #week: PastWeek;
  readonly #from: Departure;
  readonly #offset: number;
  /** What each timer that is set runs: one that was replaced or cleared does nothing. */
  readonly #timers = new Map<string, () => void>();
  readonly #runs = new Map<string, Run>();
  readonly #starts: Map<string, number[]>;
  readonly #spent = new Map<string, { readonly id: string; readonly tokens: number }[]>();
  /** Issues that an attempt without a record has closed. */
  readonly #closed = new Set<string>();
  readonly #moved = new Map<string, string>();
  readonly #agenda: { at: number; run: () => void }[] = [];
  #now: number;
  #state: State;
  readonly choices: Estimated[] = [];
  /** Attempts that never ran in the record. */
  estimatedAttempts = 0;
  tokens = 0;

  constructor(week: PastWeek, from: Departure) {
    this.#week = week;
    this.#from = from;
    this.#offset = from.wall - from.now;
    this.#now = from.now;
    this.#state = from.state;
    this.#starts = new Map([...from.starts].map(([id, times]) => [id, [...times]]));
  }

  /** Plays until the record ends. */
  run(): void {
    const { wall, timers, reads, effects } = this.#from;
    for (const { input, dueAt } of timers.values()) this.#setTimer(input, dueAt - this.#now);
    for (const read of reads) this.#answer(read);
    this.#continueRunning();
    for (const other of this.#week.others) {
      if (other.wall > wall) this.#at(other.wall - this.#offset, () => this.#apply(other.input));
    }
    for (const effect of effects) this.#perform(effect);
    const endAt = this.#week.endWall - this.#offset;
    let inputs = 0;
    for (let next = this.#agenda.shift(); next; next = this.#agenda.shift()) {
      if (next.at > endAt || inputs++ > maxInputs) break;
      this.#now = Math.max(this.#now, next.at);
      next.run();
    }
  }

  get #wall(): number {
    return this.#now + this.#offset;
  }

  /** Attempts that run already continue as they did. */
  #continueRunning(): void {
    for (const [issueId, row] of this.#state.issues.of("running")) {
      const past = this.#week.attempts
        .get(issueId)
        ?.find(({ attemptId }) => attemptId === row.attemptId);
      const startedAt = (past?.startedWall ?? row.startedWall) - this.#offset;
      const { attemptId, issue } = row;
      const run: Run = { issue, attemptId, startedAt, past: past ?? null, cancelled: false };
      this.#runs.set(attemptId, run);
      if (past) this.#schedule(run, past, this.#now - startedAt);
      else this.#assume(run, row.agent);
    }
  }

  #apply(input: Input): void {
    const context = this.#context();
    try {
      const { state, effects } = step(this.#state, input, context);
      this.#state = state;
      for (const effect of effects) this.#perform(effect);
    } catch {
      // A request of then may be impossible now: it is refused, and nothing has changed.
    }
  }

  #perform(effect: Effect): void {
    const choice = choiceOf(effect, this.#wall);
    if (choice && effect.type !== "startAttempt") {
      this.choices.push({ ...choice, estimated: false });
    }
    switch (effect.type) {
      case "startAttempt":
        return this.#start(effect);
      case "stopAttempt":
        return this.#stop(effect.attemptId);
      case "setTimer":
        return this.#setTimer(effect.input, effect.delayMs);
      case "clearTimer":
        this.#timers.delete(timerKey(effect.input));
        return;
      case "moveIssue":
        this.#moved.set(effect.issue.id, effect.to);
        return;
      case "refreshRunning":
      case "preflight":
      case "fetchCandidates":
      case "verifyIssues":
      case "checkIssue":
        return this.#answer(effect);
      default:
    }
  }

  #start({ issue, attemptId, agent }: Extract<Effect, { type: "startAttempt" }>): void {
    const starts = this.#starts.get(issue.id) ?? [];
    const past = this.#week.attempts.get(issue.id)?.[starts.length] ?? null;
    this.#starts.set(issue.id, [...starts, this.#wall]);
    this.#moved.delete(issue.id);
    const run: Run = { issue, attemptId, startedAt: this.#now, past, cancelled: false };
    this.#runs.set(attemptId, run);
    const choice = { wall: this.#wall, issue: issue.identifier, what: "start" };
    const isKnown = past !== null && endsByItself(past);
    this.choices.push({ ...choice, estimated: !isKnown });
    if (past) this.#schedule(run, past, 0);
    if (!isKnown) this.#assume(run, agent);
  }

  /** What the attempt reported then, at the same times after its start; `fromMs` and later. */
  #schedule(run: Run, past: PastAttempt, fromMs: number): void {
    for (const { afterMs, input } of past.inputs) {
      if (afterMs < fromMs) continue;
      if (input.type === "attempt.exited" && !endsByItself(past)) continue;
      const { attemptId } = run;
      const own = "attemptId" in input ? { ...input, attemptId } : input;
      this.#at(run.startedAt + afterMs, () => this.#report(run, own));
    }
  }

  #report(run: Run, input: Input): void {
    if ("attemptId" in input && run.cancelled) return;
    if (input.type === "attempt.exited") this.#ended(run, run.past?.tokens ?? 0);
    this.#apply(input);
  }

  /** The median of the attempts with its agent and label. */
  #assume(run: Run, agent: string): void {
    this.estimatedAttempts += 1;
    const { issue, attemptId } = run;
    const median = medianOf(this.#week, { agent, label: issue.labels[0] ?? null });
    const of = { issueId: issue.id, attemptId };
    const tokens = Math.max(median.tokens, run.past?.tokens ?? 0);
    const shortest = Math.max(run.past?.endedMs ?? 0, this.#now - run.startedAt);
    const endAt = run.startedAt + Math.max(median.ms, shortest);
    const report = (event: Extract<Input, { type: "attempt.reported" }>["event"]) =>
      this.#report(run, { type: "attempt.reported", ...of, event });
    this.#at(Math.max(endAt - 2, this.#now), () => {
      report({ type: "turn.started", turnId: "estimated" });
      report({ type: "tokens", total: { ...noTokens, total: tokens } });
      report({ type: "turn.completed", turnId: "estimated" });
    });
    this.#at(endAt, () => {
      if (run.cancelled) return;
      this.#ended(run, tokens);
      if (median.closes) this.#closed.add(issue.id);
      const exit: Exit = median.completes
        ? { kind: "completed", git: null }
        : { kind: "failed", code: "turn_failed", message: "as most of them", git: null };
      this.#apply({ type: "attempt.exited", ...of, exit });
    });
  }

  #ended(run: Run, tokens: number): void {
    run.cancelled = true;
    this.#runs.delete(run.attemptId);
    this.tokens += tokens;
    const spent = this.#spent.get(run.issue.id) ?? [];
    this.#spent.set(run.issue.id, [...spent, { id: run.attemptId, tokens }]);
  }

  #stop(attemptId: string): void {
    const run = this.#runs.get(attemptId);
    if (!run) return;
    this.#at(this.#now + stopMs, () => {
      if (run.cancelled) return;
      this.#ended(run, 0);
      const { issue } = run;
      const exit = { kind: "stopped", git: null } as const;
      this.#apply({ type: "attempt.exited", issueId: issue.id, attemptId, exit });
    });
  }

  #setTimer(input: TimerInput, delayMs: number): void {
    const key = timerKey(input);
    const run = () => {
      if (this.#timers.get(key) !== run) return;
      this.#timers.delete(key);
      this.#apply(input);
    };
    this.#timers.set(key, run);
    this.#at(this.#now + delayMs, run);
  }

  #answer(effect: Read): void {
    this.#at(this.#now + readMs, () => this.#apply(this.#answerNow(effect)));
  }

  #answerNow(effect: Read): Input {
    const { request } = effect;
    const read = (ids: readonly string[]) => ids.flatMap((id) => this.#issue(id) ?? []);
    switch (effect.type) {
      case "preflight":
        return { type: "preflight.ended", request, problem: null };
      case "fetchCandidates":
        return { type: "candidates.fetched", request, issues: this.#candidates() };
      case "refreshRunning":
        return { type: "running.refreshed", request, ids: effect.ids, issues: read(effect.ids) };
      case "verifyIssues":
        return { type: "issues.verified", request, ids: effect.ids, issues: read(effect.ids) };
      case "checkIssue": {
        const { issueId } = effect;
        return { type: "issue.checked", request, issueId, issue: this.#issue(issueId) ?? null };
      }
    }
  }

  #candidates(): readonly Issue[] {
    const active = new Set(this.#from.config.tracker.activeStates.map(normalState));
    return [...this.#week.issueIds].flatMap((id) => {
      const issue = this.#issue(id);
      return issue && active.has(normalState(issue.state)) ? [issue] : [];
    });
  }

  /** The issue as the tracker would return it now. */
  #issue(id: string): Issue | null {
    const issue = this.#week.seen(id, this.#recordedTime(id)) ?? null;
    const [closed] = this.#from.config.tracker.terminalStates;
    const state = this.#closed.has(id) ? closed : this.#moved.get(id);
    return issue && state !== undefined ? { ...issue, state } : issue;
  }

  /** What changed after an attempt's start then changes as long after its start now. */
  #recordedTime(id: string): number {
    const past = this.#week.attempts.get(id) ?? [];
    const starts = this.#starts.get(id) ?? [];
    const last = starts.length - 1;
    const nextThen = past[starts.length]?.startedWall ?? Number.POSITIVE_INFINITY;
    const started = starts[last];
    const then = past[last];
    if (started === undefined) return Math.min(this.#wall, nextThen);
    // An attempt that never ran changes nothing that the record knows.
    if (then === undefined) return started;
    return Math.min(then.startedWall + this.#wall - started, nextThen);
  }

  #context(): Context {
    const { config } = this.#from;
    return {
      ...this.#from.rest(),
      ...{ config, problem: null, now: this.#now, wall: this.#wall },
      prior: (issueId, after) => this.#prior(issueId, after),
    };
  }

  /** As recorded for the same attempt, with what was used in the meantime. */
  #prior(issueId: string, after: string): Prior {
    const starts = this.#starts.get(issueId) ?? [];
    const recorded = this.#week.attempts.get(issueId)?.[starts.length]?.prior;
    if (recorded) return recorded;
    const spent = (this.#spent.get(issueId) ?? []).filter(({ id }) => id > after);
    const tokens = spent.reduce((sum, one) => sum + one.tokens, 0);
    return { count: starts.length, resume: null, thread: null, tokens, idle: null };
  }

  #at(at: number, run: () => void): void {
    const place = this.#agenda.findLastIndex((other) => other.at <= at);
    this.#agenda.splice(place + 1, 0, { at, run });
  }
}

/** False for an attempt that was stopped, or that a restart cut off: how long it would have taken is not known. */
function endsByItself({ exit }: PastAttempt): boolean {
  return exit !== null && exit.kind !== "stopped" && exit.kind !== "detached";
}
