import type { Clock } from "../clock.ts";
import { SymphonyError } from "../model/errors.ts";
import {
  displayText,
  isObject,
  type JsonObject,
  objectOf,
  parseJson,
  textOf,
} from "../text/text.ts";

export type RequestId = number | string;

export interface PeerRequest {
  /** The other side's own id: any number, including 0, or a string. */
  readonly id: RequestId;
  readonly method: string;
  readonly params: JsonObject;
}

export interface JsonRpcOptions {
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** Takes one message with its newline; must not throw. */
  write(line: string): void;
  onNotification(method: string, params: JsonObject): void;
  onRequest(request: PeerRequest): void;
  /** A line that is no message. `malformed`: it looked like a message. */
  onStray(line: string, malformed: boolean): void;
}

interface Pending {
  readonly method: string;
  take(result: unknown): void;
  reject(error: unknown): void;
}

/**
 * One JSON-RPC peer over lines, without the `jsonrpc` member. Lines are handled as they arrive,
 * without waiting. Contains nothing specific to one agent.
 */
export class JsonRpcPeer {
  readonly #options: JsonRpcOptions;
  readonly #pending = new Map<RequestId, Pending>();
  #lastId = 0;
  #closed: SymphonyError | null = null;

  constructor(options: JsonRpcOptions) {
    this.#options = options;
  }

  /**
   * Rejects with `response_timeout`, `response_error`, or the error that the peer was closed with.
   * `onResult` receives the answer before any later line is handled; if it throws, the request
   * rejects with that error.
   */
  async request(
    method: string,
    params: JsonObject,
    onResult: (result: unknown) => void = () => {},
  ): Promise<unknown> {
    if (this.#closed) throw this.#closed;
    const id = ++this.#lastId;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const { clock, timeoutMs } = this.#options;
    const cancelTimer = clock.after(timeoutMs, () => reject(timedOut(method, timeoutMs)));
    const take = (result: unknown) => {
      onResult(result);
      resolve(result);
    };
    this.#pending.set(id, { method, take, reject });
    try {
      this.#send({ id, method, params });
      return await promise;
    } finally {
      cancelTimer();
      this.#pending.delete(id);
    }
  }

  notify(method: string): void {
    this.#send({ method });
  }

  reply(id: RequestId, result: JsonObject): void {
    this.#send({ id, result });
  }

  replyError(id: RequestId, code: number, message: string): void {
    this.#send({ id, error: { code, message } });
  }

  /** Takes one line from the other side. */
  receive(line: string): void {
    const message = parseJson(line);
    if (!isObject(message)) {
      if (line.trim() !== "") this.#options.onStray(line, line.trimStart().startsWith("{"));
      return;
    }
    const { id, method } = message;
    if (typeof method === "string") this.#receiveCall(method, message);
    else if (isId(id)) this.#receiveReply(id, message);
    else this.#options.onStray(line, false);
  }

  /** No further line will be received: every request, open or later, rejects with `error`. */
  close(error: SymphonyError): void {
    this.#closed ??= error;
    for (const pending of this.#pending.values()) pending.reject(error);
  }

  #receiveCall(method: string, message: JsonObject): void {
    const params = objectOf(message["params"]);
    const { id } = message;
    if (isId(id)) this.#options.onRequest({ id, method, params });
    else this.#options.onNotification(method, params);
  }

  #receiveReply(id: RequestId, message: JsonObject): void {
    const pending = this.#pending.get(id);
    if (!pending) return;
    this.#pending.delete(id);
    const { error } = message;
    if (error !== undefined && error !== null) {
      pending.reject(refused(pending.method, objectOf(error)));
      return;
    }
    try {
      pending.take(message["result"]);
    } catch (fault) {
      pending.reject(fault);
    }
  }

  #send(message: JsonObject): void {
    if (!this.#closed) this.#options.write(`${JSON.stringify(message)}\n`);
  }
}

function isId(value: unknown): value is RequestId {
  return typeof value === "number" || typeof value === "string";
}

function timedOut(method: string, timeoutMs: number): SymphonyError {
  return new SymphonyError("response_timeout", `${method}: no answer in ${timeoutMs} ms`, {
    details: { method, timeoutMs },
  });
}

function refused(method: string, error: JsonObject): SymphonyError {
  const reason = displayText(textOf(error["message"]) ?? "no reason given", 500);
  return new SymphonyError("response_error", `${method}: ${reason}`, {
    details: { method, code: error["code"] ?? null, reason },
  });
}
