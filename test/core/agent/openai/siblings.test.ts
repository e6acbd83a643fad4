// More answers of the kinds of the rows in rows.test.ts: other words, other fields, other ends of a stream.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import { TooLong } from "../../../../src/core/agent/openai/provider.ts";
import type { SymphonyError } from "../../../../src/core/model/errors.ts";
import type { JsonObject } from "../../../../src/core/text/text.ts";
import {
  call,
  calls,
  chat,
  hello,
  json,
  messagesOf,
  place,
  type Reply,
  refusal,
  responses,
  sse,
  texts,
} from "../../../support/worlds/answering-provider.ts";

const fails = (status: number, error: object) => json(status, { error });
const ends = (reason: string, delta: object = { content: "Half" }) =>
  json(200, sse({ choices: [{ index: 0, delta, finish_reason: reason }] }), "text/event-stream");

describe("A5: a conversation that does not fit, in other words", () => {
  const refusals: readonly [string, number, string, number | null][] = [
    ["Bedrock", 400, "Input is too long for requested model.", null],
    [
      "Cerebras",
      400,
      "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192",
      8_192,
    ],
    [
      "Text Generation Inference",
      422,
      "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 32769. Given: 40000 `inputs` tokens and 512 `max_new_tokens`",
      32_769,
    ],
    ["Alibaba", 400, "Range of input length should be [1, 129024]", 129_024],
    ["Zhipu", 400, "Prompt exceeds max length", null],
    [
      "vLLM, of a prompt",
      400,
      "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
      4_096,
    ],
    ["vLLM, of what is left", 400, "max_tokens must be at least 1, got -1500", null],
    [
      "Anthropic, with what it may answer",
      400,
      "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length or `max_tokens` and try again",
      200_000,
    ],
  ];
  for (const [name, status, message, size] of refusals) {
    test(`A5: ${name}`, async () => {
      await using at = await place([fails(status, { message })]);
      const error = await at.ask().catch((reason: unknown) => reason);
      assert.ok(error instanceof TooLong, String(error));
      assert.deepEqual([error.contextTokens, at.asked.length], [size, 1]);
    });
  }
});

describe("A1: a limit whose time stands elsewhere", () => {
  const soon = Date.now() + 3_600_000;
  const limits: readonly [string, object][] = [
    [
      "Groq, by the day",
      {
        message:
          "Rate limit reached for model `x` on tokens per day (TPD): Limit 100000, Used 99000, Requested 2000. Please try again in 59m57.6s.",
        code: "rate_limit_exceeded",
      },
    ],
    [
      "Azure",
      {
        message:
          "Requests to the ChatCompletions_Create Operation have exceeded token rate limit of your current pricing tier. Please retry after 3600 seconds.",
        code: "429",
      },
    ],
    [
      "OpenRouter",
      {
        message: "Rate limit exceeded: free-models-per-day",
        code: 429,
        metadata: { headers: { "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": `${soon}` } },
      },
    ],
    [
      "Google",
      {
        message: "You exceeded your current quota, please check your plan and billing details.",
        status: "RESOURCE_EXHAUSTED",
        details: [{ "@type": "type.googleapis.com/google.rpc.RetryInfo", retryDelay: "3600.5s" }],
      },
    ],
  ];
  for (const [name, body] of limits) {
    test(`A1: ${name}: a pause until then, after one request`, async () => {
      await using at = await place([fails(429, body)], { max_retries: 3 });
      const error = await refusal(at.ask());
      assert.equal(error.code, "provider_limited");
      const late = Number(error.details["untilWall"]) - soon;
      assert.ok(Math.abs(late) < 60_000, `${late}`);
      assert.equal(at.asked.length, 1);
    });
  }

  test("A1: a short wait in the words of the refusal is waited for", async () => {
    const message = "Rate limit reached: Limit 30, Used 30, Requested 1. Please try again in 15ms.";
    await using at = await place([fails(429, { message }), chat({ content: "done" })], {
      max_retries: 1,
    });
    assert.deepEqual(texts(await at.ask()), ["done"]);
    assert.match(at.notices[0] ?? "", /trying again in 15 ms/);
  });
});

