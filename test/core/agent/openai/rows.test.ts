// A3 to A18 are rows of the cases of agents: answers of real providers. Each shape names its public document.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { chatMessages } from "../../../../src/core/agent/openai/chat-api.ts";
import { Learned } from "../../../../src/core/agent/openai/learned.ts";
import { TooLong } from "../../../../src/core/agent/openai/provider.ts";
import { inputOf } from "../../../../src/core/agent/openai/responses-api.ts";
import type { Item } from "../../../../src/core/agent/openai/thread.ts";
import { systemClock } from "../../../../src/core/clock.ts";
import { type JsonObject, listOf, objectOf } from "../../../../src/core/text/text.ts";
import { temporaryDir } from "../../../support/makers/storage.ts";
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
import { eventually } from "../../../support/worlds/symphony.ts";

describe("A3: calls that share an index", () => {
  test("A3: Ollama gives each call the index 0: another id begins another call", async () => {
    // https://github.com/ollama/ollama/issues/15457 (2026-04-09)
    const parts = [call("a", "shell", '{"command":"ls"}'), call("b", "shell", '{"command":"pwd"}')];
    await using at = await place([chat({ tool_calls: [parts[0]] }, { tool_calls: [parts[1]] })]);
    assert.deepEqual(calls(await at.ask()), [
      ["shell", '{"command":"ls"}'],
      ["shell", '{"command":"pwd"}'],
    ]);
  });

  test("A3: without an index and without ids, a whole call ends with the next name", async () => {
    // https://github.com/ollama/ollama/issues/7881 (2024-11-29)
    const part = (args: string) => ({ function: { name: "shell", arguments: args } });
    await using at = await place([chat({ tool_calls: [part('{"a":1}'), part('{"b":2}')] })]);
    const items = await at.ask();
    assert.deepEqual(
      calls(items).map(([, args]) => args),
      ['{"a":1}', '{"b":2}'],
    );
    const ids = items.map((item) => (item.type === "function_call" ? item.call_id : ""));
    assert.equal(new Set(ids).size, 2);
  });

  test("A3: parts of one call, with its id in each or only in the first, stay one call", async () => {
    const first = call("a", "shell", '{"comm');
    for (const id of ["a", undefined]) {
      const rest = { index: 0, id, function: { arguments: 'and":"ls"}' } };
      await using at = await place([chat({ tool_calls: [first] }, { tool_calls: [rest] })]);
      assert.deepEqual(calls(await at.ask()), [["shell", '{"command":"ls"}']]);
    }
  });

  test("A3: arguments that are an object are read as JSON", async () => {
    const part = { index: 0, id: "a", function: { name: "shell", arguments: { command: "ls" } } };
    await using at = await place([chat({ tool_calls: [part] })]);
    assert.deepEqual(calls(await at.ask()), [["shell", '{"command":"ls"}']]);
  });
});

