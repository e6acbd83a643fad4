import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFileSync, rmSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import type { Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import type Koa from "koa";
import type { Clock } from "../core/clock.ts";
import { messageOf, SymphonyError, systemCodeOf } from "../core/model/errors.ts";
import { storageUnavailable } from "../core/store/durable.ts";
import { isLoopback, urlHost } from "./access.ts";
import { envelope } from "./errors.ts";
import { isKnownOwnUser, isOwnUser, Peers, type PeerTables } from "./peers.ts";

export interface ListenOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Must exist; `runtime.json` is written there. */
  readonly dataDir: string;
  readonly token: string | null;
  readonly version: string;
  readonly workflowPath: string;
  readonly clock: Clock;
  /** How to identify callers; tests pass their own. */
  readonly peers?: Peers;
  /** For a whole request to arrive; then it is answered with 408. Default: 30 s. */
  readonly requestTimeoutMs?: number;
  /** Aborted when the start is to be canceled: rejects with its reason. */
  readonly signal?: AbortSignal;
}

export interface Listening {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  /** Whether users of this machine are distinguished; null where every caller needs the token. */
  readonly peerTables: PeerTables | null;
  /** Ends event streams, lets other requests finish for up to 5 s, frees the port. Safe to call twice. */
  close(): Promise<void>;
}

/** `getBuiltinModule`, because an import by name evaluates every export, and some load much that is never used. */
const http = process.getBuiltinModule("node:http");

const drainMs = 5_000;
/** A megabyte, the largest body, comes in this time over any line that the server is meant for. */
const requestMs = 30_000;
/** For a caller to read the answer to what is no request, before its connection is cut. */
const lingerMs = 1_000;
/** Further ones are closed at once: the files that agents and stores need must not be used up. 1,000 streams are promised. */
const maxConnections = 4_096;
const wildcards: Readonly<Record<string, string>> = { "0.0.0.0": "127.0.0.1", "::": "::1" };

/** Binds `app` and announces it in `runtime.json`. Rejects with `cannot_listen`; then nothing is left bound. */
export async function listen(app: Koa, options: ListenOptions): Promise<Listening> {
  const { host, clock, requestTimeoutMs = requestMs } = options;
  requireToken(options);
  const handle = app.callback();
  const bounds = {
    // A request without a Host header is refused by the guard, with the error envelope.
    requireHostHeader: false,
    requestTimeout: requestTimeoutMs,
    headersTimeout: requestTimeoutMs,
    connectionsCheckingInterval: requestTimeoutMs / 6,
  };
  const server = http.createServer(bounds, async (request, response) => {
    // Not in the guard: code before it reads the caller's address, which has to happen after this lookup.
    if (!isKnownOwnUser(request.socket)) await isOwnUser(request.socket);
    await handle(request, response);
  });
  const peers = isLoopback(host) ? (options.peers ?? new Peers()) : null;
  if (peers) server.on("connection", (socket) => peers.meet(socket));
  const responses = trackResponses(server);
  server.maxConnections = maxConnections;
  server.on("clientError", (error, socket) => {
    answerUnreadable(error, socket);
    // A caller that keeps its end open, and sends more, would hold the connection for as long as it likes.
    const cancel = clock.after(lingerMs, () => socket.destroy());
    socket.once("close", cancel);
  });
  const port = await bound(server, options);
  const url = `http://${urlHost(wildcards[host] ?? host)}:${port}`;
  const forget = await announced(server, options, url);
  let closing: Promise<void> | null = null;
  const close = async () => {
    forget();
    await drained(server, responses, clock);
  };
  return {
    url,
    host,
    port,
    peerTables: peers?.tables ?? null,
    close() {
      closing ??= close();
      return closing;
    },
  };
}

/** Whether a server could listen there now; rejects as `listen` does. Nothing stays bound. */
export async function tryListen(
  place: Pick<ListenOptions, "host" | "port" | "token">,
): Promise<void> {
  requireToken(place);
  const server = http.createServer();
  await bound(server, place);
  server.close();
  await once(server, "close");
}

function requireToken({ host, port, token }: Pick<ListenOptions, "host" | "port" | "token">): void {
  if (token !== null || isLoopback(host)) return;
  const message = `a server on ${host} can be reached by other machines and needs a token`;
  throw new SymphonyError("cannot_listen", message, {
    details: { host, port },
    hint: "set SYMPHONY_TOKEN, or listen on 127.0.0.1",
  });
}

