import { isIPv6 } from "node:net";
import type { Context, Middleware } from "koa";
import type { RateLimiterMemory } from "rate-limiter-flexible";
import { SymphonyError } from "../core/model/errors.ts";
import { isLoopback } from "./auth.ts";

interface RateRules {
  /** Requests a minute that one client may make, read for each of them; null for no end. */
  limit(): number | null;
}

const windowSeconds = 60;

/**
 * Counts what each client beyond this machine asks for, also what is refused: a token cannot be guessed at speed.
 * Webhooks have a limit of their own, and loopback has none.
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

/** Who asks, or null for this machine. One IPv6 client has a whole /64 to itself. */
export function clientOf(address: string): string | null {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, "").replace(/%.*$/, "");
  if (plain === "" || isLoopback(plain)) return null;
  return isIPv6(plain) ? network(plain) : plain;
}

/** The first four groups of an IPv6 address, as the system writes them: shortened at most once, at `::`. */
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
