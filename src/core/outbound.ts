import type { Agent, ClientRequest, IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import { type AnswerKind, bounded } from "./answers.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** A proxy must let a request through in this time: three tries of a read end before a dry-run gives up. */
const tunnelMs = 8_000;
const connectMs = 10_000;
const maxHops = 5;
const harmless = new Set(["accept", "accept-encoding", "user-agent"]);

/**
 * `fetch` to other machines, through the proxy that the environment of this process names for the address, never to
 * this machine through one. It has no time limits of its own but for the connection: a caller aborts. The body fails
 * with AnswerTooLarge after the limit of its `kind`, whoever reads it. Rejects as `fetch` does, with the reason in `cause`.
 */
export async function outbound(
  input: string | URL | Request,
  init: RequestInit = {},
  kind: AnswerKind = "other",
) {
  const { redirect = "follow" } = init;
  let at = new URL(input instanceof Request ? input.url : input);
  const headers = new Headers(init.headers ?? {});
  for (let hop = 0; hop <= maxHops; hop++) {
    const response = await once(at, { ...init, headers });
    const location = [301, 302, 303, 307, 308].includes(response.status)
      ? response.headers.get("location")
      : null;
    if (location === null || redirect === "manual") {
      return bodiless.has(response.status) ? response : bounded(response, { host: at.host, kind });
    }
    await response.body?.cancel();
    if (redirect === "error") throw failed(new Error("unexpected redirect"));
    const next = new URL(location, at);
    // A credential is for the origin that it was sent to, whatever header holds it.
    const isAway = next.origin !== at.origin;
    for (const name of [...headers.keys()]) if (isAway && !harmless.has(name)) headers.delete(name);
    at = next;
  }
  throw failed(new Error("redirects without end"));
}

async function once(url: URL, init: RequestInit): Promise<Response> {
  const { method = "GET", body, signal = null } = init;
  signal?.throwIfAborted();
  if (body !== undefined && body !== null && typeof body !== "string") {
    throw new TypeError("the body of an outbound request must be text");
  }
  const headers = new Headers(init.headers);
  if (!headers.has("accept-encoding")) headers.set("accept-encoding", "gzip");
  const proxy = proxyFor(url);
  const outgoing = requestTo(url, { method, headers, agent: agentFor(url, proxy) });
  outgoing.once("socket", (socket) => {
    if (!socket.connecting) return;
    const late = () => outgoing.destroy(new Error(`no connection in ${connectMs} ms`));
    const timer = setTimeout(late, connectMs);
    for (const over of ["connect", "close"]) socket.once(over, () => clearTimeout(timer));
  });
  const answer = Promise.withResolvers<IncomingMessage>();
  outgoing.once("response", answer.resolve);
  outgoing.on("error", (error) =>
    answer.reject(failed(viaProxy(namingAuthority(error), url, proxy))),
  );
  const stop = () => {
    // A request that waits for its proxy has no socket, and destroying it reports nothing. One that is answered closes with
    // its answer's body.
    answer.reject(signal?.reason);
    outgoing.destroy(signal?.reason);
  };
  signal?.addEventListener("abort", stop, { once: true });
  outgoing.once("close", () => {
    signal?.removeEventListener("abort", stop);
    // No answer and no error, as after "101 Switching Protocols", which was not asked for.
    answer.reject(failed(new Error("the connection ended without an answer")));
  });
  outgoing.end(body ?? undefined);
  return responseOf(await answer.promise);
}

function failed(cause: unknown): TypeError {
  return new TypeError("fetch failed", { cause });
}

function requestTo(
  url: URL,
  { method, headers, agent }: { method: string; headers: Headers; agent: Agent },
): ClientRequest {
  const { request } = process.getBuiltinModule(
    url.protocol === "https:" ? "node:https" : "node:http",
  );
  return request(url, { method, headers: Object.fromEntries(headers), agent });
}

const bodiless = new Set([204, 205, 304]);

function responseOf(incoming: IncomingMessage): Response {
  const { Readable: Readables } = process.getBuiltinModule("node:stream");
  const status = incoming.statusCode ?? 0;
  const headers = new Headers();
  for (let at = 0; at < incoming.rawHeaders.length; at += 2) {
    headers.append(incoming.rawHeaders[at] ?? "", incoming.rawHeaders[at + 1] ?? "");
  }
  if (bodiless.has(status)) {
    incoming.resume();
    return new Response(null, { status, headers });
  }
  const decoded = decodedOf(incoming, headers);
  const body = Readables.toWeb(decoded) as ReadableStream<Uint8Array>;
  return new Response(body, { status, statusText: incoming.statusMessage ?? "", headers });
}

function decodedOf(incoming: IncomingMessage, headers: Headers): Readable {
  const { pipeline } = process.getBuiltinModule("node:stream");
  const { createUnzip, createBrotliDecompress, constants } = process.getBuiltinModule("node:zlib");
  // Only gzip was asked for; a proxy on the way may not care.
  const encoding = headers.get("content-encoding")?.toLowerCase() ?? "";
  if (!/^(?:x-gzip|gzip|deflate|br)$/.test(encoding)) return incoming;
  headers.delete("content-encoding");
  headers.delete("content-length");
  const [zip, brotli] = [constants.Z_SYNC_FLUSH, constants.BROTLI_OPERATION_FLUSH];
  // Its errors are those of the stream that is returned.
  const unpacked =
    encoding === "br"
      ? createBrotliDecompress({ flush: brotli, finishFlush: brotli })
      : createUnzip({ flush: zip, finishFlush: zip });
  return pipeline(incoming, unpacked, () => {});
}

const unknownAuthority: ReadonlySet<unknown> = new Set([
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

const authorityAdvice = "set NODE_EXTRA_CA_CERTS to the file of its certificate authority";

/** What mends a failed connection, as far as its cause says so; null: it does not. */
export function connectionAdvice(error: unknown): string | null {
  const cause = error instanceof Error ? error.cause : null;
  if (!(cause instanceof Error)) return null;
  const isUnknown = "code" in cause && unknownAuthority.has(cause.code);
  return isUnknown ? authorityAdvice : connectionAdvice(cause);
}

/** A proxy that opens connections, or a site of a company, has an authority of its own: says where it is named. */
function namingAuthority(error: Error): Error {
  const code = "code" in error ? error.code : null;
  if (!unknownAuthority.has(code)) return error;
  const message = `${authorityAdvice}: ${error.message}`;
  return Object.assign(new Error(message), { code });
}

/** The error without any credential of the proxy. */
function viaProxy(error: Error, url: URL, proxy: URL | null): Error {
  if (proxy === null) return error;
  const name = url.protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY";
  const code = {
    ...("code" in error && { code: error.code }),
    ...("statusCode" in error && { statusCode: error.statusCode }),
  };
  const message = `${error.message || "the connection failed"} (through the proxy ${proxy.host} of ${name})`;
  return Object.assign(new Error(message), code);
}

/** The status with which a proxy refuses to lead to an address, to everything (407) or to this one (403); null: it did not. */
export function tunnelRefusal(error: unknown): number | null {
  if (!(error instanceof Error)) return null;
  const isTunnel = "code" in error && error.code === "ERR_PROXY_TUNNEL";
  const status = isTunnel && "statusCode" in error ? error.statusCode : null;
  return status === 403 || status === 407 ? status : tunnelRefusal(error.cause);
}

const agents = new Map<string, Agent>();

/** The connections to an address, kept for further requests; `proxy` null: without one, whatever Node's own settings say. */
export function agentFor(url: URL, proxy: URL | null): Agent {
  const key = `${url.protocol} ${proxy?.href ?? ""}`;
  const known = agents.get(key);
  if (known) return known;
  const { Agent: Agents } = process.getBuiltinModule(
    url.protocol === "https:" ? "node:https" : "node:http",
  );
  const proxyEnv = proxy && { HTTPS_PROXY: proxy.href, HTTP_PROXY: proxy.href };
  const made = new Agents({
    keepAlive: true,
    // Also the time that an unused connection is kept: a provider may end one that is idle for long.
    timeout: tunnelMs,
    ...(proxyEnv && { proxyEnv }),
  });
  agents.set(key, made);
  return made;
}

/**
 * The proxy of the environment for an address: `https_proxy`, `http_proxy`, else `all_proxy`, in lower or upper case.
 * null for this machine and for what `no_proxy` names. Throws for a proxy that cannot be used.
 */
export function proxyFor(url: URL, env: Environment = process.env): URL | null {
  if (isThisMachine(url.hostname) || isExcepted(url, settingOf(env, "no_proxy"))) return null;
  const name = url.protocol === "https:" ? "https_proxy" : "http_proxy";
  const written = settingOf(env, name) || settingOf(env, "all_proxy");
  if (written === "") return null;
  const proxy = URL.parse(/^[a-z][a-z0-9+.-]*:\/\//i.test(written) ? written : `http://${written}`);
  if (proxy !== null && /^https?:$/.test(proxy.protocol)) return proxy;
  throw failed(
    new Error(
      `${name.toUpperCase()} is not the address of an http or https proxy: other kinds are not supported`,
    ),
  );
}

function settingOf(env: Environment, name: string): string {
  return (env[name] ?? env[name.toUpperCase()] ?? "").trim();
}

/** Whether a host is this machine. */
export function isThisMachine(hostname: string): boolean {
  const host = hostname
    .replace(/^\[|\]$/g, "")
    .replace(/\.$/, "")
    .toLowerCase();
  if (host === "localhost" || host.endsWith(".localhost")) return true;
  return inBlock(host, ["127.0.0.0/8", "::1/128", "0.0.0.0/32", "::/128"]);
}

/** `no_proxy`: names with or without a leading dot, also of their subdomains; addresses, networks; `host:port`; `*`. */
function isExcepted(url: URL, list: string): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, "").toLowerCase();
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  return list.split(/[\s,]+/).some((entry) => {
    if (entry === "") return false;
    if (entry === "*") return true;
    if (inBlock(host, [entry])) return true;
    const [, name = "", wanted] = /^(.*?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? [];
    if (wanted !== undefined && wanted !== port) return false;
    const bare = name.replace(/^\*?\./, "").replace(/^\[|\]$/g, "");
    return bare !== "" && (host === bare || host.endsWith(`.${bare}`));
  });
}

function inBlock(host: string, networks: readonly string[]): boolean {
  const { BlockList, isIP } = process.getBuiltinModule("node:net");
  const version = isIP(host);
  if (version === 0) return false;
  return networks.some((network) => {
    const [address = "", prefix] = network.replace(/^\[|\]$/g, "").split("/");
    const family = isIP(address) === 6 ? "ipv6" : "ipv4";
    if (isIP(address) === 0) return false;
    const bits = Number(prefix ?? (family === "ipv6" ? 128 : 32));
    if (!Number.isInteger(bits) || bits > (family === "ipv6" ? 128 : 32)) return false;
    const block = new BlockList();
    block.addSubnet(address, bits, family);
    return block.check(host, version === 6 ? "ipv6" : "ipv4");
  });
}

const names = ["https_proxy", "http_proxy", "all_proxy"];

/** What must never be shown of the environment's proxies: their passwords, in every form that is sent. */
export function proxySecrets(env: Environment): readonly string[] {
  return names.flatMap((name) => {
    const written = settingOf(env, name);
    const proxy = URL.parse(/:\/\//.test(written) ? written : `http://${written}`);
    if (!proxy || proxy.password === "") return [];
    const [user, password] = [proxy.username, proxy.password].map(decoded);
    const token = Buffer.from(`${user}:${password}`).toString("base64");
    return [proxy.password, password ?? "", token];
  });
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
