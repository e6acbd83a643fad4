import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { noTokens } from "../../src/core/model/attempt.ts";
import { openDatabase } from "../../src/core/store/database.ts";
import { openHistory } from "../../src/core/store/history.ts";
import { historyMigrations } from "../../src/core/store/history-schema.ts";
import { attempt, temporaryDir } from "../support/storage.ts";

const day = (text: string) => Date.parse(text);
const tokens = (total: number) => ({ ...noTokens, input: total - 1, output: 1, total });

test("tokens are summed up by the day they were used in, by issue, agent and model", (t) => {
  const history = openHistory(join(temporaryDir(t), "history.db"));
  t.after(() => history.close());
  const use = { issueId: "id-ENG-1", issueIdentifier: "ENG-1", agent: "codex", model: null };
  history.countTokens({ ...use, at: day("2026-11-22T23:59:59.999Z"), tokens: tokens(5) });
  history.countTokens({ ...use, at: day("2026-11-23T00:00:00Z"), tokens: tokens(7) });
  history.countTokens({ ...use, at: day("2026-11-23T12:00:00Z"), tokens: tokens(8) });
  history.countTokens({ ...use, at: day("2026-11-23T12:00:00Z"), model: "m", tokens: tokens(2) });
  const rows = history.tokensByDay("2026-11-23");
  assert.deepEqual(
    rows.map((row) => [row.day, row.model, row.tokens.total, row.tokens.output]),
    [
      ["2026-11-23", null, 15, 2],
      ["2026-11-23", "m", 2, 1],
    ],
  );
  assert.deepEqual(history.tokensByDay("2026-11-22")[0], {
    ...{ day: "2026-11-22", issueId: "id-ENG-1", issueIdentifier: "ENG-1" },
    ...{ agent: "codex", model: null, tokens: tokens(5) },
  });
});

test("tokens since an attempt leave it and older ones out", (t) => {
  const history = openHistory(join(temporaryDir(t), "history.db"));
  t.after(() => history.close());
  for (const n of [1, 2, 3]) history.saveAttempt(attempt(`att_${n}`, { tokens: tokens(10 * n) }));
  history.saveAttempt(attempt("att_4", { issueId: "other", tokens: tokens(1_000) }));
  assert.equal(history.tokensSince("id-ENG-1", ""), 60);
  assert.equal(history.tokensSince("id-ENG-1", "att_1"), 50);
  assert.equal(history.tokensSince("id-ENG-1", "att_3"), 0);
});

test("a history of before the sums counts each attempt for the day it began in", (t) => {
  const file = join(temporaryDir(t), "history.db");
  const before = historyMigrations.findIndex((sql) => sql.includes("tokens_by_day"));
  const migrations = historyMigrations.slice(0, before);
  openDatabase(file, { migrations, synchronous: "NORMAL" }).close();
  const db = new DatabaseSync(file);
  const { idle: _new, ...old } = attempt("att_1", { tokens: tokens(10), model: "m" });
  const values = [old.startedAt, 9, 0, 1, 0, 10, JSON.stringify(old)];
  db.prepare(
    "INSERT INTO attempts VALUES ('att_1', 'id-ENG-1', 'ENG-1', ?, NULL, ?, ?, ?, ?, ?, ?)",
  ).run(...values);
  db.close();
  const history = openHistory(file);
  t.after(() => history.close());
  assert.deepEqual(
    history.tokensByDay("1970-01-01").map((row) => [row.day, row.model, row.tokens.total]),
    [["1970-01-01", "m", 10]],
  );
  assert.equal(history.attempt("att_1")?.idle, null);
});
