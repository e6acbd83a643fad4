import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { CommentPoll } from "../../src/core/comment-poll.ts";
import type { TimedComment, TrackerComment } from "../../src/core/tracker/tracker.ts";
import { config, issue } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { settled } from "../support/worlds/scheduler.ts";

const settings = { commentSteering: "mention" } as const;

async function setUp(t: TestContext, dataDir?: string) {
  const world = await createWorld({
    issues: [issue("ENG-1")],
    config: config({ tracker: settings }),
    ...(dataDir !== undefined && { dataDir }),
  });
  t.after(() => world[Symbol.asyncDispose]());
  const { core, scheduler, said } = world;
  let count = 0;
  const say = async (body: string, fields: Partial<TrackerComment> = {}) => {
    const id = `c-${++count}`;
    await core.comments.found({
      ...{ id, issueId: "id-ENG-1", author: "Ada", body, by: "person" },
      ...fields,
    });
    await core.deliveries.idle();
    await settled();
  };
  const status = () => core.orchestrator.statusOf("ENG-1")?.status;
  const replies = () => [...said.values()];
  const audited = () =>
    core.history
      .auditPage({ actor: "tracker", limit: 50, offset: 0 })
      .entries.map(({ action, outcome, detail }) => [action, outcome, detail["author"]])
      .reverse();
  return { world, core, scheduler, say, status, replies, audited };
}

test("hold, retry and steer act once for each comment, and an edit adds only what is new in it", async (t) => {
  const { scheduler, say, status, audited, replies } = await setUp(t);
  await scheduler.run("ENG-1").end();
  await say("/symphony hold", { id: "c-hold" });
  assert.equal(status(), "held");
  await say("Please.\n\n/symphony retry", { id: "c-retry" });
  assert.notEqual(status(), "held");
  await say("/symphony hold", { id: "c-hold" });
  await say("> x\n\n/symphony hold\n\ntypo mended", { id: "c-hold" });
  await say("/symphony hold, please!", { id: "c-hold" });
  assert.notEqual(status(), "held", "DELIVERY-13: the same command of the same comment");
  await say("/symphony retry\n/symphony hold", { id: "c-retry" });
  await scheduler.run("ENG-1").end();
  await settled();
  assert.equal(status(), "held", "another command in an edited comment");
  assert.deepEqual(
    audited(),
    [1, 2, 3].map(() => ["issues.transition", "ok", "Ada"]),
  );
  assert.deepEqual(replies(), []);
});

test("steer reaches the agent as a quoted comment; without an agent the person is answered", async (t) => {
  const { scheduler, say, replies, audited } = await setUp(t);
  const started = { type: "turn.started", turnId: "turn-1" } as const;
  scheduler.run("ENG-1").say({ type: "session.started", threadId: "th", resumed: false }, started);
  await settled();
  await say("/symphony steer use tabs\nnot spaces");
  const [steer] = scheduler.calls.filter((call) => call.startsWith("steer "));
  assert.match(steer ?? "", /"Ada" wrote on ENG-1[\s\S]*> use tabs\n> not spaces$/);
  await say("/symphony hold");
  await scheduler.run("ENG-1").end();
  await say("/symphony steer @mallory again");
  assert.equal(replies().length, 1);
  assert.match(replies()[0] ?? "", /^`steer` had no effect: no agent works on this issue now/);
  assert.deepEqual(audited().at(-1), ["issues.steer", "no_active_turn", "Ada"]);
});

test("answer reaches a question; nothing asked is said", async (t) => {
  const { say, replies, audited } = await setUp(t);
  await say("/symphony answer yes");
  assert.match(replies()[0] ?? "", /^`answer` had no effect: /);
  assert.deepEqual(audited(), [["issues.respond", "nothing_asked", "Ada"]]);
});

test("an answer counts only for a question that was asked before it was written", async (t) => {
  const { scheduler, say, replies, audited } = await setUp(t);
  const sinceWall = scheduler.clock.wall();
  const ask = { id: "ask_1", sinceWall, untilWall: sinceWall + 60_000 };
  const needs = { kind: "approval", prompt: "Run rm?", options: ["accept", "decline"] } as const;
  scheduler.run("ENG-1").say({ type: "approval.requested", needs, ask });
  await settled();
  await say("/symphony answer approve", { createdAt: sinceWall - 5_000 });
  assert.match(replies()[0] ?? "", /the agent asked after this comment was written/);
  await say("/symphony answer approve", { createdAt: sinceWall });
  assert.deepEqual(
    audited().map(([, outcome]) => outcome),
    ["nothing_asked", "ok"],
  );
});

test("an unknown command gets one reply with the list, which sets nothing off", async (t) => {
  const { say, replies, audited, core } = await setUp(t);
  await say("/symphony retyr\n/symphony what", { id: "c-x" });
  await say("/symphony retyr", { id: "c-x" });
  const [reply, ...more] = replies();
  assert.deepEqual(more, []);
  assert.match(reply ?? "", /- `\/symphony retry`: queues the issue again/);
  const waiting = core.deliveries.waiting;
  await say(reply ?? "");
  await say(reply ?? "", { by: "own" });
  assert.deepEqual([core.deliveries.waiting, replies().length, audited()], [waiting, 1, []]);
});

