import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SymphonyError } from "../../../../src/core/model/errors.ts";
import { type ClaudeStep, used } from "../../../support/fakes/claude-script.ts";
import { claudeBench } from "../../../support/worlds/claude-bench.ts";

// Rows of the case file of agents are named "A7: …".

const plain = { model: null };
const later = Math.ceil(Date.now() / 1_000) + 3_600;
const window = { status: "rejected", resetsAt: later, rateLimitType: "five_hour" };

function failure(error: string, text: string): ClaudeStep {
  const message = { id: "m", model: "<synthetic>", content: [{ type: "text", text }] };
  return { do: "write", line: { type: "assistant", message, parent_tool_use_id: null, error } };
}

/** The error of a turn that plays `steps` and ends with `result`. */
async function errorOf(
  steps: readonly ClaudeStep[],
  result: Readonly<Record<string, unknown>> | null,
): Promise<SymphonyError> {
  await using b = await claudeBench({ turns: [{ steps, result }] });
  await using session = await b.start();
  const error = await session.turn("please", plain).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof SymphonyError, "the turn failed");
  return error;
}

const apiError = { is_error: true, terminal_reason: "api_error" };

describe("agent.kind claude: limits and failures", () => {
  test("A1: a used-up window of the login is a limit until the time named", async () => {
    const error = await errorOf(
      [
        { do: "write", line: { type: "rate_limit_event", rate_limit_info: window } },
        failure("rate_limit", "You've hit your 5-hour limit · resets 2:26am (UTC)"),
      ],
      { ...apiError, api_error_status: 429, result: "You've hit your 5-hour limit" },
    );
    assert.deepEqual([error.code, error.details["untilWall"]], ["provider_limited", later * 1_000]);
  });

  test("A1: the same without a result, before the process exits", async () => {
    const error = await errorOf(
      [
        { do: "write", line: { type: "rate_limit_event", rate_limit_info: window } },
        failure("rate_limit", "You've hit your 5-hour limit"),
      ],
      null,
    );
    assert.deepEqual([error.code, error.details["untilWall"]], ["provider_limited", later * 1_000]);
  });

  test("A11: a firewall's page says nothing of the key", async () => {
    const text = "Failed to authenticate. API Error: 403 <!DOCTYPE html><html><title>Blocked";
    const error = await errorOf([failure("authentication_failed", text)], {
      ...{ ...apiError, api_error_status: 403, result: text },
    });
    assert.equal(error.code, "turn_failed");
  });

  test("A11: a refused key, no credit and an unknown model end the turn as the provider's refusal, with what mends it", async () => {
    for (const [kind, text, hint] of [
      ["authentication_failed", "Invalid API key", /symphony secrets add ANTHROPIC_API_KEY/],
      ["billing_error", "Your credit balance is too low", /add credit/],
      ["model_not_found", "There is an issue with the selected model", /symphony models/],
    ] as const) {
      const error = await errorOf([failure(kind, text)], { ...apiError, result: text });
      assert.equal(error.code, "provider_refused", kind);
      assert.ok(error.message.includes(text), error.message);
      assert.match(error.hint ?? "", hint);
    }
  });

  test("A11: a refused key is told at the first retry, not after the last one", async () => {
    const retry = {
      ...{ type: "system", subtype: "api_retry", attempt: 1, max_retries: 10 },
      ...{ retry_delay_ms: 600, error_status: 401, error: "authentication_failed" },
    };
    const error = await errorOf([{ do: "write", line: retry }, { do: "interrupted" }], {});
    assert.equal(error.code, "provider_refused");
  });

  test("a retry that may succeed is only told", async () => {
    const retry = { type: "system", subtype: "api_retry", attempt: 1, max_retries: 3 };
    const line = { ...retry, error_status: 529, error: "overloaded" };
    await using b = await claudeBench({ turns: [{ steps: [{ do: "write", line }] }] });
    await using session = await b.start();
    await session.turn("please", plain);
    const { message } = await b.until("notice");
    assert.equal(message, "the provider is asked again (1 of 3): 529 overloaded");
  });

  test("A19: errors are told without diagnostics, denials are told, the maximum of turns ends the turn and not the work", async () => {
    const errors = ["[ede_diagnostic] result_type=user", "the disk is full"];
    const subtype = "error_during_execution";
    const error = await errorOf([], { subtype, is_error: true, result: null, errors });
    assert.equal(error.message, "the turn failed: the disk is full");
    const bare = await errorOf([], { subtype, is_error: true, result: null, errors: [] });
    assert.equal(bare.message, "the turn failed: error during execution");
    await using b = await claudeBench({
      turns: [
        {
          steps: [],
          result: { subtype: "error_max_turns", is_error: true, terminal_reason: "max_turns" },
        },
        {
          steps: [],
          result: { permission_denials: [{ tool_name: "Bash" }, { tool_name: "Bash" }] },
        },
      ],
    });
    await using session = await b.start();
    await session.turn("one", plain);
    await session.turn("two", plain);
    const told = b.events.flatMap((event) => (event.type === "notice" ? [event.message] : []));
    assert.deepEqual(told, [
      "the agent ended its turn early: max turns",
      "denied by the agent's own rules: Bash",
    ]);
  });

  test("A19: a result with unreadable fields ends the turn, as what it says", async () => {
    const odd = { errors: "boom", user_message_uuids: [1], terminal_reason: {} };
    const error = await errorOf([], { ...odd, is_error: "true", result: "the disk is full" });
    assert.equal(error.message, "the turn failed: the disk is full");
    const bare = await errorOf([], { ...odd, subtype: null, result: ["no text"] });
    assert.equal(bare.message, "the turn failed: unknown");
    await using b = await claudeBench({
      turns: [{ steps: [], result: { ...odd, is_error: null, result: 7 } }],
    });
    await using session = await b.start();
    await session.turn("please", plain);
  });

  test("A19: no result and exit 0 is a failure, and a line of more than 10 MiB is left out", async () => {
    const gone = await errorOf([{ do: "say", text: "hm" }], null);
    assert.equal(gone.code, "port_exit");
    const line = JSON.stringify({ type: "user", message: { content: "x".repeat(11_000_000) } });
    await using b = await claudeBench({
      turns: [
        {
          steps: [
            { do: "write", line },
            { do: "say", text: "after it" },
          ],
        },
      ],
    });
    await using session = await b.start();
    await session.turn("please", plain);
    assert.deepEqual(b.said, ["after it"]);
    assert.ok(b.logs.some((log) => /line of more than \d+ bytes was left out/.test(log)));
  });

  test("A7: tokens are counted per message as they come; the result replaces them, by model and with the cost", async () => {
    await using b = await claudeBench({
      turns: [
        {
          steps: [
            { do: "usage", id: "m1", input: 100, output: 5, cached: 900 },
            { do: "usage", id: "m2", input: 200, output: 7 },
            { do: "tool", name: "Bash", input: { command: "x" } },
          ],
          result: used(300, 12, 900),
        },
      ],
    });
    await using session = await b.start({ askPolicy: { approvals: "ask", timeoutMs: 60_000 } });
    const turn = session.turn("please", plain);
    const { ask } = await b.until("approval.requested");
    const totals = () =>
      b.events.flatMap((event) => (event.type === "tokens" ? [event.total.total] : []));
    assert.deepEqual(totals(), [1_001, 1_005, 1_206, 1_212], "in mid-turn, for the brakes");
    session.answer(ask?.id ?? "", { type: "decision", approve: true });
    await turn;
    assert.equal(totals().at(-1), 1_212);
    const counted = b.events.findLast((event) => event.type === "tokens");
    assert.equal(counted?.models?.["claude-opus-5-5"]?.total, 1_212);
    const notice = b.events.findLast((event) => event.type === "notice");
    assert.ok(notice?.type === "notice");
    assert.equal(
      notice.message,
      "usage as the agent reports it: claude-opus-5-5 1200 in, 12 out, $0.0100",
    );
  });

  test("A2: a result ends the turn although the process does not exit", async () => {
    await using b = await claudeBench({ turns: [{ steps: [{ do: "say", text: "done" }] }] });
    const session = await b.start();
    await session.turn("please", plain);
    assert.ok(session.pid !== null);
    await session[Symbol.asyncDispose]();
  });
});
