import type { ClientRequest, IncomingMessage } from "node:http";
import { type ErrorCode, messageOf, SymphonyError } from "../core/model/errors.ts";

/** One server and what it takes to talk to it. */
export interface Server {
  /** Such as `http://127.0.0.1:4000`; a path in it is kept in front of every route's. */
  readonly baseUrl: string;
  readonly token?: string | null;
  /** Who asks, for the server's audit log and access log. */
  readonly userAgent?: string;
}

export interface HttpRequest {
  readonly method: string;
  /** Path and query, already encoded. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as it is; the caller sets `content-type`. */
  readonly body?: string;
  readonly signal?: AbortSignal;
  /** Longest silence of the server, ms. */
  readonly timeoutMs?: number;
}

export interface HttpAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly text: string;
}

const defaultTimeoutMs = 30_000;

/**
 * Sends a request; resolves once the head of the answer is there, whatever its status. Rejects with
 * `server_unreachable` (refused, reset, silent for `timeoutMs`) or with the signal's own reason.
 */
export function open(server: Server, request: HttpRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const url = urlOf(server, request.path);
    const outgoing = requestFunction(url)(url, {
      method: request.method,
      headers: headersOf(server, request),
    });
    const fail = (error: unknown) => {
      const aborted = request.signal?.aborted === true;
      reject(aborted ? request.signal?.reason : unreachable(url, error));
    };
    outgoing.once("response", resolve);
    outgoing.on("error", fail);
    limitSilence(outgoing, request.timeoutMs ?? defaultTimeoutMs);
    const abort = () => outgoing.destroy(new Error("aborted"));
    if (request.signal?.aborted) abort();
    request.signal?.addEventListener("abort", abort, { once: true });
    outgoing.once("close", () => request.signal?.removeEventListener("abort", abort));
    outgoing.end(request.body);
  });
}

/** Sends a request and reads the whole answer. Rejects as `open` does, and with the server's refusal. */
export async function exchange(server: Server, request: HttpRequest): Promise<HttpAnswer> {
  const response = await open(server, request);
  const text = await textOf(server, request, response);
  const status = response.statusCode ?? 0;
  if (status >= 400) throw refusal(server, status, text);
  return { status, contentType: response.headers["content-type"] ?? "", text };
}

/** The server's own error as a `SymphonyError` with its code, message and details. */
export function refusal(server: Server, status: number, text: string): SymphonyError {
  const fault = faultIn(text);
  if (fault === null) return foreign(server, `HTTP status ${status}`);
  // A list of faults of a body or query stands under the name that the server itself gives it.
  const { hint, ...facts } = Array.isArray(fault["details"])
    ? { issues: fault["details"] }
    : { hint: null, ...asRecord(fault["details"]) };
  return new SymphonyError(fault.code as ErrorCode, fault.message, {
    details: facts,
    ...(typeof hint === "string" && { hint }),
  });
}

/** Reads JSON that must be an object; anything else means that no symphony answered. */
export function parseObject(server: Server, answer: HttpAnswer): Record<string, unknown> {
  const value = asRecord(parseJson(answer.text));
  if (value === null) throw foreign(server, `${answer.contentType || "something"} instead of JSON`);
  return value;
}

async function textOf(server: Server, request: HttpRequest, response: IncomingMessage) {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of response) chunks.push(chunk as Buffer);
  } catch (error) {
    if (request.signal?.aborted) throw request.signal.reason;
    throw unreachable(urlOf(server, request.path), error);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function urlOf(server: Server, path: string): URL {
  const base = URL.parse(server.baseUrl);
  if (base === null || !/^https?:$/.test(base.protocol)) {
    throw new SymphonyError("usage", `"${server.baseUrl}" is not an http or https address`, {
      hint: "symphony --url http://127.0.0.1:4000 state",
    });
  }
  return new URL(base.pathname.replace(/\/+$/, "") + path, base.origin);
}

/** The builtin is asked for directly: importing node:http by name costs 30 ms more at start-up. */
function requestFunction(url: URL): typeof import("node:http").request {
  return url.protocol === "https:"
    ? process.getBuiltinModule("node:https").request
    : process.getBuiltinModule("node:http").request;
}

function headersOf(server: Server, request: HttpRequest): Record<string, string> {
  return {
    accept: "application/json",
    "user-agent": server.userAgent ?? "symphony-client",
    ...(server.token && { authorization: `Bearer ${server.token}` }),
    ...(request.body !== undefined && {
      "content-length": String(Buffer.byteLength(request.body)),
    }),
    ...request.headers,
  };
}

function limitSilence(outgoing: ClientRequest, timeoutMs: number): void {
  outgoing.setTimeout(timeoutMs, () =>
    outgoing.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)),
  );
}

function unreachable(url: URL, cause: unknown): SymphonyError {
  const code = cause instanceof Error && "code" in cause ? cause.code : null;
  const why = code === "ECONNREFUSED" ? "nothing listens there" : describe(cause, code);
  return new SymphonyError("server_unreachable", `No symphony server at ${url.origin}: ${why}`, {
    cause,
    details: { url: url.origin },
    hint: "start one with `symphony serve`, or point at another with --url",
  });
}

function describe(cause: unknown, code: unknown): string {
  if (code === "ENOTFOUND") return "the host name is unknown";
  // Node reports a host with several addresses as one error with an empty message.
  return messageOf(cause) || String(code ?? "the connection failed");
}

function foreign(server: Server, what: string): SymphonyError {
  const message = `${server.baseUrl} answered ${what}, which is not how symphony answers`;
  return new SymphonyError("server_unreachable", message, {
    hint: "check --url and SYMPHONY_URL; a proxy or another program may be listening there",
  });
}

function faultIn(
  text: string,
): (Record<string, unknown> & { code: string; message: string }) | null {
  const fault = asRecord(asRecord(parseJson(text))?.["error"]);
  if (typeof fault?.["code"] !== "string" || typeof fault["message"] !== "string") return null;
  return { ...fault, code: fault["code"], message: fault["message"] };
}

function asRecord(value: unknown): Record<string, unknown> | null {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  return isObject ? (value as Record<string, unknown>) : null;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
