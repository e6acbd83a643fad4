import { Transform, type TransformCallback } from "node:stream";

/**
 * A stream that leaves a secret out, also where it is split over two parts. Nothing is held back but
 * an end that may be the beginning of the secret.
 */
export class Redacting extends Transform {
  readonly #secret: Buffer;
  readonly #mark: Buffer;
  #held: Buffer = Buffer.alloc(0);

  constructor(secret: string) {
    super();
    this.#secret = Buffer.from(secret);
    this.#mark = Buffer.from("[hidden]");
  }

  override _transform(chunk: Buffer, _: BufferEncoding, done: TransformCallback): void {
    let rest: Buffer = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    for (let at = rest.indexOf(this.#secret); at !== -1; at = rest.indexOf(this.#secret)) {
      this.push(Buffer.concat([rest.subarray(0, at), this.#mark]));
      rest = rest.subarray(at + this.#secret.length);
    }
    const kept = this.#beginningAtEndOf(rest);
    this.#held = rest.subarray(rest.length - kept);
    if (rest.length > kept) this.push(rest.subarray(0, rest.length - kept));
    done();
  }

  override _flush(done: TransformCallback): void {
    done(null, this.#held);
  }

  #beginningAtEndOf(part: Buffer): number {
    for (let size = Math.min(this.#secret.length - 1, part.length); size > 0; size--) {
      if (part.subarray(part.length - size).equals(this.#secret.subarray(0, size))) return size;
    }
    return 0;
  }
}
