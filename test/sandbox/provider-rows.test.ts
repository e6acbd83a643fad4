// A3 to A18 are rows of the cases of agents. Each shape of test/core/agent/openai/rows.test.ts again, through a real server: an
// issue whose model answers in that shape is worked on and reaches Done.

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type JsonObject, listOf, objectOf } from "../../src/core/text/text.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

/** Answers one request; what it throws is a failure of the test, told at the end. */
type Step = (response: ServerResponse, body: JsonObject, text: string) => unknown;

const json =
  (status: number, body: unknown): Step =>
  (response) =>
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));

function stream(...events: readonly unknown[]): Step {
  const text = events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("");
  return (response) =>
    response.writeHead(200, { "content-type": "text/event-stream" }).end(`${text}data: [DONE]\n\n`);
}

function chat(...deltas: readonly JsonObject[]): Step {
  const chunks = deltas.map((delta) => ({ choices: [{ index: 0, delta, finish_reason: null }] }));
  return stream(...chunks, { choices: [{ index: 0, delta: {}, finish_reason: "stop" }] });
}

const call = (id: string, name: string, args: object | string, more: object = {}) => ({
  ...{ index: 0, id, type: "function" },
  function: { name, arguments: typeof args === "string" ? args : JSON.stringify(args) },
  ...more,
});
const shell = (id: string, command: string) => call(id, "shell", { command });
const done = chat({ tool_calls: [call("end", "issue_move", { state: "Done" })] });
const bye = chat({ content: "All done." });
const summary = chat({ content: "A summary." });
const messages = (body: JsonObject) => listOf(body["messages"]).map(objectOf);

/** Looks at the request before it answers. */
const when =
  (look: (body: JsonObject, text: string) => void, step: Step): Step =>
  (response, body, text) => {
    look(body, text);
    return step(response, body, text);
  };

const big = shell("big", "head -c 40000 /dev/zero | tr '\\0' x");

/** A full context in the words of one provider, then the same request again, shortened. */
function full(refusal: Step): readonly Step[] {
  let longest = 0;
  // What another issue has taught may have shortened this one before its own refusal.
  const seen = (step: Step) =>
    when((_, text) => {
      longest = Math.max(longest, text.length);
    }, step);
  const shorter = when((_, text) => assert.ok(text.length < longest, "it is not shortened"), done);
  const work = seen(chat({ tool_calls: [big] }));
  return [work, work, seen(refusal), shorter, bye];
}

