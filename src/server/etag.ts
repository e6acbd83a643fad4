import { createHash } from "node:crypto";

/** A strong tag of a JSON value, for `If-Match`: equal only for the same value with its keys in the same order. */
export function strongTag(value: unknown): string {
  return `"${createHash("sha1").update(JSON.stringify(value)).digest("base64url")}"`;
}

/** A weak tag of a JSON value: equal for values that mean the same to a reader. */
export function weakTag(value: unknown): string {
  return `W/"${createHash("sha1").update(JSON.stringify(value)).digest("base64url")}"`;
}
