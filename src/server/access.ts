import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { BlockList, isIP, isIPv6 } from "node:net";
import type { Context, Middleware } from "koa";
import type { RateLimiterMemory } from "rate-limiter-flexible";
import { SymphonyError } from "../core/model/errors.ts";
import type { Caller } from "../core/model/role.ts";
import { isNamedToken, type NamedTokens } from "../core/store/named-tokens.ts";
import { sameText } from "../core/text/text.ts";
import { isKnownOwnUser, isOwnUser } from "./peers.ts";

interface AccessRules {
  /** The address the server is bound to. */
  readonly host: string;
  readonly token: string | null;
  readonly named: Pick<NamedTokens, "holder" | "expiredAt" | "onEnd">;
  /** Names in addition to loopback that a `Host` header may carry, with or without a port. */
  allowedHosts(): readonly string[];
  /** True when `server.auth` is `token`. */
  tokenWanted(): boolean;
}

const safeMethods = new Set(["GET", "HEAD", "OPTIONS"]);
const loopbackNames = ["127.0.0.1", "localhost", "[::1]"];
const wildcards = new Set(["0.0.0.0", "::"]);

/**
 * Checks who may call (THREAT-4, THREAT-5, THREAT-6, THREAT-8, THREAT-21): a known `Host`, no proxy, no mutation from another
 * site's page, and the token where it is required or where the caller is not known to be the server's own user. Webhooks
 * come from outside and are authenticated by their signature.
 */
export function guard(rules: AccessRules): Middleware {
  const tokenAlways = !isLoopback(rules.host);
  const requireCaller = async (ctx: Context) => {
    const caller = callerBy(rules, ctx.req);
    if (caller !== null) {
      ctx.state["caller"] = caller;
      ctx.res.once(
        "close",
        rules.named.onEnd(caller.name, () => ctx.res.destroy()),
      );
    } else if (tokenAlways || rules.tokenWanted()) requireToken(ctx.req, rules);
    else if (sendsEnded(ctx.req)) requireToken(ctx.req, rules, ended);
    else if (!(await isOwnUser(ctx.req.socket))) requireToken(ctx.req, rules, notOwnUser);
  };
  return async (ctx, next) => {
    if (ctx.path.startsWith("/webhooks/")) return next();
    refuseProxies(ctx.req);
    requireHost(ctx.req, rules);
    // The page's program says nothing about this server: it has to ask for the token before it can send one.
    if (ctx.method === "GET" && ctx.path.startsWith("/web/")) return next();
    if (!safeMethods.has(ctx.method)) requireOwnPage(ctx);
    try {
      await requireCaller(ctx);
    } catch (error) {
      if (ctx.path !== "/" || !ctx.accepts("json", "html").toString().includes("html")) throw error;
      ctx.state["locked"] = true;
    }
    return next();
  };
}

/**
 * Whether `guard` lets a GET of the API pass, decided at once. False also where the token or a refusal is needed and `guard` has to
 * say which: a caller that sends the wrong token gets its answer there.
 */
export function admits(rules: AccessRules, request: IncomingMessage): boolean {
  try {
    refuseProxies(request);
    requireHost(request, rules);
    // A named token may look at every answer that is known here: its role is at least `read`.
    if (callerBy(rules, request) !== null) return true;
    const isTrusted = isLoopback(rules.host) && !rules.tokenWanted() && !sendsEnded(request);
    if (!isTrusted || !isKnownOwnUser(request.socket)) requireToken(request, rules);
    return true;
  } catch {
    return false;
  }
}

const saneToken = /^[\w.-]{1,128}$/;

/** The caller's own `X-Request-Id` if it is a valid token, else a new one. */
export function requestIdOf({ headers }: IncomingMessage): string {
  const given = headers["x-request-id"];
  return typeof given === "string" && saneToken.test(given) ? given : `req_${randomUUID()}`;
}

/** What proxies and tunnels add to a request, besides `X-Forwarded-*`; some of them nothing else. */
const ofProxies = new Set([
  ...["forwarded", "via", "x-real-ip", "x-client-ip", "x-original-url", "x-original-host"],
  ...["cf-connecting-ip", "cf-ray", "true-client-ip", "fly-client-ip", "tailscale-user-login"],
]);

/** A tunnel's requests arrive from loopback: without this check a webhook tunnel would publish the API. */
function refuseProxies({ headers }: IncomingMessage): void {
  for (const name in headers) {
    if (!ofProxies.has(name) && !name.startsWith("x-forwarded-")) continue;
    throw new SymphonyError(
      "forbidden_host",
      `a request with the header ${name} came through a proxy; only /webhooks/* may`,
      { hint: "a web server of your own is to add no such header: docs/access.md" },
    );
  }
}

function requireHost({ headers }: IncomingMessage, rules: AccessRules): void {
  const host = headers.host?.toLowerCase() ?? "";
  const name = hostName(host);
  if (name !== null && loopbackNames.includes(name)) return;
  const known = rules.allowedHosts().map((entry) => entry.toLowerCase());
  if (!wildcards.has(rules.host)) known.push(urlHost(rules.host).toLowerCase());
  if (name !== null && (known.includes(name) || known.includes(host))) return;
  throw new SymphonyError("forbidden_host", "the Host header is not on the allow-list", {
    hint: "add the name to server.allowed_hosts",
  });
}

/** `name` of `name:port`, or null when it is neither a name nor an address. */
function hostName(host: string): string | null {
  return /^(\[[\da-f:.]+\]|[\w.-]+)(?::\d{1,5})?$/.exec(host)?.[1] ?? null;
}

