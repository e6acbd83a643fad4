// "S9" is a row of the cases of scheduler and configuration: a freed slot is used at once.

import assert from "node:assert/strict";
import { test } from "node:test";
import { noTokens } from "../../../src/core/model/attempt.ts";
import { config, issue, linkTo } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

const boom = { kind: "failed", code: "turn_failed", message: "boom" } as const;
const stopped = { kind: "stopped" } as const;
const minute = 60_000;
/** Longer than any test, and not a divisor of a day. */
const pollMs = 11 * minute;

/** One slot and rare polls: an issue that starts in a test did not wait for a poll. */
function oneSlot(parts: Parameters<typeof config>[0] = {}) {
  return config({
    ...parts,
    polling: { intervalMs: pollMs },
    agent: { maxConcurrentAgents: 1, ...parts.agent },
  });
}

/** A-1 runs, A-2 waits for its slot. */
async function busy(settings = oneSlot()): Promise<Scheduler> {
  const world = await new Scheduler([issue("A-1"), issue("A-2")], settings).begin();
  assert.deepEqual(world.live, ["A-1"]);
  world.calls.length = 0;
  return world;
}

const reads = (world: Scheduler) => world.calls.filter((call) => /candidates|issues/.test(call));

/** A-2 has the slot now, after one read of it and no poll. */
function assertRefilled(world: Scheduler): void {
  assert.deepEqual(world.live, ["A-2"]);
  assert.deepEqual(reads(world), ["issues A-2"]);
}

const frees: Readonly<Record<string, (world: Scheduler) => Promise<void>>> = {
  async abort(world) {
    await world.orchestrator.apply({ type: "operator.aborted", issueId: "id-A-1", reason: null });
    await world.advance(0);
    assert.deepEqual([world.live, reads(world)], [["A-1"], []], "its agent is not gone yet");
    await world.run("A-1").end(stopped);
  },
  async failure(world) {
    await world.run("A-1").end(boom);
  },
  async "last retry"(world) {
    world.config = oneSlot({ agent: { maxConcurrentAgents: 1, maxRetries: 0 } });
    await world.run("A-1").end(boom);
    assert.equal(world.orchestrator.state.issues.of("failed").size, 1);
  },
  async brake(world) {
    world.config = oneSlot({ brakes: { tokensPerIssue: 5 } });
    world.run("A-1").say({ type: "tokens", total: { ...noTokens, total: 7 } });
    await world.run("A-1").end(stopped);
    assert.equal(world.orchestrator.state.issues.of("held").size, 1);
  },
  async question(world) {
    const needs = { kind: "question", prompt: "Which one?", options: [] } as const;
    await world.run("A-1").end({ kind: "needs", needs, code: "turn_input_required" });
  },
  async hold(world) {
    await transition(world, "held");
    await world.run("A-1").end(stopped);
  },
  async "operator's completion"(world) {
    await transition(world, "completed");
    await world.run("A-1").end(stopped);
  },
};

for (const [what, free] of Object.entries(frees)) {
  test(`S9: a slot that was freed by an operator or an agent (${what}) is used at once`, async () => {
    const world = await busy();
    await free(world);
    await world.advance(0);
    assertRefilled(world);
  });
}

test("S9: a slot that was freed by a change in the tracker is used at once", async () => {
  const world = await busy();
  world.set(issue("A-1", { state: "Backlog" }));
  world.orchestrator.post({ type: "issue.hinted", issueId: "id-A-1" });
  await world.advance(0);
  await world.run("A-1").end(stopped);
  await world.advance(0);
  assert.deepEqual([world.live, reads(world)], [["A-2"], ["issues A-1", "issues A-2"]]);
});

test("S9: an issue that is done after a success leaves its slot to the next one", async () => {
  const world = await busy();
  world.set(issue("A-1", { state: "Done" }));
  await world.run("A-1").end();
  await world.advance(1_000);
  assert.deepEqual([world.live, reads(world)], [["A-2"], ["issues A-1", "issues A-2"]]);
});

test("S9: a higher limit, in total or for one state, takes effect at once", async () => {
  const byState = config({
    polling: { intervalMs: pollMs },
    agent: { maxConcurrentAgentsByState: { todo: 1 } },
  });
  for (const settings of [oneSlot(), byState]) {
    const world = await busy(settings);
    world.config = config({ polling: { intervalMs: pollMs } });
    world.orchestrator.post({ type: "config.changed" });
    await world.advance(0);
    assert.deepEqual([world.live, reads(world)], [["A-1", "A-2"], ["issues A-2"]]);
  }
});

test("S9: a running issue that moves to another state frees its state's slot", async () => {
  const world = await busy(
    config({
      polling: { intervalMs: pollMs },
      agent: { maxConcurrentAgentsByState: { todo: 1 } },
    }),
  );
  world.set(issue("A-1", { state: "In Progress" }));
  world.orchestrator.post({ type: "issue.hinted", issueId: "id-A-1" });
  await world.advance(0);
  assert.deepEqual(world.live, ["A-1", "A-2"]);
});

