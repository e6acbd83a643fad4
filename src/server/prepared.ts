/** A reply written out already, with known secrets taken out: it is sent as it is. */
export class Prepared<Reply> {
  readonly bytes: Buffer;
  /** Only says what it stands for. */
  declare readonly reply?: Reply;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
}
