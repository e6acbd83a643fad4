import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { liveProcesses } from "../../src/core/process/table.ts";
import { type FakeOpenai, startFakeOpenai } from "../support/fakes/fake-openai.ts";
import { type CodexHome, codexHome } from "../support/makers/codex-home.ts";
import { hostileFiles, plant, ran } from "../support/makers/hostile-files.ts";
import { AcpBench, type AcpBenchOptions } from "../support/worlds/acp-bench.ts";
import { assertNoBreach, plantProbes } from "../support/worlds/prey.ts";

const adapter = process.env["SYMPHONY_ACP"] ?? "";
const plain = { model: null };

class RealAcp extends AcpBench {
  readonly home: CodexHome;
  readonly openai: FakeOpenai;

  constructor(home: CodexHome, openai: FakeOpenai, options: AcpBenchOptions) {
    super(home.workspaces, options);
    this.home = home;
    this.openai = openai;
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await this.openai.close();
    await this.home[Symbol.asyncDispose]();
  }
}

/** A workspace for the real codex-acp, whose model follows `script`. */
async function real(script: unknown, mode: string): Promise<RealAcp> {
  assert.ok(existsSync(adapter), "set SYMPHONY_ACP to the codex-acp program");
  const openai = await startFakeOpenai(script);
  const home = await codexHome(openai.url);
  const bench = new RealAcp(home, openai, {
    config: {
      command: `exec "${process.execPath}" "${adapter}"`,
      envPassthrough: ["FAKE_MODEL_KEY", "INITIAL_AGENT_MODE", "NO_BROWSER"],
      writablePaths: [home.path],
    },
    env: {
      PATH: `${dirname(process.execPath)}:${process.env["PATH"]}`,
      HOME: home.userHome,
      CODEX_HOME: home.path,
      FAKE_MODEL_KEY: "k",
      INITIAL_AGENT_MODE: mode,
      NO_BROWSER: "1",
      LINEAR_API_KEY: "canary",
    },
  });
  await mkdir(bench.workspace);
  return bench;
}

const patch = `*** Begin Patch
*** Add File: made.txt
+by a patch
*** End Patch`;

describe("the real codex-acp", () => {
  test("works in its workspace inside symphony's sandbox, and resumes in a new attempt", async () => {
    await using b = await real(
      [
        {
          type: "shell",
          cmd: "touch ../outside; env > env.txt; echo ran | tee ran.txt; sleep 0.3",
        },
        { type: "apply_patch", patch },
        { type: "text", text: "All done.", usage: { input: 100, output: 10 } },
        { type: "text", text: "Still done." },
      ],
      "agent-full-access",
    );
    let thread: string;
    {
      await using session = await b.start({ level: "networked" });
      await session.turn("please", plain);
      thread = session.threadId;
    }
    assert.equal(await readFile(join(b.workspace, "ran.txt"), "utf8"), "ran\n");
    assert.equal(await readFile(join(b.workspace, "made.txt"), "utf8"), "by a patch\n");
    assert.ok(!existsSync(join(b.root, "outside")));
    assert.ok(!(await readFile(join(b.workspace, "env.txt"), "utf8")).includes("canary"));
    assert.deepEqual(b.said, ["All done."]);
    const command = b.events.findLast((event) => event.type === "command");
    assert.ok(command?.type === "command" && command.exitCode === 0);
    assert.ok(command.output?.includes("ran"));
    const change = b.events.findLast((event) => event.type === "file_change");
    assert.deepEqual(change, { type: "file_change", status: "completed", paths: ["made.txt"] });
    const total = b.events.findLast((event) => event.type === "tokens")?.total;
    assert.ok(total && total.total >= 110 && total.output >= 10);
    const left = (await liveProcesses()).filter(({ runId }) => runId === b.spec().runId);
    assert.deepEqual(left, []);
    await using session = await b.start({ level: "networked", resumeThreadId: thread });
    assert.ok(session.resumed && session.threadId === thread);
    await session.turn("and again", plain);
    assert.equal(b.said.at(-1), "Still done.");
  });

  test("THREAT-1: with the network and nothing else allowed, no hostile command reaches protected data", async () => {
    await using b = await real(
      [
        { type: "shell", cmd: "bash probes > told.txt 2>&1; echo ran" },
        { type: "text", text: "That was it." },
      ],
      "agent-full-access",
    );
    const prey = await plantProbes(b);
    await using session = await b.start({ level: "networked" });
    await session.turn("please", plain);
    await assertNoBreach(b, prey);
  });

  test("what a repository configures for codex is not visible, although the adapter trusts it", async () => {
    await using b = await real(
      [
        { type: "shell", cmd: "ls -A .codex | wc -l; sleep 0.3" },
        { type: "text", text: "Looked." },
      ],
      "agent-full-access",
    );
    await plant(b.workspace, hostileFiles.codex("http://127.0.0.1:9"));
    await using session = await b.start({ level: "networked" });
    await session.turn("please", plain);
    assert.deepEqual(await ran(b.workspace), []);
    const command = b.events.findLast((event) => event.type === "command");
    assert.ok(
      command?.type === "command" && command.output?.startsWith("0"),
      command?.output ?? "",
    );
  });

  test("guidance reaches the current turn, and an interrupt ends it", async () => {
    await using b = await real(
      [
        { type: "shell", cmd: "echo up; while [ ! -e go ]; do sleep 0.05; done" },
        { type: "shell", cmd: "echo second; sleep 60" },
        { type: "text", text: "never" },
      ],
      "agent-full-access",
    );
    await using session = await b.start();
    const turn = assert.rejects(session.turn("please", plain), { code: "turn_cancelled" });
    await b.until("command");
    await session.steer("str_1", "use tabs");
    await writeFile(join(b.workspace, "go"), "");
    await b.until("steer.delivered", (event) => event.steerId === "str_1");
    await b.until("command", (event) => event.command.includes("second"));
    const inputs = (await b.openai.requests()).map(({ body }) => JSON.stringify(body.input));
    assert.ok(inputs.some((text) => text.includes("use tabs")));
    await session.interrupt();
    await turn;
  });

  test("asks before it leaves its own sandbox, and a person decides", async () => {
    await using b = await real(
      [
        {
          type: "shell",
          cmd: "touch ../outside; sleep 0.3",
          extra: { sandbox_permissions: "require_escalated", justification: "May I leave?" },
        },
        { type: "text", text: "I may." },
      ],
      "workspace-write",
    );
    await using session = await b.start({ askPolicy: { approvals: "ask", timeoutMs: 60_000 } });
    const turn = session.turn("please", plain);
    const { ask, needs } = await b.until("approval.requested");
    assert.ok(needs.prompt.includes("touch ../outside"), needs.prompt);
    assert.ok(!existsSync(join(b.root, "outside")));
    session.answer(ask?.id ?? "", { type: "decision", approve: true });
    await turn;
    assert.ok(existsSync(join(b.root, "outside")));
    assert.deepEqual(b.said, ["I may."]);
  });

  test("the model is set through the session's option, and an unknown model is refused", async () => {
    await using b = await real([{ type: "text", text: "ok" }], "agent-full-access");
    await using session = await b.start();
    await assert.rejects(session.turn("please", { model: "no-such-model" }), {
      code: "response_error",
      message: /does not accept model no-such-model/,
    });
  });
});
