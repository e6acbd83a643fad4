import { once } from "node:events";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What is sent as an event, except its number. */
type Told = Readonly<Record<string, unknown>>;

/** Events of one write. */
const together = 50;

/**
 * A server in front of a real one that passes everything on, except the event stream, which it writes itself: as many
 * events as a night has, as fast as the page takes them.
 */
export class Flood implements AsyncDisposable {
  /** Requests of the page that a server has to work for, the stream and the modules left out. */
  requests = 0;
  readonly #target: URL;
  readonly #server = createServer((request, response) => this.#answer(request, response));
  #stream: ServerResponse | null = null;
  #seq = 0;

  private constructor(target: string) {
    this.#target = new URL(target);
  }

  static async before(target: string): Promise<Flood> {
    const flood = new Flood(target);
    flood.#server.listen(0, "127.0.0.1");
    await once(flood.#server, "listening");
    return flood;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get isFollowed(): boolean {
    return this.#stream !== null;
  }

  /** Writes `count` events at the pace of the reader. Resolves with the number of the last one. */
  async send(count: number, told: Told): Promise<number> {
    for (let left = count; left > 0; left -= together) {
      if (this.#stream === null) throw new Error("the page has no stream");
      const texts = Array.from({ length: Math.min(left, together) }, () => {
        this.#seq++;
        const event = { ...told, seq: this.#seq };
        return `id: ${this.#seq}\nevent: ${told["type"]}\ndata: ${JSON.stringify(event)}\n\n`;
      });
      if (!this.#stream.write(texts.join(""))) await once(this.#stream, "drain");
    }
    return this.#seq;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #answer(incoming: IncomingMessage, response: ServerResponse): void {
    const { url = "/", method, headers } = incoming;
    if (url.startsWith("/api/v1/events")) {
      this.#seq = Number(new URL(url, this.url).searchParams.get("since"));
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(": open\n\n");
      this.#stream = response;
      response.on("close", () => {
        if (this.#stream === response) this.#stream = null;
      });
      return;
    }
    if (url.startsWith("/api/")) this.requests++;
    const { hostname, port, host } = this.#target;
    const to = { hostname, port, path: url, method, headers: { ...headers, host } };
    const passed = request(to, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    passed.on("error", () => response.destroy());
    incoming.pipe(passed);
  }
}
