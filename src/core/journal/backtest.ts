import type { Config } from "../config/config.ts";
import { type TimerInput, timerKey } from "../orchestrator/messages.ts";
import type { State } from "../orchestrator/state.ts";
import { wordsOf } from "./about.ts";
import { type Departure, Estimate, type Estimated, type Read } from "./estimate.ts";
import type { Checkpoint, RecordFile } from "./file.ts";
import { sourceOf } from "./reading.ts";
import { Replay, type Replayed, type Source } from "./replay.ts";
import { type Choice, PastWeek } from "./week.ts";

export interface Backtest {
  readonly fromWall: number;
  readonly toWall: number;
  /** Recorded decisions that were made again. */
  readonly decisions: number;
  /** The first decision that differs: this one is exact. null: none does. */
  readonly first: FirstDifference | null;
  /** What would have been decided at another time, only then, or only now: an estimate, but for `first`. */
  readonly differences: readonly Difference[];
  readonly recorded: Totals;
  readonly estimated: Totals & { readonly estimatedAttempts: number };
  /** Active states of the new configuration whose issues the record may not have. */
  readonly unknownStates: readonly string[];
}

interface FirstDifference {
  readonly number: number;
  readonly wall: number;
  readonly input: string;
  readonly recorded: readonly string[];
  readonly now: readonly string[];
}

interface Difference {
  readonly issue: string;
  readonly what: string;
  /** null: it was not decided then. */
  readonly recordedWall: number | null;
  /** null: it would not be decided now. */
  readonly nowWall: number | null;
  /** The attempt never ran in the record: it takes the median of others. */
  readonly estimated: boolean;
}

interface Totals {
  readonly starts: number;
  readonly completed: number;
  readonly tokens: number;
}

/** A decision that only moves by less is the same one. */
const sameMs = 2_000;

/** Makes the decisions since `since` (epoch ms) again under `config`. Everything it needs is in the record. */
export function backtest(file: RecordFile, config: Config, since: number): Backtest {
  const segments = segmentsSince(file, since);
  const week = new PastWeek();
  const exact = new Exact(config, week);
  const oldStates = new Set<string>();
  let decisions = 0;
  let fromWall: number | null = null;
  for (const checkpoint of segments) {
    const source = sourceOf(file, checkpoint);
    const then = new Replay({ checkpoint, source });
    fromWall ??= checkpoint.at;
    exact.begin(checkpoint, source);
    for (const one of then.decisions()) {
      decisions += 1;
      week.add(one);
      for (const state of one.context.config.tracker.activeStates) oldStates.add(state);
      exact.compare(one);
    }
  }
  const { departure, first } = exact;
  const estimate = departure && new Estimate(week, departure);
  estimate?.run();
  const now: readonly Estimated[] = [...exact.choices, ...(estimate?.choices ?? [])];
  return {
    fromWall: fromWall ?? since,
    toWall: week.endWall,
    decisions,
    first,
    differences: first === null ? [] : differencesOf(week.choices, now),
    recorded: totals(week.choices, recordedTokens(week, week.endWall)),
    estimated: {
      ...totals(
        now,
        recordedTokens(week, departure?.wall ?? week.endWall) + (estimate?.tokens ?? 0),
      ),
      estimatedAttempts: estimate?.estimatedAttempts ?? 0,
    },
    unknownStates: config.tracker.activeStates.filter((state) => !oldStates.has(state)),
  };
}

/** Where each stretch of the record since then begins. */
function segmentsSince(file: RecordFile, since: number): readonly Checkpoint[] {
  const start = file.checkpointBefore({ at: since });
  const later = file.segments().flatMap(({ id }) => {
    if (start !== null && id <= start.segment) return [];
    return file.firstOf(id) ?? [];
  });
  return start === null ? later : [start, ...later];
}

/** Decides again with the new configuration, as long as it decides the same. */
class Exact {
  readonly #config: Config;
  readonly #week: PastWeek;
  #replay: Replay | null = null;
  #now: Generator<Replayed, void, undefined> | null = null;
  #timers = new Map<string, { input: TimerInput; dueAt: number }>();
  #reads = new Map<number, Read>();
  readonly #starts = new Map<string, number[]>();
  #pending: (() => void)[] = [];
  readonly choices: Estimated[] = [];
  first: FirstDifference | null = null;
  departure: Departure | null = null;

  constructor(config: Config, week: PastWeek) {
    this.#config = config;
    this.#week = week;
  }

