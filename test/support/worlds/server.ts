import { type Agent, request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { createApp } from "../../../src/server/app.ts";
import { type Listening, listen } from "../../../src/server/listen.ts";
import type { Peers } from "../../../src/server/peers.ts";
import type { World } from "./core.ts";

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The body parsed as JSON; throws when it is not JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: a test reads any JSON that arrives
  json(): any;
}

export interface Ask {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** A string is sent unchanged, anything else as JSON. */
  readonly body?: unknown;
  /** Connections for many requests; without one each request has its own. */
  readonly agent?: Agent;
}

export interface TestServer extends AsyncDisposable {
  readonly listening: Listening;
  ask(path: string, ask?: Ask): Promise<Answer>;
}

interface ServeOptions {
  readonly host?: string;
  readonly token?: string | null;
  readonly peers?: Peers;
}

/** The real application over `world`, on a free port. */
export async function serve(world: World, options: ServeOptions = {}): Promise<TestServer> {
  const { core, scheduler, dataDir } = world;
  const { clock } = scheduler;
  const { host = "127.0.0.1", token = null } = options;
  const app = createApp(core, { clock, host, token });
  const { version, workflowPath } = core;
  const bind = { host, port: 0, dataDir, token, version, workflowPath, clock };
  const listening = await listen(app, { ...bind, ...(options.peers && { peers: options.peers }) });
  return {
    listening,
    ask: (path, ask) => send(listening.port, path, ask),
    [Symbol.asyncDispose]: () => listening.close(),
  };
}

/** One request through plain HTTP: paths and headers arrive exactly as written. */
export function send(port: number, path: string, ask: Ask = {}): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const json = ask.body !== undefined && typeof ask.body !== "string";
  const body = json ? JSON.stringify(ask.body) : (ask.body as string | undefined);
  // For these methods Node does not set the framing of a body.
  const unframed = ["GET", "DELETE"].includes(ask.method ?? "GET");
  const chunked = ask.headers?.["transfer-encoding"] !== undefined;
  const length = unframed && !chunked && body !== undefined ? Buffer.byteLength(body) : null;
  const headers = {
    ...(json && { "content-type": "application/json" }),
    ...(length !== null && { "content-length": String(length) }),
    ...ask.headers,
  };
  const request = httpRequest({
    port,
    host: "127.0.0.1",
    path,
    method: ask.method ?? "GET",
    headers,
    // A keep-alive connection would outlive the server that a test has closed.
    agent: ask.agent ?? false,
  });
  request.on("error", reject);
  request.on("response", async (response) => {
    const chunks = await response.setEncoding("utf8").toArray();
    const text = chunks.join("");
    resolve({
      status: response.statusCode ?? 0,
      headers: response.headers,
      text,
      json: () => JSON.parse(text),
    });
  });
  request.end(body);
  return promise;
}