describe("A4: what a provider wants back", () => {
  const shapes: readonly [string, JsonObject, JsonObject][] = [
    // https://api-docs.deepseek.com/guides/thinking_mode (2026-11): missing, it is 400 in all later requests.
    // https://platform.moonshot.ai/docs/guide/use-kimi-k2-thinking-model: the same field.
    ["DeepSeek, Moonshot", { reasoning_content: "First " }, { reasoning_content: "look." }],
    // https://openrouter.ai/docs/use-cases/reasoning-tokens (2026-11)
    ["OpenRouter", { reasoning: "First " }, { reasoning: "look." }],
  ];
  for (const [name, first, second] of shapes) {
    test(`A4: ${name}: the reasoning of a call is sent back with it`, async () => {
      const answer = chat(first, second, { tool_calls: [call("a", "shell", "{}")] });
      await using at = await place([answer, chat({ content: "done" }), chat({ content: "more" })]);
      const items = await at.ask();
      const output: Item = { type: "function_call_output", call_id: "a", output: "ok" };
      const then = [hello, ...items, output];
      const end = await at.ask(then);
      await at.ask([...then, ...end, { ...hello, content: "And now?" } as Item]);
      const [field] = Object.keys(first);
      for (const { body } of at.asked.slice(1)) {
        const [, , assistant] = messagesOf({ body });
        assert.equal(assistant?.[field ?? ""], "First look.");
        assert.equal(listOf(assistant?.["tool_calls"]).length, 1);
      }
    });
  }

  test("A4: OpenRouter: the details of the reasoning are sent back unchanged", async () => {
    const details = [{ type: "reasoning.encrypted", data: "xyz", id: "r1", index: 0 }];
    await using at = await place([
      chat({ reasoning_details: details }, { tool_calls: [call("a", "shell", "{}")] }),
      chat({ content: "done" }),
    ]);
    const items = await at.ask();
    await at.ask([hello, ...items, { type: "function_call_output", call_id: "a", output: "ok" }]);
    const [, , assistant] = messagesOf(at.asked[1]);
    assert.deepEqual(assistant?.["reasoning_details"], details);
  });

  test("A4: Gemini: the signature of a call's thoughts is sent back with the call", async () => {
    // https://ai.google.dev/gemini-api/docs/thought-signatures and …/docs/openai (2026-11)
    const signed = { extra_content: { google: { thought_signature: "sig" } } };
    await using at = await place([
      chat({ tool_calls: [call("a", "shell", "{}", signed)] }),
      chat({ content: "done" }),
    ]);
    const items = await at.ask();
    await at.ask([hello, ...items, { type: "function_call_output", call_id: "a", output: "ok" }]);
    const [, , assistant] = messagesOf(at.asked[1]);
    const [sent] = listOf(assistant?.["tool_calls"]).map(objectOf);
    assert.deepEqual(sent?.["extra_content"], signed.extra_content);
    // The Responses API knows no such field.
    assert.deepEqual(Object.keys(inputOf(items, true)[0] ?? {}), [
      "type",
      "call_id",
      "name",
      "arguments",
    ]);
  });

  test("A4: a provider that refuses the reasoning gets none from then on", async () => {
    const refused = {
      error: { message: "reasoning_content is not supported in the input", code: 400 },
    };
    await using at = await place([json(400, refused), chat({ content: "done" })]);
    const thought: Item = { type: "thought", fields: { reasoning_content: "t" } };
    await at.ask([hello, thought, { type: "message", role: "assistant", content: "x" }, hello]);
    assert.ok(!JSON.stringify(at.asked[1]?.body["messages"]).includes("reasoning_content"));
  });
});

