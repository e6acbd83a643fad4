import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Delivered } from "../../src/core/delivery/delivered.ts";
import { openDeliveryStore } from "../../src/core/delivery/store.ts";
import type { PullRequestFacts } from "../../src/core/model/delivery.ts";
import { config, issue } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { serve } from "../support/worlds/server.ts";

const url = "https://github.test/acme/shop/pull/7";

/** ENG-1 is in review, with a pull request. */
async function inReview(facts: Partial<Delivered> = {}) {
  const one = issue("ENG-1");
  const settings = config({ tracker: { onSuccess: { kind: "auto" } } });
  const world = await createWorld({ issues: [one], config: settings });
  const server = await serve(world);
  const made = { kind: "changed", head: "a".repeat(40) } as const;
  await world.scheduler.run("ENG-1").end({ kind: "completed", made, issue: one });
  const { deliveries } = world.core;
  deliveries.record({ issue: one, repository: "shop", branch: "eng-1", base: "main", path: "/w" });
  const known = deliveries.of(one.id);
  assert.ok(known);
  const pullRequest: PullRequestFacts = {
    ...{ number: 7, url, draft: false, headSha: "a".repeat(40) },
    ...({ state: "open", checks: "passed", review: "none" } as const),
  };
  const delivered = {
    ...known,
    ...{ offeredAt: 1_000, pushed: "a".repeat(40), pullRequest, waitingFor: "a review" },
    ...facts,
  };
  deliveries.of = () => delivered;
  return {
    ...{ world, server, one },
    detail: async () => (await server.ask("/api/v1/ENG-1")).json(),
    state: async () => (await server.ask("/api/v1/state")).json(),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await world[Symbol.asyncDispose]();
    },
  };
}

const line = `pull request #7 ${url}; waits for a review`;

