import assert from "node:assert/strict";
import { test } from "node:test";
import type { WorkerHost } from "../../../src/core/model/worker.ts";
import { whyNoWorker, workerFor, workerSlots } from "../../../src/core/orchestrator/placement.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

function worker(name: string, parts: Partial<WorkerHost> = {}): WorkerHost {
  const seen = {
    host: name,
    labels: [],
    capacity: 1,
    running: 0,
    version: "1",
    sinceWall: 0,
    agents: null,
  };
  return { name, ...seen, ready: true, why: null, ...parts };
}

const wanted = { agent: "codex", only: null };

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
  assert.equal(workerFor(state, settings, { wanted, before: "w1" }), null);
  assert.equal(whyNoWorker(state, settings, wanted), "w1 is full (1); w2 is full (1)");
});

test("30: the worker that had the issue before is preferred while it has a slot", async () => {
  const workers = [worker("w1", { capacity: 4 }), worker("w2", { capacity: 9 })];
  const { state, settings } = await fleet(workers);
  assert.equal(workerFor(state, settings, { wanted, before: "w1" }), "w1");
  assert.equal(workerFor(state, settings, { wanted, before: "gone" }), "w2");
});

test("30: after an attempt that failed another worker comes first, and the same one where there is no other", async () => {
  const workers = [worker("w1", { capacity: 9 }), worker("w2", { capacity: 9 })];
  const after = (before: string, places: Parameters<typeof workerFor>[0]) =>
    workerFor(places, config({}), { wanted, before, hasFailed: true });
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
  const why = whyNoWorker(state, settings, wanted);
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

test("30: an attempt goes only to a worker that can run its agent; one that cannot is named, and pauses it for no other", async () => {
  const able = [{ agent: "codex", trouble: null }];
  const unable = [{ agent: "codex", trouble: "there is no codex" }];
  const workers = [worker("w1", { agents: unable, capacity: 9 }), worker("w2", { agents: able })];
  const { world, on, state, settings } = await fleet(workers);
  assert.deepEqual(on, ["w2"]);
  assert.equal(state.troubles.size, 0);
  assert.equal(workerSlots(state, settings), 9, "w1 has room, for other agents");
  const why = "w1 cannot run codex: there is no codex; w2 is full (1)";
  assert.equal(whyNoWorker(state, settings, wanted), why);
  const reads = world.events.length;
  await world.advance(60_000);
  assert.ok(world.events.length - reads < 5, "nothing turns while they wait");
  assert.equal(world.orchestrator.state.issues.of("running").size, 1);
  // Checked by none: as before there were checks.
  const silent = [worker("w3", { agents: null }), worker("w4", { agents: [] })];
  const at = (agent: string) =>
    workerFor({ ...state, workers: silent }, settings, {
      wanted: { ...wanted, agent },
      before: "w4",
    });
  assert.equal(at("codex"), "w3");
  const asked = { ...state, workers: silent.slice(1) };
  assert.equal(whyNoWorker(asked, settings, wanted), "w4 has not checked codex yet");
});

test("30: an agent that no worker can run closes its gate and says why of each; the first that can opens it at once", async () => {
  const unable = (why: string) => [{ agent: "codex", trouble: why }];
  const one = worker("w1", { agents: unable("no key") });
  const { world, on, state } = await fleet([one, worker("w2", { agents: unable("no program") })]);
  assert.deepEqual(on, []);
  assert.equal(
    state.troubles.get("codex")?.detail,
    "no worker can run it: w1: no key; w2: no program",
  );
  assert.equal(state.issues.of("retrying").size, 0);
  const mended = worker("w2", { agents: [{ agent: "codex", trouble: null }], capacity: 2 });
  world.orchestrator.post({ type: "workers.changed", workers: [one, mended] });
  await world.advance(0);
  const after = world.orchestrator.state;
  assert.deepEqual(
    [...after.issues.of("running").values()].map((entry) => entry.worker),
    ["w2", "w2"],
  );
  assert.equal(after.troubles.size, 0);
});

test("30: an agent that a worker could not start, or whose login is refused there, runs elsewhere, and no failure is counted", async () => {
  for (const code of ["codex_not_found", "provider_refused"] as const) {
    const able = [{ agent: "codex", trouble: null }];
    const both = [worker("w1", { agents: able }), worker("w2", { agents: able, capacity: 3 })];
    const { world } = await fleet(both);
    const [entry] = [...world.orchestrator.state.issues.of("running").values()];
    assert.equal(entry?.worker, "w1");
    const failed = { kind: "failed", code, message: "no codex here" } as const;
    await world.runs[0]?.end(failed);
    const { state } = world.orchestrator;
    assert.equal(state.pauses.size, 0);
    assert.equal(state.workers?.[0]?.agents?.[0]?.trouble, "no codex here");
    assert.equal(state.workers?.[1]?.agents?.[0]?.trouble, null);
    await world.advance(3_000);
    const again = world.orchestrator.state.issues.of("running").get(entry?.issue.id ?? "");
    assert.deepEqual([again?.worker, again?.failures], ["w2", 0]);
  }
});

test("an issue that is moved runs there alone: its live attempt is stopped, and the next begins there when it is gone", async () => {
  const workers = [worker("w1", { capacity: 9 }), worker("w2", { capacity: 9 })];
  const { world } = await fleet(workers);
  const [entry] = [...world.orchestrator.state.issues.of("running").values()];
  assert.equal(entry?.worker, "w1");
  const { issue: one } = entry ?? {};
  assert.ok(one);
  await world.orchestrator.apply({ type: "operator.moved", issue: one, worker: "w2" });
  assert.equal(world.runs[0]?.stopReason, "moves to the worker w2");
  await world.advance(60_000);
  assert.equal(world.runs.filter(({ order }) => order.issue.id === one.id).length, 1);
  await world.runs[0]?.end({ kind: "stopped" });
  await world.advance(1_000);
  const after = world.orchestrator.state.issues.of("running").get(one.id);
  assert.deepEqual([after?.worker, after?.failures], ["w2", 0]);
  assert.deepEqual(world.attempts.get(entry?.attemptId ?? "")?.status, "interrupted");
  assert.equal(world.records.get(one.id)?.worker, "w2");
  // It waits for this worker, and for no other one.
  const gone = [worker("w1", { capacity: 9 })];
  const { state } = world.orchestrator;
  const why = whyNoWorker({ ...state, workers: gone }, world.config, { ...wanted, only: "w2" });
  assert.equal(why, "it was moved to w2, which is no worker: move it --to any");
  assert.ok(world.eventTypes("A-1").includes("worker.chosen"));
});

/** Ends a running attempt because its worker died. */
const diesWith = (world: Scheduler, id: string) =>
  world.runs
    .findLast(({ order }) => order.issue.identifier === id)
    ?.end({ kind: "failed", code: "worker_lost", message: "was lost", workerDied: true });

test("16: an attempt after which two workers died is held in words, the count outlives a restart, and what ran beside it is placed apart and not held", async () => {
  const workers = ["w1", "w2", "w3"].map((name) => worker(name, { capacity: 9 }));
  const settings = config({ agent: { maxRetryBackoffMs: 1_000 } });
  const [bad, good] = [issue("A-1"), issue("A-2")];
  const world = new Scheduler([bad, good], settings);
  world.orchestrator.post({ type: "workers.changed", workers: workers.slice(0, 1) });
  await world.begin();
  world.orchestrator.post({ type: "workers.changed", workers: workers.slice(1) });
  for (const { identifier } of [bad, good]) await diesWith(world, identifier);
  assert.deepEqual(world.records.get(bad.id)?.retry?.losses, ["w1"]);
  await world.advance(2_000);
  const on = (one: Scheduler, { id }: { id: string }) =>
    one.orchestrator.state.issues.of("running").get(id)?.worker;
  assert.deepEqual([on(world, bad), on(world, good)], ["w2", "w3"]);
  // With one worker left they run there one after the other.
  const next = new Scheduler([bad, good], settings, world.records);
  next.orchestrator.post({ type: "workers.changed", workers: workers.slice(2) });
  await next.begin();
  await next.advance(2_000);
  const [first, second] = on(next, bad) ? [bad, good] : [good, bad];
  assert.deepEqual([on(next, first), on(next, second)], ["w3", undefined]);
  const { state } = next.orchestrator;
  assert.equal(
    whyNoWorker(state, next.config, { ...wanted, apart: true }),
    "w3 runs another attempt whose last worker died",
  );
  if (first === good) {
    await next.runs.at(-1)?.end({ kind: "completed", issue: { ...good, state: "Done" } });
    await next.advance(60_000);
  }
  assert.equal(on(next, bad), "w3");
  await diesWith(next, "A-1");
  const held = next.orchestrator.state.issues.of("held").get(bad.id);
  assert.equal(
    held?.reason,
    "its worker died while it ran, 2 times in a row (w1, w3): it is held so that it ends no further one",
  );
  assert.ok(next.records.get(bad.id)?.held);
  assert.equal(next.orchestrator.state.issues.of("held").size, 1);
});

test("16: on one worker the third death holds it; an end that the worker has seen clears the count, one that says nothing of it does not", async () => {
  const settings = config({ agent: { maxRetryBackoffMs: 1_000, maxRetries: null } });
  const [one] = [issue("A-1")];
  const world = new Scheduler([one], settings);
  world.orchestrator.post({ type: "workers.changed", workers: [worker("w1")] });
  await world.begin();
  const losses = () => world.records.get(one.id)?.retry?.losses?.length ?? 0;
  await diesWith(world, "A-1");
  await world.advance(2_000);
  await world.runs.at(-1)?.end({ kind: "failed", code: "turn_failed", message: "no" });
  assert.equal(losses(), 0);
  await world.advance(2_000);
  await diesWith(world, "A-1");
  await world.advance(2_000);
  await diesWith(world, "A-1");
  await world.advance(2_000);
  await world.runs.at(-1)?.end({ kind: "failed", code: "worker_lost", message: "away" });
  assert.equal(losses(), 2);
  await world.advance(2_000);
  await diesWith(world, "A-1");
  const held = world.orchestrator.state.issues.of("held").get(one.id);
  assert.match(held?.reason ?? "", /3 times in a row \(w1\)/);
});

test("a kill of the server between a saved move and the end of the attempt leaves the count of failures", async () => {
  const settings = config({ agent: { maxRetryBackoffMs: 1_000 } });
  const [one] = [issue("A-1")];
  const world = new Scheduler([one], settings);
  const workers = [worker("w1"), worker("w2")];
  world.orchestrator.post({ type: "workers.changed", workers });
  await world.begin();
  await world.runs.at(-1)?.end({ kind: "failed", code: "turn_failed", message: "no" });
  await world.advance(2_000);
  const on = world.orchestrator.state.issues.of("running").get(one.id)?.worker;
  const to = on === "w1" ? "w2" : "w1";
  await world.orchestrator.apply({ type: "operator.moved", issue: one, worker: to });
  const saved = world.records.get(one.id);
  assert.deepEqual([saved?.worker, saved?.retry?.failures, saved?.retry?.attempt], [to, 1, 1]);
  const next = new Scheduler([one], settings, world.records);
  next.orchestrator.post({ type: "workers.changed", workers });
  await next.begin();
  await next.advance(2_000);
  const entry = next.orchestrator.state.issues.of("running").get(one.id);
  assert.deepEqual([entry?.worker, entry?.failures], [to, 1]);
});

test("26: retries that came due while no worker was there start at its slots, the urgent ones first, and the last one without any other event", async () => {
  const settings = config({ agent: { maxRetryBackoffMs: 1_000, maxConcurrentAgents: 50 } });
  const issues = Array.from({ length: 20 }, (_, at) =>
    issue(`A-${at + 1}`, { priority: at < 10 ? 4 : 1 }),
  );
  const world = new Scheduler(issues, settings);
  world.orchestrator.post({
    type: "workers.changed",
    workers: [worker("w1", { capacity: 50 })],
  });
  await world.begin();
  const live = () => [...world.orchestrator.state.issues.of("running").values()];
  assert.equal(live().length, 20);
  const away = [worker("w1", { capacity: 50, ready: false, why: "the engine does not answer" })];
  world.orchestrator.post({ type: "workers.changed", workers: away });
  for (const run of [...world.runs])
    await run.end({ kind: "failed", code: "worker_lost", message: "away" });
  for (let at = 0; at < 60; at++) await world.advance(60_000);
  assert.equal(live().length, 0);
  const begun = world.runs.length;
  world.orchestrator.post({ type: "workers.changed", workers: [worker("w1", { capacity: 3 })] });
  const order: string[] = [];
  let most = 0;
  for (let round = 0; round < 200 && order.length < 20; round++) {
    await world.advance(1_000);
    most = Math.max(most, live().length);
    for (const run of world.runs.slice(begun + order.length)) {
      const { id, identifier } = run.order.issue;
      order.push(identifier);
      const done = { ...run.order.issue, state: "Done" };
      world.issues.set(id, done);
      await run.end({ kind: "completed", issue: done });
    }
  }
  assert.equal(most <= 3, true, `${most} ran at once`);
  assert.equal(order.length, 20, order.join());
  const urgent = order.slice(0, 10).map((name) => Number(name.slice(2)) > 10);
  assert.ok(urgent.every(Boolean), order.join());
});

test("26: a retry that waits for a worker is seldom read, and starts at once when one is there", async () => {
  const { world } = await fleet([worker("w1")]);
  const away = [worker("w1", { ready: false, why: "away" })];
  world.orchestrator.post({ type: "workers.changed", workers: away });
  await world.run("A-1").end({ kind: "failed", code: "worker_lost", message: "away" });
  const reads = () => world.calls.filter((call) => call === "issues A-1").length;
  const before = reads();
  for (let at = 0; at < 360; at++) await world.advance(10_000);
  assert.ok(reads() - before < 40, `${reads() - before} reads in an hour`);
  world.orchestrator.post({ type: "workers.changed", workers: [worker("w1")] });
  await world.advance(1_000);
  assert.deepEqual([...world.orchestrator.state.issues.of("running").keys()].length, 1);
});

test("30: an agent on a worker may finish its turn when its issue is closed: the word that it did so itself comes later", async () => {
  const { world } = await fleet([worker("w1")]);
  world.run("A-1").say({ type: "turn.started", turnId: "1" });
  world.set(issue("A-1", { state: "Done" }));
  await world.advance(30_000);
  assert.ok(world.calls.includes("stop A-1 within 10000"), world.calls.join("; "));
  await world.run("A-1").end();
  assert.equal([...world.attempts.values()][0]?.status, "succeeded");
});
