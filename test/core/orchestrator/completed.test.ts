import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";
import { priorOf } from "../../../src/core/attempt/recovery.ts";
import { noTokens } from "../../../src/core/model/attempt.ts";
import { watched } from "../../../src/core/orchestrator/reconcile.ts";
import { restoredState } from "../../../src/core/orchestrator/records.ts";
import { openHistory } from "../../../src/core/store/history.ts";
import type { CompletedRecord } from "../../../src/core/store/store.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { attempt, record, temporaryDir } from "../../support/makers/storage.ts";
import { freshProject, openReal, type RealServer } from "../../support/worlds/real-server.ts";
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

test("INV-21: an issue that a person completed is read again although an overtaken answer has shown it as closed", () => {
  const closed = issue("A-1", { state: "Done" });
  const rows = [record("A-1", { issue: closed, dismissed: { state: "todo", since: 1 } })];
  const records = new Map(rows.map((row) => [row.issue.id, row]));
  const totals = { tokens: noTokens, seconds: 0 };
  const from = { records, totals, lastAttemptId: null, completed: [] };
  const state = restoredState(from, { now: 0, wall: 0 });
  assert.deepEqual(watched(state, { config: config() }).ids, [closed.id]);
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

// S32 is a row of the cases of scheduler and configuration: what a completed issue cost, after a restart.
describe("S32: an issue whose attempt ended in an earlier process", () => {
  const spent = { ...noTokens, input: 900, output: 100, total: 1_000 };
  const env = { PATH: "/nowhere" };

  /** An issue that is held after an attempt, whose count and outcome are only in the history. */
  async function earlierProcess(dir: string) {
    await using server = await openReal(dir, { env });
    const body = { title: "Some work", description: "long", labels: ["ready"] };
    const created = (await server.ask("/api/v1/issues", { method: "POST", body })).json();
    const { id, identifier } = created;
    await server.ask("/api/v1/refresh", { method: "POST" });
    const path = `/api/v1/${identifier}/transition`;
    await eventually("it is held", async () => {
      const { status } = await server.ask(path, { method: "POST", body: { to: "held" } });
      return status === 200;
    });
    const last = await eventually("its attempt has ended", async () => {
      const latest = server.core.history.latestAttempt(id);
      return latest !== null && latest.endedAt !== null && latest;
    });
    server.core.history.saveAttempt({ ...last, tokens: spent });
    return { identifier, last };
  }

  type Earlier = Awaited<ReturnType<typeof earlierProcess>>;

  async function assertShown(server: RealServer, { identifier, last }: Earlier): Promise<void> {
    const [row] = (await server.ask("/api/v1/state")).json().completed;
    assert.equal(row.issue_identifier, identifier);
    assert.deepEqual([row.attempt_id, row.outcome], [last.id, last.status]);
    assert.equal(row.tokens.total_tokens, 1_000);
  }

  for (const way of ["an operator", "the tracker"]) {
    test(`S32: completed by ${way}, it has that attempt's tokens and outcome, also after the next restart`, async () => {
      await using project = await freshProject();
      const earlier = await earlierProcess(project.dir);
      {
        await using server = await openReal(project.dir, { env });
        const move = async (to: string) => {
          const path = `/api/v1/${earlier.identifier}/transition`;
          return (await server.ask(path, { method: "POST", body: { to } })).status;
        };
        await eventually("it is completed", async () => {
          await move(way === "an operator" ? "completed" : "Done");
          await server.ask("/api/v1/refresh", { method: "POST" });
          return (await server.ask("/api/v1/state")).json().completed.length > 0;
        });
        await assertShown(server, earlier);
      }
      await using again = await openReal(project.dir, { env });
      await assertShown(again, earlier);
    });
  }

  test("S32: recorded without its attempt by an earlier release, it is shown with it", async (t) => {
    const dir = temporaryDir(t);
    const history = openHistory(join(dir, "history.db"));
    t.after(() => history.close());
    history.saveAttempt(
      attempt("att_1", {
        issueId: issue("A-1").id,
        status: "failed",
        endedAt: 4_500,
        tokens: spent,
      }),
    );
    const { id } = issue("A-1");
    const dismissed = record("A-1", { dismissed: { state: "todo", since: 5_000 } });
    const restored = (completed: readonly CompletedRecord[], records = new Map()) => {
      const last = (issueId: string) => priorOf(history, issueId, "").last ?? null;
      const totals = { tokens: noTokens, seconds: 0 };
      const from = { records, totals, lastAttemptId: null, completed, last };
      return restoredState(from, { now: 0, wall: 0 }).issues.of("completed").get(id);
    };
    const bare = done("A-1", { outcome: "none" });
    for (const row of [restored([bare]), restored([], new Map([[id, dismissed]]))]) {
      assert.deepEqual([row?.outcome, row?.tokens.total], ["failed", 1_000]);
    }
  });
});
