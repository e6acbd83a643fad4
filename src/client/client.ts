// The typed client: the routes of the contract as functions, and the event stream without gaps.

import type { Agent, ClientRequest, IncomingMessage } from "node:http";
import type { Api } from "../contract/api.ts";
import { paths } from "../contract/paths.ts";
import type { Call, Reply, Route } from "../contract/route.ts";
import { AnswerTooLarge, wholeText } from "../core/answers.ts";
import { type ErrorCode, messageOf, SymphonyError } from "../core/model/errors.ts";
import { agentFor, proxyFor } from "../core/outbound.ts";

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Longest time without data from the server, ms; default 30,000. */
  readonly timeoutMs?: number;
}

/** A call whose parts are all optional is itself optional. */
type CallOf<R extends Route> =
  Record<string, never> extends Call<R>
    ? (call?: Call<R>, options?: CallOptions) => Promise<Reply<R>>
    : (call: Call<R>, options?: CallOptions) => Promise<Reply<R>>;

/** Streams and media other than JSON have their own functions; the client leaves them out. */
type JsonRoutes<G> = {
  [K in keyof G as G[K] extends { readonly media: string } ? never : K]: G[K];
};

/** One function for each route of a contract: `client.issues.steer({ params, body })`. */
export type Client<G> = {
  readonly [K in keyof JsonRoutes<G>]: JsonRoutes<G>[K] extends Route
    ? CallOf<JsonRoutes<G>[K]>
    : Client<JsonRoutes<G>[K]>;
};

/**
 * A typed client of a running server. Every function rejects with a `SymphonyError`: the server's own
 * code, or `server_unreachable`. Replies are not validated here: the server validates them against the schemas.
 */
export function createClient(server: Server): Client<Api> {
  return bind(paths, server) as unknown as Client<Api>;
}

interface AnyCall {
  readonly params?: Readonly<Record<string, unknown>>;
  readonly query?: Readonly<Record<string, unknown>>;
  readonly headers?: Readonly<Record<string, unknown>>;
  readonly body?: unknown;
}

interface RouteNode {
  readonly method: string;
  readonly path: string;
}

function bind(group: object, server: Server): object {
  const bound = Object.entries(group).map(([name, node]) => [
    name,
    isRouteNode(node)
      ? (call: AnyCall = {}, options: CallOptions = {}) => send(server, node, { ...call, options })
      : bind(node as object, server),
  ]);
  return Object.fromEntries(bound);
}

function isRouteNode(node: unknown): node is RouteNode {
  return typeof node === "object" && node !== null && "method" in node && "path" in node;
}

async function send(
  server: Server,
  place: RouteNode,
  call: AnyCall & { readonly options: CallOptions },
): Promise<unknown> {
  const request: HttpRequest = {
    method: place.method,
    path: pathOf(place.path, call) + queryOf(call.query ?? {}),
    headers: headersOf(call),
    ...(call.body !== undefined && { body: JSON.stringify(call.body) }),
    ...call.options,
  };
  const answer = await exchange(server, request);
  const reply = answer.status === 204 ? undefined : parseObject(server, answer);
  if (!answer.isOwn) throw unversioned(server);
  return reply;
}

function pathOf(pattern: string, call: AnyCall): string {
  return pattern.replaceAll(/:(\w+)/g, (_, name: string) => {
    const value = String(call.params?.[name]);
    // A path has no such part: it would be that of another route.
    if (/^\.{0,2}$/.test(value))
      throw new SymphonyError("usage", `"${value}" is the name of nothing`);
    return encodeURIComponent(value);
  });
}

/** `?a=1&b=2`, or an empty string; a list repeats its name, and undefined values are omitted. */
export function queryOf(query: Readonly<Record<string, unknown>>): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    const values: unknown[] = Array.isArray(value) ? value : [value];
    for (const one of values) if (one !== undefined) search.append(name, String(one));
  }
  return search.size === 0 ? "" : `?${search}`;
}

function headersOf(call: AnyCall): Record<string, string> {
  const given = Object.entries(call.headers ?? {}).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, String(value)] as const],
  );
  const typed = call.body === undefined ? {} : { "content-type": "application/json" };
  return { ...typed, ...Object.fromEntries(given) };
}

/** A server and how to connect to it. */
export interface Server {
  /** Such as `http://127.0.0.1:4000`; a path in it is put in front of every route's path. */
  readonly baseUrl: string;
  readonly token?: string | null;
  /** The program's name for the server's audit log and access log. */
  readonly userAgent?: string;
}

interface HttpRequest {
  readonly method: string;
  /** Path and query, already encoded. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as it is; the caller sets `content-type`. */
  readonly body?: string;
  readonly signal?: AbortSignal;
  /** Longest time without data from the server, ms. */
  readonly timeoutMs?: number;
}

export interface HttpAnswer {
  readonly status: number;
  readonly contentType: string;
  /** It carries the version of a symphony: another program's JSON must not pass for success. */
  readonly isOwn: boolean;
  readonly text: string;
}

