import type { Config } from "../config/config.ts";
import type { Input } from "../orchestrator/messages.ts";
import type { State } from "../orchestrator/state.ts";
import { encode, type Json, textInTurns, type Writing } from "./codec.ts";
import type { Batch, Checkpoint, ContentsRow } from "./file.ts";
import {
  configHash,
  type Decided,
  type Line,
  type More,
  markOf,
  restOf,
  type ShownConfig,
  stateHashInTurns,
  ticksOf,
  type WrittenConfig,
} from "./record.ts";
import { isSameList, Names, SharedWriter, writeList } from "./shared.ts";

/** `shown`: null as long as the configuration is that of the previous decision. */
export interface Noted extends Decided {
  readonly shown: ShownConfig | null;
}

/** The body of a checkpoint. */
export interface WrittenState {
  readonly state: Json;
  readonly config: WrittenConfig;
  readonly rest: Json;
  readonly questions: readonly string[];
}

interface SegmentOptions {
  readonly id: number;
  readonly at: number;
  /** How many secrets were known when it began. */
  readonly secrets: number;
  /** The number of the last decision before it. */
  readonly input: number;
  redact(text: string): string;
}

export interface Taken {
  readonly contents: ContentsRow | null;
  readonly batch: Batch | null;
  readonly checkpoint: Checkpoint | null;
}

/** Encodes the decisions of one segment, in their order. */
export class SegmentWriter {
  readonly #options: SegmentOptions;
  readonly #shared: SharedWriter;
  readonly #names: Names;
  readonly #writing: Writing;
  #lines: string[] = [];
  #isQuiet = true;
  #first: Pick<Batch, "at" | "event" | "ticks"> | null = null;
  #ticks = 0;
  #config: Config | null = null;
  #written: WrittenConfig | null = null;
  #rest = "";
  #questions: readonly string[] = [];
  #wall = 0;
  #event = 0;
  #last: Noted | null = null;
  input: number;
  sinceCheckpoint = 0;
  shown: ShownConfig | null = null;

  constructor(options: SegmentOptions) {
    this.#options = options;
    this.#names = new Names(options.redact);
    this.#shared = new SharedWriter(options.redact, this.#names);
    const { redact, input } = options;
    this.#writing = { refer: (object) => this.#shared.refer(object), redact };
    this.input = input;
  }

  get at(): number {
    return this.#options.at;
  }

  get secrets(): number {
    return this.#options.secrets;
  }

  /** Decisions that were written since the last `take`. */
  get waiting(): number {
    return this.#lines.length;
  }

  /** They are polls that brought nothing new: the times of polls are all that a crash would lose with them. */
  get isQuiet(): boolean {
    return this.#isQuiet;
  }

  /** False when decisions between the last one and `noted` are missing. */
  isNext(noted: Noted): boolean {
    return this.#last === null || this.#last.after === noted.before;
  }

