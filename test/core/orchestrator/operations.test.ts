import assert from "node:assert/strict";
import { test } from "node:test";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { issue } from "../../support/makers/issue.ts";
import { coded } from "../../support/makers/storage.ts";
import { createWorld } from "../../support/worlds/core.ts";

const stopped = { kind: "stopped" } as const;
const needs = { kind: "question", prompt: "Which one?", options: [] } as const;

/** A world whose disk refuses every record that has to be saved first. */
async function fullDisk() {
  const world = await createWorld({ issues: [issue("ENG-1")] });
  const { saveRecordFirst } = world.scheduler;
  world.scheduler.saveRecordFirst = async () => {
    throw new SymphonyError("storage_unavailable", "the disk is full");
  };
  const free = () => {
    world.scheduler.saveRecordFirst = saveRecordFirst;
  };
  return { world, free };
}

test("FAULT-9: an issue is not released before the release is saved: a restart would hold it again", async () => {
  const { world, free } = await fullDisk();
  await using _ = world;
  const { scheduler, core } = world;
  await core.orchestrator.abort("ENG-1", "not now");
  await scheduler.run("ENG-1").end(stopped);
  const released = () => core.orchestrator.transition(issue("ENG-1"), "queued", null);
  await assert.rejects(released(), coded("storage_unavailable", /nothing was changed/));
  await scheduler.advance(60_000);
  assert.deepEqual([scheduler.live, scheduler.runs.length], [[], 1]);
  assert.equal(scheduler.orchestrator.state.issues.get("id-ENG-1")?.claim, "held");
  assert.ok(scheduler.records.get("id-ENG-1")?.held);
  free();
  await released();
  await scheduler.advance(0);
  assert.deepEqual(scheduler.live, ["ENG-1"]);
});

test("FAULT-9: a move of an issue without an agent is in force once it is saved, one with an agent at once", async () => {
  const { world, free } = await fullDisk();
  await using _ = world;
  const { scheduler, core } = world;
  await core.orchestrator.abort("ENG-1", "not now");
  await scheduler.run("ENG-1").end(stopped);
  const before = scheduler.orchestrator.state;
  const complete = () => core.orchestrator.transition(issue("ENG-1"), "completed", null);
  await assert.rejects(complete(), coded("storage_unavailable", /nothing was changed/));
  assert.equal(scheduler.orchestrator.state, before);
  free();
  await complete();
  assert.equal(scheduler.orchestrator.state.issues.get("id-ENG-1")?.claim, "completed");
  assert.ok(scheduler.records.get("id-ENG-1")?.dismissed);
});

test("FAULT-9: an answer that cannot be saved starts no turn, and none remains to be delivered", async () => {
  const { world, free } = await fullDisk();
  await using _ = world;
  const { scheduler, core } = world;
  await scheduler.run("ENG-1").end({ kind: "needs", needs, code: "turn_input_required" });
  const answer = { type: "answers", answers: ["the second"] } as const;
  await assert.rejects(core.orchestrator.respond("ENG-1", answer), coded("storage_unavailable"));
  await scheduler.advance(60_000);
  assert.deepEqual(scheduler.live, []);
  assert.equal(scheduler.orchestrator.state.issues.get("id-ENG-1")?.claim, "blocked");
  assert.deepEqual(core.history.undelivered("id-ENG-1"), []);
  free();
  assert.equal((await core.orchestrator.respond("ENG-1", answer)).applies, "next_attempt");
  await scheduler.advance(0);
  assert.deepEqual(scheduler.live, ["ENG-1"]);
  assert.equal(core.history.undelivered("id-ENG-1").length, 1);
});
