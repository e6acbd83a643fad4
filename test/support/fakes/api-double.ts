import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { z } from "zod";
import { IssueDetail, IssueView, issues } from "../../../src/contract/issues.ts";
import { Snapshot, system, Transitions } from "../../../src/contract/system.ts";
import { EventView } from "../../../src/contract/values.ts";
import {
  at,
  attemptOf,
  detailOf,
  type IssueStatus,
  issueOf,
  runtimeOf,
  snapshotOf,
  transitions,
} from "../makers/api-double-data.ts";

export type Event = z.output<typeof EventView>;

/** One request as the double received it. */
export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: unknown;
}

/** How a test controls the running double. */
export interface ApiDouble extends AsyncDisposable {
  readonly url: string;
  readonly seen: Seen[];
  /** When set, `GET /api/v1/runtime` says that this process is the server. */
  pid: number;
  status: IssueStatus;
  title: string;
  token: string | null;
  /** The answer to `GET /metrics`. */
  metrics: string;
  /** The statuses of the next answers to requests for events. */
  readonly streamFailures: number[];
  /** Events before this number are no longer stored. */
  oldestSeq: number;
  /** What becomes of the state before it is sent; where it throws, the connection breaks. */
  shape: (state: z.output<typeof Snapshot>) => unknown;
  /** Replies to a POST are sent when it has resolved; where it rejects, the connection breaks after the work is done. */
  hold: () => Promise<void>;
  publish(event: Partial<Event>): Event;
  /** Publishes an event of a type that the current contract does not have. */
  publishUnknown(type: string): void;
  /** Closes every open stream. */
  dropStreams(): void;
  /** Resolves once a stream has been opened and `count` are open. */
  streams(count: number): Promise<void>;
}

