import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { Learned } from "../../../../src/core/agent/openai/learned.ts";
import { Provider, TooLong } from "../../../../src/core/agent/openai/provider.ts";
import { openaiSection } from "../../../../src/core/agent/openai/settings.ts";
import type { ModelRequest } from "../../../../src/core/agent/openai/thread.ts";
import { type ErrorCode, SymphonyError } from "../../../../src/core/model/errors.ts";
import { FakeClock } from "../../../support/fakes/fake-clock.ts";
import { type Answer, modelServer } from "../../../support/fakes/model-server.ts";
import { coded } from "../../../support/makers/storage.ts";

const key = "sk-test-0123456789";
const request: ModelRequest = {
  threadId: "thr_1",
  model: "m",
  effort: null,
  instructions: "Be good.",
  items: [{ type: "message", role: "user", content: "Hello." }],
  tools: [],
  maxOutputTokens: null,
};

/** A provider client before a scripted server, on a clock that jumps to the end of each wait. */
function asking(url: string, settings: object = {}) {
  const clock = new FakeClock();
  const waits: number[] = [];
  const notices: string[] = [];
  const config = openaiSection.settings(openaiSection.schema.parse({ base_url: url, ...settings }));
  const provider = new Provider({
    config: () => config,
    lookup: () => key,
    hide: () => {},
    clock,
    learned: new Learned(null, clock),
    received: () => {},
    notice: (message) => {
      notices.push(message);
      const wait = /again in (\d+) ms/.exec(message)?.[1];
      if (wait === undefined) return;
      waits.push(Number(wait));
      setImmediate(() => clock.advance(Number(wait)));
    },
  });
  const ask = (signal = new AbortController().signal) => provider.ask(request, signal);
  return { ask, clock, waits, notices };
}

async function refusal(answers: readonly Answer[], settings: object = {}): Promise<unknown> {
  await using server = await modelServer(answers, ["responses"]);
  return await asking(server.url, settings)
    .ask()
    .then(
      () => assert.fail("it was answered"),
      (error: unknown) => error,
    );
}

test("a temporary failure is retried: at the time it names, otherwise after growing delays", async () => {
  await using server = await modelServer([
    { status: 429, headers: { "retry-after": "7" }, error: { code: "rate_limit_exceeded" } },
    { status: 500 },
    { status: 503, headers: { "retry-after-ms": "1500" } },
    { fault: "cut" },
    { fault: "failed", error: { code: "server_is_overloaded", message: "busy" } },
    { text: "At last." },
  ]);
  const { ask, waits } = asking(server.url);
  const { items } = await ask();
  assert.deepEqual(items, [{ type: "message", role: "assistant", content: "At last." }]);
  assert.deepEqual(waits, [7_000, 2_000, 1_500, 8_000, 16_000]);
});

test("a time that is now, has passed or is of another century is none: the delay is the own one, which grows", async () => {
  const past = new Date(new FakeClock().wall() - 20_000).toUTCString();
  const named: readonly Record<string, string>[] = [
    ...[{ "retry-after": "0" }, { "retry-after-ms": "0" }, { "retry-after": past }],
    ...[{ "retry-after": "-5" }, { "retry-after": "9999999999" }, { "retry-after-ms": "1e15" }],
  ];
  for (const headers of [...named, { "retry-after": "Fri, 01 Jan 2100 00:00:00 GMT" }]) {
    const answers = [503, 429, 503].map((status) => ({ status, headers }));
    await using server = await modelServer(answers, ["responses"]);
    const { ask, waits } = asking(server.url);
    await ask();
    assert.deepEqual(waits, [1_000, 2_000, 4_000], JSON.stringify(headers));
  }
  const short = [503, 429].map((status) => ({ status, headers: { "retry-after": "0.2" } }));
  await using server = await modelServer(short, ["responses"]);
  const { ask, waits } = asking(server.url);
  await ask();
  assert.deepEqual(waits, [200, 2_000], "a short one is taken once");
});

test("the time may be a date as well", async () => {
  const date = new Date(new FakeClock().wall() + 20_000).toUTCString();
  await using server = await modelServer([{ status: 503, headers: { "retry-after": date } }]);
  const { ask, waits } = asking(server.url);
  await ask();
  assert.deepEqual(waits, [20_000]);
});

test("after the maximum number of failures the request is abandoned", async () => {
  const error = await refusal(Array(3).fill({ status: 500 }), { max_retries: 2 });
  assert.ok(coded("provider_unavailable", /failed 3 times/)(error));
  const limited = await refusal(Array(2).fill({ status: 429 }), { max_retries: 1 });
  assert.ok(coded("provider_limited")(limited));
});

