import assert from "node:assert/strict";
import { test } from "node:test";
import type { AgentConfig } from "../../../src/core/config/agents.ts";
import { noTokens } from "../../../src/core/model/attempt.ts";
import { snapshot, statusOfIdentifier } from "../../../src/core/orchestrator/snapshot.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

const minute = 60_000;
const list = { use: "claude", fallback: ["claude", "codex", "openai"] };

function limited(untilWall: number | null) {
  const message = "the provider's limit is reached: try later";
  return { kind: "failed", code: "provider_limited", message, untilWall } as const;
}

function settingsOf(agent: Partial<AgentConfig> = {}) {
  return config({ agent: { ...list, ...agent } });
}

function agentOf(world: Scheduler, identifier: string) {
  return world.orchestrator.state.issues.of("running").get(`id-${identifier}`)?.agent;
}

function providerLine(world: Scheduler, identifier: string) {
  const status = statusOfIdentifier(world.orchestrator.state, world, identifier);
  return status?.explain.find(({ gate }) => gate === "provider");
}

const total = { ...noTokens, input: 90, output: 10, total: 100 };

/** The thread of work that an agent has begun. */
function begun(agent: string) {
  return { threadId: "t-A-1", tokens: total, agent };
}

/** Makes the agent work, so that the attempt has begun something. */
function works(world: Scheduler, identifier: string): void {
  world
    .run(identifier)
    .say(
      { type: "session.started", threadId: `t-${identifier}`, resumed: false },
      { type: "turn.started", turnId: "1" },
      { type: "tokens", total },
    );
}

test("A1: while a provider is paused, waiting issues start with the next agent, and with the first again afterwards", async () => {
  const world = await new Scheduler([issue("A-1")], settingsOf({ maxConcurrentAgents: 1 })).begin();
  assert.equal(agentOf(world, "A-1"), "claude");
  works(world, "A-1");
  const until = world.clock.wall() + 60 * minute;
  await world.run("A-1").end(limited(until));
  world.set(issue("A-2"));
  await world.advance(30_000);
  assert.deepEqual(world.live, ["A-2"]);
  assert.equal(agentOf(world, "A-2"), "codex");
  const started = world.events.findLast(({ type }) => type === "issue.dispatched");
  assert.equal(started?.message, "dispatched with codex in place of claude");
  assert.deepEqual(
    [started?.data?.["agent"], started?.data?.["stands_in_for"]],
    ["codex", "claude"],
  );
  world.set(issue("A-3"));
  await world.advance(30_000);
  assert.equal(
    providerLine(world, "A-3")?.detail,
    `codex stands in: the provider (claude) accepts no turns until ${iso(until)}`,
  );
  await world.run("A-2").end({ kind: "stopped" });
  for (const name of ["A-2", "A-3"]) world.set(issue(name, { state: "Done" }));
  world.resume = begun("claude");
  await world.advance(60 * minute);
  assert.equal(agentOf(world, "A-1"), "claude", "work that had begun waited for its agent");
  assert.equal(world.run("A-1").order.resumeThreadId, "t-A-1");
});

test("work that has begun is moved with agent.handover only, and then comes with its record", async () => {
  for (const handover of [false, true]) {
    const settings = settingsOf({ handover });
    const world = await new Scheduler([issue("A-1")], settings).begin();
    works(world, "A-1");
    world.resume = begun("claude");
    await world.run("A-1").end(limited(world.clock.wall() + 60 * minute));
    await world.advance(30_000);
    if (handover) {
      const { agent, takesOver, resumeThreadId } = world.run("A-1").order;
      assert.deepEqual([agent, takesOver, resumeThreadId], ["codex", true, null]);
    } else {
      assert.deepEqual(world.live, []);
      assert.equal(world.records.get("id-A-1")?.retry?.stays, "claude");
      await world.advance(60 * minute);
      assert.equal(agentOf(world, "A-1"), "claude");
    }
  }
});

