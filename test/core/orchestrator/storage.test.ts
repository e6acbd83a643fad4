import assert from "node:assert/strict";
import { test } from "node:test";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import type { Input } from "../../../src/core/orchestrator/messages.ts";
import { snapshot, statusOfIdentifier } from "../../../src/core/orchestrator/snapshot.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { coded } from "../../support/makers/storage.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

const boom = { kind: "failed", code: "turn_failed", message: "boom" } as const;
const stopped = { kind: "stopped" } as const;
const reason = "no space left on device";

/** A scheduler whose disk refuses writes while `isFull` is set. */
class FullDisk extends Scheduler {
  isFull = false;

  full(waiting = 2): void {
    this.isFull = true;
    const trouble = { reason, waiting, sinceWall: this.clock.wall() };
    this.orchestrator.post({ type: "storage.changed", trouble });
  }

  free(): void {
    this.isFull = false;
    this.orchestrator.post({ type: "storage.changed", trouble: null });
  }

  override saveAttempt(row: Parameters<Scheduler["saveAttempt"]>[0]): boolean {
    if (this.isFull) this.full();
    return !this.isFull && super.saveAttempt(row);
  }

  override async saveRecordFirst(...given: Parameters<Scheduler["saveRecordFirst"]>) {
    if (this.isFull) throw new SymphonyError("storage_unavailable", "the disk is full");
    await super.saveRecordFirst(...given);
  }
}

async function begun(names: readonly string[], settings = config()): Promise<FullDisk> {
  const world = new FullDisk(
    names.map((name) => issue(name)),
    settings,
  );
  await world.begin();
  world.calls.length = 0;
  world.events.length = 0;
  return world;
}

const starts = (world: Scheduler) => world.calls.filter((call) => call.startsWith("start"));

test("while a save waits, no poll, hint, free slot or retry starts anything; all continue once it succeeds", async () => {
  const world = await begun(["A-1", "A-2", "A-3"], config({ agent: { maxConcurrentAgents: 2 } }));
  await world.run("A-1").end(boom);
  await world.advance(0);
  assert.deepEqual(world.live, ["A-2", "A-3"]);
  world.calls.length = 0;
  world.full();
  await world.run("A-3").end(boom);
  world.set(issue("B-1", { priority: 1 }));
  world.orchestrator.post({ type: "issue.hinted", issueId: "id-B-1" });
  await world.advance(70_000);
  assert.deepEqual([starts(world), world.live], [[], ["A-2"]]);
  assert.equal(world.run("A-2").stopReason, null, "what runs continues");
  const waiting = [...world.orchestrator.state.issues.of("retrying").values()];
  assert.deepEqual(
    waiting.map(({ attempt, waits }) => [attempt, waits?.gate]),
    [
      [1, "storage"],
      [1, "storage"],
    ],
  );
  world.free();
  await world.advance(0);
  assert.equal(starts(world).length, 1);
  assert.equal(world.live.length, 2);
});

test("a storage error and its end are reported once, and every view says why nothing starts", async () => {
  const settings = config({ agent: { maxConcurrentAgents: 1 } });
  const world = await begun(["A-1", "A-2"], settings);
  world.full(2);
  world.full(7);
  const words = "cannot save: no space left on device; 7 writes wait";
  const { state } = world.orchestrator;
  const shown = snapshot(state, settings, { now: 0, limit: 9 });
  assert.equal(shown.queued[0]?.waitingFor, words);
  const gates =
    statusOfIdentifier(state, { config: settings, problem: null }, "A-2")?.explain ?? [];
  const gate = gates.find((one) => one.gate === "storage");
  assert.deepEqual(gate, {
    gate: "storage",
    pass: false,
    detail: words,
    opens: "it opens by itself",
  });
  const own = statusOfIdentifier(state, { config: settings, problem: null }, "A-1")?.explain.find(
    (one) => one.gate === "storage",
  );
  assert.equal(own?.pass, true, "what runs has passed it");
  await world.advance(3_000);
  world.free();
  const told = world.events.filter(({ type }) => type.startsWith("storage."));
  assert.deepEqual(
    told.map(({ type, message, data }) => [type, message, data]),
    [
      [
        "storage.error",
        "cannot save: no space left on device; 2 writes wait; nothing new is started",
        { reason, waiting: 2 },
      ],
      ["storage.recovered", "everything is saved again", { took_ms: 3_000 }],
    ],
  );
});

