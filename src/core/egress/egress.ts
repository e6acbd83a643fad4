// The one way out of an agent's sandbox: to its model provider and to the hosts it may reach.

import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import type { Server } from "node:http";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { NetworkRules } from "./addresses.ts";
import { refuse } from "./headers.ts";
import { plainly, type Resolve, systemResolve, tunnel } from "./hosts.ts";
import { removeLeftovers, socketName, wayPrefix } from "./leftovers.ts";
import { type Provider, toProvider } from "./provider.ts";

export interface EgressOptions {
  /** null: the attempt has none that is known. */
  readonly provider: Provider | null;
  /** Hosts in addition to the provider. */
  readonly hosts: readonly string[];
  /** `socket`: for a sandbox with a network of its own; `port`: for one that shares this machine's. */
  readonly listens: "socket" | "port";
  /** A host that was refused, once for each. */
  onRefused(host: string, reason: string): void;
  readonly resolve?: Resolve;
}

/** An open way out. Disposing ends it, its connections, and its token. */
export interface Egress extends AsyncDisposable {
  /** Opens the way to the provider; it is worth nothing elsewhere. */
  readonly token: string;
  /** The path of the socket; null when it listens on a port. */
  readonly socket: string | null;
  /** The port of 127.0.0.1; null when it listens on a socket. */
  readonly port: number | null;
}

const maxHeaderSize = 64 * 1024;
const headersTimeoutMs = 30_000;
const bodyTimeoutMs = 600_000;
const maxConnections = 256;
const maxRefusedHosts = 50;
/** The longest path that every system accepts for a socket. */
const maxSocketPath = 103;

let isSwept = false;

/** Rejects with `agent_unavailable` when no socket can be made. */
export async function openEgress(options: EgressOptions): Promise<Egress> {
  // Once for each process; no attempt waits for it.
  if (!isSwept) void removeLeftovers(tmpdir(), Date.now());
  isSwept = true;
  const token = randomBytes(32).toString("base64url");
  const server = serverOf(options, token);
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  const dir = options.listens === "socket" ? await mkdtemp(join(tmpdir(), wayPrefix)) : null;
  const socket = dir === null ? null : join(dir, socketName);
  const removed = async () => {
    if (dir !== null) await rm(dir, { recursive: true, force: true });
  };
  try {
    await listening(server, socket);
  } catch (cause) {
    await removed();
    const message = `the way to the model provider cannot be opened: ${messageOf(cause)}`;
    throw new SymphonyError("agent_unavailable", message, {
      cause,
      hint: "set TMPDIR to a short path on a local disk that the server may write",
    });
  }
  const address = server.address();
  return {
    ...{ token, socket },
    port: typeof address === "object" && address !== null ? address.port : null,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const one of sockets) one.destroy();
      await closed;
      await removed();
    },
  };
}

async function listening(server: Server, socket: string | null): Promise<void> {
  if (socket !== null && Buffer.byteLength(socket) > maxSocketPath) {
    throw new Error(`the path of the temporary directory is too long: ${tmpdir()}`);
  }
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  if (socket === null) server.listen(0, "127.0.0.1", resolve);
  else server.listen(socket, resolve);
  await promise;
  server.off("error", reject);
  // It serves a session, and must not keep a process alive by itself.
  server.unref();
}

function serverOf(options: EgressOptions, token: string): Server {
  const { provider, hosts, resolve = systemResolve } = options;
  const refused = new Set<string>();
  const deps = {
    rules: new NetworkRules(hosts),
    resolve,
    onRefused(host: string, reason: string) {
      if (refused.has(host) || refused.size >= maxRefusedHosts) return;
      refused.add(host);
      options.onRefused(host, reason);
    },
  };
  const server = process.getBuiltinModule("node:http").createServer({
    maxHeaderSize,
    headersTimeout: headersTimeoutMs,
    requestTimeout: bodyTimeoutMs,
  });
  server.maxConnections = maxConnections;
  server.on("request", (request, response) => {
    const toOne = request.url?.startsWith("/") === true;
    if (toOne && provider === null) {
      return refuse(response, 404, "this attempt has no model provider that is known");
    }
    const passed =
      toOne && provider !== null
        ? toProvider(request, response, { provider, token })
        : plainly(request, response, deps);
    passed.catch((error: unknown) => refuse(response, 502, messageOf(error)));
  });
  server.on("connect", (request, client, head) => {
    tunnel(request, client, head, deps).catch(() => client.destroy());
  });
  return server;
}
