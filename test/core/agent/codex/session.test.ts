import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { AgentTools } from "../../../../src/core/agent/agent.ts";
import { ThreadTotals } from "../../../../src/core/agent/codex/totals.ts";
import { noTokens } from "../../../../src/core/model/attempt.ts";
import { SymphonyError } from "../../../../src/core/model/errors.ts";
import { liveProcesses } from "../../../../src/core/process/table.ts";
import { bench } from "../../../support/worlds/scripted-agent.ts";

const plain = { model: null };

async function needsOf(turn: Promise<void>, code: string): Promise<unknown> {
  const error = await turn.then(
    () => assert.fail("the turn succeeded"),
    (cause) => cause,
  );
  assert.ok(error instanceof SymphonyError);
  assert.equal(error.code, code);
  return error.details["needs"];
}

describe("turns of the scripted agent", () => {
  test("A-22: several turns run on one process and one thread, with the model of each", async () => {
    await using b = await bench([
      [{ do: "say", text: "{{identifier}} {{turn}} {{model}} {{attempt}}" }],
    ]);
    await using session = await b.start({ model: "first" });
    await session.turn("go", plain);
    await session.turn("go on", { model: "second" });
    assert.deepEqual(b.said, ["ENG-1 1 first 1", "ENG-1 2 second 1"]);
    const started = ["session.started", "turn.started", "message", "turn.completed"];
    assert.deepEqual(b.types(), [...started, ...started.slice(1)]);
    assert.ok(session.pid !== null && session.threadId !== "" && !session.resumed);
  });

  test("edits, commands and counts are real and reported", async () => {
    await using b = await bench([
      [
        { do: "run", command: "git init -q ." },
        { do: "edit", path: "src/a.txt", content: "{{identifier}}\n" },
        { do: "edit", path: "src/a.txt", append: "more\n" },
        { do: "commit", message: "{{identifier}}: $(touch injected) add a" },
        { do: "run", command: "git log --format=%s; ls; exit 3" },
        { do: "tokens", input: 10, output: 4, cachedInput: 2 },
        { do: "tokens", input: 1, output: 1 },
      ],
    ]);
    await using session = await b.start();
    await session.turn("go", plain);
    assert.equal(await readFile(join(b.workspace, "src/a.txt"), "utf8"), "ENG-1\nmore\n");
    const last = b.events.findLast((event) => event.type === "command");
    assert.deepEqual(last, {
      type: "command",
      command: "git log --format=%s; ls; exit 3",
      status: "failed",
      exitCode: 3,
      output: "ENG-1: $(touch injected) add a\nsrc\n",
    });
    const totals = b.events.flatMap((event) =>
      event.type === "tokens" ? [event.total.total] : [],
    );
    assert.deepEqual(totals, [14, 16]);
  });

  test("A14: the total of a full context, which has no parts, is not used; what follows is", async () => {
    const used = (total: Record<string, number>) =>
      ({
        do: "notify",
        method: "thread/tokenUsage/updated",
        params: { tokenUsage: { total, modelContextWindow: 258_400 } },
      }) as const;
    const parts = { cachedInputTokens: 0, reasoningOutputTokens: 0 };
    const of = (inputTokens: number, outputTokens: number, totalTokens: number) =>
      used({ ...parts, inputTokens, outputTokens, totalTokens });
    await using b = await bench([
      [of(90, 10, 100), of(0, 0, 258_400), of(30, 5, 258_435), { do: "say", text: "Done." }],
    ]);
    await using session = await b.start();
    await session.turn("go", plain);
    const totals = b.events.flatMap((event) =>
      event.type === "tokens" ? [[event.total.input, event.total.output, event.total.total]] : [],
    );
    assert.deepEqual(totals, [
      [90, 10, 100],
      [120, 15, 135],
    ]);
  });

  test("what a resumed thread had used is its base when codex says so before, with or after its answer", async () => {
    const used = (total: number, turnId: string) => ({
      method: "thread/tokenUsage/updated",
      params: {
        threadId: "t",
        turnId,
        tokenUsage: { total: { inputTokens: total, outputTokens: 0, totalTokens: total } },
      },
    });
    const opened = { id: "ID", result: { thread: { id: "t" } } };
    const ended = { method: "turn/completed", params: { turn: { id: "2", status: "completed" } } };
    const started = [
      { id: "ID", result: { turn: { id: "2" } } },
      { method: "turn/started", params: { threadId: "t", turn: { id: "2" } } },
    ];
    const after = [used(150, "2"), ended];
    for (const [resume, turn] of [
      [
        [used(110, "1"), opened],
        [...started, ...after],
      ],
      [
        [opened, used(110, "1")],
        [...started, ...after],
      ],
      [[opened], [...started, used(110, "1"), ...after]],
    ]) {
      const answers = { "thread/resume": resume, "turn/start": turn };
      const program = `require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
        const { id, method } = JSON.parse(line);
        const answers = (${JSON.stringify(answers)})[method] ?? [{ id: "ID", result: {} }];
        const lines = answers.map((answer) => JSON.stringify(answer.id ? { ...answer, id } : answer));
        if (id !== undefined) process.stdout.write(lines.map((line) => line + "\\n").join(""));
      });`;
      await using b = await bench([], {
        config: { command: `"${process.execPath}" -e '${program}'` },
      });
      await using session = await b.start({ resumeThreadId: "t" });
      assert.ok(session.resumed);
      await session.turn("continue", plain);
      const counted = b.events.flatMap((event) =>
        event.type === "tokens" ? [[event.base?.total, event.total.total]] : [],
      );
      assert.deepEqual(counted, [
        [110, 110],
        [undefined, 150],
      ]);
    }
  });

  test("A14: of a thread that was full in an earlier session only the parts count", () => {
    const totals = new ThreadTotals();
    const reported = { ...noTokens, input: 30, output: 5, total: 258_435 };
    assert.equal(totals.counted(reported, 258_400)?.total, 35);
    assert.equal(new ThreadTotals().counted({ ...noTokens, total: 258_400 }, null), null);
  });

  test("A-19: a tool runs on the host and its result reaches the agent", async () => {
    const calls: unknown[] = [];
    const tools: AgentTools = {
      specs: [{ name: "move", description: "moves", inputSchema: { type: "object" } }],
      call: async (name, args) => {
        calls.push([name, args]);
        return { success: true, output: "moved" };
      },
    };
    await using b = await bench([
      [
        { do: "tool", name: "move", arguments: { to: "Done" } },
        { do: "tool", name: "move" },
        { do: "tool", name: "other" },
      ],
    ]);
    await using session = await b.start({ tools });
    await session.turn("go", plain);
    assert.deepEqual(calls.slice(0, 2), [
      ["move", { to: "Done" }],
      ["move", {}],
    ]);
    // a tool that was not offered fails, and the turn continues.
    assert.deepEqual(b.said, [
      "move answered: moved",
      "move answered: moved",
      "other failed: moved",
    ]);
    const outcomes = b.events.flatMap((event) =>
      event.type === "tool_call" ? [event.outcome] : [],
    );
    assert.deepEqual(outcomes, ["completed", "completed", "unsupported"]);
  });

  test("A-20: a tool that throws, or whose result is not text, still gets an answer", async () => {
    const circular: Record<string, unknown> = {};
    circular["self"] = circular;
    const results: Record<string, () => unknown> = {
      throws: () => {
        throw new Error("tracker is down");
      },
      circular: () => ({ success: true, output: circular }),
    };
    const tools: AgentTools = {
      specs: Object.keys(results).map((name) => ({ name, description: "", inputSchema: {} })),
      call: async (name) => results[name]?.() as never,
    };
    await using b = await bench([
      [
        { do: "tool", name: "throws" },
        { do: "tool", name: "circular" },
      ],
    ]);
    await using session = await b.start({ tools });
    await session.turn("go", plain);
    assert.match(b.said[0] ?? "", /^throws failed: .*tracker is down/);
    assert.match(b.said[1] ?? "", /^circular failed: /);
  });

  test("A-15: under never an approval is given at once", async () => {
    await using b = await bench([[{ do: "ask", command: "echo allowed" }]]);
    await using session = await b.start();
    await session.turn("go", plain);
    const resolved = await b.until("approval.resolved");
    assert.deepEqual(resolved, {
      type: "approval.resolved",
      decision: "acceptForSession",
      automatic: true,
    });
    assert.ok(b.events.some((event) => event.type === "command" && event.output === "allowed\n"));
  });

  test("A-15, A-17: under other policies the run ends and reports what the agent needs", async () => {
    await using b = await bench(
      [
        [{ do: "ask", command: "deploy" }],
        [{ do: "ask", question: "Which color?", options: ["Red", "Blue"] }],
      ],
      { config: { approvalPolicy: "on-request" } },
    );
    {
      await using session = await b.start();
      assert.deepEqual(await needsOf(session.turn("go", plain), "approval_required"), {
        kind: "approval",
        prompt: "Run this command?\ndeploy",
        options: ["accept", "decline"],
      });
    }
    await using session = await b.start();
    const needs = await needsOf(session.turn("go", plain), "turn_input_required");
    assert.deepEqual(needs, { kind: "question", prompt: "Which color?", options: ["Red", "Blue"] });
    assert.deepEqual((await b.until("approval.requested")).needs.kind, "approval");
  });

  test("A-11: a failed turn is turn_failed with the reason, and the session stays usable", async () => {
    await using b = await bench([
      [{ do: "fail", message: "no luck" }],
      [{ do: "say", text: "better" }],
    ]);
    await using session = await b.start();
    await assert.rejects(session.turn("go", plain), {
      code: "turn_failed",
      message: "the turn failed: no luck",
      details: { info: "other" },
    });
    await session.turn("again", plain);
    assert.deepEqual(b.said, ["better"]);
  });

  test("FAULT-4: garbage between messages affects no message", async () => {
    await using b = await bench([
      [
        { do: "garbage", text: "{broken json\nWarning: something\n\n\u0000\u001b[2J\n" },
        { do: "garbage", base64: Buffer.from([0xff, 0xfe, 10]).toString("base64") },
        { do: "say", text: "still fine" },
      ],
    ]);
    await using session = await b.start();
    await session.turn("go", plain);
    assert.deepEqual(b.said, ["still fine"]);
    const malformed = b.events.filter((event) => event.type === "notice" && event.malformed);
    assert.equal(malformed.length, 1);
    assert.ok(b.logs.includes("Warning: something"));
  });
});

