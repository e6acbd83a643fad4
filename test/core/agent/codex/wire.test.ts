import assert from "node:assert/strict";
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { AgentSession, SessionSpec } from "../../../../src/core/agent/agent.ts";
import type { CodexHome } from "../../../../src/core/agent/codex/home.ts";
import { missingLogin } from "../../../../src/core/agent/codex/provider.ts";
import { FakeClock } from "../../../support/fakes/fake-clock.ts";
import {
  completed,
  type Reactions,
  received,
  reply,
  turnWith,
  wireAgent,
} from "../../../support/fakes/wire-agent.ts";
import { Bench, type BenchOptions, bench } from "../../../support/worlds/scripted-agent.ts";

const plain = { model: null };

interface Wired extends AsyncDisposable {
  readonly b: Bench;
  start(spec?: Partial<SessionSpec>): Promise<AgentSession>;
}

/** A bench whose agent answers as `reactions` says. */
async function wired(reactions: Reactions, options: BenchOptions = {}): Promise<Wired> {
  const made = await bench([]);
  const command = await wireAgent(made, reactions);
  const b = new Bench(made.root, { ...options, config: { command, ...options.config } });
  return {
    b,
    start: (spec) => b.start(spec),
    [Symbol.asyncDispose]: () => b[Symbol.asyncDispose](),
  };
}

function said(text: string): object {
  const item = { type: "agentMessage", text };
  return { method: "item/completed", params: { threadId: "thread-1", item } };
}

