import type { IncomingMessage, RequestOptions, ServerResponse } from "node:http";
import { pipeline, Transform } from "node:stream";
import { messageOf } from "../model/errors.ts";
import { agentFor, proxyFor, tunnelRefusal } from "../outbound.ts";
import { isLongEnough } from "../text/redact.ts";
import { hasToken, ownHeaders, passedHeaders, refuse } from "./headers.ts";
import { Redacting } from "./redact.ts";

/** The model provider of one attempt. */
export interface Provider {
  /** The address that its API begins with, such as `https://api.anthropic.com`. */
  readonly upstream: URL;
  /** The header with the key; `authorization` carries it as a bearer. */
  readonly header: string;
  /** The key; read for each request, so that a new one needs no new attempt. null: it wants none. */
  key(): Promise<string | null>;
}

/** Images and long conversations; providers accept less. */
const maxBodyBytes = 128 * 1024 * 1024;

/**
 * Passes a request on to the provider with the key in place of the attempt's token. Both bodies are
 * streamed. Whatever the request says, the connection goes to the provider's own address.
 */
export async function toProvider(
  request: IncomingMessage,
  response: ServerResponse,
  { provider, token }: { readonly provider: Provider; readonly token: string },
): Promise<void> {
  const [path = "/", query = ""] = splitAt(request.url ?? "/");
  if (!hasToken(request.headers, query, token)) {
    return refuse(response, 401, "this is not the token of a running attempt");
  }
  const key = await provider.key();
  const hidden = key !== null && isLongEnough(key) ? key : null;
  const { upstream } = provider;
  const proxy = proxyFor(upstream);
  const secure = upstream.protocol === "https:";
  const bearer = provider.header === "authorization";
  const options: RequestOptions = {
    protocol: upstream.protocol,
    hostname: upstream.hostname.replace(/^\[|\]$/g, ""),
    port: upstream.port || (secure ? 443 : 80),
    method: request.method ?? "GET",
    path: `${upstream.pathname.replace(/\/$/, "")}${path}${withoutKey(query, token)}`,
    agent: agentFor(upstream, proxy),
    setDefaultHeaders: false,
    headers: [
      ...["Host", upstream.host],
      ...passedHeaders(request, ownHeaders),
      ...(key === null ? [] : [provider.header, bearer ? `Bearer ${key}` : key]),
      // The key could not be found in a compressed answer.
      ...["Accept-Encoding", "identity"],
      ...framing(request),
    ],
  };
  const http = process.getBuiltinModule(secure ? "node:https" : "node:http");
  const outgoing = http.request(options);
  outgoing.on("response", (answer) => giveBack(answer, response, hidden));
  outgoing.on("error", (error) => {
    const status = tunnelRefusal(error);
    if (status !== null) {
      const message = `the proxy ${proxy?.host ?? ""} does not lead to ${upstream.host}${status === 407 ? "" : ` (${status})`}: proxy authentication required, or a host that it must allow`;
      return refuse(response, 407, message);
    }
    refuse(
      response,
      502,
      `the model provider ${upstream.host} cannot be reached: ${faultOf(error, hidden)}`,
    );
  });
  outgoing.on("close", () => {
    // Such as after an answer that changes the protocol.
    if (response.headersSent) return;
    refuse(response, 502, `the model provider ${upstream.host} gave no answer`);
  });
  response.on("close", () => outgoing.destroy());
  pipeline(request, limited(), outgoing, (error) => {
    if (error instanceof TooLarge) refuse(response, 413, error.message);
  });
}

function giveBack(answer: IncomingMessage, response: ServerResponse, key: string | null): void {
  const status = answer.statusCode ?? 502;
  const encoding = answer.headers["content-encoding"] ?? "identity";
  if (status >= 400 && encoding !== "identity") {
    answer.destroy();
    return refuse(response, status, `the provider answered ${status}, and compressed the reason`);
  }
  // A program would take it for the provider's word about the key.
  if ((status === 401 || status === 403) && /html/i.test(answer.headers["content-type"] ?? "")) {
    answer.destroy();
    const message = `a web page instead of the provider's answer (${status}): a proxy or a firewall is on the way`;
    return refuse(response, 502, message);
  }
  // The length changes when something is left out.
  const headers = passedHeaders(answer, ["content-length"]);
  response.writeHead(
    status,
    answer.statusMessage ?? "",
    headers.map((text) => withoutSecret(text, key)),
  );
  response.flushHeaders();
  if (key === null) pipeline(answer, response, () => {});
  else pipeline(answer, new Redacting(key), response, () => {});
}

/** How the body is framed: the same as it came. */
function framing({ headers }: IncomingMessage): string[] {
  return headers["transfer-encoding"] === undefined ? [] : ["Transfer-Encoding", "chunked"];
}

function splitAt(url: string): readonly [string, string] {
  const at = url.indexOf("?");
  return at === -1 ? [url, ""] : [url.slice(0, at), url.slice(at)];
}

/** Some programs send their key in the address. */
function withoutKey(query: string, token: string): string {
  if (!query.includes(token)) return query;
  const fields = new URLSearchParams(query);
  fields.delete("key");
  return fields.size === 0 ? "" : `?${fields}`;
}

class TooLarge extends Error {}

function limited(): Transform {
  let bytes = 0;
  return new Transform({
    transform(chunk: Buffer, _, done) {
      bytes += chunk.length;
      if (bytes <= maxBodyBytes) done(null, chunk);
      else done(new TooLarge(`a request may have ${maxBodyBytes} bytes`));
    },
  });
}

function faultOf(error: Error, key: string | null): string {
  const code = "code" in error && typeof error.code === "string" ? error.code : messageOf(error);
  return withoutSecret(code, key).slice(0, 200);
}

function withoutSecret(text: string, key: string | null): string {
  return key === null ? text : text.replaceAll(key, "[hidden]");
}
