import assert from "node:assert/strict";
import { mkdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { noTokens } from "../../../src/core/model/attempt.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { openStore } from "../../../src/core/open.ts";
import { verifyAudit } from "../../../src/core/store/audit-verify.ts";
import { SavedLater } from "../../../src/core/store/durable.ts";
import { repeatedStore } from "../../../src/core/store/repeated.ts";
import { SaveQueue } from "../../../src/core/store/saves.ts";
import type { AuditEntry, History, Store } from "../../../src/core/store/store.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { attempt, coded, record, steer, temporaryDir } from "../../support/makers/storage.ts";

const second = 1_000;

/** A real store whose writes the disk refuses while `disk.isFull`. */
async function world(t: TestContext) {
  const dir = temporaryDir(t);
  const store = await openStore(dir);
  t.after(() => store.close());
  const clock = new FakeClock();
  const disk = { isFull: false };
  const saves = new SaveQueue(clock);
  const kept = repeatedStore(refusing(store, disk), saves);
  return { dir, store, clock, disk, saves, kept };
}

function refusing(store: Store, disk: { readonly isFull: boolean }): Store {
  const check = () => {
    if (disk.isFull) throw new SymphonyError("storage_unavailable", "Cannot use it: it is full");
  };
  const { history, records } = store;
  const checked = {
    saveAttempt: (row) => {
      check();
      return history.saveAttempt(row);
    },
    saveUsed: (used) => {
      check();
      history.saveUsed(used);
    },
    markDelivered: (id) => {
      check();
      history.markDelivered(id);
    },
    saveCompleted: (row, most) => {
      check();
      history.saveCompleted(row, most);
    },
    audit: (entry, intent) => {
      check();
      return history.audit(entry, intent);
    },
    auditSoon: (entries) => {
      check();
      return history.auditSoon(entries);
    },
  } satisfies Partial<History>;
  return {
    ...store,
    records: {
      all: () => records.all(),
      async put(id, one) {
        check();
        await records.put(id, one);
      },
    },
    history: { ...history, ...checked },
  };
}

const entry = (action: string): AuditEntry => ({
  at: 1,
  actor: "api",
  action,
  target: null,
  outcome: "ok",
  detail: {},
});

const used = (total: number, fields = {}) => ({
  attempt: attempt("att_1", { model: "m", tokens: { ...noTokens, total } }),
  tokens: { ...noTokens, total: 10 },
  at: Date.UTC(2026, 10, 23),
  ...fields,
});

test("an attempt is saved in its final form, and its tokens are counted once", async (t) => {
  const { store, clock, disk, kept } = await world(t);
  const { history } = kept;
  history.saveAttempt(attempt("att_1"));
  history.saveUsed(used(10));
  disk.isFull = true;
  for (const total of [20, 30]) history.saveUsed(used(total));
  history.saveUsed(used(40, { at: Date.UTC(2026, 10, 24) }));
  const ended = attempt("att_1", { model: "m", status: "canceled", endedAt: 9 });
  assert.equal(history.saveAttempt(ended), false);
  assert.equal(store.history.attempt("att_1")?.status, "running");
  assert.equal(history.attempt("att_1")?.status, "canceled", "what waits is shown");
  assert.equal(history.attemptsOf("id-ENG-1", 9, 0).attempts[0]?.status, "canceled");
  disk.isFull = false;
  clock.advance(second);
  assert.deepEqual(store.history.attempt("att_1"), ended);
  const days = store.history.usage({ group: "day" }).map((row) => [row.key, row.tokens.total]);
  assert.deepEqual(days, [
    ["2026-11-24", 10],
    ["2026-11-23", 30],
  ]);
  clock.advance(60 * second);
  assert.equal(store.history.tokensSince("id-ENG-1", ""), 40);
});

test("audit entries keep their order and are written once each, with the intents they complete", async (t) => {
  const { dir, store, clock, disk, kept } = await world(t);
  const { history } = kept;
  assert.equal(history.audit(entry("a")), true);
  const intent = history.auditIntent(entry("b"));
  disk.isFull = true;
  assert.equal(history.audit(entry("b"), intent), false);
  assert.equal(history.auditSoon([entry("c"), entry("d")]), false);
  disk.isFull = false;
  assert.equal(history.audit(entry("e")), true, "what waited went before it");
  clock.advance(60 * second);
  const { entries } = store.history.auditPage({ limit: 9, offset: 0 });
  assert.deepEqual(
    entries.map(({ action }) => action),
    ["e", "d", "c", "b", "a"],
  );
  assert.equal(store.history.endAuditIntents(5), 0);
  assert.equal(verifyAudit(dir).fault, null);
});

test("an entry whose second file the disk refuses is not written twice; the file is written later", async (t) => {
  const { dir, clock, kept, saves } = await world(t);
  kept.history.audit(entry("a"));
  // A directory at the path of the file that the head is written to.
  mkdirSync(join(dir, "audit.head.tmp"));
  assert.equal(kept.history.audit(entry("b")), true);
  assert.equal(saves.has("audit head"), true);
  assert.equal(verifyAudit(dir).fault, null);
  rmdirSync(join(dir, "audit.head.tmp"));
  clock.advance(second);
  assert.equal(saves.has("audit head"), false);
  const { entries, head, fault } = verifyAudit(dir);
  assert.deepEqual([entries, head?.seq, fault], [2, 2, null]);
});

test("entries of what is stored elsewhere are named by the second file within 100 ms, and when the history is closed", async (t) => {
  const { dir, clock, kept, saves } = await world(t);
  kept.history.audit(entry("a"));
  kept.history.auditSoon([entry("b")]);
  kept.history.auditSoon([entry("c")]);
  const verdict = () => {
    const { entries, afterHead, fault } = verifyAudit(dir);
    return [entries, afterHead, fault];
  };
  assert.deepEqual(verdict(), [3, 2, null]);
  clock.advance(99);
  assert.deepEqual(verdict(), [3, 2, null]);
  clock.advance(1);
  assert.deepEqual(verdict(), [3, 0, null]);
  kept.history.auditSoon([entry("d")]);
  assert.deepEqual(verdict(), [4, 1, null]);
  await saves.close();
  assert.deepEqual(verdict(), [4, 0, null]);
});

test("a thousand entries may wait; one more is refused", async (t) => {
  const { disk, kept } = await world(t);
  disk.isFull = true;
  for (let n = 0; n < 1_000; n++) kept.history.audit(entry(`e${n}`));
  assert.throws(() => kept.history.audit(entry("last")), coded("storage_unavailable", /1000/));
});

test("a record is saved in its last form", async (t) => {
  const { store, clock, disk, kept } = await world(t);
  disk.isFull = true;
  const put = (reason: string) =>
    kept.records
      .put("a", record("ENG-1", { held: { reason, since: 1 } }))
      .catch((error: unknown) => error);
  const refused = await put("first");
  assert.ok(refused instanceof SavedLater);
  await put("second");
  disk.isFull = false;
  clock.advance(second);
  await refused.saved;
  assert.equal(store.records.all().get("a")?.held?.reason, "second");
});

test("guidance that an agent took up is not delivered again while its delivery cannot be saved", async (t) => {
  const { store, clock, disk, kept } = await world(t);
  kept.history.addSteer(steer("str_1"));
  disk.isFull = true;
  kept.history.markDelivered("str_1");
  assert.equal(store.history.undelivered("id-ENG-1").length, 1);
  assert.deepEqual(kept.history.undelivered("id-ENG-1"), []);
  disk.isFull = false;
  clock.advance(second);
  assert.deepEqual(store.history.undelivered("id-ENG-1"), []);
});

test("a completed issue is listed once the disk accepts it", async (t) => {
  const { store, clock, disk, kept } = await world(t);
  disk.isFull = true;
  const { issue } = record("ENG-1");
  const row = { issue, attemptId: null, outcome: "succeeded", endedWall: 1, tokens: noTokens };
  kept.history.saveCompleted(row, 9);
  disk.isFull = false;
  clock.advance(second);
  assert.deepEqual(store.history.completed(), [row]);
});
