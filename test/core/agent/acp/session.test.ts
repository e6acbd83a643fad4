import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { SymphonyError } from "../../../../src/core/model/errors.ts";
import { liveProcesses } from "../../../../src/core/process/table.ts";
import { type AcpStep, piece } from "../../../support/fakes/acp-script.ts";
import { FakeClock } from "../../../support/fakes/fake-clock.ts";
import { acpBench } from "../../../support/worlds/acp-bench.ts";

const plain = { model: null };
const noSettings = { claudeCode: { options: { settingSources: [] } } };
const call = (fields: object): AcpStep => ({
  do: "update",
  update: { sessionUpdate: "tool_call", toolCallId: "c", title: "a call", ...fields },
});
const callUpdate = (fields: object): AcpStep => ({
  do: "update",
  update: { sessionUpdate: "tool_call_update", toolCallId: "c", ...fields },
});
const usage = (input: number, output: number, cached = 0) => ({
  ...{ inputTokens: input, outputTokens: output, cachedReadTokens: cached },
  totalTokens: input + output + cached,
});

describe("agent.kind acp", () => {
  test("turns on one session: message chunks are joined, work is reported, tokens are summed", async () => {
    await using b = await acpBench({
      turns: [
        {
          steps: [
            piece("I "),
            piece("look."),
            call({ kind: "execute", rawInput: { command: "make" }, status: "in_progress" }),
            callUpdate({
              status: "completed",
              _meta: {
                terminal_output_delta: { data: "no rule\n" },
                terminal_exit: { exit_code: 2 },
              },
            }),
            call({ kind: "edit", content: [{ type: "diff", path: "/else/b", newText: "" }] }),
            callUpdate({ status: "completed" }),
            call({ kind: "read", status: "completed" }),
            call({ kind: "fetch", name: "web", status: "failed" }),
            piece("One.", "m1"),
            piece("Two.", "m2"),
            { do: "foreign", update: { sessionUpdate: "plan", entries: [] } },
            {
              do: "update",
              update: {
                sessionUpdate: "plan",
                entries: [{ content: "test it", priority: "high", status: "in_progress" }],
              },
            },
            { do: "update", update: { sessionUpdate: "usage_update", used: 9_999, size: 1 } },
            piece("Done."),
          ],
          end: { stopReason: "end_turn", usage: usage(10, 2, 100) },
        },
        { steps: [piece("Again.")], end: { stopReason: "max_tokens", usage: usage(1, 1) } },
      ],
    });
    await using session = await b.start();
    await session.turn("please", plain);
    assert.deepEqual(b.types(), [
      ...["session.started", "turn.started", "message", "command", "command", "file_change"],
      ...["tool_call", "message", "message", "notice", "message", "tokens", "turn.completed"],
    ]);
    assert.deepEqual(b.said, ["I look.", "One.", "Two.", "Done."]);
    const command = b.events.findLast((event) => event.type === "command");
    assert.deepEqual(command, {
      ...{ type: "command", command: "make", status: "failed", exitCode: 2 },
      output: "no rule\n",
    });
    const change = b.events.find((event) => event.type === "file_change");
    assert.deepEqual(change, { type: "file_change", status: "completed", paths: ["/else/b"] });
    await session.turn("go on", plain);
    assert.equal(b.said.at(-1), "Again.");
    const totals = b.events.flatMap((event) => (event.type === "tokens" ? [event.total] : []));
    assert.deepEqual(totals, [
      { input: 110, cachedInput: 100, output: 2, reasoningOutput: 0, total: 112 },
      { input: 111, cachedInput: 100, output: 3, reasoningOutput: 0, total: 114 },
    ]);
    const notice = b.events.findLast((event) => event.type === "notice");
    assert.equal(notice?.message, "the agent ended its turn early: max_tokens");
    const [hello] = await b.got("initialize");
    assert.deepEqual((hello as { clientCapabilities: unknown }).clientCapabilities, {
      ...{ fs: { readTextFile: false, writeTextFile: false }, terminal: false },
      session: { configOptions: { boolean: {} } },
    });
    const opened = await b.got("session/new");
    assert.deepEqual(opened, [{ cwd: b.workspace, mcpServers: [], _meta: noSettings }]);
  });

  test("requests other than permissions are refused, and invalid messages do not stop the turn", async () => {
    await using b = await acpBench({
      turns: [
        {
          steps: [
            { do: "request", method: "fs/read_text_file" },
            { do: "request", method: "terminal/create" },
            { do: "write", line: "debug output" },
            { do: "write", line: '{"half":' },
            { do: "write", line: '{"jsonrpc":"2.0","method":"session/update","params":7}' },
            { do: "write", line: `{"jsonrpc":"2.0","id":"x","result":7}` },
            piece("fine"),
          ],
        },
      ],
    });
    await using session = await b.start();
    await session.turn("please", plain);
    assert.deepEqual(b.said, ["fine"]);
    const refusals = await b.got("refusal");
    assert.equal(refusals.length, 2);
    const noise = b.events.filter((event) => event.type === "notice" && event.malformed);
    assert.equal(noise.length, 1);
    assert.ok(b.logs.includes("debug output"));
  });

  test("a session is resumed, or loaded without reporting its history again", async () => {
    for (const [method, capabilities] of [
      ["session/resume", { sessionCapabilities: { resume: {} } }],
      ["session/load", { loadSession: true }],
    ] as const) {
      await using b = await acpBench({
        hello: { agentCapabilities: capabilities },
        turns: [{ steps: [piece("on with it")] }],
      });
      await using session = await b.start({ resumeThreadId: "s-1" });
      assert.ok(session.resumed && session.threadId === "s-1");
      await session.turn("go on", plain);
      assert.deepEqual(b.said, ["on with it"]);
      assert.deepEqual(await b.got("session/new"), []);
      // A resumed session reads its settings again.
      assert.deepEqual(await b.got(method), [
        { sessionId: "s-1", cwd: b.workspace, mcpServers: [], _meta: noSettings },
      ]);
    }
  });

  test("a resume that is refused or not supported makes a new session", async () => {
    for (const capabilities of [{ sessionCapabilities: { resume: {} } }, {}]) {
      await using b = await acpBench({
        hello: { agentCapabilities: capabilities },
        turns: [{ steps: [] }],
      });
      await using session = await b.start({ resumeThreadId: "gone" });
      assert.ok(!session.resumed && session.threadId === "s-1");
    }
  });

  test("model and effort are set where the agent offers them and the value differs", async () => {
    const option = (id: string, category: string, currentValue: string) => ({
      ...{ id, category, currentValue, type: "select", name: id },
      options: [{ value: "small", name: "S" }],
    });
    await using b = await acpBench({
      opened: {
        configOptions: [option("m", "model", "small"), option("e", "thought_level", "low")],
      },
      turns: [{ steps: [] }],
    });
    await using session = await b.start({ model: "small" });
    await session.turn("one", { model: null, effort: "low" });
    await session.turn("two", { model: "big", effort: "high" });
    await session.turn("three", { model: "big", effort: "high" });
    assert.deepEqual(await b.got("session/set_config_option"), [
      { sessionId: "s-1", configId: "m", value: "big" },
      { sessionId: "s-1", configId: "e", value: "high" },
    ]);
    await assert.rejects(session.turn("four", { model: "unknown" }), {
      code: "response_error",
      message: /does not accept model unknown: .*; it offers small/,
    });
  });

  test("an older agent gets its model by session/set_model; without models one notice reports it", async () => {
    await using b = await acpBench({
      opened: { models: { availableModels: [{ modelId: "a" }], currentModelId: "a" } },
      turns: [{ steps: [] }],
    });
    await using session = await b.start({ model: "b" });
    await session.turn("one", plain);
    assert.deepEqual(await b.got("session/set_model"), [{ sessionId: "s-1", modelId: "b" }]);
    await using none = await acpBench({ turns: [{ steps: [] }] });
    await using other = await none.start({ model: "b" });
    await other.turn("one", plain);
    await other.turn("two", plain);
    assert.equal(none.types().filter((type) => type === "notice").length, 1);
  });

  test("guidance is passed on in mid-turn where the agent supports it", async () => {
    for (const [hello, steering, delivered] of [
      [{ _meta: { steering: { supported: true } } }, "injected", ["str_1"]],
      [{ _meta: { steering: { supported: true } } }, "no_active_turn", []],
      [{}, "injected", []],
    ] as const) {
      await using b = await acpBench({
        ...{ hello, steering },
        turns: [{ steps: [piece("up", "1"), piece("", "2"), { do: "cancelled" }] }],
      });
      await using session = await b.start();
      await assert.rejects(session.steer("str_0", "x"), { code: "no_active_turn" });
      const turn = session.turn("please", plain);
      await b.until("message");
      const started = await b.until("turn.started");
      assert.deepEqual(await session.steer("str_1", "use tabs"), { turnId: started.turnId });
      const told = b.events.flatMap((event) =>
        event.type === "steer.delivered" ? [event.steerId] : [],
      );
      assert.deepEqual(told, delivered);
      await session.interrupt();
      await turn;
    }
  });
});

