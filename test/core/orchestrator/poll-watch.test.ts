// S35 of the scheduler's and command line's case file: a poll is over when what it decided is done.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { PollReport } from "../../../src/core/orchestrator/poll-watch.ts";
import { issue } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

/** Waits for a poll that begins after this call, as `refresh --wait` does. */
function refreshed({ orchestrator }: Scheduler) {
  const seen: { report: PollReport | null; error: Error | null } = { report: null, error: null };
  orchestrator.polls.next().then(
    (report) => {
      seen.report = report;
    },
    (error: Error) => {
      seen.error = error;
    },
  );
  const { phase } = orchestrator.state.poll;
  orchestrator.post({ type: phase === "idle" ? "refresh.requested" : "tracker.changed" });
  return seen;
}

const names = (all: PollReport["started"] | undefined) => all?.map((one) => one.issueIdentifier);

test("S35: the report of a poll names what it started and what it stopped, once that agent is gone", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  world.set(issue("A-1", { state: "Backlog" }));
  world.set(issue("A-2"));
  const seen = refreshed(world);
  await world.advance(0);
  assert.deepEqual([seen.report, seen.error], [null, null], "the agent of A-1 is not gone yet");
  await world.run("A-1").end({ kind: "stopped" });
  assert.deepEqual(names(seen.report?.started), ["A-2"]);
  assert.deepEqual(names(seen.report?.stopped), ["A-1"]);
});

test("S35: a poll that runs already may have read too early, so the next one counts", async () => {
  const world = await new Scheduler([]).begin();
  const open = Promise.withResolvers<void>();
  world.listGate = open.promise;
  world.orchestrator.post({ type: "refresh.requested" });
  await world.advance(0);
  world.set(issue("A-1"));
  const seen = refreshed(world);
  open.resolve();
  await world.advance(0);
  await world.advance(0);
  assert.deepEqual(names(seen.report?.started), ["A-1"]);
});

test("S35: those who wait get the poll's fault, or learn that the server stops", async () => {
  const world = await new Scheduler([issue("A-1", { state: "Backlog" })]).begin();
  world.readFails = "the tracker is down";
  const failed = refreshed(world);
  await world.advance(0);
  assert.match(String(failed.error), /the tracker is down/);
  const cut = world.orchestrator.polls.next();
  await Promise.all([assert.rejects(cut, { code: "unavailable" }), world.orchestrator.drain()]);
});
