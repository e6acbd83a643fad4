import type { IncomingMessage, ServerResponse } from "node:http";
import Koa, { type Context } from "koa";
import type { Clock } from "../core/clock.ts";
import { requestIdOf } from "./access.ts";
import type { Prepared } from "./replies.ts";

/** An answer with 200 that is still right. */
export interface Repeated {
  readonly reply: Prepared<unknown>;
  /** The value of `ETag`; null: it has none. */
  readonly tag: string | null;
}

/** The answer that the same request would get now, or null: the whole chain has to answer. May throw: then the same. */
export type Repeat = () => Repeated | null;

interface Known {
  readonly route: string;
  readonly repeat: Repeat;
  /** In the form of `writeHead`, with `Content-Type`. */
  readonly headers: readonly string[];
}

interface FrontRules {
  readonly clock: Clock;
  /** Whether the chain's guards would let this request of a known path pass; false also where they have to count it. */
  admits(request: IncomingMessage): boolean;
  /** Counts an answer. */
  timed(labels: { route: string; method: string; status: number }, startedAt: number): void;
}

const maxKnown = 64;
const maxUrlLength = 200;
/** With one of these, more than the tag decides about the answer. */
const unusual = ["cache-control", "if-modified-since", "transfer-encoding", "content-length"];
/** Of the response that the chain made; the rest belongs to one request. */
const repeatedHeaders = [
  "X-Content-Type-Options",
  "Cross-Origin-Resource-Policy",
  "Content-Security-Policy",
  "Referrer-Policy",
  "Cache-Control",
  "Symphony-Version",
];

/**
 * Koa, and in front of it the answers of reads that were already answered by the chain and have not changed: they are sent as they
 * are, after the same checks of the caller. Whatever is not plain is left to the chain, errors among it.
 */
export class FrontedKoa extends Koa {
  readonly #rules: FrontRules;
  readonly #known = new Map<string, Known>();

  constructor(rules: FrontRules) {
    super();
    this.#rules = rules;
    this.use(async (ctx, next) => {
      await next();
      this.#learn(ctx);
    });
  }

  override callback(): ReturnType<Koa["callback"]> {
    const chain = super.callback();
    return async (request, response) => {
      const isHttp2 = "stream" in request || "stream" in response;
      if (isHttp2 || !this.#answered(request, response)) await chain(request, response);
    };
  }

  #learn(ctx: Context): void {
    const repeat: Repeat | undefined = ctx.state["repeat"];
    const url = ctx.originalUrl;
    if (repeat === undefined || ctx.method !== "GET" || url.length > maxUrlLength) return;
    if (this.#known.has(url) || ctx.status !== 200) return;
    if (this.#known.size >= maxKnown) this.#known.clear();
    const headers = repeatedHeaders.flatMap((name) => [name, String(ctx.res.getHeader(name))]);
    headers.push("Content-Type", String(ctx.res.getHeader("Content-Type")));
    this.#known.set(url, { route: String(ctx.state["route"]), repeat, headers });
  }

  /** False: nothing was sent. */
  #answered(request: IncomingMessage, response: ServerResponse): boolean {
    const known = request.method === "GET" ? this.#known.get(request.url ?? "") : undefined;
    if (known === undefined) return false;
    const startedAt = this.#rules.clock.now();
    const { headers } = request;
    if (unusual.some((name) => headers[name] !== undefined)) return false;
    if (!this.#rules.admits(request)) return false;
    const found = current(known);
    if (found === null) return false;
    const isKnown = isTagOf(headers["if-none-match"], found.tag);
    if (isKnown === null) return false;
    const status = send(request, response, { known, found, isKnown });
    this.#rules.timed({ route: known.route, method: "GET", status }, startedAt);
    return true;
  }
}

function current({ repeat }: Known): Repeated | null {
  try {
    return repeat();
  } catch {
    return null;
  }
}

interface Sent {
  readonly known: Known;
  readonly found: Repeated;
  readonly isKnown: boolean;
}

function send(request: IncomingMessage, response: ServerResponse, sent: Sent): number {
  const { known, found, isKnown } = sent;
  const head = ["X-Request-Id", requestIdOf(request), ...known.headers];
  if (found.tag !== null) head.push("ETag", found.tag);
  if (isKnown) {
    // The type describes a body.
    const type = head.indexOf("Content-Type");
    head.splice(type, 2);
    response.writeHead(304, head).end();
    return 304;
  }
  const { parts } = found.reply;
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  head.push("Content-Length", String(length));
  response.writeHead(200, head);
  for (const part of parts.slice(0, -1)) response.write(part);
  response.end(parts.at(-1));
  return 200;
}

/** Whether the caller has the answer with `tag`; null: a list of tags, which the chain compares. */
function isTagOf(given: string | undefined, tag: string | null): boolean | null {
  if (given === undefined) return false;
  if (tag === null || given === "*" || given.includes(",")) return null;
  return given.replace(/^W\//, "") === tag.replace(/^W\//, "");
}
