import assert from "node:assert/strict";
import { test } from "node:test";
import { config, issue } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { symphony } from "../support/worlds/run-symphony.ts";
import { serve } from "../support/worlds/server.ts";

const prices = new Map([["gpt-a", { input: 2, cachedInput: 0.5, output: 10 }]]);

async function used(issues = [issue("A-1"), issue("B-1")]) {
  const settings = config({ agent: { model: "gpt-a" }, usage: { prices } });
  const world = await createWorld({ issues, config: settings });
  for (const [name, input] of [
    ["A-1", 1_000_000],
    ["B-1", 2_000_000],
  ] as const) {
    const run = world.scheduler.run(name);
    run.say({ type: "session.started", threadId: `t-${name}`, resumed: false });
    const output = 100_000;
    const total = { input, cachedInput: 0, output, reasoningOutput: 0, total: input + output };
    run.say({ type: "tokens", total });
  }
  return world;
}

test("usage prints the most used first, with a sum and the cost; --json prints the API's document", async () => {
  await using world = await used();
  await using server = await serve(world);
  const env = { SYMPHONY_URL: `http://127.0.0.1:${server.listening.port}` };
  const table = await symphony(["usage"], { env });
  assert.equal(table.code, 0, table.stderr);
  assert.match(
    table.stdout,
    /^ISSUE +TOKENS +INPUT +CACHED +OUTPUT +USD\nB-1 .* 5\.00\nA-1 .* 3\.00\nall .* 8\.00\n$/,
  );
  const json = await symphony(["usage", "--by", "model", "--json"], { env });
  const { rows, sum, currency } = JSON.parse(json.stdout);
  assert.deepEqual([rows[0].key, rows[0].cost, sum.cost, currency], ["gpt-a", 8, 8, "USD"]);
  assert.equal(sum.tokens.total_tokens, 3_200_000);
});

test("usage names models without a price, and refuses an unknown grouping", async () => {
  await using world = await used();
  world.config = config({ agent: { model: "gpt-a" } });
  await using server = await serve(world);
  const env = { SYMPHONY_URL: `http://127.0.0.1:${server.listening.port}` };
  const table = await symphony(["usage", "--by", "day"], { env });
  assert.match(table.stderr, /No price for gpt-a: symphony config overlay set usage\.prices/);
  assert.match(table.stdout, /^DAY/);
  const wrong = await symphony(["usage", "--by", "modl"], { env });
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /did you mean model\?/);
  const reply = await server.ask("/api/v1/usage?by=nothing");
  assert.equal(reply.status, 400);
});

test("usage --by outcome and --outcome say what the tokens led to", async () => {
  await using world = await used();
  await using server = await serve(world);
  const env = { SYMPHONY_URL: `http://127.0.0.1:${server.listening.port}` };
  const a = issue("A-1");
  const head = "a".repeat(40);
  world.core.deliveries.record({
    ...{ issue: a, repository: "shop", branch: "a-1", base: "main", path: "/w" },
  });
  const known = world.core.deliveries.of(a.id);
  assert.ok(known);
  const ended = { ...known, mode: "branch", over: true, offeredAt: 1, pushed: head } as const;
  world.core.deliveries.of = (id) => (id === a.id ? ended : null);
  const unmerged = await symphony(["usage", "--by", "outcome"], { env });
  assert.doesNotMatch(unmerged.stdout, /merged/, "its issue ended, and its branch was not merged");
  const merged = { ...ended, merged: head };
  world.core.deliveries.of = (id) => (id === a.id ? merged : null);
  const outcomes = await symphony(["usage", "--by", "outcome"], { env });
  assert.equal(outcomes.code, 0, outcomes.stderr);
  assert.match(
    outcomes.stdout,
    /^OUTCOME +TOKENS.*\nopen .* 5\.00\nmerged .* 3\.00\nall .* 8\.00\n$/,
  );
  const split = await symphony(["usage", "--by", "template", "--outcome"], { env });
  assert.match(
    split.stdout,
    /^TEMPLATE +OUTCOME +TOKENS.*\nworkflow +open .* 5\.00\nworkflow +merged .* 3\.00\nall .* 8\.00\n$/,
  );
  const plain = (await server.ask("/api/v1/usage?by=template")).json();
  assert.deepEqual(
    plain.rows.map(({ key, outcome, cost }: { key: string; outcome: null; cost: number }) => [
      ...[key, outcome, cost],
    ]),
    [["workflow", null, 8]],
  );
});

test("usage --by label: an issue counts in the row of each label, and once in the sum", async () => {
  const labels = ["bug", "ui"];
  await using world = await used([issue("A-1", { labels }), issue("B-1")]);
  await using server = await serve(world);
  const env = { SYMPHONY_URL: `http://127.0.0.1:${server.listening.port}` };
  const byLabel = await symphony(["usage", "--by", "label"], { env });
  assert.equal(byLabel.code, 0, byLabel.stderr);
  assert.match(
    byLabel.stdout,
    /^LABEL +TOKENS.*\nno label .* 5\.00\nbug .* 3\.00\nui .* 3\.00\nall .* 8\.00\n$/,
  );
  const split = await symphony(["usage", "--by", "label", "--outcome"], { env });
  assert.match(split.stdout, /\nbug +open .* 3\.00\nui +open .* 3\.00\nall /);
  // Another server has the history, and knows neither issue.
  world.core.orchestrator.statusOf = () => null;
  const later = await symphony(["usage", "--by", "label"], { env });
  assert.match(later.stdout, /\nunknown label .* 8\.00\nall .* 8\.00\n$/);
});
