import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { AgentTools } from "../../src/core/agent/agent.ts";
import type { CommandConfig } from "../../src/core/agent/command/settings.ts";
import { liveProcesses } from "../../src/core/process/table.ts";
import { FakeClock } from "../support/fakes/fake-clock.ts";
import { CommandBench, commandBench } from "../support/worlds/command-bench.ts";

const plain = { model: null };

const tools: AgentTools = {
  specs: [{ name: "issue_move", description: "", inputSchema: {} }],
  call: async (name, args) => ({
    success: name === "issue_move",
    output: `${name} ${JSON.stringify(args)}`,
  }),
};

describe("agent.kind command", () => {
  test("one process per turn; blocks of text are messages", async () => {
    await using b = await commandBench({
      config: { line: "echo one; echo two; echo; cat; echo; echo $$ >> pids" },
    });
    await using session = await b.start();
    await session.turn("the prompt", plain);
    assert.deepEqual(b.said, ["one\ntwo", "the prompt"]);
    assert.deepEqual(b.types(), [
      ...["session.started", "turn.started", "message", "message", "turn.completed"],
    ]);
    await session.turn("go on", plain);
    const pids = (await readFile(join(b.workspace, "pids"), "utf8")).trim().split("\n");
    assert.equal(new Set(pids).size, 2);
    assert.equal(session.pid, null);
  });

  test("without a session the first prompt is sent again, with the note below it", async () => {
    await using b = await commandBench({ config: { line: "cat" } });
    await using session = await b.start({ resumeThreadId: "s-1" });
    assert.equal(session.resumed, false);
    await session.turn("the whole prompt", plain);
    await session.turn("turn 2 of 20", plain);
    assert.deepEqual(b.said, ["the whole prompt", "the whole prompt", "turn 2 of 20"]);
  });

  test("facts about the issue are in the environment, also hostile ones, and no secret is", async () => {
    await using b = await commandBench({
      config: {
        line: 'env > env.txt; cat "$SYMPHONY_PROMPT_FILE" > prompt.txt; stat -c %a "$SYMPHONY_PROMPT_FILE" > mode.txt',
        prompt: "file",
        envPassthrough: ["MODEL_KEY", "LINEAR_API_KEY"],
      },
      env: { MODEL_KEY: "m", LINEAR_API_KEY: "canary", OTHER: "canary", SYMPHONY_TOKEN: "canary" },
    });
    await using session = await b.start({
      title: "ENG-1: $(touch injected) `touch injected`\u0000; touch injected",
      secretEnvNames: ["LINEAR_API_KEY"],
    });
    await session.turn("it's $(touch injected)", { model: "big", effort: "high" });
    const env = await readFile(join(b.workspace, "env.txt"), "utf8");
    for (const line of [
      "SYMPHONY_ISSUE_IDENTIFIER=ENG-1",
      "SYMPHONY_ISSUE_TITLE=$(touch injected) `touch injected`; touch injected",
      `SYMPHONY_WORKSPACE=${b.workspace}`,
      "SYMPHONY_TURN=1",
      "SYMPHONY_MODEL=big",
      "SYMPHONY_REASONING_EFFORT=high",
      `SYMPHONY_RUN_ID=${b.spec().runId}`,
      "MODEL_KEY=m",
    ]) {
      assert.ok(env.split("\n").includes(line), line);
    }
    assert.ok(!env.includes("canary") && !env.includes("SYMPHONY_SESSION="), env);
    assert.equal(await readFile(join(b.workspace, "prompt.txt"), "utf8"), "it's $(touch injected)");
    assert.equal(await readFile(join(b.workspace, "mode.txt"), "utf8"), "600\n");
    assert.ok(!existsSync(join(b.workspace, "injected")));
    const left = env.match(/SYMPHONY_PROMPT_FILE=(.*)/)?.[1] ?? "";
    assert.ok(left.startsWith(tmpdir()) && !existsSync(left), "the prompt is removed");
  });

  test("127 of a program that the line runs itself is the agent's fault, and 127 further inside is the turn's", async () => {
    await using inside = await commandBench();
    const script = await inside.program("script", "#!/bin/sh\nno-such-tool-of-the-repository\n");
    const bare = await inside.program("bare", "#!/no/such/interpreter\n");
    const env = await inside.program("by-env", "#!/usr/bin/env no-such-interpreter\n");
    for (const [line, code] of [
      [script, "turn_failed"],
      [`bash ${script}`, "turn_failed"],
      ["exit 127", "turn_failed"],
      ["bash -c 'no-such-inner-tool'", "turn_failed"],
      ["true && no-such-program-here", "agent_not_found"],
      ["X=1 exec no-such-program-here --flag", "agent_not_found"],
      [bare, "agent_not_found"],
      [env, "agent_not_found"],
      [`${inside.root}/not-there`, "agent_not_found"],
    ] as const) {
      await using b = await commandBench({ config: { line } });
      await using session = await b.start();
      await assert.rejects(session.turn("go", plain), { code }, line);
    }
  });

  test("an exit code fails the turn with the end of stderr; 127 is a program not found", async () => {
    await using b = await commandBench({
      config: { line: "echo fine; echo out of credit >&2; exit 3" },
    });
    await using session = await b.start();
    await assert.rejects(session.turn("go", plain), {
      code: "turn_failed",
      message: "the command failed: it ended with status 3: out of credit",
    });
    assert.deepEqual(b.said, ["fine"]);
    assert.equal(b.types().at(-1), "turn.failed");
    await using missing = await commandBench({ config: { line: "no-such-program-here" } });
    await using other = await missing.start();
    await assert.rejects(other.turn("go", plain), { code: "agent_not_found" });
  });

  test("without a command line it cannot be started, and the error says what to do", async () => {
    await using b = await commandBench();
    await assert.rejects(b.start(), { code: "agent_unavailable", message: /command\.line/ });
  });

  test("a silent program ends the turn and everything that it started", async () => {
    const clock = new FakeClock();
    await using b = await commandBench({
      config: { line: "echo up; echo; setsid sleep 600 & sleep 600", turnTimeoutMs: 1_000 },
      clock,
    });
    await using session = await b.start();
    const turn = session.turn("go", plain);
    const ended = assert.rejects(turn, { code: "turn_timeout" });
    await b.until("message");
    clock.advance(1_000);
    await ended;
    await noneLeft(b.spec().runId);
  });
});

