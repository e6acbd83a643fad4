import { createHash } from "node:crypto";

/** A weak tag of a JSON value: equal for values that mean the same to a reader. */
export function weakTag(value: unknown): string {
  return `W/"${createHash("sha1").update(JSON.stringify(value)).digest("base64url")}"`;
}
