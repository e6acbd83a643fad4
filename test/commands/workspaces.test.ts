import assert from "node:assert/strict";
import { existsSync, mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { config, issue } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { emptyDir, symphony } from "../support/worlds/run-symphony.ts";
import { serve } from "../support/worlds/server.ts";

test("workspaces lists and removes; a refusal says what to do", async () => {
  using dir = emptyDir();
  const root = join(realpathSync(dir.path), "root");
  for (const key of [".symphony-root", "ENG-1", "ENG-2"]) {
    mkdirSync(join(root, key), { recursive: true });
  }
  writeFileSync(join(root, "ENG-2", "work"), "x".repeat(10_000));
  const settings = config({ workspace: { root } });
  await using world = await createWorld({ issues: [issue("ENG-1")], config: settings });
  await using server = await serve(world);
  const env = { SYMPHONY_URL: `http://127.0.0.1:${server.listening.port}` };
  const run = (...args: string[]) => symphony(["workspaces", ...args], { env });
  const { stdout, stderr } = await run("list");
  assert.match(stdout, /^KEY +ISSUE +STATUS +DISK +USED +BRANCH\n/);
  assert.match(stdout, /\nENG-1 +ENG-1 +in use +[\d.]+ K?i?B +.+ ago +-\n/);
  assert.match(stderr, /^2 in .*root, [\d.]+ KiB\n$/);
  assert.equal(JSON.parse((await run("list", "--json")).stdout).total, 2);
  const inUse = await run("remove", "ENG-1", "--force");
  assert.deepEqual([inUse.code, inUse.stdout], [7, ""]);
  assert.match(inUse.stderr, /agent is running in.*\n {2}next: symphony abort ENG-1\n/);
  const full = await run("remove", "ENG-2");
  assert.equal(full.code, 7);
  assert.match(full.stderr, /nowhere else.*\n {2}next: symphony workspaces remove ENG-2 --force\n/);
  const slip = await run("remove", "ENG2", "--force");
  assert.equal(slip.code, 3);
  assert.match(slip.stderr, /did you mean ENG-\d\?/);
  const done = await run("remove", "ENG-2", "--force", "--json");
  assert.deepEqual([done.code, JSON.parse(done.stdout)], [0, { key: "ENG-2", removed: true }]);
  assert.ok(!existsSync(join(root, "ENG-2")) && existsSync(join(root, "ENG-1")));
  assert.equal((await run("list", "--limit", "x")).code, 2);
});