describe("its JSON lines", () => {
  test("report messages, commands, changes, tokens by turn, and a failure", async () => {
    await using b = await commandBench({ config: { line: "cat ../said.jsonl", output: "jsonl" } });
    const said = [
      { type: "message", text: "hello" },
      { type: "command", command: "make", exit_code: 2, status: "failed", output: "no rule" },
      { type: "file_change", paths: [join(b.workspace, "a.txt"), "b.txt"] },
      { type: "tokens", input: 5, output: 1 },
      { type: "tokens", input: 10, output: 2, cached_input_tokens: 4 },
      { type: "notice", message: "slow today" },
      { type: "whatever" },
    ].map((line) => JSON.stringify(line));
    await b.program("said.jsonl", `${said.join("\n")}\n{broken\nnoise\n`);
    await using session = await b.start();
    await session.turn("go", plain);
    await session.turn("go on", plain);
    assert.deepEqual(b.types().slice(2, 10), [
      ...["message", "command", "file_change", "tokens", "tokens", "notice", "notice"],
      "turn.completed",
    ]);
    assert.deepEqual(b.logs, ["noise", "noise"]);
    const change = b.events.find((event) => event.type === "file_change");
    assert.deepEqual(change, {
      ...{ type: "file_change", status: "completed", paths: ["a.txt", "b.txt"] },
    });
    const totals = b.events.flatMap((event) => (event.type === "tokens" ? [event.total] : []));
    assert.deepEqual(
      totals.map(({ input, total }) => [input, total]),
      [
        ...[
          [5, 6],
          [10, 12],
        ],
        ...[
          [15, 18],
          [20, 24],
        ],
      ],
    );
    assert.equal(totals.at(-1)?.cachedInput, 8);
  });

  test("can report a failure although the program exits with 0", async () => {
    const line = `echo '{"type":"result","success":false,"message":"tests are red"}'`;
    await using b = await commandBench({ config: { line, output: "jsonl" } });
    await using session = await b.start();
    await assert.rejects(session.turn("go", plain), {
      code: "turn_failed",
      message: "the command failed: tests are red",
    });
  });

  test("can call a tool of the tracker, which runs on the host and answers on stdin", async () => {
    const line = `echo '{"type":"tool_call","id":7,"tool":"issue_move","arguments":{"state":"Done"}}'
echo '{"type":"tool_call","id":8,"tool":"rm_rf"}'
read -r a; read -r b; printf '%s\\n%s\\n' "$a" "$b" > answers`;
    await using b = await commandBench({ config: { line, output: "jsonl", prompt: "file" } });
    await using session = await b.start({ tools });
    await session.turn("go", plain);
    const answers = (await readFile(join(b.workspace, "answers"), "utf8")).trim().split("\n");
    assert.deepEqual(
      answers.map((text) => JSON.parse(text)),
      [
        { type: "tool_result", id: 7, success: true, output: 'issue_move {"state":"Done"}' },
        { type: "tool_result", id: 8, success: false, output: "rm_rf {}" },
      ],
    );
    const outcomes = b.events.flatMap((event) =>
      event.type === "tool_call" ? [event.outcome] : [],
    );
    assert.deepEqual(outcomes, ["completed", "unsupported"]);
  });

  test("can call a tool although the program does not read the answer; it runs before the turn ends", async () => {
    const line = `echo '{"type":"tool_call","tool":"issue_move","arguments":{"state":"Done"}}'`;
    await using b = await commandBench({ config: { line, output: "jsonl" } });
    await using session = await b.start({ tools });
    await session.turn("go", plain);
    assert.deepEqual(b.types().slice(-2), ["tool_call", "turn.completed"]);
  });

  test("can confirm guidance that the program has read", async () => {
    const line = `echo '{"type":"message","text":"up"}'
echo '{"type":"steer_delivered","id":"str_9"}'
read -r steer; echo "$steer" > heard; echo '{"type":"steer_delivered","id":"str_1"}'`;
    await using b = await commandBench({ config: { line, output: "jsonl", prompt: "file" } });
    await using session = await b.start();
    const turn = session.turn("go", plain);
    await b.until("message");
    await session.steer("str_1", "use tabs");
    await turn;
    assert.deepEqual(JSON.parse(await readFile(join(b.workspace, "heard"), "utf8")), {
      ...{ type: "steer", id: "str_1", message: "use tabs" },
    });
    const delivered = b.events.filter((event) => event.type === "steer.delivered");
    assert.deepEqual(delivered, [{ type: "steer.delivered", steerId: "str_1" }]);
  });
});

