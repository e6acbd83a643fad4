import type { z } from "zod";
import type { ErrorCode } from "../core/model/errors.ts";
import type { Role } from "../core/model/role.ts";

export type Method = "GET" | "POST" | "PUT" | "DELETE";

/** One route of the API, declared once. Validation, document, client and types are derived from it. */
export interface Route {
  readonly method: Method;
  /** Parameters are written `:name`; each needs an entry in `params`. */
  readonly path: `/${string}`;
  readonly summary: string;
  readonly params?: z.ZodObject;
  readonly query?: z.ZodObject;
  readonly headers?: z.ZodObject;
  readonly body?: z.ZodType;
  /** True when the route takes a request without a body, or with a form body, as `{}`. */
  readonly bodyOptional?: boolean;
  readonly status: 200 | 201 | 202 | 204;
  /** The status of the reply when the call replaced something that existed; default: `status`. */
  readonly replacedStatus?: 200;
  readonly reply?: z.ZodType;
  /** Default JSON. An event stream's handler writes to the response itself; one of text returns the text. */
  readonly media?: "text/event-stream" | "text/plain" | "text/html";
  /** True when the reply carries an ETag and honours `If-None-Match`. */
  readonly etag?: boolean;
  /** True when the reply says in `warningsHeader` what the change made doubtful. */
  readonly warns?: boolean;
  /** Fields of the body that the audit log may show; all others are left out. */
  readonly audited?: readonly string[];
  /**
   * True when the route runs even if the disk refuses its audit entry, because it stops an agent or frees disk space.
   * Every other mutation is then refused and changes nothing.
   */
  readonly evenUnsaved?: boolean;
  /** True when the route concerns this server alone: every other mutation waits until the server leads its fleet. */
  readonly ofServer?: boolean;
  /** True when the caller authenticates by signing the body: no token is required, and the handler gets the raw bytes. */
  readonly signed?: boolean;
  /** The role that the holder of a named token needs; default: `read` for a GET, `operate` for a mutation. */
  readonly role?: Role;
  /** Error codes a caller should expect, in addition to those every route may give. */
  readonly errors?: readonly ErrorCode[];
}

/** Percent-encoded JSON, a list of sentences; absent when there is none. */
export const warningsHeader = "X-Symphony-Warnings";

export function roleFor({ role, method }: Route): Role {
  return role ?? (method === "GET" ? "read" : "operate");
}

export interface RouteGroup {
  readonly [name: string]: Route | RouteGroup;
}

/** Keeps the literal types of a declaration. */
export function route<const R extends Route>(declaration: R): R {
  return declaration;
}

/** Method and path of a route, as in `paths`. */
export interface RoutePath<M extends Method = Method> {
  readonly method: M;
  readonly path: `/${string}`;
}

/** The same keys, each with the result of `make`. */
export function mapped<T extends object, R>(
  entries: T,
  make: (key: string, value: T[keyof T]) => R,
): { readonly [K in keyof T]: R } {
  const made = Object.entries(entries).map(([key, value]) => [key, make(key, value)]);
  return Object.fromEntries(made) as { readonly [K in keyof T]: R };
}

export function isRoute(node: Route | RouteGroup): node is Route {
  return typeof node["method"] === "string";
}

type Parsed<S> = S extends z.ZodType ? z.output<S> : undefined;
type Unparsed<S> = S extends z.ZodType ? z.input<S> : undefined;
type Given<R, K extends string> = K extends keyof R ? R[K] : undefined;
type Part<K extends string, V> = [V] extends [undefined] ? unknown : { readonly [P in K]: V };
/** A part whose fields are all optional is itself optional. */
type LoosePart<K extends string, V> = [V] extends [undefined]
  ? unknown
  : Record<string, never> extends V
    ? { readonly [P in K]?: V }
    : { readonly [P in K]: V };

/** The handler's input: validated, coerced, with defaults applied. */
export type Request<R extends Route> = Part<"params", Parsed<Given<R, "params">>> &
  Part<"query", Parsed<Given<R, "query">>> &
  Part<"headers", Parsed<Given<R, "headers">>> &
  Part<"body", Parsed<Given<R, "body">>>;

/** The caller's input: fields with a default are optional. */
export type Call<R extends Route> = LoosePart<"params", Unparsed<Given<R, "params">>> &
  LoosePart<"query", Unparsed<Given<R, "query">>> &
  LoosePart<"headers", Unparsed<Given<R, "headers">>> &
  LoosePart<"body", Unparsed<Given<R, "body">>>;

export type Reply<R extends Route> = Parsed<Given<R, "reply">>;

/** Every route of `group` with its dotted name, such as `issues.steer`. */
export function* routesOf(group: RouteGroup, prefix = ""): Generator<[name: string, route: Route]> {
  for (const [key, node] of Object.entries(group)) {
    if (isRoute(node)) yield [prefix + key, node];
    else yield* routesOf(node, `${prefix}${key}.`);
  }
}
