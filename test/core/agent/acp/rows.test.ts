// Rows of the case file of agents are named "A8: …".

import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { isTrackerCall, outcomeOf } from "../../../../src/core/agent/acp/permissions.ts";
import { readUsage } from "../../../../src/core/agent/acp/usage.ts";
import type { AgentTools } from "../../../../src/core/agent/agent.ts";
import { type AcpScript, type AcpStep, piece } from "../../../support/fakes/acp-script.ts";
import { acpBench } from "../../../support/worlds/acp-bench.ts";
import { eventually } from "../../../support/worlds/symphony.ts";

const plain = { model: null };
type Bench = Awaited<ReturnType<typeof acpBench>>;

const update = (fields: object): AcpStep => ({ do: "update", update: fields as never });
const call = (fields: object) =>
  update({ sessionUpdate: "tool_call", toolCallId: "c", title: "a call", ...fields });
const callUpdate = (fields: object) =>
  update({ sessionUpdate: "tool_call_update", toolCallId: "c", ...fields });
const notices = (b: Bench) =>
  b.events.flatMap((event) => (event.type === "notice" ? [event.message] : []));
const totals = (b: Bench) =>
  b.events.flatMap((event) => (event.type === "tokens" ? [event.total.total] : []));

async function played(script: AcpScript, command?: string): Promise<Bench> {
  const bench = await acpBench(script, command === undefined ? {} : { config: { command } });
  await using session = await bench.start();
  await session.turn("please", plain);
  return bench;
}

describe("A8: usage where each agent puts it", () => {
  const count = { input: 6_000, output: 60, cachedInput: 0, reasoningOutput: 0, total: 6_060 };

  test("A8: gemini's _meta.quota.token_count, in either spelling, and the larger sum of its models", () => {
    const quota = (token_count: object, model_usage: object[] = []) => ({
      _meta: { quota: { token_count, model_usage } },
    });
    assert.deepEqual(readUsage(quota({ input_tokens: 6_000, output_tokens: 60 })), count);
    assert.deepEqual(
      readUsage(quota({ inputTokens: 6_000, outputTokens: 60, totalTokens: 6_060 })),
      count,
    );
    const written = { promptTokens: 6_000, completionTokens: 60 };
    assert.deepEqual(readUsage({ usage: written }), count);
    assert.deepEqual(readUsage({ _meta: { usage: written } }), count);
    const apart = { inputTokens: 3, cachedReadTokens: 100, outputTokens: 5 };
    assert.deepEqual(readUsage({ usage: apart })?.total, 108, "cached tokens are not in its input");
    const models = [1, 2].map((id) => ({
      model: `m-${id}`,
      token_count: { input_tokens: 3_000, output_tokens: 30 },
    }));
    assert.deepEqual(readUsage(quota({ input_tokens: 5, output_tokens: 5 }, models)), count);
    for (const none of [{}, { usage: null }, { usage: { inputTokens: -1 } }, quota({})]) {
      assert.equal(readUsage(none), null, JSON.stringify(none));
    }
  });

  test("A8: an agent that counts nothing is estimated, says so once, and the estimate is counted", async () => {
    const turn = {
      steps: [
        piece("I look."),
        call({ kind: "execute", rawInput: { command: "ls" }, status: "in_progress" }),
        callUpdate({ status: "completed", rawOutput: "x".repeat(4_000) }),
        piece("All done."),
      ],
    };
    await using b = await acpBench({ turns: [turn, turn] });
    await using session = await b.start();
    await session.turn("please", plain);
    const first = totals(b).at(-1) ?? 0;
    // Two requests, each with what the agent does not show.
    assert.ok(first >= 16_000 && first < 20_000, String(first));
    await session.turn("go on", plain);
    const second = totals(b).at(-1) ?? 0;
    assert.ok(second - first >= 16_000, `${first} ${second}`);
    const said = notices(b).filter((message) => message.includes("estimated"));
    assert.deepEqual(said, [
      "the agent does not report its tokens: they are estimated from what it shows, and the token brakes use the estimate",
    ]);
  });

  test("A8: totals grow in mid-turn by what the agent reports of its context, and the end replaces them", async () => {
    const used = (tokens: number) =>
      update({ sessionUpdate: "usage_update", used: tokens, size: 100_000 });
    await using b = await played({
      turns: [
        {
          steps: [
            ...[used(1_000), call({ kind: "read", rawInput: {} }), used(1_020)],
            ...[callUpdate({ status: "completed" }), used(2_000), piece("Done.")],
          ],
          end: { stopReason: "end_turn", usage: { inputTokens: 3_000, outputTokens: 40 } },
        },
      ],
    });
    assert.deepEqual(totals(b), [1_000, 3_000, 3_040]);
    assert.deepEqual(notices(b), []);
  });

  test("A8: an agent that reports less than its own context has been is estimated", async () => {
    const used = update({ sessionUpdate: "usage_update", used: 50_000, size: 100_000 });
    await using b = await played({
      turns: [
        {
          steps: [used, piece("Done.")],
          end: { stopReason: "end_turn", usage: { inputTokens: 10, outputTokens: 1 } },
        },
      ],
    });
    assert.ok((totals(b).at(-1) ?? 0) >= 50_000);
    assert.match(notices(b).join(), /only a part of its tokens/);
  });

  test("A8: a turn that ended with a request for permission, which no call preceded, counts", async () => {
    const toolCall = { toolCallId: "call-1", title: "ls", kind: "execute" } as const;
    const options = [{ optionId: "yes", name: "Yes", kind: "allow_once" } as const];
    await using b = await acpBench({ turns: [{ steps: [{ do: "ask", toolCall, options }] }] });
    await using session = await b.start({ askPolicy: { approvals: "ask", timeoutMs: 0 } });
    await assert.rejects(session.turn("please", plain), { code: "approval_required" });
    const counted = totals(b).at(-1) ?? 0;
    assert.ok(counted >= 8_000, String(counted));
    assert.match(notices(b).join(), /a turn that was cut short: they are estimated/);
  });

  test("A8: cancelled and failed turns count", async () => {
    const used = update({ sessionUpdate: "usage_update", used: 700, size: 100_000 });
    const steps = [used, piece("I begin.", "1"), piece("", "2")];
    await using b = await acpBench({
      turns: [
        { steps: [...steps, { do: "cancelled" }], end: { stopReason: "cancelled" } },
        { steps, error: { code: -32603, message: "overloaded" } },
      ],
    });
    await using session = await b.start();
    const turn = assert.rejects(session.turn("please", plain), { code: "turn_cancelled" });
    await b.until("message");
    await session.interrupt();
    await turn;
    const first = totals(b).at(-1) ?? 0;
    assert.ok(first >= 700 && first < 1_000, String(first));
    await assert.rejects(session.turn("again", plain));
    assert.ok((totals(b).at(-1) ?? 0) >= first + 700);
  });
});

