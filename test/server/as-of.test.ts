import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { config, issue } from "../support/makers/issue.ts";
import { createWorld, type World } from "../support/worlds/core.ts";
import { settled } from "../support/worlds/scheduler.ts";
import { serve, type TestServer } from "../support/worlds/server.ts";

// Issue 11, item 5: `?at=` on the routes of state, explain and the configuration.

async function worldWithPast() {
  const issues = [issue("ENG-1"), issue("ENG-2")];
  const world = await createWorld({
    issues,
    config: config({ agent: { maxConcurrentAgents: 1 } }),
  });
  await world.scheduler.advance(5_000);
  const { core, scheduler } = world;
  scheduler.warnings = ["agent.max_turn is not a known key"];
  await scheduler.advance(30_000);
  const early = { seq: core.bus.lastSeq, at: new Date(scheduler.clock.wall()).toISOString() };
  await scheduler.advance(1_000);
  world.config = config({ polling: { intervalMs: 60_000 } });
  scheduler.config = world.config;
  scheduler.warnings = [];
  scheduler.orchestrator.post({ type: "config.changed" });
  await scheduler.advance(60_000);
  const abort = core.orchestrator.abort("ENG-1", "not now");
  await settled();
  await scheduler.run("ENG-1").end({ kind: "stopped" });
  await abort;
  await scheduler.advance(1_000);
  return { world, early };
}

async function stateOf(server: TestServer, query = "") {
  const response = await server.ask(`/api/v1/state${query}`);
  assert.equal(response.status, 200, response.text);
  return api.system.state.reply.parse(response.json());
}

test("state?at= shows what was queued and running then, by event and by time", async () => {
  const { world, early } = await worldWithPast();
  await using _: World = world;
  await using server = await serve(world);
  const now = await stateOf(server);
  assert.deepEqual([now.counts.held, now.counts.running, now.counts.queued], [1, 1, 0]);
  for (const at of [String(early.seq), early.at]) {
    const then = await stateOf(server, `?at=${at}`);
    assert.deepEqual([then.counts.held, then.counts.running, then.counts.queued], [0, 1, 1]);
    assert.equal(then.running[0]?.issue_identifier, "ENG-1");
    assert.equal(then.polling.interval_ms, 30_000, "the configuration of then");
    assert.ok(then.seq <= early.seq);
  }
  const { warnings } = await stateOf(server, `?at=${early.at}`);
  assert.deepEqual(warnings, ["agent.max_turn is not a known key"], "the warnings of then");
  const again = await stateOf(server, `?at=${world.core.bus.lastSeq}`);
  assert.deepEqual(again.warnings, []);
  assert.deepEqual(again.counts, now.counts, "the last event is now");
});

test("an issue's detail ?at= explains it as it was, without later events", async () => {
  const { world, early } = await worldWithPast();
  await using _: World = world;
  await using server = await serve(world);
  const detail = async (query: string) =>
    api.issues.detail.reply.parse((await server.ask(`/api/v1/ENG-1${query}`)).json());
  const then = await detail(`?at=${early.seq}`);
  assert.equal(then.status, "running");
  assert.ok(then.recent_events.length > 0);
  assert.ok(
    then.recent_events.every(({ seq }) => seq <= early.seq),
    "no later event",
  );
  assert.equal((await detail("")).status, "held");
  const waiting = await server.ask(`/api/v1/ENG-2?at=${early.at}`);
  const slots = waiting.json().explain.find(({ pass }: { pass: boolean }) => !pass);
  assert.match(slots.gate, /slot/);
  const unknown = await server.ask(`/api/v1/ENG-99?at=${early.seq}`);
  assert.deepEqual([unknown.status, unknown.json().error.code], [404, "issue_not_found"]);
});

test("config?at= is the configuration that was in force", async () => {
  const { world, early } = await worldWithPast();
  await using _: World = world;
  await using server = await serve(world);
  const response = await server.ask(`/api/v1/config?at=${early.at}`);
  assert.equal(response.json().config.polling.intervalMs, 30_000);
});

test("a moment that is not recorded, not yet there or no moment is refused", async () => {
  const { world } = await worldWithPast();
  await using _: World = world;
  await using server = await serve(world);
  const codeOf = async (at: string) =>
    (await server.ask(`/api/v1/state?at=${encodeURIComponent(at)}`)).json().error.code;
  for (const at of ["2001-01-01T00:00:00Z", "9999999", "2100-01-01T00:00:00Z"]) {
    assert.equal(await codeOf(at), "not_recorded", at);
  }
  for (const at of ["0", " ", "-1", "yesterday"]) {
    assert.equal(await codeOf(at), "invalid_request", at);
  }
});

test("a record that cannot be written is said in the state and counted, and nothing stops", async (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), "damaged-"));
  t.after(() => rmSync(dataDir, { recursive: true }));
  writeFileSync(join(dataDir, "record.db"), "this is no database ".repeat(500));
  await using world = await createWorld({ dataDir, issues: [issue("ENG-1")] });
  await world.scheduler.advance(1_000);
  await world.core.recorder.settled();
  await using server = await serve(world);
  const state = await stateOf(server);
  assert.equal(state.counts.running, 1, "it is worked on all the same");
  assert.match(state.unrecorded?.reason ?? "", /record\.db/);
  assert.ok((state.unrecorded?.decisions ?? 0) > 0);
  const metrics = await server.ask("/metrics");
  assert.match(metrics.text, /^symphony_unrecorded_decisions [1-9]/m);
});