function requireOwnPage(ctx: Context): void {
  const site = ctx.get("Sec-Fetch-Site");
  const foreignSite = site !== "" && site !== "same-origin" && site !== "none";
  const { origin, host } = ctx.req.headers;
  if (!foreignSite && (origin === undefined || isOwn(origin, host))) return;
  throw new SymphonyError(
    "forbidden_origin",
    "a page of another origin may not change anything here",
  );
}

function isOwn(origin: string, host: string | undefined): boolean {
  const own = host?.toLowerCase();
  return own !== undefined && [`http://${own}`, `https://${own}`].includes(origin.toLowerCase());
}

const always = "this server requires its token";
const notOwnUser =
  "this server requires its token, because the caller is not known to be the user who runs it";

const ended = "a named token that is sent must be valid";

/** A named token that has ended: without it its holder would be the server's own user, who may do everything. */
function sendsEnded(request: IncomingMessage): boolean {
  return isNamedToken(tokenIn(request) ?? "");
}

function tokenIn({ headers }: IncomingMessage): string | undefined {
  return /^Bearer +(\S+)$/i.exec(headers.authorization ?? "")?.[1];
}

/** The holder of the named token that was sent, if there is one: also where no token is needed, its role decides. */
function callerBy({ named }: Pick<AccessRules, "named">, request: IncomingMessage): Caller | null {
  const given = tokenIn(request);
  return given === undefined ? null : named.holder(given);
}

function requireToken(
  request: IncomingMessage,
  { token: expected, named }: Pick<AccessRules, "token" | "named">,
  why = always,
): void {
  const sent = request.headers.authorization ?? "";
  const given = tokenIn(request);
  if (expected !== null && given !== undefined && sameText(given, expected)) return;
  const expiredAt = given === undefined ? null : named.expiredAt(given);
  if (expiredAt !== null) {
    const at = new Date(expiredAt).toISOString();
    throw new SymphonyError("unauthorized", `${why}, and the one that was sent expired at ${at}`, {
      hint: "an admin can make another one: symphony tokens add NAME",
    });
  }
  const what = sent === "" ? "none was sent" : "the one that was sent is wrong";
  const hint = sent === "" ? "set SYMPHONY_TOKEN to it" : "correct SYMPHONY_TOKEN, or unset it";
  throw new SymphonyError("unauthorized", `${why}, and ${what}`, {
    hint: `${hint}; the token is in runtime.json in the server's data directory, where symphony commands read it, and is sent as Authorization: Bearer TOKEN`,
  });
}

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/** True for an address or name that only this machine can reach. */
export function isLoopback(host: string): boolean {
  if (host === "127.0.0.1" || host === "::1") return true;
  const version = isIP(host);
  if (version === 0) return host.toLowerCase() === "localhost";
  return loopback.check(host, version === 6 ? "ipv6" : "ipv4");
}

/** A host as written in a URL: IPv6 in brackets. */
export function urlHost(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host;
}

interface RateRules {
  /** Requests per minute that one client may make, read at each request; null: no limit. */
  limit(): number | null;
}

const windowSeconds = 60;

/** Whether `rateLimited` counts requests of this caller. */
export function isCounted(rules: RateRules, { socket }: IncomingMessage): boolean {
  return rules.limit() !== null && clientOf(socket.remoteAddress ?? "") !== null;
}

/**
 * Counts the requests of each client outside this machine, including refused ones: a token cannot be guessed quickly.
 * Webhooks have their own limit, and loopback has none.
 */
export function rateLimited(rules: RateRules): Middleware {
  let made: { readonly limit: number; readonly limiter: RateLimiterMemory } | null = null;
  // Loaded for the first client from outside: most servers never have one.
  const limiterOf = async (limit: number) => {
    const { RateLimiterMemory } = await import("rate-limiter-flexible");
    if (made?.limit !== limit) {
      made = { limit, limiter: new RateLimiterMemory({ points: limit, duration: windowSeconds }) };
    }
    return made.limiter;
  };
  return async (ctx, next) => {
    const limit = rules.limit();
    const client = clientOf(ctx.req.socket.remoteAddress ?? "");
    if (limit !== null && client !== null && !ctx.path.startsWith("/webhooks/")) {
      await count(ctx, await limiterOf(limit), client);
    }
    return next();
  };
}

/** The key of the client's limit, or null for this machine. One IPv6 client can use a whole /64. */
export function clientOf(address: string): string | null {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, "").replace(/%.*$/, "");
  if (plain === "" || isLoopback(plain)) return null;
  return isIPv6(plain) ? network(plain) : plain;
}

/** The first four groups of an IPv6 address as the system writes it: shortened with `::` once or not at all. */
function network(address: string): string {
  const [head = "", tail = ""] = address.split("::");
  const start = head === "" ? [] : head.split(":");
  const end = tail === "" ? [] : tail.split(":");
  const zeros = Array.from({ length: 8 - start.length - end.length }, () => "0");
  return [...start, ...zeros, ...end].slice(0, 4).join(":");
}

async function count(ctx: Context, limiter: RateLimiterMemory, client: string): Promise<void> {
  const limit = limiter.points;
  const standing = await limiter.penalty(client);
  const resetSeconds = Math.max(Math.ceil(standing.msBeforeNext / 1_000), 1);
  const remaining = Math.max(limit - standing.consumedPoints, 0);
  ctx.set("RateLimit-Limit", String(limit));
  ctx.set("RateLimit-Remaining", String(remaining));
  ctx.set("RateLimit-Reset", String(resetSeconds));
  if (standing.consumedPoints <= limit) return;
  ctx.set("Retry-After", String(resetSeconds));
  throw new SymphonyError("rate_limited", `more than ${limit} requests in a minute`, {
    details: { limit, remaining, resetSeconds },
    hint: `wait ${resetSeconds} s, or raise server.rate_limit`,
  });
}