describe("steering and interrupting the scripted agent", () => {
  test("guidance reaches the running turn and is reported as delivered", async () => {
    await using b = await bench([[{ do: "waitForSteer", ms: 30_000, writeTo: "steer.txt" }]]);
    await using session = await b.start();
    const turn = session.turn("go", plain);
    const { turnId } = await session.steer("steer-1", "auth\u2028first");
    await turn;
    assert.deepEqual(b.said, ["steered: auth\u2028first".replace("\u2028", " ")]);
    assert.equal(await readFile(join(b.workspace, "steer.txt"), "utf8"), "auth\u2028first\n");
    assert.equal((await b.until("turn.started")).turnId, turnId);
    assert.deepEqual(
      b.events.filter((event) => event.type === "steer.delivered"),
      [{ type: "steer.delivered", steerId: "steer-1" }],
    );
  });

  test("without an answer in its time the demo's agent takes its own, and says so", async () => {
    const wait = { do: "waitForSteer", ms: 50, writeTo: "steer.txt" } as const;
    await using b = await bench([[{ ...wait, otherwise: "Good evening" }]]);
    await using session = await b.start();
    await session.turn("go", plain);
    assert.deepEqual(b.said, ["No answer came. I take: Good evening"]);
    assert.equal(await readFile(join(b.workspace, "steer.txt"), "utf8"), "Good evening\n");
  });

  test("guidance that its turn did not take up is never reported as delivered", async () => {
    await using b = await bench([
      [
        { do: "sleep", ms: 300 },
        { do: "fail", message: "too early" },
      ],
    ]);
    await using session = await b.start();
    const turn = assert.rejects(session.turn("go", plain), { code: "turn_failed" });
    await session.steer("lost", "hear me");
    await turn;
    assert.ok(!b.types().includes("steer.delivered"));
  });

  test("A-11: an interrupt ends the turn as turn_cancelled and stops its commands", async () => {
    await using b = await bench([[{ do: "run", command: "echo $$ > pid; exec sleep 300" }]]);
    await using session = await b.start();
    const turn = assert.rejects(session.turn("go", plain), { code: "turn_cancelled" });
    await b.until("command");
    await session.interrupt();
    await turn;
    const killed = await b.until("command", ({ status }) => status === "failed");
    assert.equal(killed.exitCode, -1);
    assert.ok(b.types().includes("turn.failed"));
  });
});

