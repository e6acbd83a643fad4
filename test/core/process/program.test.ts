import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { SymphonyError } from "../../../src/core/model/errors.ts";
import { agentEnvironment, launchLine } from "../../../src/core/process/environment.ts";
import { loginEnvironment } from "../../../src/core/process/login.ts";
import { AgentProcess, sweepRuns } from "../../../src/core/process/program.ts";
import { liveProcesses } from "../../../src/core/process/table.ts";

let dir = "";
let runs = 0;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), "symphony-process-"));
});
after(() => rm(dir, { recursive: true, force: true }));

function launch(script: string, graceMs = 200) {
  const runId = `att_test_${process.pid}_${runs++}`;
  const env = { PATH: process.env["PATH"], HOME: dir };
  const lines: string[] = [];
  const logs: string[] = [];
  const ended = Promise.withResolvers<SymphonyError>();
  const waiting: { isIt: (line: string) => boolean; resolve: (line: string) => void }[] = [];
  const agent = new AgentProcess({
    line: script,
    cwd: dir,
    env: agentEnvironment({ env, passthrough: [], secretNames: [], runId }),
    runId,
    graceMs,
    onLine: (line) => {
      lines.push(line);
      for (const { isIt, resolve } of waiting) if (isIt(line)) resolve(line);
    },
    onStderr: (line) => logs.push(line),
    onEnd: ended.resolve,
  });
  const line = (isIt: (line: string) => boolean) => {
    const { promise, resolve } = Promise.withResolvers<string>();
    const past = lines.find(isIt);
    if (past === undefined) waiting.push({ isIt, resolve });
    else resolve(past);
    return promise;
  };
  return {
    agent,
    runId,
    lines,
    logs,
    ended: ended.promise,
    line,
    [Symbol.asyncDispose]: () => agent.stop(),
  };
}

async function survivors(runId: string): Promise<number> {
  return (await liveProcesses()).filter((entry) => entry.runId === runId).length;
}

/** A tree that no single method ends: SIGTERM is ignored, one child left the group, one was forked twice. */
const evilTree = `trap "" TERM
setsid sleep 300 &
(setsid bash -c 'trap "" TERM; sleep 300' </dev/null >/dev/null 2>&1 &)
bash -c 'trap "" TERM; sleep 300' &
sleep 0.2
echo ready
while true; do sleep 300; done`;

