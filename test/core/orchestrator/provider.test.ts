import assert from "node:assert/strict";
import { test } from "node:test";
import { snapshot, statusOfIdentifier } from "../../../src/core/orchestrator/snapshot.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

const minute = 60_000;

function limited(untilWall: number | null) {
  const message = "the provider's limit is reached: try later";
  return { kind: "failed", code: "provider_limited", message, untilWall } as const;
}

function view(world: Scheduler) {
  const { clock, orchestrator } = world;
  return snapshot(orchestrator.state, world.config, { now: clock.now(), limit: 50 });
}

function times(world: Scheduler, type: string): number {
  return world.eventTypes().filter((one) => one === type).length;
}

test("a limited provider pauses until the time it names; no failure is counted", async () => {
  const settings = config({ agent: { maxRetries: 0, maxConcurrentAgents: 1 } });
  const world = await new Scheduler([issue("A-1"), issue("A-2")], settings).begin();
  const until = world.clock.wall() + 20 * minute;
  await world.run("A-1").end(limited(until));
  world.calls.length = 0;
  await world.advance(10 * minute);
  assert.deepEqual(world.live, []);
  const reads = world.calls.filter((call) => call.startsWith("issues"));
  assert.deepEqual(reads, [], "no issue is read for nothing");
  const shown = view(world);
  assert.equal(
    shown.queued[0]?.waitingFor,
    `the provider (codex) accepts no turns until ${iso(until)}`,
  );
  assert.deepEqual(
    shown.retrying.map(({ dueWall, failures }) => [dueWall, failures]),
    [[until, 0]],
  );
  assert.deepEqual(shown.paused, [
    { gate: "provider", agent: "codex", untilWall: until, reason: limited(null).message },
  ]);
  const gates =
    statusOfIdentifier(world.orchestrator.state, { config: settings, problem: null }, "A-2")
      ?.explain ?? [];
  assert.equal(gates.find(({ gate }) => gate === "provider")?.pass, false);
  await world.advance(10 * minute);
  assert.equal(world.live.length, 1);
  assert.deepEqual(view(world).paused, []);
  assert.deepEqual([times(world, "provider.paused"), times(world, "provider.resumed")], [1, 1]);
});

test("without a time the pause is five minutes, doubling to an hour, and resets after a successful turn", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  for (const minutes of [5, 10, 20, 40, 60, 60]) {
    await world.run("A-1").end(limited(null));
    await world.advance(minutes * minute - 1);
    assert.deepEqual(world.live, [], `${minutes}`);
    await world.advance(1);
    assert.deepEqual(world.live, ["A-1"], `${minutes}`);
  }
  world.run("A-1").say({ type: "turn.completed", turnId: "t" });
  await world.run("A-1").end(limited(null));
  assert.equal(view(world).paused[0]?.untilWall, world.clock.wall() + 5 * minute);
});

test("several attempts that reach the same limit pause it once; a time in the past counts as none", async () => {
  const world = await new Scheduler([issue("A-1"), issue("A-2"), issue("A-3")]).begin();
  await world.run("A-1").end(limited(world.clock.wall() - 1));
  await world.run("A-2").end(limited(null));
  assert.equal(times(world, "provider.paused"), 1);
  assert.equal(view(world).paused[0]?.untilWall, world.clock.wall() + 5 * minute);
  const later = world.clock.wall() + 30 * minute;
  await world.run("A-3").end(limited(later));
  assert.equal(view(world).paused[0]?.untilWall, later);
  await world.advance(29 * minute);
  assert.deepEqual(world.live, []);
  await world.advance(1 * minute);
  assert.equal(world.live.length, 3);
});

test("a time of another year counts as none, so that no slip stops the agent for days", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.run("A-1").end(limited(9_999_999_999_000));
  assert.equal(view(world).paused[0]?.untilWall, world.clock.wall() + 5 * minute);
  await world.advance(5 * minute);
  await world.run("A-1").end(limited(world.clock.wall() + 30 * 24 * 60 * minute));
  assert.equal(view(world).paused[0]?.untilWall, world.clock.wall() + 8 * 24 * 60 * minute);
});

test("a provider that refuses again right after the time it named gets longer and longer pauses", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  const second = 1_000;
  for (const wait of [2 * second, 5 * minute, 10 * minute, 20 * minute]) {
    await world.run("A-1").end(limited(world.clock.wall() + 2 * second));
    await world.advance(wait - 1);
    assert.deepEqual(world.live, [], `${wait}`);
    await world.advance(1);
    assert.deepEqual(world.live, ["A-1"], `${wait}`);
  }
  // A later time still takes precedence, and a successful turn resets the pauses.
  const until = world.clock.wall() + 180 * minute;
  await world.run("A-1").end(limited(until));
  assert.equal(view(world).paused[0]?.untilWall, until);
  await world.advance(180 * minute);
  world.run("A-1").say({ type: "turn.completed", turnId: "t" });
  await world.run("A-1").end(limited(world.clock.wall() + 2 * second));
  await world.advance(2 * second);
  assert.deepEqual(world.live, ["A-1"]);
});

