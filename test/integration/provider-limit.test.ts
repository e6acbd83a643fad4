import assert from "node:assert/strict";
import { test } from "node:test";
import { equipmentWorld } from "../support/worlds/equipment-world.ts";
import { eventually, Served } from "../support/worlds/symphony.ts";

test("with the real codex at its usage limit the issue waits until the limit ends, then its thread is resumed", async () => {
  await using world = await equipmentWorld();
  const resetsAt = Math.ceil(Date.now() / 1_000) + 12;
  await world.play({
    type: "error",
    status: 429,
    body: {
      error: {
        type: "usage_limit_reached",
        message: "The usage limit has been reached",
        plan_type: "plus",
        resets_at: resetsAt,
      },
    },
    headers: {
      "x-codex-primary-used-percent": "100",
      "x-codex-primary-window-minutes": "300",
      "x-codex-primary-reset-at": String(resetsAt),
    },
  });
  await using server = await Served.start(world);
  const row = await eventually("it waits", async () => {
    const { retrying, paused } = await server.client.system.state({});
    return paused[0]?.agent === "codex" ? retrying[0] : null;
  });
  assert.equal(row.due_at, new Date(resetsAt * 1_000).toISOString());
  await eventually("the issue is Done", async () => (await world.stateOf(world.issue)) === "Done");
  assert.ok(Date.now() >= resetsAt * 1_000, "not before its time");
  const attempts = await eventually("the second attempt ends", async () => {
    const list = await server.client.issues.attempts({ params: { id: world.issue } });
    return list.attempts.every(({ ended_at }) => ended_at !== null) ? list.attempts : null;
  });
  assert.deepEqual(
    attempts.map(({ status }) => status),
    ["succeeded", "failed"],
  );
  assert.equal(attempts[1]?.error?.code, "provider_limited");
  assert.equal(attempts[0]?.thread_id, attempts[1]?.thread_id);
});

test("when the real codex gets 429 without a time, its provider is paused, and this counts as no failure of the issue", async () => {
  await using world = await equipmentWorld();
  await world.play({
    type: "error",
    status: 429,
    code: "rate_limit_exceeded",
    message: "too many requests",
    sticky: true,
  });
  await using server = await Served.start(world);
  const row = await eventually("it waits", async () => {
    const { retrying, paused } = await server.client.system.state({});
    return paused[0]?.agent === "codex" ? retrying[0] : null;
  });
  assert.equal(row.attempt, 1);
  assert.match(row.error ?? "", /the provider's limit is reached/);
  assert.ok(Date.parse(row.due_at) > Date.now());
});
