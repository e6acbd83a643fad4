import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { SymphonyError } from "../../src/core/model/errors.ts";
import { issue } from "../support/makers/issue.ts";
import { createWorld, type World } from "../support/worlds/core.ts";
import { settled } from "../support/worlds/scheduler.ts";
import { serve, type TestServer } from "../support/worlds/server.ts";

/** A server over `world` with ENG-1 in the middle of a turn. */
async function inTurn(): Promise<{ world: World; server: TestServer } & AsyncDisposable> {
  const world = await createWorld({ issues: [issue("ENG-1", { url: "https://t.example/ENG-1" })] });
  const server = await serve(world);
  world.scheduler
    .run("ENG-1")
    .say(
      { type: "session.started", threadId: "th_1", resumed: false },
      { type: "turn.started", turnId: "turn-1" },
    );
  return {
    world,
    server,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await world[Symbol.asyncDispose]();
    },
  };
}

const post = (body: unknown = {}) => ({ method: "POST", body });

describe("GET :id", () => {
  test("H-5: shows a running issue, with its identifier in any case", async () => {
    await using at = await inTurn();
    const answer = await at.server.ask("/api/v1/eng-1");
    const detail = api.issues.detail.reply.parse(answer.json());
    assert.equal(detail.status, "running");
    assert.equal(detail.running?.thread_id, "th_1");
    assert.equal(detail.attempts.count, 1);
    assert.equal(detail.attempts.latest[0]?.id, detail.running?.attempt_id);
    assert.deepEqual(
      [detail.attempts.restart_count, detail.attempts.current_retry_attempt],
      [0, 0],
    );
    assert.ok(detail.recent_events.some(({ event }) => event === "turn.started"));
    assert.ok(detail.explain.length > 3);
    const place = { key: "ENG-1", path: "/nowhere/workspaces/ENG-1", host: null, branch: null };
    assert.deepEqual(detail.workspace, place);
  });

  test("H-5: shows when and why an issue is retried", async () => {
    await using at = await inTurn();
    const failure = { kind: "failed", code: "turn_failed", message: "boom" } as const;
    await at.world.scheduler.run("ENG-1").end(failure);
    const detail = api.issues.detail.reply.parse((await at.server.ask("/api/v1/ENG-1")).json());
    assert.equal(detail.status, "retrying");
    assert.equal(detail.running, null);
    assert.equal(detail.attempts.current_retry_attempt, detail.retry?.attempt);
    assert.match(detail.last_error ?? "", /boom/);
    assert.equal(detail.attempts.latest[0]?.error?.code, "turn_failed");
  });

  test("H-5: shows what a blocked issue needs", async () => {
    await using at = await inTurn();
    const needs = {
      kind: "approval",
      prompt: "rm -rf build?",
      options: ["approve", "decline"],
    } as const;
    await at.world.scheduler.run("ENG-1").end({ kind: "needs", needs, code: "approval_required" });
    const detail = api.issues.detail.reply.parse((await at.server.ask("/api/v1/ENG-1")).json());
    assert.equal(detail.status, "blocked");
    assert.equal(detail.needs?.prompt, "rm -rf build?");
  });

  test("H-6: is 404 for an unknown issue", async () => {
    await using at = await inTurn();
    const answer = await at.server.ask("/api/v1/NO-1");
    assert.equal(answer.status, 404);
    assert.equal(answer.json().error.code, "issue_not_found");
  });

  test("reads an issue that only the history has from the tracker", async () => {
    await using at = await inTurn();
    const { core, scheduler } = at.world;
    const past = core.history.latestAttempt("id-ENG-1");
    assert.ok(past);
    core.history.saveAttempt({
      ...past,
      id: "att_0000000z",
      issueId: "id-OLD-1",
      issueIdentifier: "OLD-1",
    });
    const gone = await at.server.ask("/api/v1/OLD-1");
    assert.equal(gone.json().error.code, "issue_not_found");
    scheduler.set(issue("OLD-1", { state: "Done" }));
    const detail = api.issues.detail.reply.parse((await at.server.ask("/api/v1/old-1")).json());
    assert.equal(detail.status, null);
    assert.equal(detail.issue.state, "Done");
    assert.equal(detail.attempts.count, 1);
    assert.deepEqual(
      detail.explain.filter(({ pass }) => !pass).map(({ gate }) => gate),
      ["active_state"],
    );
  });

  test("is 502 when the tracker cannot be read", async () => {
    await using at = await inTurn();
    const past = at.world.core.history.latestAttempt("id-ENG-1");
    assert.ok(past);
    at.world.core.history.saveAttempt({
      ...past,
      id: "att_0000000z",
      issueId: "x",
      issueIdentifier: "OLD-1",
    });
    at.world.core.tracker().fetchIssuesByIds = () =>
      Promise.reject(new SymphonyError("tracker_rate_limited", "Linear asks to wait"));
    const answer = await at.server.ask("/api/v1/OLD-1");
    assert.equal(answer.status, 502);
    assert.equal(answer.json().error.code, "tracker_rate_limited");
  });
});

