import assert from "node:assert/strict";
import { test } from "node:test";
import { choiceApplies, choiceFor } from "../../../src/core/orchestrator/choice.ts";
import type { Input } from "../../../src/core/orchestrator/messages.ts";
import { statusOfFound } from "../../../src/core/orchestrator/snapshot.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

const choose = (model: string | null, effort: string | null = null) => ({
  issue: issue("A-1"),
  model,
  effort,
  agent: null,
});
const chosen = (model: string | null, effort: string | null = null): Input => ({
  type: "operator.modelChosen",
  ...choose(model, effort),
});

test("a chosen model is durable at once, also for an issue without an attempt", async () => {
  const settings = config({ agent: { maxConcurrentAgents: 1 } });
  const world = await new Scheduler([issue("B-1"), issue("A-1")], settings).begin();
  await world.orchestrator.apply(chosen("gpt-x", "high"));
  const record = world.records.get("id-A-1");
  assert.deepEqual([record?.model, record?.effort], ["gpt-x", "high"]);
  assert.ok(world.eventTypes("A-1").includes("model.changed"));
  const restarted = new Scheduler([issue("A-1")], config(), world.records);
  // `GET /:id` before the first poll.
  const { state } = restarted.orchestrator;
  const configured = { config: config(), problem: null };
  const found = { issue: issue("A-1"), scope: [], atWall: 1 };
  const shown = statusOfFound(state, configured, found).override;
  assert.deepEqual([shown?.model, shown?.effort], ["gpt-x", "high"]);
  const next = await restarted.begin();
  assert.equal(next.orchestrator.state.issues.of("running").get("id-A-1")?.model, "gpt-x");
  assert.equal(next.orchestrator.state.issues.get("id-A-1")?.choices.pick?.effort, "high");
});

test("a hold keeps the choice, and clearing the choice keeps the hold", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.orchestrator.apply(chosen("gpt-x"));
  await world.orchestrator.apply({ type: "operator.aborted", issueId: "id-A-1", reason: null });
  await world.run("A-1").end({ kind: "stopped" });
  assert.equal(world.records.get("id-A-1")?.model, "gpt-x");
  assert.ok(world.records.get("id-A-1")?.held);
  await world.orchestrator.apply(chosen(null));
  assert.equal(world.records.get("id-A-1")?.model, null);
  assert.ok(world.records.get("id-A-1")?.held);
  assert.equal(world.orchestrator.state.issues.get("id-A-1")?.choices.pick, null);
});

test("a live attempt is not interrupted, and its row names the new model from the next turn on", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  const model = () => world.orchestrator.state.issues.of("running").get("id-A-1")?.model;
  const run = world.run("A-1");
  run.say({ type: "session.started", threadId: "t", resumed: false });
  run.say({ type: "turn.started", turnId: "1" });
  await world.orchestrator.apply(chosen("gpt-x"));
  assert.deepEqual([model(), run.stopReason], [null, null]);
  run.say({ type: "turn.completed", turnId: "1" }, { type: "turn.started", turnId: "2" });
  assert.equal(model(), "gpt-x");
  assert.equal([...world.attempts.values()][0]?.model, "gpt-x");
});

test("a thread keeps what it was set to: going back to a default needs a new attempt", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  const applies = (model: string | null, effort: string | null = null, settings = config()) =>
    choiceApplies(world.orchestrator.state, choose(model, effort), settings);
  assert.equal(applies("gpt-x"), "next_turn");
  await world.orchestrator.apply(chosen("gpt-x", "high"));
  assert.equal(applies("gpt-y", "low"), "next_turn");
  assert.equal(applies("gpt-y"), "next_attempt");
  assert.equal(applies(null), "next_attempt");
  await world.orchestrator.apply(chosen("gpt-y"));
  assert.equal(applies(null), "next_attempt");
  const configured = config({ codex: { model: "gpt-z" } });
  assert.equal(applies(null, null, configured), "next_turn");
  await world.orchestrator.apply({ type: "operator.aborted", issueId: "id-A-1", reason: null });
  assert.equal(applies("gpt-y"), "next_attempt");
});