describe("A13: what comes early or late", () => {
  const hello = { agentCapabilities: { loadSession: true } };

  test("A13: history replayed after session/load was answered is dropped until the prompt is sent", async () => {
    await using b = await acpBench({
      ...{ hello, replays: ["said before", "and before"] },
      turns: [{ steps: [piece("new")] }],
    });
    await using session = await b.start({ resumeThreadId: "s-1" });
    await session.turn("go on", plain);
    assert.deepEqual(b.said, ["new"]);
    assert.ok(!b.types().includes("command"));
  });

  test("A13: chunks after the answer to the prompt are kept: as the end of that turn or before the next", async () => {
    await using b = await acpBench({
      turns: [{ steps: [piece("Nearly ")], after: ["done."] }, { steps: [piece("Again.")] }],
    });
    {
      await using session = await b.start();
      await session.turn("please", plain);
      await session.turn("go on", plain);
      assert.deepEqual(b.said, ["Nearly done.", "Again."]);
    }
    await using last = await acpBench({ turns: [{ steps: [], after: ["The end."] }] });
    {
      await using session = await last.start();
      await session.turn("please", plain);
    }
    assert.deepEqual(last.said, ["The end."]);
  });
});

describe("A20: permissions and crashes", () => {
  const options = (...all: (readonly [string, string])[]) => ({
    options: all.map(([optionId, name]) => ({ optionId, name })),
  });
  const chosen = (params: object, approve: boolean) => {
    const { outcome } = outcomeOf(params as never, approve);
    return outcome.outcome === "selected" ? outcome.optionId : null;
  };

  test("A20: options without a kind are chosen by id and name, for this call if possible", () => {
    const forms = [
      [options(["allow", "Allow"], ["reject", "Reject"]), "allow", "reject"],
      [
        options(["approved-for-session", "x"], ["approved", "Yes"], ["abort", "No"]),
        "approved",
        "abort",
      ],
      [options(["1", "Always allow"], ["2", "Allow once"], ["3", "Deny"]), "2", "3"],
      [options(["a", "Yes, and don't ask again"], ["b", "No, tell it what to do"]), "a", "b"],
      [
        options(["proceed_always", "Allow for this session"], ["cancel", "No"]),
        "proceed_always",
        "cancel",
      ],
      [options(["do_not_allow", "Don't allow"], ["ok", "OK"]), "ok", "do_not_allow"],
      [options(["a", "Approve"], ["b", "Disapprove"]), "a", "b"],
      [options(["a", "Allow this time"], ["b", "Don’t allow"]), "a", "b"],
      [options(["a", "✅ Approve"], ["b", "❌ Deny"]), "a", "b"],
      [options(["a", "1. Yes"], ["b", "2. Yes, don't ask again"], ["c", "3. No"]), "a", "c"],
      [options(["a", "(y) Yes"], ["b", "(n) No"]), "a", "b"],
      [
        options(["allowAlways", ""], ["allowOnce", ""], ["rejectOnce", ""]),
        "allowOnce",
        "rejectOnce",
      ],
      [options(["a", "Disallow"], ["b", "Allow"]), "b", "a"],
      [options(["a", "Execute"], ["b", "Dismiss"]), "a", "b"],
      [options(["x", "Blue"], ["y", "Green"]), null, null],
      [options(["allow", "Reject"]), null, null],
      [options(["allow", "Allow"]), "allow", null],
      [{ options: [{ optionId: "n", name: "Allow", kind: "reject_once" }] }, null, "n"],
      [{}, null, null],
    ] as const;
    for (const [params, approved, declined] of forms) {
      const found = [chosen(params, true), chosen(params, false)];
      assert.deepEqual(found, [approved, declined], JSON.stringify(params));
    }
  });

  test("A20: the last words on stderr explain a crash, in a turn and at the start", async () => {
    const words = "boom 1\nboom 2";
    await using b = await acpBench({ turns: [{ steps: [{ do: "die", words }] }] });
    await using session = await b.start();
    await assert.rejects(session.turn("please", plain), {
      code: "port_exit",
      message: /status 9: boom 1\s+boom 2$/,
    });
    await using early = await acpBench(
      { turns: [] },
      { config: { command: "echo no config found >&2; exit 2" } },
    );
    await assert.rejects(early.start(), { message: /status 2: no config found$/ });
  });
});

