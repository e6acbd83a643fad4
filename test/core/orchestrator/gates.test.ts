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
  const gates = dispatchGates(issue(identifier), state, world);
  return gates.find(({ gate }) => gate === name);
}

test("while dispatch is paused nothing starts, running attempts continue, and after it the queue starts at once", async () => {
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

test("outside of the active hours nothing starts; a timer starts the queue when they open", async () => {
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

test("an answer that was under way while the machine was suspended past the end of the active hours starts nothing", async () => {
  const world = new Scheduler([issue("A-1")], hours(8, 11));
  const asked = Promise.withResolvers<void>();
  world.listGate = asked.promise;
  await world.begin();
  world.clock.jump(2 * hourMs);
  asked.resolve();
  await world.advance(0);
  assert.deepEqual(world.live, []);
  assert.equal(gateOf(world, "active_hours", "A-1")?.pass, false);
  const told = world.eventTypes().filter((type) => type.startsWith("hours."));
  assert.deepEqual(told, ["hours.closed"]);
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

test("while the host is short nothing starts, running attempts continue, and then the queue starts at once", async () => {
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

test("each fault that keeps issues from starting is a closed gate: the file, the tracker, the stop", async () => {
  const world = await new Scheduler([issue("A-1"), issue("A-2")], settings).begin();
  const shut = (identifier: string) =>
    dispatchGates(issue(identifier), world.orchestrator.state, world)
      .filter(({ pass, gate }) => !pass && gate !== "free_slot")
      .map(({ gate, detail, opens }) => [gate, detail, opens]);
  assert.deepEqual(shut("A-2"), []);
  world.problem = { code: "invalid_config", message: "agent.max_turns must be greater than 0" };
  const opens = "a workflow file without faults: symphony config check";
  assert.deepEqual(shut("A-2"), [["workflow", world.problem.message, opens]]);
  assert.deepEqual(shut("A-1"), [["not_claimed", "running", "the end of its attempt"]]);
  world.problem = null;
  world.readFails = "down";
  await world.advance(hourMs);
  assert.deepEqual(shut("A-2"), [
    ["tracker", "its last read failed: down", "the next poll that reads it"],
  ]);
  world.readFails = null;
  await world.advance(hourMs);
  assert.deepEqual(shut("A-2"), []);
  world.orchestrator.post({ type: "drain.requested", stopAttempts: false });
  await world.advance(0);
  assert.deepEqual(shut("A-2"), [["server", "the server is stopping", "its next start"]]);
});

test("before the first read of the tracker nothing starts, and an issue that is completed has a gate that says so", async () => {
  const world = new Scheduler([issue("A-1"), issue("A-2")], settings);
  assert.equal(gateOf(world, "tracker", "A-1")?.detail, "it was not read yet");
  await world.begin();
  assert.equal(gateOf(world, "tracker", "A-1")?.pass, true);
  await world.orchestrator.apply({
    ...{ type: "operator.transitioned", issueId: "id-A-2", to: "completed", reason: null },
  });
  await world.advance(0);
  const gate = gateOf(world, "not_completed", "A-2");
  assert.equal(gate?.detail, "an operator completed it");
  assert.match(gate?.opens ?? "", /^symphony transition A-2 queued, or another state/);
});

// S8 is a row of the cases of scheduler and configuration: polls that use up the hour's budget.
test("S8: explain says that polls are slower, and why", async () => {
  const world = new Scheduler([issue("A-1"), issue("A-2")], settings);
  assert.equal(gateOf(world, "polls", "A-2"), undefined);
  world.pace = { intervalMs: 120_000, reason: "the budget runs out" };
  await world.begin();
  assert.deepEqual(gateOf(world, "polls", "A-2"), {
    ...{ gate: "polls", pass: true, detail: "every 120 s: the budget runs out", opens: null },
  });
});
