import { setImmediate } from "node:timers/promises";
import { type Clock, pause, systemClock } from "../clock.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { isObject, type JsonObject, parseJson } from "../text/text.ts";
import type { Engine, Part, Stream } from "./engine.ts";
import { seal, unseal } from "./sealing.ts";

/** A message of one side of an attempt to the other; `data` is bytes such as a bundle. */
export interface Letter {
  readonly body: JsonObject;
  readonly data: Buffer | null;
}

/** What one side does with what the other sends. */
export interface Listener {
  /** In order, and immediately. */
  told(body: JsonObject): void;
  /** The answer; a rejection is passed to the other side as it is. */
  asked(letter: Letter): Promise<JsonObject>;
}

const partBytes = 256 * 1024;
/** One letter: the limit of a workspace's copy and its names. */
const maxLetterBytes = 300 * 1024 * 1024;
/** What may wait for the engine before the attempt ends. */
const maxUnsentBytes = 320 * 1024 * 1024;
const againMs = 500;
/** Letters that wait while the engine takes another one and may go as one: the server's loop is free between two of these. */
const mostTogether = 16;
/** Their answers do not wait behind what the agent has said before. */
const firstAnswered: readonly unknown[] = ["steer", "interrupt"];

/** A letter that the engine does not have yet. */
interface Unsent {
  readonly text: string;
  readonly data: Buffer | null;
  readonly isTold: boolean;
  readonly size: number;
}

interface Talks {
  readonly engine: Pick<Engine, "append">;
  readonly key: Buffer;
  /** Where this side writes. */
  readonly stream: Stream;
  /** The names of the two directions, so that no letter can be sent back. */
  readonly sends: string;
  readonly receives: string;
}

/**
 * The letters of one attempt, in order and whole: each part has a number, so that one that comes twice is dropped, and
 * one that is missing ends the attempt.
 */
export class Talk {
  readonly run: string;
  readonly #talks: Talks;
  readonly #listener: Listener;
  readonly #asks = new Map<number, PromiseWithResolvers<JsonObject>>();
  readonly #over = new AbortController();
  readonly #failed = Promise.withResolvers<SymphonyError>();
  #sent = 0;
  #seen = 0;
  #asked = 0;
  #unsent = 0;
  readonly #queue: Unsent[] = [];
  /** The other side reads several letters in one. */
  readsMany = false;
  #sending: Promise<void> = Promise.resolve();
  #parts: Buffer[] = [];
  #partsBytes = 0;

  constructor(run: string, talks: Talks, listener: Listener) {
    this.run = run;
    this.#talks = talks;
    this.#listener = listener;
  }

  /** Resolves with the reason when it cannot continue; every open question is then rejected with it. */
  get failed(): Promise<SymphonyError> {
    return this.#failed.promise;
  }

  get isOver(): boolean {
    return this.#over.signal.aborted;
  }

  /** The other side has sent something. */
  get isAnswered(): boolean {
    return this.#seen > 0;
  }

