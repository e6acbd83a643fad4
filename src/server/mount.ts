import type { IncomingHttpHeaders, ServerResponse } from "node:http";
import type { ParsedUrlQuery } from "node:querystring";
import type { Context, Middleware } from "koa";
import type { z } from "zod";
import type { warningsHeader } from "../contract/route.ts";
import {
  type Method,
  type Reply,
  type Request,
  type Route,
  type RouteGroup,
  roleFor,
  routesOf,
} from "../contract/route.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { type Caller, mayAct } from "../core/model/role.ts";
import { SavedLater } from "../core/store/durable.ts";
import { mayHaveBody, readBody, readRaw, refuseBody } from "./body.ts";
import { checked, type Fault } from "./faults.ts";
import type { Repeat } from "./front.ts";
import { Prepared } from "./replies.ts";
import { Router } from "./router.ts";

/** What a handler may do in addition to returning its reply. */
export interface Exchange {
  /** The port on which the request arrived. */
  readonly localPort: number;
  /** Whose request it is, as the audit log shows it. */
  readonly actor: string;
  /** The holder of the named token that was sent; null: the server's own user. */
  readonly caller: Caller | null;
  /** A header of the request, by its name in lower case. */
  header(name: string): string | undefined;
  setHeader(
    name:
      | "ETag"
      | "Location"
      | "Content-Security-Policy"
      | "Retry-After"
      | typeof warningsHeader
      | `RateLimit-${"Limit" | "Remaining" | "Reset"}`,
    value: string,
  ): void;
  /** The same request may be answered by `again` as long as that gives an answer, without the handler. */
  repeat(again: Repeat): void;
  /** Makes the response's status the route's `replacedStatus`. */
  replaced(): void;
}

/** One function for each route of `G`; a missing one does not compile. */
export type Handlers<G> = {
  readonly [K in keyof G]: G[K] extends Route ? Handler<G[K]> : Handlers<G[K]>;
};

type Handler<R extends Route> = R extends { readonly media: "text/event-stream" }
  ? (request: Request<R>, response: ServerResponse) => void
  : R extends { readonly media: string }
    ? (request: Request<R>, exchange: Exchange) => Text | Promise<Text>
    : (request: Received<R>, exchange: Exchange) => Answer<R> | Promise<Answer<R>>;

type Text = string | Prepared<string>;
type Answer<R extends Route> = Reply<R> | Prepared<Reply<R>>;

/** A signed body is passed on unparsed: its content must not be read before its signature is checked. */
type Received<R extends Route> = R extends { readonly signed: true }
  ? Omit<Request<R>, "body"> & { readonly body: Buffer }
  : Request<R>;

/** Called before a mutation. Throws `storage_unavailable` when the mutation must not run. */
export type Audit = (attempted: Attempted, rules: { readonly evenUnsaved: boolean }) => AuditEnd;

/** Called with the outcome of the mutation and the path of a new resource. False: nothing about it is on disk yet. */
export type AuditEnd = (
  end: Pick<Mutation, "outcome" | "target"> & {
    /** Further facts for the entry, if it is saved later than the response was sent. */
    readonly late?: Readonly<Record<string, unknown>>;
  },
) => boolean;

/** What comes before a mutation. */
interface Rules {
  readonly audit: Audit;
  /** Rejects when the mutation could be lost, since another server leads the fleet. */
  requireLead(): Promise<void>;
}

interface Endpoint {
  readonly path: string;
  readonly methods: Map<Method, Middleware>;
}

/** Words that are never read as an issue's identifier, even if no route uses them yet (H-10). */
const reservedWords = [
  "attempts",
  "audit",
  "config",
  "events",
  "git",
  "issues",
  "models",
  "openapi.json",
  "pause",
  "refresh",
  "resume",
  "runtime",
  "secrets",
  "state",
  "templates",
  "tokens",
  "transitions",
  "workspaces",
];
const reservedPaths = new RegExp(
  `^/api/v1/(?:${reservedWords.join("|").replace(".", "\\.")})(?:/|$)`,
);

/** Binds handlers to the contract: validates, calls, audits, responds. Handlers never see Koa. */
export function mount<G extends RouteGroup>(group: G, handlers: Handlers<G>, rules: Rules): Router {
  const router = new Router({ sensitive: true, strict: true });
  const endpoints = new Map<string, Endpoint>();
  for (const [name, route] of routesOf(group)) {
    const endpoint = endpoints.get(route.path) ?? { path: route.path, methods: new Map() };
    endpoint.methods.set(
      route.method,
      serve({ name, route, handler: handlerOf(handlers, name), rules }),
    );
    endpoints.set(route.path, endpoint);
  }
  const ordered = [...endpoints.values()].sort((a, b) => compare(shape(a.path), shape(b.path)));
  const anyIssue = ordered.findIndex(({ path }) => path.startsWith("/api/v1/:"));
  for (const { path, methods } of ordered.slice(0, anyIssue)) bind(router, path, methods);
  router.all(reservedPaths, notFound);
  for (const { path, methods } of ordered.slice(anyIssue)) bind(router, path, methods);
  return router;
}