describe("A5, A6: a conversation that does not fit", () => {
  const refusals: readonly [string, number, unknown, number | null][] = [
    // https://github.com/ggml-org/llama.cpp/pull/15780 (2025-09-03)
    [
      "llama.cpp",
      400,
      {
        error: {
          code: 400,
          message:
            "the request exceeds the available context size. try increasing the context size or enable context shift",
          type: "exceed_context_size_error",
          n_prompt_tokens: 14_429,
          n_ctx: 8_192,
        },
      },
      8_192,
    ],
    // https://github.com/anthropics/claude-code/issues/11281 (2025-11-09)
    [
      "Anthropic",
      400,
      {
        type: "error",
        error: {
          type: "invalid_request_error",
          message: "prompt is too long: 201130 tokens > 200000 maximum",
        },
      },
      200_000,
    ],
    // https://github.com/google-gemini/gemini-cli/issues/6678 (2025-08-20); the list around it:
    // https://github.com/Alishahryar1/free-claude-code/issues/542 (2026-05-24)
    [
      "Gemini",
      400,
      [
        {
          error: {
            code: 400,
            message:
              "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).",
            status: "INVALID_ARGUMENT",
          },
        },
      ],
      1_048_576,
    ],
    // https://github.com/vllm-project/vllm/issues/20409 (2025-07-03), with the fields of
    // https://github.com/ogx-ai/ogx/issues/4534 (2025-02-06)
    [
      "vLLM",
      400,
      {
        object: "error",
        message:
          "This model's maximum context length is 16384 tokens. However, you requested 122946 tokens (112946 in the messages, 10000 in the completion). Please reduce the length of the messages or completion.",
        type: "BadRequestError",
        param: null,
        code: 400,
      },
      16_384,
    ],
    // https://github.com/FoundationAgents/OpenManus/issues/62 (2025-03-07)
    [
      "DeepSeek",
      400,
      {
        error: {
          message:
            "This model's maximum context length is 65536 tokens. However, you requested 72814 tokens (68718 in the messages, 4096 in the completion). Please reduce the length of the messages or completion.",
          type: "invalid_request_error",
          param: null,
          code: "invalid_request_error",
        },
      },
      65_536,
    ],
    // The words: https://github.com/refly-ai/refly/issues/1177 (2025-07-31)
    [
      "OpenRouter",
      400,
      {
        error: {
          message:
            'This endpoint\'s maximum context length is 32768 tokens. However, you requested about 42832 tokens (42832 of text input). Please reduce the length of either one, or use the "middle-out" transform to compress your prompt automatically.',
          code: 400,
        },
      },
      32_768,
    ],
    // https://github.com/MoonshotAI/kimi-cli/issues/2011 (2026-04-23); https://platform.kimi.ai/docs/api/errors.md (read 2026-11)
    [
      "Moonshot",
      400,
      {
        error: {
          message:
            "Invalid request: Your request exceeded model token limit: 262144 (requested: 269030)",
          type: "invalid_request_error",
        },
      },
      262_144,
    ],
    // https://platform.kimi.ai/docs/api/errors.md (read 2026-11)
    [
      "Moonshot, without a size",
      400,
      { error: { message: "Input token length too long", type: "invalid_request_error" } },
      null,
    ],
    // The words: https://github.com/cline/cline/issues/3664 (2025-05-20)
    [
      "LM Studio",
      400,
      {
        error:
          "Trying to keep the first 10136 tokens when context the overflows. However, the model is loaded with context length of only 7866 tokens, which is not enough. Try to load the model with a larger context length, or provide a shorter input",
      },
      7_866,
    ],
    // The words: https://github.com/cline/cline/issues/3120 (2025-04-25)
    [
      "xAI",
      400,
      {
        code: "invalid",
        error:
          "This model's maximum prompt length is 131072 but the request contains 136973 tokens.",
      },
      131_072,
    ],
    // https://portkey.ai/error-library/context-length-exceeded-error-13710000 (read 2026-11): the words, with other numbers
    [
      "Mistral",
      400,
      {
        object: "error",
        message:
          "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
        code: "3051",
      },
      32_768,
    ],
    // https://console.groq.com/docs/errors (read 2026-11): 413; the words: https://github.com/elizaOS/eliza/issues/4040
    [
      "Groq, 413",
      413,
      {
        error: {
          message:
            "Request too large for model `llama-3.1-8b-instant` on tokens per minute (TPM): Limit 6000, Requested 6294, please reduce your message size and try again.",
          type: "tokens",
          code: "rate_limit_exceeded",
        },
      },
      6_000,
    ],
    // https://developers.openai.com/api/docs/guides/rate-limits (read 2026-11)
    [
      "A6: OpenAI, 429 of one request alone",
      429,
      {
        error: {
          message:
            "Request too large for gpt-5.5 on tokens per min (TPM): Limit 30000, Requested 41236. The input or output tokens must be reduced in order to run successfully.",
          type: "tokens",
          code: "rate_limit_exceeded",
        },
      },
      30_000,
    ],
  ];
  for (const [name, status, body, contextTokens] of refusals) {
    const row = name.startsWith("A6") ? name : `A5: ${name}`;
    test(`${row}: it is to be shortened, and the size is learned`, async () => {
      await using at = await place([json(status, body)]);
      await assert.rejects(at.ask(), (error) => {
        assert.ok(error instanceof TooLong, String(error));
        return error.contextTokens === contextTokens;
      });
      assert.equal(at.learned.rows()[0]?.contextTokens ?? null, contextTokens);
    });
  }

  test("A6: a limit by the minute that other requests have used up is waited for, and nothing is shortened", async () => {
    // https://github.com/Aider-AI/aider/issues/3265
    const message =
      "Rate limit reached on tokens per minute (TPM): Limit 15000, Used 11972, Requested 4351. Please try again in 5s.";
    await using at = await place([json(429, { error: { message, code: "rate_limit_exceeded" } })]);
    assert.equal((await refusal(at.ask())).code, "provider_limited");
  });
});

