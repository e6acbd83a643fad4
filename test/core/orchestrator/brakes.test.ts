import assert from "node:assert/strict";
import { test } from "node:test";
import { noTokens } from "../../../src/core/model/attempt.ts";
import { snapshot, statusOfIdentifier } from "../../../src/core/orchestrator/snapshot.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

const tokens = (total: number) => ({ type: "tokens", total: { ...noTokens, total } }) as const;
const queued = (identifier: string) =>
  ({
    type: "operator.transitioned",
    issueId: `id-${identifier}`,
    to: "queued",
    reason: null,
  }) as const;

function view(world: Scheduler) {
  const { clock, orchestrator } = world;
  return snapshot(orchestrator.state, world.config, { now: clock.now(), limit: 50 });
}

function heldReason(world: Scheduler, identifier: string): string | undefined {
  return world.records.get(`id-${identifier}`)?.held?.reason;
}

/** The same issues, attempts and records after a crash. */
function restarted(world: Scheduler, identifiers: readonly string[]): Scheduler {
  const issues = identifiers.map((name) => world.issues.get(`id-${name}`) ?? issue(name));
  const next = new Scheduler(issues, world.config, world.records);
  // Attempts are named by the time, which has advanced meanwhile.
  next.clock.jump(60_000);
  for (const [id, attempt] of world.attempts) next.attempts.set(id, attempt);
  return next;
}

test("tokens_per_issue: over the limit in all its attempts, the issue is held with the numbers, and its agent stopped", async () => {
  const settings = config({ brakes: { tokensPerIssue: 20_000_000 } });
  const world = await new Scheduler([issue("A-1")], settings).begin();
  world.run("A-1").say(tokens(12_000_000));
  await world.run("A-1").end();
  await world.advance(1_000);
  const second = world.run("A-1");
  second.say(tokens(7_999_999));
  assert.equal(second.stopReason, null);
  second.say(tokens(8_431_000));
  const reason = "token budget used up: 20,431,000 of 20,000,000 (brakes.tokens_per_issue)";
  assert.equal(second.stopReason, reason);
  assert.equal(heldReason(world, "A-1"), reason);
  assert.equal(world.records.get("id-A-1")?.held?.reason, reason);
  const told = world.events.find(({ type }) => type === "issue.held");
  assert.deepEqual(told?.data, {
    reason,
    next: "symphony transition A-1 queued",
    brake: "tokens_per_issue",
    used: 20_431_000,
    limit: 20_000_000,
  });
  await second.end({ kind: "stopped" });
  await world.advance(3_600_000);
  assert.deepEqual(world.live, []);
});

test("tokens_per_issue: queued opens a new allowance, which a restart keeps", async () => {
  const settings = config({ brakes: { tokensPerIssue: 100 } });
  const world = await new Scheduler([issue("A-1")], settings).begin();
  world.run("A-1").say(tokens(150));
  await world.run("A-1").end({ kind: "stopped" });
  await world.orchestrator.apply(queued("A-1"));
  await world.advance(0);
  assert.deepEqual(world.live, ["A-1"]);
  world.run("A-1").say(tokens(99));
  assert.equal(heldReason(world, "A-1"), undefined);

  const again = await restarted(world, ["A-1"]).begin();
  await again.advance(1_000);
  assert.deepEqual(again.live, ["A-1"]);
  again.run("A-1").say(tokens(1));
  assert.match(heldReason(again, "A-1") ?? "", /100 of 100/);
});

test("tokens_per_issue: an allowance that is used up before a start prevents the start", async () => {
  const world = await new Scheduler([issue("A-1")], config()).begin();
  world.run("A-1").say(tokens(150));
  world.config = config({ brakes: { tokensPerIssue: 100 } });
  await world.run("A-1").end();
  await world.advance(1_000);
  assert.deepEqual(world.live, []);
  assert.match(heldReason(world, "A-1") ?? "", /150 of 100/);
  assert.equal(world.runs.length, 1);
});

test("tokens_per_day: nothing new starts, rows and gates say why, and midnight UTC resumes all", async () => {
  const settings = config({ brakes: { tokensPerDay: 1_000 }, agent: { maxConcurrentAgents: 1 } });
  const world = await new Scheduler([issue("A-1"), issue("A-2")], settings).begin();
  world.run("A-1").say(tokens(400), tokens(1_200), tokens(1_300));
  assert.deepEqual(
    world.eventTypes().filter((type) => type.startsWith("budget.")),
    ["budget.reached"],
  );
  assert.equal(world.run("A-1").stopReason, null, "the turn continues until it ends");
  await world.run("A-1").end();
  await world.advance(60_000);
  assert.deepEqual(world.live, []);
  const shown = view(world);
  const why = "the day's token budget is used up: 1,300 of 1,000 (brakes.tokens_per_day)";
  assert.ok(shown.queued[0]?.waitingFor.startsWith(why));
  const [waiting] = shown.retrying;
  assert.equal(waiting?.dueWall, Date.parse("2026-11-24T00:00:00Z"));
  assert.ok(waiting?.error?.startsWith(why));
  assert.deepEqual(
    shown.paused.map(({ agent }) => agent),
    [null],
  );
  const gates =
    statusOfIdentifier(world.orchestrator.state, { config: settings, problem: null }, "A-2")
      ?.explain ?? [];
  assert.equal(gates.find(({ gate }) => gate === "day_budget")?.pass, false);
  await world.advance(14 * 3_600_000);
  assert.deepEqual(world.live, ["A-1"]);
  assert.equal(world.eventTypes().filter((type) => type === "budget.renewed").length, 1);
});

