import assert from "node:assert/strict";
import { test } from "node:test";
import { snapshot } from "../../../src/core/orchestrator/snapshot.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

const one = config({ agent: { maxConcurrentAgents: 1 } });

/** A scheduler whose first poll is over. */
async function idle(issues: Parameters<typeof issue>[0][] = [], settings = config()) {
  const world = await new Scheduler(
    issues.map((name) => issue(name)),
    settings,
  ).begin();
  world.calls.length = 0;
  world.events.length = 0;
  return world;
}

async function hint(world: Scheduler, identifier: string): Promise<void> {
  world.orchestrator.post({ type: "issue.hinted", issueId: `id-${identifier}` });
  await world.advance(0);
}

function queued(world: Scheduler): readonly { name: string; waitingFor: string }[] {
  const view = snapshot(world.orchestrator.state, world.config, { now: 0, limit: 50 });
  return view.queued.map(({ issue: row, waitingFor }) => ({ name: row.identifier, waitingFor }));
}

const reads = (world: Scheduler) => world.calls.filter((call) => /candidates|issues/.test(call));

test("a hint about a new issue starts it after one read of it, without a poll", async () => {
  const world = await idle();
  world.set(issue("A-1"));
  await hint(world, "A-1");
  assert.deepEqual(world.live, ["A-1"]);
  assert.equal(reads(world).length, 1);
  assert.ok(!world.calls.includes("candidates"));
  assert.deepEqual(
    world.events.slice(0, 2).map(({ type }) => type),
    ["issue.queued", "issue.dispatched"],
  );
});

test("without a free slot the issue waits at its position in the queue, and the next poll starts it", async () => {
  const world = await idle(["A-1", "A-3"], one);
  assert.deepEqual(world.live, ["A-1"]);
  world.set(issue("A-2"));
  await hint(world, "A-2");
  assert.deepEqual(queued(world), [
    { name: "A-2", waitingFor: "a free slot" },
    { name: "A-3", waitingFor: "a free slot" },
  ]);
  const told = world.events.filter(({ type }) => type === "issue.queued");
  assert.deepEqual(
    told.map(({ issueIdentifier }) => issueIdentifier),
    ["A-2"],
  );
  await hint(world, "A-2");
  assert.equal(world.events.filter(({ type }) => type === "issue.queued").length, 1);
  world.set(issue("A-1", { state: "Done" }));
  await world.run("A-1").end();
  await world.advance(30_000);
  assert.deepEqual(world.live, ["A-2"]);
});

test("an issue that waits for a blocker, or while the workflow is invalid, is shown and not started", async () => {
  const world = await idle();
  world.set(issue("A-1", { dispatchable: false }));
  await hint(world, "A-1");
  world.problem = { code: "invalid_config", message: "line 3" };
  world.set(issue("A-2"));
  await hint(world, "A-2");
  assert.deepEqual(world.live, []);
  assert.deepEqual(
    queued(world).map(({ name }) => name),
    ["A-1", "A-2"],
  );
});

for (const [what, change] of [
  ["is done", { state: "Done" }],
  ["left the active states", { state: "Backlog" }],
] as const) {
  test(`a queued issue that ${what} leaves the queue at once`, async () => {
    const world = await idle(["A-1", "A-2"], one);
    world.set(issue("A-2", change));
    await hint(world, "A-2");
    assert.deepEqual(queued(world), []);
  });
}

test("a queued issue that is gone leaves the queue, and a hint about an unknown issue changes nothing", async () => {
  const world = await idle(["A-1", "A-2"], one);
  world.issues.delete("id-A-2");
  await hint(world, "A-2");
  assert.deepEqual(queued(world), []);
  const before = world.orchestrator.state;
  await hint(world, "X-9");
  const { queue, candidates, placed } = world.orchestrator.state;
  assert.deepEqual([queue, candidates, placed], [before.queue, before.candidates, before.placed]);
});

test("a running issue that is done is stopped at once", async () => {
  const world = await idle(["A-1"]);
  world.set(issue("A-1", { state: "Done" }));
  await hint(world, "A-1");
  assert.match(world.run("A-1").stopReason ?? "", /issue is Done/);
});

test("INV-14: a list requested before the hint's read neither hides nor reverts the result of that read", async () => {
  const world = await idle(["A-1", "A-3"], one);
  const slow = Promise.withResolvers<void>();
  world.listGate = slow.promise;
  world.orchestrator.post({ type: "refresh.requested" });
  await world.advance(0);
  world.set(issue("A-2"));
  world.set(issue("A-3", { state: "Done" }));
  await hint(world, "A-2");
  await hint(world, "A-3");
  slow.resolve();
  await world.advance(0);
  assert.deepEqual(
    queued(world).map(({ name }) => name),
    ["A-2"],
  );
});

test("O-22: a hint does not shorten a retry's wait, unless the issue was moved meanwhile", async () => {
  const world = await idle(["A-1"]);
  await world.run("A-1").end({ kind: "failed", code: "turn_failed", message: "no" });
  assert.equal(world.orchestrator.state.issues.of("retrying").size, 1);
  world.set(issue("A-1", { title: "New title" }));
  await hint(world, "A-1");
  assert.deepEqual(world.live, []);
  assert.equal(
    world.orchestrator.state.issues.of("retrying").get("id-A-1")?.issue.title,
    "New title",
  );
  world.set(issue("A-1", { state: "In Progress" }));
  await hint(world, "A-1");
  assert.deepEqual(world.live, ["A-1"]);
});

test("a hint about a retrying issue that is done releases it", async () => {
  const world = await idle(["A-1"]);
  await world.run("A-1").end({ kind: "failed", code: "turn_failed", message: "no" });
  world.set(issue("A-1", { state: "Done" }));
  await hint(world, "A-1");
  assert.equal(world.orchestrator.state.issues.of("retrying").size, 0);
});

test("O-2: before the first poll a hint starts nothing; that poll finds the issue", async () => {
  const world = new Scheduler([issue("A-1")], one);
  await hint(world, "A-1");
  assert.deepEqual([world.calls, world.live], [[], []]);
  await world.begin();
  assert.deepEqual(world.live, ["A-1"]);
});

test("a held issue stays held, and a draining server reads nothing", async () => {
  const world = await idle(["A-1"]);
  await world.orchestrator.apply({ type: "operator.aborted", issueId: "id-A-1", reason: null });
  await world.run("A-1").end({ kind: "stopped" });
  await hint(world, "A-1");
  assert.equal(world.orchestrator.state.issues.of("held").size, 1);
  assert.deepEqual(world.live, []);
  world.calls.length = 0;
  world.orchestrator.post({ type: "drain.requested", stopAttempts: false });
  await hint(world, "A-1");
  assert.deepEqual(reads(world), []);
});