test("an attempt that was stopped as stalled while its agent waited for its provider is no failure", async () => {
  const agent = { maxRetries: 0, stallTimeoutMs: 100_000 };
  const settings = config({ agent, polling: { intervalMs: 100_000 } });
  const world = await new Scheduler([issue("A-1")], settings).begin();
  await world.advance(100_000);
  await world.advance(100_000);
  assert.match(world.run("A-1").stopReason ?? "", /stalled/);
  const until = world.clock.wall() + 60 * minute;
  await world.run("A-1").end(limited(until));
  assert.deepEqual(
    view(world).retrying.map(({ dueWall, failures }) => [dueWall, failures]),
    [[until, 0]],
  );
  const [attempt] = world.attempts.values();
  assert.deepEqual([attempt?.status, attempt?.error?.code], ["failed", "provider_limited"]);
  await world.advance(60 * minute);
  assert.deepEqual(world.live, ["A-1"]);
});

test("other agents continue, and so does an issue that is moved to one of them", async () => {
  const byLabel = new Map([["other", { agent: "acp", model: null, effort: null }]]);
  const settings = config({ agent: { byLabel } });
  const world = await new Scheduler([issue("A-1")], settings).begin();
  await world.run("A-1").end(limited(world.clock.wall() + 60 * minute));
  world.set(issue("A-2", { labels: ["other"] }));
  await world.advance(30_000);
  assert.deepEqual(world.live, ["A-2"]);
  await world.orchestrator.apply({
    type: "operator.modelChosen",
    issue: issue("A-1"),
    model: null,
    effort: null,
    agent: "acp",
  });
  await world.advance(30_000);
  assert.deepEqual(world.live.sort(), ["A-1", "A-2"]);
});

test("a restart keeps the pause of an issue that waits for it", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  const until = world.clock.wall() + 20 * minute;
  await world.run("A-1").end(limited(until));
  const again = new Scheduler([issue("A-1"), issue("A-2")], world.config, world.records);
  await again.begin();
  await again.advance(19 * minute);
  assert.deepEqual(again.live, []);
  assert.equal(view(again).paused[0]?.untilWall, until);
  await again.advance(1 * minute);
  assert.deepEqual(again.live.sort(), ["A-1", "A-2"]);
});

test("a restart keeps a pause that no issue waits for, and how often it was in a row", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.run("A-1").end(limited(null));
  await world.advance(5 * minute);
  const until = world.clock.wall() + 20 * minute;
  await world.run("A-1").end(limited(until));
  const held = { issueId: "id-A-1", to: "held", reason: null } as const;
  await world.orchestrator.apply({ type: "operator.transitioned", ...held });
  assert.equal(world.records.get("id-A-1")?.retry, null, "it waits for nothing");
  const next = (pauses = world.pauses) =>
    new Scheduler([issue("A-2")], world.config, world.records, 0, [], pauses);
  const again = next();
  // As its clock says, which begins anew.
  again.clock.jump(world.clock.wall() - again.clock.wall());
  await again.begin();
  await again.advance(19 * minute);
  assert.deepEqual(again.live, []);
  assert.equal(view(again).paused[0]?.untilWall, until);
  await again.advance(1 * minute);
  assert.deepEqual(again.live, ["A-2"]);
  assert.deepEqual([times(again, "provider.resumed"), again.pauses[0]?.hits], [1, 2]);
  // A start is a new try of what could not be started.
  const mended = await next(world.pauses.map((pause) => ({ ...pause, isStart: true }))).begin();
  assert.deepEqual(mended.live, ["A-2"]);
});

test("a wall clock that is set back does not extend the pause", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.run("A-1").end(limited(world.clock.wall() + 20 * minute));
  world.clock.jump(-365 * 24 * 60 * minute);
  await world.advance(20 * minute - 1);
  assert.deepEqual(world.live, []);
  await world.advance(1);
  assert.deepEqual(world.live, ["A-1"]);
});

function iso(wall: number): string {
  return new Date(wall).toISOString();
}

test("A11: a provider that refuses a login or an account stops new starts, once for all; no failure is counted", async () => {
  const settings = config({ agent: { maxRetries: 0 } });
  const world = await new Scheduler([issue("A-1"), issue("A-2"), issue("A-3")], settings).begin();
  const message = "the provider refuses every request: status 401";
  const refused = { kind: "failed", code: "provider_refused", message } as const;
  await world.run("A-1").end(refused);
  await world.run("A-2").end(refused);
  await world.run("A-3").end(refused);
  assert.equal(times(world, "provider.paused"), 1);
  assert.deepEqual(
    view(world).retrying.map(({ failures }) => failures),
    [0, 0, 0],
  );
  assert.equal(view(world).paused[0]?.reason, message);
  await world.advance(4 * minute);
  assert.deepEqual(world.live, []);
  world.orchestrator.post({ type: "refresh.requested" });
  await world.advance(1);
  assert.equal(world.live.length, 3, "an operator mended it and asked to try again");
});

test("a refresh does not end a pause until a time that the provider named", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.run("A-1").end(limited(world.clock.wall() + 20 * minute));
  world.orchestrator.post({ type: "refresh.requested" });
  await world.advance(1);
  assert.deepEqual(world.live, []);
  assert.equal(view(world).paused.length, 1);
});
