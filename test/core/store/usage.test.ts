import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { billsOf, sumOf } from "../../../src/core/config/bills.ts";
import { noTokens, type Tokens } from "../../../src/core/model/attempt.ts";
import { openHistory } from "../../../src/core/store/history.ts";
import { historyMigrations } from "../../../src/core/store/schema.ts";
import { issue } from "../../support/makers/issue.ts";
import { attempt, temporaryDir } from "../../support/makers/storage.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

const counts = (input: number, output = 0, cachedInput = 0): Tokens => ({
  ...noTokens,
  input,
  cachedInput,
  output,
  total: input + output,
});

const monday = Date.parse("2026-11-23T23:59:59Z");
const tuesday = Date.parse("2026-11-24T00:00:01Z");

test("tokens are summed by issue, attempt, model, agent and day, and survive a restart", (t) => {
  const file = join(temporaryDir(t), "history.db");
  const first = openHistory(file);
  const one = attempt("att_1", { model: "gpt-a" });
  const two = attempt("att_2", { issueId: "id-B-1", issueIdentifier: "B-1", model: null });
  first.saveUsed({ attempt: one, tokens: counts(10, 1), at: monday });
  first.saveUsed({ attempt: one, tokens: counts(5), at: monday });
  first.saveUsed({ attempt: { ...one, model: "gpt-b" }, tokens: counts(7), at: tuesday });
  first.saveUsed({ attempt: two, tokens: counts(100), at: tuesday });
  first.close();
  const again = openHistory(file);
  t.after(() => again.close());
  const totals = (query: Parameters<typeof again.usage>[0]) =>
    again.usage(query).map(({ key, model, tokens }) => [key, model, tokens.total]);
  assert.deepEqual(totals({ group: "day" }), [
    ["2026-11-24", null, 100],
    ["2026-11-24", "gpt-b", 7],
    ["2026-11-23", "gpt-a", 16],
  ]);
  assert.deepEqual(totals({ group: "attempt", issue: "eng-1" }), [
    ["att_1", "gpt-a", 16],
    ["att_1", "gpt-b", 7],
  ]);
  assert.deepEqual(totals({ group: "model", since: "2026-11-24" }), [
    ["gpt-b", "gpt-b", 7],
    ["", null, 100],
  ]);
  assert.deepEqual(totals({ group: "issue", until: "2026-11-23" }), [["ENG-1", "gpt-a", 16]]);
  assert.deepEqual([again.tokensOfDay(monday), again.tokensOfDay(tuesday)], [16, 107]);
  assert.equal(again.attempt("att_1")?.model, "gpt-b");
  const since = (after: string) => again.tokensSince("id-ENG-1", after);
  assert.deepEqual([since(""), since("att_0"), since("att_1")], [23, 23, 0]);
});

test("what was counted for a model and then given to another leaves no row of the first", (t) => {
  const history = openHistory(join(temporaryDir(t), "history.db"));
  t.after(() => history.close());
  const one = attempt("att_1", { model: "gpt-a" });
  history.saveUsed({ attempt: one, tokens: counts(30, 4, 20), at: monday });
  history.saveUsed({ attempt: one, tokens: counts(-30, -4, -20), at: tuesday });
  history.saveUsed({ attempt: one, model: "gpt-small", tokens: counts(30, 4, 20), at: tuesday });
  for (const group of ["model", "day", "attempt", "issue", "agent", "template"] as const) {
    const rows = history.usage({ group }).map(({ model, tokens }) => [model, tokens.total]);
    assert.deepEqual(rows, [["gpt-small", 34]], group);
  }
});

test("a correction after midnight is taken from the days that counted it, and no row is negative", (t) => {
  const history = openHistory(join(temporaryDir(t), "history.db"));
  t.after(() => history.close());
  const one = attempt("att_1", { model: "opus" });
  const add = (tokens: Tokens, at: number) => history.saveUsed({ attempt: one, tokens, at });
  const days = () =>
    history.usage({ group: "day" }).map(({ key, tokens: { total } }) => [key, total]);
  add(counts(100, 20), monday);
  add(counts(-40, 10), tuesday);
  assert.deepEqual(days(), [["2026-11-23", 90]]);
  add(counts(30), tuesday);
  add(counts(-70, -10), tuesday);
  assert.deepEqual(days(), [["2026-11-23", 40]]);
  const [row] = history.usage({ group: "model" });
  assert.deepEqual([row?.tokens.input, row?.tokens.output], [20, 20]);
  history.saveUsed({ attempt: one, model: "haiku", tokens: counts(5), at: tuesday });
  assert.equal(history.tokensOfDay(tuesday), 5);
});