describe("what is reported of an ACP agent's work", () => {
  test("a command is reported as started when it is known, under its own name", async () => {
    await using b = await played({
      turns: [
        {
          steps: [
            call({ kind: "execute", title: "Terminal", rawInput: {}, status: "pending" }),
            callUpdate({ rawInput: { command: "make" }, title: "make" }),
            callUpdate({ status: "completed", rawOutput: "ok" }),
            call({ toolCallId: "d", kind: "execute", title: "make test", status: "in_progress" }),
            callUpdate({ toolCallId: "d", status: "completed" }),
          ],
        },
      ],
    });
    const commands = b.events.flatMap((event) =>
      event.type === "command" ? [`${event.status} ${event.command}`] : [],
    );
    assert.deepEqual(commands, [
      ...["started make", "completed make", "started make test", "completed make test"],
    ]);
  });

  test("a permission is the first sign of gemini's calls: it names the command and the files", async () => {
    const allow = [{ optionId: "yes", name: "Allow", kind: "allow_once" }] as const;
    const ask = (toolCall: object): AcpStep => ({
      do: "ask",
      toolCall: toolCall as never,
      options: [...allow],
    });
    await using b = await played({
      turns: [
        {
          steps: [
            ask({ toolCallId: "c", title: "make", kind: "execute", content: [] }),
            piece("up", "1"),
            callUpdate({ status: "completed", title: "make", kind: "execute", content: [] }),
            ask({
              ...{ toolCallId: "e", title: "write", kind: "edit", status: "pending" },
              content: [{ type: "diff", path: "a.txt", newText: "x" }],
            }),
            callUpdate({ toolCallId: "e", status: "completed", kind: "edit", content: [] }),
          ],
        },
      ],
    });
    const seen = b.types().filter((type) => ["command", "message", "file_change"].includes(type));
    assert.deepEqual(seen, ["command", "message", "command", "file_change"]);
    const change = b.events.find((event) => event.type === "file_change");
    assert.deepEqual(change?.paths, ["a.txt"]);
  });

  test("a warning of the agent's program is a notice, not the agent's words", async () => {
    await using b = await played({
      turns: [
        {
          steps: [
            update({
              sessionUpdate: "agent_message_chunk",
              content: { type: "text", text: "Warning: this costs more" },
              _meta: { claudeCode: { kind: "informational" } },
            }),
            piece("Done."),
          ],
        },
      ],
    });
    assert.deepEqual([b.said, notices(b)[0]], [["Done."], "Warning: this costs more"]);
  });

  test("an answer whose request id is text is read", async () => {
    await using b = await acpBench(
      { turns: [] },
      {
        config: {
          command: `while read -r line; do id=$(echo "$line" | sed -nE 's/.*"id":([0-9]+).*/\\1/p')
            [ -z "$id" ] || echo '{"jsonrpc":"2.0","id":"'$id'","result":{"protocolVersion":1,"sessionId":"s-1","stopReason":"end_turn"}}'; done`,
        },
      },
    );
    await using session = await b.start();
    await session.turn("please", plain);
    assert.equal(b.types().at(-1), "turn.completed");
  });

  test("a turn that the agent cancels unasked has ended; one that was interrupted is cancelled", async () => {
    await using b = await played({ turns: [{ steps: [], end: { stopReason: "cancelled" } }] });
    assert.equal(b.types().at(-1), "turn.completed");
    assert.match(notices(b).join(), /cancelled it by itself/);
  });
});