describe("A11: refused for every issue, in other words", () => {
  const [key, model, money] = [/secrets add/, /symphony models/, /pay the account/];
  const refusals: readonly [string, number, object, RegExp][] = [
    [
      "Google, a wrong key",
      400,
      { message: "API key not valid. Please pass a valid API key." },
      key,
    ],
    ["Google, an old key", 400, { message: "API key expired. Please renew the API key." }, key],
    [
      "Google, no such model",
      404,
      { message: "models/x is not found for API version v1main, or is not supported" },
      model,
    ],
    [
      "Google, from there",
      400,
      { message: "User location is not supported for the API use." },
      /URL/,
    ],
    [
      "OpenAI, from there",
      403,
      { message: "Country not supported", code: "unsupported_country_region_territory" },
      /URL/,
    ],
    [
      "OpenAI, not this project's model",
      403,
      { message: "Project `p` does not have access to model `m`", code: "model_not_found" },
      model,
    ],
    [
      "Azure, no such deployment",
      404,
      {
        code: "DeploymentNotFound",
        message: "The API deployment for this resource does not exist.",
      },
      model,
    ],
    ["Mistral, no such model", 400, { message: "Invalid model: m", code: "1500" }, model],
    ["DeepSeek, no such model", 400, { message: "Model Not Exist" }, model],
    [
      "OpenRouter, no such model",
      400,
      { message: "a/b is not a valid model ID", code: 400 },
      model,
    ],
    ["OpenRouter, no such model any more", 404, { message: "No endpoints found for a/b." }, model],
    [
      "Moonshot, no such model",
      404,
      { message: "Not found the model m or Permission denied" },
      model,
    ],
    [
      "Groq, a model of before",
      400,
      { message: "The model `m` has been decommissioned", code: "model_decommissioned" },
      model,
    ],
    [
      "xAI, without money",
      429,
      { message: "Your team has either used all available credits or reached its limit" },
      money,
    ],
    [
      "Zhipu, without money",
      429,
      { message: "余额不足或无可用资源包,请充值。", code: "1113" },
      money,
    ],
    [
      "OpenRouter, no such model under the account's data policy",
      404,
      { message: "No endpoints found matching your data policy (Free model publication)." },
      model,
    ],
    ["OpenRouter, no tools", 404, { message: "No endpoints found that support tool use." }, model],
    ["Ollama, no tools", 400, { message: "library/m does not support tools" }, model],
    ["OpenAI, over its own budget", 400, { message: "Billing hard limit has been reached" }, money],
    ["Alibaba, without money", 400, { message: "Access denied", code: "Arrearage" }, money],
  ];
  for (const [name, status, body, hint] of refusals) {
    test(`A11: ${name}`, async () => {
      await using at = await place([fails(status, body)], { api: "auto", max_retries: 3 });
      const error: SymphonyError = await refusal(at.ask());
      assert.equal(error.code, "provider_refused");
      assert.match(error.hint ?? "", hint);
      assert.equal(at.asked.length, 1);
    });
  }
});

describe("A16: a part that the provider names in a field", () => {
  test("A16: OpenAI's param, of a field in it", async () => {
    const error = { message: "Unsupported parameter", param: "reasoning.effort" };
    const done = responses({
      type: "response.completed",
      response: { output: [{ type: "message", content: [{ type: "output_text", text: "ok" }] }] },
    });
    await using at = await place([fails(400, error), done], { api: "responses" });
    await at.ask(undefined, { effort: "high" });
    assert.deepEqual(
      at.asked.map(({ body }) => body["reasoning"] !== undefined),
      [true, false],
    );
  });
});

describe("A16: max_tokens above what the model can answer, in other words", () => {
  for (const message of [
    "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the `context_window` for this model",
    "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
    "max_tokens: 64000 > 8192, which is the maximum allowed: must be at most 8192",
  ]) {
    test(`A16: ${message.slice(0, 40)}`, async () => {
      await using at = await place([fails(400, { message }), chat({ content: "done" })]);
      assert.deepEqual(texts(await at.ask()), ["done"]);
      const sent = at.asked.map(({ body }) => body["max_tokens"] !== undefined);
      assert.deepEqual(sent, [true, false]);
    });
  }
});

