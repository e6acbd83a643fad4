// Row S7 of the cases of configuration: an error of the prompt, which no retry mends, is not retried.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Exit, Input } from "../../../src/core/orchestrator/messages.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

const failed = (code: string, message = "line 1, column 4: undefined variable"): Partial<Exit> => ({
  kind: "failed",
  code,
  message,
});
const changed = (templateId: string | null): Input => ({ type: "prompt.changed", templateId });
const chosen = (templateId: string | null): Input => ({
  type: "operator.templateChosen",
  issue: issue("A-1"),
  templateId,
});

/** A world in which the first attempt at A-1 could not get its prompt. */
async function held(code = "template_render_error") {
  const world = await new Scheduler([issue("A-1"), issue("B-1")]).begin();
  await world.run("A-1").end(failed(code));
  return world;
}

test("S7: a prompt that cannot be rendered holds its issue with the reason, and others go on", async () => {
  for (const code of ["template_render_error", "template_parse_error", "template_not_found"]) {
    const world = await held(code);
    const row = world.orchestrator.state.issues.of("held").get("id-A-1");
    assert.match(row?.reason ?? "", /undefined variable; it continues when the template changes$/);
    assert.equal(world.records.get("id-A-1")?.held?.templateId, "workflow");
    assert.deepEqual(world.live, ["B-1"]);
    await world.advance(3_600_000);
    assert.equal(world.runs.filter(({ order }) => order.issue.identifier === "A-1").length, 1);
  }
});

test("S7: it continues as a first run when its template changes, and only then", async () => {
  const world = await held();
  await world.orchestrator.apply(changed("tpl_other"));
  await world.advance(60_000);
  assert.deepEqual(world.live, ["B-1"]);
  await world.orchestrator.apply(changed("workflow"));
  await world.advance(0);
  assert.deepEqual(world.live.toSorted(), ["A-1", "B-1"]);
  assert.equal(world.run("A-1").order.attempt, null);
  assert.equal(world.records.has("id-A-1"), false);
  assert.deepEqual(world.eventTypes("A-1").slice(-3), [
    "issue.held",
    "issue.queued",
    "issue.dispatched",
  ]);
});

test("S7: choosing another template, and restoring the workflow's, lets it continue", async () => {
  const world = await held();
  await world.orchestrator.apply(chosen("tpl_a"));
  await world.advance(0);
  assert.equal(world.run("A-1").order.templateId, "tpl_a");
  await world.run("A-1").end(failed("template_render_error"));
  await world.orchestrator.apply(chosen("tpl_a"));
  await world.advance(60_000);
  assert.deepEqual(world.live, ["B-1"], "the same template again changes nothing");
  await world.orchestrator.apply(chosen(null));
  await world.advance(0);
  assert.equal(world.run("A-1").order.templateId, "workflow");
});

test("S7: the hold outlives a restart, and a template that changed meanwhile ends it", async () => {
  const before = await held();
  const world = await new Scheduler([issue("A-1")], config(), before.records).begin();
  await world.advance(60_000);
  assert.deepEqual(world.live, []);
  await world.orchestrator.apply(changed(null));
  await world.advance(0);
  assert.deepEqual(world.live, ["A-1"]);
});

test("S7: a changed template releases nothing that an operator holds, and nothing while the server stops", async () => {
  const world = await held();
  const hold = { type: "operator.transitioned", to: "held", reason: null } as const;
  await world.orchestrator.apply({ ...hold, issueId: "id-B-1" });
  await world.run("B-1").end({ kind: "stopped" });
  await world.orchestrator.apply({ type: "drain.requested", stopAttempts: false });
  await world.orchestrator.apply(changed(null));
  assert.deepEqual([...world.orchestrator.state.issues.of("held").keys()].length, 2);
  const next = await new Scheduler([issue("A-1"), issue("B-1")], config(), world.records).begin();
  await next.orchestrator.apply(changed(null));
  await next.advance(60_000);
  assert.deepEqual(next.live, ["A-1"]);
});
