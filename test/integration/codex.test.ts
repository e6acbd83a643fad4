import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, globSync, readFileSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { AgentTools, SessionSpec } from "../../src/core/agent/agent.ts";
import { liveProcesses, signalProcess } from "../../src/core/process/table.ts";
import { FakeClock } from "../support/fakes/fake-clock.ts";
import { onePixel } from "../support/makers/image.ts";
import { realCodex } from "../support/worlds/real-codex.ts";
import { eventually } from "../support/worlds/symphony.ts";

const plain = { model: null };

const patch = `*** Begin Patch
*** Add File: made.txt
+by a patch
*** End Patch`;

describe("the real codex app-server", () => {
  test("A-3, A-22: edits files with commands and patches, and its tokens are counted", async () => {
    await using b = await realCodex([
      { type: "shell", cmd: "echo by a command > ran.txt; cat ran.txt; sleep 0.4" },
      { type: "apply_patch", patch },
      { type: "text", text: "All done.", usage: { input: 100, output: 10 } },
    ]);
    await using session = await b.start();
    await session.turn("please", plain);
    assert.equal(await readFile(join(b.workspace, "ran.txt"), "utf8"), "by a command\n");
    assert.equal(await readFile(join(b.workspace, "made.txt"), "utf8"), "by a patch\n");
    assert.deepEqual(b.said, ["All done."]);
    const command = b.events.find(
      (event) => event.type === "command" && event.status === "completed",
    );
    assert.ok(command?.type === "command" && command.output?.includes("by a command"));
    const change = b.events.findLast((event) => event.type === "file_change");
    assert.deepEqual(change, { type: "file_change", status: "completed", paths: ["made.txt"] });
    const total = b.events.findLast((event) => event.type === "tokens")?.total;
    assert.ok(total && total.total >= 110 && total.output >= 10);
    assert.equal(b.types().at(-1), "turn.completed");
    await session.turn("and again", plain);
    assert.equal(b.types().filter((type) => type === "session.started").length, 1);
  });

  test("the tokens of a request count while its command runs; after kill -9 the thread continues from what codex had recorded", async () => {
    const usage = { input: 100, output: 10 };
    await using b = await realCodex([
      { type: "shell", cmd: "echo one; sleep 0.4", usage },
      { type: "shell", cmd: "touch begun; sleep 60", usage },
      { type: "text", text: "Resumed.", usage },
    ]);
    const totals = () =>
      b.events.flatMap((event) => (event.type === "tokens" ? [event.total.total] : []));
    const session = await b.start();
    const turn = assert.rejects(session.turn("please", plain), { code: "port_exit" });
    await b.until("tokens", ({ total }) => total.total === 220);
    await eventually("its command runs", async () => existsSync(join(b.workspace, "begun")));
    // codex writes its record a little later: a thread without one begins anew.
    await eventually("the first request is recorded", async () => {
      const [record = ""] = globSync(join(b.home.path, "sessions/**/*.jsonl"));
      return record !== "" && readFileSync(record, "utf8").includes('"total_tokens":110');
    });
    signalProcess(session.pid ?? 0, "SIGKILL");
    await turn;
    await session[Symbol.asyncDispose]();
    assert.deepEqual(totals(), [110, 110, 220]);
    await using next = await b.start({ resumeThreadId: session.threadId });
    await next.turn("continue", plain);
    const bases = b.events.flatMap((event) => (event.type === "tokens" ? [event.base?.total] : []));
    // The thread's own total is without the request that was cut off.
    assert.deepEqual(bases.slice(3), [110, undefined]);
    assert.deepEqual(totals().slice(3), [110, 220]);
  });

  test("A-2, X-1: its commands see no secret though environment and login profile have them", async () => {
    await using b = await realCodex([
      { type: "shell", cmd: "env > env.txt; echo $0; shopt login_shell" },
      { type: "text", text: "ok" },
    ]);
    await writeFile(
      join(b.home.userHome, ".profile"),
      "export LINEAR_API_KEY=canary SYMPHONY_MASTER_KEY=canary PATH=$PATH:/from-profile\n",
    );
    await using session = await b.start({ secretEnvNames: ["LINEAR_API_KEY"] });
    await session.turn("look", plain);
    const env = await readFile(join(b.workspace, "env.txt"), "utf8");
    assert.ok(env.includes(":/from-profile"));
    assert.ok(env.includes(`SYMPHONY_RUN_ID=${b.spec().runId}`));
    assert.ok(!env.includes("canary"), env);
  });

  test("the default sandbox confines it to the workspace, without the network", async () => {
    await using b = await realCodex([
      {
        type: "shell",
        cmd: "touch ../outside; touch inside; (: < /dev/tcp/127.0.0.1/9) 2>net.txt; cat net.txt; sleep 0.4",
      },
      { type: "text", text: "ok" },
    ]);
    await using session = await b.start();
    await session.turn("try", plain);
    assert.ok(existsSync(join(b.workspace, "inside")));
    assert.ok(!existsSync(join(b.workspace, "../outside")));
    assert.match(await readFile(join(b.workspace, "net.txt"), "utf8"), /not permitted/);
  });

  test("can commit when the command makes the workspace's .git writable, and not otherwise", async () => {
    const step = {
      type: "shell",
      cmd: "echo x > a; git add -A && git -c user.name=A -c user.email=a@b.invalid commit -qm two; sleep 0.4",
    };
    for (const [flag, commits] of [
      ["", "1"],
      [` -c "sandbox_workspace_write.writable_roots=[\\"$PWD/.git\\"]"`, "2"],
    ] as const) {
      await using b = await realCodex([step, { type: "text", text: "ok" }], {
        flags: flag,
      });
      const git = (...args: string[]) =>
        execFileSync("git", args, { cwd: b.workspace, encoding: "utf8" }).trim();
      git("init", "-q", ".");
      git(
        "-c",
        "user.name=A",
        "-c",
        "user.email=a@b.invalid",
        "commit",
        "-qm",
        "one",
        "--allow-empty",
      );
      await using session = await b.start();
      await session.turn("commit", plain);
      assert.equal(git("rev-list", "--count", "HEAD"), commits);
    }
  });

  test("A-19: the model calls a tool of the tracker and receives its answer", async () => {
    const calls: unknown[] = [];
    const tools: AgentTools = {
      specs: [
        {
          name: "move",
          description: "moves the issue",
          inputSchema: { type: "object", properties: {} },
        },
      ],
      call: async (name, args) => {
        calls.push([name, args]);
        return { success: true, output: "moved to Done" };
      },
    };
    await using b = await realCodex([
      { type: "call", name: "move", arguments: { to: "Done" } },
      { type: "echo" },
    ]);
    await using session = await b.start({ tools });
    await session.turn("move it", plain);
    assert.deepEqual(calls, [["move", { to: "Done" }]]);
    assert.deepEqual(b.said, ["echo: moved to Done"]);
    assert.equal((await b.until("tool_call")).outcome, "completed");
  });

  test("guidance in mid-turn reaches the next request to the model", async () => {
    await using b = await realCodex([
      { type: "shell", cmd: "while [ ! -e go ]; do sleep 0.05; done; echo went on" },
      { type: "echo" },
    ]);
    await using session = await b.start();
    const turn = session.turn("start", plain);
    await b.until("command");
    const { turnId } = await session.steer("steer-1", "do the login first", [onePixel]);
    assert.equal((await b.until("turn.started")).turnId, turnId);
    await writeFile(join(b.workspace, "go"), "");
    await turn;
    assert.equal((await b.until("steer.delivered")).steerId, "steer-1");
    const [, second] = await b.openai.requests();
    assert.equal(second?.lastUser, "do the login first");
    assert.ok(JSON.stringify(second).includes(onePixel.base64.slice(0, 40)));
    await assert.rejects(session.steer("steer-2", "too late"), { code: "no_active_turn" });
  });

  test("A-11: an interrupt ends the turn and its commands, and the next turn works", async () => {
    await using b = await realCodex([
      { type: "shell", cmd: "echo up; exec sleep 300" },
      { type: "text", text: "fresh" },
    ]);
    await using session = await b.start();
    const turn = assert.rejects(session.turn("start", plain), { code: "turn_cancelled" });
    await b.until("command");
    await session.interrupt();
    await turn;
    await b.until("command", ({ status }) => status !== "started");
    await session.turn("again", plain);
    assert.deepEqual(b.said, ["fresh"]);
  });

  test("a thread interrupted by kill -9 in mid-turn is resumed with its history", async () => {
    await using b = await realCodex([
      { type: "shell", cmd: "echo up; exec sleep 300" },
      { type: "text", text: "back again" },
    ]);
    await using first = await b.start();
    const turn = assert.rejects(first.turn("the first prompt", plain), { code: "port_exit" });
    await b.until("command");
    process.kill(-(first.pid ?? assert.fail()), "SIGKILL");
    await turn;
    await first[Symbol.asyncDispose]();
    assert.equal(await alive(b.spec().runId), 0);
    await using second = await b.start({
      resumeThreadId: first.threadId,
      runId: `${b.runId}_second`,
    });
    assert.ok(second.resumed);
    await second.turn("continue", plain);
    assert.deepEqual(b.said, ["back again"]);
    const history = JSON.stringify((await b.openai.requests()).at(-1)?.body.input);
    assert.ok(history.includes("the first prompt"));
  });

  test("FAULT-20: a thread that is unknown, or held by another process, is replaced by a new one", async () => {
    await using b = await realCodex([{ type: "text", text: "hi" }]);
    await using holder = await b.start();
    await holder.turn("go", plain);
    const unknown = "01a20a01-6164-7023-aee3-98f01565d5c1";
    for (const resumeThreadId of [unknown, holder.threadId]) {
      await using session = await b.start({ resumeThreadId, runId: `${b.runId}_second` });
      assert.ok(!session.resumed);
      await session.turn("go", plain);
    }
  });

  test("A-13: a provider that never answers ends as turn_timeout, and the process tree is ended", async () => {
    const clock = new FakeClock();
    const config = { turnTimeoutMs: 60_000, readTimeoutMs: 600_000 };
    await using b = await realCodex([{ type: "hang", at: "headers", sticky: true }], {
      clock,
      config,
    });
    await using session = await b.start();
    const turn = assert.rejects(session.turn("go", plain), { code: "turn_timeout" });
    // After the request to the model and the notifications around it, codex sends nothing more.
    await b.until("activity", ({ method }) => method === "item/completed");
    while ((await b.openai.requests()).length === 0) await Promise.resolve();
    clock.advance(60_000);
    await b.until("turn.failed");
    await turn;
    await session[Symbol.asyncDispose]();
    assert.equal(await alive(b.spec().runId), 0);
  });

  test("A-11: 429 fails the turn with codex's error code, and the next turn works", async () => {
    await using b = await realCodex([
      { type: "error", status: 429, code: "rate_limit_exceeded", message: "slow down" },
      { type: "text", text: "through" },
    ]);
    await using session = await b.start();
    await assert.rejects(session.turn("go", plain), {
      code: "provider_limited",
      details: {
        info: { responseTooManyFailedAttempts: { httpStatusCode: 429 } },
        untilWall: null,
      },
    });
    await session.turn("continue", plain);
    assert.deepEqual(b.said, ["through"]);
  });

  test("E-11: rate limits in the provider's answer are published as events", async () => {
    const headers = {
      "x-codex-primary-used-percent": "91",
      "x-codex-primary-window-minutes": "300",
      "x-codex-primary-reset-at": "1900000000",
    };
    await using b = await realCodex([{ type: "text", text: "ok", headers }]);
    await using session = await b.start();
    await session.turn("go", plain);
    const { limits } = await b.until("rate_limits");
    assert.equal(Object(limits["primary"]).usedPercent, 91);
  });

  test("A-15, A-5: with on-request a request to leave the sandbox ends the attempt and says what is needed", async () => {
    const extra = { sandbox_permissions: "require_escalated", justification: "May I leave?" };
    await using b = await realCodex([{ type: "shell", cmd: "touch ../escaped", extra }], {
      config: { approvalPolicy: "on-request" },
    });
    await using session = await b.start();
    await assert.rejects(
      session.turn("go", plain),
      (error: { code?: string; details?: unknown }) => {
        assert.equal(error.code, "approval_required");
        assert.match(JSON.stringify(error.details), /touch \.\.\/escaped.*May I leave\?/);
        return true;
      },
    );
  });

  test("each turn uses the requested model", async () => {
    await using b = await realCodex([
      { type: "text", text: "a" },
      { type: "text", text: "b" },
    ]);
    await using session = await b.start({ model: "fake-one" });
    await session.turn("go", plain);
    await session.turn("go", { model: "fake-two" });
    const models = (await b.openai.requests()).map(({ model }) => model);
    assert.deepEqual(models, ["fake-one", "fake-two"]);
  });

  test("A-23: disposing in mid-turn leaves none of its processes", async () => {
    await using b = await realCodex([{ type: "shell", cmd: "setsid sleep 300 & sleep 300" }], {
      config: { threadSandbox: "danger-full-access" },
    });
    await using session = await b.start();
    const turn = assert.rejects(session.turn("go", plain), { code: "turn_cancelled" });
    await b.until("command");
    await session[Symbol.asyncDispose]();
    await turn;
    assert.equal(await alive(b.spec().runId), 0);
  });
});

async function alive(runId: SessionSpec["runId"]): Promise<number> {
  return (await liveProcesses()).filter((entry) => entry.runId === runId).length;
}
