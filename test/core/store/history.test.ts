import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import type { SymphonyEvent } from "../../../src/core/model/event.ts";
import { openDatabase } from "../../../src/core/store/database.ts";
import { openHistory } from "../../../src/core/store/history.ts";
import { historyMigrations } from "../../../src/core/store/schema.ts";
import type { EventQuery } from "../../../src/core/store/store.ts";
import { attempt, coded, event, steer, temporaryDir } from "../../support/makers/storage.ts";

function history(t: TestContext) {
  const file = join(temporaryDir(t), "history.db");
  const opened = openHistory(file);
  t.after(() => opened.close());
  return { file, history: opened };
}

const tokens = (total: number) => ({
  input: total,
  cachedInput: 0,
  output: 1,
  reasoningOutput: 0,
  total,
});

test("attempts are replaced by id, paged newest first, and summed up", (t) => {
  const { history: h, file } = history(t);
  assert.equal(h.lastAttemptId(), null);
  assert.deepEqual(h.totals(), { tokens: { ...tokens(0), output: 0 }, seconds: 0 });
  for (let n = 1; n <= 5; n++) h.saveAttempt(attempt(`att_${n}`, { number: n, tokens: tokens(n) }));
  const ended = attempt("att_3", {
    status: "failed",
    endedAt: 3_500,
    tokens: tokens(10),
    error: { code: "turn_failed", message: "no" },
    git: { branch: "b", headBefore: null, headAfter: "c", commits: 1, changedFiles: 2 },
  });
  h.saveAttempt(ended);
  h.saveAttempt(attempt("att_6", { issueId: "other", issueIdentifier: "OPS-9" }));
  assert.deepEqual(h.attempt("att_3"), ended);
  assert.equal(h.attempt("att_9"), null);
  const page = h.attemptsOf("id-ENG-1", 2, 1);
  assert.deepEqual(
    page.attempts.map(({ id }) => id),
    ["att_4", "att_3"],
  );
  assert.equal(page.total, 5);
  assert.deepEqual(
    h.openAttempts().map(({ id }) => id),
    ["att_1", "att_2", "att_4", "att_5", "att_6"],
  );
  assert.deepEqual(h.totals(), { tokens: { ...tokens(22), output: 5 }, seconds: 2.5 });
  assert.equal(h.lastAttemptId(), "att_6");
  assert.equal(h.latestAttempt("id-ENG-1")?.id, "att_5");
  assert.equal(h.issueIdOf("ops-9"), "other");
  assert.equal(h.issueIdOf("OPS-1"), null);
  h.close();
  assert.deepEqual(openHistory(file).attempt("att_3"), ended);
});

test("the series of events has no gap: a batch that does not continue it is refused as a whole", (t) => {
  const { history: h } = history(t);
  assert.equal(h.oldestSeq(), 0);
  h.appendEvents([event(1), event(2)]);
  assert.throws(() => h.appendEvents([event(4)]), /cannot follow 2/);
  assert.throws(() => h.appendEvents([event(3), event(3)]), /cannot follow 3/);
  assert.equal(h.lastSeq(), 2);
  assert.equal(h.events({ afterSeq: 0, limit: 9 }).length, 2);
  h.appendEvents([event(3, { data: { a: [1, null, { b: "\u2028" }] } })]);
  assert.deepEqual(h.events({ afterSeq: 2, limit: 9 }), [
    event(3, { data: { a: [1, null, { b: "\u2028" }] } }),
  ]);
  assert.equal(h.oldestSeq(), 1);
});

test("recent events come newest first", (t) => {
  const { history: h } = history(t);
  h.appendEvents([event(1), event(2, { issueId: "other" }), event(3), event(4, { issueId: null })]);
  assert.deepEqual(
    h.recentEvents("id-ENG-1", 5).map(({ seq }) => seq),
    [3, 1],
  );
});

test("the last event of a type that an attempt published", (t) => {
  const { history: h } = history(t);
  h.appendEvents([
    event(1, { attemptId: "att_1", type: "agent.message" }),
    event(2, { attemptId: "att_1", type: "agent.message" }),
    event(3, { attemptId: "att_1", type: "turn.completed" }),
    event(4, { attemptId: "att_2", type: "agent.message" }),
  ]);
  assert.equal(h.lastEvent("att_1", "agent.message")?.seq, 2);
  assert.equal(h.lastEvent("att_3", "agent.message"), null);
});