test("S9: slots that become free together share one request, and are filled in order", async () => {
  const names = ["A-1", "A-2", "B-3", "B-1", "B-2"];
  const settings = oneSlot({ agent: { maxConcurrentAgents: 2 } });
  const priorities = [1, 1, 4, 2, 3];
  const world = await new Scheduler(
    names.map((name, index) => issue(name, { priority: priorities[index] ?? null })),
    settings,
  ).begin();
  world.calls.length = 0;
  world.orchestrator.post({ type: "operator.aborted", issueId: "id-A-1", reason: null });
  world.orchestrator.post({ type: "operator.aborted", issueId: "id-A-2", reason: null });
  await Promise.all([world.run("A-1").end(stopped), world.run("A-2").end(stopped)]);
  await world.advance(0);
  assert.deepEqual(reads(world), ["issues B-1 B-2"]);
  assert.deepEqual(world.live, ["B-1", "B-2"]);
});

test("O-17: an issue that continues keeps its slot; one whose turn failed does not", async () => {
  const world = await busy();
  await world.run("A-1").end();
  await world.advance(999);
  assert.deepEqual([world.live, reads(world)], [[], []]);
  await world.advance(1);
  assert.deepEqual(world.live, ["A-1"]);
  assert.equal(world.run("A-1").order.attempt, 1);
  await world.run("A-1").end(boom);
  await world.advance(0);
  assert.deepEqual(world.live, ["A-2"]);
});

test("O-24: a retry that was due without a free slot is checked when there is one, in its order", async () => {
  const settings = oneSlot();
  const world = await new Scheduler(
    [
      issue("A-1", { priority: 2 }),
      issue("B-1", { priority: 1 }),
      issue("C-1", { priority: 3 }),
      issue("D-1", { priority: 4 }),
    ],
    settings,
  ).begin();
  assert.deepEqual(world.live, ["B-1"]);
  world.run("B-1").say({ type: "turn.started", turnId: "t" });
  await world.run("B-1").end(boom);
  await world.advance(10_000);
  assert.deepEqual(world.live, ["A-1"]);
  const entry = world.orchestrator.state.issues.of("retrying").get("id-B-1");
  assert.deepEqual([entry?.attempt, entry?.error], [2, "no available orchestrator slots"]);
  world.calls.length = 0;
  await world.run("A-1").end(boom);
  await world.advance(0);
  assert.deepEqual([world.live, reads(world)], [["B-1"], ["issues B-1"]]);
  assert.equal(world.run("B-1").order.attempt, 2);
  await world.advance(10_000);
  await world.run("B-1").end(boom);
  await world.advance(0);
  assert.deepEqual(world.live, ["A-1"], "before C-1, which was not begun");
});

test("an issue that was moved meanwhile is not started, leaves the queue, and the next one is checked", async () => {
  const world = await new Scheduler(
    ["A-1", "A-2", "A-3", "A-4"].map((name) => issue(name)),
    oneSlot(),
  ).begin();
  world.calls.length = 0;
  world.set(issue("A-2", { state: "Done" }));
  world.issues.delete("id-A-3");
  await world.run("A-1").end(boom);
  await world.advance(0);
  await world.advance(0);
  assert.deepEqual(world.live, ["A-4"]);
  assert.deepEqual(reads(world), ["issues A-2", "issues A-3", "issues A-4"]);
  const queue = world.orchestrator.state.queue.map(({ identifier }) => identifier);
  assert.deepEqual(queue, ["A-1", "A-4"]);
});

test("INV-14: a read that is older than a list decides nothing", async () => {
  const world = await busy();
  const slow = Promise.withResolvers<void>();
  world.readGate = slow.promise;
  await world.run("A-1").end(boom);
  await world.advance(0);
  world.readGate = null;
  world.set(issue("A-2", { state: "Backlog" }));
  world.orchestrator.post({ type: "refresh.requested" });
  await world.advance(0);
  slow.resolve();
  await world.advance(0);
  assert.deepEqual(world.live, []);
});

test("a failed read is not repeated before the next poll", async () => {
  const world = await busy();
  world.readFails = "down";
  await world.run("A-1").end(boom);
  await world.advance(0);
  assert.deepEqual([world.live, reads(world)], [[], ["issues A-2"]]);
  assert.equal(world.orchestrator.state.trackerError?.message, "down");
  await world.advance(9_000);
  assert.deepEqual(reads(world), ["issues A-2"]);
  world.readFails = null;
  await world.advance(pollMs);
  assert.ok(world.calls.includes("candidates"));
  assert.equal(world.live.length, 1);
});