describe("how sessions of the scripted agent end", () => {
  test("A-14: an exit in mid-turn is port_exit with its status, for this turn and the next", async () => {
    for (const code of [0, 3]) {
      await using b = await bench([[{ do: "exit", code }]]);
      await using session = await b.start();
      const error = { code: "port_exit", details: { status: code, signal: null } };
      await assert.rejects(session.turn("go", plain), error);
      await assert.rejects(session.turn("go", plain), error);
      await assert.rejects(session.steer("s", "x"), { code: "no_active_turn" });
    }
  });

  test("FAULT-5: a line over the limit is line_too_long, and the tree is killed although it ignores SIGTERM", async () => {
    await using b = await bench([
      [{ do: "ignoreSigterm" }, { do: "hugeLine", bytes: 20_000_000 }, { do: "hang" }],
    ]);
    await using session = await b.start();
    await assert.rejects(session.turn("go", plain), { code: "line_too_long" });
    await session[Symbol.asyncDispose]();
    assert.equal(await alive(b.spec().runId), 0);
  });

  test("A-23: disposing in mid-turn interrupts and leaves no process; a second dispose does nothing", async () => {
    await using b = await bench([
      [{ do: "spawnGrandchild", seconds: 300 }, { do: "say", text: "up" }, { do: "hang" }],
    ]);
    await using session = await b.start();
    const turn = assert.rejects(session.turn("go", plain), { code: "turn_cancelled" });
    await b.until("message", ({ text }) => text === "up");
    await Promise.all([session[Symbol.asyncDispose](), session[Symbol.asyncDispose]()]);
    await turn;
    assert.equal(await alive(b.spec().runId), 0);
  });

  test("A-23: an agent that does not react to messages is ended too", async () => {
    await using b = await bench([[{ do: "ignoreSigterm" }, { do: "hang", deaf: true }]]);
    await using session = await b.start();
    const turn = assert.rejects(session.turn("go", plain), { code: "turn_cancelled" });
    await b.until("turn.started");
    await session[Symbol.asyncDispose]();
    await turn;
    assert.equal(await alive(b.spec().runId), 0);
  });
});

describe("resuming threads of the scripted agent", () => {
  test("FAULT-20: a resume that is refused, or a thread held by another process, leads to a new thread", async () => {
    await using b = await bench([[{ do: "say", text: "hi" }]]);
    await using holder = await b.start();
    await holder.turn("go", plain);
    for (const resumeThreadId of ["unknown", holder.threadId]) {
      await using session = await b.start({ resumeThreadId, runId: `${b.runId}_second` });
      assert.ok(!session.resumed);
      assert.notEqual(session.threadId, resumeThreadId);
      await session.turn("go", plain);
    }
    const reasons = b.events.flatMap((event) => (event.type === "notice" ? [event.message] : []));
    assert.match(reasons[0] ?? "", /no rollout found/);
    assert.match(reasons[1] ?? "", /active writer/);
  });
});

async function alive(runId: string): Promise<number> {
  return (await liveProcesses()).filter((entry) => entry.runId === runId).length;
}
