import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { noTokens } from "../../src/core/model/attempt.ts";
import { config, issue } from "../support/makers/issue.ts";
import { createWorld, type World } from "../support/worlds/core.ts";
import { settled } from "../support/worlds/scheduler.ts";
import { serve } from "../support/worlds/server.ts";

/** One issue in each status: running, blocked, retrying, held, completed and queued. */
async function busyWorld(): Promise<World> {
  const names = ["RUN-1", "BLK-1", "RTY-1", "HLD-1", "DON-1", "QUE-1"];
  const issues = names.map((name, index) => issue(name, { priority: 1, createdAt: index }));
  const settings = config({ agent: { maxConcurrentAgents: 5 } });
  const world = await createWorld({ issues, config: settings });
  const { scheduler, core } = world;
  world.config = config({ agent: { maxConcurrentAgents: 1 } });
  scheduler.config = world.config;
  const needs = { kind: "question", prompt: "Which branch?", options: ["main"] } as const;
  await scheduler.run("BLK-1").end({ kind: "needs", needs, code: "turn_input_required" });
  await scheduler.run("RTY-1").end({ kind: "failed", code: "turn_failed", message: "boom" });
  const abort = core.orchestrator.abort("HLD-1", "not now");
  await settled();
  await scheduler.run("HLD-1").end({ kind: "stopped" });
  await abort;
  scheduler.set(issue("DON-1", { state: "Done" }));
  await scheduler.run("DON-1").end();
  await scheduler.advance(1_500);
  core.orchestrator.refresh();
  await scheduler.advance(0);
  const running = scheduler.run("RUN-1");
  running.say(
    { type: "session.started", threadId: "th_1", resumed: false },
    { type: "turn.started", turnId: "tu_1" },
    { type: "tokens", total: { ...noTokens, input: 7, output: 3, total: 10 } },
    { type: "rate_limits", limits: { limitId: "codex", primary: { usedPercent: 4 } } },
    { type: "message", text: "Looking at it" },
  );
  await scheduler.advance(500);
  return world;
}

describe("GET /api/v1/state", () => {
  test("H-3, H-4: an idle state has every field", async () => {
    await using world = await createWorld();
    await using server = await serve(world);
    const state = api.system.state.reply.parse((await server.ask("/api/v1/state")).json());
    assert.equal(state.rate_limits, null);
    assert.deepEqual([...new Set(Object.values(state.counts))], [0]);
    assert.equal(state.polling.interval_ms, 30_000);
    assert.equal(state.tracker.healthy, true);
  });

  test("H-3, H-4, H-15: a busy one has a row in each list", async () => {
    await using world = await busyWorld();
    await using server = await serve(world);
    const state = api.system.state.reply.parse((await server.ask("/api/v1/state")).json());
    assert.deepEqual(state.counts, {
      queued: 1,
      running: 1,
      retrying: 1,
      blocked: 1,
      held: 1,
      review: 0,
      failed: 0,
      completed: 1,
    });
    const [running] = state.running;
    assert.equal(running?.issue_identifier, "RUN-1");
    assert.equal(running?.thread_id, "th_1");
    assert.equal(running?.last_message, "Looking at it");
    assert.equal(running?.tokens.total_tokens, 10);
    assert.equal(state.blocked[0]?.needs.prompt, "Which branch?");
    assert.match(state.retrying[0]?.error ?? "", /boom/);
    assert.match(state.held[0]?.reason ?? "", /not now/);
    assert.equal(state.completed[0]?.issue_identifier, "DON-1");
    assert.ok(state.queued[0]?.waiting_for);
    assert.deepEqual(state.rate_limits, { limitId: "codex", primary: { usedPercent: 4 } });
    assert.equal(state.seq, world.core.bus.lastSeq);
  });

  test("limit cuts the lists and leaves the counts true", async () => {
    const issues = ["A-1", "A-2", "A-3"].map((name) => issue(name));
    await using world = await createWorld({ issues });
    await using server = await serve(world);
    const state = (await server.ask("/api/v1/state?limit=2")).json();
    assert.equal(state.running.length, 2);
    assert.equal(state.counts.running, 3);
  });

  test("an ETag gives 304 while only time passes, and 200 after a change", async () => {
    await using world = await createWorld({ issues: [issue("A-1")] });
    await using server = await serve(world);
    const first = await server.ask("/api/v1/state");
    const etag = first.headers.etag ?? "";
    assert.equal(first.headers["cache-control"], "no-cache");
    assert.match(etag, /^W\/"[\w-]+"$/);
    world.scheduler.clock.jump(1_000);
    for (const tag of [etag, `"other", ${etag}`, "*", etag.slice(2)]) {
      const same = await server.ask("/api/v1/state", { headers: { "if-none-match": tag } });
      assert.deepEqual([same.status, same.text, same.headers.etag], [304, "", etag]);
    }
    const other = await server.ask("/api/v1/state?limit=1", {
      headers: { "if-none-match": '"x"' },
    });
    assert.equal(other.status, 200);
    world.scheduler.run("A-1").say({ type: "message", text: "new" });
    const changed = await server.ask("/api/v1/state", { headers: { "if-none-match": etag } });
    assert.equal(changed.status, 200);
    assert.notEqual(changed.headers.etag, etag);
  });

  test("H-8: a failed snapshot is 503, and only the log has the cause", async () => {
    await using world = await createWorld();
    await using server = await serve(world);
    world.core.orchestrator.view = () => {
      throw new TypeError("secret internals of /home/me");
    };
    const answer = await server.ask("/api/v1/state");
    assert.equal(answer.headers["cache-control"], "no-store");
    assert.equal(answer.status, 503);
    assert.equal(answer.json().error.code, "unavailable");
    assert.doesNotMatch(answer.text, /secret|home/);
    assert.match(world.logged.join(""), /secret internals/);
  });
});