/** Registers `methods` at `path`; OPTIONS lists them, and every other method is a 405 (H-9). */
export function bind(router: Router, path: string, methods: ReadonlyMap<Method, Middleware>): void {
  // For the metrics: the pattern, never the path of a request.
  const named: Middleware = (ctx, next) => {
    ctx.state["route"] = path;
    return next();
  };
  router.all(path, named);
  for (const [method, middleware] of methods) router.register(path, [method], middleware);
  const allow = [...methods.keys(), ...(methods.has("GET") ? ["HEAD"] : []), "OPTIONS"].sort();
  router.all(path, (ctx: Context) => {
    if (ctx.method !== "OPTIONS") {
      const message = `${ctx.method} is not allowed on this path; use ${allow.join(", ")}`;
      throw new SymphonyError("method_not_allowed", message, { details: { allow } });
    }
    ctx.set("Allow", allow.join(", "));
    ctx.status = 204;
  });
}

/** The handler of every path without a route. */
export function notFound(ctx: Context): never {
  const hint = "GET /api/v1/openapi.json lists every path";
  throw new SymphonyError("not_found", `there is nothing at ${ctx.path.slice(0, 200)}`, { hint });
}

type AnyHandler = (request: unknown, second: unknown) => unknown;

interface Binding {
  readonly name: string;
  readonly route: Route;
  readonly handler: AnyHandler;
  readonly rules: Rules;
}

function serve(binding: Binding): Middleware {
  const { route } = binding;
  const answer = answerOf(binding);
  if (route.signed) return answer;
  return async (ctx, next) => {
    requireRole(ctx, binding);
    if (!route.body && mayHaveBody(ctx.req)) await refuseBody(ctx.req);
    return answer(ctx, next);
  };
}

function answerOf(binding: Binding): Middleware {
  const { route } = binding;
  if (route.media === "text/event-stream") return serveStream(binding);
  if (route.method === "GET") {
    return (ctx) => call(binding, ctx, parseRequest(route, rawRequest(ctx, undefined)));
  }
  if (route.signed) {
    return async (ctx) => {
      const body = await readRaw(ctx.req);
      const { body: _, ...rest } = route;
      await call(binding, ctx, { ...parseRequest(rest, rawRequest(ctx, undefined)), body });
    };
  }
  return async (ctx) => {
    const body = route.body && (await readBody(ctx.req, route));
    await audited(binding, ctx, parseRequest(route, rawRequest(ctx, body)));
  };
}

function serveStream({ route, handler }: Binding): Middleware {
  return (ctx) => {
    const request = parseRequest(route, rawRequest(ctx, undefined));
    ctx.status = route.status;
    ctx.set("Content-Type", "text/event-stream; charset=utf-8");
    // A proxy in between must neither collect the events nor compress them: both would delay each one.
    ctx.set("Cache-Control", "no-cache, no-transform");
    ctx.set("X-Accel-Buffering", "no");
    if (ctx.method === "HEAD") return;
    ctx.respond = false;
    handler(request, ctx.res);
  };
}

const contentTypes = {
  json: "application/json; charset=utf-8",
  "text/plain": "text/plain; version=0.0.4; charset=utf-8",
  "text/html": "text/html; charset=utf-8",
  "text/event-stream": "text/event-stream; charset=utf-8",
} as const;

async function call({ route, handler }: Binding, ctx: Context, request: ParsedRequest) {
  let status: number = route.status;
  const exchange: Exchange = {
    localPort: ctx.req.socket.localPort ?? 0,
    actor: actorOf(ctx),
    caller: callerOf(ctx),
    header: (name) => ctx.req.headers[name]?.toString(),
    setHeader: (name, value) => ctx.set(name, value),
    repeat(again) {
      ctx.state["repeat"] = again;
    },
    replaced() {
      status = route.replacedStatus ?? status;
    },
  };
  const reply = await handler(request, exchange);
  ctx.status = status;
  if (reply === undefined) return;
  ctx.set("Cache-Control", ctx.res.hasHeader("ETag") ? "no-cache" : "no-store");
  if (ctx.fresh) {
    ctx.status = 304;
    return;
  }
  ctx.set("Content-Type", contentTypes[route.media ?? "json"]);
  if (reply instanceof Prepared) ctx.body = reply.bytes;
  else ctx.body = route.media ? reply : JSON.stringify(reply);
}