/** A small server that answers like symphony's, with data that the contract's schemas have passed. */
export async function startApiDouble(port = 0): Promise<ApiDouble> {
  const double = new Double();
  const server = createServer((request, response) => {
    double.handle(request, response).catch((error: unknown) => response.destroy(error as Error));
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  double.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  double.end = async () => {
    server.close();
    server.closeAllConnections();
    await once(server, "close");
  };
  return double;
}

class Double implements ApiDouble {
  url = "";
  end = async () => {};
  readonly seen: Seen[] = [];
  pid = process.pid;
  status: IssueStatus = "running";
  title = "Fix the login page";
  token: string | null = null;
  metrics = "";
  readonly streamFailures: number[] = [];
  oldestSeq = 1;
  shape = (state: z.output<typeof Snapshot>): unknown => state;
  hold = async () => {};
  readonly #events: Event[] = [];
  readonly #streams = new Set<ServerResponse>();
  #opened = () => {};

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString("utf8");
    const { method = "", url = "", headers } = request;
    const { pathname, searchParams } = new URL(url, "http://double");
    const body: unknown = text === "" ? undefined : JSON.parse(text);
    this.seen.push({ method, path: url, headers, body });
    if (this.token !== null && headers.authorization !== `Bearer ${this.token}`) {
      return refuse(response, 401, "unauthorized");
    }
    if (pathname === "/api/v1/events") return this.#stream(request, response, searchParams);
    if (pathname === "/metrics") {
      response.writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" });
      response.end(this.metrics);
      return;
    }
    const answer = this.#routes(`${method} ${pathname}`, body);
    if (method === "POST") await this.hold();
    if (answer === null) return refuse(response, 404, "issue_not_found");
    if ("code" in answer) return refuse(response, answer.status, answer.code, answer.details);
    send(response, answer.status, answer.json);
  }

  #routes(route: string, body: unknown): Answer | null {
    const fixed: Record<string, () => Answer> = {
      "GET /api/v1/state": () => ok(this.shape(Snapshot.parse(snapshotOf(this, this.#lastSeq)))),
      "GET /api/v1/runtime": () => ok(system.runtime.reply.parse(runtimeOf(this.pid))),
      "POST /api/v1/refresh": () =>
        ok(
          { queued: true, coalesced: false, requested_at: at, operations: ["poll"], done: null },
          202,
        ),
      "GET /api/v1/transitions": () => ok(Transitions.parse(transitions)),
      "GET /api/v1/openapi.json": () => ok({ openapi: "3.0.3", paths: {} }),
      "GET /api/v1/issues": () =>
        ok({ issues: [{ ...issueOf(this), status: this.status }], total: 1, limit: 50, offset: 0 }),
      "POST /api/v1/issues": () =>
        ok(IssueView.parse({ ...issueOf(this), ...(body as object) }), 201),
      "PUT /api/v1/issues/ENG-1": () =>
        ok(IssueView.parse({ ...issueOf(this), ...(body as object) })),
      "POST /api/v1/issues/ENG-1/comments": () =>
        ok({ issue_identifier: "ENG-1", body: "noted", at }, 201),
      "GET /api/v1/issues/ENG-1/comments": () =>
        ok(
          issues.comments.reply.parse({
            issue_identifier: "ENG-1",
            comments: [
              { author: "Ada", by: "person", body: "Keep\u001b[31m it small.", created_at: at },
              { author: "bot", by: "machine", body: "Deployed.", created_at: null },
            ],
            truncated: true,
          }),
        ),
      "GET /api/v1/ENG-1": () => ok(IssueDetail.parse(detailOf(this))),
      "POST /api/v1/ENG-1/steer": () =>
        ok(
          {
            issue_identifier: "ENG-1",
            steer_id: "s1",
            attempt_id: "att_1",
            turn_id: "t1",
            status: "accepted",
          },
          202,
        ),
      "POST /api/v1/ENG-1/model": () => {
        const {
          model,
          reasoning_effort = null,
          agent = null,
        } = body as {
          model: string | null;
          agent?: string;
          reasoning_effort?: string;
        };
        const applies = this.status === "running" ? "next_turn" : "next_attempt";
        return ok(
          issues.model.reply.parse({
            issue_identifier: "ENG-1",
            model,
            reasoning_effort,
            agent,
            applies,
          }),
        );
      },
      "POST /api/v1/ENG-1/abort": () =>
        this.status === "running"
          ? ok(
              {
                issue_identifier: "ENG-1",
                status: "stopping",
                already_stopping: false,
                requested_at: at,
              },
              202,
            )
          : { status: 409, code: "not_running" },
      "POST /api/v1/ENG-1/transition": () => {
        const to = (body as { to: string }).to;
        const known = ["queued", "held", "Human Review"].includes(to);
        return known
          ? ok({ issue_identifier: "ENG-1", from: "Todo", to, kind: "status" })
          : { status: 409, code: "transition_not_allowed", details: { hint: "ask the server" } };
      },
      "GET /api/v1/ENG-1/attempts": () =>
        ok({
          issue_identifier: "ENG-1",
          attempts: [attemptOf(this)],
          total: 1,
          limit: 50,
          offset: 0,
        }),
      "GET /api/v1/attempts/att_1": () =>
        ok({ ...attemptOf(this), events: this.#events, next_after_seq: null, kept: null }),
      "POST /api/v1/BAD/steer": () => ({
        status: 400,
        code: "invalid_request",
        details: [{ path: "body.message", message: "too long" }],
      }),
    };
    return fixed[route]?.() ?? null;
  }

  publishUnknown(type: string): void {
    const known = this.publish({});
    this.#events.splice(-1, 1, { ...known, type: type as Event["type"] });
  }

  publish(event: Partial<Event>): Event {
    const whole = EventView.parse({
      seq: this.oldestSeq + this.#events.length,
      type: "agent.message",
      at,
      issue_id: "iss_1",
      issue_identifier: "ENG-1",
      attempt_id: "att_1",
      session_id: null,
      message: "working",
      data: {},
      ...event,
    });
    this.#events.push(whole);
    for (const stream of this.#streams) stream.write(frame(whole));
    return whole;
  }

  dropStreams(): void {
    for (const stream of this.#streams) stream.destroy();
    this.#streams.clear();
  }

  async streams(count: number): Promise<void> {
    while (this.#streams.size < count) {
      await new Promise<void>((resolve) => {
        this.#opened = resolve;
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }

  #stream(request: IncomingMessage, response: ServerResponse, query: URLSearchParams): void {
    const failure = this.streamFailures.shift();
    if (failure !== undefined) return refuse(response, failure, "unavailable");
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("retry: 2000\n\n");
    const last = request.headers["last-event-id"] ?? query.get("since");
    const from = last === null ? Number.POSITIVE_INFINITY : Number(last);
    if (from < this.oldestSeq - 1) {
      const gap = JSON.stringify({ oldest_seq: this.oldestSeq });
      response.write(`id: ${this.oldestSeq - 1}\nevent: gap\ndata: ${gap}\n\n`);
    }
    for (const event of this.#events) if (event.seq > from) response.write(frame(event));
    this.#streams.add(response);
    response.once("close", () => this.#streams.delete(response));
    this.#opened();
  }

  get #lastSeq(): number {
    return this.oldestSeq + this.#events.length - 1;
  }
}

type Answer =
  | { readonly status: number; readonly json: unknown }
  | { readonly status: number; readonly code: string; readonly details?: unknown };

function ok(json: unknown, status = 200): Answer {
  return { status, json };
}

function frame(event: Event): string {
  return `id: ${event.seq}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
}

function refuse(response: ServerResponse, status: number, code: string, details?: unknown): void {
  const message = `refused with ${code}`;
  send(response, status, {
    error: { code, message, ...(details !== undefined && { details }), request_id: "r1" },
  });
}

function send(response: ServerResponse, status: number, json: unknown): void {
  response.writeHead(status, {
    "content-type": "application/json; charset=utf-8",
    "symphony-version": "0.1.0",
  });
  response.end(JSON.stringify(json));
}