test("after three consecutive attempts that failed before their first turn, only polls start the next", async () => {
  const names = [1, 2, 3, 4, 5, 6, 7].map((n) => `A-${n}`);
  const world = await new Scheduler(
    names.map((name) => issue(name)),
    config({ agent: { maxConcurrentAgents: 2 } }),
  ).begin();
  for (const name of ["A-1", "A-2", "A-3"]) {
    await world.run(name).end(boom);
    await world.advance(0);
  }
  assert.deepEqual(world.live, ["A-4"]);
  world.run("A-4").say({ type: "turn.started", turnId: "t" });
  await world.run("A-4").end(boom);
  await world.advance(0);
  assert.deepEqual(world.live, ["A-5", "A-6"], "one that began its turn says that agents start");
  await world.run("A-5").end({ ...boom, code: "provider_limited", untilWall: null });
  assert.equal(world.orchestrator.state.refill.falseStarts, 0, "a limit is no false start");
});

test("INV-17: an invalid file and a draining server leave the slot free", async () => {
  const invalid = await busy();
  invalid.problem = { code: "invalid_config", message: "line 3" };
  await invalid.run("A-1").end(boom);
  await invalid.advance(0);
  assert.deepEqual([invalid.live, reads(invalid)], [[], []]);
  const draining = await busy();
  draining.orchestrator.post({ type: "drain.requested", stopAttempts: true });
  await draining.run("A-1").end(stopped);
  await draining.advance(minute);
  assert.deepEqual([draining.live, reads(draining)], [[], []]);
});

test("a server that begins to drain during a read starts none of its issues", async () => {
  const world = await busy();
  const slow = Promise.withResolvers<void>();
  world.readGate = slow.promise;
  await world.run("A-1").end(boom);
  await world.advance(0);
  world.orchestrator.post({ type: "drain.requested", stopAttempts: false });
  slow.resolve();
  await world.advance(0);
  assert.deepEqual(world.live, []);
});

test("with --once, an issue that waited for a slot in the only poll is not started after it", async () => {
  const world = new Scheduler([issue("A-1"), issue("A-2")], oneSlot());
  world.orchestrator.start();
  const over = world.orchestrator.once();
  await world.advance(0);
  await world.run("A-1").end(boom);
  await world.advance(minute);
  await over;
  assert.deepEqual(
    world.runs.map(({ order }) => order.issue.identifier),
    ["A-1"],
  );
});

test("S9: an issue whose last blocker has just ended is read and started at once", async () => {
  const blockers = (...names: string[]) => names.map((name) => linkTo(issue(name)));
  const waits = { dispatchable: false };
  const world = await new Scheduler(
    [
      issue("A-1"),
      issue("A-2", { ...waits, blockedBy: blockers("A-1") }),
      issue("A-3", { ...waits, blockedBy: blockers("A-1", "X-9") }),
    ],
    config({ polling: { intervalMs: pollMs } }),
  ).begin();
  assert.deepEqual(world.live, ["A-1"]);
  world.calls.length = 0;
  world.set(issue("A-1", { state: "Done" }));
  world.set(issue("A-2"));
  await world.run("A-1").end();
  await world.advance(1_000);
  assert.deepEqual([world.live, reads(world)], [["A-2"], ["issues A-1", "issues A-2"]]);
});

test("the tracker's answer decides for an issue whose blockers have ended", async () => {
  const waits = { dispatchable: false };
  const blockedBy = [linkTo(issue("A-1"))];
  const world = await new Scheduler(
    [issue("A-1"), issue("A-2", { ...waits, blockedBy })],
    config({ polling: { intervalMs: pollMs } }),
  ).begin();
  world.calls.length = 0;
  world.set(issue("A-1", { state: "Done" }));
  await world.run("A-1").end();
  await world.advance(minute);
  assert.deepEqual([world.live, reads(world)], [[], ["issues A-1", "issues A-2"]]);
});

test("a paused provider and a new day open the queue at their time", async () => {
  const paused = await busy();
  const untilWall = paused.clock.wall() + 5 * minute;
  const limited = {
    kind: "failed",
    code: "provider_limited",
    message: "limit",
    untilWall,
  } as const;
  await paused.run("A-1").end(limited);
  await paused.advance(5 * minute - 1);
  assert.deepEqual([paused.live, reads(paused)], [[], []]);
  await paused.advance(1);
  assert.equal(paused.live.length, 1);

  const spent = await busy(oneSlot({ brakes: { tokensPerDay: 5 } }));
  spent.run("A-1").say({ type: "tokens", total: { ...noTokens, total: 7 } });
  await transition(spent, "held");
  await spent.run("A-1").end(stopped);
  await spent.advance(0);
  assert.deepEqual(spent.live, []);
  const midnight = Date.UTC(2026, 10, 24) - spent.clock.wall();
  await spent.advance(midnight - 1);
  assert.deepEqual(spent.live, []);
  spent.calls.length = 0;
  await spent.advance(1);
  assertRefilled(spent);
});

async function transition(world: Scheduler, to: "held" | "completed"): Promise<void> {
  const input = { type: "operator.transitioned", issueId: "id-A-1", to, reason: null } as const;
  await world.orchestrator.apply(input);
}