  /** Ends it on this side; nothing that is received later has an effect. */
  fail(error: SymphonyError): void {
    if (this.isOver) return;
    this.#over.abort(error);
    this.#failed.resolve(error);
    for (const open of this.#asks.values()) open.reject(error);
    this.#asks.clear();
  }

  tell(body: JsonObject): void {
    void this.#send({ body, data: null });
  }

  /** Resolves with the other side's answer. Rejects with its error, or with the reason of `failed`. */
  async ask(body: JsonObject, data: Buffer | null = null): Promise<JsonObject> {
    if (this.isOver) throw this.#over.signal.reason;
    const open = Promise.withResolvers<JsonObject>();
    const id = ++this.#asked;
    this.#asks.set(id, open);
    // An answer that nothing waits for any more is no error of the process.
    open.promise.catch(() => {});
    await this.#send({ body: { ...body, ask: id }, data });
    return open.promise;
  }

  /** Resolves when everything that was sent is with the engine, or the talk is over. */
  async settled(): Promise<void> {
    await this.#sending;
  }

  /** One part, as the engine has it. */
  received(seq: number, isLast: boolean, sealed: Buffer): void {
    if (this.isOver || seq <= this.#seen) return;
    if (seq !== this.#seen + 1) return this.fail(lostPart());
    const plain = unseal(this.#talks.key, this.#place(this.#talks.receives, seq, isLast), sealed);
    if (plain === null) return this.fail(broken("a message was changed on its way"));
    this.#seen = seq;
    this.#parts.push(plain);
    this.#partsBytes += plain.length;
    if (this.#partsBytes > maxLetterBytes) return this.fail(broken("a message is too long"));
    if (!isLast) return;
    const whole = Buffer.concat(this.#parts.splice(0));
    this.#partsBytes = 0;
    this.#open(letterIn(whole));
  }

  #open(letter: Letter | null): void {
    if (letter === null) return this.fail(broken("a message cannot be read"));
    const { body } = letter;
    const { answer, ask, many } = body;
    if (Array.isArray(many)) {
      for (const one of many) if (isObject(one) && !this.isOver) this.#listener.told(one);
    } else if (typeof answer === "number") {
      const open = this.#asks.get(answer);
      this.#asks.delete(answer);
      const error = errorIn(body["error"]);
      if (error) open?.reject(error);
      else open?.resolve(body);
    } else if (typeof ask === "number") {
      void this.#answer(ask, letter);
    } else {
      this.#listener.told(body);
    }
  }

  async #answer(ask: number, letter: Letter): Promise<void> {
    const body = await this.#listener
      .asked(letter)
      .catch((error: unknown) => ({ error: written(error) }));
    const isFirst = firstAnswered.includes(letter.body["type"]);
    await this.#send({ body: { ...body, answer: ask }, data: null }, isFirst);
  }

  #send({ body, data }: Letter, isFirst = false): Promise<void> {
    if (this.isOver) return this.#sending;
    const text = JSON.stringify(body);
    const size = Buffer.byteLength(text) + (data?.length ?? 0);
    this.#unsent += size;
    if (size > maxLetterBytes || this.#unsent > maxUnsentBytes) {
      this.fail(broken("more is waiting for the engine than it takes"));
      return this.#sending;
    }
    const isTold = !("ask" in body || "answer" in body);
    this.#queue[isFirst ? "unshift" : "push"]({ text, data, isTold, size });
    this.#sending = this.#sending.then(async () => {
      const all = this.#next();
      const [one] = all;
      // It went together with an earlier one.
      if (one === undefined) return;
      const texts = all.map(({ text: each }) => each);
      const whole = all.length === 1 ? one.text : `{"many":[${texts.join(",")}]}`;
      const bytes = bytesOf(whole, one.data);
      for (let at = 0; at === 0 || at < bytes.length; at += partBytes) {
        await this.#put(bytes.subarray(at, at + partBytes), at + partBytes >= bytes.length);
      }
      for (const { size: sent } of all) this.#unsent -= sent;
    });
    return this.#sending;
  }

  /** What goes now, as one letter. */
  #next(): readonly Unsent[] {
    let count = 1;
    let bytes = this.#queue[0]?.size ?? 0;
    if (this.readsMany && this.#queue[0]?.isTold)
      for (; count < mostTogether; count++) {
        const one = this.#queue[count];
        bytes += one?.size ?? 0;
        if (!one?.isTold || bytes > partBytes) break;
      }
    return this.#queue.splice(0, count);
  }

  /** Repeated until the engine has it: a part that it has twice is dropped by its number. */
  async #put(plain: Buffer, isLast: boolean): Promise<void> {
    const { engine, key, stream, sends } = this.#talks;
    const seq = ++this.#sent;
    const data = seal(key, this.#place(sends, seq, isLast), plain);
    while (!this.isOver) {
      try {
        await engine.append(stream, { run: this.run, seq, isLast, data });
        return;
      } catch {
        await pause(systemClock, againMs, this.#over.signal).catch(() => {});
      }
    }
  }

  #place(direction: string, seq: number, isLast: boolean): string {
    return `${direction}|${this.run}|${seq}|${isLast ? 1 : 0}`;
  }
}

/** What may wait for jobs that have not come yet, and how long. */
const maxEarlyBytes = 320 * 1024 * 1024;
const earlyMs = 30_000;

/** Parts of attempts whose job has not come yet; the orchestrator gives up before they are dropped. */
export class EarlyParts {
  readonly #clock: Pick<Clock, "now">;
  readonly #runs = new Map<string, { parts: Part[]; bytes: number; at: number }>();
  /** Runs that have ended: what comes late for them is dropped. */
  readonly #closed = new Map<string, number>();
  #bytes = 0;

