// HTTP and nothing else: access, validation, replies, the event stream, metrics and the page.

import type { IncomingMessage } from "node:http";
import type Koa from "koa";
import { api } from "../contract/api.ts";
import { openApiDocument } from "../contract/openapi.ts";
import type { Clock } from "../core/clock.ts";
import { wantsToken } from "../core/config/config.ts";
import type { Core } from "../core/core.ts";
import { causedBy } from "../core/events/causes.ts";
import { messageOf, SymphonyError } from "../core/model/errors.ts";
import { isStorageError, nothingChanged } from "../core/store/durable.ts";
import { redactDeep } from "../core/text/redact.ts";
import { admits, guard, isCounted, rateLimited, requestIdOf } from "./access.ts";
import { docsAsset, docsAssetPath } from "./docs.ts";
import { renderErrors, statusOf } from "./errors.ts";
import { FrontedKoa } from "./front.ts";
import { auditHandlers } from "./handlers/audit.ts";
import { configHandlers } from "./handlers/config.ts";
import { attemptHandlers, issueHandlers } from "./handlers/issues.ts";
import { noticeHandlers } from "./handlers/notices.ts";
import { keyHandlers, secretHandlers } from "./handlers/secrets.ts";
import { modelHandlers, systemHandlers } from "./handlers/system.ts";
import { templateHandlers } from "./handlers/templates.ts";
import { tokenHandlers } from "./handlers/tokens.ts";
import { usageHandlers } from "./handlers/usage.ts";
import { webhookHandlers } from "./handlers/webhooks.ts";
import { workerHandlers } from "./handlers/workers.ts";
import { gitHandlers, workspaceHandlers } from "./handlers/workspaces.ts";
import { createMetrics } from "./metrics.ts";
import { type Audit, type AuditEnd, bind, mount, notFound } from "./mount.ts";
import { statusPage } from "./page.ts";
import { redacted } from "./replies.ts";
import { webModule, webPath } from "./web.ts";

interface AppOptions {
  readonly clock: Clock;
  /** The address the server will be bound to: outside loopback a token is always required. */
  readonly host: string;
  /** The value `Authorization: Bearer` must carry where a token is required; null refuses every such request. */
  readonly token: string | null;
}

/** The HTTP application over `core`, not yet listening. */
export function createApp(core: Core, { clock, host, token }: AppOptions): Koa {
  const info = { title: "symphony", version: core.version, statusOf };
  let made: ReturnType<typeof openApiDocument> | null = null;
  // Created at the first request: most servers never need it, and it takes a tenth of the start time.
  const document = () => {
    made ??= openApiDocument(api, info);
    return made;
  };
  const metrics = createMetrics(core, clock);
  const handlers = {
    system: systemHandlers({ core, clock, host, document, metrics }),
    issues: issueHandlers(core, clock),
    attempts: attemptHandlers(core),
    webhooks: webhookHandlers(core),
    templates: templateHandlers(core),
    usage: usageHandlers(core),
    audit: auditHandlers(core),
    workspaces: workspaceHandlers(core),
    config: configHandlers(core),
    secrets: secretHandlers(core),
    models: modelHandlers(core),
    git: gitHandlers(core),
    key: keyHandlers(core),
    notices: noticeHandlers(core),
    workers: workerHandlers(core),
    tokens: tokenHandlers(core, clock),
  };
  const router = mount(api, handlers, {
    audit: auditTo(core, clock),
    requireLead: async () => core.fleet?.requireLead(),
  });
  bind(router, "/", new Map([["GET", statusPage(core, clock)]]));
  bind(router, webPath, new Map([["GET", webModule]]));
  bind(router, docsAssetPath, new Map([["GET", docsAsset]]));
  const config = () => core.config.current.config;
  // Applied at the next start only (model/restart.ts): applied now, a token that no client has would lock all clients out.
  const { auth } = config().server;
  const rules = {
    host,
    token,
    named: core.tokens,
    allowedHosts: () => config().server.allowedHosts,
    tokenWanted: () => wantsToken({ auth, level: config().agent.level }),
  };
  const rateRules = { limit: () => config().server.rateLimit };
  const app = new FrontedKoa({
    clock,
    admits: (request: IncomingMessage) => !isCounted(rateRules, request) && admits(rules, request),
    timed: metrics.answered,
  });
  // Koa's own listener would print to the console; errors here are connections that broke after their response.
  app.on("error", (error) => core.log.debug("connection failed", { error: messageOf(error) }));
  app.use(metrics.timed);
  app.use(requestId);
  app.use(hardened);
  app.use(redacted(core.redact));
  app.use(renderErrors({ log: core.log, stopping: stoppingFlag(core) }));
  app.use(canonicalPath);
  app.use(rateLimited(rateRules));
  app.use(guard(rules));
  app.use(versioned(core.version));
  app.use(router.routes());
  app.use(notFound);
  return app;
}

