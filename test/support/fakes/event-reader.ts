import { type ClientRequest, type IncomingMessage, request } from "node:http";

export interface StreamMessage {
  readonly id: string | null;
  readonly event: string | null;
  // biome-ignore lint/suspicious/noExplicitAny: a test reads any JSON that arrives
  readonly data: any;
}

/** One subscriber of the event stream that reads the bytes without the client. */
export class EventReader implements AsyncDisposable {
  readonly messages: StreamMessage[] = [];
  readonly comments: string[] = [];
  readonly retries: string[] = [];
  readonly response: IncomingMessage;
  ended = false;
  readonly #request: ClientRequest;
  #rest = "";

  constructor(outgoing: ClientRequest, response: IncomingMessage) {
    this.#request = outgoing;
    this.response = response;
    response.setEncoding("utf8").on("data", (chunk: string) => this.#take(chunk));
    response.on("close", () => {
      this.ended = true;
    });
    response.on("error", () => {});
  }

  static async open(
    port: number,
    query = "",
    headers: Readonly<Record<string, string>> = {},
  ): Promise<EventReader> {
    const { promise, resolve, reject } = Promise.withResolvers<EventReader>();
    const outgoing = request({ port, host: "127.0.0.1", path: `/api/v1/events${query}`, headers });
    outgoing.on("error", reject);
    outgoing.on("response", (response) => resolve(new EventReader(outgoing, response)));
    outgoing.end();
    return promise;
  }

  get seqs(): number[] {
    return this.messages.filter(({ event }) => event !== "gap").map(({ data }) => data.seq);
  }

  /** Runs the event loop until `condition` holds. */
  async until(condition: (reader: this) => boolean): Promise<void> {
    while (!condition(this)) await new Promise((done) => setImmediate(done));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#request.destroy();
  }

  #take(chunk: string): void {
    const blocks = (this.#rest + chunk).split("\n\n");
    this.#rest = blocks.pop() ?? "";
    for (const block of blocks) this.#block(block);
  }

  #block(block: string): void {
    const fields = new Map<string, string>();
    for (const line of block.split("\n")) {
      if (line.startsWith(":")) this.comments.push(line);
      else fields.set(line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2));
    }
    const retry = fields.get("retry");
    if (retry !== undefined) this.retries.push(retry);
    const data = fields.get("data");
    if (data === undefined) return;
    this.messages.push({
      id: fields.get("id") ?? null,
      event: fields.get("event") ?? null,
      data: JSON.parse(data),
    });
  }
}