test("every filter and page returns the same as a plain search through all events", (t) => {
  const { file, history: first } = history(t);
  const identifiers = ["ENG-1", "eng-2", "OPS-3", null];
  const types = ["agent.message", "turn.started", "poll.completed"] as const;
  // More than two runs of the index, over a restart.
  const all = Array.from({ length: 4_500 }, (_, index) =>
    event(index + 1, {
      type: types[(index * 7) % 3] ?? "agent.message",
      issueIdentifier: identifiers[(index * 5) % 4] ?? null,
      attemptId: index % 6 === 0 ? null : `att_${index % 4}`,
    }),
  );
  first.appendEvents(all.slice(0, 1_000));
  first.appendEvents(all.slice(1_000, 3_000));
  first.close();
  const h = openHistory(file);
  t.after(() => h.close());
  for (let at = 3_000; at < all.length; at += 250) h.appendEvents(all.slice(at, at + 250));
  const query: fc.Arbitrary<EventQuery> = fc.record(
    {
      afterSeq: fc.oneof(
        fc.integer({ min: 0, max: 4_600 }),
        fc.constantFrom(0, 2_046, 2_047, 2_048, 4_095, 4_096),
      ),
      limit: fc.integer({ min: 1, max: 80 }),
      issueIdentifiers: fc.array(fc.constantFrom("eng-1", "ENG-2", "ops-3", "X-1"), {
        maxLength: 3,
      }),
      attemptId: fc.constantFrom("att_0", "att_2", "att_9"),
      types: fc.array(fc.constantFrom(...types), { maxLength: 3 }),
    },
    { requiredKeys: ["afterSeq", "limit"] },
  );
  fc.assert(
    fc.property(query, (asked) => {
      assert.deepEqual(h.events(asked), searched(all, asked));
    }),
    { numRuns: 300 },
  );
});

function searched(all: readonly SymphonyEvent[], query: EventQuery): readonly SymphonyEvent[] {
  const names = query.issueIdentifiers?.map((name) => name.toLowerCase());
  return all
    .filter(({ seq }) => seq > query.afterSeq)
    .filter(({ type }) => !query.types || query.types.includes(type))
    .filter(({ attemptId }) => query.attemptId === undefined || query.attemptId === attemptId)
    .filter(({ issueIdentifier }) => !names || names.includes(issueIdentifier?.toLowerCase() ?? ""))
    .slice(0, query.limit);
}

test("the newest of an issue and the last of a type are found in whatever run they are", (t) => {
  const { history: h } = history(t);
  const rare = { issueId: "id-OLD", attemptId: "att_old" };
  const all = Array.from({ length: 6_000 }, (_, index) =>
    event(index + 1, [10, 2_500, 2_600].includes(index) ? rare : { attemptId: "att_new" }),
  );
  h.appendEvents(all);
  h.appendEvents([event(6_001)]);
  const newest = (limit: number) => h.recentEvents("id-OLD", limit).map(({ seq }) => seq);
  assert.deepEqual(
    [newest(5), newest(2)],
    [
      [2_601, 2_501, 11],
      [2_601, 2_501],
    ],
  );
  assert.equal(h.lastEvent("att_old", "agent.message")?.seq, 2_601);
  assert.equal(h.removeOldEvents({ before: Number.MAX_SAFE_INTEGER, limit: 2_550 }).removed, 2_550);
  assert.deepEqual(newest(5), [2_601]);
  assert.deepEqual(
    h.events({ afterSeq: 0, limit: 3, attemptId: "att_new" }).map(({ seq }) => seq),
    [2_551, 2_552, 2_553],
  );
});

test("an append changes few pages however many issues it is about: an event is written once", (t) => {
  const { file, history: h } = history(t);
  const db = new DatabaseSync(file);
  t.after(() => db.close());
  let seq = 0;
  const append = (count: number) => {
    const events = Array.from({ length: count }, () => {
      seq += 1;
      const of = { issueId: `id-${seq % 500}`, attemptId: `att_${seq % 500}` };
      return event(seq, { ...of, issueIdentifier: `ENG-${seq % 500}` });
    });
    h.appendEvents(events);
  };
  // A third of a run is left.
  for (let n = 0; n < 27; n++) append(50);
  db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  for (let n = 0; n < 5; n++) append(50);
  const row = db.prepare("PRAGMA wal_checkpoint(PASSIVE)").get();
  // 250 events of some 250 bytes are about 20 pages; with an index for each key they were more than 600.
  assert.ok(Number(row?.["log"]) < 60, JSON.stringify(row));
});

