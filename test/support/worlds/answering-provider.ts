import assert from "node:assert/strict";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Learned } from "../../../src/core/agent/openai/learned.ts";
import { Provider } from "../../../src/core/agent/openai/provider.ts";
import { openaiSection } from "../../../src/core/agent/openai/settings.ts";
import type { Item, ModelReply, ModelRequest } from "../../../src/core/agent/openai/thread.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { type JsonObject, listOf, objectOf } from "../../../src/core/text/text.ts";

interface Asked {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: JsonObject;
}

export type Reply = (response: ServerResponse, asked: Asked) => unknown;

interface Place extends AsyncDisposable {
  /** The settings that lead to it. */
  readonly written: { readonly base_url: string; readonly api: string };
  readonly asked: readonly Asked[];
  readonly notices: readonly string[];
  readonly hidden: readonly string[];
  readonly learned: Learned;
  ask(items?: readonly Item[], more?: Partial<ModelRequest>): Promise<readonly Item[]>;
  reply(items?: readonly Item[], more?: Partial<ModelRequest>): Promise<ModelReply>;
}

export const hello: Item = { type: "message", role: "user", content: "Hello." };
export const base: ModelRequest = {
  ...{ threadId: "thr_1", model: "m", effort: null, instructions: "Be good." },
  ...{ items: [hello], maxOutputTokens: 4_096 },
  tools: [{ name: "shell", description: "d", inputSchema: { type: "object", properties: {} } }],
};

/** A provider of models that answers with these, in order, and the client before it. */
export async function place(
  replies: readonly Reply[],
  settings: object = {},
  query = "",
): Promise<Place> {
  const asked: Asked[] = [];
  const left = [...replies];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = JSON.parse(Buffer.concat(chunks).toString()) as JsonObject;
    const one = { path: request.url ?? "", headers: request.headers, body };
    asked.push(one);
    const reply = left.shift() ?? json(500, { error: { message: "nothing is left" } });
    await reply(response, one);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const written = { base_url: `http://127.0.0.1:${port}/v1${query}`, api: "chat", max_retries: 0 };
  const config = openaiSection.settings(openaiSection.schema.parse({ ...written, ...settings }));
  const learned = new Learned(null, systemClock);
  const [notices, hidden]: [string[], string[]] = [[], []];
  const provider = () =>
    new Provider({
      config: () => config,
      lookup: (name) => (name === "UNSET" ? undefined : `sk-${name}-0123456789`),
      hide: (value) => void hidden.push(value),
      clock: systemClock,
      learned,
      received: () => {},
      notice: (message) => void notices.push(message),
    });
  const reply = (items: readonly Item[] = [hello], more: Partial<ModelRequest> = {}) =>
    provider().ask({ ...base, items, ...more }, new AbortController().signal);
  return {
    ...{ written, asked, notices, hidden, learned, reply },
    ask: async (items, more) => (await reply(items, more)).items,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export function json(status: number, body: unknown, type = "application/json"): Reply {
  return (response) =>
    response
      .writeHead(status, { "content-type": type })
      .end(typeof body === "string" ? body : JSON.stringify(body));
}

export const sse = (...events: readonly unknown[]) =>
  events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("");

export function chat(...deltas: readonly JsonObject[]): Reply {
  const chunks = deltas.map((delta) => ({ choices: [{ index: 0, delta, finish_reason: null }] }));
  const last = { choices: [{ index: 0, delta: {}, finish_reason: "stop" }] };
  return json(200, `${sse(...chunks, last)}data: [DONE]\n\n`, "text/event-stream");
}

export function responses(...events: readonly JsonObject[]): Reply {
  return json(200, sse(...events), "text/event-stream");
}

export const call = (id: string, name: string, args: string, more: object = {}) => ({
  ...{ index: 0, id, type: "function", function: { name, arguments: args } },
  ...more,
});
export const texts = (items: readonly Item[]) =>
  items.flatMap((item) => (item.type === "message" ? [item.content] : []));
export const calls = (items: readonly Item[]) =>
  items.flatMap((item) => (item.type === "function_call" ? [[item.name, item.arguments]] : []));

export const messagesOf = (asked: { readonly body: JsonObject } | undefined) =>
  listOf(asked?.body["messages"]).map(objectOf);

export async function refusal(work: Promise<unknown>): Promise<SymphonyError> {
  const error: unknown = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof SymphonyError, String(error));
  return error;
}