describe("the handshake", () => {
  test("A-3, A-4: initialize, initialized, thread/start and turn/start carry the required fields", async () => {
    await using w = await wired({ "turn/start": turnWith(completed) });
    const tool = { name: "move", description: "moves", inputSchema: { type: "object" } };
    const call = async () => ({ success: true, output: "" });
    await using session = await w.start({ model: "gpt", tools: { specs: [tool], call } });
    await session.turn("do it", { model: "other", effort: "high" });
    // The question for a login comes at any time.
    const messages = (await received(w.b)).filter(({ method }) => method !== "account/read");
    assert.deepEqual(
      messages.map(({ method }) => method),
      ["initialize", "initialized", "thread/start", "thread/name/set", "turn/start"],
    );
    const [hello, ready, thread, name, turn] = messages.map(({ params }) => params);
    assert.equal(Object(hello?.["clientInfo"]).name, "symphony");
    assert.match(Object(hello?.["clientInfo"]).version, /^\d/);
    assert.equal(Object(hello?.["capabilities"]).experimentalApi, true);
    assert.equal(ready, undefined);
    assert.deepEqual(thread, {
      cwd: w.b.workspace,
      approvalPolicy: "never",
      sandbox: "workspace-write",
      model: "gpt",
      config: {
        allow_login_shell: false,
        "shell_environment_policy.set.SYMPHONY_RUN_ID": w.b.spec().runId,
        projects: { [w.b.workspace]: { trust_level: "untrusted" } },
      },
      dynamicTools: [{ type: "function", ...tool }],
      experimentalRawEvents: true,
    });
    assert.deepEqual(name, { threadId: "thread-1", name: "ENG-1: Make it so" });
    const { clientUserMessageId, ...start } = turn ?? {};
    assert.equal(typeof clientUserMessageId, "string");
    assert.deepEqual(start, {
      threadId: "thread-1",
      input: [{ type: "text", text: "do it", text_elements: [] }],
      cwd: w.b.workspace,
      approvalPolicy: "never",
      model: "other",
      effort: "high",
    });
  });

  test("A11: a codex without the login that its provider requires is refused at its first turn, with what mends it", async () => {
    const none = { account: null, requiresOpenaiAuth: true };
    for (const [account, isRefused] of [
      [none, true],
      [{ ...none, account: { type: "apiKey" } }, false],
      [{ ...none, requiresOpenaiAuth: false }, false],
    ] as const) {
      await using w = await wired({
        "account/read": [reply(account)],
        "turn/start": isRefused ? [reply({ turn: { id: "$turn" } })] : turnWith(completed),
      });
      await using session = await w.start();
      const turn = session.turn("go", plain);
      if (!isRefused) await turn;
      else {
        const message = /authentication failed\): codex is not logged in/;
        await assert.rejects(turn, { code: "provider_refused", message, hint: /codex login/ });
        await assert.rejects(session.turn("go", plain), { code: "provider_refused" });
      }
    }
  });

  test("A11: where logins are in a keyring, the one of symphony's own home of codex is named", async () => {
    const peer = { request: async () => ({ account: null, requiresOpenaiAuth: true }) };
    await using own = await mkdtempDisposable(join(tmpdir(), "symphony-keyring-"));
    await writeFile(join(own.path, "config.toml"), 'cli_auth_credentials_store = "keyring"\n');
    const config = { command: "codex app-server", home: "private", envPassthrough: [] };
    const home = { path: "/symphony's/home" } as unknown as CodexHome;
    const around = { env: { CODEX_HOME: own.path }, home };
    const refusal = await missingLogin(peer, config, around);
    assert.match(refusal?.hint ?? "", /CODEX_HOME='\/symphony'\\''s\/home' codex login; then/);
    const inherited = await missingLogin(peer, config, { ...around, home: null });
    assert.doesNotMatch(inherited?.hint ?? "", /CODEX_HOME/);
  });

  test("A-5: policies go to the agent unchanged, unknown ones included", async () => {
    const approvalPolicy = { future: { asks: true } };
    const turnSandboxPolicy = { type: "future", networkAccess: true, deep: { x: [1] } };
    const config = { approvalPolicy, turnSandboxPolicy, threadSandbox: "danger-full-access" };
    await using w = await wired({ "turn/start": turnWith(completed) }, { config });
    await using session = await w.start();
    await session.turn("go", plain);
    const messages = await received(w.b);
    const thread = messages.find(({ method }) => method === "thread/start")?.params;
    const turn = messages.find(({ method }) => method === "turn/start")?.params;
    assert.deepEqual(thread?.["approvalPolicy"], approvalPolicy);
    assert.equal(thread?.["sandbox"], "danger-full-access");
    assert.deepEqual(turn?.["sandboxPolicy"], turnSandboxPolicy);
    assert.deepEqual(turn?.["approvalPolicy"], approvalPolicy);
    assert.ok(!Object.hasOwn(turn ?? {}, "model") && !Object.hasOwn(turn ?? {}, "effort"));
  });

  test("a resume sends the same overrides, because codex does not keep the config of a thread", async () => {
    await using w = await wired({});
    await using session = await w.start({ resumeThreadId: "thread-1" });
    assert.ok(session.resumed);
    const resume = (await received(w.b)).find(({ method }) => method === "thread/resume")?.params;
    assert.deepEqual(resume, {
      threadId: "thread-1",
      excludeTurns: true,
      cwd: w.b.workspace,
      approvalPolicy: "never",
      sandbox: "workspace-write",
      config: {
        allow_login_shell: false,
        "shell_environment_policy.set.SYMPHONY_RUN_ID": w.b.spec().runId,
        projects: { [w.b.workspace]: { trust_level: "untrusted" } },
      },
    });
  });

  test("a CODEX_HOME in the temporary folder is reported, because no sandboxed command would run", async () => {
    for (const [codexHome, notices] of [
      ["/tmp/codex", 1],
      ["/home/ann/.codex", 0],
    ] as const) {
      await using w = await wired({ initialize: [reply({ codexHome })] });
      await using session = await w.start();
      assert.equal(session.threadId, "thread-1");
      assert.equal(w.b.types().filter((type) => type === "notice").length, notices);
    }
  });

  test("A-6: an answer without an id is an error", async () => {
    await using noThread = await wired({ "thread/start": [reply({ thread: {} })] });
    await assert.rejects(noThread.start(), { code: "response_error" });
    await using noTurn = await wired({ "turn/start": [reply({})] });
    await using session = await noTurn.start();
    await assert.rejects(session.turn("go", plain), { code: "response_error" });
  });

  test("A-7: an agent that sends no response is response_timeout, even if it sends other messages", async () => {
    const clock = new FakeClock();
    const chatter = { send: { method: "warning", params: { message: "busy" } } };
    await using w = await wired(
      { initialize: [chatter] },
      { clock, config: { readTimeoutMs: 5_000 } },
    );
    const started = assert.rejects(w.start(), { code: "response_timeout" });
    await w.b.until("notice");
    clock.advance(5_000);
    await started;
  });

  test("A-7: a refusal is response_error; the message has the reason", async () => {
    const error = { code: -32_600, message: "invalid approval policy" };
    await using w = await wired({ "thread/start": [{ send: { id: "$id", error } }] });
    await assert.rejects(w.start(), {
      code: "response_error",
      message: "thread/start: invalid approval policy",
    });
  });

  test("A-14: an exit during the handshake is port_exit, a missing command codex_not_found", async () => {
    await using w = await wired({ "thread/start": [{ exit: 3 }] });
    await assert.rejects(w.start(), { code: "port_exit", details: { status: 3, signal: null } });
    await using none = await bench([], { config: { command: "no-such-command app-server" } });
    await assert.rejects(none.start(), { code: "codex_not_found" });
  });
});