test("a history of an earlier release gets its runs when it is opened", (t) => {
  const { file, history: h } = history(t);
  const all = Array.from({ length: 5_000 }, (_, index) =>
    event(index + 1, { issueIdentifier: `Eng-${index % 7}`, attemptId: `att_${index % 5}` }),
  );
  h.appendEvents(all);
  h.close();
  const db = new DatabaseSync(file);
  db.exec(`DROP TABLE event_runs; PRAGMA user_version = ${historyMigrations.length - 1}`);
  for (const [name, column] of [
    ["issue", "issue_id"],
    ["identifier", "issue_identifier"],
    ["attempt", "attempt_id"],
    ["type", "type"],
  ])
    db.exec(`CREATE INDEX events_by_${name} ON events (${column})`);
  db.close();
  const again = openHistory(file);
  t.after(() => again.close());
  for (const query of [
    { afterSeq: 100, limit: 2_000, issueIdentifiers: ["ENG-3"] },
    { afterSeq: 0, limit: 2_000, attemptId: "att_4" },
  ])
    assert.deepEqual(again.events(query), searched(all, query));
  assert.equal(again.recentEvents("id-ENG-1", 5_000).length, 5_000);
});

test("a steer sent twice with one key is one steer; a refused one leaves no trace", (t) => {
  const { history: h } = history(t);
  assert.deepEqual(h.addSteer(steer("s1", { key: "k" })), {
    steer: steer("s1", { key: "k" }),
    duplicate: false,
  });
  const again = h.addSteer(steer("s2", { key: "k", message: "other" }));
  assert.deepEqual(again, { steer: steer("s1", { key: "k" }), duplicate: true });
  assert.equal(h.addSteer(steer("s3", { key: "k", issueId: "other" })).duplicate, false);
  assert.equal(h.addSteer(steer("s4")).duplicate, false);
  h.addSteer(steer("s5"));
  h.dropSteer("s5");
  assert.deepEqual(
    h.undelivered("id-ENG-1").map(({ id }) => id),
    ["s1", "s4"],
  );
  h.markDelivered("s1");
  assert.deepEqual(
    h.undelivered("id-ENG-1").map(({ id }) => id),
    ["s4"],
  );
  assert.equal(h.steerByKey("id-ENG-1", "k")?.delivered, true);
  assert.equal(h.steerByKey("id-ENG-1", "none"), null);
});

test("THREAT-23: each audit entry's hash covers the one before it", (t) => {
  const { file, history: h } = history(t);
  for (const action of ["abort", "steer", "transition"]) {
    h.audit({ at: 7, actor: "api", action, target: "ENG-1", outcome: "ok", detail: { a: 1 } });
  }
  const db = new DatabaseSync(file, { readOnly: true });
  t.after(() => db.close());
  const rows = db.prepare("SELECT * FROM audit ORDER BY seq").all();
  let previous = "";
  for (const row of rows) {
    const { seq, at, actor, action, target, outcome, detail, hash } = row;
    const covered = JSON.stringify([seq, at, actor, action, target, outcome, detail, previous]);
    assert.equal(hash, createHash("sha256").update(covered).digest("hex"));
    assert.equal(row["prev_hash"], previous);
    previous = String(hash);
  }
  assert.equal(rows.length, 3);
});

test("THREAT-22: the database and its journal are readable by the owner only, and no other file remains", (t) => {
  const { file, history: h } = history(t);
  h.appendEvents([event(1)]);
  const dir = join(file, "..");
  for (const name of readdirSync(dir))
    assert.equal(statSync(join(dir, name)).mode & 0o077, 0, name);
  assert.deepEqual(readdirSync(dir).sort(), [
    "history.db",
    "history.db-shm",
    "history.db-wal",
    "manifest",
  ]);
});

test("FAULT-17: a history of a later release is refused without changing a byte", (t) => {
  const { file, history: h } = history(t);
  h.appendEvents([event(1)]);
  h.close();
  const db = new DatabaseSync(file);
  db.exec("PRAGMA user_version = 99");
  db.close();
  const before = readFileSync(file);
  assert.throws(() => openHistory(file), coded("storage_corrupt", /later symphony/));
  assert.deepEqual(readFileSync(file), before);
  assert.deepEqual(readdirSync(join(file, "..")), ["history.db", "manifest"]);
});

