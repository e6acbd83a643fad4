import type { Config } from "../config/config.ts";
import type { Context } from "../orchestrator/decision.ts";
import type { Effect, Input } from "../orchestrator/messages.ts";
import type { State } from "../orchestrator/state.ts";
import { step } from "../orchestrator/step.ts";
import { decode, isList, isPlain, type Json } from "./codec.ts";
import type { Batch, Checkpoint, Contents, Moment } from "./file.ts";
import {
  type Decide,
  type Line,
  type Lookup,
  type More,
  markOf,
  refusalOf,
  type ShownConfig,
  stateHash,
  ticksPerMs,
  type WrittenConfig,
} from "./record.ts";
import { Names, readList, SharedReader } from "./shared.ts";
import type { WrittenState } from "./writer.ts";

/** Where the decisions of one segment are read from. */
export interface Source {
  /** The next batch after the decision `input`; null: the segment ends here. */
  batchAfter(input: number): Batch | null;
  contentsWith(number: number): Contents | null;
}

/** One recorded decision, and what was decided now. */
export interface Replayed {
  /** Its number in the record. */
  readonly number: number;
  readonly wall: number;
  /** The last event that was published before it. */
  readonly event: number;
  readonly input: Input;
  readonly before: State;
  readonly context: Context;
  /** What the recorded decision asked its context. */
  readonly lookups: readonly Lookup[];
  readonly effects: readonly Effect[];
  readonly refusal: string | null;
  /** What the record says of the decision, and what was decided now. */
  readonly recorded: string | 0;
  readonly mark: string | 0;
}

/** When a decision was made, and after which event. */
interface Place {
  readonly now: number;
  readonly wall: number;
  readonly event: number;
  /** It needs no decoding, which costs more than many decisions. */
  readonly isPlain: boolean;
}

interface Asked extends Pick<Place, "now" | "wall"> {
  readonly lookups: readonly Lookup[];
}

interface ReplayOptions {
  readonly source: Source;
  readonly checkpoint: Checkpoint;
  /** Default: `step` of this version. */
  readonly decide?: Decide;
  /** The configuration to decide with; default: the recorded one. */
  configure?(recorded: Config): Config;
  /** Answers what was not asked when the record was made; default: a refusal. */
  answer?(name: string, args: readonly unknown[]): unknown;
}

/** A decision asked its context something that was not asked when the record was made. */
export class Unanswered extends Error {}

const plain = (text: string) => text;

/** Goes from a checkpoint through the recorded decisions of its segment; holds the state after each. */
export class Replay {
  readonly #options: ReplayOptions;
  readonly #shared: SharedReader;
  /** Texts of the record were redacted when it was written. */
  readonly #names = new Names(plain);
  readonly #contents = new Map<number, string>();
  readonly #questions: readonly string[];
  #config: Config;
  #recorded: WrittenConfig;
  #rest: object;
  #now = 0;
  state: State;
  /** The last decision, and when it was made. */
  input: number;
  wall: number;
  /** The last event before it. */
  event: number;

  constructor(options: ReplayOptions) {
    const { checkpoint } = options;
    this.#options = options;
    this.#shared = new SharedReader((number) => this.#load(number));
    const body: WrittenState = JSON.parse(checkpoint.body);
    this.#recorded = body.config;
    // What stands in a record was written by `encode` from the value of this type.
    this.#config = this.#decode(body.config.value) as Config;
    this.#rest = this.#decode(body.rest) as object;
    this.#questions = body.questions;
    this.state = this.#decode(body.state) as State;
    this.input = checkpoint.input;
    this.wall = checkpoint.at;
    this.event = checkpoint.event;
  }

  /** The configuration that was in force. */
  get config(): Config {
    return this.#config;
  }

  get configHash(): string {
    return this.#recorded.hash;
  }

  /** The configuration as it was shown. */
  get shown(): ShownConfig {
    return this.#decode(this.#recorded.shown) as ShownConfig;
  }