const chatRows: Readonly<Record<string, readonly Step[]>> = {
  A3: [
    chat({ tool_calls: [shell("a", "echo one")] }, { tool_calls: [shell("b", "echo two")] }),
    when((body) => {
      const results = messages(body).filter(({ role }) => role === "tool");
      const said = results.map(({ content }) => String(content));
      assert.ok(said[0]?.includes("one") && said[1]?.includes("two"), said.join("; "));
    }, done),
    bye,
  ],
  A4: [
    chat(
      { reasoning_content: "I look first." },
      {
        tool_calls: [
          { ...shell("a", "ls"), extra_content: { google: { thought_signature: "sig-1" } } },
        ],
      },
    ),
    when((body, text) => {
      const said = messages(body).find((message) => message["tool_calls"] !== undefined);
      assert.equal(said?.["reasoning_content"], "I look first.");
      assert.ok(text.includes('"thought_signature":"sig-1"'), "the signature is missing");
    }, done),
    bye,
  ],
  A5: full(
    json(400, {
      error: {
        code: 400,
        message: "the request exceeds the available context size, try increasing it",
        type: "exceed_context_size_error",
        n_prompt_tokens: 30_000,
        n_ctx: 16_384,
      },
    }),
  ),
  A6: full(
    json(429, {
      error: {
        message:
          "Request too large for model `m` on tokens per minute (TPM): Limit 12000, Requested 30000, please reduce your message size and try again.",
        type: "tokens",
        code: "rate_limit_exceeded",
      },
    }),
  ),
  A9: [
    // An answer that begins within request_timeout_ms is waited for; a silence ends after it, not before, and is tried again.
    async (response, body, text) => {
      await sleep(3_000);
      chat({ tool_calls: [shell("a", "echo waited")] })(response, body, text);
    },
    (response) => {
      const begun = performance.now();
      response.once("close", () => {
        silentForMs = performance.now() - begun;
      });
    },
    when((_, text) => assert.ok(text.includes("waited"), "the conversation is not whole"), done),
    bye,
  ],
  A10: [
    async (response, body, text) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      // Longer than request_timeout_ms in all, and never silent for as long.
      for (let i = 0; i < 16; i += 1) {
        response.write(": OPENROUTER PROCESSING\n\n");
        await sleep(500);
      }
      const chunk = { choices: [{ index: 0, delta: {}, finish_reason: "stop" }] };
      const [move] = [call("end", "issue_move", { state: "Done" })];
      const first = { choices: [{ index: 0, delta: { tool_calls: [move] }, finish_reason: null }] };
      assert.ok(text.length > 0 && body !== null);
      response.end(
        `data: ${JSON.stringify(first)}\n\ndata: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n`,
      );
    },
    bye,
  ],
  A16: [
    // Refused until it is left out; other issues may have been refused before.
    (response, body, text) => {
      if (!("stream_options" in body)) return done(response, body, text);
      refusedOptions += 1;
      steps.set("A16", 0);
      const message = "Unrecognized request argument supplied: stream_options";
      return json(400, { error: { message } })(response, body, text);
    },
    bye,
  ],
  A17: [
    json(400, { error: { message: "Failed to call a function.", code: "tool_use_failed" } }),
    chat({ tool_calls: [call("a", "shell", '{"command": "ls')] }),
    when((body) => {
      const said = messages(body).find((message) => message["tool_calls"] !== undefined);
      const [first] = listOf(said?.["tool_calls"]).map(objectOf);
      assert.equal(objectOf(first?.["function"])["arguments"], "{}");
    }, done),
    bye,
  ],
  A18: [done, chat({ content: [{ type: "text", text: "All of it in parts." }] as never })],
};

let refusedOptions = 0;
let silentForMs = 0;
/** For `openai.request_timeout_ms`. */
const requestTimeoutMs = 4_000;
const steps = new Map<string, number>();

const answered = (...output: readonly JsonObject[]) =>
  stream({
    type: "response.completed",
    response: { id: "resp", status: "completed", output, usage: null },
  });
const functionCall = (id: string, name: string, args: object) => ({
  ...{ type: "function_call", id: `fc_${id}`, call_id: id, name },
  ...{ arguments: JSON.stringify(args), status: "completed" },
});
const reasoning = { type: "reasoning", id: "rs_1", summary: [], encrypted_content: "opaque" };

const finished = answered({
  ...{ type: "message", id: "msg", role: "assistant", status: "completed" },
  content: [{ type: "output_text", text: "All done.", annotations: [] }],
});

const responsesRows: Readonly<Record<string, readonly Step[]>> = {
  // A silence within a raised request_timeout_ms is waited for, longer than agent.silence_timeout_ms.
  A9: [
    async (response, body, text) => {
      await sleep(5_000);
      answered(functionCall("end", "issue_move", { state: "Done" }))(response, body, text);
    },
    finished,
  ],
  A15: [
    stream(
      { type: "response.output_item.done", output_index: 0, item: reasoning },
      {
        type: "response.incomplete",
        response: {
          ...{ id: "resp", status: "incomplete", output: [reasoning] },
          incomplete_details: { reason: "max_output_tokens" },
        },
      },
    ),
    when(
      (body) => {
        const last = objectOf(listOf(body["input"]).at(-1));
        assert.notEqual(last["type"], "reasoning", "it ends with reasoning");
      },
      answered(functionCall("end", "issue_move", { state: "Done" })),
    ),
    finished,
  ],
  A18: [answered(functionCall("end", "issue_move", { state: "Done" })), finished],
};