describe("A9, A10: how long an answer may take", () => {
  test("A10: comments that keep the connection alive are signs of life", async () => {
    // https://openrouter.ai/docs/api-reference/streaming (2026-11)
    const slow: Reply = async (response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      for (let time = 0; time < 8; time++) {
        response.write(": OPENROUTER PROCESSING\n\n");
        await sleep(150);
      }
      const delta = { content: "done" };
      response.end(sse({ choices: [{ index: 0, delta, finish_reason: "stop" }] }));
    };
    await using at = await place([slow], { request_timeout_ms: 600 });
    assert.deepEqual(texts(await at.ask()), ["done"]);
    assert.equal(at.asked.length, 1);
  });

  test("A9: silence ends a request after the setting, and not before", async () => {
    const silent: Reply = () => {};
    await using at = await place([silent], { request_timeout_ms: 300 });
    const error = await refusal(at.ask());
    assert.match(error.message, /nothing was received for 300 ms/);
    assert.equal(at.asked.length, 1);
  });
});

describe("A11: a key, an account or a model that is not accepted", () => {
  const refusals: readonly [string, number, unknown, RegExp][] = [
    // https://api-docs.deepseek.com/quick_start/error_codes (2026-11)
    [
      "DeepSeek, 402",
      402,
      { error: { message: "Insufficient Balance", type: "unknown_error" } },
      /pay the account/,
    ],
    // https://openrouter.ai/docs/errors (2026-11)
    [
      "OpenRouter, 402 in a 200",
      200,
      { error: { code: 402, message: "Insufficient credits" } },
      /pay the account/,
    ],
    // https://github.com/SciSharp/BotSharp/issues/386 (2024-04-02)
    [
      "Azure, a wrong key",
      401,
      {
        error: {
          code: "401",
          message:
            "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource.",
        },
      },
      /symphony secrets add OPENAI_API_KEY/,
    ],
    // https://forum.moonshot.ai/t/429-insufficient-balance/244 (read 2026-11): a 429, and no matter of time
    [
      "Moonshot, without money",
      429,
      {
        error: {
          message: "You exceeded your current quota, please check your plan and billing details",
          type: "exceeded_current_quota_error",
        },
      },
      /pay the account/,
    ],
    [
      "a wrong key",
      401,
      { error: { message: "Incorrect API key provided" } },
      /symphony secrets add OPENAI_API_KEY/,
    ],
    // https://docs.ollama.com/api/errors.md (read 2026-11)
    [
      "Ollama, no such model",
      404,
      { error: { message: 'model "m" not found, try pulling it first', type: "not_found_error" } },
      /openai.model/,
    ],
  ];
  for (const [name, status, body, hint] of refusals) {
    test(`A11: ${name}: refused once, as the provider's own, with what mends it`, async () => {
      await using at = await place([json(status, body)], { max_retries: 3 });
      const error = await refusal(at.ask());
      assert.equal(error.code, "provider_refused");
      assert.match(error.hint ?? "", hint);
      assert.equal(at.asked.length, 1);
    });
  }
});

