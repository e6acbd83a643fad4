import assert from "node:assert/strict";
import { test } from "node:test";
import type { DispatchPause } from "../../../src/core/model/gates.ts";
import { dispatchGates } from "../../../src/core/orchestrator/explain.ts";
import { planOf } from "../../../src/core/orchestrator/records.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

const hourMs = 3_600_000;
const pause: DispatchPause = { reason: "release day", by: "cli", sinceWall: 0 };
const settings = config({ polling: { intervalMs: hourMs }, agent: { maxConcurrentAgents: 1 } });

const starts = (world: Scheduler) => world.calls.filter((call) => call.startsWith("start"));

function gateOf(world: Scheduler, name: string, identifier: string) {
  const { state } = world.orchestrator;
  const gates = dispatchGates(issue(identifier), state, world.config);
  return gates.find(({ gate }) => gate === name);
}

test("S9: while dispatch is paused nothing starts, running attempts continue, and after it the queue starts at once", async () => {
  const world = await new Scheduler([issue("A-1"), issue("A-2")], settings).begin();
  assert.deepEqual(world.live, ["A-1"]);
  await world.orchestrator.apply({ type: "dispatch.paused", pause });
  const shut = gateOf(world, "paused", "A-2");
  assert.equal(shut?.pass, false);
  assert.match(shut?.detail ?? "", /paused \(cli, 1970-01-01T00:00:00.000Z\): release day/);
  assert.deepEqual([world.live, gateOf(world, "paused", "A-1")?.pass], [["A-1"], true]);
  world.set(issue("A-1", { state: "Done" }));
  await world.run("A-1").end();
  await world.advance(2_000);
  await world.advance(hourMs);
  assert.deepEqual([world.live, starts(world).length], [[], 1]);
  world.calls.length = 0;
  await world.orchestrator.apply({ type: "dispatch.resumed", by: "api" });
  await world.advance(0);
  assert.deepEqual(world.live, ["A-2"]);
  assert.equal(world.calls.includes("candidates"), false, "no poll is needed");
  assert.equal(gateOf(world, "paused", "A-3")?.pass, true);
  const told = world.eventTypes().filter((type) => type.startsWith("dispatch."));
  assert.deepEqual(told, ["dispatch.paused", "dispatch.resumed"]);
});

test("a retry waits for the end of a pause, keeps its number, and then runs at once", async () => {
  const world = await new Scheduler([issue("A-1")], settings).begin();
  await world.run("A-1").end({ kind: "failed", code: "turn_failed", message: "boom" });
  await world.orchestrator.apply({ type: "dispatch.paused", pause });
  await world.advance(20_000);
  const row = world.orchestrator.state.issues.of("retrying").get("id-A-1");
  assert.deepEqual([row?.waits?.gate, row?.attempt], ["paused", 1]);
  assert.match(row?.error ?? "", /release day/);
  assert.equal(world.records.get("id-A-1")?.retry?.waits?.gate, "paused");
  await world.orchestrator.apply({ type: "dispatch.resumed", by: "api" });
  await world.advance(0);
  await world.advance(0);
  assert.deepEqual(starts(world), ["start A-1 first", "start A-1 1"]);
});

test("a second pause has the new reason and the first time; a resume without a pause changes nothing", async () => {
  const world = await new Scheduler([], settings).begin();
  const before = world.orchestrator.state;
  await world.orchestrator.apply({ type: "dispatch.resumed", by: "api" });
  assert.equal(world.orchestrator.state, before);
  await world.orchestrator.apply({ type: "dispatch.paused", pause });
  const second = { reason: null, by: "api", sinceWall: 5 };
  await world.orchestrator.apply({ type: "dispatch.paused", pause: second });
  assert.deepEqual(world.orchestrator.state.paused, { reason: null, by: "api", sinceWall: 0 });
});

/** The world's clock begins on Monday, 2026-11-23 at 10:00Z. */
const hours = (from: number, to: number) =>
  config({
    polling: { intervalMs: 24 * hourMs },
    agent: {
      maxConcurrentAgents: 1,
      activeHours: { days: [1], fromMinute: from * 60, toMinute: to * 60, tz: "Etc/UTC" },
    },
  });

test("S9: outside of the active hours nothing starts; a timer starts the queue when they open", async () => {
  const world = await new Scheduler([issue("A-1"), issue("A-2")], hours(12, 13)).begin();
  assert.deepEqual(world.live, []);
  const shut = gateOf(world, "active_hours", "A-1");
  assert.equal(shut?.pass, false);
  assert.match(shut?.detail ?? "", /Mon 12:00 to 13:00 Etc\/UTC\), opens at 2026-11-23T12:00:00/);
  await world.advance(2 * hourMs - 1);
  assert.deepEqual(world.live, []);
  await world.advance(1);
  assert.deepEqual(world.live, ["A-1"]);
  assert.equal(world.calls.filter((call) => call === "candidates").length, 1, "no poll is needed");
  await world.advance(hourMs);
  assert.deepEqual(world.live, ["A-1"], "a running attempt is not stopped");
  world.set(issue("A-1", { state: "Done" }));
  await world.run("A-1").end();
  await world.advance(2_000);
  assert.deepEqual(world.live, []);
  const told = world.eventTypes().filter((type) => type.startsWith("hours."));
  assert.deepEqual(told, ["hours.closed", "hours.opened", "hours.closed"]);
});

test("active hours that a reload adds or removes apply at once", async () => {
  const world = await new Scheduler([issue("A-1")], hours(12, 13)).begin();
  world.config = config({ polling: { intervalMs: 24 * hourMs } });
  await world.orchestrator.apply({ type: "config.changed" });
  await world.advance(0);
  assert.deepEqual(world.live, ["A-1"]);
  world.config = hours(8, 9);
  await world.orchestrator.apply({ type: "config.changed" });
  assert.equal(gateOf(world, "active_hours", "A-9")?.pass, false);
});

test("a dry run says that dispatch is paused, or when the active hours open", () => {
  const wall = Date.parse("2026-11-23T10:00:00Z");
  const known = { records: new Map(), wall };
  const [paused] = planOf([issue("A-1")], settings, { ...known, paused: pause });
  assert.deepEqual([paused?.runs, /release day/.test(paused?.why ?? "")], [false, true]);
  const [closed] = planOf([issue("A-1")], hours(12, 13), known);
  assert.match(closed?.why ?? "", /opens at 2026-11-23T12:00/);
});

test("S9: while the host is short nothing starts, running attempts continue, and then the queue starts at once", async () => {
  const world = await new Scheduler([issue("A-1"), issue("A-2")], settings).begin();
  const trouble = { detail: "the host is short: 1 MiB free", sinceWall: 0 };
  await world.orchestrator.apply({ type: "host.changed", trouble });
  assert.equal(gateOf(world, "host", "A-2")?.detail, trouble.detail);
  assert.deepEqual(world.live, ["A-1"]);
  world.set(issue("A-1", { state: "Done" }));
  await world.run("A-1").end();
  await world.advance(2_000);
  assert.deepEqual(world.live, []);
  await world.orchestrator.apply({ type: "host.changed", trouble: null });
  await world.advance(0);
  assert.deepEqual(world.live, ["A-2"]);
  const told = world.eventTypes().filter((type) => type.startsWith("host."));
  assert.deepEqual(told, ["host.short", "host.recovered"]);
  const known = { records: new Map(), wall: 0, host: trouble };
  assert.equal(planOf([issue("A-1")], settings, known)[0]?.why, trouble.detail);
});
