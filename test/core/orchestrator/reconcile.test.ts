import assert from "node:assert/strict";
import { test } from "node:test";
import { noTokens } from "../../../src/core/model/attempt.ts";
import { snapshot } from "../../../src/core/orchestrator/snapshot.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

const boom = { kind: "failed", code: "turn_failed", message: "boom" } as const;
const stopped = { kind: "stopped" } as const;

test("O-30, INV-23, FAULT-2: silence that exceeds the limit stalls an attempt; silence equal to the limit does not", async () => {
  const settings = config({ polling: { intervalMs: 100_000 }, agent: { stallTimeoutMs: 100_000 } });
  const world = await new Scheduler([issue("A-1")], settings).begin();
  await world.advance(100_000);
  assert.equal(world.run("A-1").stopReason, null);
  await world.advance(100_000);
  assert.match(world.run("A-1").stopReason ?? "", /stalled: no event for 200000 ms/);
  await world.run("A-1").end(stopped);
  const entry = world.orchestrator.state.issues.of("retrying").get("id-A-1");
  assert.equal(entry?.attempt, 1);
  assert.match(entry?.error ?? "", /stalled/);
  assert.equal([...world.attempts.values()][0]?.status, "stalled");
});

test("a server that stood still gives each attempt a whole round, and takes the time off its limit", async () => {
  const settings = config({
    polling: { intervalMs: 30_000 },
    agent: { stallTimeoutMs: 100_000 },
    brakes: { attemptTimeoutMs: 150_000 },
  });
  const scheduler = new Scheduler([issue("A-1")], settings);
  let notice = (_: number) => {};
  Object.assign(scheduler.clock, {
    standstills(fn: (ms: number) => void) {
      notice = fn;
      return () => {};
    },
  });
  const world = await scheduler.begin();
  world.run("A-1").reports.reported({ type: "turn.started", turnId: "turn-1" });
  await world.advance(89_000);
  notice(89_000);
  await world.advance(91_000);
  assert.equal(world.run("A-1").stopReason, null, "180 s since its start, 91 s since the notice");
  await world.advance(30_000);
  assert.equal(world.run("A-1").stopReason, "stalled: no event for 121000 ms");
});

test("O-30: an attempt that waits for a person is not stalled; after the answer it can be again", async () => {
  const settings = config({ agent: { stallTimeoutMs: 100_000 } });
  const world = await new Scheduler([issue("A-1")], settings).begin();
  const run = world.run("A-1");
  const ask = {
    id: "ask-1",
    sinceWall: world.clock.wall(),
    untilWall: world.clock.wall() + 900_000,
  };
  const needs = { kind: "approval", prompt: "rm -rf?", options: ["approve"] } as const;
  run.say({ type: "approval.requested", needs, ask });
  for (let poll = 0; poll < 6; poll++) await world.advance(30_000);
  assert.equal(run.stopReason, null);
  run.say({ type: "approval.resolved", decision: "approve", automatic: false, askId: "ask-1" });
  for (let poll = 0; poll < 4; poll++) await world.advance(30_000);
  assert.match(run.stopReason ?? "", /stalled/);
});

test("W-10: a stall limit of zero or less disables the check", async () => {
  const settings = config({ agent: { stallTimeoutMs: -1 } });
  const world = await new Scheduler([issue("A-1")], settings).begin();
  await world.advance(10_000_000);
  assert.equal(world.run("A-1").stopReason, null);
});

test("O-31, INV-12, INV-21: a terminal issue is stopped and cleaned up after its agent has exited, without a retry", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  world.set(issue("A-1", { state: "Done" }));
  await world.advance(30_000);
  assert.ok(world.calls.includes("stop A-1"));
  assert.ok(!world.calls.includes("remove A-1"));
  await world.run("A-1").end(stopped);
  assert.ok(world.calls.includes("remove A-1"));
  assert.equal(world.orchestrator.state.issues.of("retrying").size, 0);
  assert.deepEqual([...world.orchestrator.state.issues.of("completed").keys()], ["id-A-1"]);
});