test("A1: a quota that an answer of 200 or 400 names by its code pauses the agent", async () => {
  const error = { message: "no quota", code: "insufficient_quota" };
  for (const reply of [json(200, { success: false, error }), fails(400, error)]) {
    await using at = await place([reply], { max_retries: 3 });
    assert.equal((await refusal(at.ask())).code, "provider_limited");
    assert.equal(at.asked.length, 1);
  }
});

describe("A17: other ends of an answer", () => {
  for (const reason of ["insufficient_system_resource", "network_error", "abort"]) {
    test(`A17: ${reason} is a failure, and the half answer is none`, async () => {
      await using at = await place([ends(reason), chat({ content: "done" })], { max_retries: 1 });
      assert.deepEqual(texts(await at.ask()), ["done"]);
      assert.match(at.notices[0] ?? "", new RegExp(reason));
    });
  }

  test("A17: Gemini's malformed call is asked for once more", async () => {
    const malformed = ends("function_call_filter: MALFORMED_FUNCTION_CALL", {});
    await using at = await place([malformed, chat({ content: "done" })]);
    assert.deepEqual(texts(await at.ask()), ["done"]);
    assert.equal(at.asked.length, 2);
  });
});

describe("A3, A12, A18: other forms", () => {
  test("A3: calls without ids and without arguments are two", async () => {
    const named = (name: string) => ({ tool_calls: [{ index: 0, function: { name } }] });
    await using at = await place([chat(named("one"), named("two"))]);
    assert.deepEqual(
      calls(await at.ask()).map(([name]) => name),
      ["one", "two"],
    );
  });

  test("A4: OpenRouter's reasoning in parts goes back as the one piece that it is, with its signature", async () => {
    const part = (fields: JsonObject) => ({
      reasoning_details: [{ type: "reasoning.text", index: 0, ...fields }],
    });
    const parts = [part({ text: "Let " }), part({ text: "me see." }), part({ signature: "s1" })];
    await using at = await place([
      chat(...parts, { tool_calls: [call("a", "shell", "{}")] }),
      chat({ content: "done" }),
    ]);
    const items = await at.ask();
    const answered = { type: "function_call_output", call_id: "a", output: "ok" } as const;
    await at.ask([hello, ...items, answered]);
    const [, , spoken] = messagesOf(at.asked[1]);
    assert.deepEqual(spoken?.["reasoning_details"], [
      { type: "reasoning.text", index: 0, text: "Let me see.", signature: "s1" },
    ]);
  });

  test("A12: an error of FastAPI in a 200 is told in its words", async () => {
    await using at = await place([json(200, { detail: "the model is not loaded" })]);
    assert.match((await refusal(at.ask())).message, /the model is not loaded/);
  });

  test("A18: the whole message in a chunk, and a usage without numbers", async () => {
    const chunk = {
      choices: [
        { index: 0, message: { role: "assistant", content: "Hello." }, finish_reason: "stop" },
      ],
      usage: { prompt_tokens: null },
    };
    await using at = await place([json(200, sse(chunk), "text/event-stream")]);
    assert.deepEqual(texts(await at.ask()), ["Hello."]);
  });
});