describe("an issue in review", () => {
  test("has a gate with the same line as the state, and says whether it needs a person", async () => {
    await using at = await inReview();
    const { explain, status, delivery } = await at.detail();
    assert.equal(status, "review");
    const opens = "an answer of people or checks to its work";
    assert.deepEqual(explain[0], { gate: "not_in_review", pass: false, detail: line, opens });
    const [row] = (await at.state()).review;
    assert.equal(row.delivery.summary, line);
    assert.equal(delivery.needs_person, true);
  });

  for (const [waitingFor, problem, needs] of [
    ["a person to merge it", null, true],
    ["a new review: changes were requested", null, true],
    ["the failed check lint, which is red on main too", null, true],
    ["the check test", null, false],
    ["the failed check test", null, false],
    ["GitHub to show the pushed commit", null, false],
    ["its branch to be pushed", "push refused: no; next: symphony deliver ENG-1", true],
  ] as const) {
    test(`that waits for ${waitingFor} ${needs ? "needs" : "does not need"} a person`, async () => {
      await using at = await inReview({ waitingFor, problem });
      assert.equal((await at.detail()).delivery.needs_person, needs);
    });
  }

  test("whose work is in no branch is in its workspace, and waits for a person until the issue ends", async () => {
    const none = { ...{ mode: "none" as const, over: true }, pullRequest: null, pushed: null };
    await using at = await inReview({ ...none, waitingFor: "a person to look at it" });
    const [row] = (await at.state()).review;
    assert.equal(row.delivery.summary, "in its workspace; waits for a person to look at it");
    assert.deepEqual([row.delivery.needs_person, row.next], [true, "symphony diff ENG-1"]);
    assert.equal((await at.detail()).delivery.waiting_for, "a person to look at it");
    const done = { method: "POST", body: { to: "completed" } };
    assert.equal((await at.server.ask("/api/v1/ENG-1/transition", done)).status, 200);
    const { delivery } = await at.detail();
    assert.deepEqual([delivery.waiting_for, delivery.needs_person], [null, false]);
    assert.equal(delivery.summary, "in no branch; not delivered");
  });

  test("shows the rounds and the last feedback, redacted and cut", async () => {
    await using at = await inReview();
    const { world, one } = at;
    const before = await at.detail();
    assert.deepEqual(before.feedback, { rounds: 0, max_rounds: 5, last: null });
    const store = openDeliveryStore(world.dataDir, () => 1_000);
    const said = { issueId: one.id, hash: "h", replyTo: null, byPerson: true, at: 5_000, url };
    store.addFeedback({ ...said, source: "review:1", author: "ada", text: "Earlier" });
    store.addFeedback({ ...said, source: "review:2", author: "ada", text: "x".repeat(2_000) });
    store.close();
    // The kept answer is of an earlier state.
    world.core.bus.publish({ type: "feedback.received", issueId: one.id, message: "x" });
    const { last } = (await at.detail()).feedback;
    assert.deepEqual([last.author, last.url, last.by_person], ["ada", url, true]);
    assert.ok(last.text.length <= 501 && last.text.startsWith("xxx"));
  });

  test("is on the page with its pull request and what it waits for; a hostile address is no link", async () => {
    {
      await using at = await inReview();
      const { text } = await at.server.ask("/");
      assert.ok(text.includes(`<a href="${url}" rel="noopener noreferrer">pull request #7</a>`));
      assert.match(text, /waits for a review/);
    }
    const checks = { checks: "none", review: "none", headSha: "a", draft: false } as const;
    const pullRequest = {
      number: 7,
      state: "open",
      ...checks,
      url: "javascript:alert(1)",
    } as const;
    await using at = await inReview({ pullRequest, waitingFor: "<b>x</b>" });
    const { text } = await at.server.ask("/");
    assert.doesNotMatch(text, /href="javascript|<b>x/);
  });
});

for (const [facts, next] of [
  [{}, "symphony open ENG-1"],
  [{ waitingFor: "the check test" }, null],
  [{ pullRequest: null, waitingFor: "a person" }, "symphony diff ENG-1"],
  [{ problem: "push refused: no", problemWith: "push" }, "symphony deliver ENG-1"],
  [{ problem: "main was not merged", problemWith: "update" }, "symphony attach ENG-1"],
] as const) {
  test(`a row in review names the command that continues it: ${next}`, async () => {
    await using at = await inReview(facts);
    const [row] = (await at.state()).review;
    assert.equal(row.next, next);
    assert.equal(row.delivery.summary, `${row.delivery.place}; ${row.delivery.progress}`);
  });
}

for (const [pull, waitingFor, summary, step, next] of [
  ["open", "the check test", "waits for the check test", "look", "symphony open ENG-1"],
  ["closed", null, "it was closed", "complete", "symphony transition ENG-1 completed"],
  ["closed", null, "it was closed", null, "symphony transition ENG-1 queued"],
] as const) {
  test(`a held issue says where its work is, that it needs a person, and the next command: ${pull}, ${step}`, async () => {
    const facts = { number: 7, url, draft: false, headSha: "a".repeat(40) };
    const state = { state: pull, checks: "running", review: "none" } as const;
    const over = pull === "closed";
    await using at = await inReview({ pullRequest: { ...facts, ...state }, waitingFor, over });
    // What the words name is not what is read.
    const reason = "pull request #7 was closed by ada; next: symphony deliver ENG-1";
    const input = { type: "offer.stopped", issueId: at.one.id, reason } as const;
    at.world.scheduler.orchestrator.post({ ...input, ...(step && { next: step }) });
    const [row] = (await at.state()).held;
    const { delivery, explain } = await at.detail();
    assert.deepEqual(row.delivery, delivery);
    assert.equal(delivery.summary, `pull request #7 ${url}; ${summary}`);
    assert.equal(delivery.needs_person, true);
    assert.match(row.reason, /closed by ada/);
    assert.equal(row.next, next);
    const isHeld = ({ detail = "" }) => detail.includes(reason);
    assert.ok(explain.some(isHeld), JSON.stringify(explain));
  });
}