test("DELIVERY-12: only people who may write; own comments, machines and the policy off do nothing", async (t) => {
  const { world, say, status } = await setUp(t);
  const before = status();
  await say("/symphony hold", { mayWrite: false });
  await say("/symphony hold", { by: "machine" });
  await say("/symphony hold", { by: "own" });
  await say("/symphony hold <!-- symphony -->");
  await say("/symphony hold", { issueId: "id-ENG-9" });
  world.config = config({ tracker: { commentSteering: "off" } });
  await say("/symphony hold");
  assert.equal(status(), before);
});

test("comments are polled, rarely where a webhook reports them: new ones only, each once, also over a restart", async (t) => {
  const { world, core, scheduler, status, replies } = await setUp(t);
  await scheduler.run("ENG-1").end();
  const now = () => scheduler.clock.wall();
  const comments: TimedComment[] = [];
  let added = 0;
  const add = (body: string, createdAt: number, mayWrite: boolean | null = true) =>
    comments.push({
      ...{ id: `c-${++added}`, issueId: "id-ENG-1", author: "Ada", body },
      ...{ by: "person", createdAt, mayWrite },
    });
  let hasWebhook = false;
  let isClaimed = true;
  let aheadMs = 0;
  let learned: number | null = null;
  let reads = 0;
  const open = () =>
    new CommentPoll({
      ...{ clock: scheduler.clock, log: core.log, steering: core.comments },
      deliveries: core.deliveries,
      config: () => world.config,
      tracker: () => ({
        ...core.tracker(),
        aheadMs: () => aheadMs,
        async newComments(_issue, since) {
          reads += 1;
          aheadMs = learned ?? aheadMs;
          const from = comments.findIndex(({ createdAt }) => (createdAt ?? 0) >= since);
          return comments.slice(Math.min(from < 0 ? comments.length : from, comments.length - 1));
        },
      }),
      state() {
        const { state } = scheduler.orchestrator;
        return isClaimed
          ? state
          : { ...state, issues: new Map() as unknown as typeof state.issues };
      },
      hasWebhook: () => hasWebhook,
    });
  const first = open();
  const pass = async (poll: CommentPoll) => {
    await poll.pass();
    await core.deliveries.idle();
    await settled();
  };
  add("/symphony hold", now() - 3_600_000);
  await pass(first);
  assert.notEqual(status(), "held", "older than the first look");
  add("/symphony hold", now());
  await pass(first);
  assert.equal(status(), "held");
  await core.orchestrator.transition(issue("ENG-1"), "queued", null);
  await pass(first);
  await pass(open());
  assert.notEqual(status(), "held", "a poll that knows nothing of the earlier one");
  add("/symphony hold", now(), null);
  const later = open();
  const ended = async (poll = later) => {
    await pass(poll);
    await scheduler.run("ENG-1").end();
    await settled();
  };
  await ended();
  assert.notEqual(status(), "held", "its author's right could not be asked");
  comments.push({ ...(comments.pop() as TimedComment), mayWrite: true });
  await pass(later);
  assert.equal(status(), "held", "DELIVERY-12: it is asked again");
  await core.orchestrator.transition(issue("ENG-1"), "queued", null);
  isClaimed = false;
  await pass(later);
  scheduler.clock.advance(600_000);
  add("/symphony hold", now());
  scheduler.clock.advance(600_000);
  isClaimed = true;
  await ended();
  assert.notEqual(status(), "held", "written while symphony did not work on it");
  hasWebhook = true;
  const before = reads;
  const beside = open();
  await pass(beside);
  assert.equal(reads, before + 1, "what an earlier server lost");
  add("/symphony hold", now());
  await pass(beside);
  assert.equal(reads, before + 1, "the webhook reports it");
  scheduler.clock.advance(600_000);
  await pass(beside);
  await scheduler.run("ENG-1").end();
  assert.equal(status(), "held", "its delivery was lost");
  hasWebhook = false;
  for (const hours of [1, -1]) {
    aheadMs = hours * 3_600_000;
    comments.length = 0;
    await core.orchestrator.transition(issue("ENG-1"), "queued", null);
    isClaimed = false;
    await pass(open());
    isClaimed = true;
    const wrong = open();
    add("/symphony hold", now() - aheadMs - 120_000);
    await ended(wrong);
    assert.notEqual(status(), "held", `older than the first look, by a clock off by ${hours} h`);
    add("/symphony hold", now() - aheadMs);
    await ended(wrong);
    assert.equal(status(), "held", `newer, by a clock off by ${hours} h`);
  }
  // A tracker of a new configuration knows the gap from its first answer on.
  for (const isNew of [true, false]) {
    [aheadMs, learned] = [0, 300_000];
    comments.length = 0;
    await core.orchestrator.transition(issue("ENG-1"), "queued", null);
    const poll = open();
    if (!isNew) await pass(poll);
    add("/symphony word", now() - learned - 3_600_000);
    aheadMs = 0;
    await pass(poll);
    add("/symphony hold", now() - learned);
    add("/symphony word", now() - learned - 3_600_000);
    await ended(poll);
    assert.equal(status(), "held", `between two reads; the first ones: ${isNew}`);
  }
  learned = null;
  aheadMs = 0;
  for (let at = 0; at < 200; at++) add(`/symphony word${at}`, now());
  const many = open();
  await pass(many);
  await pass(many);
  assert.equal(replies().length, 200, "200 comments at once: each gets its reply, once");
});
