import assert from "node:assert/strict";
import { test } from "node:test";
import { config, issue } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

test("O-1, O-2: a poll reconciles, checks the file, reads candidates, then starts them", async () => {
  const world = await new Scheduler([issue("ENG-1")]).begin();
  assert.deepEqual(world.calls, ["preflight", "candidates", "issues ENG-1", "start ENG-1 first"]);
  world.calls.length = 0;
  await world.advance(29_999);
  assert.deepEqual(world.calls, []);
  await world.advance(1);
  assert.deepEqual(world.calls, ["issues ENG-1", "preflight", "candidates"]);
});

test("an issue that is dispatched before the start is over runs once, and is not taken for one of a previous server", async () => {
  const world = new Scheduler([issue("ENG-1")]);
  // As when an operator requests a poll while a start is still cleaning up.
  world.orchestrator.post({ type: "refresh.requested" });
  await world.advance(0);
  assert.deepEqual(world.live, ["ENG-1"]);
  await world.begin();
  assert.deepEqual(
    world.calls.filter((call) => call.startsWith("start")),
    ["start ENG-1 first"],
  );
});

test("O-3, O-6: polls never overlap, and a refresh during a poll is coalesced", async () => {
  const world = new Scheduler([issue("ENG-1")]);
  const { promise, resolve } = Promise.withResolvers<void>();
  world.gate = promise;
  await world.begin();
  world.orchestrator.post({ type: "refresh.requested" });
  await world.advance(60_000);
  assert.deepEqual(world.calls, ["preflight", "candidates"]);
  world.gate = null;
  resolve();
  await world.advance(0);
  assert.deepEqual(world.live, ["ENG-1"]);
  assert.equal(world.calls.filter((call) => call === "candidates").length, 1);
});

test("a change reported during a poll is checked right after it", async () => {
  const world = new Scheduler([]);
  const { promise, resolve } = Promise.withResolvers<void>();
  world.gate = promise;
  await world.begin();
  world.set(issue("ENG-2"));
  world.orchestrator.post({ type: "tracker.changed" });
  world.gate = null;
  resolve();
  await world.advance(0);
  assert.deepEqual(world.live, ["ENG-2"]);
});

test("O-5: a failed candidate read starts nothing, stops nothing and is retried", async () => {
  const world = await new Scheduler([issue("ENG-1")]).begin();
  world.set(issue("ENG-2"));
  world.readFails = "tracker is down";
  await world.advance(30_000);
  assert.deepEqual(world.live, ["ENG-1"]);
  assert.equal(world.orchestrator.state.trackerError?.message, "tracker is down");
  world.readFails = null;
  await world.advance(30_000);
  assert.deepEqual(world.live, ["ENG-1", "ENG-2"]);
  assert.deepEqual(
    world.eventTypes().filter((type) => type.startsWith("tracker.")),
    ["tracker.error", "tracker.recovered"],
  );
});

test("O-9, INV-19: the order is priority, then age, then identifier by code point", async () => {
  const at = (day: number) => Date.UTC(2026, 0, day);
  const world = await new Scheduler([
    issue("a", { priority: null }),
    issue("MT-10", { priority: 3 }),
    issue("MT-2", { priority: 3 }),
    issue("B", { priority: 0 }),
    issue("old", { priority: 7, createdAt: at(1) }),
    issue("urgent", { priority: 1, createdAt: at(9) }),
    issue("older", { priority: 2, createdAt: at(2) }),
    issue("newer", { priority: 2, createdAt: at(3) }),
  ]).begin();
  assert.deepEqual(world.live, ["urgent", "older", "newer", "MT-10", "MT-2", "old", "B", "a"]);
});

test("O-10, O-12: slots are global and per state; an issue of a full state is skipped", async () => {
  const settings = config({
    agent: { maxConcurrentAgents: 2, maxConcurrentAgentsByState: { todo: 1 } },
  });
  const world = await new Scheduler(
    [issue("A-1"), issue("A-2"), issue("A-3", { state: "In Progress" }), issue("A-4")],
    settings,
  ).begin();
  assert.deepEqual(world.live, ["A-1", "A-3"]);
  world.config = config({ agent: { maxConcurrentAgents: 1 } });
  await world.advance(30_000);
  assert.deepEqual(world.live, ["A-1", "A-3"]);
});

