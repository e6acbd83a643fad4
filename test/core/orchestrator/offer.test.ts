import assert from "node:assert/strict";
import { test } from "node:test";
import type { Config } from "../../../src/core/config/config.ts";
import type { Made } from "../../../src/core/orchestrator/messages.ts";
import { snapshot } from "../../../src/core/orchestrator/snapshot.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

const changed: Made = { kind: "changed", head: "c1" };
const unchanged: Made = { kind: "unchanged" };
const id = "id-A-1";
const auto = { onSuccess: { kind: "auto" } } as const;

function settings(parts: Partial<Config["tracker"]> = {}, maxRounds = 5): Config {
  return config({ tracker: { ...auto, ...parts }, delivery: { maxRounds } });
}

/** A world in which the work on A-1 is offered; its issue stays in Todo unless it is moved. */
async function offered(parts: Partial<Config["tracker"]> = {}, maxRounds?: number) {
  const world = await new Scheduler([issue("A-1")], settings(parts, maxRounds)).begin();
  await world.run("A-1").end({ kind: "completed", made: changed, issue: issue("A-1") });
  return world;
}

const claimOf = (world: Scheduler) => world.orchestrator.state.issues.get(id)?.claim;
const reasonOf = (world: Scheduler) => {
  const row = world.orchestrator.state.issues.get(id);
  return row?.claim === "held" ? row.reason : null;
};

test("O-17: a turn that ended well and changed something ends in review, and no poll starts it again", async () => {
  const world = await offered();
  assert.equal(claimOf(world), "review");
  assert.ok(world.calls.includes("offer A-1 c1 and move"));
  await world.advance(300_000);
  assert.deepEqual(world.live, []);
  const { counts, review } = snapshot(world.orchestrator.state, world.config, { now: 0, limit: 9 });
  assert.deepEqual([counts.review, counts.queued, review.length], [1, 0, 1]);
  assert.ok(world.eventTypes("A-1").includes("issue.review"));
  assert.deepEqual(world.failures, []);
});

test("FAULT-1: a review is on disk before it is in force, so a crash starts no attempt about pushed work", async () => {
  const world = await new Scheduler([issue("A-1")], settings()).begin();
  const saved = Promise.withResolvers<void>();
  world.saveRecordFirst = async (issueId, record) => {
    await saved.promise;
    return world.saveRecord(issueId, record);
  };
  const end = world.run("A-1").end({ kind: "completed", made: changed, issue: issue("A-1") });
  await world.advance(0);
  assert.equal(claimOf(world), "running");
  saved.resolve();
  await end;
  await world.advance(0);
  assert.equal(claimOf(world), "review");
  assert.equal(world.records.get(id)?.offer?.head, "c1");
});

test("an attempt that changed nothing is no_changes, and its issue is held with what to do", async () => {
  const world = await new Scheduler([issue("A-1")], settings()).begin();
  await world.run("A-1").end({ kind: "completed", made: unchanged, issue: issue("A-1") });
  assert.match(reasonOf(world) ?? "", /without a change \(no_changes\): .*queue it again/);
  assert.equal([...world.attempts.values()][0]?.status, "no_changes");
  assert.ok(!world.calls.some((call) => call.startsWith("offer")));
});

test("a state that on_success names is for work that changed nothing too", async () => {
  const named = { onSuccess: { kind: "state", name: "In Review" } } as const;
  const world = await new Scheduler([issue("A-1")], settings(named)).begin();
  await world.run("A-1").end({ kind: "completed", made: unchanged, issue: issue("A-1") });
  assert.equal(claimOf(world), "review");
  assert.ok(world.calls.includes("offer A-1 null and move"));
  const said = world.events.find(({ type }) => type === "issue.review");
  assert.match(said?.message ?? "", /ended without a change/);
  assert.equal(said?.data?.["delivers"], false);
});

test("on_success hold: the work is offered, and the issue is held", async () => {
  const world = await offered({ onSuccess: { kind: "hold" } });
  assert.ok(world.calls.includes("offer A-1 c1"));
  assert.match(reasonOf(world) ?? "", /waits for a person/);
});

test("a state that the agent set itself wins: the issue is not moved", async () => {
  const world = await new Scheduler([issue("A-1")], settings()).begin();
  const moved = issue("A-1", { state: "Human Review" });
  await world.run("A-1").end({ kind: "completed", made: changed, issue: moved });
  assert.ok(world.calls.includes("offer A-1 c1"));
  assert.equal(claimOf(world), "review");
});

test("in_progress moves the issue once it starts, and does not count as the agent's own move", async () => {
  const world = await new Scheduler(
    [issue("A-1")],
    settings({ inProgress: "In Progress" }),
  ).begin();
  assert.ok(world.calls.includes("move A-1 to In Progress"));
  const moved = issue("A-1", { state: "In Progress" });
  await world.run("A-1").end({ kind: "completed", made: changed, issue: moved });
  assert.ok(world.calls.includes("offer A-1 c1 and move"));
});