test("A11: a text that a moderation refused is a failure of its issue, not of the key", async () => {
  // https://openrouter.ai/docs/api-reference/errors (2026-11): 403 with the reasons in `metadata`
  const metadata = { reasons: ["violence"], flagged_input: "…", provider_name: "OpenAI" };
  for (const error of [
    { code: 403, message: "Input was flagged", metadata },
    { message: "Your request was rejected as a result of our safety system." },
  ]) {
    await using at = await place([json(403, { error })], { max_retries: 3 });
    assert.equal((await refusal(at.ask())).code, "provider_error");
    assert.equal(at.asked.length, 1);
  }
});

describe("A12: 200 without a stream", () => {
  test("A12: LM Studio's unknown endpoint: auto tries Chat Completions", async () => {
    // https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/618 (2025-04-25)
    const unknown = json(200, { error: "Unexpected endpoint or method. (POST /v1/responses)" });
    await using at = await place([unknown, chat({ content: "done" })], { api: "auto" });
    assert.deepEqual(texts(await at.ask()), ["done"]);
    assert.equal(at.learned.rows()[0]?.chatOnly, true);
  });

  for (const [name, refuse, api] of [
    ["an API", json(200, { error: "Unexpected endpoint or method. (POST /v1/responses)" }), "auto"],
    ["a part", json(400, { error: { message: "Unsupported parameter: stream_options" } }), "chat"],
  ] as const) {
    test(`A12, A16: two sessions that are refused ${name} at the same time both learn it`, async () => {
      let release = () => {};
      const first = new Promise<void>((resolve) => {
        release = resolve;
      });
      const late: Reply = async (response, asked) => {
        await first;
        return refuse(response, asked);
      };
      const answer = chat({ content: "done" });
      await using at = await place([late, refuse, answer, answer], { api });
      const slow = at.ask();
      await eventually("the first waits", async () => at.asked.length === 1);
      assert.deepEqual(texts(await at.ask()), ["done"]);
      release();
      assert.deepEqual(texts(await slow), ["done"]);
    });
  }

  test("A12: an error is told in the provider's words, once", async () => {
    const error = { error: { message: "the model is not loaded", code: "model_error" } };
    await using at = await place([json(200, error)], { max_retries: 3 });
    assert.match((await refusal(at.ask())).message, /the model is not loaded/);
    assert.equal(at.asked.length, 1);
  });

  test("A12: a web page is named as one", async () => {
    await using at = await place([json(200, "<!doctype html><p>Sign in", "text/html")]);
    assert.match((await refusal(at.ask())).message, /a web page: openai\.base_url/);
  });

  test("A12: a whole answer instead of a stream is read", async () => {
    const message = { role: "assistant", content: "Look.", tool_calls: [call("a", "shell", "{}")] };
    const body = {
      object: "chat.completion",
      choices: [{ index: 0, message, finish_reason: "tool_calls" }],
    };
    await using at = await place([json(200, body)]);
    const items = await at.ask();
    assert.deepEqual([texts(items), calls(items)], [["Look."], [["shell", "{}"]]]);
  });
});

describe("A15: the Responses API and reasoning without an end", () => {
  const reasoning: Item = { type: "reasoning", id: "rs", summary: [], encrypted_content: "x" };
  const said: Item = { type: "message", role: "assistant", content: "x" };
  const types = (items: readonly Item[]) => inputOf(items, true).map(({ type }) => type);
  test("A15: reasoning that nothing of the model follows is left out, other reasoning stays", () => {
    assert.deepEqual(types([hello, reasoning]), ["message"]);
    assert.deepEqual(types([hello, reasoning, hello]), ["message", "message"]);
    assert.deepEqual(types([reasoning, said, reasoning]), ["reasoning", "message"]);
    assert.deepEqual(types([reasoning, reasoning, said]), ["reasoning", "reasoning", "message"]);
  });
});

