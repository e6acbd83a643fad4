import { createServer, type IncomingMessage, request } from "node:http";
import { type AddressInfo, connect } from "node:net";
import type { Duplex } from "node:stream";

/** What the proxy does with a request. */
type Mode = "pass" | "refuse" | "close" | "hang";

export interface ConnectProxy extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** `host:port` of every request, in order. */
  readonly asked: string[];
  /** The `Proxy-Authorization` of every request. */
  readonly authorizations: (string | undefined)[];
  mode: Mode;
}

/**
 * A proxy with CONNECT and plain requests. It leads each name to a port of this machine, so that names of the internet
 * can be used without one.
 */
export async function connectProxy(ports: Readonly<Record<string, number>>): Promise<ConnectProxy> {
  const sockets = new Set<Duplex>();
  const server = createServer();
  const noted = (incoming: IncomingMessage, target: string) => {
    proxy.asked.push(target);
    proxy.authorizations.push(incoming.headers["proxy-authorization"]);
    return ports[target.replace(/:\d+$/, "")];
  };
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
  });
  server.on("connect", (incoming: IncomingMessage, socket: Duplex, head: Buffer) => {
    const port = noted(incoming, incoming.url ?? "");
    if (proxy.mode === "hang") return;
    if (proxy.mode === "close") return void socket.destroy();
    if (proxy.mode === "refuse" || port === undefined) {
      return void socket.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    }
    const onward = connect(port, "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
      onward.write(head);
      socket.pipe(onward).pipe(socket);
    });
    onward.on("error", () => socket.destroy());
    socket.on("close", () => onward.destroy());
  });
  server.on("request", (incoming, response) => {
    const url = new URL(incoming.url ?? "");
    const port = noted(incoming, `${url.hostname}:${url.port || 80}`);
    if (proxy.mode !== "pass") return void incoming.socket.destroy();
    const { method, headers } = incoming;
    const path = `${url.pathname}${url.search}`;
    const onward = request({ host: "127.0.0.1", port, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    incoming.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const proxy: ConnectProxy = {
    url: `http://127.0.0.1:${port}`,
    port,
    asked: [],
    authorizations: [],
    mode: "pass",
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return proxy;
}
