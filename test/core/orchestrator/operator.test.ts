import assert from "node:assert/strict";
import { test } from "node:test";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import type { Input } from "../../../src/core/orchestrator/messages.ts";
import { snapshot } from "../../../src/core/orchestrator/snapshot.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

const stopped = { kind: "stopped" } as const;
const to = (target: "queued" | "held" | "completed"): Input => ({
  type: "operator.transitioned",
  issueId: "id-A-1",
  to: target,
  reason: null,
});
const abort: Input = { type: "operator.aborted", issueId: "id-A-1", reason: "wrong branch" };

test("INV-22: an aborted issue stays held over polls and over a restart", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.orchestrator.apply(abort);
  assert.equal(world.records.get("id-A-1")?.held?.reason, "aborted: wrong branch");
  await world.run("A-1").end(stopped);
  await world.advance(120_000);
  assert.deepEqual(world.live, []);
  const next = await new Scheduler([issue("A-1")], config(), world.records).begin();
  assert.deepEqual(next.live, []);
  assert.ok(!next.events.some(({ type }) => type === "issue.queued"), "and is not said to queue");
  await next.orchestrator.apply(to("queued"));
  await next.advance(0);
  assert.deepEqual(next.live, ["A-1"]);
});

test("an abort is idempotent, and refused when nothing runs", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.orchestrator.apply(abort);
  await world.orchestrator.apply(abort);
  assert.equal(world.calls.filter((call) => call === "stop A-1").length, 1);
  await world.run("A-1").end(stopped);
  await assert.rejects(world.orchestrator.apply(abort), { code: "not_running" });
});

test("a stopping attempt is shown as running until its agent has exited, and holds its slot", async () => {
  const settings = config({ agent: { maxConcurrentAgents: 1 } });
  const world = await new Scheduler([issue("A-1"), issue("A-2")], settings).begin();
  await world.orchestrator.apply(abort);
  await world.advance(60_000);
  assert.deepEqual(world.live, ["A-1"]);
  const view = () =>
    snapshot(world.orchestrator.state, world.config, { now: world.clock.now(), limit: 9 }).counts;
  assert.deepEqual([view().running, view().held], [1, 0]);
  await world.run("A-1").end(stopped);
  assert.deepEqual([view().running, view().held], [0, 1]);
  await world.advance(30_000);
  assert.deepEqual(world.live, ["A-2"]);
});

test("steering needs a running turn, and a refusal by the agent reaches the caller", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  const steer: Input = {
    type: "operator.steered",
    issueId: "id-A-1",
    steerId: "s-1",
    message: "auth first",
  };
  await assert.rejects(world.orchestrator.apply(steer), { code: "no_active_turn" });
  world.run("A-1").say({ type: "turn.started", turnId: "1" });
  await world.orchestrator.apply(steer);
  assert.ok(world.calls.includes("steer auth first"));
  world.run("A-1").say({ type: "steer.delivered", steerId: "s-1" });
  assert.ok(world.calls.includes("settle s-1"));
  world.steerRefusal = new SymphonyError("no_active_turn", "the turn has ended");
  await assert.rejects(world.orchestrator.apply(steer), { code: "no_active_turn" });
});

test("held: a queued, a retrying and a running issue can be held; none starts again", async () => {
  for (const arrange of [
    async () => {},
    async (world: Scheduler) => {
      await world.run("A-1").end({ kind: "failed", code: "turn_failed", message: "boom" });
    },
  ]) {
    const world = await new Scheduler([issue("A-1")]).begin();
    await arrange(world);
    await world.orchestrator.apply(to("held"));
    await world.run("A-1").end(stopped);
    await world.advance(400_000);
    assert.deepEqual(world.live, []);
    assert.equal(world.orchestrator.state.issues.of("retrying").size, 0);
  }
});

test("an issue completed by an operator stays completed until its state in the tracker changes", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.orchestrator.apply(to("completed"));
  await world.run("A-1").end(stopped);
  await world.advance(60_000);
  assert.deepEqual(world.live, []);
  world.set(issue("A-1", { state: "In Progress" }));
  await world.advance(30_000);
  assert.deepEqual(world.live, ["A-1"]);
});

test("a refused transition names the allowed ones and changes nothing", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  const before = world.orchestrator.state;
  await assert.rejects(world.orchestrator.apply(to("queued")), (error) => {
    assert.ok(error instanceof SymphonyError);
    assert.deepEqual(error.details["allowed"], ["held", "completed"]);
    return error.code === "transition_not_allowed";
  });
  assert.equal(world.orchestrator.state, before);
});

test("C-5: draining stops everything as interrupted and starts nothing more", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  const drained = world.orchestrator.drain();
  world.set(issue("A-2"));
  world.orchestrator.post({ type: "refresh.requested" });
  await world.run("A-1").end(stopped);
  await drained;
  await world.advance(60_000);
  assert.deepEqual(world.live, []);
  assert.equal([...world.attempts.values()][0]?.status, "interrupted");
  assert.deepEqual(world.failures, []);
});

const place = { path: "/w", head: "c0ffee", dirty: false };
const attach = (interrupt = false, head: string | null = place.head): Input => ({
  type: "operator.attached",
  issueId: "id-A-1",
  interrupt,
  attached: { ...place, head },
});
const detach: Input = { type: "operator.detached", issueId: "id-A-1" };

test("attached, an issue is held over a restart, until the person detaches", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await assert.rejects(world.orchestrator.apply(attach()), { code: "turn_running" });
  assert.deepEqual(world.live, ["A-1"]);
  await world.orchestrator.apply(attach(true));
  await assert.rejects(world.orchestrator.apply(detach), { code: "not_attached" });
  await world.run("A-1").end(stopped);
  // The agent is gone, but a crash came before that was recorded.
  await world.orchestrator.apply(attach(false, null));
  await world.orchestrator.apply(attach());
  await world.orchestrator.apply(attach(false, "decaf"));
  assert.deepEqual(world.records.get("id-A-1")?.held?.attached, place, "the first commit stays");
  const next = await new Scheduler([issue("A-1")], config(), world.records).begin();
  await next.advance(120_000);
  assert.deepEqual(next.live, []);
  await next.orchestrator.apply(detach);
  await next.advance(0);
  assert.deepEqual(next.live, ["A-1"]);
  await assert.rejects(next.orchestrator.apply(detach), { code: "not_attached" });
});

test("an issue that is completed cannot be attached to", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.orchestrator.apply(to("completed"));
  await world.run("A-1").end(stopped);
  await assert.rejects(world.orchestrator.apply(attach()), { code: "transition_not_allowed" });
});