test("tokens_per_day: a higher limit takes effect at once, and the day's sum survives a restart", async () => {
  const settings = config({ brakes: { tokensPerDay: 1_000 } });
  const world = new Scheduler([issue("A-1")], settings, new Map(), 1_500);
  await world.begin();
  assert.deepEqual(world.live, []);
  world.config = config({ brakes: { tokensPerDay: 2_000 } });
  world.orchestrator.post({ type: "config.changed" });
  await world.advance(0);
  assert.deepEqual(world.live, ["A-1"]);
  world.run("A-1").say(tokens(600));
  await world.run("A-1").end();
  await world.advance(1_000);
  assert.deepEqual(world.live, []);
  world.config = config({ brakes: { tokensPerDay: null } });
  world.orchestrator.post({ type: "config.changed" });
  await world.advance(0);
  assert.deepEqual(world.live, ["A-1"]);
  assert.equal(world.run("A-1").order.attempt, 1);
});

test("tokens_per_day: a limit raised while a poll runs takes effect right after it", async () => {
  const settings = config({ brakes: { tokensPerDay: 1_000 } });
  const world = new Scheduler([issue("A-1")], settings, new Map(), 1_500);
  await world.begin();
  const { promise, resolve } = Promise.withResolvers<void>();
  world.listGate = promise;
  await world.advance(30_000);
  world.config = config({ brakes: { tokensPerDay: 2_000 } });
  world.orchestrator.post({ type: "config.changed" });
  resolve();
  await world.advance(0);
  await world.advance(0);
  assert.deepEqual(world.live, ["A-1"]);
});

test("turns_without_progress: an agent that completes turns and changes nothing is held, counted over attempts and a restart", async () => {
  const settings = config({ brakes: { turnsWithoutProgress: 3 } });
  let world = await new Scheduler([issue("A-1")], settings).begin();
  for (let turn = 1; turn <= 2; turn++) {
    world.run("A-1").reports.turned({ moved: false, issue: issue("A-1") });
    await world.run("A-1").end();
    if (turn === 2) world = await restarted(world, ["A-1"]).begin();
    await world.advance(turn * 1_000);
    assert.deepEqual(world.live, ["A-1"]);
  }
  world.run("A-1").reports.turned({ moved: false, issue: issue("A-1") });
  const reason =
    "turns in a row changed neither the workspace nor the issue: 3 of 3 (brakes.turns_without_progress)";
  assert.equal(heldReason(world, "A-1"), reason);
  assert.equal(world.run("A-1").stopReason, reason);
  await world.run("A-1").end({ kind: "stopped" });
  await world.orchestrator.apply(queued("A-1"));
  await world.advance(0);
  assert.deepEqual(world.live, ["A-1"]);
  world.run("A-1").reports.turned({ moved: false, issue: issue("A-1") });
  assert.equal(heldReason(world, "A-1"), undefined);
});

test("turns_without_progress: work, a changed issue, or another person's change resets the count", async () => {
  const settings = config({ brakes: { turnsWithoutProgress: 2 } });
  const world = await new Scheduler([issue("A-1")], settings).begin();
  const idle = () => world.orchestrator.state.issues.of("running").get("id-A-1")?.idle.turns;
  const { reports } = world.run("A-1");
  const now = issue("A-1", { updatedAt: 5 });
  reports.turned({ moved: false, issue: issue("A-1") });
  assert.equal(idle(), 1);
  reports.turned({ moved: true, issue: issue("A-1") });
  assert.equal(idle(), 0);
  reports.turned({ moved: false, issue: issue("A-1") });
  reports.turned({ moved: false, issue: now });
  assert.equal(idle(), 0);
  reports.turned({ moved: false, issue: now });
  await world.run("A-1").end();
  world.set(issue("A-1", { updatedAt: 9 }));
  await world.advance(1_000);
  assert.equal(idle(), 0);
});

test("attempt_timeout_ms: by the monotonic clock the attempt times out and the issue is held", async () => {
  const settings = config({
    brakes: { attemptTimeoutMs: 600_000 },
    agent: { stallTimeoutMs: 0 },
  });
  const world = await new Scheduler([issue("A-1")], settings).begin();
  world.clock.jump(86_400_000);
  await world.advance(599_000);
  assert.equal(heldReason(world, "A-1"), undefined);
  await world.advance(31_000);
  assert.match(
    heldReason(world, "A-1") ?? "",
    /^the attempt took too long: 6[\d,]+ of 600,000 ms \(brakes.attempt_timeout_ms\)$/,
  );
  await world.run("A-1").end({ kind: "stopped" });
  assert.equal([...world.attempts.values()][0]?.status, "timed_out");
});

test("an attempt that is already stopping is not held by a brake", async () => {
  const settings = config({ brakes: { turnsWithoutProgress: 1 } });
  const world = await new Scheduler([issue("A-1")], settings).begin();
  world.set(issue("A-1", { state: "Done" }));
  await world.advance(30_000);
  world.run("A-1").reports.turned({ moved: false, issue: issue("A-1") });
  assert.equal(heldReason(world, "A-1"), undefined);
});
