import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { readerFor } from "../../../../src/core/agent/command/output.ts";

type Format = Parameters<typeof readerFor>[0];

const wall = Date.parse("2026-11-25T22:30:37Z");
const resetsAt = 1_795_654_834;
const until = { untilWall: resetsAt * 1_000 };
const reader = (format: Format) => readerFor(format, { workspace: "/srv/A-1", wall: () => wall });

/** The outcome of a turn according to its lines. */
function ending(format: Format, lines: readonly unknown[]) {
  const read = reader(format);
  const told = lines.flatMap((line) => read.line(JSON.stringify(line)));
  return told.find(({ type }) => type === "result");
}

/** The limit for which a turn failed; null: it failed for another reason; undefined: it did not fail. */
function limitOf(format: Format, lines: readonly unknown[]) {
  const end = ending(format, lines);
  return end?.type === "result" && end.failure !== null ? end.limit : undefined;
}

// Written by Claude Code 2.1.332 with a claude.ai login and the headers of a used-up window; ids removed.
const info = {
  ...{ status: "rejected", resetsAt, rateLimitType: "five_hour", isUsingOverage: false },
  unifiedWindows: { five_hour: { utilization: 1, resetsAt, status: "rejected" } },
};
const event = (fields: object = {}) => ({
  type: "rate_limit_event",
  rate_limit_info: { ...info, ...fields },
});
const words = "You've hit your 5-hour limit · resets 1am (UTC)";
const said = (text: string, fields: object = {}) => ({
  type: "assistant",
  message: { model: "<synthetic>", role: "assistant", content: [{ type: "text", text }] },
  parent_tool_use_id: null,
  ...fields,
});
const refused = said(words, {
  error: "rate_limit",
  is_api_error_message: true,
  api_error_status: 429,
  api_error: "usage_limit_reached",
  api_error_params: { rate_limit_info: { ...info, unifiedWindows: undefined } },
  api_error_type: "rate_limit_error",
});
const result = (fields: object = {}) => ({
  ...{ type: "result", subtype: "success", is_error: true, terminal_reason: "api_error" },
  ...{ api_error_status: 429, api_error: "usage_limit_reached", result: words, ...fields },
});
/** As with an API key, and as older versions wrote it with fewer fields. */
const plain = (text: string, fields: object = {}) => ({
  ...{ type: "result", subtype: "success", is_error: true, result: text, ...fields },
});
const answer = {
  type: "assistant",
  message: { model: "m", content: [] },
  parent_tool_use_id: null,
};

