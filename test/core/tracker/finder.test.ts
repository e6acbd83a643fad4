// Issues looked up for people: one request, seldom: row S3 of the cases of the scheduler.

import assert from "node:assert/strict";
import { test } from "node:test";
import { findStatus } from "../../../src/core/find-issue.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { IssueFinder } from "../../../src/core/tracker/finder.ts";
import type { FoundIssue, Tracker } from "../../../src/core/tracker/tracker.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { issue } from "../../support/makers/issue.ts";
import { createWorld } from "../../support/worlds/core.ts";
import { settled } from "../../support/worlds/scheduler.ts";

function finder() {
  const clock = new FakeClock();
  const asked: string[] = [];
  const find = async (identifier: string): Promise<FoundIssue | null> => {
    asked.push(identifier);
    return identifier === "ENG-404" ? null : { issue: issue(identifier), scope: [] };
  };
  const tracker = { kind: "linear", find } as unknown as Tracker;
  return { clock, asked, finder: new IssueFinder({ clock, tracker: () => tracker }) };
}

test("S3: an answer is used again for 10 s, also that there is no such issue", async () => {
  const { clock, asked, finder: it } = finder();
  assert.equal((await it.find("ENG-1"))?.issue.identifier, "ENG-1");
  await Promise.all([it.find("eng-1"), it.find(" ENG-1 ")]);
  clock.advance(1_000);
  assert.equal(await it.find("ENG-404"), null);
  clock.advance(8_999);
  assert.equal(await it.find("ENG-404"), null);
  await it.find("ENG-1");
  assert.deepEqual(asked, ["ENG-1", "ENG-404"]);
  clock.advance(1);
  await it.find("ENG-1");
  assert.deepEqual(asked, ["ENG-1", "ENG-404", "ENG-1"]);
});

test("S3: after a change of an issue it alone is asked for again", async () => {
  const { clock, asked, finder: it } = finder();
  for (const name of ["ENG-1", "ENG-2"]) {
    await it.find(name);
    clock.advance(1_000);
  }
  it.forget("eng-1");
  assert.equal((await it.find("ENG-1"))?.issue.identifier, "ENG-1");
  await it.find("ENG-2");
  assert.deepEqual(asked, ["ENG-1", "ENG-2", "ENG-1"]);
});

test("S3: requests are at least a second apart, and too many at once are refused", async () => {
  const { clock, asked, finder: it } = finder();
  const all = Array.from({ length: 10 }, (_, at) => it.find(`ENG-${at}`).catch((error) => error));
  await settled();
  assert.deepEqual(asked, ["ENG-0"]);
  for (let second = 1; second <= 5; second++) {
    clock.advance(1_000);
    await settled();
    assert.equal(asked.length, second + 1);
  }
  const answers = await Promise.all(all);
  const refused = answers.filter((answer) => answer instanceof SymphonyError);
  assert.equal(refused.length, 4);
  assert.deepEqual(new Set(refused.map(({ code }) => code)), new Set(["tracker_rate_limited"]));
});

test("S3: when the tracker is down, the last answer is told with its age, or the last attempt", async () => {
  const world = await createWorld({
    issues: [issue("ENG-1"), issue("ENG-2", { state: "Backlog" })],
  });
  await using _ = world;
  const { scheduler } = world;
  const { clock } = scheduler;
  const core = { ...world.core, finder: new IssueFinder({ clock, tracker: world.core.tracker }) };
  const calls = () => scheduler.calls.length;
  assert.equal((await findStatus(core, "ENG-2")).issue.state, "Backlog");
  const state = scheduler.orchestrator.state;
  scheduler.clock.advance(12_000);
  scheduler.readFails = "no route";
  const failed = async (identifier: string) => {
    const error = await findStatus(core, identifier).catch((thrown: unknown) => thrown);
    assert.ok(error instanceof SymphonyError, identifier);
    return { message: error.message, known: error.details["lastKnown"] };
  };
  const known = await failed("ENG-2");
  assert.match(
    known.message,
    /^ENG-2 is not in memory, and the local tracker cannot be asked \(.*\); 12 s ago: Backlog$/,
  );
  assert.deepEqual(known.known, {
    identifier: "ENG-2",
    state: "Backlog",
    at: new Date(core.clock.wall() - 12_000).toISOString(),
    ageSeconds: 12,
  });
  scheduler.clock.advance(1_000);
  assert.match((await failed("ENG-3")).message, /; nothing is known of it here$/);
  assert.equal(scheduler.orchestrator.state, state, "the scheduler's state is the same object");
  scheduler.readFails = null;
  const before = calls();
  await scheduler.advance(30_000);
  assert.ok(
    !scheduler.calls.slice(before).some((call) => call.startsWith("find")),
    "a poll finds none",
  );
});