describe("sessions of a program", () => {
  const line = `echo '{"type":"session","id":"s-1"}'; echo '{"type":"tokens","input":3,"output":1}'; cat > first`;
  const resumeLine = `echo "{\\"type\\":\\"session\\",\\"id\\":\\"$SYMPHONY_SESSION\\"}"; echo '{"type":"tokens","input":3,"output":1}'; cat > next`;

  test("a reported session is resumed in the next turn, and in the next attempt", async () => {
    await using b = await commandBench({ config: { line, resumeLine, output: "jsonl" } });
    {
      await using session = await b.start();
      await session.turn("all of it", plain);
      assert.equal(session.threadId, "s-1");
      await session.turn("go on", plain);
    }
    assert.equal(await readFile(join(b.workspace, "first"), "utf8"), "all of it");
    assert.equal(await readFile(join(b.workspace, "next"), "utf8"), "go on");
    const totals = b.events.flatMap((event) =>
      event.type === "tokens" ? [event.total.total] : [],
    );
    assert.deepEqual(totals, [4, 8]);
    await using session = await b.start({ resumeThreadId: "s-1" });
    assert.equal(session.resumed, true);
    const started = b.events.findLast((event) => event.type === "session.started");
    assert.deepEqual(started, {
      ...{ type: "session.started", threadId: "s-1", resumed: true, countsAnew: true },
    });
    await session.turn("still there?", plain);
    assert.equal(await readFile(join(b.workspace, "next"), "utf8"), "still there?");
  });

  test("an id that looks like an option or shell code is never passed to the command", async () => {
    for (const id of ["--dangerously", "a b", "$(x)", ""]) {
      const told = JSON.stringify({ type: "session", id }).replaceAll("'", "");
      await using b = await commandBench({
        config: { line: `echo '${told}'`, resumeLine: "touch resumed", output: "jsonl" },
      });
      await using session = await b.start({ resumeThreadId: id });
      assert.equal(session.resumed, false);
      await session.turn("go", plain);
      await session.turn("go on", plain);
      assert.ok(!existsSync(join(b.workspace, "resumed")));
    }
  });

  test("a session that cannot be resumed is not used in the next attempt", async () => {
    await using b = await commandBench({
      config: { line, resumeLine: "echo no such session >&2; exit 1", output: "jsonl" },
    });
    await using session = await b.start({ resumeThreadId: "s-1" });
    await assert.rejects(session.turn("go", plain), { code: "turn_failed" });
    const last = b.events.findLast((event) => event.type === "session.started");
    assert.ok(last?.type === "session.started" && !last.resumed);
    await using next = await b.start({ resumeThreadId: last.threadId });
    assert.equal(next.resumed, false);
  });
});

