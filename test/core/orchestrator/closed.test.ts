import assert from "node:assert/strict";
import { test } from "node:test";
import { noTokens } from "../../../src/core/model/attempt.ts";
import { statuses } from "../../../src/core/model/issue.ts";
import { complete } from "../../../src/core/orchestrator/retry.ts";
import {
  type Snapshot,
  snapshot,
  statusOfIdentifier,
} from "../../../src/core/orchestrator/snapshot.ts";
import type { CompletedRecord } from "../../../src/core/store/store.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

const boom = { kind: "failed", code: "turn_failed", message: "boom" } as const;
const stopped = { kind: "stopped" } as const;
const pollMs = 30_000;

const moved = (to: "queued" | "held" | "completed") =>
  ({ type: "operator.transitioned", issueId: "id-A-1", to, reason: null }) as const;

const shown = ({ orchestrator, config: settings, clock }: Scheduler): Snapshot =>
  snapshot(orchestrator.state, settings, { now: clock.now(), limit: 500 });

/** The lists that contain A-1, and its other status facts. */
function statusFacts(world: Scheduler) {
  const view = shown(world);
  const lists = statuses.filter((name) => view[name].some((row) => row.issue.id === "id-A-1"));
  const detail = statusOfIdentifier(world.orchestrator.state, world, "A-1");
  return {
    lists,
    status: detail?.status ?? null,
    issue: detail && [detail.issue.title, detail.issue.state],
    explain: detail?.explain.find(({ gate }) => gate === "active_state")?.detail,
  };
}

async function polls(world: Scheduler, count: number): Promise<void> {
  for (let poll = 0; poll < count; poll++) await world.advance(pollMs);
}

const removals = ({ calls }: Scheduler) => calls.filter((call) => call.startsWith("remove"));
const completions = (world: Scheduler) =>
  world.eventTypes("A-1").filter((type) => type === "issue.completed").length;

async function held(): Promise<Scheduler> {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.orchestrator.apply(moved("held"));
  await world.run("A-1").end(stopped);
  return world;
}

async function failed(): Promise<Scheduler> {
  const settings = config({ agent: { maxRetries: 0 } });
  const world = await new Scheduler([issue("A-1")], settings).begin();
  await world.run("A-1").end(boom);
  return world;
}

for (const [status, begin] of [["held", held] as const, ["failed", failed] as const]) {
  test(`INV-16: ${status}: edits and moves in the tracker are shown, also after a restart`, async () => {
    const world = await begin();
    assert.deepEqual(statusFacts(world).lists, [status]);
    world.set(issue("A-1", { title: "New title", state: "Backlog" }));
    await world.advance(pollMs);
    const now = {
      lists: [status],
      status,
      issue: ["New title", "Backlog"],
      explain: "state is Backlog",
    };
    assert.deepEqual(statusFacts(world), now);
    const next = new Scheduler([...world.issues.values()], world.config, world.records);
    assert.deepEqual(statusFacts(next), now, "before the first poll");
    next.set(issue("A-1", { title: "Newer", state: "Todo" }));
    await next.begin();
    assert.deepEqual(statusFacts(next).issue, ["Newer", "Todo"]);
    assert.deepEqual([statusFacts(next).status, next.live, removals(next)], [status, [], []]);
  });

  test(`${status}: an issue closed in the tracker is completed and its workspace cleaned up`, async () => {
    const world = await begin();
    world.set(issue("A-1", { state: "Done" }));
    await world.advance(pollMs);
    assert.deepEqual(
      [statusFacts(world).lists, statusFacts(world).status],
      [["completed"], "completed"],
    );
    assert.deepEqual(removals(world), ["remove A-1"]);
    assert.equal(world.records.size, 0, "nothing is left for a restart to hold");
    await polls(world, 10);
    assert.deepEqual([removals(world).length, completions(world)], [1, 1]);
    world.set(issue("A-1"));
    await world.advance(pollMs);
    assert.deepEqual(world.live, ["A-1"], "opened again it is a candidate like any other");
  });

  test(`${status}: an issue closed while no server ran is ended by the first poll; a hint ends it at once`, async () => {
    const world = await begin();
    const done = issue("A-1", { state: "Done" });
    const next = await new Scheduler([done], world.config, world.records).begin();
    assert.deepEqual([statusFacts(next).lists, removals(next)], [["completed"], ["remove A-1"]]);
    world.set(done);
    await world.orchestrator.apply({ type: "issue.hinted", issueId: "id-A-1" });
    await world.advance(0);
    assert.deepEqual([statusFacts(world).lists, removals(world)], [["completed"], ["remove A-1"]]);
  });

  test(`${status}: an issue that is not visible stays, and a failed read changes nothing`, async () => {
    const world = await begin();
    world.issues.delete("id-A-1");
    await world.advance(pollMs);
    world.set(issue("A-1"));
    world.readFails = "down";
    await world.advance(pollMs);
    assert.deepEqual([statusFacts(world).lists, world.live], [[status], []]);
  });
}