test("an attempt whose row the disk refuses does not start, counts as no failure and starts later", async () => {
  const world = await begun(["A-1"]);
  await world.run("A-1").end(boom);
  await world.advance(9_999);
  world.set(issue("B-1"));
  world.isFull = true;
  await world.advance(1);
  world.orchestrator.post({ type: "refresh.requested" });
  await world.advance(0);
  assert.deepEqual([world.live, starts(world)], [[], []]);
  const [, ...ends] = world.events.filter(({ type }) => type === "attempt.ended");
  assert.deepEqual(
    ends.map(({ issueIdentifier, data }) => [issueIdentifier, data?.["outcome"]]),
    [["A-1", "canceled"]],
  );
  const entry = world.orchestrator.state.issues.of("retrying").get("id-A-1");
  assert.deepEqual([entry?.attempt, entry?.failures, entry?.waits?.gate], [1, 1, "storage"]);
  world.free();
  await world.advance(0);
  assert.deepEqual(world.live.sort(), ["A-1", "B-1"]);
  assert.equal(world.run("A-1").order.attempt, 1);
});

test("a first attempt does not start either: its issue waits in the queue as before", async () => {
  const world = await begun([]);
  world.isFull = true;
  world.set(issue("B-1"));
  world.orchestrator.post({ type: "issue.hinted", issueId: "id-B-1" });
  await world.advance(60_000);
  assert.deepEqual([world.live, starts(world)], [[], []]);
  const queue = world.orchestrator.state.queue.map(({ identifier }) => identifier);
  assert.deepEqual(queue, ["B-1"]);
  world.free();
  await world.advance(0);
  assert.deepEqual(world.live, ["B-1"]);
  assert.equal(world.run("B-1").order.attempt, null);
});

test("a stop takes effect on a full disk", async () => {
  const world = await begun(["A-1"]);
  world.full();
  world.orchestrator.post({ type: "operator.aborted", issueId: "id-A-1", reason: null });
  assert.ok(world.calls.includes("stop A-1"));
  await world.run("A-1").end(stopped);
  await world.advance(60_000);
  assert.equal(world.orchestrator.state.issues.of("held").size, 1);
  world.free();
  await world.advance(60_000);
  assert.deepEqual([world.live, world.orchestrator.state.issues.of("held").size], [[], 1]);
});

const model = { issue: issue("A-1"), model: "gpt-5", effort: null, agent: null } as const;
const asked: Readonly<Record<string, Input>> = {
  "a model": { type: "operator.modelChosen", ...model },
  "a template": { type: "operator.templateChosen", issue: issue("A-1"), templateId: "tpl_1" },
  "a release": {
    type: "operator.transitioned",
    issueId: "id-A-1",
    to: "queued",
    reason: null,
  },
};

for (const [what, input] of Object.entries(asked)) {
  test(`${what} that cannot be saved is refused and changes nothing; after the save it is in force`, async () => {
    const world = await begun(["A-1"]);
    world.orchestrator.post({ type: "operator.aborted", issueId: "id-A-1", reason: null });
    await world.run("A-1").end(stopped);
    world.isFull = true;
    const before = world.orchestrator.state;
    const record = world.records.get("id-A-1");
    const refused = world.orchestrator.applySaved("id-A-1", input);
    await assert.rejects(refused, coded("storage_unavailable", /^nothing was changed: /));
    assert.equal(world.orchestrator.state, before);
    assert.deepEqual(world.records.get("id-A-1"), record);
    world.isFull = false;
    await world.orchestrator.applySaved("id-A-1", input);
    assert.notEqual(world.orchestrator.state, before);
    assert.notDeepEqual(world.records.get("id-A-1"), record);
  });
}

test("a change that was saved and is then refused, because an operator was faster, is reverted", async () => {
  const world = await begun(["A-1"]);
  world.orchestrator.post({ type: "operator.aborted", issueId: "id-A-1", reason: null });
  await world.run("A-1").end(stopped);
  const queued = { type: "operator.transitioned", issueId: "id-A-1", to: "queued" } as const;
  const first = world.orchestrator.applySaved("id-A-1", { ...queued, reason: "one" });
  const second = world.orchestrator.applySaved("id-A-1", { ...queued, reason: "two" });
  await first;
  await assert.rejects(second, coded("transition_not_allowed"));
  await world.advance(0);
  assert.deepEqual(world.live, ["A-1"]);
  assert.equal(world.records.has("id-A-1"), false, "saved as it is in force");
});
