import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { SymphonyError } from "../../../../src/core/model/errors.ts";
import { type AcpTurn, piece } from "../../../support/fakes/acp-script.ts";
import { FakeClock } from "../../../support/fakes/fake-clock.ts";
import { acpBench } from "../../../support/worlds/acp-bench.ts";

const plain = { model: null };
const words = "Your quota will reset after 3h20m11s.";
const later = 12_011_000;

/** The error of a turn whose prompt is answered with `error`. */
async function failure(error: NonNullable<AcpTurn["error"]>): Promise<SymphonyError> {
  const clock = new FakeClock();
  await using b = await acpBench({ turns: [{ steps: [piece("I try.")], error }] }, { clock });
  await using session = await b.start();
  const thrown = await session.turn("please", plain).catch((one: SymphonyError) => one);
  assert.ok(thrown, "the turn failed");
  assert.equal(b.types().at(-1), "turn.failed");
  return thrown;
}

describe("an ACP agent at its provider's limit", () => {
  test("an error of the protocol that reports a limit is provider_limited, until the time it names", async () => {
    const wall = new FakeClock().wall();
    const limits: readonly (readonly [NonNullable<AcpTurn["error"]>, number | null])[] = [
      // gemini --acp 0.61.0
      [{ code: 429, message: "You have exhausted your daily quota on this model." }, null],
      // an older gemini --acp
      [{ code: -32603, message: "Internal error", data: { details: words } }, wall + later],
      // claude-agent-acp 0.101.0
      [
        {
          code: -32603,
          message: "Internal error: You've hit your weekly limit · resets in 3 days",
          data: { errorKind: "rate_limit" },
        },
        wall + 3 * 86_400_000,
      ],
    ];
    for (const [error, untilWall] of limits) {
      const thrown = await failure(error);
      assert.equal(thrown.code, "provider_limited");
      assert.equal(thrown.details["untilWall"], untilWall);
      assert.match(thrown.message, /^the provider's limit is reached: session\/prompt: /);
    }
  });

  test("A11: no credit, a refused key, a lost login or an unknown model is the provider's refusal, with what mends it", async () => {
    for (const [error, hint] of [
      [{ code: -32603, message: "Internal error: Credit balance is too low" }, /add credit/],
      [
        { code: 400, message: "API key not valid. Please pass a valid API key." },
        /log in with the agent's own program/,
      ],
      [
        { code: -32603, message: "Internal error", data: { details: "model 'm' not found" } },
        /symphony models/,
      ],
      [{ code: -32000, message: "Authentication required: 429 Too Many Requests" }, /log in with/],
    ] as const) {
      const thrown = await failure(error);
      assert.equal(thrown.code, "provider_refused", error.message);
      assert.match(thrown.hint ?? "", hint);
    }
  });

  test("other errors are no limit: overload, a faulty request", async () => {
    const overload = {
      code: -32603,
      message: "Internal error: API Error: 529 Overloaded",
      data: {},
    };
    assert.equal((await failure(overload)).code, "provider_unavailable");
    for (const error of [
      { code: -32602, message: "Invalid params: rate limit" },
      { code: -32601, message: "Method not found: 429" },
    ]) {
      assert.equal((await failure(error)).code, "response_error", error.message);
    }
  });

  test("the text of an agent that ends its turn well is no limit", async () => {
    await using b = await acpBench({
      turns: [{ steps: [piece(`You've hit your limit. ${words}`)] }],
    });
    await using session = await b.start();
    await session.turn("please", plain);
    assert.equal(b.types().at(-1), "turn.completed");
  });
});

describe("gemini --acp waits for its quota in silence and reports the limit when it is ended", () => {
  const lastWords = `Attempt 1 failed: ${words}. Retrying after 12773246ms...`;
  const silent: AcpTurn = {
    steps: [piece("up", "1"), piece("", "2"), { do: "cancelled" }],
    end: { stopReason: "cancelled" },
  };

  test("the turn timeout ends it", async () => {
    const clock = new FakeClock();
    const script = { lastWords, turns: [silent] };
    await using b = await acpBench(script, { clock, config: { turnTimeoutMs: 1_000 } });
    await using session = await b.start();
    const turn = session.turn("please", plain);
    const ended = assert.rejects(turn, {
      code: "provider_limited",
      details: { untilWall: clock.wall() + 1_000 + later },
    });
    await b.until("message");
    clock.advance(1_000);
    await ended;
  });

  test("the owner of the session ends it, for example after a stall", async () => {
    const clock = new FakeClock();
    await using b = await acpBench({ lastWords, turns: [silent] }, { clock });
    await using session = await b.start();
    const ended = assert.rejects(session.turn("please", plain), { code: "provider_limited" });
    await b.until("message");
    await session[Symbol.asyncDispose]();
    await ended;
  });

  test("other output at its end changes nothing", async () => {
    await using b = await acpBench({ lastWords: "bye", turns: [silent] });
    await using session = await b.start();
    const turn = assert.rejects(session.turn("please", plain), { code: "turn_cancelled" });
    await b.until("message");
    await session[Symbol.asyncDispose]();
    await turn;
  });
});

test("an agent that exits right after its answer has completed its turn, but fails the next one", async () => {
  const usage = { inputTokens: 10, outputTokens: 2, totalTokens: 12 };
  await using b = await acpBench({
    turns: [{ steps: [piece("Done.")], end: { stopReason: "end_turn", usage }, dies: true }],
  });
  await using session = await b.start();
  await session.turn("please", plain);
  assert.deepEqual(b.said, ["Done."]);
  assert.equal(b.events.findLast((event) => event.type === "tokens")?.total.total, 12);
  await assert.rejects(session.turn("go on", plain), { code: "port_exit" });
});