describe("A16: parts that a provider does not take", () => {
  const refusals: readonly [string, unknown, number, string][] = [
    // https://docs.mistral.ai/api: validation errors are lists with the place of each
    [
      "stream_options",
      {
        detail: [
          {
            type: "extra_forbidden",
            loc: ["body", "stream_options"],
            msg: "Extra inputs are not permitted",
          },
        ],
      },
      422,
      "a list of places",
    ],
    [
      "stream_options",
      {
        error: {
          message: "Unrecognized request argument supplied: stream_options",
          type: "invalid_request_error",
        },
      },
      400,
      "a sentence",
    ],
    // https://github.com/leookun/cursor-byok/issues/112 (2026-06-02), the same shape for each name
    [
      "stream_options",
      [
        {
          error: {
            code: 400,
            message:
              'Invalid JSON payload received. Unknown name "stream_options": Cannot find field.',
            status: "INVALID_ARGUMENT",
            details: [
              {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                fieldViolations: [
                  {
                    description:
                      'Invalid JSON payload received. Unknown name "stream_options": Cannot find field.',
                  },
                ],
              },
            ],
          },
        },
      ],
      400,
      "Google's words",
    ],
  ];
  for (const [name, body, status, how] of refusals) {
    test(`A16: ${name}, refused as ${how}, is left out and remembered`, async () => {
      await using at = await place([
        json(status, body),
        chat({ content: "a" }),
        chat({ content: "b" }),
      ]);
      assert.deepEqual(texts(await at.ask()), ["a"]);
      assert.deepEqual(texts(await at.ask()), ["b"]);
      assert.deepEqual(
        at.asked.map((one) => name in one.body),
        [true, false, false],
      );
      assert.deepEqual(at.learned.rows()[0]?.omit, [name]);
      assert.equal(at.notices.length, 1);
    });
  }

  test("A16: OpenAI's newer models want max_completion_tokens instead", async () => {
    // https://platform.openai.com/docs/api-reference/chat/create names both; the answer as in
    // https://github.com/ITSpecialist111/ai_automation_suggester/issues/38 (2024-11-24), and of
    // Azure in https://github.com/anomalyco/opencode/issues/37964 (2026-07-20)
    const message =
      "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
    const error = { message, type: "invalid_request_error", param: "max_tokens" };
    await using at = await place([
      json(400, { error: { ...error, code: "unsupported_parameter" } }),
      chat({ content: "a" }),
    ]);
    await at.ask();
    assert.equal(at.asked[1]?.body["max_completion_tokens"], 4_096);
    assert.ok(!("max_tokens" in (at.asked[1]?.body ?? {})));
  });

  test("A16: prompt_cache_key of the Responses API", async () => {
    const refused = json(400, {
      error: { message: "prompt_cache_key: Extra inputs are not permitted" },
    });
    const done = {
      type: "response.completed",
      response: {
        output: [
          { type: "message", role: "assistant", content: [{ type: "output_text", text: "a" }] },
        ],
      },
    };
    await using at = await place([refused, responses(done)], { api: "responses" });
    assert.deepEqual(texts(await at.ask()), ["a"]);
    assert.ok(!("prompt_cache_key" in (at.asked[1]?.body ?? {})));
  });

  test("A16: the query of openai.base_url is sent with each request", async () => {
    // https://learn.microsoft.com/azure/ai-foundry/openai/reference: `api-version`
    await using at = await place([chat({ content: "a" })], {}, "?api-version=2024-10-21");
    assert.deepEqual(texts(await at.ask()), ["a"]);
    assert.equal(at.asked[0]?.path, "/v1/chat/completions?api-version=2024-10-21");
    assert.deepEqual(at.learned.rows(), []);
  });

  test("A16: a key in openai.base_url is refused", async () => {
    await using at = await place([], {}, "?key=AIza-0123456789");
    const error = await refusal(at.ask());
    assert.equal(error.code, "invalid_config");
    assert.ok(!JSON.stringify([error.message, error.hint]).includes("AIza"));
  });

  test("A16: what stays refused ends the request instead of repeating it", async () => {
    const refused = json(400, { error: { message: "Unsupported parameter: stream_options" } });
    await using at = await place([refused, refused, refused]);
    assert.equal((await refusal(at.ask())).code, "provider_error");
    assert.equal(at.asked.length, 2);
  });

  test("A16: openai.omit, extra_body, headers and api_key_header are in each request", async () => {
    // https://learn.microsoft.com/azure/ai-foundry/openai/reference: `api-key`
    await using at = await place([chat({ content: "a" })], {
      omit: ["stream_options", "max_tokens"],
      extra_body: { provider: { order: ["groq"] }, temperature: 0.2 },
      headers: { "HTTP-Referer": "https://example.com", "x-team": "$TEAM_KEY" },
      api_key_header: "Api-Key",
    });
    await at.ask();
    const { body = {}, headers = {} } = at.asked[0] ?? {};
    const sent: JsonObject = body;
    assert.deepEqual([sent["stream_options"], sent["max_tokens"]], [undefined, undefined]);
    assert.deepEqual([sent["provider"], sent["temperature"]], [{ order: ["groq"] }, 0.2]);
    assert.equal(headers["api-key"], "sk-OPENAI_API_KEY-0123456789");
    assert.equal(headers.authorization, undefined);
    assert.equal(headers["http-referer"], "https://example.com");
    assert.equal(headers["x-team"], "sk-TEAM_KEY-0123456789");
    assert.ok(at.hidden.includes("sk-TEAM_KEY-0123456789"));
  });

  test("A16: a header whose secret is missing is named", async () => {
    await using at = await place([], { headers: { "x-team": "$UNSET" } });
    assert.match((await refusal(at.ask())).message, /openai\.headers\.x-team: UNSET is not set/);
  });

  test("A16: what was learned is kept for 7 days", () => {
    let wall = 0;
    const learned = new Learned(null, { ...systemClock, wall: () => wall });
    const here = { baseUrl: "https://a.example/v1", model: "m" };
    learned.add(here, { omit: ["store"] });
    assert.deepEqual(learned.of(here).omit, ["store"]);
    assert.deepEqual(learned.of({ ...here, model: "n" }).omit, []);
    wall = 7 * 86_400_000;
    assert.deepEqual(learned.of(here).omit, []);
  });
});

