import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";

/** A request that the receiver took, and what it answered. */
export interface Received {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test reads any field of a posted document
  readonly body: any;
  readonly status: number;
}

export interface Reply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly text?: string;
}

/** A receiver of notices on this machine. It keeps every request; `answer` decides on each, `null` leaves it open. */
export class FakeReceiver implements AsyncDisposable {
  readonly received: Received[] = [];
  /** null: no answer. */
  answer: (body: unknown, count: number) => Reply | null = () => ({ status: 200, text: "ok" });
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async open(port = 0): Promise<FakeReceiver> {
    const server = createServer();
    const receiver = new FakeReceiver(server);
    server.on("request", (request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        const text = Buffer.concat(chunks).toString("utf8");
        const body: unknown = JSON.parse(text);
        const reply = receiver.answer(body, receiver.received.length + 1);
        const { headers, url = "" } = request;
        receiver.received.push({ path: url, headers, text, body, status: reply?.status ?? 0 });
        if (reply === null) return;
        response.writeHead(reply.status, reply.headers);
        response.end(reply.text ?? "");
      });
    });
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    return receiver;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** With a token in the path, as those of Slack have. */
  get url(): string {
    return `http://127.0.0.1:${this.port}/services/T000CANARY/B000CANARY/canarytoken0123456789`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

interface SlackText {
  readonly type: string;
  readonly text: string;
}
interface SlackBlock {
  readonly type: string;
  readonly text?: SlackText;
  readonly elements?: readonly SlackText[];
}

/** As an incoming webhook of Slack answers: 400 for a message over one of its limits. */
export function slackAnswer(body: unknown): Reply {
  const { text = "", blocks = [] } = body as {
    readonly text?: string;
    readonly blocks?: readonly SlackBlock[];
  };
  const texts = blocks.flatMap((block) => [block.text ?? [], block.elements ?? []].flat());
  const fits =
    text.length <= 40_000 &&
    blocks.length <= 50 &&
    texts.every((one) => one.text.length > 0 && one.text.length <= 3_000) &&
    blocks.every(({ type, elements = [], text: own }) =>
      type === "header"
        ? own?.type === "plain_text" && own.text.length <= 150
        : type === "context"
          ? elements.length <= 10
          : type === "section",
    );
  return fits ? { status: 200, text: "ok" } : { status: 400, text: "invalid_blocks" };
}

/** Everything in a message of Slack that Slack would act on: mentions, groups, links. */
export function slackMarks(body: unknown): readonly string[] {
  return [...JSON.stringify(body).matchAll(/<([^>]*)>/g)].map(([, mark = ""]) => mark);
}
