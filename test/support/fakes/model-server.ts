import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** The answer of a scripted model to one request. */
export interface Answer {
  readonly text?: string;
  readonly sealed?: string;
  readonly calls?: readonly { readonly name: string; readonly args: unknown }[];
  readonly usage?: { readonly input: number; readonly output: number; readonly cached?: number };
  /** An error instead of an answer. */
  readonly status?: number;
  readonly error?: Readonly<Record<string, unknown>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** `cut`: the connection breaks in the middle. `silence`: nothing is sent after the first event. */
  readonly fault?: "cut" | "silence" | "failed";
  /** The answer ends before it is complete, for this reason. */
  readonly ends?: "length" | "filter";
}

interface ModelRequest {
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: Readonly<Record<string, unknown>>;
}

export interface ModelServer extends AsyncDisposable {
  readonly url: string;
  readonly asked: ModelRequest[];
  /** Resolves after that many requests. */
  until(count: number): Promise<void>;
}

interface Call {
  readonly id: string;
  readonly name: string;
  readonly written: string;
}

/** A provider of models on this machine with both APIs or one of them; it sends its answers in order. */
export async function modelServer(
  answers: readonly (Answer | ((body: ModelRequest["body"]) => Answer))[],
  apis: readonly ("responses" | "chat")[] = ["responses", "chat"],
): Promise<ModelServer> {
  const asked: ModelRequest[] = [];
  const left = [...answers];
  const waiting = new Set<() => void>();
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const path = request.url ?? "";
    if (request.method === "GET") {
      reply(response, { status: 404, error: { message: `no route ${path}` } });
      return;
    }
    const body = JSON.parse(Buffer.concat(chunks).toString() || "{}") as ModelRequest["body"];
    const api = path.endsWith("/responses") ? "responses" : "chat";
    if (!apis.includes(api)) {
      reply(response, { status: 404, error: { message: `no route ${path}` } });
      return;
    }
    asked.push({ path, headers: request.headers, body });
    for (const look of waiting) look();
    const next = left.shift() ?? { text: "done" };
    const answer = typeof next === "function" ? next(body) : next;
    if (answer.status !== undefined) reply(response, answer);
    else if (api === "responses") streamResponses(response, answer, asked.length);
    else streamChat(response, answer, asked.length);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/v1`,
    asked,
    until: (count) =>
      new Promise((resolve) => {
        const look = () => {
          if (asked.length < count) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function reply(response: ServerResponse, { status = 500, error = {}, headers }: Answer): void {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify({ error: { message: `error ${status}`, ...error } }));
}

function callsOf(answer: Answer, number: number): readonly Call[] {
  return (answer.calls ?? []).map(({ name, args }, index) => ({
    id: `call_${number}_${index}`,
    name,
    written: typeof args === "string" ? args : JSON.stringify(args),
  }));
}

function streamResponses(response: ServerResponse, answer: Answer, number: number): void {
  response.writeHead(200, { "content-type": "text/event-stream", ...answer.headers });
  const send = (type: string, data: object) =>
    response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`);
  send("response.created", { response: { id: "r", status: "in_progress", output: [] } });
  if (answer.fault === "silence") return;
  if (answer.fault === "cut") {
    setImmediate(() => response.destroy());
    return;
  }
  if (answer.fault === "failed") {
    send("response.failed", { response: { error: answer.error } });
    response.end();
    return;
  }
  const items = [
    ...(answer.sealed === undefined
      ? []
      : [{ type: "reasoning", id: "rs_1", summary: [], encrypted_content: answer.sealed }]),
    ...(answer.text === undefined
      ? []
      : [
          {
            type: "message",
            id: "m",
            role: "assistant",
            content: [{ type: "output_text", text: answer.text }],
          },
        ]),
    ...callsOf(answer, number).map(({ id, name, written }) => ({
      ...{ type: "function_call", id: `f${id}`, call_id: id, name, arguments: written },
      status: "completed",
    })),
  ];
  for (const [index, item] of items.entries())
    send("response.output_item.done", { output_index: index, item });
  const { input = 10, output = 5, cached = 0 } = answer.usage ?? {};
  const usage = {
    ...{ input_tokens: input, output_tokens: output, total_tokens: input + output },
    input_tokens_details: { cached_tokens: cached },
    output_tokens_details: { reasoning_tokens: 0 },
  };
  if (answer.ends) {
    const reason = answer.ends === "filter" ? "content_filter" : "max_output_tokens";
    const incomplete_details = { reason };
    send("response.incomplete", {
      response: { id: "r", output: items, usage, incomplete_details },
    });
  } else send("response.completed", { response: { id: "r", output: items, usage } });
  response.end();
}

function streamChat(response: ServerResponse, answer: Answer, number: number): void {
  response.writeHead(200, { "content-type": "text/event-stream", ...answer.headers });
  const send = (data: object) => response.write(`data: ${JSON.stringify(data)}\n\n`);
  const delta = (part: object, finish: string | null = null) =>
    send({ id: "c", choices: [{ index: 0, delta: part, finish_reason: finish }] });
  delta({ role: "assistant", content: "" });
  if (answer.fault === "silence") return;
  if (answer.fault === "cut") {
    setImmediate(() => response.destroy());
    return;
  }
  for (const letter of answer.text ?? "") delta({ content: letter });
  for (const [index, { id, name, written }] of callsOf(answer, number).entries()) {
    delta({ tool_calls: [{ index, id, type: "function", function: { name, arguments: "" } }] });
    const half = Math.ceil(written.length / 2);
    for (const part of [written.slice(0, half), written.slice(half)])
      delta({ tool_calls: [{ index, function: { arguments: part } }] });
  }
  const ends = { length: "length", filter: "content_filter" };
  delta({}, answer.ends ? ends[answer.ends] : answer.calls ? "tool_calls" : "stop");
  const { input = 10, output = 5, cached = 0 } = answer.usage ?? {};
  send({
    id: "c",
    choices: [],
    usage: {
      ...{ prompt_tokens: input, completion_tokens: output, total_tokens: input + output },
      prompt_tokens_details: { cached_tokens: cached },
    },
  });
  response.write("data: [DONE]\n\n");
  response.end();
}
