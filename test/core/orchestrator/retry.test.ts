import assert from "node:assert/strict";
import { test } from "node:test";
import { failureDelay } from "../../../src/core/orchestrator/retry.ts";
import { snapshot } from "../../../src/core/orchestrator/snapshot.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

const boom = { kind: "failed", code: "turn_failed", message: "boom" } as const;
const needs = { kind: "approval", prompt: "rm -rf?", options: ["approve"] } as const;

test("O-19, O-20, INV-8: delays are 10, 20, 40 … 300 s, finite for any attempt; a low maximum wins", () => {
  const delays = [1, 2, 3, 4, 5, 6].map((n) => failureDelay(n, 300_000));
  assert.deepEqual(delays, [10_000, 20_000, 40_000, 80_000, 160_000, 300_000]);
  assert.equal(failureDelay(40, 300_000), 300_000);
  assert.equal(failureDelay(2_000, 300_000), 300_000);
  assert.equal(failureDelay(1, 5_000), 5_000);
  assert.equal(failureDelay(2_000, 3e9), 2 ** 31 - 1);
});

test("O-17: after a normal end the issue is checked again after exactly 1 s and starts as retry 1", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.run("A-1").end();
  assert.equal(world.orchestrator.state.issues.of("retrying").get("id-A-1")?.attempt, 1);
  await world.advance(999);
  assert.deepEqual(world.live, []);
  await world.advance(1);
  assert.deepEqual(world.live, ["A-1"]);
  assert.equal(world.run("A-1").order.attempt, 1);
});

test("O-18: failures back off from 10 s; a crash after a continuation is retry 2", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.run("A-1").end(boom);
  const first = world.orchestrator.state.issues.of("retrying").get("id-A-1");
  assert.deepEqual([first?.attempt, first?.error], [1, "worker exited: boom"]);
  await world.advance(9_999);
  assert.deepEqual(world.live, []);
  await world.advance(1);
  await world.run("A-1").end(boom);
  assert.equal(world.orchestrator.state.issues.of("retrying").get("id-A-1")?.attempt, 2);

  const other = await new Scheduler([issue("B-1")]).begin();
  await other.run("B-1").end();
  await other.advance(1_000);
  await other.run("B-1").end(boom);
  const entry = other.orchestrator.state.issues.of("retrying").get("id-B-1");
  assert.deepEqual([entry?.attempt, (entry?.dueAt ?? 0) - other.clock.now()], [2, 20_000]);
});

test("O-15: an agent that cannot be spawned is retried with that error", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.run("A-1").end({ kind: "failed", code: "spawn_failed", message: "EAGAIN" });
  assert.equal(
    world.orchestrator.state.issues.of("retrying").get("id-A-1")?.error,
    "failed to spawn agent",
  );
});

test("agent.max_retries turns a failing issue into failed, and queued starts it again", async () => {
  const settings = config({ agent: { maxRetries: 1 } });
  const world = await new Scheduler([issue("A-1")], settings).begin();
  await world.run("A-1").end(boom);
  await world.advance(10_000);
  await world.run("A-1").end(boom);
  assert.equal(world.orchestrator.state.issues.of("failed").size, 1);
  assert.ok(world.records.get("id-A-1")?.failed);
  await world.advance(60_000);
  assert.deepEqual(world.live, []);
  await world.orchestrator.apply({
    type: "operator.transitioned",
    issueId: "id-A-1",
    to: "queued",
    reason: null,
  });
  await world.advance(0);
  assert.deepEqual(world.live, ["A-1"]);
  assert.equal(world.run("A-1").order.attempt, null);
  assert.equal(world.records.has("id-A-1"), false);
});

test("O-21, INV-7: wall-clock jumps change no due time", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.run("A-1").end(boom);
  world.clock.jump(86_400_000);
  await world.advance(9_999);
  assert.deepEqual(world.live, []);
  world.clock.jump(-2 * 86_400_000);
  await world.advance(1);
  assert.deepEqual(world.live, ["A-1"]);
});

test("O-22: a missing issue is released, a terminal one is cleaned up, an inactive one keeps its workspace", async () => {
  const world = await new Scheduler([issue("A-1"), issue("A-2"), issue("A-3")]).begin();
  for (const name of ["A-1", "A-2", "A-3"]) await world.run(name).end(boom);
  world.issues.delete("id-A-1");
  world.set(issue("A-2", { state: "Done" }));
  world.set(issue("A-3", { state: "Backlog" }));
  await world.advance(10_000);
  assert.equal(world.orchestrator.state.issues.of("retrying").size, 0);
  assert.deepEqual(
    world.calls.filter((call) => call.startsWith("remove")),
    ["remove A-2"],
  );
});