describe("H-17: abort", () => {
  test("stops the attempt and holds the issue; a second request says that it is already stopping", async () => {
    await using at = await inTurn();
    const { scheduler, core } = at.world;
    const first = at.server.ask("/api/v1/eng-1/abort", post({ reason: "not now" }));
    await until(() => scheduler.run("ENG-1").stopReason !== null);
    const answer = await first;
    const reply = api.issues.abort.reply.parse(answer.json());
    assert.equal(answer.status, 202);
    assert.deepEqual([reply.issue_identifier, reply.already_stopping], ["ENG-1", false]);
    const again = await at.server.ask("/api/v1/ENG-1/abort", post());
    assert.equal(again.json().already_stopping, true);
    await scheduler.run("ENG-1").end({ kind: "stopped" });
    assert.equal(core.orchestrator.statusOf("ENG-1")?.status, "held");
    const idle = await at.server.ask("/api/v1/ENG-1/abort", post());
    assert.deepEqual([idle.status, idle.json().error.code], [409, "not_running"]);
  });

  test("is 404 for an unknown issue, and 409 for one of the embedded tracker that is not running", async () => {
    await using world = await createWorld({ local: true });
    await using server = await serve(world);
    world.core.localIssues()?.create({ title: "at rest" });
    assert.equal((await server.ask("/api/v1/LOCAL-9/abort", post())).status, 404);
    const idle = await server.ask("/api/v1/local-1/abort", post());
    assert.deepEqual([idle.status, idle.json().error.code], [409, "not_running"]);
    const steer = await server.ask("/api/v1/local-1/steer", post({ message: "x" }));
    assert.deepEqual([steer.status, steer.json().error.code], [409, "no_active_turn"]);
  });
});

describe("H-17: steer", () => {
  test("is 202 when the agent has accepted it", async () => {
    await using at = await inTurn();
    const answer = await at.server.ask("/api/v1/ENG-1/steer", post({ message: " auth first " }));
    const reply = api.issues.steer.reply.parse(answer.json());
    assert.equal(answer.status, 202);
    assert.deepEqual([reply.turn_id, reply.status], ["turn-1", "accepted"]);
    assert.ok(at.world.scheduler.calls.includes("steer auth first"));
  });

  test("with a used idempotency key sends nothing and gets the first answer", async () => {
    await using at = await inTurn();
    const ask = { ...post({ message: "once" }), headers: { "idempotency-key": "k1" } };
    const first = await at.server.ask("/api/v1/ENG-1/steer", ask);
    const second = await at.server.ask("/api/v1/ENG-1/steer", ask);
    assert.deepEqual(second.json(), first.json());
    assert.equal(at.world.scheduler.calls.filter((call) => call === "steer once").length, 1);
  });

  test("is 429 when 64 messages wait for the agent; a repeat of one that was taken is answered", async () => {
    await using at = await inTurn();
    const ask = (n: number) => ({
      ...post({ message: `m${n}` }),
      headers: { "idempotency-key": `k${n}` },
    });
    for (let n = 1; n <= 64; n++) {
      assert.equal((await at.server.ask("/api/v1/ENG-1/steer", ask(n))).status, 202);
    }
    const refused = await at.server.ask("/api/v1/ENG-1/steer", ask(65));
    assert.deepEqual([refused.status, refused.json().error.code], [429, "rate_limited"]);
    assert.match(refused.json().error.message, /^64 messages wait for the agent of ENG-1 already/);
    assert.equal(at.world.core.history.undelivered("id-ENG-1").length, 64);
    assert.equal((await at.server.ask("/api/v1/ENG-1/steer", ask(64))).status, 202);
  });

  test("is 409 without a turn and 404 without an issue; a refusal by the agent is returned", async () => {
    await using at = await inTurn();
    assert.equal((await at.server.ask("/api/v1/NO-1/steer", post({ message: "x" }))).status, 404);
    at.world.scheduler.steerRefusal = new SymphonyError("no_active_turn", "the turn just ended");
    const refused = await at.server.ask("/api/v1/ENG-1/steer", post({ message: "x" }));
    assert.deepEqual([refused.status, refused.json().error.message], [409, "the turn just ended"]);
  });
});

describe("H-17: transition", () => {
  test("moves an issue to a status and to a state of the tracker", async () => {
    await using at = await inTurn();
    const held = at.server.ask("/api/v1/ENG-1/transition", post({ to: "held", reason: "later" }));
    await until(() => at.world.scheduler.run("ENG-1").stopReason !== null);
    await at.world.scheduler.run("ENG-1").end({ kind: "stopped" });
    const reply = api.issues.transition.reply.parse((await held).json());
    assert.deepEqual(reply, {
      issue_identifier: "ENG-1",
      from: "running",
      to: "held",
      kind: "status",
    });
    const done = await at.server.ask("/api/v1/ENG-1/transition", post({ to: "done" }));
    assert.deepEqual(done.json(), {
      issue_identifier: "ENG-1",
      from: "Todo",
      to: "Done",
      kind: "tracker",
    });
  });

  test("to any other target is 409 and lists the allowed ones", async () => {
    await using at = await inTurn();
    const answer = await at.server.ask("/api/v1/ENG-1/transition", post({ to: "nowhere" }));
    assert.equal(answer.status, 409);
    const { code, details } = answer.json().error;
    assert.equal(code, "transition_not_allowed");
    assert.ok(details.allowed.includes("Done"));
  });
});

describe("attempts of an issue", () => {
  test("are listed newest first, in pages", async () => {
    await using at = await inTurn();
    const { history } = at.world.core;
    const past = history.latestAttempt("id-ENG-1");
    assert.ok(past);
    history.saveAttempt({ ...past, id: "att_zzzzzzzz1", number: 2 });
    const page = await at.server.ask("/api/v1/eng-1/attempts?limit=1");
    const reply = api.issues.attempts.reply.parse(page.json());
    assert.deepEqual(
      [reply.issue_identifier, reply.total, reply.limit, reply.offset],
      ["ENG-1", 2, 1, 0],
    );
    assert.equal(reply.attempts[0]?.number, 2);
    const rest = await at.server.ask("/api/v1/ENG-1/attempts?offset=1");
    assert.equal(rest.json().attempts[0].number, 1);
    assert.equal((await at.server.ask("/api/v1/NO-1/attempts")).status, 404);
  });
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await settled();
}