describe("a turn on the wire", () => {
  test("A-8: a turn end that comes before the response is kept, and so are messages that came with it", async () => {
    await using w = await wired({
      "turn/start": [{ send: completed }, reply({ turn: { id: "$turn" } })],
    });
    await using session = await w.start();
    await session.turn("go", plain);
    assert.deepEqual(w.b.types(), ["session.started", "turn.started", "turn.completed"]);
  });

  test("A-8: an approval request before the response is answered", async () => {
    const ask = { id: 0, method: "item/fileChange/requestApproval", params: {} };
    await using w = await wired({
      "turn/start": [{ send: ask }, reply({ turn: { id: "$turn" } })],
      answer: [{ send: completed }],
    });
    await using session = await w.start();
    await session.turn("go", plain);
    const answer = (await received(w.b)).find(({ result }) => result !== undefined);
    assert.deepEqual(answer, { id: 0, result: { decision: "acceptForSession" } });
  });

  test("a request that codex no longer waits for leaves the inbox, and its turn continues", async () => {
    const ask = { id: 0, method: "item/fileChange/requestApproval", params: {} };
    const resolved = (threadId: string, requestId: number) => ({
      send: { method: "serverRequest/resolved", params: { threadId, requestId } },
    });
    const [foreign, other, own] = [
      resolved("thread-2", 0),
      resolved("thread-1", 1),
      resolved("thread-1", 0),
    ];
    await using w = await wired({
      "turn/start": [
        reply({ turn: { id: "$turn" } }),
        { send: ask },
        ...[foreign, other, { send: said("before") }, own, { send: said("after") }],
        { send: completed },
      ],
    });
    await using session = await w.start({ askPolicy: { approvals: "ask", timeoutMs: 600_000 } });
    await session.turn("go", plain);
    const types = ["session.started", "turn.started", "approval.requested", "message"];
    const known = w.b.types().filter((type) => type !== "activity");
    assert.deepEqual(known, [...types, "approval.resolved", "message", "turn.completed"]);
    const [asked] = w.b.events.filter((event) => event.type === "approval.requested");
    const [gone] = w.b.events.filter((event) => event.type === "approval.resolved");
    assert.equal(gone?.askId, asked?.ask?.id);
    assert.equal(gone?.decision, "withdrawn by the agent");
    const late = () => session.answer(asked?.ask?.id ?? "", { type: "decision", approve: true });
    assert.throws(late, { code: "nothing_asked" });
  });

  test("A-9: a line of 1.1 MB and a line written byte by byte arrive with every character", async () => {
    const text = "é😀\u2028".repeat(150_000);
    const message = (words: string) => ({
      method: "item/completed",
      params: { threadId: "thread-1", item: { type: "agentMessage", text: words } },
    });
    await using w = await wired({
      "turn/start": [
        reply({ turn: { id: "$turn" } }),
        { send: message(text) },
        { raw: `${JSON.stringify(message("zwölf 😀"))}\n`, bytewise: true },
        { send: completed },
      ],
    });
    await using session = await w.start();
    await session.turn("go", plain);
    assert.equal(w.b.said.length, 2);
    assert.equal(w.b.said[1], "zwölf 😀");
  });

  test("A-10: stderr and other text go to the log; a broken message is malformed", async () => {
    await using w = await wired({
      "turn/start": [
        { stderr: "{looks like json\nreal trouble\n" },
        { raw: "Welcome to codex\n{broken\n" },
        ...turnWith(completed),
      ],
    });
    await using session = await w.start();
    await session.turn("go", plain);
    const malformed = w.b.events.filter((event) => event.type === "notice" && event.malformed);
    assert.deepEqual(malformed, [{ type: "notice", message: "{broken", malformed: true }]);
    assert.ok(w.b.logs.includes("Welcome to codex"));
    await session[Symbol.asyncDispose]();
    assert.ok(w.b.logs.includes("real trouble"));
  });

  test("A-11: each kind of turn end has its outcome", async () => {
    const ending = (method: string, turn: object) => ({
      method,
      params: { threadId: "thread-1", turn },
    });
    const failed = { status: "failed", error: { message: "boom" } };
    const table = [
      [ending("turn/completed", { id: "$turn" }), null],
      [ending("turn/completed", { id: "$turn", ...failed }), "turn_failed"],
      [ending("turn/completed", { id: "$turn", status: "interrupted" }), "turn_cancelled"],
      [ending("turn/failed", { id: "$turn" }), "turn_failed"],
      [ending("turn/cancelled", {}), "turn_cancelled"],
    ] as const;
    const trouble = { method: "error", params: { error: { message: "hm" }, willRetry: false } };
    for (const [message, code] of table) {
      await using w = await wired({ "turn/start": turnWith(trouble, message) });
      await using session = await w.start();
      const turn = session.turn("go", plain);
      await (code === null ? turn : assert.rejects(turn, { code }));
    }
  });

  test("A-12: ends of other threads and turns do not end this turn", async () => {
    const foreign = [
      { threadId: "thread-2", turn: { id: "$turn", status: "failed" } },
      { threadId: "thread-1", turn: { id: "turn-of-another", status: "failed" } },
      { threadId: "thread-2", turn: {} },
    ].map((params) => ({ method: "turn/completed", params }));
    await using w = await wired({
      "turn/start": turnWith(...foreign, { method: "turn/completed", params: {} }),
    });
    await using session = await w.start();
    await session.turn("go", plain);
  });

  test("A-13: the limit applies to silence: any activity restarts it, then it is turn_timeout", async () => {
    const clock = new FakeClock();
    const config = { turnTimeoutMs: 10_000, readTimeoutMs: 60_000 };
    const sign = (words: string) => ({
      send: { method: "warning", params: { threadId: "thread-1", message: words } },
    });
    await using w = await wired(
      {
        "turn/start": [reply({ turn: { id: "$turn" } })],
        "turn/steer": [reply({ turnId: "$turn" }), sign("alive")],
      },
      { clock, config },
    );
    await using session = await w.start();
    const turn = session.turn("go", plain);
    const failed = assert.rejects(turn, { code: "turn_timeout", details: { limitMs: 10_000 } });
    await w.b.until("turn.started");
    for (let count = 1; count <= 3; count++) {
      clock.advance(6_000);
      await session.steer(`s-${count}`, "hello?");
      await w.b.until(
        "notice",
        () => w.b.types().filter((type) => type === "notice").length >= count,
      );
    }
    clock.advance(9_999);
    assert.ok(!w.b.types().includes("turn.failed"));
    clock.advance(1);
    await failed;
  });

  test("A-14: a completion followed by an immediate exit is a success", async () => {
    await using w = await wired({ "turn/start": [...turnWith(completed), { exit: 0 }] });
    await using session = await w.start();
    await session.turn("go", plain);
    await assert.rejects(session.turn("go", plain), { code: "port_exit" });
  });

  test("A-17: a notification that requires input ends the run", async () => {
    const wants = { method: "turn/status", params: { threadId: "thread-1", requiresInput: true } };
    await using w = await wired({ "turn/start": turnWith(wants) });
    await using session = await w.start();
    await assert.rejects(session.turn("go", plain), { code: "turn_input_required" });
  });

  test("A-18: an unknown request gets an error response, and the turn continues", async () => {
    await using w = await wired({
      "turn/start": turnWith({ id: "x", method: "currentTime/read", params: {} }),
      answer: [{ send: completed }],
    });
    await using session = await w.start();
    await session.turn("go", plain);
    const answer = (await received(w.b)).find(({ error }) => error !== undefined);
    assert.equal(answer?.id, "x");
    assert.equal(answer?.error?.code, -32_601);
  });

  test("an agent that refuses guidance gives no_active_turn; its own length limit is another error", async () => {
    const errors = [
      ["no active turn to steer", "no_active_turn"],
      ["expected active turn id `a` but found `b`", "no_active_turn"],
      ["cannot steer a compact turn", "no_active_turn"],
      ["Input exceeds the maximum length", "response_error"],
    ] as const;
    for (const [message, code] of errors) {
      const error = { code: -32_600, message };
      await using w = await wired({ "turn/steer": [{ send: { id: "$id", error } }] });
      await using session = await w.start();
      const turn = assert.rejects(session.turn("go", plain), { code: "turn_cancelled" });
      await assert.rejects(session.steer("s", "x"), { code });
      await session[Symbol.asyncDispose]();
      await turn;
    }
  });

  test("a consumer that throws does not stop reading", async () => {
    await using w = await wired({ "turn/start": turnWith(completed) });
    const onEvent = () => {
      throw new Error("bad subscriber");
    };
    await using session = await w.start({ onEvent });
    await session.turn("go", plain);
    assert.ok(w.b.logs.some((line) => line.includes("bad subscriber")));
  });
});