test("work that must not be offered holds the issue with the reason", async () => {
  const world = await new Scheduler([issue("A-1")], settings()).begin();
  const made: Made = { kind: "refused", reason: "not pushed: .env (secret)" };
  await world.run("A-1").end({ kind: "completed", made, issue: issue("A-1") });
  assert.equal(reasonOf(world), "not pushed: .env (secret)");
});

test("the agent closed its issue: its work is offered before the workspace is removed", async () => {
  const world = await new Scheduler([issue("A-1")], settings()).begin();
  const closed = issue("A-1", { state: "Done" });
  await world.run("A-1").end({ kind: "completed", made: changed, issue: closed });
  assert.equal(claimOf(world), "completed");
  assert.deepEqual(world.calls.slice(-2), ["offer A-1 c1", "remove A-1"]);
});

test("an issue in review rests where it was moved to; back in an active state it starts again", async () => {
  const world = await offered();
  await world.orchestrator.apply({ type: "offer.resting", issueId: id, state: "In Review" });
  world.set(issue("A-1", { state: "In Review" }));
  await world.advance(30_000);
  assert.equal(claimOf(world), "review");
  assert.deepEqual(world.orchestrator.state.issues.get(id)?.offer?.restsIn, ["in review"]);
  world.set(issue("A-1", { state: "Todo" }));
  await world.advance(30_000);
  assert.deepEqual(world.live, ["A-1"]);
  assert.equal(world.run("A-1").order.isRound, true);
});

test("a review state that is also active starts nothing by itself", async () => {
  const world = await offered({ activeStates: ["Todo", "In Review"] });
  await world.orchestrator.apply({ type: "offer.resting", issueId: id, state: "In Review" });
  world.set(issue("A-1", { state: "In Review" }));
  await world.advance(60_000);
  assert.equal(claimOf(world), "review");
});

test("an edit of the issue starts it again, also in its review state", async () => {
  const world = await offered();
  await world.orchestrator.apply({ type: "offer.resting", issueId: id, state: "In Review" });
  world.set(issue("A-1", { state: "In Review", description: "also the docs" }));
  await world.advance(30_000);
  assert.deepEqual(world.live, ["A-1"]);
});

test("feedback starts the next turn of the same thread in the review state; the round keeps the offer", async () => {
  const world = await offered();
  await world.orchestrator.apply({ type: "offer.resting", issueId: id, state: "In Review" });
  world.set(issue("A-1", { state: "In Review" }));
  await world.advance(30_000);
  world.resume = { threadId: "th", tokens: world.used[0]?.tokens ?? noTokens(), agent: "codex" };
  const feedback = { type: "offer.answered", issueId: id, byPerson: false } as const;
  await world.orchestrator.apply({ ...feedback, summary: "grace: why?" });
  await world.advance(0);
  assert.deepEqual(world.live, ["A-1"]);
  assert.equal(world.run("A-1").order.resumeThreadId, "th");
  await world.advance(60_000);
  assert.deepEqual(world.live, ["A-1"], "its review state does not stop it");
  const now = issue("A-1", { state: "In Review" });
  await world.run("A-1").end({ kind: "completed", made: unchanged, issue: now });
  assert.equal(claimOf(world), "review");
  assert.equal(world.orchestrator.state.issues.get(id)?.offer?.head, "c1");
});

function noTokens() {
  return { input: 0, cachedInput: 0, output: 0, reasoningOutput: 0, total: 0 };
}

test("delivery.max_rounds: rounds without a word of a person are counted over heads, then the issue is held", async () => {
  const world = await offered({}, 2);
  const red = {
    type: "offer.answered",
    issueId: id,
    byPerson: false,
    summary: "test is red",
  } as const;
  for (const head of ["c2", "c3"]) {
    await world.orchestrator.apply(red);
    await world.advance(0);
    const made: Made = { kind: "changed", head };
    await world.run("A-1").end({ kind: "completed", made, issue: issue("A-1") });
  }
  await world.orchestrator.apply(red);
  assert.match(
    reasonOf(world) ?? "",
    /^2 rounds of feedback.*max_rounds.*test is red; next: a comment of a person, or symphony deliver A-1, which begins the rounds anew$/,
  );
  assert.equal(world.records.get(id)?.held?.next, "deliver");
  assert.equal(world.records.get(id)?.offer?.rounds, 2);
  await world.orchestrator.apply(red);
  assert.deepEqual(world.live, [], "another machine's word changes nothing");

  const restarted = new Scheduler([issue("A-1")], settings({}, 2), world.records);
  await restarted.begin();
  await restarted.orchestrator.apply({ ...red, byPerson: true, summary: "ada: skip that test" });
  await restarted.advance(0);
  assert.deepEqual(restarted.live, ["A-1"], "a person's word continues it, also after a restart");
  assert.equal(restarted.records.get(id)?.offer?.rounds, 0);

  const byHand = new Scheduler([issue("A-1")], settings({}, 2), world.records);
  await byHand.begin();
  const again = { type: "offer.resumed", issueId: id, workspacePath: "/w", anew: true } as const;
  await byHand.orchestrator.apply(again);
  assert.deepEqual([claimOf(byHand), byHand.records.get(id)?.offer?.rounds], ["review", 0]);
  await byHand.orchestrator.apply(red);
  await byHand.advance(0);
  assert.deepEqual(byHand.live, ["A-1"], "symphony deliver gives new rounds");

  const spoken = await offered({}, 1);
  await spoken.orchestrator.apply(red);
  await spoken.advance(0);
  await spoken.run("A-1").end({ kind: "completed", made: changed, issue: issue("A-1") });
  await spoken.orchestrator.apply({ ...red, byPerson: true });
  await spoken.advance(0);
  assert.deepEqual(spoken.live, ["A-1"], "a person's word begins the rounds anew");
});

