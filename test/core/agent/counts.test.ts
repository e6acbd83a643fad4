// Tokens as providers and agents report them: what is read of them reaches the brakes.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { readUsage, UsageEstimate } from "../../../src/core/agent/acp/usage.ts";
import { readLine } from "../../../src/core/agent/claude/protocol.ts";
import { Updates } from "../../../src/core/agent/claude/updates.ts";
import { readTokens } from "../../../src/core/agent/codex/protocol.ts";
import { ThreadTotals } from "../../../src/core/agent/codex/totals.ts";
import { readerFor } from "../../../src/core/agent/command/output.ts";
import { countOf, usageIn } from "../../../src/core/agent/counts.ts";
import { noTokens } from "../../../src/core/model/attempt.ts";
import { json, place, sse } from "../../support/worlds/answering-provider.ts";
import { OpenaiBench } from "../../support/worlds/openai-bench.ts";

describe("A8: what a provider's usage counts", () => {
  test("a count is a number or its text; anything else is none", () => {
    for (const [value, count] of [
      [1_200, 1_200],
      ["1200", 1_200],
      [1_199.6, 1_200],
      ["1199.6", 1_200],
      [0, 0],
    ] as const) {
      assert.equal(countOf(value), count, String(value));
    }
    const none = [-1, "-1", "1e3", "", " ", "many", null, undefined, true, Number.NaN, 2 ** 60, {}];
    for (const value of [...none, Number.POSITIVE_INFINITY, [5]]) {
      assert.equal(countOf(value), null, String(value));
    }
  });

  const whole = { input: 1_000, cachedInput: 0, output: 20, reasoningOutput: 0, total: 1_020 };
  const cases: readonly (readonly [string, object | null, object | null])[] = [
    ["text", { prompt_tokens: "1000", completion_tokens: "20" }, whole],
    ["no total", { prompt_tokens: 1_000, completion_tokens: 20 }, whole],
    ["a total of 0", { prompt_tokens: 1_000, completion_tokens: 20, total_tokens: 0 }, whole],
    ["a total below its parts", { input_tokens: 1e3, output_tokens: 20, total_tokens: 20 }, whole],
    ["the total alone", { total_tokens: "1020" }, { ...whole, input: 1_020, output: 0 }],
    [
      "no output",
      { prompt_tokens: 1_000, completion_tokens: null, total_tokens: 1_020 },
      { ...whole, input: 1_020, output: 0 },
    ],
    [
      "a part below 0",
      { prompt_tokens: 1_000, completion_tokens: -5 },
      { ...whole, output: 0, total: 1_000 },
    ],
    [
      "what was cached counted apart",
      { prompt_tokens: 100, completion_tokens: 20, prompt_tokens_details: { cached_tokens: 900 } },
      { ...whole, cachedInput: 900 },
    ],
    [
      "DeepSeek's cache",
      { prompt_tokens: 1_000, completion_tokens: 20, prompt_cache_hit_tokens: 900 },
      { ...whole, cachedInput: 900 },
    ],
    [
      "Gemini's thoughts, in the total alone",
      {
        ...{ prompt_tokens: 1_000, completion_tokens: 20, total_tokens: 1_320 },
        completion_tokens_details: { reasoning_tokens: 300 },
      },
      { ...whole, output: 320, reasoningOutput: 300, total: 1_320 },
    ],
    ["Google's own names", { promptTokenCount: 1_000, candidatesTokenCount: 20 }, whole],
    ["the shortest names", { input: 1_000, output: 20 }, whole],
    ["zeros", { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 }, null],
    ["nothing", {}, null],
    ["null", null, null],
  ];
  for (const [name, usage, counted] of cases) {
    test(`A8: ${name}`, () => assert.deepEqual(usageIn(usage), counted));
  }
});

const chunk = (usage: unknown, more: object = {}) => ({ choices: [], usage, ...more });
const said = { choices: [{ index: 0, delta: { content: "Done." }, finish_reason: "stop" }] };
const stream = (...events: readonly unknown[]) =>
  json(200, `${sse(said, ...events)}data: [DONE]\n\n`, "text/event-stream");