test("a long limit ends the request at once, with the time at which it ends", async () => {
  const wall = new FakeClock().wall();
  const cases: readonly [Answer, number | null][] = [
    [{ status: 429, error: { code: "insufficient_quota" } }, null],
    [
      { status: 429, error: { type: "usage_limit_reached", resets_in_seconds: 3600 } },
      wall + 3.6e6,
    ],
    [{ status: 429, error: { type: "usage_limit_reached", resets_at: 1_900_000_000 } }, 1.9e12],
    [{ status: 429, headers: { "retry-after": "61" } }, wall + 61_000],
    [{ status: 503, headers: { "retry-after": "600" } }, wall + 600_000],
    [{ fault: "failed", error: { code: "insufficient_quota", message: "pay" } }, null],
  ];
  for (const [answer, untilWall] of cases) {
    const error = await refusal([answer]);
    assert.ok(error instanceof SymphonyError, JSON.stringify(answer));
    assert.equal(error.code, "provider_limited");
    assert.deepEqual(error.details, { untilWall });
  }
});

test("a refusal says what to do, and never contains the key", async () => {
  const wrong = { status: 401, error: { message: `wrong key ${key}` } };
  const cases: readonly [Answer, ErrorCode, RegExp, string][] = [
    [wrong, "provider_refused", /redacted/, "secrets add"],
    [
      { status: 404, error: { code: "model_not_found" } },
      "provider_refused",
      /404/,
      "openai.model",
    ],
    [{ status: 400, error: { message: "bad" } }, "provider_error", /bad/, "config get openai"],
  ];
  for (const [answer, code, message, hint] of cases) {
    const error = await refusal([answer]);
    assert.ok(coded(code, message)(error), String(error));
    assert.ok(error instanceof SymphonyError && error.hint?.includes(hint));
    assert.ok(!JSON.stringify([error.message, error.details]).includes(key));
  }
});

test("a conversation that is too long has an error of its own", async () => {
  const error = await refusal([{ status: 400, error: { code: "context_length_exceeded" } }]);
  assert.ok(error instanceof TooLong);
});

test("a provider that has only Chat Completions is remembered", async () => {
  await using server = await modelServer([{ text: "One." }, { text: "Two." }], ["chat"]);
  const { ask, notices } = asking(server.url);
  const first = await ask();
  await ask();
  assert.deepEqual(first.items, [{ type: "message", role: "assistant", content: "One." }]);
  assert.deepEqual(
    server.asked.map(({ path }) => path),
    ["/v1/chat/completions", "/v1/chat/completions"],
  );
  assert.equal(notices.length, 1);
  await using none = await modelServer([], []);
  const lost = asking(none.url);
  await assert.rejects(lost.ask(), coded("provider_error", /no route/));
  assert.deepEqual(lost.notices, []);
  const strict = asking(server.url, { api: "responses" });
  await assert.rejects(strict.ask(), coded("provider_error"));
});

test("a model without sealed reasoning is used without it", async () => {
  await using server = await modelServer([
    { status: 400, error: { message: "Encrypted content is not supported with this model." } },
    { text: "One." },
    { text: "Two." },
  ]);
  const { ask } = asking(server.url);
  await ask();
  await ask();
  const included = server.asked.map(({ body }) => "include" in body);
  assert.deepEqual(included, [true, false, false]);
});

test("a silent request is ended and retried", async () => {
  await using server = await modelServer([{ fault: "silence" }, { text: "Here." }]);
  const { ask, clock, notices } = asking(server.url, { request_timeout_ms: 5_000 });
  const answer = ask();
  await server.until(1);
  // The first event may come late: the clock runs until the silence is noticed.
  while (notices.length === 0) {
    clock.advance(5_000);
    await new Promise(setImmediate);
  }
  assert.equal((await answer).items.length, 1);
  assert.match(notices[0] ?? "", /nothing was received for 5000 ms/);
});

test("an abort takes effect while the request waits and while it reads", async () => {
  await using server = await modelServer([{ fault: "silence" }]);
  const abort = new AbortController();
  const answer = asking(server.url).ask(abort.signal);
  await server.until(1);
  abort.abort(new SymphonyError("turn_cancelled", "enough"));
  await assert.rejects(answer, { code: "turn_cancelled" });
});

test("a redirect is not followed: the key goes to no other host", async () => {
  await using elsewhere = await modelServer([]);
  const server = createServer((_, response) => {
    response.writeHead(307, { location: `${elsewhere.url}/responses` }).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  try {
    const { ask } = asking(`http://127.0.0.1:${port}/v1`, { max_retries: 0 });
    await assert.rejects(ask(), coded("provider_error"));
    assert.deepEqual(elsewhere.asked, []);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test("limits in the headers are reported", async () => {
  const headers = { "x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-tokens": "6m0s" };
  await using server = await modelServer([{ text: "Hi.", headers }]);
  const { limits } = await asking(server.url).ask();
  assert.deepEqual(limits, { remaining_requests: 59, reset_tokens: "6m0s" });
});
