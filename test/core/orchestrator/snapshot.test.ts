import assert from "node:assert/strict";
import { test } from "node:test";
import { noTokens } from "../../../src/core/model/attempt.ts";
import { type Snapshot, snapshot } from "../../../src/core/orchestrator/snapshot.ts";
import type { State } from "../../../src/core/orchestrator/state.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

const boom = { kind: "failed", code: "turn_failed", message: "boom" } as const;
const needs = { kind: "approval", prompt: "rm -rf?", options: ["approve"] } as const;

/** All of `state`, in its order. */
function written(state: State): string {
  return JSON.stringify({ ...state, issues: [...state.issues] }, (_, value) =>
    value instanceof Map || value instanceof Set ? [...value] : value,
  );
}

/** One issue of each kind, two of them waiting for a retry; the later one is due first. */
async function busy() {
  const names = ["A-1", "A-2", "A-3", "A-4", "A-5"];
  const issues = names.map((name) => issue(name, { url: `https://tracker.example/${name}` }));
  const settings = config({ agent: { maxConcurrentAgents: 6 } });
  const world = await new Scheduler([...issues, issue("A-6", { priority: 9 })], settings).begin();
  await world.run("A-2").end(boom);
  await world.advance(10_000);
  await world.run("A-2").end(boom);
  await world.run("A-3").end(boom);
  await world.run("A-4").end({ kind: "needs", needs, code: "approval_required" });
  await world.orchestrator.apply({ type: "operator.aborted", issueId: "id-A-5", reason: "later" });
  await world.run("A-5").end({ kind: "stopped" });
  world
    .run("A-1")
    .say(
      { type: "session.started", threadId: "t", resumed: false },
      { type: "turn.started", turnId: "1" },
      { type: "tokens", total: { ...noTokens, input: 4, output: 3, total: 7 } },
      { type: "rate_limits", limits: { primary: { usedPercent: 43 } } },
    );
  return world;
}

test("E-13: a snapshot has the running issues, the retries, the totals and the provider's limits", async () => {
  const world = await busy();
  const { state } = world.orchestrator;
  const view: Snapshot = snapshot(state, world.config, { now: world.clock.now(), limit: 10 });
  const { counts, running, retrying, blocked, held, totals, rateLimits } = view;
  const live = running.find((row) => row.issue.identifier === "A-1");
  assert.deepEqual(
    [live?.turnCount, live?.issue.url, live?.sessionId, live?.tokens.total],
    [1, "https://tracker.example/A-1", "t-1", 7],
  );
  assert.deepEqual(
    retrying.map((row) => [row.issue.identifier, row.attempt, row.error]),
    [
      ["A-3", 1, "worker exited: boom"],
      ["A-2", 2, "worker exited: boom"],
    ],
    "what is due first comes first",
  );
  assert.deepEqual(
    blocked.map((row) => row.needs.prompt),
    ["rm -rf?"],
  );
  assert.deepEqual(
    held.map((row) => row.reason),
    ["aborted: later"],
  );
  assert.deepEqual(totals.tokens, { ...noTokens, input: 4, output: 3, total: 7 });
  assert.deepEqual(rateLimits, { primary: { usedPercent: 43 } });
  assert.deepEqual([counts.running, counts.retrying, counts.blocked, counts.held], [2, 2, 1, 1]);
  const short = snapshot(state, world.config, { now: world.clock.now(), limit: 1 });
  assert.deepEqual([short.retrying.length, short.counts.retrying], [1, 2], "counts are not cut");
});

test("E-13: reading changes nothing", async () => {
  const world = await busy();
  const { state } = world.orchestrator;
  Object.freeze(state);
  for (const list of [state.queue, state.candidates]) Object.freeze(list);
  for (const row of state.issues.values()) Object.freeze(row);
  const before = written(state);
  for (const limit of [0, 1, 10]) {
    snapshot(state, world.config, { now: world.clock.now() + 99_000, limit });
  }
  assert.equal(written(state), before);
});

test("completed issues are shown newest first", async () => {
  const names = ["A-1", "A-2", "A-3"];
  const world = await new Scheduler(names.map((name) => issue(name))).begin();
  for (const name of names) {
    world.set(issue(name, { state: "Done" }));
    await world.advance(30_000);
    await world.run(name).end({ kind: "stopped" });
  }
  const view = snapshot(world.orchestrator.state, world.config, { now: 0, limit: 2 });
  assert.deepEqual(
    view.completed.map((row) => row.issue.identifier),
    ["A-3", "A-2"],
  );
});
