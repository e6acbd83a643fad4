import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { runCookie } from "../../../src/core/process/environment.ts";
import { liveProcesses, scansMade } from "../../../src/core/process/table.ts";
import { ProcessTree } from "../../../src/core/process/tree.ts";

/** Thirty that each read for themselves need sixty at least: two readings in a row must find nothing. */
const mostReadings = 10;

test("thirty agents that are stopped together read /proc ten times at most", {
  skip: process.platform !== "linux",
}, async () => {
  const scans = await scansOf(30);
  assert.ok(scans >= 2 && scans <= mostReadings, `${scans} readings`);
});

async function scansOf(count: number): Promise<number> {
  const trees = await Promise.all(Array.from({ length: count }, (_, n) => started(n)));
  const before = scansMade().scans;
  await Promise.all(trees.map(({ tree }) => tree.end()));
  const scans = scansMade().scans - before;
  const marks = new Set(trees.map(({ runId }) => runId));
  const left = (await liveProcesses()).filter(({ runId }) => runId !== null && marks.has(runId));
  assert.deepEqual(left, []);
  return scans;
}

/** An agent with a process that leaves its group. */
async function started(n: number) {
  const runId = `scans-${process.pid}/${n}`;
  const child = spawn("sh", ["-c", "setsid sleep 600 & echo ready; wait"], {
    detached: true,
    stdio: ["ignore", "pipe", "ignore"],
    env: { PATH: process.env["PATH"], [runCookie]: runId },
  });
  await once(child.stdout, "data");
  return { tree: new ProcessTree(child, runId), runId };
}

test("a process that runs another program is read again: its marks are those of the program that runs", {
  skip: process.platform !== "linux",
}, async () => {
  const mark = `scans-${process.pid}/after`;
  const line = `echo ready; read line; exec env ${runCookie}=${mark} sleep 600`;
  const child = spawn("sh", ["-c", line], {
    stdio: ["pipe", "pipe", "ignore"],
    env: { PATH: process.env["PATH"] },
  });
  await once(child.stdout, "data");
  const runIdNow = async () =>
    (await liveProcesses()).find(({ pid }) => pid === child.pid)?.runId ?? null;
  assert.equal(await runIdNow(), null);
  const { environments } = scansMade();
  const known = await liveProcesses();
  const readAgain = scansMade().environments - environments;
  assert.ok(readAgain < known.length / 2, `${readAgain} of ${known.length} were read again`);
  child.stdin.write("now\n");
  while ((await runIdNow()) !== mark) assert.equal(child.exitCode, null);
  child.kill("SIGKILL");
  await once(child, "exit");
});
