import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryDir } from "../support/makers/storage.ts";
import { Served, symphony } from "../support/worlds/symphony.ts";

async function project(t: TestContext) {
  const root = temporaryDir(t);
  const workflowPath = join(root, "WORKFLOW.md");
  await writeFile(
    workflowPath,
    "---\ntracker: { kind: local }\nagent: { kind: command }\ncommand: { line: cat }\n---\nhi\n",
  );
  return { cwd: root, env: { HOME: root }, dataDir: join(root, ".symphony"), workflowPath };
}

test("pause and resume without a server are on disk, in the audit log, and in force at the next start", async (t) => {
  const place = await project(t);
  const run = (...args: string[]) => symphony(place, ...args);
  const never = await run("resume");
  assert.equal(never.code, 0, never.stderr);
  assert.match(never.stderr, /No server runs here; .*\.symphony\nDispatch was not paused\n/);
  const first = await run("pause", "--reason", "release day", "--json");
  assert.equal(first.code, 0, first.stderr);
  const { since, ...said } = JSON.parse(first.stdout);
  assert.deepEqual(said, { paused: true, reason: "release day", by: "cli" });
  const again = await run("pause", "--reason", "still");
  assert.match(again.stderr, /Dispatch is paused: still\. Running agents continue/);
  assert.equal((await run("pause", "--reason", " ")).code, 2);
  assert.match((await run("serve", "--dry-run")).stdout, /nothing would run/);
  {
    await using server = await Served.start(place);
    const { paused } = await server.client.system.state({});
    assert.deepEqual(
      paused.map(({ gate, reason }) => [
        gate,
        /dispatch is paused \(cli, .*\): still$/.test(reason),
      ]),
      [["paused", true]],
    );
    assert.ok(paused[0]?.reason.includes(since), "a second pause keeps the time of the first");
    const audit = await run("audit", "--json");
    const actions = JSON.parse(audit.stdout).entries.map((one: { action: string }) => one.action);
    assert.equal(actions.filter((one: string) => one === "system.pause").length, 2);
    assert.match((await run("audit", "verify")).stdout, /none missing or out of order/);
  }
  const ended = await run("resume", "--json");
  assert.deepEqual(JSON.parse(ended.stdout), { paused: false, was_paused: true, since });
  await using server = await Served.start(place);
  assert.deepEqual((await server.client.system.state({})).paused, []);
});