test("merged completes the issue and removes its workspace; the same state starts nothing again", async () => {
  const world = await offered();
  await world.orchestrator.apply({ type: "offer.merged", issueId: id, summary: "#1 is merged" });
  assert.equal(claimOf(world), "completed");
  assert.ok(world.calls.includes("remove A-1"));
  await world.advance(120_000);
  assert.deepEqual(world.live, []);
});

test("closed by a person is a no: held until a person says otherwise", async () => {
  const world = await offered();
  await world.orchestrator.apply({ type: "offer.stopped", issueId: id, reason: "closed by ada" });
  assert.equal(reasonOf(world), "closed by ada");
  world.set(issue("A-1", { description: "an edit" }));
  await world.advance(120_000);
  assert.deepEqual(world.live, []);
  const queued = {
    type: "operator.transitioned",
    issueId: id,
    to: "queued",
    reason: null,
  } as const;
  await world.orchestrator.apply(queued);
  await world.advance(0);
  assert.deepEqual(world.live, ["A-1"]);
});

test("a push that was refused holds the issue until its delivery by hand has done it; another hold stays", async () => {
  const stopped = { type: "offer.stopped", issueId: id, reason: "push refused" } as const;
  const mended = { type: "offer.resumed", issueId: id, workspacePath: "/w", mended: true } as const;
  const world = await offered();
  await world.orchestrator.apply({ ...stopped, next: "deliver" });
  assert.equal(claimOf(world), "held");
  await world.orchestrator.apply(mended);
  assert.equal(claimOf(world), "review");
  await world.orchestrator.apply({ ...stopped, reason: "closed by ada", next: "complete" });
  await world.orchestrator.apply(mended);
  assert.equal(claimOf(world), "held");
});

test("DELIVERY-16, DELIVERY-18: a check that is stuck holds the issue; the next word of a person continues it", async () => {
  const world = await offered();
  const stopped = { type: "offer.stopped", issueId: id, reason: "e2e", untilSaid: true } as const;
  await world.orchestrator.apply(stopped);
  assert.equal(claimOf(world), "held");
  const said = { type: "offer.answered", issueId: id, summary: "look" } as const;
  await world.orchestrator.apply({ ...said, byPerson: false });
  assert.equal(claimOf(world), "held");
  await world.orchestrator.apply({ ...said, byPerson: true });
  assert.notEqual(claimOf(world), "held");
});

test("a review survives a restart, with its rounds and its resting state", async () => {
  const world = await offered();
  await world.orchestrator.apply({ type: "offer.resting", issueId: id, state: "In Review" });
  const again = new Scheduler([issue("A-1")], settings(), world.records);
  await again.begin();
  await again.advance(60_000);
  assert.equal(claimOf(again), "review");
  assert.deepEqual(again.orchestrator.state.issues.get(id)?.offer, world.records.get(id)?.offer);
  assert.deepEqual(again.live, []);
});

test("a person's feedback continues an issue that was moved to another state without agents; a machine's does not", async () => {
  const world = await offered();
  const moved = issue("A-1", { state: "QA" });
  world.set(moved);
  await world.advance(30_000);
  const feedback = { type: "offer.answered", issueId: id, summary: "grace: why?" } as const;
  await world.orchestrator.apply({ ...feedback, byPerson: false });
  await world.advance(0);
  assert.deepEqual([world.live, claimOf(world)], [[], "review"]);
  await world.orchestrator.apply({ ...feedback, byPerson: true });
  await world.advance(60_000);
  assert.deepEqual(world.live, ["A-1"]);
});

test("a round whose issue leaves to another state returns to review, and its feedback is not lost", async () => {
  const world = await offered();
  const feedback = { type: "offer.answered", issueId: id, byPerson: true, summary: "x" } as const;
  await world.orchestrator.apply(feedback);
  await world.advance(0);
  world.set(issue("A-1", { state: "Backlog" }));
  await world.advance(30_000);
  await world.run("A-1").end({ kind: "stopped" });
  assert.equal(claimOf(world), "review");
});