test("A16: what was learned is kept in the data directory, until it is forgotten", (t) => {
  const dir = temporaryDir(t);
  const here = { baseUrl: "https://a.example/v1", model: "m" };
  new Learned(dir, systemClock).add(here, { omit: ["store"], contextTokens: 9_000 });
  const later = new Learned(dir, systemClock);
  assert.deepEqual(later.of(here).omit, ["store"]);
  assert.equal(later.rows()[0]?.contextTokens, 9_000);
  later.forget();
  assert.deepEqual(new Learned(dir, systemClock).rows(), []);
  writeFileSync(join(dir, "providers.json"), "[{");
  assert.deepEqual(new Learned(dir, systemClock).rows(), []);
});

describe("A17: failed calls and failures inside of an answer", () => {
  // https://console.groq.com/docs/tool-use (2026-11)
  const failed = json(400, {
    error: {
      message: "Failed to call a function. Please adjust your prompt.",
      type: "invalid_request_error",
      code: "tool_use_failed",
      failed_generation: "<function=shell",
    },
  });
  test("A17: Groq's tool_use_failed is tried once more", async () => {
    await using at = await place([failed, chat({ content: "done" })]);
    assert.deepEqual(texts(await at.ask()), ["done"]);
  });

  test("A17: … and only once", async () => {
    await using at = await place([failed, failed, failed]);
    assert.equal((await refusal(at.ask())).code, "provider_error");
    assert.equal(at.asked.length, 2);
  });

  for (const where of ["choice", "chunk"]) {
    test(`A17: an error in the ${where} is a failure, and half an answer is none`, async () => {
      // https://openrouter.ai/docs/errors (2026-11)
      const error = { code: 502, message: "Provider returned error" };
      const half = { choices: [{ index: 0, delta: { content: "Half" }, finish_reason: null }] };
      const choice = { index: 0, delta: {}, finish_reason: "error" };
      const last =
        where === "choice" ? { choices: [{ ...choice, error }] } : { error, choices: [choice] };
      const broken = json(200, sse(half, last), "text/event-stream");
      await using at = await place([broken]);
      assert.match(
        (await refusal(at.ask())).message,
        /Provider returned error|ended with an error/,
      );
    });
  }

  test("A17: broken JSON goes back as {} and a name outside the pattern is made clean, in both APIs", () => {
    const broken: Item = {
      type: "function_call",
      call_id: "a",
      name: "shell<|x|>.run",
      arguments: '{"a":',
    };
    const [, message] = chatMessages("i", [broken]);
    const sent = (message as unknown as JsonObject)["tool_calls"] as { function: object }[];
    const clean = { name: "shell__x___run", arguments: "{}" };
    assert.deepEqual(sent[0]?.function, clean);
    assert.deepEqual(inputOf([broken], true), [{ type: "function_call", call_id: "a", ...clean }]);
  });
});