describe("an agent's process", () => {
  test("A-1: runs the line by a shell in its directory, operators included, and reads no profile for it", async () => {
    await using run = launch("X=1 && echo $X; shopt -q login_shell || pwd; exit 3");
    const { ended, lines } = run;
    const error = await ended;
    assert.deepEqual(lines.slice(-2), ["1", dir]);
    assert.equal(error.code, "port_exit");
    assert.deepEqual(error.details, { status: 3, signal: null });
  });

  test("A-2, X-1: a secret is absent although the environment and the login profile have it", async () => {
    const home = await mkdtemp(join(dir, "home-"));
    await writeFile(
      join(home, ".profile"),
      'echo x >> "$HOME/reads"\nexport MY_SECRET=canary SYMPHONY_MASTER_KEY=canary FROM_PROFILE=yes\n',
    );
    const secretNames = ["MY_SECRET", "INHERITED_SECRET"];
    const inherited = { PATH: process.env["PATH"], HOME: home, INHERITED_SECRET: "canary" };
    const env = await loginEnvironment(inherited);
    const passthrough = ["INHERITED_SECRET", "MY_SECRET", "FROM_PROFILE"];
    const runId = "att_env";
    const lines: string[] = [];
    const { promise, resolve } = Promise.withResolvers<SymphonyError>();
    new AgentProcess({
      line: launchLine("env", secretNames),
      cwd: dir,
      env: agentEnvironment({ env, passthrough, secretNames, runId }),
      runId,
      onLine: (line) => lines.push(line),
      onStderr: () => {},
      onEnd: resolve,
    });
    await promise;
    assert.ok(lines.includes("FROM_PROFILE=yes"));
    assert.ok(lines.includes("SYMPHONY_RUN_ID=att_env"));
    assert.ok(!lines.join("\n").includes("canary"));
    const reads = await readFile(join(home, "reads"), "utf8");
    assert.equal(reads, "x\n", "the profile is read once for a server, not for each program");
  });

  test("A-14: a missing command is codex_not_found", async () => {
    await using run = launch("no-such-agent-command app-server");
    const error = await run.ended;
    assert.equal(error.code, "codex_not_found");
    assert.ok(error.hint);
  });

  test("A-14: output before the exit is delivered before the exit is reported", async () => {
    await using run = launch("head -c 300000 /dev/zero | tr '\\0' x; echo; printf last; exit 0");
    const { ended, lines } = run;
    await ended.then(() => lines.push("END"));
    assert.deepEqual(
      lines.slice(-3).map((line) => line.length),
      [300_000, 4, 3],
    );
  });

  test("A-10: stderr goes to the log, line by line, truncated at 1,000 bytes, without control bytes", async () => {
    await using run = launch(
      "printf '\\033[31mred\\033[0m\\nlong' >&2; head -c 5000 /dev/zero | tr '\\0' x >&2; exit 1",
    );
    const { ended, lines, logs } = run;
    await ended;
    const own = logs.slice(-2);
    assert.deepEqual(lines, []);
    assert.equal(own[0], "red");
    assert.equal(own[1]?.length, 1000);
  });

  test("FAULT-7: stopping leaves no process of a tree that ignores SIGTERM, left its group, or forked twice", async () => {
    await using run = launch(evilTree);
    const { agent, runId, line, ended } = run;
    await line((text) => text === "ready");
    assert.ok((await survivors(runId)) >= 4);
    await Promise.all([agent.stop(), agent.stop()]);
    assert.equal(await survivors(runId), 0);
    assert.deepEqual((await ended).details, { status: null, signal: "SIGKILL" });
    await agent.stop();
  });

  test("FAULT-7: an agent that exits by itself leaves no orphan either", async () => {
    await using run = launch("setsid sleep 300 & sleep 300 & sleep 0.2; exit 0");
    const { agent, runId, ended } = run;
    assert.equal((await ended).details["status"], 0);
    await agent.stop();
    assert.equal(await survivors(runId), 0);
  });

  test("an agent that exits when its stdin is closed is not killed", async () => {
    await using run = launch("echo ready; cat >/dev/null; exit 7", 5_000);
    const { agent, ended, line } = run;
    await line((text) => text === "ready");
    await agent.stop();
    const { status, signal } = (await ended).details;
    assert.ok(status === 7 || signal === "SIGTERM");
  });

  test("FAULT-3: an agent that closed its stdout is stopped although it still runs", async () => {
    await using run = launch("exec >&-; trap '' TERM; while true; do sleep 300; done", 100);
    const { runId, ended } = run;
    assert.equal((await ended).code, "port_exit");
    assert.equal(await survivors(runId), 0);
  });

  test("FAULT-3: writing to a stdin that is closed or never read has no effect", async () => {
    await using run = launch("exec <&-; echo ready; sleep 0.3; exit 5");
    const { agent, ended, line } = run;
    await line((text) => text === "ready");
    for (let count = 0; count < 100; count++) agent.write(`${"x".repeat(10_000)}\n`);
    assert.equal((await ended).details["status"], 5);
    agent.write("after\n");
  });

  test("FAULT-5, THREAT-17: a line of 50 MB is line_too_long at once, in bounded memory, and the tree is killed", async () => {
    const before = process.memoryUsage().rss;
    await using run = launch(
      "trap '' TERM; head -c 50000000 /dev/zero | tr '\\0' x; while true; do sleep 300; done",
    );
    const { agent, runId, ended } = run;
    assert.equal((await ended).code, "line_too_long");
    assert.ok(process.memoryUsage().rss - before < 60 * 1024 * 1024);
    await agent.stop();
    assert.equal(await survivors(runId), 0);
  });

  test("a shell that cannot be started is port_exit, not a crash", async () => {
    const ended = Promise.withResolvers<SymphonyError>();
    const agent = new AgentProcess({
      line: "true",
      cwd: join(dir, "nowhere"),
      env: {},
      runId: "att_none",
      onLine: () => {},
      onStderr: () => {},
      onEnd: ended.resolve,
    });
    assert.equal((await ended.promise).code, "port_exit");
    assert.equal(agent.pid, null);
    await agent.stop();
  });
});

describe("sweeping orphans when a server starts", () => {
  test("FAULT-7, FAULT-20: orphans of the selected attempts are killed, those of another server are not", async () => {
    const [ours, theirs] = [`ours_${process.pid}`, `theirs_${process.pid}`];
    const orphan = (runId: string) =>
      spawn("bash", ["-c", 'trap "" TERM; sleep 300'], {
        detached: true,
        stdio: "ignore",
        env: { PATH: process.env["PATH"], SYMPHONY_RUN_ID: runId },
      });
    const [mine, other] = [orphan(ours), orphan(theirs)];
    await Promise.all([once(mine, "spawn"), once(other, "spawn")]);
    assert.ok((await sweepRuns((runId) => runId === ours)) >= 1);
    assert.equal(await survivors(ours), 0);
    assert.ok((await survivors(theirs)) >= 1);
    await sweepRuns((runId) => runId === theirs);
  });

  test("it never kills the process that sweeps, although that has a cookie itself", async () => {
    const file = join(dir, "sweeper.ts");
    const source = new URL("../../../src/core/process/program.ts", import.meta.url).href;
    await writeFile(
      file,
      `import { sweepRuns } from ${JSON.stringify(source)};
       import { writeFileSync } from "node:fs";
       writeFileSync("swept", String(await sweepRuns((id) => id === "nested_${process.pid}")));`,
    );
    const env = { PATH: process.env["PATH"], SYMPHONY_RUN_ID: `nested_${process.pid}` };
    const [code] = await once(spawn(process.execPath, [file], { cwd: dir, env }), "exit");
    assert.equal(code, 0);
    assert.equal(await readFile(join(dir, "swept"), "utf8"), "0");
  });
});
