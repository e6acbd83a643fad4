import { SymphonyError } from "../model/errors.ts";

/** The longest line an agent may write on its protocol stream. */
export const maxLineBytes = 10 * 1024 * 1024;

const newline = 10;
const carriageReturn = 13;
const smallBufferBytes = 64 * 1024;
/** How much of a line says what it is. */
const startBytes = 200;

export interface LineSplitterOptions {
  readonly maxBytes: number;
  /**
   * What happens with a longer line: `fail` throws `line_too_long`, `cut` keeps its beginning,
   * `skip` drops the line; a function chooses by how the line begins.
   */
  readonly overflow: "fail" | "cut" | "skip" | ((beginning: string) => "fail" | "skip");
  onLine(line: string): void;
  /** A line was dropped (`skip`). */
  onSkip?(): void;
}

/**
 * Splits a byte stream into lines at byte 10 only, so U+2028 inside a JSON string is safe. Decodes
 * whole lines, so a character split across chunks is safe too. Holds at most one line of
 * `maxBytes`.
 */
export class LineSplitter {
  readonly #options: LineSplitterOptions;
  #held: Buffer = Buffer.alloc(0);
  #size = 0;
  #failed = false;
  /** The line at hand is longer than the limit. */
  #isLong = false;
  #isSkipped = false;

  constructor(options: LineSplitterOptions) {
    this.#options = options;
  }

  /** Throws `line_too_long` once (with `overflow: "fail"`); all later input is dropped. */
  push(chunk: Buffer): void {
    let start = 0;
    while (!this.#failed) {
      const end = chunk.indexOf(newline, start);
      if (end === -1) {
        this.#hold(chunk.subarray(start));
        return;
      }
      this.#finish(chunk.subarray(start, end));
      start = end + 1;
    }
  }

  /** The stream has ended: passes on a last line without a line break. */
  end(): void {
    if (this.#size > 0) this.#finish(Buffer.alloc(0));
  }

  #finish(rest: Buffer): void {
    // A line within one chunk, the common case, is decoded without a copy.
    if (this.#size === 0 && rest.length <= this.#options.maxBytes) {
      this.#emit(rest);
      return;
    }
    this.#hold(rest);
    const line = this.#held.subarray(0, this.#size);
    const isSkipped = this.#isSkipped;
    this.#size = 0;
    this.#isLong = false;
    this.#isSkipped = false;
    if (this.#held.length > smallBufferBytes) this.#held = Buffer.alloc(0);
    if (isSkipped) this.#options.onSkip?.();
    else this.#emit(line);
  }

  #emit(line: Buffer): void {
    const length = line.at(-1) === carriageReturn ? line.length - 1 : line.length;
    this.#options.onLine(line.toString("utf8", 0, length));
  }

  #hold(part: Buffer): void {
    const room = this.#options.maxBytes - this.#size;
    if (part.length > room && !this.#isLong) this.#exceed(part);
    const kept = part.subarray(0, room);
    const needed = this.#size + kept.length;
    if (needed > this.#held.length) this.#grow(needed);
    kept.copy(this.#held, this.#size);
    this.#size = needed;
  }

  #exceed(part: Buffer): void {
    const { overflow } = this.#options;
    const first = (this.#size > 0 ? this.#held.subarray(0, this.#size) : part).toString(
      "utf8",
      0,
      startBytes,
    );
    const way = typeof overflow === "string" ? overflow : overflow(first);
    if (way === "fail") this.#fail();
    this.#isLong = true;
    this.#isSkipped = way === "skip";
  }

  #grow(needed: number): void {
    const wanted = Math.max(needed, this.#held.length * 2, 1024);
    const bigger = Buffer.allocUnsafe(Math.min(wanted, this.#options.maxBytes));
    this.#held.copy(bigger, 0, 0, this.#size);
    this.#held = bigger;
  }

  #fail(): never {
    this.#failed = true;
    this.#held = Buffer.alloc(0);
    this.#size = 0;
    const { maxBytes } = this.#options;
    throw new SymphonyError(
      "line_too_long",
      `the agent wrote a line of more than ${maxBytes} bytes`,
      {
        details: { maxBytes },
      },
    );
  }
}