test("O-11: a running issue counts in its last refreshed state", async () => {
  const settings = config({ agent: { maxConcurrentAgentsByState: { todo: 1 } } });
  const world = await new Scheduler([issue("A-1"), issue("A-2")], settings).begin();
  assert.deepEqual(world.live, ["A-1"]);
  world.set(issue("A-1", { state: "In Progress" }));
  await world.advance(30_000);
  assert.deepEqual(world.live, ["A-1", "A-2"]);
});

test("O-7, O-13: an issue is read again before launch and skipped without a claim", async () => {
  const world = new Scheduler(
    [issue("A-1", { labels: ["go"] }), issue("A-2", { labels: ["go"] })],
    config({ tracker: { requiredLabels: ["go"] }, agent: { maxConcurrentAgents: 1 } }),
  );
  const fetchCandidates = world.fetchCandidates.bind(world);
  world.fetchCandidates = async () => {
    const list = await fetchCandidates();
    world.set(issue("A-1"));
    return list;
  };
  await world.begin();
  assert.deepEqual(world.live, ["A-2"]);
  assert.equal(world.orchestrator.state.issues.of("retrying").size, 0);
});

test("O-7: inactive, terminal, undispatchable and label-less issues are never started", async () => {
  const settings = config({
    tracker: { requiredLabels: ["go"], activeStates: ["Todo", "Both"], terminalStates: ["both"] },
  });
  const world = await new Scheduler(
    [
      issue("A-1", { state: "Backlog", labels: ["go"] }),
      issue("A-2", { state: "Both", labels: ["go"] }),
      issue("A-3", { labels: ["go"], dispatchable: false }),
      issue("A-4"),
      issue("A-5", { state: " todo ", labels: ["go"] }),
    ],
    settings,
  ).begin();
  assert.deepEqual(world.live, ["A-5"]);
});

test("O-8: an issue that runs, waits for its retry or waits for a person is selected by no poll", async () => {
  const names = ["A-1", "A-2", "A-3"];
  const settings = config({ polling: { intervalMs: 5_000 } });
  const world = await new Scheduler(
    names.map((name) => issue(name)),
    settings,
  ).begin();
  const needs = { kind: "approval", prompt: "rm -rf?", options: ["approve"] } as const;
  await world.run("A-2").end({ kind: "failed", code: "turn_failed", message: "boom" });
  await world.run("A-3").end({ kind: "needs", needs, code: "approval_required" });
  world.calls.length = 0;
  await world.advance(5_000);
  assert.deepEqual(world.calls, ["issues A-1 A-3", "preflight", "candidates"]);
  assert.deepEqual(world.live, ["A-1"]);
});

test("T-11: an id may be any text, and no provider data is interpreted", async () => {
  const refuse = (key: string | symbol) => {
    throw new Error(`native_ref was looked into: ${String(key)}`);
  };
  const nativeRef = new Proxy(
    {},
    {
      // Snapshots are compared and stored as a whole.
      get: (_, key) => (key === "toJSON" ? () => "whole" : refuse(key)),
      has: (_, key) => refuse(key),
      ownKeys: () => refuse("its keys"),
    },
  );
  const odd = { id: " x/ y?&# ", nativeRef };
  const world = await new Scheduler([issue("A-1", odd)]).begin();
  await world.run("A-1").end({ kind: "failed", code: "turn_failed", message: "boom" });
  world.set(issue("A-1", { ...odd, title: "New" }));
  world.orchestrator.post({ type: "refresh.requested" });
  await world.advance(0);
  assert.equal(world.orchestrator.state.issues.get(odd.id)?.issue.title, "New");
  await world.advance(10_000);
  assert.deepEqual(world.live, ["A-1"]);
  await world.advance(30_000);
  const reads = world.calls.filter((call) => call.startsWith("issues"));
  assert.deepEqual(new Set(reads), new Set([`issues ${odd.id}`]));
  world.set(issue("A-1", { ...odd, state: "Done" }));
  await world.advance(30_000);
  await world.run("A-1").end({ kind: "stopped" });
  assert.ok(world.calls.includes("remove A-1"));
  assert.deepEqual(world.failures, []);
});