test("an attempt that was refused before it did anything goes to the next agent at once", async () => {
  const world = await new Scheduler([issue("A-1")], settingsOf({ maxRetries: 0 })).begin();
  world
    .run("A-1")
    .say(
      { type: "session.started", threadId: "t", resumed: false },
      { type: "turn.started", turnId: "1" },
    );
  await world.run("A-1").end(limited(null));
  await world.advance(1);
  assert.equal(agentOf(world, "A-1"), "codex");
  assert.equal(world.run("A-1").order.takesOver, undefined);
  await world.run("A-1").end(limited(null));
  await world.advance(1);
  assert.equal(agentOf(world, "A-1"), "openai");
  await world.run("A-1").end(limited(null));
  await world.advance(1);
  assert.deepEqual(world.live, []);
  const line = providerLine(world, "A-1");
  assert.equal(line?.pass, false);
  assert.match(line?.detail ?? "", /\(claude\) .*; .*\(codex\) .*; .*\(openai\)/);
  assert.equal(world.orchestrator.state.issues.of("retrying").get("id-A-1")?.failures, 0);
});

test("a restart keeps the work with its agent", async () => {
  const settings = settingsOf();
  const world = await new Scheduler([issue("A-1")], settings).begin();
  works(world, "A-1");
  await world.run("A-1").end(limited(world.clock.wall() + 20 * minute));
  const again = await new Scheduler([issue("A-1"), issue("A-2")], settings, world.records).begin();
  assert.deepEqual(again.live, ["A-2"]);
  assert.equal(agentOf(again, "A-2"), "codex");
  await again.advance(20 * minute);
  assert.equal(agentOf(again, "A-1"), "claude");
});

test("after a restart, work that has begun waits for its agent too, whatever the records say", async () => {
  const settings = settingsOf();
  const world = new Scheduler([issue("A-1")], settings);
  world.resume = begun("codex");
  await world.begin();
  assert.equal(
    agentOf(world, "A-1"),
    "codex",
    "a stand-in that was cut off continues its own work",
  );
  const other = new Scheduler([issue("A-1")], settings);
  other.resume = begun("claude");
  const untilWall = other.clock.wall() + 10 * minute;
  const pause = { agent: "claude", untilWall, reason: "r", isNamed: true, hits: 1, active: true };
  Object.assign(other.orchestrator.state, { pauses: new Map([["claude", pause]]) });
  await other.begin();
  assert.deepEqual(other.live, []);
  const row = other.orchestrator.state.issues.of("retrying").get("id-A-1");
  assert.deepEqual([row?.stays, row?.failures, row?.waits?.gate], ["claude", 0, "provider"]);
  await other.advance(10 * minute);
  assert.equal(agentOf(other, "A-1"), "claude");
});

test("only what may be replaced is: an operator's choice waits, and so does an agent outside of the list", async () => {
  const byLabel = new Map([
    ["private", { agent: "local", model: null, effort: null }],
    ["cheap", { agent: "openai", model: null, effort: null }],
    ["fast", { agent: "codex", model: "fast-model", effort: null }],
  ]);
  const settings = settingsOf({ byLabel, model: null });
  const world = await new Scheduler([], settings).begin();
  const untilWall = world.clock.wall() + 60 * minute;
  for (const agent of ["claude", "codex", "local"]) {
    const known = world.orchestrator.state;
    const pause = { agent, untilWall, reason: "r", isNamed: true, hits: 1, active: true };
    Object.assign(known, { pauses: new Map([...known.pauses, [agent, pause]]) });
  }
  const pick = { model: null, effort: null, agent: "claude" };
  await world.orchestrator.apply({
    type: "operator.modelChosen",
    issue: issue("A-4"),
    ...pick,
  });
  for (const [name, label] of [
    ["A-1", "private"],
    ["A-2", "cheap"],
    ["A-3", "fast"],
    ["A-4", "x"],
  ])
    world.set(issue(name ?? "", { labels: [label ?? ""] }));
  await world.advance(30_000);
  assert.deepEqual(world.live.sort(), ["A-2", "A-3"]);
  assert.deepEqual([agentOf(world, "A-2"), agentOf(world, "A-3")], ["openai", "openai"]);
  const model = world.orchestrator.state.issues.of("running").get("id-A-3")?.model;
  assert.notEqual(model, "fast-model", "a model that was chosen for another agent");
});

