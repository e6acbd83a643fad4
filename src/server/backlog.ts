import type { ServerResponse } from "node:http";

/** What may wait for all subscribers together, as bytes that were written and not yet sent. */
export const maxTotalBytes = 64 * 1024 * 1024;
/** The sum is made again each time that this much more was written: it costs a look at every subscriber. */
const stepBytes = 1024 * 1024;

/**
 * What waits for the subscribers that read slower than events arrive. Each has a limit of its own (`sse.ts`); this is the
 * one of all together, so that a thousand stuck subscribers cannot take a gigabyte.
 */
export class Backlog {
  readonly #limit: number;
  readonly #streams = new Set<ServerResponse>();
  #unchecked = 0;

  constructor(limit = maxTotalBytes) {
    this.#limit = limit;
  }

  /** Bytes that wait now. */
  get bytes(): number {
    let sum = 0;
    for (const stream of this.#streams) sum += stream.writableLength;
    return sum;
  }

  add(stream: ServerResponse): void {
    this.#streams.add(stream);
  }

  remove(stream: ServerResponse): void {
    this.#streams.delete(stream);
  }

  /** Called after a write; `drop` ends the subscribers with the largest backlogs until the others fit. */
  wrote(stream: ServerResponse, bytes: number, drop: (stream: ServerResponse) => void): void {
    if (stream.writableLength === 0) return;
    this.#unchecked += bytes;
    if (this.#unchecked < Math.min(stepBytes, this.#limit / 4)) return;
    this.#unchecked = 0;
    let left = this.bytes - this.#limit;
    if (left <= 0) return;
    const largest = [...this.#streams].sort((a, b) => b.writableLength - a.writableLength);
    for (const one of largest) {
      if (left <= 0) return;
      left -= one.writableLength;
      this.#streams.delete(one);
      drop(one);
    }
  }
}
