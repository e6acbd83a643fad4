import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { macPath } from "../../support/makers/mac-path.ts";
import { temporaryDir } from "../../support/makers/storage.ts";
import { eventually } from "../../support/worlds/symphony.ts";

/*
 * The process table of macOS, on a double of its `ps`: the options of macOS are put into those of procps,
 * which has the same columns, and the platform is that of a Mac.
 */

const darwin = new URL("../../support/fakes/darwin.ts", import.meta.url).pathname;
const table = new URL("../../../src/core/process/table.ts", import.meta.url).href;
const tree = new URL("../../../src/core/process/tree.ts", import.meta.url).href;
const skip = process.platform !== "linux" || !hasPs();

function hasPs(): boolean {
  try {
    accessSync("/usr/bin/ps");
    return true;
  } catch {
    return false;
  }
}

/** What a module prints that runs on such a Mac. */
async function onMac(path: string, source: string): Promise<unknown> {
  const args = ["--import", darwin, "--input-type=module", "--eval", source];
  const { stdout } = await promisify(execFile)(process.execPath, args, {
    env: { ...process.env, PATH: path },
  });
  return JSON.parse(stdout);
}

/** Sleeps in a session of its own, marked as a part of `runId`. */
async function marked(t: TestContext, runId: string, script: string): Promise<number> {
  const child = spawn("sh", ["-c", script], {
    detached: true,
    stdio: ["ignore", "pipe", "ignore"],
    env: { PATH: process.env["PATH"], SYMPHONY_RUN_ID: runId },
  });
  const { pid = 0 } = child;
  t.after(() => {
    try {
      process.kill(-pid, "SIGKILL");
    } catch {
      // The test has ended it.
    }
  });
  await once(child.stdout, "data");
  return pid;
}

test("ps: a process has its parent, its group and its mark, and an argument is no mark", {
  skip,
}, async (t) => {
  const runId = `ps-${process.pid}/1`;
  const pid = await marked(t, runId, "echo ready; sleep 600 & wait");
  const liar = spawn("sh", ["-c", "echo; sleep 600; : $0", `SYMPHONY_RUN_ID=${runId}`], {
    detached: true,
    stdio: ["ignore", "pipe", "ignore"],
    env: { PATH: process.env["PATH"] },
  });
  t.after(() => process.kill(-(liar.pid ?? 0), "SIGKILL"));
  await once(liar.stdout, "data");
  const source = `const { liveProcesses } = await import("${table}");
    console.log(JSON.stringify(await liveProcesses()));`;
  const found = (await onMac(macPath(temporaryDir(t)), source)) as readonly Record<
    string,
    unknown
  >[];
  const ours = found.filter((entry) => entry["runId"] === runId);
  assert.deepEqual(ours.map((entry) => [entry["pid"] === pid, entry["groupId"]]).toSorted(), [
    [false, pid],
    [true, pid],
  ]);
  assert.equal(ours.find((entry) => entry["pid"] === pid)?.["parentPid"], process.pid);
  assert.equal(found.find((entry) => entry["pid"] === liar.pid)?.["runId"], null);
});

test("ps: a run is ended with what left its group, also where the system hides the environment", {
  skip,
}, async (t) => {
  const runId = `ps-${process.pid}/2`;
  const path = macPath(temporaryDir(t), "sleep");
  const pid = await marked(t, runId, "setsid sh -c 'sleep 600 & wait' & echo ready; wait");
  const left = () => groupOf(pid);
  await eventually("the process that left", async () => (await left()).length === 3);
  const source = `const { killRun } = await import("${table}");
    await killRun("${runId}");
    console.log("null");`;
  await onMac(path, source);
  await eventually("none is left", async () => (await left()).length === 0);
});

test("ps: a tree whose leader has exited is ended whole", {
  skip,
}, async (t) => {
  const runId = `ps-${process.pid}/3`;
  const source = `const { spawn } = await import("node:child_process");
    const { once } = await import("node:events");
    const { ProcessTree } = await import("${tree}");
    const child = spawn("sh", ["-c", "sleep 600 & setsid sleep 600 & echo $!"], {
      detached: true, stdio: ["ignore", "pipe", "ignore"],
      env: { PATH: process.env.PATH, SYMPHONY_RUN_ID: "${runId}" },
    });
    const tree = new ProcessTree(child, "${runId}");
    await once(child, "exit");
    await tree.end();
    console.log(JSON.stringify(child.pid));`;
  assert.equal(typeof (await onMac(macPath(temporaryDir(t)), source)), "number");
  await eventually("none is left", async () => (await markedWith(runId)).length === 0);
});

/** The processes of Linux's own table that descend from `pid`, with it. */
async function groupOf(pid: number): Promise<readonly number[]> {
  const { liveProcesses } = await import("../../../src/core/process/table.ts");
  const all = await liveProcesses();
  const members = new Set([pid]);
  for (const entry of all.toSorted((a, b) => a.pid - b.pid))
    if (members.has(entry.parentPid)) members.add(entry.pid);
  return all.filter((entry) => members.has(entry.pid)).map((entry) => entry.pid);
}

async function markedWith(runId: string): Promise<readonly number[]> {
  const { liveProcesses } = await import("../../../src/core/process/table.ts");
  return (await liveProcesses()).filter((entry) => entry.runId === runId).map(({ pid }) => pid);
}
