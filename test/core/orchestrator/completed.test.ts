import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { noTokens } from "../../../src/core/model/attempt.ts";
import { restoredState } from "../../../src/core/orchestrator/records.ts";
import { openHistory } from "../../../src/core/store/history.ts";
import type { CompletedRecord } from "../../../src/core/store/store.ts";
import { issue } from "../../support/makers/issue.ts";
import { attempt, record, temporaryDir } from "../../support/makers/storage.ts";
import { freshProject, openReal } from "../../support/worlds/real-server.ts";
import { eventually } from "../../support/worlds/symphony.ts";

const done = (name: string, fields: Partial<CompletedRecord> = {}): CompletedRecord => ({
  issue: issue(name),
  attemptId: null,
  outcome: "succeeded",
  endedWall: 5_000,
  tokens: noTokens,
  ...fields,
});

test("the newest completed issues are kept in their order, each once", (t) => {
  const file = join(temporaryDir(t), "history.db");
  const history = openHistory(file);
  for (const name of ["A-1", "A-2", "A-3", "A-1", "A-4"]) history.saveCompleted(done(name), 3);
  history.close();
  const again = openHistory(file);
  t.after(() => again.close());
  const names = again.completed().map((row) => row.issue.identifier);
  assert.deepEqual(names, ["A-3", "A-1", "A-4"]);
  assert.deepEqual(again.completed()[2], done("A-4"));
});

test("an issue that was started again, waits or is held is not restored as completed", (t) => {
  const history = openHistory(join(temporaryDir(t), "history.db"));
  t.after(() => history.close());
  const { id } = issue("A-1");
  history.saveAttempt(attempt("att_1", { issueId: id, startedAt: 4_000 }));
  history.saveCompleted(done("A-1", { attemptId: "att_1" }), 9);
  history.saveCompleted(done("A-2"), 9);
  history.saveCompleted(done("A-3"), 9);
  assert.equal(history.completed().length, 3);
  history.saveAttempt(attempt("att_2", { issueId: id, startedAt: 6_000 }));
  history.saveAttempt(attempt("att_3", { issueId: issue("A-2").id, startedAt: 6_000 }));
  const left = history.completed();
  assert.deepEqual(
    left.map((row) => row.issue.identifier),
    ["A-3"],
  );
  const held = record("A-3", { held: { reason: "a word", since: 1 } });
  const restored = (records: ReadonlyMap<string, typeof held>) => {
    const totals = { tokens: noTokens, seconds: 0 };
    const from = { records, totals, lastAttemptId: null, completed: left };
    return [...restoredState(from, { now: 0, wall: 0 }).issues.of("completed").keys()];
  };
  assert.deepEqual(restored(new Map()), [issue("A-3").id]);
  assert.deepEqual(restored(new Map([[issue("A-3").id, held]])), []);
});

test("after a restart the state shows what was completed before it", async () => {
  await using project = await freshProject();
  const completedOn = async (server: Awaited<ReturnType<typeof openReal>>) =>
    (await server.ask("/api/v1/state")).json().completed;
  let before: unknown;
  {
    await using server = await openReal(project.dir, { env: { PATH: "/nowhere" } });
    const created = await server.ask("/api/v1/issues", {
      method: "POST",
      body: { title: "Some work", description: "long", labels: ["ready"] },
    });
    const { identifier } = created.json();
    await server.ask("/api/v1/refresh", { method: "POST" });
    await eventually("it can be completed", async () => {
      const path = `/api/v1/${identifier}/transition`;
      const { status } = await server.ask(path, { method: "POST", body: { to: "completed" } });
      return status === 200;
    });
    before = await eventually("it is completed", async () => {
      const rows = await completedOn(server);
      return rows.length > 0 && rows;
    });
  }
  await using again = await openReal(project.dir, { env: { PATH: "/nowhere" } });
  assert.deepEqual(await completedOn(again), before);
});
