import type { Middleware } from "koa";
import { redactDeep } from "../core/redact-deep.ts";

/**
 * Takes known secrets out of every answer, whoever wrote it: data, errors, pages, metrics. What an agent or a tracker
 * said reaches people by here, and what became a secret later was told of as plain text before.
 */
export function redacted(redact: (text: string) => string): Middleware {
  return async (ctx, next) => {
    await next();
    const { body } = ctx;
    if (typeof body !== "string" || redact(body) === body) return;
    const length = ctx.res.hasHeader("Content-Length");
    ctx.body = withoutSecrets(body, ctx.response.type, redact);
    if (length) ctx.length = Buffer.byteLength(String(ctx.body));
  };
}

/** A secret may look like a part of the form that the text has: only what the form holds is changed. */
function withoutSecrets(text: string, type: string, redact: (text: string) => string): string {
  if (type === "application/json") return safeJson(JSON.parse(text), redact);
  if (type === "text/html") return redact(text);
  return text.replaceAll(/"(?:[^"\\]|\\.)*"/g, (label) => `"${redact(label.slice(1, -1))}"`);
}

/** `data` as JSON without known secrets. */
export function safeJson(data: unknown, redact: (text: string) => string): string {
  const json = JSON.stringify(data);
  return redact(json) === json ? json : JSON.stringify(redactDeep(data, redact));
}
