import { randomUUID } from "node:crypto";
import type { Duplex } from "node:stream";
import { SymphonyError } from "../core/model/errors.ts";
import { envelope } from "./errors.ts";

/** Answers, in the envelope, what Node could not read as a request at all. */
export function answerUnreadable(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable || error.code === "ECONNRESET") {
    socket.destroy();
    return;
  }
  const status = statuses[error.code ?? ""] ?? 400;
  const id = `req_${randomUUID()}`;
  const body = envelope(
    new SymphonyError("invalid_request", "this is not an HTTP request that can be read"),
    id,
  );
  const head = [
    `HTTP/1.1 ${status} ${process.getBuiltinModule("node:http").STATUS_CODES[status]}`,
    "Content-Type: application/json; charset=utf-8",
    `Content-Length: ${Buffer.byteLength(body)}`,
    `X-Request-Id: ${id}`,
    "X-Content-Type-Options: nosniff",
    "Connection: close",
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`);
}

const statuses: Readonly<Record<string, number>> = {
  HPE_HEADER_OVERFLOW: 431,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
};