  /** Why nothing new was started, or null. */
  get problem(): Context["problem"] {
    return Reflect.get(this.#rest, "problem") ?? null;
  }

  /** What else was wrong with the configuration. */
  get warnings(): readonly string[] {
    return Reflect.get(this.#rest, "warnings") ?? [];
  }

  /** Monotonic time of the last decision. */
  get now(): number {
    return this.#now;
  }

  /** The hash of the state that was reached. */
  hash(): string {
    return stateHash(this.state, this.#names);
  }

  /** Each decision of the segment after the checkpoint, as it is decided now; none later than `until`. */
  *decisions(until: Moment | null = null): Generator<Replayed, void, undefined> {
    const { source } = this.#options;
    for (
      let batch = source.batchAfter(this.input);
      batch !== null;
      batch = source.batchAfter(this.input)
    ) {
      let { at: wall, event, ticks } = batch;
      for (const text of batch.body.split("\n")) {
        const line: Line = JSON.parse(text);
        wall += line[1];
        event += line[2];
        if (until && isLater(until, { input: this.input + 1, at: wall, event })) return;
        if (typeof line[0] === "number") ticks += line[0];
        const now = typeof line[0] === "number" ? ticks / ticksPerMs : Number(line[0]);
        yield this.#play(line, { now, wall, event, isPlain: isPlain(text) });
      }
    }
  }

  #play(line: Line, { now, wall, event, isPlain: plain }: Place): Replayed {
    const [, , , recorded, written, more = {}] = line;
    if (more.config !== undefined) {
      this.#recorded = more.config;
      this.#config = this.#decode(more.config.value) as Config;
    }
    if (more.rest !== undefined) this.#rest = this.#decode(more.rest) as object;
    const before = this.state;
    const input = this.#input(plain ? written : this.#decode(written), more);
    const lookups = this.#lookups(more.asked);
    const context = this.#context({ now, wall, lookups });
    const { state, effects, refusal } = this.#decide(before, input, context);
    this.state = state;
    this.input += 1;
    this.wall = wall;
    this.event = event;
    this.#now = now;
    const names = this.#names;
    const facts = { number: this.input, wall, event, input, before, context, lookups };
    return {
      ...facts,
      effects,
      refusal,
      recorded,
      // Only a comparison needs it, and it costs as much as the decision.
      get mark() {
        return markOf(effects, refusal, names);
      },
    };
  }

  #decide(before: State, input: Input, context: Context) {
    const { decide = step } = this.#options;
    try {
      return { ...decide(before, input, context), refusal: null };
    } catch (error) {
      const refusal = error instanceof Unanswered ? error.message : refusalOf(error);
      return { state: before, effects: [], refusal };
    }
  }

  #input(decoded: unknown, { list }: More): Input {
    const input = decoded as Input;
    if (list === undefined || input.type !== "candidates.fetched") return input;
    const { candidates } = this.state;
    const issues = isList(list) ? readList(candidates, list, this.#shared) : candidates;
    return { ...input, issues: issues as typeof candidates };
  }

  #context({ now, wall, lookups }: Asked): Context {
    const { configure, answer } = this.#options;
    const config = configure?.(this.#config) ?? this.#config;
    const answers = lookups.map((one) => ({ ...one, key: keyOf(one.name, one.args) }));
    const questions = this.#questions.map((name) => [
      name,
      (...args: unknown[]) => {
        const at = answers.findIndex((one) => one.key === keyOf(name, args));
        if (at >= 0) return answers.splice(at, 1)[0]?.answer;
        if (answer !== undefined) return answer(name, args);
        throw new Unanswered(`it asks for ${name}, which was not asked then`);
      },
    ]);
    return { ...this.#rest, ...Object.fromEntries(questions), config, now, wall };
  }

  #lookups(asked: Json | undefined): readonly Lookup[] {
    if (!isList(asked)) return [];
    return asked.map((one) => {
      const [name, args, answer] = this.#decode(one) as [string, Lookup["args"], unknown];
      return { name, args, answer };
    });
  }

  #load(number: number): unknown {
    const known = this.#contents.get(number);
    if (known === undefined) {
      const contents = this.#options.source.contentsWith(number);
      for (const [at, text] of contents?.texts.entries() ?? []) {
        this.#contents.set((contents?.first ?? 0) + at, text);
      }
    }
    const text = this.#contents.get(number);
    if (text === undefined) return null;
    const content = JSON.parse(text);
    return isPlain(text) ? content : this.#decode(content);
  }

  #decode(json: Json): unknown {
    return decode(json, this.#shared);
  }
}

/** An event was published by a decision before which it was not there. */
function isLater(until: Moment, line: { input: number; at: number; event: number }): boolean {
  if ("input" in until) return line.input > until.input;
  return "event" in until ? line.event >= until.event : line.at > until.at;
}

function keyOf(name: string, args: readonly unknown[]): string {
  return JSON.stringify([name, args]);
}
