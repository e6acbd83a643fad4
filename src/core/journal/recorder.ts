// The inputs and decisions of the scheduler: recorded, shown as of then, replayed and tried out.

import { promisify } from "node:util";
import { deflateRaw } from "node:zlib";
import type { Clock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import { messageOf } from "../model/errors.ts";
import type { Context, Decision } from "../orchestrator/decision.ts";
import type { Input } from "../orchestrator/messages.ts";
import type { State } from "../orchestrator/state.ts";
import { step } from "../orchestrator/step.ts";
import { packing, RecordFile, type SegmentReason } from "./file.ts";
import { questionsOf, refusalOf, type ShownConfig, watched } from "./record.ts";
import { type Noted, SegmentWriter, type Taken } from "./writer.ts";

/** After this many decisions the whole state is written, so that any moment is at most as many decisions away. */
const decisionsBetween = 10_000;
/** Decisions of one batch: they are encoded in one go, which delays nothing by more than some ms. */
const batchSize = 250;
/** How long decisions are kept in memory: what a crash of the process may lose. */
const flushMs = 1_000;
/** As long wait polls that brought nothing new, so that an idle server writes next to nothing. */
const quietFlushMs = 600_000;
/** Decisions waiting for the disk; beyond it recording pauses, and the server continues. */
const maxWaiting = 50_000;
const retryMs = 30_000;
const dayMs = 24 * 60 * 60 * 1_000;
const sweepPauseMs = 20;
const removedAtOnce = 50;

export interface RecorderOptions {
  readonly file: string;
  readonly version: string;
  readonly clock: Clock;
  redact(text: string): string;
  /** Grows with the secrets that `redact` knows: then a new segment begins, whose every part was redacted alike. */
  secretsKnown(): number;
  /** The last event that was published. */
  lastEvent(): number;
  /** The configuration in force as it is shown. */
  shown(): ShownConfig;
  /** How long decisions are kept; null: indefinitely. */
  days(): number | null;
  /** Decisions between two checkpoints; default 10,000. */
  readonly checkpointEvery?: number;
  /** Called when recording stops, with the reason, and with null when it works again. */
  onTrouble?(reason: string | null): void;
}

/** Why nothing is recorded now, and since when. */
export interface RecordTrouble {
  readonly reason: string;
  readonly sinceWall: number;
}

const deflated = promisify<string, typeof packing, Buffer>(deflateRaw);

/**
 * Decides with `step` and records what the decision was made from. `decide` only keeps references; encoding, compression and
 * writing follow within a second, and whatever fails there is counted and said, but stops no decision. What was decided in
 * the last second before a crash is lost: the next server begins with its own first state, so nothing wrong is replayed.
 */
export class Recorder {
  readonly #options: RecorderOptions;
  #file: RecordFile | null = null;
  #segment: SegmentWriter | null = null;
  #waiting: Noted[] = [];
  #cancelFlush: (() => void) | null = null;
  #cancelQuiet: (() => void) | null = null;
  #cancelSweep = () => {};
  #flushing: Promise<void> | null = null;
  #config: Config | null = null;
  #trouble: RecordTrouble | null = null;
  #pausedUntil = Number.NEGATIVE_INFINITY;
  #why: SegmentReason = "start";
  #lost = 0;
  #closed = false;

  constructor(options: RecorderOptions) {
    this.#options = options;
  }

  /** null: everything is recorded. */
  get trouble(): RecordTrouble | null {
    return this.#trouble;
  }

  /** Decisions that were not recorded. */
  get lost(): number {
    return this.#lost;
  }

  /** As `step`. */
  decide(state: State, input: Input, context: Context): Decision {
    const { context: asked, lookups } = watched(context);
    const event = this.#options.lastEvent();
    const facts = { before: state, input, context, lookups, event };
    try {
      const decision = step(state, input, asked);
      const { state: after, effects } = decision;
      this.#note({ ...facts, after, effects, refusal: null });
      return decision;
    } catch (error) {
      this.#note({ ...facts, after: state, effects: [], refusal: refusalOf(error) });
      throw error;
    }
  }

  /** Resolves when everything that was decided so far is written, or was given up. */
  async settled(): Promise<void> {
    this.#cancelFlush?.();
    this.#cancelFlush = null;
    await this.#flushing;
    await this.#flush(true);
  }

  /** What `work` finds in the record, everything decided so far included. Rejects as the file cannot be read. */
  async read<T>(work: (file: RecordFile) => Promise<T>): Promise<T> {
    await this.settled();
    return work(this.#open());
  }

  /** Writes the rest with a last checkpoint. */
  async close(): Promise<void> {
    await this.settled();
    this.#closed = true;
    this.#cancelFlush?.();
    this.#cancelQuiet?.();
    this.#cancelSweep();
    const held = this.#segment?.waiting ?? 0;
    try {
      if (this.#segment !== null) await this.#add(await this.#segment.take(true));
    } catch (error) {
      this.#failed(error, held);
    }
    this.#file?.close();
  }

  #note(decided: Omit<Noted, "shown">): void {
    if (this.#closed) return;
    const { clock } = this.#options;
    if (clock.now() < this.#pausedUntil || this.#waiting.length >= maxWaiting) {
      this.#lost += 1;
      return;
    }
    const isNew = decided.context.config !== this.#config;
    this.#config = decided.context.config;
    this.#waiting.push({ ...decided, shown: isNew ? this.#options.shown() : null });
    this.#cancelFlush ??= clock.after(flushMs, () => {
      this.#cancelFlush = null;
      void this.#flush();
    });
  }

  /** Never rejects. `isWhole`: quiet polls too are written now. */
  async #flush(isWhole = false): Promise<void> {
    // One that runs may leave quiet polls where they are.
    while (isWhole && this.#flushing !== null) await this.#flushing;
    await this.#flushOnce(isWhole);
  }

  #flushOnce(isWhole: boolean): Promise<void> {
    this.#flushing ??= this.#writeAll(isWhole).finally(() => {
      this.#flushing = null;
    });
    return this.#flushing;
  }

  async #writeAll(isWhole: boolean): Promise<void> {
    while (this.#waiting.length > 0) {
      const part = this.#waiting.splice(0, batchSize);
      const held = this.#segment?.waiting ?? 0;
      try {
        await this.#writePart(part);
        if (this.#trouble !== null) this.#options.onTrouble?.(null);
        this.#trouble = null;
      } catch (error) {
        const { length } = this.#waiting.splice(0);
        this.#failed(error, held + part.length + length);
      }
      // Other work gets its turn between two batches.
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (isWhole) await this.#writeQuiet();
  }

  /** What waited although it was ready to be written. */
  async #writeQuiet(): Promise<void> {
    this.#cancelQuiet?.();
    this.#cancelQuiet = null;
    const waiting = this.#segment?.waiting ?? 0;
    if (this.#segment === null || waiting === 0) return;
    try {
      await this.#add(await this.#segment.take(false));
    } catch (error) {
      this.#failed(error, waiting);
    }
  }

  async #writePart(part: readonly Noted[]): Promise<void> {
    const [first] = part;
    if (!first) return;
    const segment = await this.#segmentFor(first);
    const { checkpointEvery: every = decisionsBetween } = this.#options;
    let done = 0;
    for (const one of part) {
      if (segment.sinceCheckpoint >= every || !segment.isNext(one)) break;
      segment.write(one);
      done += 1;
    }
    const isDue = segment.sinceCheckpoint >= every;
    if (isDue || !segment.isQuiet) await this.#add(await this.#taken(segment, isDue));
    else {
      this.#cancelQuiet ??= this.#options.clock.after(quietFlushMs, () => {
        this.#cancelQuiet = null;
        void this.#flush(true);
      });
    }
    if (done < part.length) await this.#writePart(part.slice(done));
  }

  /** The open segment; another begins with the state before `first` when it cannot continue. */
  async #segmentFor(first: Noted): Promise<SegmentWriter> {
    const { redact, secretsKnown, version } = this.#options;
    const known = secretsKnown();
    const open = this.#segment;
    const why = open === null ? this.#why : whyAnother(open, first, known);
    if (open !== null && why === null) return open;
    this.#why = "gap";
    if (open !== null && open.waiting > 0) await this.#add(await open.take(false));
    const file = this.#open();
    const at = Math.round(first.context.wall);
    const id = file.begin({ at, version, why: why ?? "gap" });
    const number = open?.input ?? file.lastInput();
    const shown = first.shown ?? open?.shown ?? this.#options.shown();
    let segment: SegmentWriter;
    let taken: Taken;
    do {
      segment = new SegmentWriter({ id, at, secrets: secretsKnown(), redact, input: number });
      taken = await segment.begin(first, shown, questionsOf(first.context));
      // A secret that was learned meanwhile stands in a part of it, perhaps.
    } while (segment.secrets !== secretsKnown());
    await this.#add(taken);
    this.#segment = segment;
    this.#sweep();
    return segment;
  }

  /** Without a checkpoint of which a part was redacted with fewer secrets than another: the next segment begins with one. */
  async #taken(segment: SegmentWriter, isDue: boolean): Promise<Taken> {
    const taken = await segment.take(isDue);
    const isAlike = this.#options.secretsKnown() === segment.secrets;
    return isAlike ? taken : { ...taken, checkpoint: null };
  }

  async #add(taken: Taken): Promise<void> {
    const [contents, batch, checkpoint] = await Promise.all([
      packed(taken.contents),
      packed(taken.batch),
      packed(taken.checkpoint),
    ]);
    this.#open().add({ contents, batch, checkpoint });
  }

  #open(): RecordFile {
    this.#file ??= RecordFile.open(this.#options.file);
    return this.#file;
  }

  #failed(error: unknown, lost: number): void {
    const { clock, onTrouble } = this.#options;
    this.#lost += lost;
    this.#segment = null;
    this.#pausedUntil = clock.now() + retryMs;
    const reason = messageOf(error);
    const isNew = this.#trouble === null;
    this.#trouble ??= { reason, sinceWall: clock.wall() };
    if (isNew) onTrouble?.(reason);
  }

  /** Removes what is older than the history is kept, in small steps. */
  #sweep(): void {
    const { clock, days } = this.#options;
    const kept = days();
    if (kept === null) return;
    const before = clock.wall() - kept * dayMs;
    const next = () => {
      try {
        if (this.#file?.removeOld(before, removedAtOnce)) {
          this.#cancelSweep = clock.after(sweepPauseMs, next);
        }
      } catch (error) {
        this.#failed(error, 0);
      }
    };
    this.#cancelSweep();
    this.#cancelSweep = clock.after(sweepPauseMs, next);
  }
}

/** Compressed in the thread pool: a first list of issues, or a whole state, is large. */
async function packed<T extends { readonly body: string }>(row: T | null) {
  return row && { ...row, body: await deflated(row.body, packing) };
}

/** Why the decision `next` cannot be in the open segment; null: it can. */
function whyAnother(open: SegmentWriter, next: Noted, secrets: number): SegmentReason | null {
  if (!open.isNext(next)) return "gap";
  if (open.secrets !== secrets) return "secret";
  return next.context.wall - open.at >= dayMs ? "day" : null;
}
