import assert from "node:assert/strict";
import { test } from "node:test";
import type { WorkerHost } from "../../../src/core/model/worker.ts";
import { whyNoWorker, workerFor, workerSlots } from "../../../src/core/orchestrator/placement.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

function worker(name: string, parts: Partial<WorkerHost> = {}): WorkerHost {
  const seen = { host: name, labels: [], capacity: 1, running: 0, version: "1", sinceWall: 0 };
  return { name, ...seen, ready: true, why: null, ...parts };
}

/** No slot on this machine, so that nothing starts before the workers are known. */
async function fleet(workers: readonly WorkerHost[], labels: readonly string[] = []) {
  const issues = [issue("A-1"), issue("A-2"), issue("A-3")];
  const world = new Scheduler(issues, config({ fleet: { labels } }));
  world.orchestrator.post({ type: "workers.changed", workers });
  await world.begin();
  const { state } = world.orchestrator;
  const on = [...state.issues.of("running").values()].map((entry) => entry.worker);
  return { world, state, on, settings: world.config };
}

test("30: attempts go to the least loaded worker, the first of equals, and none to this machine", async () => {
  const { on, state, settings } = await fleet([worker("w1"), worker("w2")]);
  assert.deepEqual(on, ["w1", "w2"]);
  assert.equal(workerSlots(state, settings), 0);
  assert.equal(workerFor(state, settings, { before: "w1" }), null);
  assert.equal(whyNoWorker(state, settings), "w1 is full (1); w2 is full (1)");
});

test("30: the worker that had the issue before is preferred while it has a slot", async () => {
  const workers = [worker("w1", { capacity: 4 }), worker("w2", { capacity: 9 })];
  const { state, settings } = await fleet(workers);
  assert.equal(workerFor(state, settings, { before: "w1" }), "w1");
  assert.equal(workerFor(state, settings, { before: "gone" }), "w2");
});

test("30: after an attempt that failed another worker comes first, and the same one where there is no other", async () => {
  const workers = [worker("w1", { capacity: 9 }), worker("w2", { capacity: 9 })];
  const after = (before: string, places: Parameters<typeof workerFor>[0]) =>
    workerFor(places, config({}), { before, hasFailed: true });
  const { state } = await fleet(workers);
  assert.deepEqual([after("w1", state), after("w2", state)], ["w2", "w1"]);
  const alone = { ...state, workers: workers.slice(0, 1) };
  assert.deepEqual([after("w1", alone), after("w2", alone)], ["w1", "w1"]);
  assert.equal(after("w1", { ...state, workers: [] }), null);
});

test("6, 30: a worker that is not ready, or lacks a label, gets nothing, and it is said why", async () => {
  const lost = worker("w1", { ready: false, why: "lost", labels: ["gpu"] });
  const { on, state, settings } = await fleet([lost, worker("w2")], ["gpu"]);
  assert.deepEqual(on, []);
  const why = whyNoWorker(state, settings);
  assert.equal(why, "w1 takes nothing: lost; w2 lacks the label gpu");
});

test("30: a worker that comes gets the waiting issues at once, without a wait for the next poll", async () => {
  const { world, on } = await fleet([]);
  assert.deepEqual(on, []);
  world.orchestrator.post({ type: "workers.changed", workers: [worker("w1", { capacity: 2 })] });
  await world.advance(0);
  const running = [...world.orchestrator.state.issues.of("running").values()];
  assert.deepEqual(
    running.map((entry) => entry.worker),
    ["w1", "w1"],
  );
  assert.equal(world.orchestrator.state.issues.of("retrying").size, 0);
});
