// What requests cost, counted: a machine that is slower or busier changes none of these numbers.

import assert from "node:assert/strict";
import { test } from "node:test";
import { databaseWork } from "../../src/core/store/database.ts";
import { config } from "../support/makers/issue.ts";
import { delivery, issueEvent, webhookSecretValue } from "../support/makers/webhook.ts";
import { createWorld } from "../support/worlds/core.ts";
import { type Ask, serve } from "../support/worlds/server.ts";

test("statements and waits for the disk of each request", async () => {
  const settings = config({ tracker: { provider: { webhook_secret: "$HOOK_SECRET" } } });
  await using world = await createWorld({
    config: settings,
    env: { HOOK_SECRET: webhookSecretValue },
  });
  await using server = await serve(world);
  const costOf = async (path: string, ask?: Ask) => {
    const before = databaseWork();
    const { status, text } = await server.ask(path, ask);
    assert.ok(status < 300, text);
    const { statements, waits } = databaseWork();
    return { statements: statements - before.statements, waits: waits - before.waits };
  };
  const now = world.scheduler.clock.wall();
  const webhook = () => delivery(issueEvent("id-ENG-7", now));
  // The first of each opens a database or fills what is kept.
  for (const path of ["/api/v1/state", "/api/v1/audit", "/metrics"]) await costOf(path);
  await costOf("/webhooks/linear", webhook());
  await costOf("/api/v1/state");
  for (const path of ["/api/v1/state", "/metrics"])
    assert.deepEqual(await costOf(path), { statements: 0, waits: 0 }, path);
  const audit = await costOf("/api/v1/audit");
  assert.ok(audit.statements <= 4 && audit.waits === 0, JSON.stringify(audit));
  const delivered = await costOf("/webhooks/linear", webhook());
  assert.ok(delivered.statements <= 6 && delivered.waits === 1, JSON.stringify(delivered));
});
