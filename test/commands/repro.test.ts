import assert from "node:assert/strict";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { config, issue } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { emptyDir, symphony } from "../support/worlds/run-symphony.ts";
import { settled } from "../support/worlds/scheduler.ts";
import { serve } from "../support/worlds/server.ts";

/** Two issues and one slot: ENG-1 runs and is then held, ENG-2 waits for it. */
async function heldWorld() {
  const issues = [issue("ENG-1", { priority: 1 }), issue("ENG-2", { priority: 2 })];
  const settings = config({ agent: { maxConcurrentAgents: 1, stallTimeoutMs: 0 } });
  const world = await createWorld({ issues, config: settings });
  await world.scheduler.advance(5_000);
  const early = new Date(world.scheduler.clock.wall()).toISOString();
  await world.scheduler.advance(60_000);
  const abort = world.core.orchestrator.abort("ENG-1", "not now");
  await settled();
  await world.scheduler.run("ENG-1").end({ kind: "stopped" });
  await abort;
  await world.scheduler.advance(1_000);
  return { world, early };
}

test("state, explain and config get --at answer as of then", async () => {
  const { world, early } = await heldWorld();
  await using _ = world;
  await using server = await serve(world);
  const env = { SYMPHONY_URL: `http://127.0.0.1:${server.listening.port}` };
  const state = await symphony(["state", "--at", early], { env });
  assert.equal(state.code, 0, state.stderr);
  assert.match(
    state.stdout,
    /^as of 2026-11-23T10:00:05\.000Z, after event \d+\n1 queued, 1 running/,
  );
  const explain = await symphony(["explain", "ENG-2", "--at", early, "--json"], { env });
  assert.equal(JSON.parse(explain.stdout).status, "queued", explain.stderr);
  assert.equal(
    JSON.parse((await symphony(["explain", "ENG-2", "--json"], { env })).stdout).status,
    "running",
  );
  const setting = await symphony(["config", "get", "--json", "--at", early], { env });
  assert.equal(JSON.parse(setting.stdout).polling.intervalMs, 30_000, setting.stderr);
  const before = await symphony(["state", "--at", "2026-01-01"], { env });
  assert.equal(before.code, 3);
  assert.match(before.stderr, /does not reach back that far: it begins at 2026-11-23T10:00/);
  const watched = await symphony(["state", "--watch", "--at", early], { env });
  assert.equal(watched.code, 2);
});

test("repro writes one private file; replay decides again: 0 as recorded, 1 with the first difference", async () => {
  const { world } = await heldWorld();
  await using _ = world;
  await using server = await serve(world);
  using dir = emptyDir();
  const env = { SYMPHONY_URL: `http://127.0.0.1:${server.listening.port}` };
  const file = join(dir.path, "ENG-1.json");
  const made = await symphony(["repro", "ENG-1", "--out", file], { env });
  assert.equal(made.code, 0, made.stderr);
  assert.match(made.stderr, /symphony replay .* decides again/);
  assert.equal(statSync(file).mode & 0o077, 0, "no other user can read it");
  const same = await symphony(["replay", file]);
  assert.equal(same.code, 0, same.stderr);
  assert.match(same.stdout, /\d+ decisions about ENG-1: as recorded by 1\.2\.3\n$/);
  assert.match(same.stdout, /issues\.verified .*startAttempt att_/);
  const repro = JSON.parse(readFileSync(file, "utf8"));
  const decisions = repro.parts[0].decisions;
  const stopped = decisions.find(({ words }: { words: string[] }) =>
    words.some((word) => word.startsWith("stopAttempt")),
  );
  stopped.mark = "AAAA";
  stopped.words = ["steerAttempt"];
  writeFileSync(file, JSON.stringify(repro));
  const other = await symphony(["replay", file]);
  assert.equal(other.code, 1);
  assert.match(
    other.stdout,
    /decision \d+ at 2026-\S+ \(operator\.aborted\) differs\n +recorded: steerAttempt\n +now: +.*stopAttempt/,
  );
  const json = JSON.parse((await symphony(["replay", file, "--json"])).stdout);
  assert.deepEqual([json.same, json.first.recorded.number], [false, stopped.number]);
  writeFileSync(file, "{}");
  const none = await symphony(["replay", file]);
  assert.match(none.stderr, /is not a file of symphony repro/);
  assert.equal(none.code, 2);
  const missing = await symphony(["replay", `${file}.gone`]);
  assert.deepEqual([missing.code, /next: symphony repro ISSUE/.test(missing.stderr)], [3, true]);
  const unknown = await symphony(["repro", "ENG-9"], { env });
  assert.equal(unknown.code, 3);
});

test("backtest reads the record where it is, and lists what another workflow file decides", async () => {
  const { world } = await heldWorld();
  await using _ = world;
  await world.core.recorder.settled();
  using dir = emptyDir();
  const workflow = join(dir.path, "NEW.md");
  const written = (slots: number) =>
    writeFileSync(
      workflow,
      `---\ntracker: {kind: local, active_states: [Todo, In Progress]}\nagent: {max_concurrent_agents: ${slots}}\ncodex: {stall_timeout_ms: 0}\n---\nWork\n`,
    );
  const run = ["backtest", "--workflow", workflow, "--since", "2026-11-23"];
  const place = ["--data-dir", world.dataDir];
  written(1);
  const same = await symphony([...run, ...place]);
  assert.equal(same.code, 0, same.stderr);
  assert.match(same.stdout, /\d+ decisions from 2026-11-23T10:00\S+ to \S+\nnone of them differs/);
  written(2);
  const both = await symphony([...run, ...place]);
  assert.match(
    both.stdout,
    /first difference \(exact\): decision \d+ at 2026-\S+, candidates\.fetched\n +recorded: verifyIssues id-ENG-1\n +now: +verifyIssues id-ENG-1,id-ENG-2\n/,
  );
  assert.match(both.stdout, /ENG-2 +start \* +2026-11-23T10:01\S+ +2026-11-23T10:00/);
  const json = JSON.parse((await symphony([...run, ...place, "--json"])).stdout);
  assert.equal(json.differences[0].issue_identifier, "ENG-2");
  const nowhere = await symphony([...run, "--data-dir", dir.path]);
  assert.deepEqual([nowhere.code, /there is no record/.test(nowhere.stderr)], [3, true]);
});
