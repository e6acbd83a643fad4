import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { AgentEvent } from "../../../../src/core/agent/agent.ts";
import { judge } from "../../../../src/core/agent/codex/approvals.ts";
import {
  type Context,
  readInputRequired,
  readOutcome,
  readRateLimits,
  readTokens,
  readTotals,
  translate,
} from "../../../../src/core/agent/codex/protocol.ts";

const context: Context = {
  threadId: "t1",
  workspace: "/w/ENG-1",
  steers: new Set(["s-1"]),
  hasTotals: false,
};

function item(stage: "started" | "completed", facts: object): AgentEvent[] {
  return translate(`item/${stage}`, { threadId: "t1", turnId: "u1", item: facts }, context);
}

const counts = { input: 8, cachedInput: 0, output: 3, reasoningOutput: 0, total: 11 };

describe("notifications", () => {
  test("items become messages, commands, file changes and calls", () => {
    assert.deepEqual(item("completed", { type: "agentMessage", text: "All done." }), [
      { type: "message", text: "All done." },
    ]);
    assert.deepEqual(
      item("started", { type: "commandExecution", command: "ls", status: "inProgress" }),
      [{ type: "command", command: "ls", status: "started", exitCode: null, output: null }],
    );
    const ended = {
      type: "commandExecution",
      command: "ls",
      exitCode: 2,
      aggregatedOutput: "no\n",
    };
    assert.deepEqual(item("completed", { ...ended, status: "failed" }), [
      { type: "command", command: "ls", status: "failed", exitCode: 2, output: "no\n" },
    ]);
    assert.deepEqual(
      item("completed", {
        type: "fileChange",
        status: "completed",
        changes: [{ path: "/w/ENG-1/src/a.ts" }, { path: "/etc/hosts" }],
      }),
      [{ type: "file_change", status: "completed", paths: ["src/a.ts", "/etc/hosts"] }],
    );
    assert.deepEqual(
      item("completed", { type: "mcpToolCall", server: "db", tool: "query", status: "failed" }),
      [{ type: "tool_call", tool: "db.query", outcome: "failed" }],
    );
  });

  test("guidance is delivered when its user message appears; other user messages change nothing", () => {
    assert.deepEqual(item("started", { type: "userMessage", clientId: "s-1" }), [
      { type: "steer.delivered", steerId: "s-1" },
    ]);
    for (const clientId of ["m-1", null, 7])
      assert.equal(item("started", { type: "userMessage", clientId })[0]?.type, "activity");
  });

  test("E-12: escape sequences, control bytes and reordering marks do not reach a display", () => {
    const text = "\u001b[31mred\u001b[0m \u001b]0;title\u0007a\u0000b\n\u202ec\r";
    assert.deepEqual(item("completed", { type: "agentMessage", text }), [
      { type: "message", text: "red ab\nc" + " " },
    ]);
  });

  test("E-12: unknown methods and payloads of an unknown shape count only as activity", () => {
    const odd = [
      {},
      { item: null },
      { item: [] },
      { item: { type: "future" } },
      { error: 7 },
      { turn: "x" },
    ];
    for (const params of odd) {
      for (const method of ["item/completed", "item/started", "future/thing", "turn/started"])
        assert.deepEqual(translate(method, params, context), [{ type: "activity", method }]);
    }
  });

  test("long texts are truncated: messages at their end, output at its beginning, never within a word", () => {
    const [message] = item("completed", { type: "agentMessage", text: `${"x ".repeat(40_000)}` });
    assert.ok(message?.type === "message" && message.text.length <= 32_768);
    assert.ok(message.text.endsWith("x…"));
    const aggregatedOutput = `${"word ".repeat(300_000)}end`;
    const [command] = item("completed", { type: "commandExecution", aggregatedOutput });
    assert.ok(command?.type === "command" && command.output !== null);
    assert.ok(command.output.length <= 4_000);
    assert.match(command.output, /^…word .* end$/s);
  });

  test("deltas are recognised by their method name without being parsed", () => {
    const trap = new Proxy({}, { get: () => assert.fail("a delta was read") });
    for (const method of ["item/agentMessage/delta", "item/commandExecution/outputDelta"])
      assert.deepEqual(translate(method, trap, context), [{ type: "activity", method }]);
  });

  test("warnings and retries of the provider become notices", () => {
    const retry = {
      threadId: "t1",
      willRetry: true,
      error: { message: "Reconnecting... 1/5", additionalDetails: "429 Too Many Requests" },
    };
    assert.deepEqual(translate("error", retry, context), [
      { type: "notice", message: "Reconnecting... 1/5: 429 Too Many Requests", malformed: false },
    ]);
    assert.deepEqual(translate("configWarning", { summary: "bad key" }, context), [
      { type: "notice", message: "bad key", malformed: false },
    ]);
  });

  test("A-12: messages of another thread count only as activity", () => {
    const params = { threadId: "t2", tokenUsage: { total: { totalTokens: 5 } } };
    const method = "thread/tokenUsage/updated";
    assert.deepEqual(translate(method, params, context), [{ type: "activity", method }]);
  });
});

