import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Provider extends AsyncDisposable {
  /** Ends in `/v1`. */
  readonly url: string;
  readonly requests: IncomingMessage[];
  /** Resolves with the next request. */
  next(): Promise<IncomingMessage>;
}

/** A real HTTP server instead of an OpenAI-compatible provider; `answer` handles each request. */
export async function startProvider(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<Provider> {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    answer(request, response);
    server.emit("seen", request);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    requests,
    next: async () => (await once(server, "seen"))[0],
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

/** Answers with `body` as JSON. */
export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(typeof body === "string" ? body : JSON.stringify(body));
}
