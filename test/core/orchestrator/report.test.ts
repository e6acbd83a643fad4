import assert from "node:assert/strict";
import { test } from "node:test";
import type { AgentEvent } from "../../../src/core/agent/agent.ts";
import { noTokens } from "../../../src/core/model/attempt.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

const boom = { kind: "failed", code: "turn_failed", message: "boom" } as const;
const needs = { kind: "approval", prompt: "May I?", options: ["approve"] } as const;
const ask = { id: "ask-1", sinceWall: 0, untilWall: 9 };

/** Every event of a session, and the type of the bus event that it becomes; null: none. */
const said: readonly (readonly [event: AgentEvent, type: string | null])[] = [
  [{ type: "session.started", threadId: "t", resumed: false }, "session.started"],
  [{ type: "turn.started", turnId: "1" }, "turn.started"],
  [{ type: "message", text: "hello" }, "agent.message"],
  [
    { type: "command", command: "ls", status: "completed", exitCode: 0, output: "a" },
    "agent.command",
  ],
  [{ type: "file_change", status: "completed", paths: ["a.txt"] }, "agent.file_change"],
  [{ type: "tool_call", tool: "nothing", outcome: "unsupported" }, "agent.tool_call"],
  [{ type: "tokens", total: { ...noTokens, total: 5 } }, "agent.tokens"],
  [{ type: "rate_limits", limits: { primary: {} } }, "agent.rate_limits"],
  [{ type: "approval.requested", needs, ask }, "approval.requested"],
  [
    { type: "approval.resolved", decision: "approve", automatic: false, askId: "ask-1" },
    "approval.resolved",
  ],
  [{ type: "steer.delivered", steerId: "str_1" }, "steer.delivered"],
  [{ type: "notice", message: "{ half a line", malformed: true }, "agent.notice"],
  [{ type: "activity", method: "item/started" }, null],
  [{ type: "turn.completed", turnId: "1" }, "turn.completed"],
  [{ type: "turn.failed", turnId: "1", message: "no luck" }, "turn.failed"],
];

test("E-1: each event of an agent becomes one event with its issue, attempt and session, a line and facts", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  const { order } = world.run("A-1");
  for (const [event, type] of said) {
    world.events.length = 0;
    world.run("A-1").say(event);
    // A wait for a person is reported by an event of the issue in addition.
    const told = world.events.filter((one) => !one.type.startsWith("issue."));
    assert.deepEqual(
      told.map((one) => one.type),
      type === null ? [] : [type],
    );
    for (const { issueId, issueIdentifier, attemptId, sessionId, message, data } of told) {
      assert.deepEqual([issueId, issueIdentifier, attemptId], ["id-A-1", "A-1", order.attemptId]);
      assert.equal(sessionId, type === "session.started" ? null : "t-1");
      assert.ok(message.length > 0 && data !== undefined, `${type} says something`);
    }
  }
  world.run("A-1").say({ type: "notice", message: "{ half a line", malformed: true });
  assert.deepEqual(world.events.at(-1)?.data, { malformed: true });
});

test("E-2: every event of a session is its last event, with its time", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  for (const [event, type] of said) {
    await world.advance(100);
    world.run("A-1").say(event);
    const row = world.orchestrator.state.issues.of("running").get("id-A-1");
    assert.equal(row?.lastEvent, type ?? "item/started");
    assert.deepEqual(
      [row?.lastEventAt, row?.lastEventWall],
      [world.clock.now(), world.clock.wall()],
    );
  }
  world.run("A-1").say({ type: "message", text: "good bye" });
  const row = world.orchestrator.state.issues.of("running").get("id-A-1");
  assert.equal(row?.lastMessage, "good bye");
});

test("E-2, O-30: silence is measured from the last event", async () => {
  const settings = config({ agent: { stallTimeoutMs: 100_000 } });
  const world = await new Scheduler([issue("A-1")], settings).begin();
  await world.advance(90_000);
  world.run("A-1").say({ type: "activity", method: "item/started" });
  for (const _ of [1, 2, 3]) await world.advance(30_000);
  assert.equal(world.run("A-1").stopReason, null, "silent for 90 s");
  await world.advance(30_000);
  assert.match(world.run("A-1").stopReason ?? "", /no event for 120000 ms/);
});

test("E-2: an event of an issue without an attempt, or of an earlier attempt, changes nothing", async () => {
  const world = await new Scheduler([issue("A-1"), issue("A-2")]).begin();
  const first = world.run("A-1");
  await first.end(boom);
  await world.run("A-2").end(boom);
  const event = { type: "tokens", total: { ...noTokens, total: 9 } } as const;
  const ignored = (say: () => void) => {
    const before = world.orchestrator.state;
    world.events.length = 0;
    say();
    assert.equal(world.orchestrator.state, before);
    assert.deepEqual(world.events, []);
  };
  const { attemptId } = first.order;
  for (const issueId of ["id-A-1", "id-nobody"]) {
    ignored(() => {
      world.orchestrator.post({ type: "attempt.reported", issueId, attemptId, event });
    });
  }
  await world.advance(10_000);
  assert.deepEqual(world.live, ["A-1", "A-2"]);
  assert.notEqual(world.run("A-1"), first);
  ignored(() => first.say(event));
  assert.equal(world.orchestrator.state.usage.tokens.total, 0);
});