test("an issue that is held and closed while its agent stops is completed when the agent has exited", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.orchestrator.apply(moved("held"));
  assert.deepEqual(statusFacts(world).lists, ["running"]);
  world.set(issue("A-1", { state: "Done" }));
  await world.orchestrator.apply({ type: "issue.hinted", issueId: "id-A-1" });
  await world.advance(0);
  assert.deepEqual(removals(world), [], "not under a live agent");
  await world.run("A-1").end(stopped);
  assert.deepEqual([statusFacts(world).lists, removals(world)], [["completed"], ["remove A-1"]]);
});

test("an issue that ended in review and is closed by a person later is cleaned up once", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  world.set(issue("A-1", { state: "In Review" }));
  await world.run("A-1").end();
  await world.advance(1_000);
  assert.deepEqual([statusFacts(world).lists, removals(world)], [["completed"], []]);
  world.set(issue("A-1", { state: "Done", title: "Merged" }));
  await polls(world, 2);
  assert.deepEqual(statusFacts(world).issue, ["Merged", "Done"]);
  await polls(world, 5);
  assert.deepEqual([removals(world), completions(world)], [["remove A-1"], 1]);
});

test("the same holds for one that was released because a poll saw it in review, or that returned to the queue", async () => {
  const settings = config({ agent: { maxConcurrentAgents: 1 } });
  const world = await new Scheduler(
    [issue("A-1", { priority: 1 }), issue("A-2")],
    settings,
  ).begin();
  world.set(issue("A-1", { state: "In Review", priority: 1 }));
  await world.advance(pollMs);
  await world.run("A-1").end(stopped);
  await world.advance(pollMs);
  assert.deepEqual([statusFacts(world).status, removals(world), world.live], [null, [], ["A-2"]]);
  world.set(issue("A-1", { priority: 4 }));
  await world.advance(pollMs);
  assert.equal(statusFacts(world).status, "queued");
  world.set(issue("A-1", { state: "Canceled" }));
  await polls(world, 2);
  assert.deepEqual([statusFacts(world).status, removals(world)], [null, ["remove A-1"]]);
  await polls(world, 5);
  assert.equal(removals(world).length, 1);
});

test("a retry that waits for its provider ends when its issue is closed", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  const untilWall = world.clock.wall() + 86_400_000;
  const limited = {
    kind: "failed",
    code: "provider_limited",
    message: "limit",
    untilWall,
  } as const;
  await world.run("A-1").end(limited);
  world.set(issue("A-1", { state: "Done" }));
  await polls(world, 2);
  assert.deepEqual([statusFacts(world).lists, removals(world)], [["completed"], ["remove A-1"]]);
  assert.equal(world.records.size, 0);
});

test("an older list never replaces newer data, also when an issue is queued again", async () => {
  const world = await held();
  const { promise: gate, resolve: open } = Promise.withResolvers<void>();
  world.listGate = gate;
  world.set(issue("A-1", { title: "New title" }));
  await world.advance(pollMs);
  assert.deepEqual(
    statusFacts(world).issue,
    ["New title", "Todo"],
    "by id, before the list has come",
  );
  world.readGate = gate;
  await world.orchestrator.apply(moved("queued"));
  assert.deepEqual(shown(world).queued[0]?.issue.title, "New title");
  assert.deepEqual(statusFacts(world).issue, ["New title", "Todo"]);
  world.readGate = null;
  world.set(issue("A-1", { state: "Backlog" }));
  await world.orchestrator.apply({ type: "issue.hinted", issueId: "id-A-1" });
  await world.advance(0);
  open();
  await world.advance(0);
  assert.deepEqual([statusFacts(world).issue, shown(world).counts.queued], [null, 0]);
});