test("a history from before usage was counted keeps its data", (t) => {
  const file = join(temporaryDir(t), "history.db");
  const at = historyMigrations.findIndex((step) => step.includes("CREATE TABLE usage"));
  const old = new DatabaseSync(file);
  for (const step of historyMigrations.slice(0, at)) old.exec(step);
  const body = JSON.stringify(attempt("att_1", { startedAt: monday, model: "gpt-a" }));
  old
    .prepare("INSERT INTO attempts VALUES ('att_1','i','ENG-1',?,NULL,9,0,1,0,10,?)")
    .run(monday, body);
  old.exec(`PRAGMA user_version = ${at}; PRAGMA journal_mode = WAL;`);
  old.close();
  const history = openHistory(file);
  t.after(() => history.close());
  const [row] = history.usage({ group: "model" });
  assert.deepEqual([row?.key, row?.tokens.total], ["gpt-a", 10]);
  assert.equal(history.tokensOfDay(monday), 10);
});

test("E-7, E-8: only the part that a thread had not reported before is counted", async () => {
  const world = new Scheduler([issue("A-1")]);
  world.resume = { threadId: "t1", tokens: counts(100), agent: "codex" };
  await world.begin();
  const run = world.run("A-1");
  run.say({ type: "session.started", threadId: "t1", resumed: true });
  for (const total of [100, 120, 120, 90, 130]) run.say({ type: "tokens", total: counts(total) });
  assert.deepEqual(
    world.used.map(({ tokens }) => tokens.total),
    [0, 20, 0, 0, 10],
  );
  assert.equal(world.orchestrator.state.usage.tokens.total, 30);
});

test("tokens of several models are counted for each, and an estimate moves to the model that the agent names at the end", async () => {
  const world = new Scheduler([issue("A-1")]);
  await world.begin();
  const run = world.run("A-1");
  run.say({ type: "session.started", threadId: "t1", resumed: false });
  const report = (models: Readonly<Record<string, Tokens>>) => {
    const total = Object.values(models).reduce((sum, one) => sum + one.total, 0);
    run.say({ type: "tokens", total: counts(total), models });
  };
  report({ opus: counts(100) });
  report({ opus: counts(100), "haiku-1": counts(30) });
  report({ opus: counts(110), haiku: counts(35) });
  report({ opus: counts(90), haiku: counts(35) });
  run.say({ type: "tokens", total: counts(150) });
  const sums = new Map<string | undefined, number>();
  for (const { model, tokens } of world.used) {
    sums.set(model, (sums.get(model) ?? 0) + tokens.total);
  }
  assert.deepEqual(Object.fromEntries(sums), { opus: 90, "haiku-1": 0, haiku: 35, undefined: 25 });
  assert.equal(world.orchestrator.state.usage.tokens.total, 150, "the parts are the total");
});

test("cached input has its own price, reasoning is part of the output, an unknown model has no price", () => {
  const prices = new Map([["gpt-a", { input: 2, cachedInput: 0.5, output: 10 }]]);
  const config = { currency: "USD", prices };
  const row = (key: string, model: string | null, tokens: Tokens) => ({
    ...{ key, model, tokens },
    agent: "codex",
  });
  const used = { ...counts(1_000_000, 100_000, 400_000), reasoningOutput: 50_000 };
  const bills = billsOf(
    [row("A-1", "gpt-a", used), row("B-1", "gpt-a", used), row("B-1", "gpt-x", counts(5))],
    config,
  );
  assert.equal(bills.get("A-1")?.cost, 1.2 + 0.2 + 1);
  assert.deepEqual([bills.get("B-1")?.cost, bills.get("B-1")?.unpriced], [null, ["gpt-x"]]);
  assert.equal(sumOf(bills.values()).tokens.total, 2_200_005);
  assert.deepEqual(sumOf([]), { tokens: noTokens, cost: 0, unpriced: [] });
});