const picks = config({
  agent: {
    model: "for-all",
    byState: new Map([
      ["rework", { agent: null, model: "for-rework", effort: "high" }],
      ["review", { agent: "openai", model: null, effort: null }],
    ]),
    byLabel: new Map([
      ["docs", { agent: null, model: "for-docs", effort: null }],
      ["quick", { agent: "command", model: "for-command", effort: null }],
    ]),
  },
  codex: { model: "codex-own" },
});

test("an operator's choice precedes a label, a label a state, and a state the general setting", async () => {
  const world = new Scheduler([], picks);
  const { state } = world.orchestrator;
  const choice = (fields: Parameters<typeof issue>[1], issues = state.issues) => {
    const { agent, model, effort } = choiceFor({ ...state, issues }, issue("A-1", fields), picks);
    return [agent, model, effort];
  };
  assert.deepEqual(choice({}), ["codex", "for-all", null]);
  assert.deepEqual(choice({ state: " Rework " }), ["codex", "for-rework", "high"]);
  assert.deepEqual(choice({ state: "Rework", labels: ["docs"] }), ["codex", "for-docs", "high"]);
  // A model given for another agent does not apply to this one.
  assert.deepEqual(choice({ state: "Review", labels: ["quick", "docs"] }), [
    "command",
    "for-docs",
    null,
  ]);
  const pick = { agent: "openai", model: null, effort: "low" };
  const own = state.issues.choosing(issue("A-1"), { pick });
  assert.deepEqual(choice({ labels: ["quick"] }, own), ["openai", "for-all", "low"]);
  const plain = config({ codex: { model: "codex-own" } });
  assert.equal(choiceFor(state, issue("A-1"), plain).model, "codex-own");
  assert.equal(choiceFor(state, issue("A-1"), config()).model, null);
});

test("an attempt starts with the agent of its issue; a change of agent applies to the next attempt", async () => {
  const issues = [issue("A-1", { state: "Review" }), issue("A-2")];
  const settings = config({
    agent: picks.agent,
    tracker: { activeStates: ["Todo", "Review", "Rework"] },
  });
  const world = await new Scheduler(issues, settings).begin();
  assert.deepEqual(
    ["A-1", "A-2"].map((name) => world.run(name).order.agent),
    ["openai", "codex"],
  );
  const run = world.run("A-2");
  run.say({ type: "session.started", threadId: "t", resumed: false });
  const other = { ...choose("other-model"), issue: issue("A-2"), agent: "openai" };
  assert.equal(choiceApplies(world.orchestrator.state, other, settings), "next_attempt");
  await world.orchestrator.apply({ type: "operator.modelChosen", ...other });
  run.say({ type: "turn.started", turnId: "1" });
  assert.equal(world.orchestrator.state.issues.of("running").get("id-A-2")?.model, "for-all");
  assert.equal(world.records.get("id-A-2")?.agent, "openai");
});

test("a template is the operator's, else that of the issue's state, else the workflow's", async () => {
  const settings = config({ promptStates: ["todo"] });
  const world = await new Scheduler([issue("A-1"), issue("B-1")], settings).begin();
  assert.equal(world.run("A-1").order.templateId, "workflow:todo");
  world.set(issue("B-1", { state: "In Progress" }));
  await world.run("B-1").end();
  await world.advance(1_000);
  assert.equal(world.run("B-1").order.templateId, "workflow");
  await world.orchestrator.apply({
    type: "operator.templateChosen",
    issue: issue("A-1"),
    templateId: "tpl_a",
  });
  await world.run("A-1").end();
  await world.advance(1_000);
  assert.equal(world.run("A-1").order.templateId, "tpl_a");
});