test("only agents after its own in the list stand in for it", async () => {
  const byLabel = new Map([["cheap", { agent: "openai", model: null, effort: null }]]);
  const world = await new Scheduler([], settingsOf({ byLabel })).begin();
  const untilWall = world.clock.wall() + 60 * minute;
  const pause = { agent: "openai", untilWall, reason: "r", isNamed: true, hits: 1, active: true };
  Object.assign(world.orchestrator.state, { pauses: new Map([["openai", pause]]) });
  world.set(issue("A-1", { labels: ["cheap"] }));
  world.set(issue("A-2"));
  await world.advance(30_000);
  assert.deepEqual(world.live, ["A-2"]);
});

test("A11: nothing starts with an agent that cannot be started; a check that finds it mended starts them", async () => {
  const settings = config({ agent: { use: "claude", maxRetries: 0 } });
  const world = await new Scheduler([issue("A-1")], settings).begin();
  works(world, "A-1");
  const trouble = {
    code: "agent_not_found",
    detail: "claude.command starts claude, and no directory of PATH has it",
    sinceWall: world.clock.wall(),
  };
  const check = (found: typeof trouble | null) =>
    world.orchestrator.apply({ type: "agent.checked", agent: "claude", trouble: found });
  await check(trouble);
  await check({ ...trouble, sinceWall: world.clock.wall() + 1 });
  const said = world.eventTypes().filter((type) => type === "agent.unavailable");
  assert.equal(said.length, 1, "it is said once");
  world.set(issue("A-2"));
  await world.advance(60 * minute);
  assert.deepEqual(world.live, ["A-1"], "what runs continues");
  const line = providerLine(world, "A-2");
  assert.deepEqual(
    [line?.pass, line?.detail],
    [false, `nothing is started with claude: ${trouble.detail}`],
  );
  assert.match(line?.opens ?? "", /symphony refresh/);
  const { clock, orchestrator } = world;
  const [shown] = snapshot(orchestrator.state, settings, { now: clock.now(), limit: 5 }).paused;
  assert.deepEqual(shown, {
    gate: "agent",
    agent: "claude",
    untilWall: null,
    reason: trouble.detail,
  });
  await check(null);
  await world.advance(1);
  assert.deepEqual(world.live.sort(), ["A-1", "A-2"]);
  assert.ok(world.eventTypes().includes("agent.available"));
});

test("A21: a start that fails spends no retry, and continues as soon as a check finds the program", async () => {
  for (const code of ["agent_not_found", "codex_not_found", "agent_unavailable"]) {
    const world = await new Scheduler([issue("A-1")], config({ agent: { maxRetries: 0 } })).begin();
    await world.run("A-1").end({ kind: "failed", code, message: "no program codex" });
    const row = world.orchestrator.state.issues.of("retrying").get("id-A-1");
    assert.deepEqual([row?.failures, row?.waits?.gate], [0, "provider"]);
    assert.match(
      providerLine(world, "A-1")?.detail ?? "",
      /^codex could not be started, .*: no program codex$/,
    );
    const trouble = { code, detail: "no program codex", sinceWall: world.clock.wall() };
    await world.orchestrator.apply({ type: "agent.checked", agent: "codex", trouble });
    await world.advance(30 * minute);
    assert.deepEqual(world.live, []);
    await world.orchestrator.apply({ type: "agent.checked", agent: "codex", trouble: null });
    await world.advance(1_000);
    assert.deepEqual(world.live, ["A-1"]);
  }
});

function iso(wall: number): string {
  return new Date(wall).toISOString();
}