describe("permissions of an ACP agent", () => {
  const options = [
    { optionId: "always", name: "Always", kind: "allow_always" },
    { optionId: "once", name: "Once", kind: "allow_once" },
    { optionId: "no", name: "No", kind: "reject_once" },
  ] as const;
  const steps: AcpStep[] = [
    {
      do: "ask",
      toolCall: { toolCallId: "c", title: "rm -rf build", rawInput: { command: "rm -rf build" } },
      options: [...options],
    },
  ];
  const selected = (optionId: string) => [{ outcome: { outcome: "selected", optionId } }];

  test("auto grants once, decline refuses", async () => {
    for (const [approvals, optionId] of [
      ["auto", "once"],
      ["decline", "no"],
    ] as const) {
      await using b = await acpBench({ turns: [{ steps }] });
      await using session = await b.start({ askPolicy: { approvals, timeoutMs: 1_000 } });
      await session.turn("please", plain);
      assert.deepEqual(await b.got("permission"), selected(optionId));
    }
  });

  test("a request that the agent cancels leaves the inbox, and its turn continues", async () => {
    const params = { sessionId: "$session", toolCall: { toolCallId: "c", title: "rm" }, options };
    const lines = [
      { jsonrpc: "2.0", id: "p-1", method: "session/request_permission", params },
      { jsonrpc: "2.0", method: "$/cancel_request", params: { requestId: "p-1" } },
    ];
    const written: AcpStep[] = lines.map((line) => ({ do: "write", line: JSON.stringify(line) }));
    await using b = await acpBench({ turns: [{ steps: [...written, piece("Done.")] }] });
    await using session = await b.start({ askPolicy: { approvals: "ask", timeoutMs: 600_000 } });
    await session.turn("please", plain);
    const asked = b.events.find((event) => event.type === "approval.requested");
    const gone = b.events.find((event) => event.type === "approval.resolved");
    assert.ok(asked?.ask);
    assert.equal(gone?.askId, asked.ask.id);
    assert.equal(gone?.decision, "withdrawn by the agent");
    assert.deepEqual(b.said, ["Done."]);
  });

  test("without an answer the turn ends with the request that was open", async () => {
    const clock = new FakeClock();
    await using b = await acpBench({ turns: [{ steps }] }, { clock });
    await using session = await b.start({ askPolicy: { approvals: "ask", timeoutMs: 1_000 } });
    const turn = session.turn("please", plain).catch((error: unknown) => error);
    await b.until("approval.requested");
    clock.advance(1_000);
    const error = await turn;
    assert.ok(error instanceof SymphonyError && error.code === "approval_required");
    assert.ok(error.details["needs"]);
  });
});

