import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { readerFor } from "../../../../src/core/agent/command/output.ts";

type Format = Parameters<typeof readerFor>[0];
const options = { workspace: "/srv/ENG-1", wall: () => 0 };

/** What a reader returns for the lines of one turn, without activity signals. */
function eventsFrom(format: Format, lines: readonly unknown[]) {
  const reader = readerFor(format, options);
  const all = [...lines.flatMap((line) => reader.line(JSON.stringify(line))), ...reader.end()];
  return all.filter(({ type }) => type !== "activity");
}

const tokens = (input: number, cachedInput: number, output: number, reasoningOutput = 0) => ({
  type: "usage",
  tokens: { input, cachedInput, output, reasoningOutput, total: input + output },
});

// Rows of the case file of agents are named "A7: …".

describe("output of known programs", () => {
  test("A7: claude's tokens are counted once per message as they come, and its result replaces them", () => {
    const said = (id: string, text: string, input_tokens: number) => ({
      type: "assistant",
      message: {
        ...{ id, content: [{ type: "text", text }] },
        usage: { input_tokens, cache_read_input_tokens: 1_000, output_tokens: 1 },
      },
    });
    const models = {
      big: { inputTokens: 30, outputTokens: 12, cacheReadInputTokens: 2_000 },
      small: { inputTokens: 5, outputTokens: 2, cacheCreationInputTokens: 3 },
    };
    const lines = [
      ...[said("m1", "a", 10), said("m1", "b", 10), said("m2", "c", 20)],
      { type: "result", subtype: "success", model_usage_since_last_result: models },
      said("m3", "d", 1),
    ];
    const counted = eventsFrom("claude", lines).filter(({ type }) => type === "usage");
    assert.deepEqual(counted, [
      tokens(1_010, 1_000, 1),
      tokens(2_030, 2_000, 2),
      tokens(2_038, 2_000, 14),
      tokens(3_039, 3_000, 15),
    ]);
  });

  test("A19: claude's lines as one list, after a byte order mark; an error as text is one", () => {
    const said = { type: "assistant", message: { content: [{ type: "text", text: "hi" }] } };
    const ended = (is_error: unknown) => [
      said,
      { type: "result", subtype: "success", is_error, result: "boom" },
    ];
    const readOf = (written: string) => readerFor("claude", options).line(written);
    for (const [isError, failure] of [
      ["true", "boom"],
      [true, "boom"],
      ["false", null],
      [null, null],
    ] as const) {
      const events = readOf(`\ufeff${JSON.stringify(ended(isError))}`);
      assert.deepEqual(
        events.map((event) => (event.type === "result" ? event.failure : event.type)),
        ["message", failure],
      );
    }
  });

  test("A19: claude's errors, denials, cost and maximum of turns", () => {
    const ended = (fields: object) =>
      eventsFrom("claude", [{ type: "result", is_error: true, ...fields }]);
    const failed = (failure: string | null) => ({ type: "result", failure, limit: null });
    const notice = (message: string) => ({ type: "notice", message, malformed: false });
    const errors = ["[ede_diagnostic] x", "the disk is full"];
    const subtype = "error_during_execution";
    assert.deepEqual(ended({ subtype, errors }), [failed("the disk is full")]);
    assert.deepEqual(ended({ subtype, errors: [] }), [failed(subtype)]);
    assert.deepEqual(ended({ subtype, errors: "boom" }), [failed("boom")]);
    assert.deepEqual(ended({ subtype, error: { message: "boom" } }), [failed("boom")]);
    assert.deepEqual(ended({ subtype: "error_max_turns" }), [
      notice("the agent ended its turn early: max turns"),
      failed(null),
    ]);
    const said = (error: string) => ({ type: "assistant", error, message: { content: [] } });
    const words = { type: "result", subtype: "success", is_error: true, result: "Invalid API key" };
    assert.deepEqual(eventsFrom("claude", [said("authentication_failed"), words]), [
      { ...failed("Invalid API key"), refusal: "authentication_failed" },
    ]);
    assert.deepEqual(eventsFrom("claude", [said("server_error"), words]), [
      failed("Invalid API key"),
    ]);
    for (const [result, refusal] of [
      ["Invalid API key · Please run /login", "authentication_failed"],
      ["OAuth token has expired", "authentication_failed"],
      ["Credit balance is too low", "billing_error"],
      ["There's an issue with the selected model (x)", "model_not_found"],
    ]) {
      const old = { ...words, result };
      assert.deepEqual(eventsFrom("claude", [old]), [{ ...failed(String(result)), refusal }]);
    }
    const fine = {
      ...{ subtype: "success", is_error: false, total_cost_usd: 0.25, modelUsage: { opus: {} } },
      permission_denials: [{ tool_name: "Bash" }, { tool_name: "Bash" }, { tool_name: "Write" }],
    };
    assert.deepEqual(ended(fine), [
      notice("denied by the agent's own rules: Bash, Write"),
      notice("cost as the agent reports it: $0.2500 (opus)"),
      failed(null),
    ]);
  });

  test("claude -p --output-format stream-json", () => {
    const session_id = "4b1c";
    const use = (id: string, name: string, input: unknown) => ({
      type: "assistant",
      session_id,
      message: { role: "assistant", content: [{ type: "tool_use", id, name, input }] },
    });
    const result = (tool_use_id: string, content: unknown, is_error = false) => ({
      type: "user",
      message: { role: "user", content: [{ type: "tool_result", tool_use_id, content, is_error }] },
    });
    assert.deepEqual(
      eventsFrom("claude", [
        { type: "system", subtype: "init", session_id, model: "m", tools: ["Bash"] },
        { type: "system", subtype: "api_retry", session_id },
        { type: "assistant", message: { content: [{ type: "text", text: "I look." }] } },
        use("a", "Bash", { command: "ls" }),
        result("a", [{ type: "text", text: "a.txt" }]),
        use("b", "Edit", { file_path: "/srv/ENG-1/a.txt" }),
        result("b", "ok"),
        use("c", "WebFetch", { url: "x" }),
        result("c", "no network", true),
        result("never-begun", ""),
        {
          type: "result",
          subtype: "success",
          is_error: false,
          result: "Done.",
          session_id,
          usage: {
            input_tokens: 10,
            cache_creation_input_tokens: 100,
            cache_read_input_tokens: 1_000,
            output_tokens: 5,
          },
        },
      ]),
      [
        { type: "session", id: session_id },
        { type: "message", text: "I look." },
        { type: "command", command: "ls", status: "started", exitCode: null, output: null },
        { type: "command", command: "ls", status: "completed", exitCode: null, output: "a.txt" },
        { type: "file_change", status: "completed", paths: ["a.txt"] },
        { type: "tool_call", tool: "WebFetch", outcome: "failed" },
        { type: "session", id: session_id },
        tokens(1_110, 1_000, 5),
        { type: "result", failure: null, limit: null },
      ],
    );
    assert.deepEqual(eventsFrom("claude", [{ type: "result", subtype: "error_max_budget_usd" }]), [
      { type: "result", failure: "error_max_budget_usd", limit: null },
    ]);
  });

  test("gemini --output-format stream-json: chunks of a message are joined", () => {
    assert.deepEqual(
      eventsFrom("gemini", [
        { type: "init", session_id: "s", model: "m" },
        { type: "message", role: "user", content: "prompt" },
        { type: "message", role: "assistant", content: "I ", delta: true },
        { type: "message", role: "assistant", content: "look.", delta: true },
        {
          type: "tool_use",
          tool_name: "run_shell_command",
          tool_id: "1",
          parameters: { command: "ls" },
        },
        { type: "tool_result", tool_id: "1", status: "error", error: { message: "denied" } },
        {
          type: "tool_use",
          tool_name: "write_file",
          tool_id: "2",
          parameters: { file_path: "b" },
        },
        { type: "tool_result", tool_id: "2", status: "success", output: "" },
        { type: "error", severity: "warning", message: "loop" },
        { type: "message", role: "assistant", content: "Done.", delta: true },
        {
          type: "result",
          status: "error",
          error: { type: "X", message: "quota" },
          stats: { total_tokens: 12, input_tokens: 10, output_tokens: 2, cached: 4, input: 6 },
        },
      ]),
      [
        { type: "session", id: "s" },
        { type: "message", text: "I look." },
        { type: "command", command: "ls", status: "started", exitCode: null, output: null },
        { type: "command", command: "ls", status: "failed", exitCode: null, output: "denied" },
        { type: "file_change", status: "completed", paths: ["b"] },
        { type: "notice", message: "loop", malformed: false },
        { type: "message", text: "Done." },
        tokens(10, 4, 2),
        { type: "result", failure: "quota", limit: null },
      ],
    );
  });

  test("codex exec --json", () => {
    const item = (type: string, fields: object) => ({ id: "item_1", type, ...fields });
    assert.deepEqual(
      eventsFrom("codex", [
        { type: "thread.started", thread_id: "t-1" },
        { type: "turn.started" },
        {
          type: "item.started",
          item: item("command_execution", { command: "ls", status: "in_progress" }),
        },
        {
          type: "item.completed",
          item: item("command_execution", {
            ...{ command: "ls", aggregated_output: "a\n", exit_code: 1, status: "failed" },
          }),
        },
        {
          type: "item.completed",
          item: item("file_change", { changes: [{ path: "/srv/ENG-1/a" }], status: "completed" }),
        },
        { type: "item.completed", item: item("mcp_tool_call", { server: "s", tool: "t" }) },
        { type: "item.completed", item: item("error", { message: "deprecated" }) },
        { type: "item.completed", item: item("agent_message", { text: "Done." }) },
        { type: "turn.completed", usage: { input_tokens: 10, output_tokens: 2 } },
        { type: "turn.failed", error: { message: "no credit" } },
      ]),
      [
        { type: "session", id: "t-1" },
        { type: "command", command: "ls", status: "started", exitCode: null, output: null },
        { type: "command", command: "ls", status: "failed", exitCode: 1, output: "a\n" },
        { type: "file_change", status: "completed", paths: ["a"] },
        { type: "tool_call", tool: "s.t", outcome: "completed" },
        { type: "notice", message: "deprecated", malformed: false },
        { type: "message", text: "Done." },
        tokens(10, 0, 2),
        { type: "result", failure: null, limit: null },
        { type: "result", failure: "no credit", limit: null },
      ],
    );
    assert.equal(readerFor("codex", options).counts, "thread");
  });

  test("no output of a program makes the reader throw", () => {
    const hostile = [null, 1, [], {}, { type: "assistant", message: { content: 1 } }];
    const words = [
      "item.completed",
      "result",
      "tool_use",
      "tool_call",
      "tokens",
      "session",
      "user",
    ];
    const lines = [...hostile, ...words.map((type) => ({ type, message: { content: [null] } }))];
    for (const format of ["text", "jsonl", "claude", "gemini", "codex"] as const)
      eventsFrom(format, lines);
  });
});