test("an agent that moved its own issue may finish its turn, and then has succeeded", async () => {
  const world = await new Scheduler([issue("A-1"), issue("A-2")]).begin();
  for (const name of ["A-1", "A-2"]) {
    world.run(name).say({ type: "turn.started", turnId: "1" });
    world.run(name).say({ type: "tool_call", tool: "issue_move", outcome: "completed" });
    world.set(issue(name, { state: "Done" }));
  }
  await world.advance(30_000);
  assert.ok(world.calls.includes("stop A-1 within 10000"));
  world.run("A-1").say({ type: "tokens", total: { ...noTokens, total: 7 } });
  await world.run("A-1").end();
  await world.run("A-2").end(stopped);
  const outcomes = [...world.attempts.values()].map(({ status, tokens }) => [status, tokens.total]);
  assert.deepEqual(outcomes, [
    ["succeeded", 7],
    ["canceled", 0],
  ]);
  assert.equal(world.orchestrator.state.issues.of("retrying").size, 0);
  assert.deepEqual(
    world.calls.filter((call) => call.startsWith("remove")),
    ["remove A-1", "remove A-2"],
  );
});

test("a poll between its last turn and its exit does not change its success", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  const run = world.run("A-1");
  run.say({ type: "turn.started", turnId: "1" });
  run.say({ type: "tool_call", tool: "issue_move", outcome: "completed" });
  run.say({ type: "turn.completed", turnId: "1" });
  world.set(issue("A-1", { state: "Done" }));
  await world.advance(30_000);
  assert.ok(world.calls.includes("stop A-1 within 10000"));
  await run.end();
  assert.equal([...world.attempts.values()][0]?.status, "succeeded");
});

test("an abort during that grace ends it at once, and so does the end of the server", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  world.run("A-1").say({ type: "turn.started", turnId: "1" });
  world.run("A-1").say({ type: "tool_call", tool: "issue_move", outcome: "completed" });
  world.set(issue("A-1", { state: "Done" }));
  await world.advance(30_000);
  const drained = world.orchestrator.drain();
  assert.equal(world.calls.filter((call) => call === "stop A-1").length, 1);
  await world.run("A-1").end(stopped);
  await drained;
  assert.ok(world.calls.includes("remove A-1"), "what was to become of it stays so");
});

test("O-33: inactive, unroutable, reassigned and missing issues are stopped and keep their workspace", async () => {
  const settings = config({ tracker: { requiredLabels: ["go"] } });
  const names = ["A-1", "A-2", "A-3", "A-4"];
  const world = await new Scheduler(
    names.map((name) => issue(name, { labels: ["go"] })),
    settings,
  ).begin();
  world.set(issue("A-1", { labels: ["go"], state: "Human Review" }));
  world.set(issue("A-2"));
  world.set(issue("A-3", { labels: ["go"], dispatchable: false }));
  world.issues.delete("id-A-4");
  await world.advance(30_000);
  for (const name of names) {
    const run = world.run(name);
    assert.ok(run.stopReason, `${name} was told to stop`);
    await run.end(stopped);
  }
  assert.deepEqual(world.live, []);
  assert.equal(world.orchestrator.state.issues.of("retrying").size, 0);
  assert.ok(!world.calls.some((call) => call.startsWith("remove")));
});

test("O-32: the row of an active issue shows the newest snapshot", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  world.set(issue("A-1", { state: "In Progress", title: "New" }));
  await world.advance(30_000);
  assert.equal(world.orchestrator.state.issues.of("running").get("id-A-1")?.issue.title, "New");
});

test("O-34: later events of a stopped attempt change nothing, and its time counts once", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  world.issues.delete("id-A-1");
  await world.advance(30_000);
  const run = world.run("A-1");
  run.say({ type: "tokens", total: { ...noTokens, input: 5, total: 5 } });
  await run.end(boom);
  await world.advance(60_000);
  const { state } = world.orchestrator;
  assert.equal(state.issues.of("retrying").size, 0);
  assert.equal(state.usage.tokens.total, 0);
  assert.equal(state.usage.seconds, 30);
});