  constructor(clock: Pick<Clock, "now">) {
    this.#clock = clock;
  }

  /** Waiting now, bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** When too much waits, the run that has waited longest is dropped whole. */
  add(part: Part): void {
    const now = this.#clock.now();
    for (const [run, { at }] of this.#runs) if (now - at > earlyMs) this.take(run);
    for (const [run, at] of this.#closed) if (now - at > earlyMs) this.#closed.delete(run);
    if (this.#closed.has(part.run)) return;
    const waiting = this.#runs.get(part.run) ?? { parts: [], bytes: 0, at: now };
    this.#runs.delete(part.run);
    this.#runs.set(part.run, waiting);
    waiting.parts.push(part);
    waiting.bytes += part.data.length;
    waiting.at = now;
    this.#bytes += part.data.length;
    for (const run of this.#runs.keys()) if (this.#bytes > maxEarlyBytes) this.close(run);
  }

  /** The parts of a run, which wait no longer. */
  take(run: string): readonly Part[] {
    const { parts = [], bytes = 0 } = this.#runs.get(run) ?? {};
    this.#bytes -= bytes;
    this.#runs.delete(run);
    return parts;
  }

  close(run: string): void {
    this.take(run);
    this.#closed.set(run, this.#clock.now());
  }

  clear(): void {
    this.#runs.clear();
    this.#bytes = 0;
  }
}

const noneMs = 1_000;
/** Parts hold many letters: nothing else of this process waits longer for them. */
const atOnceMs = 10;

interface Reading {
  readonly engine: Pick<Engine, "reader">;
  /** Asked before each read, so that streams may come and go. */
  streams(): readonly Stream[];
  received(part: Part): void;
  readonly signal: AbortSignal;
}

/** Reads streams from their beginning until `signal` aborts, and deletes what was read. Never rejects. */
export async function readStreams({ engine, streams, received, signal }: Reading): Promise<void> {
  const reader = engine.reader();
  while (!signal.aborted) {
    const wanted = streams();
    if (wanted.length === 0) {
      await pause(systemClock, noneMs, signal).catch(() => {});
      continue;
    }
    try {
      let from = performance.now();
      for (const part of await reader.next(wanted)) {
        received(part);
        if (performance.now() - from < atOnceMs) continue;
        await setImmediate();
        from = performance.now();
      }
      await reader.done();
    } catch {
      await pause(systemClock, againMs, signal).catch(() => {});
    }
  }
}

function bytesOf(json: string, data: Buffer | null): Buffer {
  const text = Buffer.from(json);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(text.length);
  return Buffer.concat([head, text, ...(data === null ? [] : [data])]);
}

function letterIn(bytes: Buffer): Letter | null {
  if (bytes.length < 4) return null;
  const end = 4 + bytes.readUInt32BE(0);
  const body = parseJson(bytes.toString("utf8", 4, end));
  if (end > bytes.length || !isObject(body)) return null;
  return { body, data: end === bytes.length ? null : bytes.subarray(end) };
}

function written(error: unknown): JsonObject {
  if (!(error instanceof SymphonyError))
    return { code: "internal_error", message: messageOf(error) };
  const { code, message, details, hint } = error;
  return { code, message, details, hint };
}

/** The other side is a symphony too: its codes are those of this one, or of a newer one. */
function errorIn(value: unknown): SymphonyError | null {
  if (!isObject(value)) return null;
  const { code, message, details, hint } = value;
  return new SymphonyError(code as SymphonyError["code"], String(message), {
    ...(isObject(details) && { details }),
    ...(typeof hint === "string" && { hint }),
  });
}

function lostPart(): SymphonyError {
  return broken("the engine has lost a message");
}

function broken(why: string): SymphonyError {
  return new SymphonyError("worker_lost", `the attempt on the worker ended: ${why}`);
}
