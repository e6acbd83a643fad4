// More answers of the kinds of the rows in rows.test.ts: other words, other fields, other ends of a stream.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
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
