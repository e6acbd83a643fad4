// S16 of the scheduler's and command line's case file is here too.

import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { issue } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { openReal } from "../support/worlds/real-server.ts";
import { emptyDir, symphony } from "../support/worlds/run-symphony.ts";
import { serve } from "../support/worlds/server.ts";

test("audit lists, filters and verifies; for a log that was changed, verify exits with 1 and names the first bad entry", async () => {
  await using world = await createWorld({ issues: [issue("ENG-1")] });
  await using server = await serve(world);
  const env = { SYMPHONY_URL: `http://127.0.0.1:${server.listening.port}` };
  await symphony(["abort", "ENG-1", "--reason", "wrong\u001b[31m branch"], { env });
  await symphony(["refresh"], { env });
  const page = await symphony(["audit"], { env });
  assert.equal(page.code, 0, page.stderr);
  assert.match(page.stdout, /^SEQ +AT +ACTOR +ACTION +TARGET/);
  assert.match(page.stdout, /1 {2}\S+Z {2}cli +issues\.abort +ENG-1 +ok +reason: wrong.* branch/);
  assert.ok(!page.stdout.includes("\u001b"));
  const json = await symphony(["audit", "--json", "--issue", "eng-1", "--actor", "cli"], { env });
  assert.deepEqual(JSON.parse(json.stdout).total, 1);
  const none = ["audit", "--json", "--action", "issue.held", "--since", "24h", "--until", "1h"];
  assert.equal(JSON.parse((await symphony(none, { env })).stdout).total, 0);
  const one = await symphony(["audit", "--limit", "1"], { env });
  assert.match(one.stderr, /1 more: --offset 1/);

  const verify = ["audit", "verify", "--data-dir", world.dataDir];
  const whole = await symphony(verify);
  assert.deepEqual([whole.code, whole.stderr], [0, "symphony audit prints them\n"]);
  assert.match(
    whole.stdout,
    /2 entries, none missing or out of order; the newest is 2, [0-9a-f]{64}\n$/,
  );
  const db = new DatabaseSync(join(world.dataDir, "history.db"));
  db.exec("UPDATE audit SET outcome = 'denied' WHERE seq = 1");
  db.close();
  const bad = await symphony([...verify, "--json"]);
  assert.equal(bad.code, 1);
  const { ok, fault, first_bad_seq: seq } = JSON.parse(bad.stdout);
  assert.deepEqual([ok, fault, seq], [false, "edited", 1]);
  assert.match((await symphony(verify)).stdout, /first bad entry: 1\n$/);
});

test("audit refuses wrong usage before any request to a server, and suggests the correct command", async () => {
  using nowhere = emptyDir();
  const wrong = [
    ["audit", "--since", "soon"],
    ["audit", "--until", "2026-99-99"],
    ["audit", "verify"],
  ];
  const answers = [];
  for (const args of wrong) {
    const { code, stdout, stderr } = await symphony(args, { cwd: nowhere.path });
    assert.deepEqual([code, stdout], [2, ""], args.join(" "));
    answers.push(stderr);
  }
  assert.match(answers[2] ?? "", /--data-dir/);
});

test("audit verify works without a server", async () => {
  const world = await createWorld();
  const { dataDir } = world;
  await using _ = world;
  world.core.history.audit({
    at: 1,
    actor: "api",
    action: "system.refresh",
    target: null,
    outcome: "ok",
    detail: {},
  });
  assert.equal((await symphony(["audit", "verify", "--data-dir", dataDir])).code, 0);
});

test("S16: with another server named, verify checks that server's log and never the one of this directory", async (t) => {
  await using world = await createWorld({ issues: [issue("ENG-1")] });
  await using server = await serve(world);
  using here = emptyDir();
  writeFileSync(join(here.path, "WORKFLOW.md"), "---\ntracker: { kind: local }\n---\nWork\n");
  const other = await openReal(here.path);
  t.after(() => other.stop());
  const env = { SYMPHONY_URL: `http://127.0.0.1:${server.listening.port}` };
  const run = (...args: string[]) =>
    symphony(["audit", "verify", ...args], { env, cwd: here.path });
  await symphony(["abort", "ENG-1"], { env });
  const own = await run("--json");
  assert.equal(own.code, 0, own.stderr);
  assert.equal(JSON.parse(own.stdout).data_dir, world.dataDir);
  // Its files are elsewhere: no runtime.json of that process is at its path.
  rmSync(join(world.dataDir, "runtime.json"));
  const far = await run();
  assert.deepEqual([far.code, far.stdout], [2, ""]);
  assert.match(far.stderr, /not on this machine\n {2}next: symphony audit verify --data-dir DIR/);
  const asked = await run("--data-dir", other.dataDir, "--json");
  assert.equal(JSON.parse(asked.stdout).data_dir, other.dataDir);
  const dead = await symphony(["audit", "verify", "--url", "http://127.0.0.1:1"], {
    cwd: here.path,
  });
  assert.deepEqual([dead.code, dead.stdout], [5, ""]);
});

test("S16: a log that is not there is not whole", async () => {
  using empty = emptyDir();
  const { code, stdout } = await symphony(["audit", "verify", "--data-dir", empty.path, "--json"]);
  const { ok, fault } = JSON.parse(stdout);
  assert.deepEqual([code, ok, fault], [1, false, "absent"]);
});
