// How much of an answer from outside is read. Whoever reads a whole body does it here.

const mebibyte = 1024 * 1024;

/** The largest answer of each kind, in bytes after decompression. */
const limits = {
  /** One page of a tracker, with descriptions. Also its list of webhooks and what agents ask it. */
  tracker: 16 * mebibyte,
  forge: 8 * mebibyte,
  /** A page of 100 issues of GitHub, each with at most 65,536 characters. */
  "page of issues": 40 * mebibyte,
  /** Passes through; only its end is kept. */
  "log of a check": 64 * mebibyte,
  "list of models": 4 * mebibyte,
  /** A turn that is not streamed. */
  "answer of a model": 16 * mebibyte,
  /** A turn that is streamed, all of its events together. */
  "stream of a model": 64 * mebibyte,
  /** A server of symphony, asked by its own commands. */
  symphony: 256 * mebibyte,
  /** A file that was uploaded to a tracker. */
  image: 5 * mebibyte,
  other: mebibyte,
} as const;

export type AnswerKind = keyof typeof limits;

/** Thrown while an answer is read. The caller turns it into the error of its own area. */
export class AnswerTooLarge extends Error {
  override readonly name = "AnswerTooLarge";
  readonly host: string;
  readonly limitBytes: number;

  constructor(host: string, limitBytes: number) {
    super(`the answer of ${host} is larger than ${limitBytes / mebibyte} MiB`);
    this.host = host;
    this.limitBytes = limitBytes;
  }
}

/** The `AnswerTooLarge` that an error is, or that caused it; null: there is none. */
export function tooLargeIn(error: unknown): AnswerTooLarge | null {
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    if (at instanceof AnswerTooLarge) return at;
  }
  return null;
}

/**
 * The same answer, whose body fails with AnswerTooLarge after the limit of its kind, and ends the connection.
 * `received` is called for each piece that arrives.
 */
export function bounded(
  response: Response,
  { host, kind, received }: { host: string; kind: AnswerKind; received?: () => void },
): Response {
  const limitBytes = limits[kind];
  let left = limitBytes;
  const counter = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      received?.();
      left -= chunk.byteLength;
      if (left < 0) controller.error(new AnswerTooLarge(host, limitBytes));
      else controller.enqueue(chunk);
    },
  });
  return new Response(response.body?.pipeThrough(counter) ?? null, response);
}

type Pieces = AsyncIterable<Uint8Array>;

/** The whole body. Rejects with AnswerTooLarge, and as the body itself does; either way its connection ends. */
export async function wholeBytes(
  body: Pieces | null,
  { host, kind }: { readonly host: string; readonly kind: AnswerKind },
): Promise<Buffer<ArrayBuffer>> {
  const limitBytes = limits[kind];
  const gathered = new Gathered(limitBytes);
  let size = 0;
  for await (const piece of body ?? []) {
    size += piece.byteLength;
    if (size > limitBytes) throw new AnswerTooLarge(host, limitBytes);
    gathered.add(piece);
  }
  return gathered.bytes();
}

/** The whole body as text; bytes that are not UTF-8 are replaced, and a mark at its start is left out. */
export async function wholeText(
  body: Pieces | null,
  from: { readonly host: string; readonly kind: AnswerKind },
): Promise<string> {
  return new TextDecoder().decode(await wholeBytes(body, from));
}

/** The first `maxBytes` of a body. The rest is not read, and its connection ends. */
export async function headOf(body: Pieces | null, maxBytes: number): Promise<Buffer> {
  const gathered = new Gathered(maxBytes);
  for await (const piece of body ?? []) {
    gathered.add(piece);
    if (gathered.bytes().length >= maxBytes) break;
  }
  return gathered.bytes();
}

/** The last `maxBytes` of a body of which at most its kind's limit is read. */
export async function tailOf(
  body: Pieces | null,
  { kind, maxBytes }: { readonly kind: AnswerKind; readonly maxBytes: number },
): Promise<Buffer> {
  let tail: Buffer = Buffer.alloc(0);
  let size = 0;
  try {
    for await (const piece of body ?? []) {
      size += piece.byteLength;
      if (size > limits[kind]) break;
      tail = Buffer.concat([tail, piece]).subarray(-maxBytes);
    }
  } catch (error) {
    if (tooLargeIn(error) === null) throw error;
  }
  return tail;
}

/**
 * Bytes that arrive in pieces, at most `maxBytes` of them; what is over is dropped. They are copied into one buffer: a sender
 * of single bytes would cost an object for each, a hundred times what it sends.
 */
export class Gathered {
  readonly #maxBytes: number;
  #held = Buffer.alloc(0);
  #size = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  add(piece: Uint8Array): void {
    const kept = piece.subarray(0, this.#maxBytes - this.#size);
    const needed = this.#size + kept.byteLength;
    if (needed > this.#held.length) {
      const bigger = Math.max(needed, Math.min(this.#held.length * 2, this.#maxBytes));
      this.#held = Buffer.concat([this.#held.subarray(0, this.#size)], bigger);
    }
    this.#held.set(kept, this.#size);
    this.#size = needed;
  }

  /** It shares memory with what is added later. */
  bytes(): Buffer<ArrayBuffer> {
    return this.#held.subarray(0, this.#size);
  }
}