test("inactive rows are read in turns: one page in each poll, for any number of rows", async () => {
  const names = Array.from({ length: 120 }, (_, n) => `R-${n}`);
  const completed = names.map(
    (name): CompletedRecord => ({
      issue: issue(name, { state: "In Review" }),
      attemptId: null,
      outcome: "succeeded",
      endedWall: 0,
      tokens: noTokens,
    }),
  );
  const issues = names.map((name) => issue(name, { state: "Done" }));
  const world = await new Scheduler(issues, config(), new Map(), 0, completed).begin();
  const counts = [removals(world).length];
  for (let poll = 0; poll < 3; poll++) {
    await world.advance(pollMs);
    counts.push(removals(world).length);
  }
  assert.deepEqual(counts, [50, 100, 120, 120]);
  assert.equal(world.calls.at(-1), "candidates", "nothing is read of what is closed");
});

test("an issue completed by an operator and seen in another state is a normal candidate, counted once", async () => {
  const settings = config({ agent: { maxConcurrentAgents: 1 } });
  const world = await new Scheduler(
    [issue("A-1", { priority: 1 }), issue("A-2")],
    settings,
  ).begin();
  await world.orchestrator.apply(moved("completed"));
  await world.run("A-1").end(stopped);
  await world.advance(pollMs);
  assert.deepEqual([statusFacts(world).lists, world.live], [["completed"], ["A-2"]]);
  world.set(issue("A-1", { priority: 1, state: "In Progress" }));
  await world.advance(pollMs);
  assert.deepEqual([statusFacts(world).lists, statusFacts(world).status], [["queued"], "queued"]);
  assert.equal(shown(world).counts.completed, 0);
  world.set(issue("A-1", { priority: 1 }));
  await world.advance(pollMs);
  assert.deepEqual([statusFacts(world).lists, completions(world)], [["queued"], 1]);
  await world.run("A-2").end(boom);
  await world.advance(0);
  assert.deepEqual(world.live, ["A-1"], "in the state it was completed in");
});

test("completion by an operator outlives a restart while the state stays, and ends when it changes", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.orchestrator.apply(moved("completed"));
  assert.deepEqual(
    statusFacts(world).lists,
    ["running"],
    "one status while its agent is on its way out",
  );
  await world.run("A-1").end(stopped);
  const next = await new Scheduler([issue("A-1")], config(), world.records).begin();
  assert.deepEqual([statusFacts(next).lists, next.live], [["completed"], []]);
  next.set(issue("A-1", { state: "Backlog" }));
  await polls(next, 2);
  assert.deepEqual(statusFacts(next).issue, ["Title of A-1", "Backlog"]);
  assert.equal(next.records.size, 0, "seen in another state");
  next.set(issue("A-1"));
  await next.advance(pollMs);
  assert.deepEqual(next.live, ["A-1"]);
});

test("one poll that sees it in another state ends a completion by an operator", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.orchestrator.apply(moved("completed"));
  await world.run("A-1").end(stopped);
  await polls(world, 2);
  world.set(issue("A-1", { state: "Backlog" }));
  await polls(world, 1);
  world.set(issue("A-1"));
  await polls(world, 1);
  assert.deepEqual([world.live, completions(world)], [["A-1"], 1]);
});

test("an issue that an operator completed is not started again, however many are completed after it", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.orchestrator.apply(moved("completed"));
  await world.run("A-1").end(stopped);
  const { state } = world.orchestrator;
  const all = Array.from({ length: 1_100 }, (_, n) => issue(`B-${n}`, { state: "Done" }));
  const context = { wall: 0, prior: () => world.prior("none", "") };
  const full = all.reduce(
    (next, one) => complete(next, one, { ended: null, context }).state,
    state,
  );
  assert.equal(full.issues.of("completed").size, 1_000);
  assert.equal(full.issues.get("id-A-1")?.claim, "completed");
  assert.deepEqual([full.issues.has("id-B-99"), full.issues.has("id-B-1099")], [false, true]);
});

test("completed by an operator and then closed: completed once, and its workspace cleaned up", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.orchestrator.apply(moved("completed"));
  await world.run("A-1").end(stopped);
  world.set(issue("A-1", { state: "Done" }));
  await polls(world, 3);
  assert.deepEqual([statusFacts(world).lists, removals(world)], [["completed"], ["remove A-1"]]);
  assert.deepEqual([completions(world), world.records.size], [1, 0]);
});
