import assert from "node:assert/strict";
import { test } from "node:test";
import type { AgentEvent } from "../../../src/core/agent/agent.ts";
import type { Needs } from "../../../src/core/model/attempt.ts";
import { dispatchGates } from "../../../src/core/orchestrator/explain.ts";
import type { Input } from "../../../src/core/orchestrator/messages.ts";
import { snapshot } from "../../../src/core/orchestrator/snapshot.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

const needs: Needs = { kind: "approval", prompt: "Run rm?", options: ["accept", "decline"] };
const approve: Input = {
  type: "operator.responded",
  issueId: "id-A-1",
  answer: { type: "decision", approve: true },
};

function asks(world: Scheduler, id = "ask_1"): AgentEvent {
  const sinceWall = world.clock.wall();
  return {
    type: "approval.requested",
    needs,
    ask: { id, sinceWall, untilWall: sinceWall + 60_000 },
  };
}

const view = (world: Scheduler) =>
  snapshot(world.orchestrator.state, world.config, { now: world.clock.now(), limit: 9 });
const counts = (world: Scheduler) => {
  const { running, blocked, queued } = view(world).counts;
  return { running, blocked, queued };
};

test("an issue whose agent waits for a person is blocked, once, and its agent keeps running", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  world.run("A-1").say(asks(world), asks(world, "ask_2"));
  assert.deepEqual(counts(world), { running: 0, blocked: 1, queued: 0 });
  assert.deepEqual(world.live, ["A-1"]);
  assert.equal(world.eventTypes("A-1").filter((type) => type === "issue.blocked").length, 1);
});

test("the event of a request and the gate of its issue name the command that answers this request alone", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  const told = () =>
    world.events.filter(({ type }) => type === "issue.blocked").map(({ data }) => data?.["next"]);
  const gate = () =>
    dispatchGates(issue("A-1"), world.orchestrator.state, {
      config: world.config,
      problem: null,
    }).find((one) => one.gate === "not_claimed");
  const command = (id: string) => `symphony respond A-1 approve --id ${id}`;
  world.run("A-1").say(asks(world), asks(world, "ask_2"));
  assert.deepEqual([gate()?.detail, gate()?.opens], ["waiting for a person", command("ask_1")]);
  await world.orchestrator.apply(approve);
  assert.deepEqual(told(), [command("ask_1"), command("ask_2")]);
  await world.run("A-1").end({ kind: "needs", needs, code: "approval_required" });
  const ended = command(`ended_${world.clock.wall()}`);
  assert.deepEqual([told().at(-1), gate()?.opens], [ended, ended]);
});

test("answers reach the live agent in the order of its requests, and the issue runs again after the last", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  const attempt = world.run("A-1").order.attemptId;
  world.run("A-1").say(asks(world), asks(world, "ask_2"));
  await world.orchestrator.apply(approve);
  assert.deepEqual(counts(world), { running: 0, blocked: 1, queued: 0 });
  assert.deepEqual(
    world.orchestrator.state.issues
      .of("running")
      .get("id-A-1")
      ?.questions.map(({ id }) => id),
    ["ask_2"],
  );
  const told = world.eventTypes("A-1").filter((type) => type === "issue.blocked").length;
  assert.equal(told, 2, "the further request is told when it is the next");
  await world.orchestrator.apply(approve);
  assert.deepEqual(counts(world), { running: 1, blocked: 0, queued: 0 });
  assert.deepEqual(
    world.calls.filter((call) => call.startsWith("answer")),
    [`answer ${attempt}`, `answer ${attempt}`],
  );
  assert.equal(world.runs.length, 1);
  await assert.rejects(world.orchestrator.apply(approve), { code: "nothing_asked" });
});

test("an agent that waits keeps its slot and is not stalled", async () => {
  const settings = config({
    agent: { maxConcurrentAgents: 1, stallTimeoutMs: 30_000 },
  });
  const world = await new Scheduler([issue("A-1"), issue("A-2")], settings).begin();
  world.run("A-1").say(asks(world));
  await world.advance(50_000);
  assert.deepEqual(world.live, ["A-1"]);
  assert.equal(world.run("A-1").stopReason, null);
  assert.deepEqual(counts(world), { running: 0, blocked: 1, queued: 1 });
});

test("the end of a turn ends its open requests", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  world.run("A-1").say(asks(world), { type: "turn.failed", turnId: "t", message: "cut" });
  assert.deepEqual(counts(world), { running: 1, blocked: 0, queued: 0 });
  await assert.rejects(world.orchestrator.apply(approve), { code: "nothing_asked" });
});

test("after the timeout the issue stays blocked without an agent, and an answer starts it again", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  world.run("A-1").say(asks(world));
  await world.run("A-1").end({ kind: "needs", needs, code: "approval_required" });
  assert.deepEqual(counts(world), { running: 0, blocked: 1, queued: 0 });
  assert.deepEqual(world.live, []);
  await world.advance(120_000);
  assert.equal(world.runs.length, 1);
  await world.orchestrator.apply(approve);
  await world.advance(0);
  assert.deepEqual(world.live, ["A-1"]);
  assert.equal(world.runs.length, 2);
});

test("an aborted agent gets no answer, and has no other open request", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  world.run("A-1").say(asks(world));
  await world.orchestrator.apply({ type: "operator.aborted", issueId: "id-A-1", reason: null });
  await assert.rejects(world.orchestrator.apply(approve), { code: "nothing_asked" });
  await world.run("A-1").end({ kind: "stopped" });
  assert.deepEqual(world.live, []);
  await assert.rejects(world.orchestrator.apply(approve), { code: "nothing_asked" });
});

test("an issue that leaves the active states while its agent waits is stopped", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  world.run("A-1").say(asks(world));
  world.set(issue("A-1", { state: "Done" }));
  await world.advance(30_000);
  assert.ok(world.calls.some((call) => call.startsWith("stop A-1")));
});