describe("A18: other forms of an answer", () => {
  test("A18: Mistral's content as a list of parts: the text, without the thinking", async () => {
    // https://docs.mistral.ai/capabilities/reasoning (2026-11)
    const thinking = [{ type: "thinking", thinking: [{ type: "text", text: "Hm." }] }];
    const said = [{ type: "text", text: "Hello." }];
    await using at = await place([
      chat({ content: thinking }, { content: said }, { content: " Bye." }),
    ]);
    assert.deepEqual(texts(await at.ask()), ["Hello. Bye."]);
  });

  test("A18: a call that stands only in the output of response.completed is run", async () => {
    const said = {
      type: "message",
      role: "assistant",
      content: [{ type: "output_text", text: "x" }],
    };
    const called = { type: "function_call", call_id: "a", name: "shell", arguments: "{}" };
    await using at = await place(
      [
        responses(
          { type: "response.output_item.done", output_index: 0, item: said },
          { type: "response.completed", response: { output: [said, called] } },
        ),
      ],
      { api: "responses" },
    );
    const items = await at.ask();
    assert.deepEqual([texts(items), calls(items)], [["x"], [["shell", "{}"]]]);
  });
});

describe("images of an issue", () => {
  const image = { mediaType: "image/png", base64: "iVBORw0KGgo=" } as const;
  const shown: Item = { type: "message", role: "user", content: "See.", images: [image] };
  const url = "data:image/png;base64,iVBORw0KGgo=";

  test("are parts of the first message, in the form of each API", async () => {
    assert.deepEqual(chatMessages("", [shown])[1]?.content, [
      { type: "text", text: "See." },
      { type: "image_url", image_url: { url } },
    ]);
    const [message] = inputOf([shown], true);
    assert.deepEqual(message, {
      ...{ type: "message", role: "user" },
      content: [
        { type: "input_text", text: "See." },
        { type: "input_image", detail: "auto", image_url: url },
      ],
    });
    assert.deepEqual(inputOf([hello], true), [hello]);
  });

  const refusals: readonly [number, string][] = [
    [400, "Invalid content type. image_url is only supported by certain models."],
    [422, "messages[1]: unknown variant `image_url`, expected `text` at line 1 column 2"],
    [400, "m is not a multimodal model"],
    [500, "image input is not supported - hint: you may need to provide the mmproj"],
    [404, "No endpoints found that support image input"],
  ];
  for (const [status, message] of refusals) {
    test(`are left out from then on where a model takes none: ${message}`, async () => {
      const answers = [json(status, { error: { message } }), chat({ content: "done" })];
      await using at = await place([...answers, chat({ content: "done" })]);
      await at.ask([shown]);
      await at.ask([shown]);
      const sent = at.asked.map(({ body }) => JSON.stringify(body).includes("image_url"));
      assert.deepEqual(sent, [true, false, false]);
      assert.deepEqual(at.learned.rows()[0]?.omit, ["image_url"]);
    });
  }
});