/** A provider that answers each issue by its own row. */
async function provider(rows: Readonly<Record<string, readonly Step[]>>, responses: Step | null) {
  const faults: string[] = [];
  const paths: string[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    // The check of the configured model asks for the list.
    if (request.method === "GET") return response.writeHead(404).end();
    const body = objectOf(JSON.parse(text));
    const path = request.url ?? "";
    paths.push(path);
    if (responses !== null && path.endsWith("/responses")) return responses(response, body, text);
    // Before it shortens a conversation, the agent asks for a summary of its older part.
    if (text.includes("CONTEXT CHECKPOINT")) return summary(response, body, text);
    const row = /Row (A\d+)\./.exec(text)?.[1] ?? "";
    const count = steps.get(row) ?? 0;
    steps.set(row, count + 1);
    try {
      const step = rows[row]?.[count];
      if (step === undefined) throw new Error(`a request too many (${count})`);
      await step(response, body, text);
    } catch (error) {
      faults.push(`${row}: ${error instanceof Error ? error.message : String(error)}`);
      json(400, { error: { message: "not as expected" } })(response, body, text);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    ...{ faults, paths, url: `http://127.0.0.1:${port}/v1` },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function workThrough(
  rows: Readonly<Record<string, readonly Step[]>>,
  {
    api,
    responses,
    ...times
  }: {
    readonly api: string;
    readonly responses: Step | null;
    readonly requestTimeoutMs: number;
    readonly silenceTimeoutMs?: number;
  },
) {
  steps.clear();
  await using model = await provider(rows, responses);
  const root = await mkdtemp(join(tmpdir(), "symphony-rows-"));
  await using _ = { [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }) };
  const front = {
    tracker: { kind: "local" },
    polling: { interval_ms: 500 },
    host: { min_memory: 0, max_load: 0 },
    workspace: { root: join(root, "workspaces") },
    agent: {
      ...{ kind: "openai", max_concurrent_agents: 4, max_turns: 2 },
      silence_timeout_ms: times.silenceTimeoutMs ?? 300_000,
    },
    openai: { base_url: model.url, model: "m", api, request_timeout_ms: times.requestTimeoutMs },
  };
  const place = {
    ...{ root, workflowPath: join(root, "WORKFLOW.md"), dataDir: join(root, ".symphony") },
    env: { HOME: root, OPENAI_API_KEY: "sk-test-0123456789" },
  };
  const prompt = "Row {{ issue.title }}.";
  await writeFile(place.workflowPath, `---\n${JSON.stringify(front)}\n---\n${prompt}\n`);
  await using server = await Served.start(place);
  const named = Object.keys(rows);
  for (const row of named) {
    const made = await symphony(place, "issue", "create", "--title", row);
    assert.equal(made.code, 0, made.stderr);
  }
  const ended = await eventually(
    "every row reaches Done",
    async () => {
      assert.deepEqual(model.faults, []);
      const { completed } = await server.client.system.state({});
      return completed.length === named.length ? completed : null;
    },
    90_000,
  );
  const attempts = await Promise.all(
    ended.map(async ({ issue_identifier: id }) => {
      const found = await server.client.issues.attempts({ params: { id } });
      return found.attempts.map(({ status, error }) => [id, status, error?.message]);
    }),
  );
  const expected = named.map((_, i) => [[`LOCAL-${i + 1}`, "succeeded", undefined]]);
  assert.deepEqual(attempts.toSorted(), expected);
  const last = await server.events(`LOCAL-${named.indexOf("A18") + 1}`);
  assert.deepEqual(model.faults, []);
  return { paths: model.paths, last: last.filter(({ type }) => type === "agent.message") };
}

test("A3 to A6, A9, A10, A12, A16 to A18: with Chat Completions each shape ends in Done, in one attempt", async () => {
  // A12: LM Studio's answer to an unknown endpoint, so `auto` takes the other one.
  const unknown = json(200, { error: "Unexpected endpoint or method. (POST /v1/responses)" });
  const { paths, last } = await workThrough(chatRows, {
    ...{ api: "auto", responses: unknown, requestTimeoutMs },
  });
  assert.ok(paths.some((path) => path.endsWith("/responses")));
  assert.ok(refusedOptions > 0, "A16: nothing was refused");
  // Its clock and ours are not the same.
  assert.ok(silentForMs > requestTimeoutMs - 100, `A9: ended after ${silentForMs} ms`);
  assert.match(JSON.stringify(last.at(-1)), /All of it in parts\./);
});

test("A9, A15, A18: with the Responses API each shape ends in Done, in one attempt", async () => {
  await workThrough(responsesRows, {
    ...{ api: "responses", responses: null, requestTimeoutMs: 900_000, silenceTimeoutMs: 3_000 },
  });
});