describe("the mode of an ACP agent", () => {
  const modes = {
    modes: {
      currentModeId: "auto",
      availableModes: [
        { id: "auto", name: "Auto" },
        { id: "default", name: "Manual" },
      ],
    },
  };
  const options = {
    configOptions: [
      {
        id: "mode",
        category: "mode",
        type: "select",
        currentValue: "auto",
        options: [{ value: "auto" }, { value: "default" }],
      },
    ],
  };
  const people = (approvals: "auto" | "ask" | "decline") => ({
    askPolicy: { approvals, timeoutMs: 1_000 },
  });
  const notices = (b: Awaited<ReturnType<typeof acpBench>>) =>
    b.events.flatMap((event) => (event.type === "notice" ? [event.message] : []));

  test("the mode that asks for permission is set on new and resumed sessions, for every approvals setting", async () => {
    for (const approvals of ["auto", "ask", "decline"] as const) {
      for (const resumeThreadId of [null, "s-1"]) {
        const hello = { agentCapabilities: { sessionCapabilities: { resume: {} } } };
        await using b = await acpBench({ hello, opened: options, turns: [] });
        await using _ = await b.start({ ...people(approvals), resumeThreadId });
        assert.deepEqual(await b.got("session/set_config_option"), [
          { sessionId: "s-1", configId: "mode", value: "default" },
        ]);
        await using older = await acpBench({ hello, opened: modes, turns: [] });
        await using __ = await older.start({ ...people(approvals), resumeThreadId });
        assert.deepEqual(await older.got("session/set_mode"), [
          { sessionId: "s-1", modeId: "default" },
        ]);
        assert.deepEqual(notices(older), []);
      }
    }
  });

  test("a mode that is already set is not set again", async () => {
    const chosen = { modes: { ...modes.modes, currentModeId: "default" } };
    await using b = await acpBench({ opened: chosen, turns: [] });
    await using _ = await b.start(people("ask"));
    assert.deepEqual(await b.got("session/set_mode"), []);
  });

  test("a refused mode fails the session, except with approvals auto, where a notice reports it", async () => {
    await using b = await acpBench({ opened: modes, fixedMode: true, turns: [] });
    await assert.rejects(b.start(people("decline")), {
      code: "response_error",
      message: /does not accept mode default/,
    });
    await using _ = await b.start(people("auto"));
    assert.match(notices(b).join(), /does not accept mode default/);
  });

  test("an agent without such a mode is named in an event when approvals depend on it", async () => {
    for (const [approvals, count] of [
      ["ask", 1],
      ["decline", 1],
      ["auto", 0],
    ] as const) {
      await using b = await acpBench({ turns: [] });
      await using _ = await b.start(people(approvals));
      const said = notices(b).filter((message) => message.includes("it decides itself"));
      assert.equal(said.length, count, approvals);
    }
  });
});