/** A valid request is recorded, whether or not it succeeds. */
async function audited(binding: Binding, ctx: Context, request: ParsedRequest): Promise<void> {
  const target = targetOf(request);
  const { name: action, route, rules } = binding;
  if (route.ofServer !== true) await rules.requireLead();
  const detail = { request_id: ctx.state["requestId"], ...shown(route, request["body"]) };
  const end = rules.audit(
    { action, target, actor: actorOf(ctx), detail },
    { evenUnsaved: route.evenUnsaved === true },
  );
  try {
    await call(binding, ctx, request);
  } catch (error) {
    if (error instanceof SavedLater) endWith(error, end, target);
    else end({ target, outcome: error instanceof SymphonyError ? error.code : "internal_error" });
    throw error;
  }
  const isOnDisk = end({ target: target ?? madeAt(ctx.res.getHeader("Location")), outcome: "ok" });
  if (isOnDisk) return;
  throw new SymphonyError(
    "storage_unavailable",
    "it was done, but its audit entry is not saved yet; it is saved as soon as there is room",
    { details: { savedLater: true }, hint: "symphony state" },
  );
}

/** A mutation that is done but not saved is recorded once it is saved: an entry never claims more than is on disk. */
function endWith({ saved, code }: SavedLater, end: AuditEnd, target: string | null): void {
  saved.then(
    () => end({ target, outcome: "ok", late: { answered: code } }),
    () => end({ target, outcome: code }),
  );
}

/** A new resource is identified by the last segment of its path. */
function madeAt(location: unknown): string | null {
  const name = typeof location === "string" ? location.split("/").at(-1) : "";
  return name ? decodeURIComponent(name) : null;
}

function rawRequest(ctx: Context, body: unknown): RawRequest {
  const { params } = ctx as Context & { params?: Record<string, string> };
  return { params: params ?? {}, query: ctx.query, headers: ctx.req.headers, body };
}

function handlerOf(handlers: unknown, name: string): AnyHandler {
  let node = handlers;
  for (const key of name.split(".")) node = (node as Record<string, unknown>)[key];
  return node as AnyHandler;
}

/** Sorts fixed segments before parameters, from the left: the router takes the first match. */
function shape(path: string): string {
  return path
    .split("/")
    .map((segment) => (segment.startsWith(":") ? "1" : "0"))
    .join("");
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/** A raw request with its path parameters decoded. */
interface RawRequest {
  readonly params: Readonly<Record<string, string>>;
  readonly query: ParsedUrlQuery;
  readonly headers: IncomingHttpHeaders;
  readonly body: unknown;
}

/** The parts that the route has a schema for, as parsed by that schema. */
type ParsedRequest = Readonly<Record<string, unknown>>;

const parts = ["params", "query", "headers", "body"] as const;

/** The parts of a request as parsed by the route's schemas. Rejects with `invalid_request`, listing every fault. */
function parseRequest(route: Route, raw: RawRequest): ParsedRequest {
  const request: Record<string, unknown> = {};
  const issues: Fault[] = [];
  for (const part of parts) {
    const schema: z.ZodType | undefined = route[part];
    if (schema === undefined) continue;
    const result = checked(schema, raw[part]);
    if ("value" in result) request[part] = result.value;
    else issues.push(...result.faults);
  }
  if (issues.length === 0) return request;
  const summary = issues.map(({ path, message }) => (path ? `${path}: ${message}` : message));
  throw new SymphonyError("invalid_request", summary.join("; ").slice(0, 1_000), {
    details: { issues },
  });
}

/** One mutation as recorded in the audit log. */
interface Mutation extends Attempted {
  /** `ok` or the error code. */
  readonly outcome: string;
}

/** A mutation whose outcome is not known yet. */
interface Attempted {
  /** The route's name, such as `issues.abort`. */
  readonly action: string;
  readonly target: string | null;
  readonly actor: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

/** The target of a mutation: the issue, key, path or name in its address. */
function targetOf({ params }: ParsedRequest): string | null {
  const { id, path, key, name } = (params ?? {}) as Readonly<Record<string, string | undefined>>;
  return id ?? path ?? key ?? name ?? null;
}

/** The name of the token that was sent; without one the command line is known by its user agent. */
function actorOf(ctx: Context): string {
  const isCli = ctx.req.headers["user-agent"]?.startsWith("symphony-cli") === true;
  return callerOf(ctx)?.name ?? (isCli ? "cli" : "api");
}

function callerOf(ctx: Context): Caller | null {
  return ctx.state["caller"] ?? null;
}

/** Throws `forbidden_role`. */
function requireRole(ctx: Context, { name, route }: Pick<Binding, "name" | "route">): void {
  const caller = callerOf(ctx);
  const needed = roleFor(route);
  if (caller === null || mayAct(caller.role, needed)) return;
  throw new SymphonyError(
    "forbidden_role",
    `the token of ${caller.name} has the role ${caller.role}, and ${name} needs ${needed}`,
    { hint: `an admin can make another token: symphony tokens add NAME --role ${needed}` },
  );
}

/** The fields of a body that the route's `audited` lists. */
function shown(route: Route, body: unknown): Record<string, unknown> {
  const fields = new Map(Object.entries(body !== null && typeof body === "object" ? body : {}));
  const named = (route.audited ?? []).filter((name) => typeof fields.get(name) === "string");
  return Object.fromEntries(named.map((name) => [name, String(fields.get(name))]));
}