describe("modes and options by name", () => {
  const opened = {
    configOptions: [
      {
        ...{ id: "mode", name: "Mode", category: "mode", type: "select", currentValue: "auto" },
        options: [
          { value: "default", name: "Manual" },
          { value: "acceptEdits", name: "Accept edits" },
          { value: "auto", name: "Auto" },
        ],
      },
      {
        ...{ id: "m", name: "Model", type: "select", category: "model", currentValue: "a" },
        options: [
          { value: "a", name: "Small" },
          { value: "b-2026", name: "Big One" },
        ],
      },
      {
        ...{ id: "think", name: "Effort", type: "select", currentValue: "low" },
        options: [{ options: [{ value: "low" }, { value: "high", name: "High" }] }],
      },
    ],
  };
  const chosen = async (b: Bench) =>
    (await b.got("session/set_config_option")).map((one) => {
      const { configId, value } = one as { configId: string; value: string };
      return `${configId}=${value}`;
    });

  test("acp.mode, acp.options and a model are found by id or name, in new and resumed sessions", async () => {
    const hello = { agentCapabilities: { sessionCapabilities: { resume: {} } } };
    const config = { mode: "accept edits", options: { effort: "HIGH" } };
    for (const resumeThreadId of [null, "s-1"]) {
      await using b = await acpBench({ hello, opened, turns: [{ steps: [] }] }, { config });
      await using session = await b.start({ resumeThreadId });
      await session.turn("please", { model: "big one" });
      await session.turn("again", { model: "b-2026" });
      assert.deepEqual(await chosen(b), ["mode=acceptEdits", "think=high", "m=b-2026"]);
    }
  });

  test("an option that is on or off is set by true or false, and not when it has that value already", async () => {
    const fast = { id: "fast", name: "Fast mode", type: "boolean", currentValue: false };
    const switches = { configOptions: [fast] };
    for (const [value, sent] of [
      [true, [{ sessionId: "s-1", configId: "fast", type: "boolean", value: true }]],
      ["true", [{ sessionId: "s-1", configId: "fast", type: "boolean", value: true }]],
      [false, []],
    ] as const) {
      const config = { options: { "fast mode": value } };
      await using b = await acpBench({ opened: switches, turns: [] }, { config });
      await using _ = await b.start();
      assert.deepEqual(await b.got("session/set_config_option"), sent);
    }
    const config = { options: { fast: "maybe" } };
    await using b = await acpBench({ opened: switches, turns: [] }, { config });
    await assert.rejects(b.start(), {
      message: /fast \(acp.options\): maybe; it offers true, false/,
    });
  });

  test("what is set already is not set again, and another mode is told where approvals depend on it", async () => {
    const config = { mode: "Auto", options: { think: "low" } };
    await using b = await acpBench({ opened, turns: [] }, { config });
    await using _ = await b.start({ askPolicy: { approvals: "ask", timeoutMs: 1_000 } });
    assert.deepEqual(await chosen(b), []);
    assert.match(notices(b).join(), /acp.mode is Auto: in this mode the agent itself decides/);
  });

  test("a mode, an option or a value that is not offered fails the start and names what is", async () => {
    const wrong = [
      [{ mode: "yolo" }, /does not offer mode \(acp.mode\): yolo; it offers default, acceptEdits/],
      [{ options: { speed: "high" } }, /option speed \(acp.options\); it offers mode, m, think/],
      [{ options: { think: "huge" } }, /think \(acp.options\): huge; it offers low, high/],
    ] as const;
    for (const [config, message] of wrong) {
      await using b = await acpBench({ opened, turns: [] }, { config });
      await assert.rejects(b.start(), { code: "response_error", message });
      assert.deepEqual(await chosen(b).then((all) => all.filter((one) => !/^mode=/.test(one))), []);
    }
    await using none = await acpBench({ turns: [] }, { config: { mode: "plan" } });
    await assert.rejects(none.start(), { message: /mode plan \(acp.mode\); it offers none/ });
  });
});