test("after a normal end an inactive issue is completed; a terminal one is cleaned up as well", async () => {
  const world = await new Scheduler([issue("A-1"), issue("A-2")]).begin();
  world.set(issue("A-1", { state: "Human Review" }));
  world.set(issue("A-2", { state: "Done" }));
  await world.run("A-1").end();
  await world.run("A-2").end();
  await world.advance(1_000);
  assert.deepEqual(
    [...world.orchestrator.state.issues.of("completed").keys()],
    ["id-A-1", "id-A-2"],
  );
  const view = snapshot(world.orchestrator.state, world.config, { now: 0, limit: 9 });
  assert.deepEqual([view.counts.queued, view.counts.completed], [0, 2], "not waiting any more");
  assert.deepEqual(
    world.calls.filter((call) => call.startsWith("remove")),
    ["remove A-2"],
  );
});

test("O-23: a retry that is due starts with its number in a slot of its state", async () => {
  const settings = config({
    agent: { maxConcurrentAgents: 2, maxConcurrentAgentsByState: { todo: 1 } },
  });
  const world = await new Scheduler([issue("A-1", { priority: 1 })], settings).begin();
  await world.run("A-1").end(boom);
  await world.advance(10_000);
  await world.run("A-1").end(boom);
  await world.advance(20_000);
  assert.deepEqual(world.live, ["A-1"]);
  assert.equal(world.run("A-1").order.attempt, 2);
  await world.run("A-1").end(boom);
  const entry = world.orchestrator.state.issues.of("retrying").get("id-A-1");
  assert.deepEqual([entry?.attempt, entry?.failures], [3, 3]);
  // Another issue takes the one slot of the state meanwhile.
  world.set(issue("A-2"));
  world.orchestrator.post({ type: "refresh.requested" });
  await world.advance(0);
  await world.advance(40_000);
  assert.deepEqual(world.live, ["A-2"]);
  assert.equal(
    world.orchestrator.state.issues.of("retrying").get("id-A-1")?.error,
    "no available orchestrator slots",
  );
});

test("O-26: the second read right before the launch may differ from the first", async () => {
  const settings = config({ agent: { maxConcurrentAgents: 1 } });
  const cases = [
    [
      "gone: it is released",
      (world: Scheduler) => void world.issues.delete("id-A-1"),
      { retrying: [], live: [], removed: [] },
    ],
    [
      "closed: it is cleaned up",
      (world: Scheduler) => world.set(issue("A-1", { priority: 1, state: "Done" })),
      { retrying: [], live: [], removed: ["remove A-1"] },
    ],
    [
      "unavailable: it is queued again, with its claim",
      (world: Scheduler) => {
        world.readFails = "down";
      },
      { retrying: [["A-1", 3, "retry refresh failed"]], live: [], removed: [] },
    ],
    ["unchanged: it starts", () => {}, { retrying: [], live: ["A-1"], removed: [] }],
  ] as const;
  for (const [name, change, expected] of cases) {
    const issues = [issue("A-1", { priority: 1 }), issue("A-2", { priority: 2 })];
    const world = await new Scheduler(issues, settings).begin();
    await world.run("A-1").end(boom);
    await world.advance(0);
    assert.deepEqual(world.live, ["A-2"]);
    await world.advance(10_000);
    const { state } = world.orchestrator;
    assert.equal(state.issues.of("retrying").get("id-A-1")?.wantsSlot, true, "the first look");
    world.issues.delete("id-A-2");
    change(world);
    await world.run("A-2").end({ kind: "needs", needs, code: "approval_required" });
    await world.advance(0);
    const retries = [...world.orchestrator.state.issues.of("retrying").values()];
    assert.deepEqual(
      {
        retrying: retries.map((row) => [row.issue.identifier, row.attempt, row.error]),
        live: world.live,
        removed: world.calls.filter((call) => call.startsWith("remove")),
      },
      expected,
      name,
    );
  }
});