describe("A8: the usage of one answer", () => {
  const usage = { prompt_tokens: 1_000, completion_tokens: 20, total_tokens: 1_020 };
  const zeros = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 };
  const answers: readonly (readonly [string, readonly unknown[]])[] = [
    ["as text", [chunk({ prompt_tokens: "1000", completion_tokens: "20" })]],
    ["zeros after it", [chunk(usage), chunk(zeros)]],
    ["null after it", [chunk(usage), chunk(null)]],
    ["zeros before it", [chunk(zeros), chunk(usage)]],
    [
      "its parts in two chunks",
      [chunk({ prompt_tokens: 1_000 }), chunk({ completion_tokens: 20 })],
    ],
    [
      "growing with each chunk",
      [chunk({ prompt_tokens: 1_000, completion_tokens: 3 }), chunk(usage)],
    ],
    ["in the choice, as Moonshot has it", [{ choices: [{ index: 0, delta: {}, usage }] }]],
    ["in x_groq", [{ choices: [], x_groq: { usage } }]],
  ];
  for (const [name, events] of answers) {
    test(`A8: ${name}`, async () => {
      await using at = await place([stream(...events)]);
      const { usage: counted } = await at.reply();
      assert.deepEqual([counted?.input, counted?.output, counted?.total], [1_000, 20, 1_020]);
      assert.deepEqual(at.notices, []);
    });
  }

  test("A8: a provider that reports none, or zeros, is estimated, and one notice says so", async () => {
    await using at = await place([stream(), stream(chunk(zeros)), stream(chunk(usage))]);
    await using bench = await OpenaiBench.make(at.written);
    await using session = await bench.start({ level: "danger" });
    const prompt = "a".repeat(40_000);
    for (const text of [prompt, "go on", "go on"]) await session.turn(text, { model: null });
    const [first, second, third] = bench.of("tokens").map(({ total }) => total);
    assert.ok(first !== undefined && second !== undefined && third !== undefined);
    assert.ok(first.input > 10_000 && first.input < 14_000, String(first.input));
    assert.ok(second.total > first.total + 10_000, "the whole conversation is sent again");
    assert.equal(third.total, second.total + 1_020);
    const said = bench.of("notice").filter(({ message }) => /not report its tokens/.test(message));
    assert.equal(said.length, 1);
  });
});

describe("A8: agents that count in other ways", () => {
  test("A8: an ACP agent's counts as text", () => {
    const usage = { inputTokens: "1000", outputTokens: "20" };
    assert.equal(readUsage({ usage })?.total, 1_020);
    assert.equal(readUsage({ _meta: { quota: { token_count: usage } } })?.total, 1_020);
    const estimate = new UsageEstimate();
    estimate.begin("go");
    estimate.read({ sessionUpdate: "usage_update", used: "5000" });
    estimate.read({ sessionUpdate: "agent_message_chunk", content: { text: "Done." } });
    assert.equal(estimate.reported().total, 5_000);
  });

  test("A8: a total of codex below its parts, cached tokens counted apart, and zeros after a true total", () => {
    assert.equal(readTokens({ input_tokens: 10, output_tokens: 5, total_tokens: 0 })?.total, 15);
    assert.equal(readTokens({ input_tokens: 3, cached_input_tokens: 100 })?.total, 103);
    const totals = new ThreadTotals();
    const told = { ...noTokens, input: 90, output: 10, total: 100 };
    totals.counted(told, null);
    assert.equal(totals.counted(noTokens, null), null);
    totals.counted({ ...noTokens, total: 258_400 }, null);
    assert.equal(totals.counted({ ...noTokens, input: 5, total: 5 }, null)?.total, 105);
  });

  const totalsOf = (output: Parameters<typeof readerFor>[0], lines: readonly object[]) => {
    const reader = readerFor(output, { workspace: "/w", wall: () => 0 });
    return lines
      .flatMap((line) => reader.line(JSON.stringify(line)))
      .flatMap((event) => (event.type === "usage" ? [event.tokens.total] : []));
  };

  test("A8: the result of claude -p with zeros leaves what its messages used; text is read", () => {
    const message = (usage: object) => ({
      type: "assistant",
      message: { id: "m1", content: [], usage },
    });
    const used = { input_tokens: "1000", output_tokens: 20 };
    const result = (usage: object) => ({ type: "result", subtype: "success", usage });
    const lines = [message({ input_tokens: 0 }), message(used), result({ input_tokens: 0 })];
    assert.deepEqual(totalsOf("claude", lines), [0, 1_020, 1_020]);
    assert.deepEqual(
      totalsOf("claude", [message(used), result({ input_tokens: "2000" })]),
      [1_020, 2_000],
    );
  });

  test("A8: claude's own count with zeros leaves what was streamed, the input may come at the end, and text is read", () => {
    const updates = new Updates("/w");
    const read = (line: object) => {
      const read = readLine(JSON.stringify(line));
      assert.ok(read.type === "message", JSON.stringify(line));
      const { message } = read;
      const events =
        message.type === "stream_event"
          ? updates.stream(message)
          : message.type === "result"
            ? updates.result(message)
            : [];
      return events.flatMap((event) => (event.type === "tokens" ? [event.total.total] : []));
    };
    const streamed = (event: object) => read({ type: "stream_event", event });
    const started = { id: "m1", model: "m", usage: { input_tokens: 0, output_tokens: "1" } };
    assert.deepEqual(streamed({ type: "message_start", message: started }), [1]);
    const usage = { input_tokens: "1000", output_tokens: 20 };
    assert.deepEqual(streamed({ type: "message_delta", usage }), [1_020]);
    const ended = (used: object) =>
      read({ type: "result", subtype: "success", model_usage_since_last_result: used });
    assert.deepEqual(ended({ m: { inputTokens: 0, outputTokens: 0 } }), [1_020]);
    assert.deepEqual(ended({ m: { inputTokens: "80", costUSD: "0.01" } }), [1_100]);
    assert.deepEqual(ended({}), []);
  });
});
