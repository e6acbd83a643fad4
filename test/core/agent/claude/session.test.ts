import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { AgentTools } from "../../../../src/core/agent/agent.ts";
import { liveProcesses } from "../../../../src/core/process/table.ts";
import { used } from "../../../support/fakes/claude-script.ts";
import { claudeBench } from "../../../support/worlds/claude-bench.ts";

// Rows of the case file of agents are named "A7: …".

const plain = { model: null };

describe("agent.kind claude", () => {
  test("turns on one session of one process: work is reported, tokens are summed, nothing is left", async () => {
    await using b = await claudeBench({
      turns: [
        {
          steps: [
            { do: "say", text: "I look." },
            { do: "tool", name: "Bash", input: { command: "make" }, runs: "no rule", fails: true },
            { do: "tool", name: "Write", input: { file_path: "/else/b" }, runs: "ok" },
            { do: "tool", name: "Read", input: { file_path: "a" }, asks: false },
            { do: "say", text: "Done." },
          ],
          result: used(10, 2, 100),
        },
        { steps: [{ do: "say", text: "Again." }], result: used(1, 1) },
      ],
    });
    {
      await using session = await b.start();
      await session.turn("please", plain);
      assert.deepEqual(b.types(), [
        ...["session.started", "turn.started", "message", "command", "approval.resolved"],
        ...["command", "approval.resolved", "file_change", "message", "tokens", "notice"],
        "turn.completed",
      ]);
      assert.deepEqual(b.said, ["I look.", "Done."]);
      await session.turn("go on", plain);
      assert.equal(b.said.at(-1), "Again.");
      const totals = b.events.flatMap((event) => (event.type === "tokens" ? [event.total] : []));
      assert.deepEqual(
        totals.map(({ input, cachedInput, output, total }) => [input, cachedInput, output, total]),
        [
          [110, 100, 2, 112],
          [111, 100, 3, 114],
        ],
      );
    }
    const command = b.events.findLast((event) => event.type === "command");
    assert.ok(command?.type === "command" && command.status === "failed");
    assert.equal(command.output, "no rule");
    const messages = await b.got("user");
    assert.ok(messages.every((message) => message["client_composed"] === true));
    assert.equal((await b.got("start")).length, 1);
    const left = (await liveProcesses()).filter(({ runId }) => runId === b.runId);
    assert.deepEqual(left, []);
  });

  test("a request that the agent withdraws is not asked any more, and what the version does not know is passed over", async () => {
    const request = { subtype: "can_use_tool", tool_name: "Bash", input: { command: "make" } };
    const lines = [
      { type: "control_request", request_id: "r1", request: { ...request, tool_use_id: "t1" } },
      { type: "control_cancel_request", request_id: "r1" },
      { type: "control_cancel_request", request_id: "never" },
      { type: "news", subtype: "of_a_later_version", list: [1] },
      { type: "system", subtype: "of_a_later_version", text: null },
      { type: "assistant", message: { id: "m9", content: null } },
      { type: "assistant", message: { id: "m9", content: [{ type: "hologram", data: {} }] } },
      { type: "user", message: { role: "user", content: "a text in place of a list" } },
      { type: "rate_limit_event", rate_limit_info: null },
      ...[
        '"x"',
        "[]",
        "null",
        "7",
        "",
        "{}\r",
        '\ufeff{"type":"news"}',
        '{"type":"assistant","mess',
      ],
    ];
    await using b = await claudeBench({
      turns: [
        {
          steps: [
            ...lines.map((line) => ({ do: "write", line }) as const),
            { do: "say", text: "Done." },
          ],
          result: used(1, 1),
        },
      ],
    });
    await using session = await b.start({ askPolicy: { approvals: "ask", timeoutMs: 600_000 } });
    await session.turn("please", plain);
    assert.deepEqual(b.said, ["Done."]);
    const [asked, ...more] = b.events.filter((event) => event.type === "approval.requested");
    assert.deepEqual(more, []);
    const resolved = b.events.find((event) => event.type === "approval.resolved");
    assert.equal(resolved?.askId, asked?.ask?.id);
    assert.equal(resolved?.decision, "withdrawn by the agent");
    const late = () => session.answer(asked?.ask?.id ?? "", { type: "decision", approve: true });
    assert.throws(late, { code: "nothing_asked" });
  });

  test("the tracker's tools are offered on the same pipe, and an unknown one is an answer", async () => {
    const calls: unknown[] = [];
    const tools: AgentTools = {
      specs: [{ name: "issue_move", description: "moves", inputSchema: { type: "object" } }],
      call: async (name, args) => {
        calls.push([name, args]);
        return { success: name === "issue_move", output: `ran ${name}` };
      },
    };
    await using b = await claudeBench({
      turns: [
        {
          steps: [
            { do: "mcp", tool: "issue_move", args: { state: "Done" } },
            { do: "mcp", tool: "issue_eat", args: {} },
          ],
        },
      ],
    });
    await using session = await b.start({ tools });
    await session.turn("move it", plain);
    assert.deepEqual(calls, [
      ["issue_move", { state: "Done" }],
      ["issue_eat", {}],
    ]);
    const [offered] = await b.got("tools");
    assert.deepEqual(offered, [{ ...tools.specs[0], _meta: { "anthropic/alwaysLoad": true } }]);
    assert.deepEqual(b.said, ["tracker: ran issue_move", "tracker: ran issue_eat"]);
    const outcomes = b.events.flatMap((event) =>
      event.type === "tool_call" ? [event.outcome] : [],
    );
    assert.deepEqual(outcomes, ["completed", "unsupported"]);
  });

  test("approvals: granted, declined with a reason, or asked from a person", async () => {
    const step = { do: "tool", name: "Bash", input: { command: "rm -r build" } } as const;
    for (const [approvals, behavior] of [
      ["auto", "allow"],
      ["decline", "deny"],
    ] as const) {
      await using b = await claudeBench({ turns: [{ steps: [step] }] });
      await using session = await b.start({ askPolicy: { approvals, timeoutMs: 0 } });
      await session.turn("clean", plain);
      assert.equal((await b.got("permission"))[0]?.["behavior"], behavior);
    }
    await using b = await claudeBench({ turns: [{ steps: [step, step, step] }] });
    await using session = await b.start({ askPolicy: { approvals: "ask", timeoutMs: 60_000 } });
    const turn = session.turn("clean", plain);
    const first = await b.until("approval.requested");
    assert.equal(first.needs.prompt, "Run this command?\nrm -r build");
    session.answer(first.ask?.id ?? "", { type: "decision", approve: true });
    const second = await b.until("approval.requested", ({ ask }) => ask?.id !== first.ask?.id);
    session.answer(second.ask?.id ?? "", { type: "decision", approve: false });
    const third = await b.until(
      "approval.requested",
      ({ ask }) => ask?.id !== first.ask?.id && ask?.id !== second.ask?.id,
    );
    const told = (await b.got("permission")).map(({ behavior, updatedInput }) => [
      behavior,
      updatedInput,
    ]);
    assert.deepEqual(told, [
      ["allow", { command: "rm -r build" }],
      ["deny", undefined],
    ]);
    // After an interrupt the agent waits no longer.
    await session.interrupt();
    await assert.rejects(turn, { code: "turn_cancelled" });
    assert.ok(third.ask);
  });

  test("a question goes to a person even with automatic approvals; without an answer the run ends", async () => {
    const input = {
      questions: [
        { question: "Which colour?", options: [{ label: "Red" }, { label: "Blue" }] },
        { question: "How many?", options: [] },
      ],
    };
    const script = {
      turns: [{ steps: [{ do: "tool", name: "AskUserQuestion", input }] }],
    } as const;
    await using b = await claudeBench(script);
    {
      await using session = await b.start({ askPolicy: { approvals: "auto", timeoutMs: 60_000 } });
      const turn = session.turn("paint", plain);
      const { ask, needs } = await b.until("approval.requested");
      assert.deepEqual(needs, {
        kind: "question",
        prompt: "Which colour?\nHow many?",
        options: ["Red", "Blue"],
      });
      session.answer(ask?.id ?? "", { type: "answers", answers: ["Blue", "two"] });
      await turn;
      const [answer] = await b.got("permission");
      assert.deepEqual(answer?.["updatedInput"], {
        ...input,
        answers: { "Which colour?": "Blue", "How many?": "two" },
      });
    }
    await using second = await claudeBench(script);
    await using session = await second.start({ askPolicy: { approvals: "auto", timeoutMs: 0 } });
    await assert.rejects(session.turn("paint", plain), { code: "turn_input_required" });
  });

  test("guidance is delivered when the agent took it up, is never sent twice, and late guidance has its own answer", async () => {
    await using b = await claudeBench({
      turns: [
        { steps: [{ do: "steered" }, { do: "say", text: "one" }], result: used(1, 1) },
        { steps: [{ do: "say", text: "two" }], result: used(1, 1) },
      ],
    });
    await using session = await b.start();
    const turn = session.turn("work", plain);
    const { turnId } = await b.until("turn.started");
    assert.equal((await session.steer("str_1", "use tabs")).turnId, turnId);
    await session.steer("str_1", "use tabs");
    await turn;
    assert.deepEqual(b.said, ["heard: use tabs", "one"]);
    const delivered = b.events.filter((event) => event.type === "steer.delivered");
    assert.deepEqual(delivered, [{ type: "steer.delivered", steerId: "str_1" }]);
    assert.equal((await b.got("user")).length, 2);
    await assert.rejects(session.steer("str_2", "late"), { code: "no_active_turn" });
  });

  test("delivered guidance that the session's record lacks after a crash opens the next turn, once", async () => {
    await using b = await claudeBench({
      turns: [
        {
          steps: [
            { do: "steered" },
            { do: "steered", records: false },
            { do: "say", text: "both" },
            { do: "interrupted" },
          ],
        },
      ],
    });
    let thread: string;
    {
      await using session = await b.start();
      thread = session.threadId;
      const turn = assert.rejects(session.turn("work", plain), { code: "port_exit" });
      await b.until("turn.started");
      await session.steer("str_1", "use tabs");
      await session.steer("str_2", "no semicolons");
      await b.until("message", ({ text }) => text === "both");
      assert.ok(session.pid !== null);
      process.kill(session.pid, "SIGKILL");
      await turn;
    }
    b.events.length = 0;
    const next = { turns: [{ steps: [{ do: "say", text: "ok" }], result: used(1, 1) }] };
    await writeFile(join(b.root, "script.json"), JSON.stringify(next));
    const heard = async () => (await b.got("user")).map((one) => Object(one["message"]).content);
    {
      await using session = await b.start({ resumeThreadId: thread });
      assert.ok(session.resumed);
      // Known from the record, so reported again in case the first report was lost.
      const delivered = b.events.filter(({ type }) => type === "steer.delivered");
      assert.deepEqual(delivered, [{ type: "steer.delivered", steerId: "str_1" }]);
      await session.turn("continue", plain);
    }
    const again = (await heard()).at(-1);
    assert.match(again, /no semicolons.*continue$/s);
    assert.ok(!again.includes("use tabs"));
    await using session = await b.start({ resumeThreadId: thread });
    await session.turn("continue", plain);
    assert.equal((await heard()).at(-1), "continue");
  });

  test("guidance while the last answer is written is answered before the turn ends", async () => {
    await using b = await claudeBench({
      turns: [
        {
          steps: [
            { do: "tool", name: "Bash", input: { command: "x" } },
            { do: "say", text: "one" },
          ],
          result: used(1, 1),
        },
        { steps: [{ do: "say", text: "two" }], result: used(2, 2) },
      ],
    });
    await using session = await b.start({ askPolicy: { approvals: "ask", timeoutMs: 60_000 } });
    const turn = session.turn("work", plain);
    const { ask } = await b.until("approval.requested");
    await session.steer("str_1", "and the other");
    session.answer(ask?.id ?? "", { type: "decision", approve: true });
    await turn;
    assert.deepEqual(b.said, ["one", "two"]);
    assert.equal(b.events.filter(({ type }) => type === "turn.completed").length, 1);
    assert.equal(b.events.filter(({ type }) => type === "steer.delivered").length, 1);
    assert.equal(b.events.findLast((event) => event.type === "tokens")?.total.total, 6);
  });

  test("model and effort are set between turns when they change; an unknown model is refused", async () => {
    await using b = await claudeBench({ models: ["sonnet"], turns: [{ steps: [] }] });
    await using session = await b.start({ model: "opus" });
    await session.turn("one", { model: "opus", effort: "low" });
    await session.turn("two", { model: "sonnet", effort: "low" });
    await session.turn("three", { model: "sonnet", effort: "high" });
    const [start] = await b.got("start");
    const args = start?.["args"];
    assert.ok(Array.isArray(args) && args[args.indexOf("--model") + 1] === "opus");
    assert.deepEqual(
      (await b.got("set_model")).map(({ model }) => model),
      ["sonnet"],
    );
    assert.deepEqual(
      (await b.got("apply_flag_settings")).map(({ settings }) => settings),
      [{ effortLevel: "low" }, { effortLevel: "high" }],
    );
    await assert.rejects(session.turn("four", { model: "nonesuch" }), {
      code: "response_error",
      message: /nonesuch/,
    });
  });

  test("a version without receipts for messages is refused by name", async () => {
    await using b = await claudeBench({
      version: "2.0.1",
      capabilities: ["interrupt_receipt_v1"],
      turns: [{ steps: [{ do: "interrupted" }] }],
    });
    {
      await using session = await b.start();
      await assert.rejects(session.turn("please", plain), {
        code: "agent_unavailable",
        message: "Claude Code 2.0.1 is too old: it lacks msg_lifecycle_v1",
      });
    }
    const left = (await liveProcesses()).filter(({ runId }) => runId === b.runId);
    assert.deepEqual(left, []);
  });

  test("an agent that ends its turn is told once that its issue is not finished", async () => {
    await using b = await claudeBench({ turns: [{ steps: [{ do: "say", text: "done" }] }] });
    let asked = 0;
    const unfinished = async () => `still open (${++asked})`;
    await using session = await b.start({ unfinished });
    await session.turn("please", plain);
    assert.deepEqual(b.said, ["done", "reminded: still open (1)"]);
    await session.turn("again", plain);
    assert.equal(b.said.at(-1), "reminded: still open (2)");
  });
});