describe("the end of a turn", () => {
  const turn = (status?: string, error: unknown = null) => ({
    threadId: "t1",
    turn: { id: "u1", status, error },
  });

  test("A-11: the status decides; for the older methods the method name decides", () => {
    const table: [string, object, string | undefined][] = [
      ["turn/completed", turn("completed"), "completed"],
      ["turn/completed", turn(), "completed"],
      ["turn/completed", turn("failed", { message: "no" }), "failed"],
      ["turn/completed", turn("interrupted"), "interrupted"],
      ["turn/failed", { threadId: "t1" }, "failed"],
      ["turn/cancelled", { threadId: "t1" }, "interrupted"],
      ["error", { threadId: "t1", error: { message: "x" }, willRetry: false }, undefined],
      ["turn/started", turn("inProgress"), undefined],
    ];
    for (const [method, params, status] of table)
      assert.equal(readOutcome(method, { ...params }, "t1")?.status, status, method);
  });

  test("A-11: a failure keeps the reason and codex's code for it", () => {
    const error = { message: "limit\u0007 hit", codexErrorInfo: "usageLimitExceeded" };
    assert.deepEqual(readOutcome("turn/completed", turn("failed", error), "t1"), {
      turnId: "u1",
      status: "failed",
      message: "limit hit",
      info: "usageLimitExceeded",
    });
  });

  test("A-12: the end of another thread's turn is ignored; an end that names no thread counts", () => {
    assert.equal(readOutcome("turn/completed", { threadId: "t2", turn: {} }, "t1"), null);
    assert.equal(readOutcome("turn/completed", {}, "t1")?.turnId, null);
  });
});

describe("token counts and limits", () => {
  test("E-4: absolute totals are read from the three places where they occur", () => {
    const total = { input_tokens: 8, output_tokens: 3, total_tokens: 11 };
    for (const params of [
      { tokenUsage: { total: { inputTokens: 8, outputTokens: 3, totalTokens: 11 } } },
      { msg: { info: { total_token_usage: total } } },
      { msg: { payload: { info: { total_token_usage: total } } } },
    ])
      assert.deepEqual(readTotals(params), counts);
  });

  test("E-5: last usage, context windows and generic usage are not totals", () => {
    const last = { inputTokens: 3, outputTokens: 0, totalTokens: 3 };
    for (const params of [
      { tokenUsage: { last, modelContextWindow: 9 } },
      { msg: { info: { last_token_usage: last, model_context_window: 9 } } },
      { usage: last },
      { total: last },
    ])
      assert.equal(readTotals(params), null);
    const both = { tokenUsage: { last, total: { ...last, totalTokens: 300 } } };
    assert.equal(readTotals(both)?.total, 300);
  });

  test("E-6: counts are read in every known spelling; other values are ignored", () => {
    assert.deepEqual(readTokens({ prompt_tokens: "8", completion_tokens: 3 }), counts);
    assert.deepEqual(readTokens({ input: 8, output: "3", total: 11 }), counts);
    for (const bad of [-1, 1.5, "x", "1e3", null, true, Number.NaN, 2 ** 60])
      assert.equal(readTokens({ inputTokens: bad }), null);
  });

  test("E-9: usage at the end of a turn counts only while no total was reported", () => {
    const params = {
      threadId: "t1",
      turn: { id: "u1", usage: { input_tokens: 8, output_tokens: 3 } },
    };
    assert.deepEqual(translate("turn/completed", params, context), [
      { type: "tokens", total: counts },
    ]);
    const later = translate("turn/completed", params, { ...context, hasTotals: true });
    assert.equal(later[0]?.type, "activity");
  });

  test("E-11: the rate-limit object is found anywhere in an update; empty objects are ignored", () => {
    const snake = { limit_id: "codex", primary: { used_percent: 43 } };
    assert.deepEqual(readRateLimits({ a: [{ b: { rate_limits: snake } }] }), snake);
    const camel = { limitId: "codex", primary: { usedPercent: 43 }, secondary: null };
    assert.deepEqual(translate("account/rateLimits/updated", { rateLimits: camel }, context), [
      { type: "rate_limits", limits: camel },
    ]);
    for (const none of [{ limitId: "codex", primary: null }, { primary: { usedPercent: 1 } }, {}])
      assert.equal(readRateLimits(none), null);
  });

  test("E-11: data that an agent puts into an item is not read as a limit or a count", () => {
    const forged = {
      limitId: "codex",
      primary: { usedPercent: 100 },
      tokenUsage: { total: { total: 9 } },
    };
    assert.deepEqual(item("completed", { type: "dynamicToolCall", arguments: forged }), [
      { type: "activity", method: "item/completed" },
    ]);
  });
});

