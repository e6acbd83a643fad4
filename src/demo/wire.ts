/** A message of the app-server protocol, in either direction. */
export interface Message {
  readonly id?: number | string;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly result?: Readonly<Record<string, unknown>>;
  readonly error?: { readonly code: number; readonly message: string };
}

/** The agent's end of the protocol: JSON lines on stdout, and answers to what it asked. */
export class Wire {
  readonly #waiting = new Map<number | string, (reply: Message) => void>();
  /** Requests count from 0, as in the real program: an id of its own, and no truth value. */
  #nextId = 0;

  send(message: Message | Readonly<Record<string, unknown>>): void {
    this.raw(`${JSON.stringify(message)}\n`);
  }

  notify(method: string, params: Readonly<Record<string, unknown>>): void {
    this.send({ method, params, emittedAtMs: Date.now() });
  }

  raw(bytes: string | Buffer): void {
    process.stdout.write(bytes);
  }

  /** Asks the client; rejects when `signal` is aborted, after which an answer is ignored. */
  async request(
    method: string,
    params: Readonly<Record<string, unknown>>,
    signal: AbortSignal,
  ): Promise<Message> {
    signal.throwIfAborted();
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<Message>();
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    this.#waiting.set(id, resolve);
    this.send({ method, id, params });
    try {
      return await promise;
    } finally {
      signal.removeEventListener("abort", abort);
      this.#waiting.delete(id);
    }
  }

  /** Takes an answer of the client; one to no question is ignored. */
  answered(reply: Message): void {
    if (reply.id !== undefined) this.#waiting.get(reply.id)?.(reply);
  }
}

/** Calls `onLine` for every line of stdin; only byte 10 ends one. */
export function readLines(onLine: (line: string) => void, onEnd: () => void): void {
  let rest = "";
  process.stdin.setEncoding("utf8");
  process.stdin.on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) onLine(line);
  });
  process.stdin.on("end", onEnd);
}
