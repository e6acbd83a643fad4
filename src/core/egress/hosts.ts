import { lookup } from "node:dns/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { isIP, connect as netConnect, type Socket } from "node:net";
import { type Duplex, pipeline } from "node:stream";
import { agentFor, proxyFor } from "../outbound.ts";
import { type NetworkRules, type Target, targetOf } from "./addresses.ts";
import { passedHeaders, refuse } from "./headers.ts";

/** Finds the addresses of a name. Rejects when there are none. */
export type Resolve = (name: string) => Promise<readonly string[]>;

export interface HostsDeps {
  readonly rules: NetworkRules;
  readonly resolve: Resolve;
  /** A host that the list does not name, or whose address may not be reached. */
  onRefused(host: string, reason: string): void;
}

const connectMs = 15_000;

export const systemResolve: Resolve = async (name) => {
  const found = await lookup(name, { all: true, verbatim: true });
  return found.map(({ address }) => address);
};

/** A request of the form `CONNECT host:port`: a tunnel to an allowed host. */
export async function tunnel(
  request: IncomingMessage,
  client: Duplex,
  head: Buffer,
  deps: HostsDeps,
): Promise<void> {
  client.on("error", () => client.destroy());
  const target = targetOf(request.url ?? "");
  const way = await wayTo(target, deps, request.url ?? "");
  if (typeof way === "string") return void client.end(answer(403, way));
  const socket = await connected(way, "https:").catch(() => null);
  if (client.destroyed) return void socket?.destroy();
  if (socket === null) return void client.end(answer(502, "the host cannot be reached"));
  client.write("HTTP/1.1 200 Connection established\r\n\r\n");
  if (head.length > 0) socket.write(head);
  // Each direction ends by itself: a program may close its side and still read.
  pipeline(client, socket, client, () => {
    socket.destroy();
    client.destroy();
  });
}

/** A request with a whole address, as programs send it to a proxy for plain http. */
export async function plainly(
  request: IncomingMessage,
  response: ServerResponse,
  deps: HostsDeps,
): Promise<void> {
  const written = request.url ?? "";
  const [, authority = "", path = ""] = /^http:\/\/([^/?#]*)([/?].*)?$/i.exec(written) ?? [];
  const way = await wayTo(targetOf(authority, 80), deps, authority || written);
  if (typeof way === "string") return refuse(response, 403, way);
  const { target, address } = way;
  const host = target.host.includes(":") ? `[${target.host}]` : target.host;
  const url = new URL(`http://${host}:${target.port}/`);
  const proxy = proxyFor(url);
  const outgoing = process.getBuiltinModule("node:http").request({
    hostname: proxy === null ? (address ?? target.host) : target.host,
    port: target.port,
    method: request.method ?? "GET",
    path: path.startsWith("/") ? path : `/${path}`,
    agent: proxy === null ? false : agentFor(url, proxy),
    setDefaultHeaders: false,
    headers: [
      ...["Host", url.host],
      ...passedHeaders(request, ["host"]),
      ...(request.headers["transfer-encoding"] === undefined
        ? []
        : ["Transfer-Encoding", "chunked"]),
      ...["Connection", "close"],
    ],
  });
  outgoing.on("response", (reply) => {
    response.writeHead(reply.statusCode ?? 502, reply.statusMessage ?? "", passedHeaders(reply));
    pipeline(reply, response, () => {});
  });
  const unreached = () => refuse(response, 502, "the host cannot be reached");
  outgoing.on("error", unreached);
  // Also without an error, such as after an answer that changes the protocol.
  outgoing.on("close", () => response.headersSent || unreached());
  response.on("close", () => outgoing.destroy());
  pipeline(request, outgoing, () => {});
}

interface Way {
  readonly target: Target;
  /** The checked address; null: the proxy of this machine finds it. */
  readonly address: string | null;
}

/** The checked way to a host, or why there is none. The address is that of the check: names may change. */
async function wayTo(
  target: Target | null,
  { rules, resolve, onRefused }: HostsDeps,
  written: string,
): Promise<Way | string> {
  const refused = (reason: string) => {
    const host = target === null ? written.slice(0, 200) : `${target.host}:${target.port}`;
    onRefused(host, reason);
    return `${host} ${reason}`;
  };
  if (target === null) return refused("is not the name of a host and a port");
  if (!rules.allows(target)) return refused("is not in agent.network");
  const { host } = target;
  const found = isIP(host) === 0 ? await resolve(host).catch(() => []) : [host];
  const address = found.find((one) => rules.reaches(one)) ?? null;
  if (address !== null) return { target, address };
  if (found.length > 0) return refused("has an inner address that is not in agent.network");
  const url = new URL(`https://${host}`);
  // A machine behind a proxy often cannot find the addresses of other networks.
  return proxyFor(url) === null ? refused("has no address") : { target, address: null };
}

function connected({ target, address }: Way, protocol: string): Promise<Socket> {
  const host = target.host.includes(":") ? `[${target.host}]` : target.host;
  const proxy = proxyFor(new URL(`${protocol}//${host}:${target.port}`));
  if (proxy === null) return opened(netConnect({ host: address ?? "", port: target.port }));
  return throughProxy(proxy, `${host}:${target.port}`);
}

function opened(socket: Socket): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const late = () => socket.destroy(new Error(`no connection in ${connectMs} ms`));
  const timer = setTimeout(late, connectMs);
  socket.once("connect", () => resolve(socket));
  socket.on("error", reject);
  for (const over of ["connect", "close"]) socket.once(over, () => clearTimeout(timer));
  return promise;
}

/** A tunnel through the proxy that the environment of this process names. */
function throughProxy(proxy: URL, authority: string): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const { request } = process.getBuiltinModule(
    proxy.protocol === "https:" ? "node:https" : "node:http",
  );
  const login = [proxy.username, proxy.password].map(decodeURIComponent).join(":");
  const asked = request({
    ...{ hostname: proxy.hostname.replace(/^\[|\]$/g, ""), port: proxy.port || undefined },
    ...{ method: "CONNECT", path: authority, agent: false, timeout: connectMs },
    headers: {
      host: authority,
      ...(login !== ":" && {
        "proxy-authorization": `Basic ${Buffer.from(login).toString("base64")}`,
      }),
    },
  });
  asked.once("connect", ({ statusCode }, socket, head) => {
    if (statusCode !== 200) {
      socket.destroy();
      return reject(new Error(`the proxy answered ${statusCode}`));
    }
    socket.setTimeout(0);
    socket.on("error", () => socket.destroy());
    if (head.length > 0) socket.unshift(head);
    resolve(socket);
  });
  asked.once("response", (answer) => {
    answer.destroy();
    reject(new Error(`the proxy answered ${answer.statusCode}`));
  });
  asked.once("timeout", () => asked.destroy(new Error("the proxy did not answer")));
  asked.on("error", reject);
  asked.end();
  return promise;
}

function answer(status: 403 | 502, reason: string): string {
  const text = `symphony: ${reason}\n`;
  const head = [
    `HTTP/1.1 ${status} ${status === 403 ? "Forbidden" : "Bad Gateway"}`,
    "content-type: text/plain",
    `content-length: ${Buffer.byteLength(text)}`,
    "connection: close",
  ];
  return `${head.join("\r\n")}\r\n\r\n${text}`;
}