describe("its sandbox", () => {
  test("below level danger it can write only to its workspace, and sees no other workspace and no process", async () => {
    const dataDir = await mkdtemp(join(process.cwd(), "node_modules/.cache/symphony-data-"));
    await writeFile(join(dataDir, "canary"), "");
    await using open = await commandBench();
    await using b = await commandBench({
      config: {
        line: `touch inside
touch ../outside "$DATA_DIR/made" "$PWD/../../made" || echo refused > log
ls .. "$DATA_DIR" >> log
cat "$SYMPHONY_PROMPT_FILE" >> log
echo x > "$SYMPHONY_PROMPT_FILE" || echo read-only >> log
touch "$OPEN_DIR/made" "$TMPDIR/own" || echo closed >> log
env | grep -c CANARY >> log
ls /proc | grep -c '^[0-9]' > processes`,
        prompt: "file",
        envPassthrough: ["DATA_DIR", "OPEN_DIR"],
        writablePaths: [join(open.root, "not-there"), open.workspace],
      },
      env: { DATA_DIR: dataDir, OPEN_DIR: open.workspace, CANARY: "CANARY" },
      dataDir,
    });
    try {
      await using session = await b.start({ level: "safe" });
      await session.turn("the prompt", plain);
      assert.deepEqual((await readdir(b.workspace)).sort(), ["inside", "log", "processes"]);
      const log = await readFile(join(b.workspace, "log"), "utf8");
      const words = log.split(/\s+/).filter((word) => !word.startsWith("/") && word !== "..:");
      assert.deepEqual(words.slice(0, 3), ["refused", "ENG-1", "outside"], log);
      assert.ok(log.includes("the prompt") && log.includes("read-only"), log);
      assert.ok(!log.includes("canary") && !log.includes("closed"), log);
      assert.ok(!existsSync(join(b.root, "outside")));
      assert.deepEqual(await readdir(dataDir), ["canary"]);
      assert.deepEqual(await readdir(open.workspace), ["made"]);
      assert.ok(Number(await readFile(join(b.workspace, "processes"), "utf8")) < 10);
    } finally {
      await rm(dataDir, { recursive: true });
    }
  });

  test("A21: a program that is linked into the home's bin starts, and one in another folder starts when that is configured", async () => {
    const apart = await mkdtemp(join(process.cwd(), ".elsewhere-"));
    try {
      await writeFile(join(apart, "agent"), '#!/bin/sh\n. "$(dirname "$0")/part"\n', {
        mode: 0o755,
      });
      await writeFile(join(apart, "part"), "echo part\n");
      await using b = await commandBench({ config: { line: "own-agent" } });
      const home = join(b.root, "own-home");
      const [bin, share] = [join(home, ".local", "bin"), join(home, ".local", "share", "own")];
      await mkdir(bin, { recursive: true });
      await mkdir(share, { recursive: true });
      await writeFile(join(share, "1.0"), "#!/bin/sh\necho started\n", { mode: 0o755 });
      await symlink("1.0", join(share, "current"));
      await symlink(join(share, "current"), join(bin, "own-agent"));
      await writeFile(join(home, ".profile"), 'PATH="$HOME/.local/bin:$PATH"\n');
      const said = async (config: Partial<CommandConfig>) => {
        const bench = new CommandBench(join(b.root, "workspaces"), {
          ...{ config, env: { HOME: home } },
        });
        await mkdir(bench.workspace, { recursive: true });
        await using session = await bench.start({ level: "safe" });
        await session.turn("go", plain);
        return bench.said.join();
      };
      assert.equal(await said({ line: "own-agent" }), "started");
      // Row A21 of the case file of agents: what the sandbox hides is named, with the setting that shows it.
      await writeFile(join(bin, "wrapped"), `#!/bin/sh\nexec ${apart}/agent\n`, { mode: 0o755 });
      await assert.rejects(said({ line: "wrapped" }), {
        code: "agent_not_found",
        message: `command.line needs ${apart}/agent, which is on this machine and which the sandbox hides`,
        hint: `add ${apart} to command.readable_paths, or put the program on PATH`,
      });
      const line = `PATH="${apart}:$PATH"; agent`;
      await assert.rejects(said({ line }), { code: "agent_not_found", hint: /readable_paths/ });
      assert.equal(await said({ line, readablePaths: [apart] }), "part");
      await assert.rejects(said({ line: join(apart, "agent") }), { code: "turn_failed" });
    } finally {
      await rm(apart, { recursive: true });
    }
  });

  test("the network is available at level networked, and not at safe", async () => {
    const server = createServer((socket) => socket.end("hello\n"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const address = server.address();
      assert.ok(address !== null && typeof address === "object");
      await using b = await commandBench({
        config: { line: `cat < /dev/tcp/127.0.0.1/${address.port}` },
      });
      {
        await using session = await b.start({ level: "safe" });
        await assert.rejects(session.turn("go", plain), { code: "turn_failed", hint: /networked/ });
      }
      await using session = await b.start({ level: "networked" });
      await session.turn("go", plain);
      assert.deepEqual(b.said, ["hello"]);
    } finally {
      server.close();
    }
  });

  test("no process is left, also when the program has started others", async () => {
    await using b = await commandBench({
      config: { line: "echo up; echo; setsid sleep 600 & sleep 600" },
    });
    await using session = await b.start({ level: "networked" });
    const turn = assert.rejects(session.turn("go", plain), { code: "turn_cancelled" });
    await b.until("message");
    assert.ok((await liveProcesses()).some((entry) => entry.runId === b.spec().runId));
    await session.interrupt();
    await turn;
    await noneLeft(b.spec().runId);
  });
});

async function noneLeft(runId: string): Promise<void> {
  const left = (await liveProcesses()).filter((entry) => entry.runId === runId);
  assert.deepEqual(left, []);
}
