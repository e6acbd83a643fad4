import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type FakeIssue, type FakeLinearOptions, FakeWorld } from "./fake-linear-world.ts";

/** A fault that happens `times` (1) times, after `after` (0) successful requests of that `operation` (any). */
export interface FakeFault {
  /** `lost`: a 500 after the work was done. */
  readonly kind: "lost" | "ratelimited" | "status" | "hang" | "reset" | "cut" | "body" | "cursor";
  readonly times?: number;
  readonly after?: number;
  readonly operation?: string;
  /** For `status`; 500. For `ratelimited`; 400. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** For `body` and `status`: the whole body. */
  readonly body?: string;
  /** For `cursor`: the next cursor in the page. */
  readonly cursor?: string | null;
}

export interface FakeRequest {
  readonly operation: string;
  readonly query: string;
  readonly variables: Readonly<Record<string, unknown>>;
  readonly headers: IncomingMessage["headers"];
}

export interface FakeLinear extends AsyncDisposable {
  readonly url: string;
  readonly project: string;
  readonly apiKey: string;
  readonly issues: FakeIssue[];
  readonly views: FakeWorld["views"];
  readonly labels: FakeWorld["labels"];
  readonly requests: FakeRequest[];
  /** Sent with every answer, for example rate-limit headers. */
  readonly headers: Record<string, string>;
  fail(fault: FakeFault): void;
  /** From now on only this value of `Authorization` is accepted. */
  accept(authorization: string): void;
  add(issue: Partial<FakeIssue> & { readonly identifier: string }): FakeIssue;
  change(identifier: string, fields: Partial<FakeIssue>): void;
  setState(identifier: string, state: string): void;
  close(): Promise<void>;
}

const json = { "content-type": "application/json; charset=utf-8" };

/** A double of Linear's GraphQL API in this process: it answers the adapter's documents and a few simple ones. */
export async function startFakeLinear(options: FakeLinearOptions = {}): Promise<FakeLinear> {
  const world = new FakeWorld(options);
  const endpoint = new Endpoint(world);
  const server = createServer((request, response) => {
    endpoint.answer(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  const close = () =>
    new Promise<void>((done) => {
      server.close(() => done());
      server.closeAllConnections();
    });
  return {
    url: `http://127.0.0.1:${port}/graphql`,
    project: world.project,
    apiKey: world.apiKey,
    issues: world.issues,
    views: world.views,
    labels: world.labels,
    requests: endpoint.requests,
    headers: endpoint.headers,
    accept(authorization) {
      world.apiKey = authorization;
    },
    fail: (fault) =>
      endpoint.faults.push({ ...fault, left: fault.times ?? 1, skip: fault.after ?? 0 }),
    add: (fields) => world.add(fields),
    change: (identifier, fields) => world.change(identifier, fields),
    setState: (identifier, state) => world.change(identifier, { state }),
    close,
    [Symbol.asyncDispose]: close,
  };
}

type Armed = FakeFault & { left: number; skip: number };

class Endpoint {
  readonly requests: FakeRequest[] = [];
  readonly faults: Armed[] = [];
  readonly headers: Record<string, string> = {};
  readonly #world: FakeWorld;

  constructor(world: FakeWorld) {
    this.#world = world;
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method !== "POST") {
      response.writeHead(405).end();
      return;
    }
    const body = JSON.parse(await bodyOf(request)) as Pick<FakeRequest, "query"> &
      Partial<FakeRequest>;
    const { query, variables = {} } = body;
    const operation = /(?:query|mutation)\s+(\w+)/.exec(query)?.[1] ?? "";
    this.requests.push({ operation, query, variables, headers: request.headers });
    const fault = this.#fault(operation);
    if (fault !== undefined && fault.kind !== "cursor") {
      misbehave(fault, response, () =>
        JSON.stringify({ data: this.#world.data(query, variables) }),
      );
      return;
    }
    if (request.headers.authorization !== this.#world.apiKey) {
      const error = {
        message: "Authentication required",
        extensions: { type: "authentication error" },
      };
      response.writeHead(401, json).end(JSON.stringify({ errors: [error] }));
      return;
    }
    const answer = JSON.stringify(this.#body(query, variables, fault));
    response.writeHead(200, { ...json, ...this.headers }).end(answer);
  }

  #fault(operation: string): Armed | undefined {
    const at = this.faults.findIndex(
      (fault) => (fault.operation ?? operation) === operation && fault.skip-- <= 0,
    );
    const fault = this.faults[at];
    if (fault !== undefined && --fault.left <= 0) this.faults.splice(at, 1);
    return fault;
  }

  #body(query: string, variables: FakeRequest["variables"], fault: Armed | undefined): unknown {
    try {
      const data = this.#world.data(query, variables);
      if (fault?.cursor === undefined) return { data };
      const issues = {
        ...data["issues"],
        pageInfo: { hasNextPage: true, endCursor: fault.cursor },
      };
      return { data: { issues } };
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      return { errors: [{ message, extensions: { type: "invalid input" } }], data: null };
    }
  }
}

function misbehave(fault: Armed, response: ServerResponse, rightBody: () => string): void {
  const { kind, status, body, headers } = fault;
  if (kind === "hang") return;
  if (kind === "lost") rightBody();
  if (kind === "reset") response.destroy();
  else if (kind === "cut") response.writeHead(200, json).end(rightBody().slice(0, 40));
  else if (kind === "body") response.writeHead(200, { ...json, ...headers }).end(body ?? "{}");
  else if (kind === "ratelimited") {
    const error = {
      message: "Rate limit exceeded.",
      extensions: { type: "ratelimited", code: "RATELIMITED" },
    };
    response
      .writeHead(status ?? 400, { ...json, ...headers })
      .end(JSON.stringify({ errors: [error] }));
  } else {
    const html = { "content-type": "text/html", ...headers };
    response.writeHead(status ?? 500, html).end(body ?? "<html>Bad gateway</html>");
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}