test("runtime says where the server is", async () => {
  await using world = await createWorld();
  await using server = await serve(world);
  world.scheduler.clock.jump(2_500);
  const runtime = api.system.runtime.reply.parse((await server.ask("/api/v1/runtime")).json());
  assert.equal(runtime.version, "1.2.3");
  assert.equal(runtime.uptime_seconds, 2.5);
  assert.deepEqual(runtime.server, {
    host: "127.0.0.1",
    port: server.listening.port,
    auth: "none",
  });
  assert.equal(runtime.agent.command, "codex app-server");
});

describe("refresh", () => {
  test("answers 202 and polls; a request during the poll is coalesced", async () => {
    await using world = await createWorld();
    await using server = await serve(world);
    await world.scheduler.advance(1_000);
    const before = world.scheduler.calls.filter((call) => call === "candidates").length;
    const first = await server.ask("/api/v1/refresh", { method: "POST" });
    const reply = api.system.refresh.reply.parse(first.json());
    assert.equal(first.status, 202);
    assert.equal(reply.coalesced, false);
    await world.scheduler.advance(0);
    assert.equal(world.scheduler.calls.filter((call) => call === "candidates").length, before + 1);
  });

  test("is 503 while the server stops", async () => {
    await using world = await createWorld();
    await using server = await serve(world);
    await world.scheduler.orchestrator.drain();
    const answer = await server.ask("/api/v1/refresh", { method: "POST" });
    assert.equal(answer.status, 503);
    assert.equal(answer.json().error.code, "unavailable");
  });
});

describe("transitions", () => {
  test("lists the targets of each issue, or of one in any case", async () => {
    await using world = await createWorld({ issues: [issue("A-1"), issue("A-2")] });
    await using server = await serve(world);
    const all = api.system.transitions.reply.parse(
      (await server.ask("/api/v1/transitions")).json(),
    );
    assert.deepEqual(Object.keys(all.issues), ["A-1", "A-2"]);
    assert.ok(
      all.states.some(
        ({ name, kind, terminal }) => name === "Done" && kind === "tracker" && terminal,
      ),
    );
    const one = (await server.ask("/api/v1/transitions?issue=a-2")).json();
    assert.deepEqual(Object.keys(one.issues), ["A-2"]);
    assert.ok(one.issues["A-2"].transitions.some(({ to }: { to: string }) => to === "held"));
  });

  test("of an issue that only the tracker knows are the tracker's states", async () => {
    await using world = await createWorld({ local: true });
    await using server = await serve(world);
    // Created without a notification, as by another process: no poll has seen it.
    world.core.localIssues()?.create({ title: "at rest" });
    const { states, issues } = (await server.ask("/api/v1/transitions?issue=local-1")).json();
    assert.ok(states.some(({ name }: { name: string }) => name === "Done"));
    assert.equal(issues["LOCAL-1"].status, null);
    const targets = issues["LOCAL-1"].transitions;
    assert.ok(targets.some(({ to }: { to: string }) => to === "Done"));
    assert.ok(targets.every(({ kind }: { kind: string }) => kind === "tracker"));
  });

  test("of an unknown issue are 404", async () => {
    await using world = await createWorld();
    await using server = await serve(world);
    const answer = await server.ask("/api/v1/transitions?issue=NO-1");
    assert.equal(answer.json().error.code, "issue_not_found");
  });
});

test("H-16: openapi.json is the document of every route", async () => {
  await using world = await createWorld();
  await using server = await serve(world);
  const document = (await server.ask("/api/v1/openapi.json")).json();
  assert.equal(document.openapi, "3.0.3");
  assert.equal(document.info.version, "1.2.3");
});