describe("files of a repository and text of its issues", () => {
  const guards = {
    CLAUDE_CODE_DISABLE_ATTACHMENTS: "1",
    CLAUDE_CODE_DISABLE_FILE_MENTIONS: "1",
    GEMINI_CLI_TRUST_WORKSPACE: "false",
    OPENCODE_DISABLE_PROJECT_CONFIG: "1",
    OPENCODE_PERMISSION: undefined,
  };
  const seen = async (b: Awaited<ReturnType<typeof acpBench>>) => {
    const [env] = await b.got("environment");
    const values = env as Record<string, string | undefined>;
    return Object.fromEntries(Object.keys(guards).map((name) => [name, values[name]]));
  };
  /** What the operator's own shell or profile sets. */
  const other = {
    GEMINI_CLI_TRUST_WORKSPACE: "true",
    OPENCODE_DISABLE_PROJECT_CONFIG: "0",
  };

  test("the environment disables repository settings at every level, whatever the server's own has", async () => {
    await using b = await acpBench({ turns: [] }, { env: other });
    await writeFile(join(b.root, ".bash_profile"), "export GEMINI_CLI_TRUST_WORKSPACE=true\n");
    await using _ = await b.start();
    assert.deepEqual(await seen(b), guards);
  });

  test("a variable that the operator names keeps the operator's value", async () => {
    const envPassthrough = Object.keys(other);
    await using b = await acpBench({ turns: [] }, { env: other, config: { envPassthrough } });
    await using _ = await b.start();
    assert.deepEqual(await seen(b), { ...guards, ...other });
    await using unset = await acpBench({ turns: [] }, { config: { envPassthrough } });
    await using __ = await unset.start();
    assert.deepEqual(await seen(unset), guards);
  });

  test("with approvals ask or decline opencode asks before it acts", async () => {
    const permission = '{"bash":"ask","edit":"ask"}';
    for (const approvals of ["ask", "decline"] as const) {
      await using b = await acpBench({ turns: [] });
      await using _ = await b.start({ askPolicy: { approvals, timeoutMs: 1_000 } });
      assert.deepEqual(await seen(b), { ...guards, OPENCODE_PERMISSION: permission });
    }
  });

  test("a prompt or guidance that begins with / is sent as text, not as a command of the agent", async () => {
    await using b = await acpBench({
      hello: { _meta: { steering: { supported: true } } },
      turns: [{ steps: [piece("up", "1"), piece("", "2"), { do: "steered" }] }],
    });
    await using session = await b.start();
    const turn = session.turn(" \n/logout", plain);
    await b.until("message");
    await session.steer("str_1", "/clear");
    await turn;
    const texts = [...(await b.got("session/prompt")), ...(await b.got("_session/steering"))].map(
      (params) => (params as { prompt: { text: string }[] }).prompt[0]?.text,
    );
    assert.deepEqual(texts, ["Text of this message:\n \n/logout", "Text of this message:\n/clear"]);
  });
});

