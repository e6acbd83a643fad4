import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";

/** Headers that concern one connection only, not the message. */
const hopByHop: ReadonlySet<string> = new Set([
  ...["connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"],
  ...["te", "trailer", "transfer-encoding", "upgrade", "expect"],
]);
/** Where programs put a key; the provider gets only that of symphony. */
const credentials = ["authorization", "x-api-key", "x-goog-api-key", "api-key"];

/** The headers of a message that are passed on, in their order, without those in `dropped`. */
export function passedHeaders(
  { rawHeaders, headers }: IncomingMessage,
  dropped: readonly string[] = [],
): string[] {
  const named = (headers.connection ?? "").split(",").map((name) => name.trim().toLowerCase());
  const passed: string[] = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const [name = "", value = ""] = [rawHeaders[at], rawHeaders[at + 1]];
    const key = name.toLowerCase();
    if (hopByHop.has(key) || named.includes(key) || dropped.includes(key)) continue;
    passed.push(name, value);
  }
  return passed;
}

/** The headers that a request to the provider must not have: keys, and what concerns the proxy. */
export const ownHeaders: readonly string[] = [...credentials, "host", "accept-encoding", "cookie"];

/** Whether one of the places of a key has the token; comparing takes the same time for every value. */
export function hasToken(headers: IncomingHttpHeaders, query: string, token: string): boolean {
  const values = credentials.flatMap((name) => headers[name] ?? []);
  const given = [
    ...values.map((value) => value.replace(/^Bearer\s+/i, "")),
    ...new URLSearchParams(query).getAll("key"),
  ];
  return given.some((value) => timingSafeEqual(digest(value), digest(token)));
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

/** An error in a shape that the clients of all providers read. */
export function refuse(response: ServerResponse, status: number, reason: string): void {
  if (response.headersSent || response.destroyed) return void response.destroy();
  const body = JSON.stringify({
    type: "error",
    error: { type: "symphony_refused", message: `symphony: ${reason}` },
  });
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    connection: "close",
  });
  response.end(body);
}