describe("Claude Code at its usage limit", () => {
  test("the time comes from the event, from the error, or from the text", () => {
    assert.deepEqual(limitOf("claude", [event(), refused, result()]), until);
    // paperclip#5776
    assert.deepEqual(limitOf("claude", [event(), plain("You've hit your limit")]), until);
    assert.deepEqual(limitOf("claude", [refused, result()]), until);
    assert.deepEqual(limitOf("claude", [plain(words)]), {
      untilWall: Date.parse("2026-11-26T01:00Z"),
    });
    const old = "Claude AI usage limit reached|1795660000";
    assert.deepEqual(limitOf("claude", [plain(old)]), { untilWall: 1_795_660_000_000 });
  });

  test("if the time of an event is not valid, the text gives the time", () => {
    const inWords = { untilWall: Date.parse("2026-11-26T01:00Z") };
    for (const bad of [undefined, "tomorrow", 1]) {
      const timeless = event({ resetsAt: bad, unifiedWindows: {} });
      assert.deepEqual(limitOf("claude", [timeless, result()]), inWords);
      assert.deepEqual(
        limitOf("claude", [timeless, said(words, { error: "rate_limit" }), plain(words)]),
        inWords,
      );
      const silent = plain("no answer", { terminal_reason: "api_error" });
      assert.deepEqual(limitOf("claude", [timeless, silent]), { untilWall: null });
    }
  });

  test("a program that exits without a result reported the limit in its last line", () => {
    const exited = (lines: readonly unknown[], stderr = "") => {
      const read = reader("claude");
      for (const line of lines) read.line(JSON.stringify(line));
      return read.limitAtExit?.(stderr);
    };
    assert.deepEqual(exited([event(), refused]), until);
    assert.deepEqual(exited([said(words, { error: "rate_limit" })]), {
      untilWall: Date.parse("2026-11-26T01:00Z"),
    });
    assert.equal(exited([event(), refused, answer]), null);
    assert.equal(exited([said("API Error: 529 Overloaded", { error: "server_error" })]), null);
    assert.deepEqual(exited([], "You've hit your limit"), { untilWall: null });
  });

  test("of several used-up windows the last one counts", () => {
    const week = { utilization: 1, resetsAt: resetsAt + 60, status: "rejected" };
    const free = { utilization: 0.1, resetsAt: resetsAt + 99, status: "allowed" };
    const windows = { five_hour: info.unifiedWindows.five_hour, seven_day: week, other: free };
    const limit = limitOf("claude", [event({ unifiedWindows: windows }), refused, result()]);
    assert.deepEqual(limit, { untilWall: (resetsAt + 60) * 1_000 });
  });

  test("the limit of an API key names no time; an impossible time is ignored", () => {
    const text = "API Error: Request rejected (429) · This request would exceed your rate limit";
    const error = said(text, { error: "rate_limit", api_error_status: 429 });
    const end = plain(text, { terminal_reason: "api_error", api_error_status: 429 });
    assert.deepEqual(limitOf("claude", [error, end]), { untilWall: null });
    for (const bad of [1, "soon", null, -1]) {
      const lines = [event({ resetsAt: bad, unifiedWindows: {} }), plain("You've hit your limit")];
      assert.deepEqual(limitOf("claude", lines), { untilWall: null });
    }
  });

  test("a limit that it waits out, warns of, or has passed is not a limit of the turn", () => {
    const retry = { type: "system", subtype: "api_retry", error_status: 429, error: "rate_limit" };
    assert.equal(ending("claude", [retry, event(), refused]), undefined);
    const bad = (reason: string) => plain("x", { terminal_reason: reason });
    const late = plain("API Error: 529 Overloaded", {
      ...{ terminal_reason: "api_error", api_error_status: 529 },
    });
    assert.equal(limitOf("claude", [retry, late]), null);
    assert.equal(limitOf("claude", [event({ status: "allowed_warning" }), late]), null);
    assert.equal(limitOf("claude", [event({ isUsingOverage: true }), late]), null);
    assert.equal(limitOf("claude", [event(), event({ status: "allowed" }), late]), null);
    assert.equal(limitOf("claude", [event(), answer, late]), null);
    assert.equal(limitOf("claude", [event(), refused, bad("aborted_streaming")]), null);
    const stopped = { type: "result", subtype: "error_max_budget_usd", is_error: true };
    assert.equal(limitOf("claude", [{ ...stopped, terminal_reason: "budget_exhausted" }]), null);
  });

  test("no credit and a request that is too large are no limit", () => {
    const broke = said("Credit balance is too low", { error: "billing_error" });
    const end = plain("Credit balance is too low", { terminal_reason: "api_error" });
    assert.equal(limitOf("claude", [broke, { ...end, api_error_status: 400 }]), null);
    const long = "Extra usage is required for long context requests.";
    const error = said(long, { error: "rate_limit" });
    assert.equal(limitOf("claude", [error, plain(long, { api_error_status: 429 })]), null);
  });

  test("a subagent's limit is not a limit of its caller", () => {
    const inner = { ...refused, parent_tool_use_id: "toolu_1" };
    const end = plain("API Error: 500", { terminal_reason: "api_error", api_error_status: 500 });
    assert.equal(limitOf("claude", [inner, end]), null);
  });
});

describe("text is never read as a limit", () => {
  const spoken = (text: string) => ({
    type: "assistant",
    message: { model: "m", content: [{ type: "text", text }] },
    parent_tool_use_id: null,
  });
  const output = (content: string) => ({
    type: "user",
    message: { content: [{ type: "tool_result", tool_use_id: "a", content, is_error: true }] },
  });

  test("a model or a command that prints such lines ends no turn", () => {
    const lines = [JSON.stringify(event()), JSON.stringify(result()), words].join("\n");
    for (const line of [spoken(lines), output(lines)]) {
      assert.equal(ending("claude", [line]), undefined);
      const good = plain(words, { is_error: false, terminal_reason: "completed" });
      assert.equal(limitOf("claude", [line, good]), undefined);
      const bad = plain("API Error: 500", { api_error_status: 500, terminal_reason: "api_error" });
      assert.equal(limitOf("claude", [line, bad]), null);
    }
  });

  test("the same holds for lines of gemini and codex", () => {
    const gemini = [
      { type: "message", role: "assistant", content: words, delta: true },
      { type: "tool_result", tool_id: "1", status: "error", error: { message: words } },
      { type: "result", status: "error", error: { type: "x", message: "the loop was stopped" } },
    ];
    assert.equal(limitOf("gemini", gemini), null);
    const item = (type: string, fields: object) => ({
      type: "item.completed",
      item: { id: "1", type, ...fields },
    });
    const codex = [
      item("agent_message", { text: words }),
      item("command_execution", { command: "x", aggregated_output: words, exit_code: 1 }),
      { type: "turn.failed", error: { message: "stream disconnected" } },
    ];
    assert.equal(limitOf("codex", codex), null);
    for (const [format, lines] of [
      ["gemini", gemini],
      ["codex", codex],
    ] as const) {
      const read = reader(format);
      for (const line of lines.slice(0, 2)) read.line(JSON.stringify(line));
      assert.equal(read.limitAtExit?.("it crashed"), null);
    }
  });

  test("a program in symphony's own format reports it in a field, never in prose", () => {
    const failed = { type: "result", success: false, message: "the rate limit test is red: 429" };
    assert.equal(limitOf("jsonl", [failed]), null);
    const limit = (fields: object) => limitOf("jsonl", [{ ...failed, limited: true, ...fields }]);
    assert.deepEqual(limit({}), { untilWall: null });
    assert.deepEqual(limit({ resets_at: resetsAt }), until);
    assert.deepEqual(limit({ resets_at: "2026-11-26T01:00:34Z" }), until);
    assert.deepEqual(limit({ retry_after: 90 }), { untilWall: wall + 90_000 });
    assert.equal(limitOf("jsonl", [{ type: "result", success: true, limited: true }]), undefined);
    assert.equal(reader("jsonl").limitAtExit?.(words) ?? null, null);
    assert.equal(reader("text").limitAtExit?.(words) ?? null, null);
  });
});