test("W-13: a blank required label matches no issue", async () => {
  const settings = config({ tracker: { requiredLabels: [""] } });
  const world = await new Scheduler([issue("A-1")], settings).begin();
  assert.deepEqual(world.live, []);
});

test("O-29: with nothing running no issue is read again", async () => {
  const world = await new Scheduler([]).begin();
  world.calls.length = 0;
  await world.advance(30_000);
  assert.deepEqual(world.calls, ["preflight", "candidates"]);
});

test("W-24, O-28: an invalid file blocks new starts and retries, while reconciliation continues", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.run("A-1").end({ kind: "failed", code: "turn_failed", message: "boom" });
  world.problem = { code: "workflow_parse_error", message: "line 3" };
  world.set(issue("A-2"));
  world.calls.length = 0;
  await world.advance(30_000);
  assert.deepEqual(world.live, []);
  assert.ok(!world.calls.includes("candidates"));
  assert.equal(world.orchestrator.state.issues.of("retrying").get("id-A-1")?.error, "line 3");
  world.problem = null;
  await world.advance(30_000);
  assert.deepEqual(world.live.sort(), ["A-1", "A-2"]);
});

test("O-4: a shorter interval counts from its change", async () => {
  const world = await new Scheduler([]).begin();
  world.calls.length = 0;
  world.config = config({ polling: { intervalMs: 1_000 } });
  world.orchestrator.post({ type: "config.changed" });
  await world.advance(1_000);
  assert.deepEqual(world.calls, ["preflight", "candidates"]);
});

test("O-13, INV-17: a change while issues are read right before launch counts: a lower limit, a drain, a full disk, a budget", async () => {
  const settings = config({ agent: { maxConcurrentAgents: 3 } });
  const world = new Scheduler([issue("A-1"), issue("A-2"), issue("A-3")], settings);
  const slow = Promise.withResolvers<void>();
  world.readGate = slow.promise;
  await world.begin();
  world.config = config({ agent: { maxConcurrentAgents: 1 } });
  world.orchestrator.post({ type: "config.changed" });
  slow.resolve();
  await world.advance(0);
  assert.deepEqual(world.live, ["A-1"]);

  const trouble = { reason: "no space left", waiting: 1, sinceWall: 0 };
  for (const change of [
    ({ orchestrator }: Scheduler) => void orchestrator.drain(),
    ({ orchestrator }: Scheduler) => orchestrator.post({ type: "storage.changed", trouble }),
    (world: Scheduler) => {
      world.config = config({ brakes: { tokensPerDay: 5 } });
      world.orchestrator.post({ type: "config.changed" });
    },
  ]) {
    const ending = new Scheduler([issue("B-1")], config(), new Map(), 5);
    const late = Promise.withResolvers<void>();
    ending.readGate = late.promise;
    await ending.begin();
    change(ending);
    late.resolve();
    await ending.advance(0);
    assert.deepEqual(ending.runs, []);
  }
});

test("O-14: two racing responses start an issue once", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  world.orchestrator.post({ type: "issue.hinted", issueId: "id-A-1" });
  world.orchestrator.post({ type: "refresh.requested" });
  world.orchestrator.post({ type: "refresh.requested" });
  await world.advance(0);
  assert.equal(world.runs.length, 1);
});

test("INV-14: a candidate list requested before a newer read cannot bring an issue back", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.run("A-1").end();
  const slow = Promise.withResolvers<void>();
  world.listGate = slow.promise;
  world.orchestrator.post({ type: "refresh.requested" });
  await world.advance(0);
  world.set(issue("A-1", { state: "Done" }));
  await world.advance(1_000);
  assert.equal(world.orchestrator.state.issues.of("completed").size, 1);
  slow.resolve();
  await world.advance(0);
  assert.deepEqual(world.orchestrator.state.queue, []);
  assert.equal(world.runs.length, 1);
});