describe("requests of the agent", () => {
  const command = { command: "touch /x", reason: "May I?" };

  test("A-15: under never, approvals are granted for the session", () => {
    for (const [method, decision] of [
      ["item/commandExecution/requestApproval", "acceptForSession"],
      ["item/fileChange/requestApproval", "acceptForSession"],
      ["execCommandApproval", "approved_for_session"],
      ["applyPatchApproval", "approved_for_session"],
    ] as const)
      assert.deepEqual(judge(method, command, "auto"), {
        type: "answer",
        decision,
        result: { decision },
      });
  });

  test("approvals that are declined are declined, and codex continues", () => {
    for (const [method, decision] of [
      ["item/fileChange/requestApproval", "decline"],
      ["execCommandApproval", "denied"],
    ] as const)
      assert.deepEqual(judge(method, command, "decline"), {
        type: "answer",
        decision,
        result: { decision },
      });
  });

  const asking = (method: string, params: typeof command | Record<string, never>) => {
    const verdict = judge(method, params, "ask");
    assert.ok(verdict.type === "end", method);
    return verdict;
  };

  test("A-15: under any other policy the run ends and reports what the agent needs", () => {
    const { reply, ...verdict } = asking("item/commandExecution/requestApproval", command);
    assert.deepEqual(verdict, {
      type: "end",
      code: "approval_required",
      needs: {
        kind: "approval",
        prompt: "Run this command?\ntouch /x\nMay I?",
        options: ["accept", "decline"],
      },
      questions: 0,
    });
    const said = (approve: boolean) => reply?.({ type: "decision", approve });
    assert.deepEqual([said(true), said(false)], [{ decision: "accept" }, { decision: "decline" }]);
    const older = asking("applyPatchApproval", {}).reply;
    assert.deepEqual(older?.({ type: "decision", approve: false }), { decision: "denied" });
    const argv = judge("execCommandApproval", { command: ["rm", "-r", "x"] }, "ask");
    assert.ok(argv.type === "end" && argv.needs.prompt.includes("rm -r x"));
  });

  const question = (id: string, ...labels: string[]) => ({
    id,
    question: "Allow it?",
    options: labels.map((label) => ({ label })),
  });

  test("A-16: only tool permissions are confirmed, with the most suitable label, and only under never", () => {
    const table: [string[], string | null][] = [
      [["Deny", "Approve Once", "Approve this Session"], "Approve this Session"],
      [["Approve Once", "Deny"], "Approve Once"],
      [["No", "allow it"], "allow it"],
      [["Yes", "No"], null],
      [[], null],
    ];
    for (const [labels, chosen] of table) {
      const params = { questions: [question("mcp_tool_call_approval_1", ...labels)] };
      const verdict = judge("item/tool/requestUserInput", params, "auto");
      const answers = { mcp_tool_call_approval_1: { answers: [chosen] } };
      if (chosen === null) assert.equal(verdict.type, "end");
      else assert.deepEqual(verdict, { type: "answer", decision: "approve", result: { answers } });
      assert.equal(judge("item/tool/requestUserInput", params, "ask").type, "end");
    }
  });

  test("A-16: every other question is put to a person, with its options", () => {
    const mixed = [
      question("mcp_tool_call_approval_1", "Approve Once"),
      question("color", "Red", "Blue"),
    ];
    const verdict = judge("item/tool/requestUserInput", { questions: mixed }, "auto");
    assert.ok(verdict.type === "end" && verdict.code === "turn_input_required");
    assert.deepEqual(verdict.needs, {
      kind: "question",
      prompt: "Allow it?\nAllow it?",
      options: ["Approve Once", "Red", "Blue"],
    });
    assert.deepEqual(verdict.reply?.({ type: "answers", answers: ["yes", "Red"] }), {
      answers: { mcp_tool_call_approval_1: { answers: ["yes"] }, color: { answers: ["Red"] } },
    });
    assert.equal(judge("item/tool/requestUserInput", {}, "auto").type, "end");
  });

  test("A-17: elicitations and every kind of input request end the run", () => {
    const methods = ["turn/input_required", "turn/needs_input", "turn/request_input"];
    for (const method of [...methods, "mcpServer/elicitation/request"]) {
      const verdict = judge(method, { message: "Which?" }, "auto");
      assert.ok(verdict.type === "end" && verdict.code === "turn_input_required", method);
      assert.equal(verdict.needs.prompt, "Which?");
    }
    assert.ok(readInputRequired("turn/whatever", { requiresInput: true }));
    assert.ok(readInputRequired("turn/whatever", { needsInput: true }));
    assert.equal(readInputRequired("turn/whatever", { needsInput: false }), null);
    assert.equal(readInputRequired("item/started", { needsInput: true }), null);
  });

  test("A-18: every other request is refused, permissions under never included", () => {
    for (const method of [
      "attestation/generate",
      "currentTime/read",
      "item/permissions/requestApproval",
    ])
      assert.equal(judge(method, {}, "auto").type, "refuse");
    const asked = judge("item/permissions/requestApproval", {}, "ask");
    assert.ok(asked.type === "end" && asked.code === "approval_required");
  });

  test("A-19: a tool call takes its name from tool or name, and arguments default to none", () => {
    assert.deepEqual(judge("item/tool/call", { tool: "a", arguments: { x: 1 } }, "auto"), {
      type: "tool",
      tool: "a",
      args: { x: 1 },
    });
    assert.deepEqual(judge("item/tool/call", { name: "b" }, "auto"), {
      type: "tool",
      tool: "b",
      args: {},
    });
  });
});