async function bound(
  server: Server,
  { host, port, signal }: Pick<ListenOptions, "host" | "port" | "signal">,
): Promise<number> {
  try {
    server.listen({ host, port });
    await once(server, "listening", signal ? { signal } : {});
  } catch (cause) {
    server.close();
    signal?.throwIfAborted();
    throw cannotListen(host, port, cause);
  }
  return (server.address() as AddressInfo).port;
}

function cannotListen(host: string, port: number, cause: unknown): SymphonyError {
  const code = (cause as NodeJS.ErrnoException).code ?? "";
  const { why, hint } = reasons[code] ?? { why: messageOf(cause), hint: "check --host and --port" };
  const message = `cannot listen on ${urlHost(host)}:${port}: ${why}`;
  return new SymphonyError("cannot_listen", message, { details: { host, port }, hint, cause });
}

const unusableHost = {
  why: "this machine has no such address",
  hint: "symphony serve --host 127.0.0.1",
};
const reasons: Readonly<Record<string, { readonly why: string; readonly hint: string }>> = {
  EADDRINUSE: {
    why: "the port is in use",
    hint: "choose another with --port (0 takes any free one), or stop the program that uses it",
  },
  EACCES: { why: "no permission", hint: "choose a port above 1023 with --port" },
  EADDRNOTAVAIL: unusableHost,
  ENOTFOUND: unusableHost,
  EAI_AGAIN: unusableHost,
  ERR_SOCKET_BAD_PORT: { why: "not a port number", hint: "choose --port from 0 to 65535" },
};

async function announced(server: Server, options: ListenOptions, url: string) {
  const { dataDir, token, version, workflowPath, clock } = options;
  const facts = {
    url,
    pid: process.pid,
    token,
    started_at: new Date(clock.wall()).toISOString(),
    version,
    workflow_path: workflowPath,
  };
  try {
    return await writeRuntimeFile(dataDir, facts);
  } catch (cause) {
    server.close();
    const file = join(dataDir, "runtime.json");
    if (systemCodeOf(cause) === "ENOSPC") throw storageUnavailable(file, cause);
    throw new SymphonyError("storage_unavailable", `Cannot write ${file}: ${messageOf(cause)}`, {
      details: { dataDir },
      hint: `Check permissions and free space; if the name is taken by something else, move it aside: mv '${file}' '${file}.aside'`,
      cause,
    });
  }
}

function trackResponses(server: Server): ReadonlySet<ServerResponse> {
  const open = new Set<ServerResponse>();
  server.on("request", (_, response) => {
    open.add(response);
    response.once("close", () => open.delete(response));
  });
  return open;
}

async function drained(
  server: Server,
  responses: ReadonlySet<ServerResponse>,
  clock: Clock,
): Promise<void> {
  const closed = once(server, "close");
  server.close();
  for (const response of responses) {
    // A stream does not end by itself. The other clients are asked not to keep their connection.
    if (isStream(response)) response.end();
    else if (!response.headersSent) response.setHeader("Connection", "close");
  }
  const cancel = clock.after(drainMs, () => server.closeAllConnections());
  await closed;
  cancel();
}

function isStream(response: ServerResponse): boolean {
  return String(response.getHeader("Content-Type")).startsWith("text/event-stream");
}

/** Content of `runtime.json`: how the command line finds the running server. */
interface RuntimeFacts {
  readonly url: string;
  readonly pid: number;
  readonly token: string | null;
  readonly started_at: string;
  readonly version: string;
  readonly workflow_path: string;
}

/**
 * Writes `runtime.json` (0600) into `dataDir` atomically. Returns a function that removes it, but only while it is still
 * this server's file. A process that exits early removes it, too.
 */
async function writeRuntimeFile(dataDir: string, facts: RuntimeFacts): Promise<() => void> {
  const path = join(dataDir, "runtime.json");
  const text = `${JSON.stringify(facts, null, 2)}\n`;
  const draft = `${path}.${randomUUID()}.tmp`;
  try {
    await writeDurably(draft, text);
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
  const remove = () => {
    process.off("exit", remove);
    try {
      if (readFileSync(path, "utf8") === text) rmSync(path, { force: true });
    } catch {
      // It is gone or unreadable: then it is not known to be this server's file.
    }
  };
  process.on("exit", remove);
  return remove;
}

async function writeDurably(path: string, text: string): Promise<void> {
  await using file = await open(path, "wx", 0o600);
  await file.writeFile(text);
  await file.sync();
}

/** Replies, with the error envelope, to bytes that Node could not parse as a request. */
function answerUnreadable(error: NodeJS.ErrnoException, socket: Duplex): void {
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