test("O-24: without a slot the retry is queued again with the failure backoff", async () => {
  const world = await new Scheduler(
    [issue("A-1", { priority: 1 }), issue("A-2", { priority: 2 })],
    config({ agent: { maxConcurrentAgents: 1 } }),
  ).begin();
  await world.run("A-1").end();
  await world.advance(0);
  world.orchestrator.post({ type: "refresh.requested" });
  await world.advance(0);
  assert.deepEqual(world.live, ["A-2"]);
  await world.advance(1_000);
  const entry = world.orchestrator.state.issues.of("retrying").get("id-A-1");
  assert.deepEqual(
    [entry?.attempt, entry?.error, (entry?.dueAt ?? 0) - world.clock.now()],
    [2, "no available orchestrator slots", 20_000],
  );
});

test("O-25: a failed refresh keeps the claim and queues the retry again", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.run("A-1").end(boom);
  world.readFails = "down";
  await world.advance(10_000);
  const entry = world.orchestrator.state.issues.of("retrying").get("id-A-1");
  assert.deepEqual([entry?.attempt, entry?.error], [2, "retry refresh failed"]);
  assert.equal((entry?.dueAt ?? 0) - world.clock.now(), 20_000);
  world.readFails = null;
  world.orchestrator.post({ type: "refresh.requested" });
  await world.advance(0);
  assert.deepEqual(world.live, [], "its claim is kept: no poll starts it");
  await world.advance(20_000);
  assert.deepEqual([world.live, world.run("A-1").order.attempt], [["A-1"], 2]);
});

test("R-1: a restart keeps holds, failures, retry counts and due times, and no live claim", async () => {
  const first = await new Scheduler([issue("A-1"), issue("A-2"), issue("A-3")]).begin();
  await first.run("A-1").end(boom);
  await first.orchestrator.apply({
    type: "operator.aborted",
    issueId: "id-A-2",
    reason: "not now",
  });
  const next = new Scheduler([issue("A-1"), issue("A-2"), issue("A-3")], config(), first.records);
  await next.begin();
  assert.deepEqual(next.live, ["A-3"]);
  assert.equal(next.orchestrator.state.issues.of("held").get("id-A-2")?.reason, "aborted: not now");
  assert.equal(next.orchestrator.state.issues.of("retrying").get("id-A-1")?.attempt, 1);
  await next.advance(10_000);
  assert.deepEqual(next.live, ["A-3", "A-1"]);
});

test("a crash while a retry runs does not reset its count", async () => {
  const first = await new Scheduler([issue("A-1")]).begin();
  await first.run("A-1").end(boom);
  await first.advance(10_000);
  const next = new Scheduler([issue("A-1")], config(), first.records);
  await next.begin();
  await next.advance(10_000);
  assert.equal(next.run("A-1").order.attempt, 1);
  await next.run("A-1").end(boom);
  assert.equal(next.orchestrator.state.issues.of("retrying").get("id-A-1")?.failures, 2);
});

test("R-1: a stop of the server while a retry runs does not reset its count", async () => {
  const first = await new Scheduler([issue("A-1")]).begin();
  await first.run("A-1").end(boom);
  await first.advance(10_000);
  const drained = first.orchestrator.drain();
  await first.run("A-1").end({ kind: "stopped" });
  await drained;
  assert.ok(first.run("A-1").stopReason);
  const next = new Scheduler([issue("A-1")], config(), first.records);
  await next.begin();
  await next.advance(10_000);
  assert.equal(next.run("A-1").order.attempt, 1);
});

test("a refused workspace holds its issue at once, and uses no retry", async () => {
  const refused = {
    kind: "failed",
    code: "workspace_refused",
    message: "the workspace holds .opencode/plugin",
  } as const;
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.run("A-1").end(refused);
  const { state } = world.orchestrator;
  assert.equal(state.issues.of("retrying").size, 0);
  assert.equal(state.issues.of("held").get("id-A-1")?.reason, refused.message);
  assert.ok(world.eventTypes().includes("issue.held"));
  const next = new Scheduler([issue("A-1")], config(), world.records);
  await next.begin();
  assert.deepEqual(next.live, [], "nor does a restart start it again");
  await next.orchestrator.apply({
    type: "operator.transitioned",
    issueId: "id-A-1",
    to: "queued",
    reason: null,
  });
  await next.advance(0);
  assert.deepEqual(next.live, ["A-1"]);
});

test("O-18: an attempt that cannot be run is reported with the ids of its issue and itself", async () => {
  const world = new Scheduler([issue("A-1")]);
  let attemptId = "";
  world.runAttempt = (order) => {
    attemptId = order.attemptId;
    return Promise.reject(new Error("no memory"));
  };
  await world.begin();
  assert.ok(world.failures[0]?.startsWith(`runAttempt id-A-1 ${attemptId}: Error: no memory`));
});