test("FAULT-17: before its format changes, a database is copied", (t) => {
  const file = join(temporaryDir(t), "x.db");
  const steps = [
    "CREATE TABLE a (x INTEGER) STRICT",
    "DROP TABLE a",
    "CREATE TABLE b (x INT) STRICT",
  ];
  const open = (count: number) =>
    openDatabase(file, { migrations: steps.slice(0, count), synchronous: "FULL" });
  const first = open(1);
  first.run("INSERT INTO a VALUES (7)");
  first.close();
  open(2).close();
  const names = () => readdirSync(join(file, "..")).sort();
  assert.deepEqual(names(), ["x.db", "x.db.v1.bak"]);
  assert.equal(statSync(`${file}.v1.bak`).mode & 0o077, 0);
  // An earlier release opens the copy.
  copyFileSync(`${file}.v1.bak`, file);
  const back = open(1);
  assert.deepEqual(
    back.all((row) => row["x"], "SELECT x FROM a"),
    [7],
  );
  back.run("INSERT INTO a VALUES (8)");
  back.close();
  // The first copy is kept; each format has its own.
  open(3).close();
  open(3).close();
  assert.deepEqual(names(), ["x.db", "x.db.v1.bak"]);
  const kept = new DatabaseSync(`${file}.v1.bak`, { readOnly: true });
  assert.deepEqual(
    kept
      .prepare("SELECT x FROM a")
      .all()
      .map(({ x }) => x),
    [7],
  );
  kept.close();
});

test("FAULT-17: a schema is migrated step by step, and each step runs once", (t) => {
  const file = join(temporaryDir(t), "x.db");
  const steps = ["CREATE TABLE a (x INTEGER) STRICT", "INSERT INTO a VALUES (1)"];
  openDatabase(file, { migrations: steps.slice(0, 1), synchronous: "FULL" }).close();
  for (let round = 0; round < 2; round++) {
    const db = openDatabase(file, { migrations: steps, synchronous: "FULL" });
    assert.deepEqual(
      db.all((row) => row["x"], "SELECT x FROM a"),
      [1],
    );
    db.close();
  }
});

test("FAULT-17: a step that fails leaves the old schema intact", (t) => {
  const file = join(temporaryDir(t), "x.db");
  const first = "CREATE TABLE a (x INTEGER) STRICT";
  openDatabase(file, { migrations: [first], synchronous: "FULL" }).close();
  const broken = [first, "INSERT INTO a VALUES (1)", "INSERT INTO b VALUES (1)"];
  assert.throws(
    () => openDatabase(file, { migrations: broken, synchronous: "FULL" }),
    /no such table/,
  );
  const db = openDatabase(file, { migrations: [first], synchronous: "FULL" });
  assert.deepEqual(
    db.all((row) => row["x"], "SELECT x FROM a"),
    [],
  );
  db.close();
});

test("FAULT-10: empty, truncated and foreign files are refused and named, never taken for a new history", (t) => {
  const { file, history: h } = history(t);
  for (let seq = 1; seq <= 50; seq++) h.appendEvents([event(seq, { message: "x".repeat(500) })]);
  h.close();
  const whole = readFileSync(file);
  const pages = Array.from({ length: whole.length / 4_096 }, (_, page) => page * 4_096);
  const anywhere = Array.from({ length: Math.ceil(whole.length / 1_021) }, (_, n) => n * 1_021);
  for (const length of [...pages, ...anywhere]) {
    writeFileSync(file, whole);
    truncateSync(file, length);
    assert.throws(() => openHistory(file), coded("storage_corrupt", /history\.db/), `${length}`);
  }
  writeFileSync(file, "not a database at all".repeat(500));
  assert.throws(() => openHistory(file), coded("storage_corrupt", /history\.db/));
  writeFileSync(file, whole);
  assert.equal(openHistory(file).lastSeq(), 50);
});

test("FAULT-10: a missing history whose journal exists is not a new one", (t) => {
  const file = join(temporaryDir(t), "history.db");
  writeFileSync(`${file}-wal`, "frames");
  assert.throws(() => openHistory(file), coded("storage_corrupt", /journal/));
});

test("FAULT-9: a path that cannot hold the file is storage_unavailable", (t) => {
  const dir = temporaryDir(t);
  writeFileSync(join(dir, "file"), "");
  assert.throws(() => openHistory(join(dir, "file", "history.db")), coded("storage_unavailable"));
});

test("FAULT-9: a store locked by another connection is storage_unavailable for a write, and works again afterwards", (t) => {
  const file = join(temporaryDir(t), "x.db");
  const migrations = ["CREATE TABLE a (x INTEGER) STRICT"];
  const db = openDatabase(file, { migrations, synchronous: "NORMAL", busyTimeoutMs: 0 });
  const other = new DatabaseSync(file);
  t.after(() => other.close());
  other.exec("BEGIN IMMEDIATE");
  const insert = () => db.run("INSERT INTO a VALUES (1)");
  assert.throws(() => db.transaction(insert), coded("storage_unavailable", /locked/));
  assert.throws(() => db.durably(insert), coded("storage_unavailable", /locked/));
  other.exec("ROLLBACK");
  db.durably(insert);
  assert.deepEqual(
    db.all((row) => row["x"], "SELECT x FROM a"),
    [1],
  );
  db.close();
});