  /** The state before `first`, with all that the decisions of the segment refer to. */
  async begin(first: Noted, shown: ShownConfig, questions: readonly string[]): Promise<Taken> {
    const { context, event } = first;
    this.#questions = questions;
    this.#configure(context.config, shown);
    this.#rest = JSON.stringify(this.#encode(restOf(context)));
    const checkpoint = await this.#checkpoint(first.before, context.wall, event);
    return { contents: this.#takeContents(), batch: null, checkpoint };
  }

  write(noted: Noted): void {
    const { context, effects, refusal, event } = noted;
    if (this.#first === null) {
      this.#first = { at: Math.round(context.wall), event, ticks: ticksOf(context.now) ?? 0 };
      this.#wall = this.#first.at;
      this.#ticks = this.#first.ticks;
      this.#event = event;
    }
    const { input: written, list } = this.#input(noted);
    const more = { ...this.#more(noted), ...(list !== undefined && { list }) };
    const mark = markOf(effects, refusal, this.#names);
    const ticks = ticksOf(context.now);
    const now = ticks === null ? String(context.now) : ticks - this.#ticks;
    const times = [now, context.wall - this.#wall, event - this.#event] as const;
    const line: Line =
      Object.keys(more).length > 0 ? [...times, mark, written, more] : [...times, mark, written];
    this.#lines.push(JSON.stringify(line));
    const isNew = list !== undefined && !isSameList(list, noted.before.candidates.length);
    this.#isQuiet &&= refusal === null && !isNew && isQuietPoll(noted.input, more);
    this.#ticks = ticks ?? this.#ticks;
    this.#wall = context.wall;
    this.#event = event;
    this.#last = noted;
    this.input += 1;
    this.sinceCheckpoint += 1;
  }

  /** The lines since the last call, as one batch; with a checkpoint of the state after them if `isDue`. */
  async take(isDue: boolean): Promise<Taken> {
    const count = this.#lines.length;
    const body = this.#lines.join("\n");
    const batch =
      this.#first === null ? null : { ...this.#first, first: this.input - count + 1, count, body };
    this.#lines = [];
    this.#isQuiet = true;
    this.#first = null;
    const last = this.#last;
    const checkpoint =
      isDue && last && this.sinceCheckpoint > 0
        ? await this.#checkpoint(last.after, last.context.wall, last.event)
        : null;
    return { contents: this.#takeContents(), batch, checkpoint };
  }

  #takeContents(): ContentsRow | null {
    const { first, texts } = this.#shared.takeNew();
    const { length: count } = texts;
    return count === 0 ? null : { segment: this.#options.id, first, count, body: texts.join("\n") };
  }

  #input({ input, before }: Noted): { readonly input: Json; readonly list?: Json } {
    if (input.type !== "candidates.fetched") return { input: this.#encode(input) };
    const { issues, ...facts } = input;
    const list =
      issues === before.candidates ? 0 : writeList(before.candidates, issues, this.#shared);
    return { input: this.#encode(facts), list };
  }

  #more({ context, lookups, shown }: Noted): More {
    const { config } = context;
    const isNew = config !== this.#config;
    const written = isNew ? this.#configure(config, shown ?? this.shown) : null;
    const rest = this.#encode(restOf(context));
    const text = JSON.stringify(rest);
    const isOther = text !== this.#rest;
    this.#rest = text;
    const asked = lookups.map(({ name, args, answer }) => this.#encode([name, args, answer]));
    return {
      ...(written && { config: written }),
      ...(isOther && { rest }),
      ...(asked.length > 0 && { asked }),
    };
  }

  /** Sections are written once: the state refers to the one that its queue was built with. */
  #configure(config: Config, shown: ShownConfig | null): WrittenConfig {
    for (const section of Object.values(config)) {
      if (typeof section === "object" && section !== null) this.#shared.share(section);
    }
    this.#config = config;
    this.shown = shown;
    const written = {
      hash: configHash(config, this.#names),
      value: this.#encode(config),
      shown: this.#encode(shown),
    };
    this.#written = written;
    return written;
  }

  async #checkpoint(state: State, wall: number, event: number): Promise<Checkpoint> {
    if (this.#written === null) throw new Error("a segment begins with its configuration");
    const others: Omit<WrittenState, "state"> = {
      config: this.#written,
      rest: JSON.parse(this.#rest),
      questions: this.#questions,
    };
    const body = `{"state":${await textInTurns(state, this.#writing)},${JSON.stringify(others).slice(1)}`;
    this.sinceCheckpoint = 0;
    return {
      input: this.input,
      segment: this.#options.id,
      at: Math.round(wall),
      event,
      hash: await stateHashInTurns(state, this.#names),
      body,
    };
  }

  #encode(value: unknown): Json {
    return encode(value, this.#writing);
  }
}

/** A part of a poll; whether its list is another one is asked by itself. */
function isQuietPoll(input: Input, more: More): boolean {
  if (Object.keys(more).some((key) => key !== "list")) return false;
  if (input.type === "preflight.ended") return input.problem === null;
  return input.type === "poll.due" || input.type === "candidates.fetched";
}
