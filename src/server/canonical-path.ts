import type { Middleware } from "koa";
import { SymphonyError } from "../core/model/errors.ts";

/**
 * Writes every path in one spelling before any rule reads it, so that `/api/v1/%73tate` is `/api/v1/state`
 * and no rule can be walked around. What cannot be decoded is `invalid_request` (H-12).
 */
export const canonicalPath: Middleware = (ctx, next) => {
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