describe("guidance in mid-turn", () => {
  test("opencode gets it as a second prompt, and the turn ends with both answers", async () => {
    await using b = await acpBench(
      {
        turns: [
          { steps: [piece("up", "1"), piece("", "2"), { do: "prompted" }] },
          { steps: [piece("Tabs.")], end: { stopReason: "end_turn" } },
        ],
      },
      { program: "opencode" },
    );
    await using session = await b.start();
    const turn = session.turn("please", plain);
    await b.until("message");
    await session.steer("str_1", "use tabs");
    await turn;
    assert.deepEqual(b.types().slice(-1), ["turn.completed"]);
    assert.ok(b.types().includes("steer.delivered"));
    assert.equal((await b.got("session/prompt")).length, 2);
  });

  test("a turn that claude's adapter begins for guidance that came too late is cancelled", async () => {
    await using b = await acpBench({
      ...{ hello: { _meta: { steering: { supported: true } } }, steering: "startedNewTurn" },
      turns: [{ steps: [piece("up", "1"), piece("", "2"), { do: "steered" }] }],
    });
    await using session = await b.start();
    const turn = session.turn("please", plain);
    await b.until("message");
    await session.steer("str_1", "use tabs");
    await turn;
    assert.ok(!b.types().includes("steer.delivered"));
    await eventually("it is cancelled", async () => (await b.got("session/cancel")).length === 1);
  });
});

describe("the tracker's tools of an ACP agent", () => {
  const tools: AgentTools = {
    specs: [{ name: "issue_move", description: "", inputSchema: { type: "object" } }],
    call: async () => ({ success: true, output: "moved" }),
  };
  const trust = async (b: Bench) =>
    (await b.got("environment")).map((env) =>
      Reflect.get(env as object, "GEMINI_CLI_TRUST_WORKSPACE"),
    );

  test("gemini trusts a workspace without .gemini and .env, looked at before each session", async () => {
    await using b = await acpBench({ turns: [] }, { program: "gemini" });
    {
      await using session = await b.start({ tools });
      assert.deepEqual([await trust(b), notices(b), session.isPlain], [["true"], [], false]);
    }
    await writeFile(join(b.workspace, ".env"), "X=1\n");
    {
      await using session = await b.start({ tools });
      assert.deepEqual((await trust(b)).at(-1), "false");
      assert.ok(session.isPlain, "A22: it cannot move its issue: a further turn would be wasted");
      assert.match(notices(b).join(), /gemini gets no tools of the tracker/);
    }
    await using other = await acpBench({ turns: [] }, { program: "gemini" });
    await mkdir(join(other.root, ".git"));
    await mkdir(join(other.root, ".gemini"));
    await using _ = await other.start({ tools });
    assert.deepEqual(await trust(other), ["false"], "above it in its repository as well");
  });

  test("they need no approval with decline, and an action that takes their name does", async () => {
    const names = ["issue_move"];
    for (const own of [
      { title: "mcp__tracker__issue_move", kind: "other", rawInput: { state: "Done" } },
      { title: "issue_move (tracker MCP Server)", kind: "other" },
      { name: "tracker_issue_move", title: "x" },
    ]) {
      assert.ok(isTrackerCall(own, names), JSON.stringify(own));
    }
    for (const other of [
      { title: "mcp__tracker__issue_move", kind: "execute" },
      { title: "mcp__tracker__issue_move", rawInput: { command: "rm -rf /" } },
      { title: "mcp__other__issue_move", kind: "other" },
      { title: "mcp__tracker__issue_drop", kind: "other" },
      { title: "tracker_issue_move ", kind: "other" },
    ]) {
      assert.ok(!isTrackerCall(other, names), JSON.stringify(other));
    }
  });
});