test("A11: codex exec and gemini report a login, a model or an account that no further issue gets past", () => {
  const codex = (error: unknown) => ({ type: "turn.failed", error });
  const gemini = (message: string) => ({ type: "result", status: "error", error: { message } });
  const own = (fields: object) => ({ type: "result", success: false, ...fields });
  const unknown = "The 'm' model is not supported when using Codex with a ChatGPT account.";
  for (const [format, line, refusal] of [
    [
      "codex",
      codex({ message: "unexpected status 401 Unauthorized: expired" }),
      "authentication_failed",
    ],
    ["codex", codex({ message: JSON.stringify({ detail: unknown }) }), "model_not_found"],
    ["codex", codex("Insufficient Balance"), "billing_error"],
    ["gemini", gemini("API key not valid. Please pass a valid API key."), "authentication_failed"],
    ["gemini", gemini("the tests fail"), undefined],
    ["jsonl", own({ message: "API key not valid" }), undefined],
  ] as const) {
    const end = ending(format, [line]);
    assert.ok(end?.type === "result" && end.failure !== null, JSON.stringify(line));
    assert.equal(end.refusal, refusal, JSON.stringify(line));
  }
  assert.match(reader("codex").logIn ?? "", /codex login/);
});

test("a result in symphony's own format that does not say success is none, and its error is shown in any form", () => {
  for (const [fields, failure] of [
    [{ success: "false", message: "boom" }, "boom"],
    [{ success: null, error: { message: "boom" } }, "boom"],
    [{ error: "boom" }, "boom"],
    [{ success: "true" }, null],
    [{}, null],
  ] as const) {
    const end = ending("jsonl", [{ type: "result", ...fields }]);
    assert.ok(end?.type === "result");
    assert.equal(end.failure, failure, JSON.stringify(fields));
  }
  const limited = { type: "result", success: false, limited: true };
  const date = new Date(resetsAt * 1_000).toUTCString();
  assert.deepEqual(limitOf("jsonl", [{ ...limited, retry_after: date }]), until);
});

describe("gemini and codex exec at their limits", () => {
  test("gemini 0.61.0 --output-format stream-json", () => {
    const message =
      "[API Error: You have exhausted your daily quota on this model.]\nPlease wait and try again later.";
    const end = (text: string) => ({
      ...{ type: "result", status: "error", error: { type: "unknown", message: text } },
    });
    assert.deepEqual(limitOf("gemini", [end(message)]), { untilWall: null });
    const timed =
      "[API Error: You have exhausted your capacity on this model. Your quota will reset after 3h20m11s.]";
    assert.deepEqual(limitOf("gemini", [end(timed)]), { untilWall: wall + 12_011_000 });
    assert.equal(limitOf("gemini", [end('[API Error: {"error":{"code":401}}]')]), null);
  });

  test("gemini that crashes: stderr, or the last line of type error", () => {
    const crash = "TerminalQuotaError: You have exhausted your daily quota on this model.";
    assert.deepEqual(reader("gemini").limitAtExit?.(crash), { untilWall: null });
    const read = reader("gemini");
    read.line(JSON.stringify({ type: "error", severity: "error", message: "Quota exceeded" }));
    assert.deepEqual(read.limitAtExit?.(""), { untilWall: null });
  });

  test("codex exec 0.169 --json", () => {
    const message =
      "You’ve hit your usage limit. Upgrade to Pro (https://chatgpt.com/explore/pro), visit https://chatgpt.com/settings/usage to purchase more credits or try again at ";
    const lines = (text: string) => [
      { type: "thread.started", thread_id: "t-1" },
      { type: "turn.started" },
      { type: "error", message: text },
      { type: "turn.failed", error: { message: text } },
    ];
    const at = new Date(2026, 10, 28, 3, 32).getTime();
    const day = lines(`${message}Nov 28th, 2026 3:32 AM.`);
    assert.deepEqual(limitOf("codex", day), { untilWall: at });
    const many = lines("exceeded retry limit, last status: 429 Too Many Requests");
    assert.deepEqual(limitOf("codex", many), { untilWall: null });
    const down = lines("unexpected status 503 Service Unavailable: overloaded");
    assert.equal(limitOf("codex", down), null);
    const read = reader("codex");
    for (const line of day.slice(0, 3)) read.line(JSON.stringify(line));
    assert.deepEqual(read.limitAtExit?.(""), { untilWall: at });
  });
});