describe("how turns and sessions of an ACP agent end", () => {
  test("a refusal of the agent fails the turn", async () => {
    await using b = await acpBench({ turns: [{ steps: [], end: { stopReason: "refusal" } }] });
    await using session = await b.start();
    await assert.rejects(session.turn("please", plain), { code: "turn_failed" });
  });

  test("silence fails the turn, and disposing cancels a running turn", async () => {
    const clock = new FakeClock();
    await using b = await acpBench(
      { turns: [{ steps: [piece("up", "1"), piece("", "2"), { do: "cancelled" }] }] },
      { clock, config: { turnTimeoutMs: 1_000 } },
    );
    {
      await using session = await b.start();
      const turn = assert.rejects(session.turn("please", plain), { code: "turn_timeout" });
      await b.until("message");
      clock.advance(1_000);
      await turn;
    }
    assert.equal((await b.got("session/cancel")).length, 1);
    const left = (await liveProcesses()).filter(({ runId }) => runId === b.spec().runId);
    assert.deepEqual(left, []);
  });

  test("a process that exits, or never started, fails the turn or the start", async () => {
    await using b = await acpBench({ turns: [{ steps: [{ do: "exit", status: 3 }] }] });
    await using session = await b.start();
    await assert.rejects(session.turn("please", plain), {
      code: "port_exit",
      details: { status: 3, signal: null },
    });
    await assert.rejects(session.turn("again", plain), { code: "port_exit" });
    await using missing = await acpBench({ turns: [] }, { config: { command: "no-such-agent" } });
    await assert.rejects(missing.start(), { code: "agent_not_found" });
    await using unset = await acpBench({ turns: [] }, { config: { command: null } });
    await assert.rejects(unset.start(), { code: "agent_unavailable" });
    await assert.rejects(b.start({ level: "safe" }), {
      code: "agent_unavailable",
      message: /the provider of agent\.kind acp is not known/,
      hint: /acp\.provider; or: symphony config overlay set agent\.level networked$/,
    });
  });

  test("an agent that does not answer, has another protocol version, or needs a login fails the start", async () => {
    const clock = new FakeClock();
    await using mute = await acpBench(
      { turns: [] },
      { clock, config: { command: "echo '{up'; exec sleep 600" } },
    );
    const start = assert.rejects(mute.start(), { code: "response_timeout" });
    await mute.until("notice");
    clock.advance(60_000);
    await start;
    await using other = await acpBench({ hello: { protocolVersion: 2 }, turns: [] });
    await assert.rejects(other.start(), { code: "agent_unavailable", message: /version 2/ });
    await using locked = await acpBench({
      hello: { authMethods: [{ id: "key", name: "Key" }] },
      wantsLogin: true,
      turns: [],
    });
    await assert.rejects(locked.start(), { code: "provider_refused", hint: /it offers: key/ });
    await using keyed = await acpBench({ turns: [] }, { config: { authMethod: "key" } });
    await using session = await keyed.start();
    assert.equal(session.resumed, false);
    assert.deepEqual(await keyed.got("authenticate"), [{ methodId: "key" }]);
  });

  test("an aborted start leaves no process", async () => {
    const giveUp = new AbortController();
    await using b = await acpBench({ turns: [] }, { config: { command: "echo '{up'; sleep 600" } });
    const start = assert.rejects(b.start({}, giveUp.signal));
    await b.until("notice");
    giveUp.abort();
    await start;
    const left = (await liveProcesses()).filter(({ runId }) => runId === b.spec().runId);
    assert.deepEqual(left, []);
  });
});