const defaultTimeoutMs = 30_000;

/**
 * Sends a request; resolves once the head of the response has arrived, with any status. Rejects with
 * `server_unreachable` (refused, reset, no data for `timeoutMs`) or with the signal's own reason.
 */
export function open(server: Server, request: HttpRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const url = urlOf(server, request.path);
    const outgoing = requestFunction(url)(url, {
      method: request.method,
      headers: requestHeadersOf(server, request),
      agent: wayTo(url),
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
    outgoing.once("close", () => {
      request.signal?.removeEventListener("abort", abort);
      // Where there was no answer, such as after one that changes the protocol.
      fail(new Error("the connection ended without an answer"));
    });
    outgoing.end(request.body);
  });
}

/** Sends a request and reads the whole response. Rejects as `open` does, and with the server's error. */
export async function exchange(server: Server, request: HttpRequest): Promise<HttpAnswer> {
  const response = await open(server, request);
  const text = await textOf(server, request, response);
  const status = response.statusCode ?? 0;
  // No route redirects.
  if (status >= 300) throw refusal(server, status, text);
  const { "content-type": contentType = "", "symphony-version": version } = response.headers;
  return { status, contentType, isOwn: version !== undefined, text };
}

/** The server's own error as a `SymphonyError` with its code, message and details. */
export function refusal(server: Server, status: number, text: string): SymphonyError {
  const fault = faultIn(text);
  if (fault === null) return foreign(server, `HTTP status ${status}`);
  // Faults of a body or query keep the name that the server gives them.
  const usual = fault.code === "route_not_found" ? otherVersion : null;
  const { hint, ...facts } = Array.isArray(fault["details"])
    ? { issues: fault["details"] }
    : { hint: usual, ...asRecord(fault["details"]) };
  return new SymphonyError(fault.code as ErrorCode, fault.message, {
    details: facts,
    ...(typeof hint === "string" && { hint }),
  });
}

const otherVersion = "the server may be of another version than this command: symphony runtime";

/** Reads JSON that must be an object; anything else did not come from symphony. */
export function parseObject(
  server: Server,
  answer: Pick<HttpAnswer, "contentType" | "text">,
): Record<string, unknown> {
  const value = asRecord(parseJson(answer.text));
  if (value === null) {
    const isJson = answer.contentType.startsWith("application/json");
    const what = isJson
      ? "JSON of another form"
      : `${answer.contentType || "something"} instead of JSON`;
    throw foreign(server, what);
  }
  return value;
}

/** The whole body of a response of `open`. Rejects with `server_unreachable` if it breaks off or has no end. */
export async function textOf(
  server: Server,
  request: Pick<HttpRequest, "path" | "signal">,
  response: IncomingMessage,
): Promise<string> {
  const url = urlOf(server, request.path);
  try {
    return await wholeText(response, { host: url.host, kind: "symphony" });
  } catch (error) {
    if (request.signal?.aborted) throw request.signal.reason;
    if (error instanceof AnswerTooLarge) throw foreign(server, "more than 256 MiB");
    const message = `The answer of ${url.origin} broke off: ${messageOf(error)}`;
    throw new SymphonyError("server_unreachable", message, {
      cause: error,
      details: { url: url.origin },
      hint: "symphony runtime shows whether the server still answers",
    });
  }
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

/** This machine is never asked through a proxy, whatever Node's own settings say; another one as the environment says. */
function wayTo(url: URL): Agent {
  try {
    return agentFor(url, proxyFor(url));
  } catch (error) {
    throw unreachable(url, error instanceof Error ? error.cause : error);
  }
}

/** `getBuiltinModule`, because importing node:http by name adds 30 ms to the start. */
function requestFunction(url: URL): typeof import("node:http").request {
  return url.protocol === "https:"
    ? process.getBuiltinModule("node:https").request
    : process.getBuiltinModule("node:http").request;
}

function requestHeadersOf(server: Server, request: HttpRequest): Record<string, string> {
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
    outgoing.destroy(
      Object.assign(new Error(`no answer within ${timeoutMs / 1000} s`), { code: "ETIMEDOUT" }),
    ),
  );
}

/** Whether a rejection of `open` says that what listens there sent nothing in time. */
export function isSilence(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : null;
  return cause instanceof Error && "code" in cause && cause.code === "ETIMEDOUT";
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
  // Node reports a failure on several addresses as one error with an empty message.
  return messageOf(cause) || String(code ?? "the connection failed");
}

export function unversioned({ baseUrl }: Server): SymphonyError {
  const message = `${baseUrl} does not say which version it is: an older symphony, or another program`;
  const hint = "restart that server with this symphony, or check --url and SYMPHONY_URL";
  return new SymphonyError("server_unreachable", message, { hint });
}

function foreign(server: Server, what: string): SymphonyError {
  const message = `${server.baseUrl} answered ${what}, which is not a symphony reply`;
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