const auditedCharacters = 500;

/** For every response: a browser must not guess its type, embed it, or run anything from it. */
const hardened: Koa.Middleware = (ctx, next) => {
  ctx.set("X-Content-Type-Options", "nosniff");
  ctx.set("Cross-Origin-Resource-Policy", "same-origin");
  ctx.set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
  ctx.set("Referrer-Policy", "no-referrer");
  return next();
};

/** Paths that everyone may ask for, also from outside through a tunnel. */
const forAll = /^\/(?:webhooks|web)\//;

/** By it a client knows that a symphony has answered; who is not admitted, or signs no delivery, does not learn it. */
const versioned =
  (version: string): Koa.Middleware =>
  async (ctx, next) => {
    const isForAll = forAll.test(ctx.path) || ctx.state["locked"] === true;
    if (!isForAll) ctx.set("Symphony-Version", version);
    await next();
    const isSigned = ctx.path.startsWith("/webhooks/") && ctx.status < 300;
    if (isSigned) ctx.set("Symphony-Version", version);
  };

/** True once `server.stopping` was recorded. */
function stoppingFlag({ bus }: Core): () => boolean {
  let stopping = false;
  bus.subscribe({ filter: { types: ["server.stopping"] } }, () => {
    stopping = true;
  });
  return () => stopping;
}

/**
 * The intent is on disk before a mutation and its entry before the response, so that the next start reports a crash between
 * them. If the disk refuses the intent, the mutation is refused and changes nothing, unless it stops an agent or frees space.
 * A mutation that was done is reported as done once one of the two is on disk; an entry that the disk refuses is retried.
 */
function auditTo(core: Core, clock: Clock): Audit {
  // Truncated after redaction: a truncated secret would no longer be recognized.
  const safe = (text: string) => core.redact(text).slice(0, auditedCharacters);
  return (mutation, { evenUnsaved }) => {
    const attempted = redactDeep(mutation, safe);
    const requestedAt = clock.wall();
    const failed = (error: unknown) =>
      core.log.error("audit failed", {
        ...{ action: attempted.action, error: messageOf(error) },
        request_id: String(mutation.detail["request_id"]),
      });
    const end = (intent: number | undefined): AuditEnd => {
      return ({ late, ...how }) => {
        const { detail } = attempted;
        const shown = late
          ? { ...detail, ...late, asked_at: new Date(requestedAt).toISOString() }
          : detail;
        const entry = { at: clock.wall(), ...attempted, ...redactDeep(how, safe), detail: shown };
        try {
          return core.history.audit(entry, intent) || intent !== undefined;
        } catch (error) {
          failed(error);
          return true;
        }
      };
    };
    try {
      return end(core.history.auditIntent({ at: requestedAt, ...attempted }));
    } catch (error) {
      if (evenUnsaved || !isStorageError(error)) {
        failed(error);
        return end(undefined);
      }
      end(undefined)({ target: attempted.target, outcome: "storage_unavailable" });
      throw nothingChanged(error);
    }
  };
}

/** Gives every response its `X-Request-Id`: the caller's own if it is a valid token, else a new one. */
const requestId: Koa.Middleware = (ctx, next) => {
  const id = requestIdOf(ctx.req);
  ctx.state["requestId"] = id;
  ctx.set("X-Request-Id", id);
  // A read logs only its errors, which have the id.
  return ctx.method === "GET" ? next() : causedBy(id, next);
};

/**
 * Normalizes every path before any rule reads it, so that `/api/v1/%73tate` is `/api/v1/state` and no rule
 * can be bypassed. A path that cannot be decoded is `invalid_request` (H-12).
 */
const canonicalPath: Koa.Middleware = (ctx, next) => {
  ctx.path = ctx.path.split("/").map(canonicalSegment).join("/");
  return next();
};

function canonicalSegment(segment: string): string {
  try {
    return encodeURIComponent(decodeURIComponent(segment));
  } catch (cause) {
    throw new SymphonyError(
      "invalid_request",
      "the path has a percent-escape that cannot be decoded",
      { cause },
    );
  }
}
