import assert from "node:assert/strict";
import { test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { issue } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { serve } from "../support/worlds/server.ts";

test("H-17: the events of an attempt are listed in pages, oldest first", async () => {
  await using world = await createWorld({ issues: [issue("ENG-1"), issue("ENG-2")] });
  await using server = await serve(world);
  world.scheduler
    .run("ENG-1")
    .say(
      { type: "session.started", threadId: "th_1", resumed: false },
      { type: "turn.started", turnId: "turn-1" },
      { type: "message", text: "hello" },
    );
  const id = world.scheduler.run("ENG-1").order.attemptId;
  const whole = api.attempts.detail.reply.parse(
    (await server.ask(`/api/v1/attempts/${id}`)).json(),
  );
  assert.equal(whole.issue_identifier, "ENG-1");
  assert.ok(whole.events.length >= 4);
  assert.ok(whole.events.every((event) => event.attempt_id === id));
  assert.equal(whole.next_after_seq, null);
  const seqs: number[] = [];
  let after: number | null = 0;
  while (after !== null) {
    const page = await server.ask(`/api/v1/attempts/${id}?limit=2&after_seq=${after}`);
    const reply = api.attempts.detail.reply.parse(page.json());
    seqs.push(...reply.events.map(({ seq }) => seq));
    after = reply.next_after_seq;
  }
  assert.deepEqual(
    seqs,
    whole.events.map(({ seq }) => seq),
  );
});

test("H-17: an ended attempt has its duration, error and workspace", async () => {
  await using world = await createWorld({ issues: [issue("ENG-1")] });
  await using server = await serve(world);
  const run = world.scheduler.run("ENG-1");
  run.reports.entered("building_prompt", { key: "ENG-1", path: "/w/ENG-1", createdNow: true });
  world.scheduler.clock.advance(1_500);
  await run.end({ kind: "failed", code: "turn_failed", message: "boom" });
  const answer = await server.ask(`/api/v1/attempts/${run.order.attemptId}`);
  const attempt = api.attempts.detail.reply.parse(answer.json());
  assert.equal(attempt.duration_ms, 1_500);
  assert.deepEqual(attempt.workspace, { key: "ENG-1", path: "/w/ENG-1" });
  assert.equal(attempt.error?.code, "turn_failed");
});

test("an unknown attempt is 404", async () => {
  await using world = await createWorld();
  await using server = await serve(world);
  const answer = await server.ask("/api/v1/attempts/att_nope");
  assert.deepEqual([answer.status, answer.json().error.code], [404, "attempt_not_found"]);
});
