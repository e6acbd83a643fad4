import type { Api } from "../contract/api.ts";
import { paths } from "../contract/paths.ts";
import type { Call, Reply, Route } from "../contract/route.ts";
import { exchange, type HttpRequest, parseObject, type Server } from "./transport.ts";

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Longest silence of the server, ms; default 30,000. */
  readonly timeoutMs?: number;
}

/** A call whose every part may be left out may be left out as a whole. */
type CallOf<R extends Route> =
  Record<string, never> extends Call<R>
    ? (call?: Call<R>, options?: CallOptions) => Promise<Reply<R>>
    : (call: Call<R>, options?: CallOptions) => Promise<Reply<R>>;

/** Streams and other media are read by functions of their own, not by the client. */
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
 * code, or `server_unreachable`. Replies are taken at their word: the server holds them to the schemas.
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

interface Place {
  readonly method: string;
  readonly path: string;
}

function bind(group: object, server: Server): object {
  const bound = Object.entries(group).map(([name, node]) => [
    name,
    isPlace(node)
      ? (call: AnyCall = {}, options: CallOptions = {}) => send(server, node, { ...call, options })
      : bind(node as object, server),
  ]);
  return Object.fromEntries(bound);
}

function isPlace(node: unknown): node is Place {
  return typeof node === "object" && node !== null && "method" in node && "path" in node;
}

async function send(
  server: Server,
  place: Place,
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
  return answer.status === 204 ? undefined : parseObject(server, answer);
}

function pathOf(pattern: string, call: AnyCall): string {
  return pattern.replaceAll(/:(\w+)/g, (_, name: string) =>
    encodeURIComponent(String(call.params?.[name])),
  );
}

/** `?a=1&b=2`, or nothing; a list repeats its name, and what is undefined is left out. */
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