test("O-34, INV-10: the late exit of an earlier attempt ends no later one", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  const { attemptId } = world.run("A-1").order;
  await world.run("A-1").end(boom);
  await world.advance(10_000);
  const { state } = world.orchestrator;
  const exit = { kind: "failed", code: "port_exit", message: "late", git: null } as const;
  world.orchestrator.post({ type: "attempt.exited", issueId: "id-A-1", attemptId, exit });
  assert.equal(world.orchestrator.state, state);
  assert.deepEqual(world.live, ["A-1"]);
});

test("O-29: a failed refresh keeps every attempt", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  world.readFails = "down";
  await world.advance(30_000);
  assert.deepEqual(world.live, ["A-1"]);
  assert.equal(world.run("A-1").stopReason, null);
});

test("O-16: a new row has no session, no event and zero tokens, also the row of a retry", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  const fresh = () => {
    const entry = world.orchestrator.state.issues.of("running").get("id-A-1");
    const { sessionId, threadId, turnId, turnCount, lastEvent, lastEventAt, lastMessage } =
      entry ?? {};
    assert.deepEqual([sessionId, threadId, turnId, turnCount], [null, null, null, 0]);
    assert.deepEqual([lastEvent, lastEventAt, lastMessage], [null, null, null]);
    assert.deepEqual([entry?.tokens, entry?.threadTokens], [noTokens, noTokens]);
    assert.deepEqual(
      [entry?.startedAt, entry?.startedWall],
      [world.clock.now(), world.clock.wall()],
    );
    return [entry?.attempt, entry?.number];
  };
  assert.deepEqual(fresh(), [null, 1]);
  const first = world.run("A-1");
  first.say({ type: "session.started", threadId: "t", resumed: false });
  first.say({ type: "turn.started", turnId: "1" });
  first.say({ type: "tokens", total: { ...noTokens, total: 5 } });
  await first.end(boom);
  await world.advance(10_000);
  assert.deepEqual(fresh(), [1, 2]);
  assert.ok(world.run("A-1").order.attemptId > first.order.attemptId, "ids grow");
  const { issues } = world.orchestrator.state;
  assert.deepEqual([issues.of("retrying").size, issues.get("id-A-1")?.claim], [0, "running"]);
});

test("O-37, O-38: an attempt that ends because it needs a person blocks its issue; a tracker change releases it", async () => {
  const world = await new Scheduler([issue("A-1"), issue("A-2")]).begin();
  const needs = { kind: "approval", prompt: "rm -rf?", options: ["approve"] } as const;
  for (const name of ["A-1", "A-2"]) {
    await world.run(name).end({ kind: "needs", needs, code: "approval_required" });
  }
  await world.advance(30_000);
  assert.deepEqual(world.live, []);
  assert.equal(world.orchestrator.state.issues.of("blocked").size, 2);
  world.set(issue("A-1", { state: "Done" }));
  world.issues.delete("id-A-2");
  await world.advance(30_000);
  assert.equal(world.orchestrator.state.issues.of("blocked").size, 0);
  assert.deepEqual(
    world.calls.filter((call) => call.startsWith("remove")),
    ["remove A-1"],
  );
});

test("O-38: a blocked issue shows its data in the tracker, and is released when it may no longer run", async () => {
  const settings = config({ tracker: { requiredLabels: ["go"] } });
  const go = { labels: ["go"] };
  const names = ["A-1", "A-2", "A-3", "A-4"];
  const world = await new Scheduler(
    names.map((name) => issue(name, go)),
    settings,
  ).begin();
  const needs = { kind: "approval", prompt: "rm -rf?", options: ["approve"] } as const;
  for (const name of names) {
    await world.run(name).end({ kind: "needs", needs, code: "approval_required" });
  }
  world.set(issue("A-1", { ...go, title: "Another title" }));
  world.set(issue("A-2", { ...go, state: "Human Review" }));
  world.set(issue("A-3"));
  await world.advance(30_000);
  const blocked = () =>
    [...world.orchestrator.state.issues.of("blocked").values()].map((row) => row.issue);
  assert.deepEqual(
    blocked().map(({ identifier, title }) => [identifier, title]),
    [
      ["A-1", "Another title"],
      ["A-4", issue("A-4").title],
    ],
  );
  assert.ok(!world.calls.some((call) => call.startsWith("remove")), "nothing is cleaned up");
  world.readFails = "down";
  await world.advance(30_000);
  assert.equal(blocked().length, 2, "a read that failed keeps them");
});

