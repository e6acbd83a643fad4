import assert from "node:assert/strict";
import { test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { SymphonyError } from "../../src/core/model/errors.ts";
import { config, issue } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { freshProject, openReal, type RealServer } from "../support/worlds/real-server.ts";
import { serve } from "../support/worlds/server.ts";

const post = (body: unknown = {}) => ({ method: "POST", body });

test("a pause is shown in state, explain, page, metrics and audit; a resume starts the queue", async () => {
  const settings = config({ agent: { maxConcurrentAgents: 1 } });
  const issues = [issue("ENG-1"), issue("ENG-2")];
  await using world = await createWorld({ issues, config: settings });
  await using server = await serve(world);
  const answer = await server.ask("/api/v1/pause", post({ reason: "release <day>" }));
  assert.equal(answer.status, 200);
  const pause = api.system.pause.reply.parse(answer.json());
  assert.deepEqual([pause.reason, pause.by], ["release <day>", "api"]);
  const state = (await server.ask("/api/v1/state")).json();
  assert.equal(state.counts.running, 1, "the running attempt continues");
  const reason = `dispatch is paused (api, ${pause.since}): release <day>`;
  assert.deepEqual(state.paused, [{ gate: "paused", agent: null, until: null, reason }]);
  assert.equal(state.queued[0].waiting_for, reason);
  const { explain } = (await server.ask("/api/v1/ENG-2")).json();
  const gate = explain.find((one: { gate: string }) => one.gate === "paused");
  assert.deepEqual([gate.pass, gate.detail, gate.opens], [false, reason, "symphony resume"]);
  const { text } = await server.ask("/");
  assert.match(text, /Nothing new is started.*release &lt;day&gt;/s);
  const metrics = await server.ask("/metrics");
  assert.match(metrics.text, /^symphony_gate_closed\{gate="paused"\} 1$/m);
  assert.match(metrics.text, /^symphony_gate_closed\{gate="host"\} 0$/m);
  const { entries } = (await server.ask("/api/v1/audit?action=system.pause")).json();
  assert.deepEqual([entries[0].outcome, entries[0].detail.reason], ["ok", "release <day>"]);
  await world.scheduler.run("ENG-1").end({ kind: "failed", code: "turn_failed", message: "boom" });
  assert.deepEqual(world.scheduler.live, []);
  const resumed = api.system.resume.reply.parse(
    (await server.ask("/api/v1/resume", post())).json(),
  );
  assert.deepEqual(resumed, { paused: false, was_paused: true, since: pause.since });
  await world.scheduler.advance(0);
  assert.deepEqual(world.scheduler.live, ["ENG-2"]);
  const again = (await server.ask("/api/v1/resume", post())).json();
  assert.deepEqual(again, { paused: false, was_paused: false, since: null });
  assert.equal((await server.ask("/api/v1/pause", post({ reason: " " }))).status, 400);
  assert.equal((await server.ask("/api/v1/pause")).status, 405);
});

test("a pause that the disk refuses is no pause, and a resume that it refuses is none", async () => {
  await using world = await createWorld({ issues: [issue("ENG-1")] });
  await using server = await serve(world);
  const refuse = () => {
    throw new SymphonyError("storage_unavailable", "Cannot use pause.json: it is full");
  };
  const { scheduler, core } = world;
  const { put } = world.pause;
  world.pause.put = async () => refuse();
  assert.equal((await server.ask("/api/v1/pause", post())).status, 503);
  assert.equal(scheduler.orchestrator.state.paused, null);
  world.pause.put = put;
  await core.dispatch.pause("x", "api");
  world.pause.put = async () => refuse();
  assert.equal((await server.ask("/api/v1/resume", post())).status, 503);
  assert.match(JSON.stringify(scheduler.orchestrator.state.paused), /"reason":"x"/);
});

/** Those of an operator: the agent of the project may be missing on this machine, which is a gate of its own. */
async function pausesOf(server: RealServer) {
  const { paused } = (await server.ask("/api/v1/state")).json();
  return paused.filter(({ gate }: { gate: string }) => gate === "paused");
}

test("a pause and its end outlive the server; two requests at once are kept in their order", async () => {
  await using project = await freshProject();
  {
    await using server = await openReal(project.dir);
    await server.ask("/api/v1/pause", post({ reason: "first" }));
    await Promise.all([
      server.core.dispatch.resume("api"),
      server.core.dispatch.pause("second", "cli"),
    ]);
  }
  {
    await using server = await openReal(project.dir);
    const [paused] = await pausesOf(server);
    assert.match(paused?.reason ?? "", /^dispatch is paused \(cli, .*\): second$/);
    assert.ok(server.logged.some((line) => /nothing new is started.*second/.test(line)));
    await server.ask("/api/v1/resume", post());
    assert.deepEqual(await pausesOf(server), []);
  }
  await using server = await openReal(project.dir);
  assert.deepEqual(await pausesOf(server), []);
});
