import { randomUUID } from "node:crypto";
import type { Middleware } from "koa";

const saneToken = /^[\w.-]{1,128}$/;

/** Gives every answer its `X-Request-Id`: the caller's own when it is a sane token, else a new one. */
export const requestId: Middleware = (ctx, next) => {
  const given = ctx.get("X-Request-Id");
  const id = saneToken.test(given) ? given : `req_${randomUUID()}`;
  ctx.state["requestId"] = id;
  ctx.set("X-Request-Id", id);
  return next();
};