test("E-3, A-6: turns are counted by session id; a repeated one counts once", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  const run = world.run("A-1");
  run.say({ type: "session.started", threadId: "t", resumed: false });
  run.say({ type: "turn.started", turnId: "1" }, { type: "turn.started", turnId: "1" });
  run.say({ type: "turn.started", turnId: "2" });
  const entry = world.orchestrator.state.issues.of("running").get("id-A-1");
  assert.deepEqual([entry?.turnCount, entry?.sessionId], [2, "t-2"]);
});

test("E-7, E-8: totals are high-water marks per thread and are summed over attempts", async () => {
  const world = await new Scheduler([issue("A-1"), issue("A-2")]).begin();
  const total = (input: number, output: number, sum: number) =>
    ({ type: "tokens", total: { ...noTokens, input, output, total: sum } }) as const;
  const first = world.run("A-1");
  first.say({ type: "session.started", threadId: "t1", resumed: false });
  first.say(total(8, 3, 11), total(10, 4, 14), total(10, 4, 14), total(9, 4, 13));
  assert.deepEqual(world.orchestrator.state.issues.of("running").get("id-A-1")?.tokens, {
    ...noTokens,
    input: 10,
    output: 4,
    total: 14,
  });
  world.run("A-2").say(total(10, 4, 14));
  assert.equal(world.orchestrator.state.usage.tokens.total, 28);
});

test("a resumed thread counts on from its last reported total", async () => {
  const world = new Scheduler([issue("A-1")]);
  world.resume = { threadId: "t1", tokens: { ...noTokens, total: 100 }, agent: "codex" };
  await world.begin();
  const run = world.run("A-1");
  assert.equal(run.order.resumeThreadId, "t1");
  run.say({ type: "session.started", threadId: "t1", resumed: true });
  run.say({ type: "tokens", total: { ...noTokens, total: 120 } });
  assert.equal(world.orchestrator.state.usage.tokens.total, 20);
});

test("a resumed thread of which its killed agent had recorded less counts on from that, so nothing is lost or counted twice", async () => {
  const tokens = (total: number) => ({ ...noTokens, total });
  for (const [base, counted] of [
    [0, 30],
    [100, 30],
    [120, 50],
  ] as const) {
    const world = new Scheduler([issue("A-1")]);
    world.resume = { threadId: "t1", tokens: tokens(100), agent: "codex" };
    await world.begin();
    const run = world.run("A-1");
    run.say({ type: "session.started", threadId: "t1", resumed: true });
    run.say({ type: "tokens", total: tokens(base + 10), base: tokens(base) });
    run.say({ type: "tokens", total: tokens(base + 30) });
    assert.equal(world.orchestrator.state.usage.tokens.total, counted);
    const entry = world.orchestrator.state.issues.of("running").get("id-A-1");
    assert.deepEqual([entry?.tokens, entry?.threadTokens], [tokens(counted), tokens(base + 30)]);
  }
});

test("E-10: seconds are those of ended attempts plus those of live ones so far", async () => {
  const world = await new Scheduler([issue("A-1"), issue("A-2")]).begin();
  await world.advance(5_000);
  await world.run("A-1").end(boom);
  await world.advance(2_000);
  const view = snapshot(world.orchestrator.state, world.config, {
    now: world.clock.now(),
    limit: 10,
  });
  assert.equal(view.totals.secondsRunning, 12);
});

test("E-11: the newest rate limits are kept; an event without them clears nothing", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  world.run("A-1").say({ type: "rate_limits", limits: { primary: { usedPercent: 43 } } });
  world.run("A-1").say({ type: "message", text: "hello" });
  assert.deepEqual(world.orchestrator.state.rateLimits, { primary: { usedPercent: 43 } });
});