  begin(checkpoint: Checkpoint, source: Source): void {
    if (this.first !== null) return;
    this.#replay = new Replay({
      ...{ checkpoint, source },
      configure: () => this.#config,
      // The attempts before the record began are not known.
      answer: () => ({ count: 0, resume: null, thread: null, tokens: 0, idle: null }),
    });
    this.#now = this.#replay.decisions();
    this.#timers = timersOf(this.#replay.state);
    this.#reads = new Map();
    this.#pending = [];
  }

  compare(then: Replayed): void {
    if (this.first !== null) return;
    const step = this.#now?.next();
    const now = step?.done === false ? step.value : null;
    if (now === null) return;
    this.#note(now);
    if (now.mark === then.mark) {
      const choices = this.#week.choices.slice(this.choices.length);
      this.choices.push(...choices.map((one) => ({ ...one, estimated: false })));
      for (const effect of now.effects) {
        if (effect.type === "startAttempt") this.#startedAt(effect.issue.id, now.wall);
      }
      return;
    }
    const { number, wall, input } = then;
    this.first = { number, wall, input: input.type, ...apart(wordsOf(then), wordsOf(now)) };
    this.departure = {
      state: this.#replay?.state ?? now.before,
      effects: now.effects,
      now: now.context.now,
      wall: now.wall,
      config: this.#config,
      timers: this.#timers,
      reads: [...this.#reads.values()],
      starts: this.#starts,
      rest: () => now.context,
    };
  }

  #startedAt(issueId: string, wall: number): void {
    this.#starts.set(issueId, [...(this.#starts.get(issueId) ?? []), wall]);
  }

  /** Which timers are set and which reads are open after the effects of all decisions before this one. */
  #note({ input, effects, context }: Replayed): void {
    for (const run of this.#pending) run();
    this.#timers.delete(timerKey(input));
    if ("request" in input) this.#reads.delete(input.request);
    this.#pending = effects.map((effect) => () => {
      if (effect.type === "setTimer") {
        const dueAt = context.now + effect.delayMs;
        this.#timers.set(timerKey(effect.input), { input: effect.input, dueAt });
      }
      if (effect.type === "clearTimer") this.#timers.delete(timerKey(effect.input));
      if ("request" in effect) this.#reads.set(effect.request, effect);
    });
  }
}

/** The timers that a start sets for what waits. */
function timersOf({ issues }: State) {
  const timers = [...issues.of("retrying")].map(([issueId, { dueAt }]) => {
    const input: TimerInput = { type: "retry.due", issueId };
    return [timerKey(input), { input, dueAt }] as const;
  });
  return new Map(timers);
}

/** Only what is not in both. */
function apart(recorded: readonly string[], now: readonly string[]) {
  const without = (own: readonly string[], other: readonly string[]) =>
    own.filter((one) => !other.includes(one));
  return { recorded: without(recorded, now), now: without(now, recorded) };
}

/** The decisions of each kind about each issue, in their order, next to each other. */
function differencesOf(
  recorded: readonly Choice[],
  now: readonly Estimated[],
): readonly Difference[] {
  const [then, next] = [grouped(recorded), grouped(now)];
  const keys = new Set([...then.keys(), ...next.keys()]);
  const all = [...keys].flatMap((key) => {
    const [before, after] = [then.get(key) ?? [], next.get(key) ?? []];
    return Array.from({ length: Math.max(before.length, after.length) }, (_, at) =>
      differenceOf(before[at], after[at]),
    );
  });
  return all
    .flatMap((one) => one ?? [])
    .sort((a, b) => (a.nowWall ?? a.recordedWall ?? 0) - (b.nowWall ?? b.recordedWall ?? 0));
}

function differenceOf(then: Choice | undefined, now: Estimated | undefined): Difference | null {
  const { issue, what } = then ?? now ?? { issue: "", what: "" };
  if (then && now && Math.abs(then.wall - now.wall) < sameMs) return null;
  const walls = { recordedWall: then?.wall ?? null, nowWall: now?.wall ?? null };
  return { issue, what, ...walls, estimated: now?.estimated ?? false };
}

function grouped<T extends Choice>(choices: readonly T[]): ReadonlyMap<string, readonly T[]> {
  return Map.groupBy(choices, ({ issue, what }) => `${what} ${issue}`);
}

function totals(choices: readonly Choice[], tokens: number): Totals {
  const count = (wanted: string) => choices.filter(({ what }) => what === wanted).length;
  return { starts: count("start"), completed: count("completed"), tokens };
}

/** Of the attempts that had ended by then. */
function recordedTokens({ attempts }: PastWeek, untilWall: number): number {
  return [...attempts.values()]
    .flat()
    .filter(({ startedWall, endedMs }) => startedWall + (endedMs ?? Infinity) <= untilWall)
    .reduce((sum, { tokens }) => sum + tokens, 0);
}
