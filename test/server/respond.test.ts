import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { asking, needs } from "../support/worlds/asking.ts";
import { settled } from "../support/worlds/scheduler.ts";

const post = (body: unknown) => ({ method: "POST", body });

describe("POST :id/respond", () => {
  test("gives a live agent the answer at once; the state shows the question and its time limit", async () => {
    await using at = await asking();
    const before = api.system.state.reply.parse((await at.server.ask("/api/v1/state")).json());
    const [row] = before.blocked;
    assert.deepEqual([before.counts.blocked, row?.issue_identifier], [1, "ENG-1"]);
    assert.equal(row?.needs.prompt, needs.prompt);
    assert.ok(row?.needs.until);
    const answer = await at.server.ask("/api/v1/eng-1/respond", post({ decision: "approve" }));
    assert.equal(answer.status, 200);
    const reply = api.issues.respond.reply.parse(answer.json());
    assert.deepEqual([reply.issue_identifier, reply.applies], ["ENG-1", "now"]);
    const after = api.system.state.reply.parse((await at.server.ask("/api/v1/state")).json());
    assert.deepEqual([after.counts.blocked, after.counts.running], [0, 2]);
    const log = (await at.server.ask("/api/v1/audit")).json();
    assert.match(JSON.stringify(log), /respond.*"decision":"approve"/);
  });

  test("when the attempt has ended, begins the next attempt with the answer", async () => {
    await using at = await asking();
    const { scheduler } = at.world;
    await scheduler.run("ENG-1").end({ kind: "needs", needs, code: "approval_required" });
    const answer = await at.server.ask("/api/v1/ENG-1/respond", post({ decision: "decline" }));
    assert.equal(api.issues.respond.reply.parse(answer.json()).applies, "next_attempt");
    await scheduler.advance(0);
    assert.ok(scheduler.live.includes("ENG-1"));
    const [steer] = at.world.core.history.undelivered("id-ENG-1");
    assert.match(steer?.message ?? "", /Run rm\?\nThe answer: No, declined/);
  });

  test("shows what an agent asks at once, and an answer reaches only the request that it names", async () => {
    await using at = await asking();
    const { scheduler } = at.world;
    const sinceWall = scheduler.clock.wall();
    const ask = { id: "ask_2", sinceWall, untilWall: sinceWall + 60_000 };
    const second = { ...needs, prompt: "Run dd?" };
    scheduler.run("ENG-1").say({ type: "approval.requested", needs: second, ask });
    const asked = async () =>
      api.issues.detail.reply.parse((await at.server.ask("/api/v1/ENG-1")).json()).needs;
    const first = await asked();
    assert.deepEqual([first?.prompt, first?.further], ["Run rm?", ["Run dd?"]]);
    const state = api.system.state.reply.parse((await at.server.ask("/api/v1/state")).json());
    assert.equal(state.blocked[0]?.next, `symphony respond ENG-1 approve --id ${first?.id}`);
    const approve = async (id: string | undefined) =>
      (await at.server.ask("/api/v1/ENG-1/respond", post({ decision: "approve", id }))).status;
    assert.equal(await approve("ask_2"), 409, "it is not the one that is answered next");
    assert.equal(await approve(first?.id), 200);
    assert.equal(
      await approve(first?.id),
      409,
      "a second answer does not approve the next request",
    );
    const next = await asked();
    assert.deepEqual([next?.id, next?.prompt, next?.further], ["ask_2", "Run dd?", []]);
    await scheduler.run("ENG-1").end({ kind: "needs", needs: second, code: "approval_required" });
    assert.equal(await approve("ask_2"), 409);
    assert.equal(await approve((await asked())?.id), 200);
  });

  test("refuses an issue without a question, unknown issues and empty bodies, and stores nothing", async () => {
    await using at = await asking();
    for (const [path, body, status, code] of [
      ["ENG-2", { decision: "approve" }, 409, "nothing_asked"],
      ["NO-1", { decision: "approve" }, 404, "issue_not_found"],
      ["ENG-1", {}, 400, "invalid_request"],
      ["ENG-1", { decision: "perhaps" }, 400, "invalid_request"],
      ["ENG-1", { decision: "approve", answers: ["x"] }, 400, "invalid_request"],
      ["ENG-1", { answers: [] }, 400, "invalid_request"],
    ] as const) {
      const answer = await at.server.ask(`/api/v1/${path}/respond`, post(body));
      assert.deepEqual(
        [answer.status, answer.json().error.code],
        [status, code],
        JSON.stringify(body),
      );
    }
    await settled();
    assert.deepEqual(at.world.core.history.undelivered("id-ENG-2"), []);
  });
});