test("INV-14: a read by id that is older than the applied list decides nothing and is repeated", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.run("A-1").end();
  const slow = Promise.withResolvers<void>();
  world.readGate = slow.promise;
  world.set(issue("A-1", { state: "Done" }));
  await world.advance(1_000);
  world.readGate = null;
  world.set(issue("A-1"));
  world.orchestrator.post({ type: "refresh.requested" });
  await world.advance(0);
  slow.resolve();
  await world.advance(0);
  assert.ok(!world.calls.includes("remove A-1"), "what was Done then is open again by now");
  assert.deepEqual(world.live, ["A-1"]);
});

// S8 is a row of the cases of scheduler and configuration: polls that use up the hour's budget.
test("S8: polls are slower while the tracker asks for it, which is told once and shown", async () => {
  const world = new Scheduler([]);
  world.pace = { intervalMs: 120_000, reason: "the budget runs out" };
  await world.begin();
  const polls = () => world.calls.splice(0).filter((call) => call === "candidates").length;
  assert.equal(polls(), 1);
  await world.advance(119_999);
  assert.equal(polls(), 0);
  await world.advance(1);
  assert.equal(polls(), 1);
  assert.deepEqual(world.orchestrator.state.poll.pace, world.pace);
  // A change of the configuration begins the interval again and is no way around it.
  world.orchestrator.post({ type: "config.changed" });
  await world.advance(119_999);
  assert.equal(polls(), 0);
  world.pace = null;
  await world.advance(1);
  assert.equal(polls(), 1);
  await world.advance(30_000);
  assert.equal(polls(), 1);
  const told = world.events.filter(({ type }) => type === "tracker.pace");
  assert.deepEqual(
    told.map(({ data }) => data),
    [{ interval_ms: 120_000 }, { interval_ms: null }],
  );
  assert.match(told[0]?.message ?? "", /every 120 s: the budget runs out/);
});

test("S8: a failed read is also followed by the slower interval, and a refresh is not held back", async () => {
  const world = new Scheduler([]);
  world.pace = { intervalMs: 120_000, reason: "the budget runs out" };
  world.readFails = "tracker is down";
  await world.begin();
  world.calls.length = 0;
  await world.advance(100_000);
  assert.equal(world.calls.length, 0);
  world.readFails = null;
  world.orchestrator.post({ type: "refresh.requested" });
  await world.advance(0);
  assert.ok(world.calls.includes("candidates"));
});

test("what a list shows of a repository that cannot be read starts nothing and stops nothing, and the others' issues start", async () => {
  const running = issue("B-1");
  const world = await new Scheduler([running, issue("B-2", { dispatchable: false })]).begin();
  assert.deepEqual(world.live, ["B-1"]);
  const why = { code: "tracker_status", message: "acme/b: Not Found" };
  const withheld = { dispatchable: false, withheld: why.message };
  world.parts = {
    fetchCandidates: async () => ({
      issues: [issue("A-1"), { ...running, ...withheld }, issue("B-2", withheld)],
      unread: { ...why, ids: ["id-B"] },
    }),
    fetchIssues: async (ids) => ({
      issues: ids.includes("id-A-1") ? [issue("A-1")] : [],
      unread: { ...why, ids: ["id-B-1", "id-B-2"] },
    }),
  };
  await world.advance(30_000);
  assert.deepEqual(world.live, ["B-1", "A-1"]);
  await world.advance(60_000);
  assert.deepEqual(world.live, ["B-1", "A-1"]);
  const said = () => world.events.filter(({ type }) => type.startsWith("tracker."));
  assert.deepEqual(
    said().map(({ type, message }) => `${type}: ${message}`),
    ["tracker.error: acme/b: Not Found"],
  );
  // A read of one of its issues says nothing new, and keeps no free slot from the others.
  world.readFails = "acme/b: Not Found";
  world.orchestrator.post({ type: "issue.hinted", issueId: "id-B-2" });
  await world.advance(0);
  assert.equal(said().length, 1);
  assert.equal(world.orchestrator.state.trackerError, null);
  world.readFails = null;
  world.parts = null;
  world.set(issue("A-1"));
  await world.advance(30_000);
  assert.equal(said().at(-1)?.type, "tracker.recovered");
});
