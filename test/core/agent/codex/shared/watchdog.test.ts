import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { test } from "node:test";
import { watchdogArgs } from "../../../../../src/core/agent/codex/shared/watchdog.ts";
import { daemonMark } from "../../../../../src/core/process/environment.ts";
import { killMatching, liveProcesses } from "../../../../../src/core/process/table.ts";
import { eventually } from "../../../../support/worlds/symphony.ts";

/** A watchdog that runs a shell line in place of codex; each of its processes carries the mark. */
async function watched(line: string, limitMs: number) {
  const root = await mkdtemp(join(tmpdir(), "symphony-watchdog-"));
  const mark = `test/${basename(root)}`;
  const heartbeat = join(root, "heartbeat");
  await writeFile(heartbeat, "1\n");
  const marked = `export ${daemonMark}='${mark}'\n${line}`;
  const args = watchdogArgs({ line: marked, heartbeat, mark, limitMs });
  const dog = spawn("bash", args, {
    detached: true,
    stdio: "ignore",
    env: { PATH: "/usr/bin:/bin", HOME: root },
  });
  const ended = once(dog, "exit");
  const living = async () => (await liveProcesses()).filter(({ daemon }) => daemon === mark).length;
  return {
    ...{ dog, ended, living, heartbeat },
    async [Symbol.asyncDispose]() {
      dog.kill("SIGKILL");
      await killMatching(({ daemon }) => daemon === mark, 2_000);
      await rm(root, { recursive: true, force: true });
    },
  };
}

test("silence for the limit ends the agent with all its processes, then the watchdog itself", async () => {
  await using it = await watched("setsid sleep 300 & sleep 300 & wait", 400);
  await eventually("the agent runs", async () => (await it.living()) >= 2);
  await it.ended;
  assert.equal(await it.living(), 0);
});

test("signals of the server keep it alive; when the agent exits, its orphans and the watchdog end", async () => {
  await using it = await watched("setsid sleep 300 & sleep 1", 300);
  let beats = 1;
  const server = setInterval(() => {
    beats += 1;
    void writeFile(it.heartbeat, `${beats}\n`);
  }, 50);
  try {
    await it.ended;
    assert.ok(beats > 10, "it lived for longer than its limit");
    assert.equal(await it.living(), 0);
  } finally {
    clearInterval(server);
  }
});
