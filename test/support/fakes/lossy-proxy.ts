import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Seen {
  readonly line: string;
  readonly body: string;
  readonly status: number;
  /** The answer did not arrive. */
  readonly isLost: boolean;
}

export interface LossyProxy extends AsyncDisposable {
  /** The address of this proxy, which leads to the origin. */
  readonly url: string;
  /** Every request that the origin answered, as `POST /path` and its body, with the origin's status. */
  readonly seen: readonly Seen[];
  /** How many requests were lost on purpose. */
  readonly lost: number;
  /**
   * The origin does what the next `times` requests that match ask for, and the answer is lost: `500` instead of it, or a broken
   * connection. `onLost` is called in between.
   */
  lose(match: RegExp, how: "500" | "reset", more?: { times?: number; onLost?: () => void }): void;
  /** Where requests go from now on; null: nowhere, each gets a 502. */
  to(origin: string | null): void;
}

interface Armed {
  readonly match: RegExp;
  readonly how: "500" | "reset";
  readonly onLost: () => void;
  left: number;
}

/** An HTTP server in front of another one that loses answers after the work was done. */
export async function startLossyProxy(first: string | null): Promise<LossyProxy> {
  const armed: Armed[] = [];
  const seen: Seen[] = [];
  let origin = first;
  let lost = 0;
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const body = await bytesOf(request);
    const line = `${request.method} ${request.url}`;
    if (origin === null) {
      response.writeHead(502).end();
      return;
    }
    const { host: _, connection: __, ...headers } = request.headers;
    const real = await fetch(`${origin}${request.url}`, {
      method: request.method ?? "GET",
      headers: Object.entries(headers).map(([name, value]) => [name, String(value)] as const) as [
        string,
        string,
      ][],
      ...(body.length > 0 && { body: new Uint8Array(body) }),
      redirect: "manual",
    });
    const bytes = Buffer.from(await real.arrayBuffer());
    const text = body.toString("utf8");
    const fault = armed.find(({ left, match }) => left > 0 && match.test(`${line}\n${text}`));
    seen.push({ line, body: text, status: real.status, isLost: fault !== undefined });
    if (fault) {
      fault.left -= 1;
      lost += 1;
      fault.onLost();
      if (fault.how === "reset") response.destroy();
      else response.writeHead(500, { "content-type": "text/html" }).end("<html>Oops</html>");
      return;
    }
    const own = ["content-encoding", "transfer-encoding", "content-length", "connection"];
    for (const [name, value] of real.headers)
      if (!own.includes(name)) response.setHeader(name, value);
    response.writeHead(real.status).end(bytes);
  };
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    seen,
    get lost() {
      return lost;
    },
    lose(match, how, { times = 1, onLost = () => {} } = {}) {
      armed.push({ match, how, onLost, left: times });
    },
    to(next) {
      origin = next;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

async function bytesOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}