describe("A12, A18: the same answer in another stream", () => {
  const of = (delta: object | null, finish: string | null = null) => ({
    choices: [{ index: 0, delta, finish_reason: finish }],
  });
  const done = "data: [DONE]\n\n";
  const plain = `${sse(of({ content: "Grüße 🎉" }), of({}, "stop"))}${done}`;
  const events = (body: string) => json(200, body, "text/event-stream");
  const packed = (body: Buffer, encoding: string): Reply => {
    const headers = { "content-type": "text/event-stream", "content-encoding": encoding };
    return (response) => response.writeHead(200, headers).end(body);
  };
  const inBytes: Reply = async (response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const byte of Buffer.from(plain)) response.write(Uint8Array.of(byte));
    response.end();
  };
  const lines = JSON.stringify(of({ content: "Grüße 🎉" }, "stop"), null, 1).replaceAll(
    "\n",
    "\ndata: ",
  );
  const streams: readonly (readonly [string, Reply])[] = [
    ["lines that end with CR LF", events(plain.replaceAll("\n", "\r\n"))],
    ["lines that end with CR", events(plain.replaceAll("\n", "\r"))],
    ["no end of the last line", events(plain.trimEnd())],
    ["a mark at its start, and no spaces", events(`\ufeff${plain.replaceAll("data: ", "data:")}`)],
    ["other fields", events(plain.replaceAll("data:", "event: message\nid: 7\nretry: 9\ndata:"))],
    ["data in many lines", events(`data: ${lines}\n\n`)],
    ["signs of life without JSON", events(`data:\n\nevent: ping\ndata: ping\n\n: x\n\n${plain}`)],
    ["each byte alone", inBytes],
    ["no name of its type", json(200, plain, "application/octet-stream")],
    ["no reason of its end", events(`${sse(of({ content: "Grüße 🎉" }, ""))}${done}`)],
    ["nulls", events(sse(of({ content: null, tool_calls: null }), of(null)) + plain)],
    ["gzip", packed(gzipSync(plain), "gzip")],
    ["deflate", packed(deflateSync(plain), "deflate")],
    ["brotli", packed(brotliCompressSync(plain), "br")],
    [
      "another choice first",
      events(
        sse(
          {
            choices: [
              { index: 1, delta: { content: "B" } },
              of({ content: "Grüße 🎉" }).choices[0],
            ],
          },
          of({}, "stop"),
        ),
      ),
    ],
    [
      "a whole answer as text",
      json(
        200,
        { choices: [{ message: { content: "Grüße 🎉" }, finish_reason: "stop" }] },
        "text/plain",
      ),
    ],
  ];
  test("A18: the text is the same", async () => {
    for (const [name, reply] of streams) {
      await using at = await place([reply]);
      assert.deepEqual(texts(await at.ask()), ["Grüße 🎉"], name);
    }
  });

  test("A3: calls in other forms are run, each with an id of its own", async () => {
    const part = (index: unknown, args: string, more: object = {}) => ({
      ...{ index, function: { arguments: args, ...more } },
    });
    const [a, b] = ['{"command":"a"}', '{"command":"b"}'];
    const forms: readonly (readonly object[])[] = [
      // The numbers of the calls as text, and parts of two calls in turn.
      [
        of({ tool_calls: [part("0", "", { name: "shell" }), part("1", "", { name: "shell" })] }),
        of({ tool_calls: [part("0", a), part("1", b)] }),
      ],
      [of({ tool_calls: [call("x", "shell", a), { ...call("x", "shell", b), index: 4 }] })],
      [of({ tool_calls: call("x", "shell", a) }), of({ tool_calls: call("y", "shell", b) })],
    ];
    for (const form of forms) {
      await using at = await place([events(sse(...form, of({}, "tool_calls")))]);
      const items = await at.ask();
      assert.deepEqual(calls(items), [
        ["shell", a],
        ["shell", b],
      ]);
      const ids = items.map((item) => item.type === "function_call" && item.call_id);
      assert.equal(new Set(ids).size, 2);
    }
    const first = [{ name: "shell", arguments: '{"comm' }, { arguments: 'and":"a"}' }];
    const old = first.map((function_call) => of({ function_call }));
    await using at = await place([events(sse(...old, of({}, "function_call")))]);
    assert.deepEqual(calls(await at.ask()), [["shell", a]]);
  });

  test("A18: what a Responses API sends in parts alone is read", async () => {
    const item = { type: "function_call", id: "f", call_id: "c", name: "shell", arguments: "" };
    await using at = await place(
      [
        responses(
          { type: "response.output_text.delta", output_index: 0, delta: "He" },
          { type: "response.output_text.delta", output_index: 0, delta: "llo" },
          { type: "response.output_item.added", output_index: 1, item },
          { type: "response.function_call_arguments.done", output_index: 1, arguments: "{}" },
          { type: "response.completed", response: { output: [] } },
        ),
      ],
      { api: "responses" },
    );
    const items = await at.ask();
    assert.deepEqual([texts(items), calls(items)], [["Hello"], [["shell", "{}"]]]);
  });

  const key = { message: "Incorrect API key provided", code: "invalid_api_key" };
  const errors: readonly (readonly [string, Reply, string, RegExp])[] = [
    [
      "in a chunk",
      events(sse({ error: { message: "bad", code: 401 } })),
      "provider_refused",
      /bad$/,
    ],
    ["in an event", events(`event: error\n${sse({ error: key })}`), "provider_refused", /API key/],
    [
      "alone in a stream",
      events(JSON.stringify({ error: key }, null, 2)),
      "provider_refused",
      /API key/,
    ],
    ["without a type", json(200, { error: key }, "text/plain"), "provider_refused", /API key/],
    ["in a list", json(200, [{ error: key }]), "provider_refused", /API key/],
    [
      "Cloudflare",
      json(200, { errors: [{ code: 10_000, message: "Authentication error" }] }),
      "provider_refused",
      /error$/,
    ],
    [
      "MiniMax",
      json(200, { base_resp: { status_msg: "insufficient balance" } }),
      "provider_refused",
      /balance$/,
    ],
    [
      "a page",
      json(502, "<html><title>502 Bad Gateway</title><p>x", "text/html"),
      "provider_unavailable",
      /502 a web page instead of an answer: 502 Bad Gateway$/,
    ],
    [
      "a firewall's page, which says nothing of the key",
      json(403, "<!DOCTYPE html><html><title>Access denied</title>", "text/html"),
      "provider_unavailable",
      /failed 1 times: 403 a web page instead of an answer: Access denied$/,
    ],
    [
      "a proxy that wants a login",
      json(407, "<html><title>Proxy</title>", "text/html"),
      "provider_refused",
      /^the provider refused \(407\): a web page/,
    ],
    [
      "a page as a stream",
      events("<!doctype html><p>Log in"),
      "provider_error",
      /answered with a web page/,
    ],
  ];
  test("A11, A12: an error is told in its words, wherever it stands", async () => {
    for (const [name, reply, code, words] of errors) {
      await using at = await place([reply]);
      const error = await refusal(at.ask());
      assert.equal(error.code, code, name);
      assert.match(error.message, words);
    }
    const old = { object: "error", message: "maximum context length is 4096 tokens", code: 400 };
    await using at = await place([events(sse(old))]);
    assert.ok((await at.ask().catch((reason: unknown) => reason)) instanceof TooLong);
  });

  test("A1: a used-up window in the headers of a 429 gives the time; Groq's 498 passes", async () => {
    const then = Date.now() + 7_200_000;
    const [day = "", month, year, time] = new Date(then).toUTCString().slice(5).split(" ");
    const remaining = { "x-ratelimit-remaining": "0" };
    for (const headers of [
      { "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2h0m0s" },
      { "x-ratelimit-remaining-tokens-day": "0", "x-ratelimit-reset-tokens-day": "7200.5" },
      {
        ...{ "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m0.5s" },
        ...{ "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "PT2H" },
      },
      { ...remaining, "x-ratelimit-reset": `${then}` },
      { ...remaining, "x-ratelimit-reset": `${then / 1_000}` },
      { "x-ratelimit-reset-after": "7200" },
      {
        "anthropic-ratelimit-tokens-remaining": "0",
        "anthropic-ratelimit-tokens-reset": new Date(then).toISOString(),
      },
      { ratelimit: '"burst";r=3;t=5, "daily";r=0;t=7200' },
      { ratelimit: "limit=100, remaining=0, reset=7200" },
      // The older dates of HTTP: RFC 850, asctime.
      { "retry-after": `Sunday, ${day}-${month}-${year?.slice(2)} ${time} GMT` },
      { "retry-after": `Sun ${month} ${day.replace(/^0/, " ")} ${time} ${year}` },
    ]) {
      await using at = await place([
        (response) => response.writeHead(429, { ...headers }).end("{}"),
      ]);
      const until = Number((await refusal(at.ask())).details["untilWall"]) - Date.now();
      assert.ok(Math.abs(until - 7_200_000) < 60_000, `${JSON.stringify(headers)}: ${until}`);
    }
    for (const headers of [
      { "x-ratelimit-remaining": "4", "x-ratelimit-reset": "7200" },
      { "x-ratelimit-reset-tokens": "2h" },
      { ratelimit: '"daily";r=7;t=7200' },
    ]) {
      await using at = await place([
        (response) => response.writeHead(429, { ...headers }).end("{}"),
      ]);
      const { untilWall } = (await refusal(at.ask())).details;
      assert.equal(untilWall, null, JSON.stringify(headers));
    }
    const busy = fails(498, { message: "Flex tier capacity exceeded" });
    await using other = await place([busy, chat({ content: "done" })], { max_retries: 1 });
    assert.deepEqual(texts(await other.ask()), ["done"]);
  });
});
