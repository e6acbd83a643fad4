import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import { openDeliveryStore } from "../../../src/core/delivery/store.ts";
import { requireReadable } from "../../../src/core/doctor/data-checks.ts";
import { openStore } from "../../../src/core/open.ts";
import { backUp, restoreUnlocked } from "../../../src/core/store/backup.ts";
import { lockDataDir } from "../../../src/core/store/lock.ts";
import { requireKept, restoringIn } from "../../../src/core/store/manifest.ts";
import { attempt, coded, temporaryDir } from "../../support/makers/storage.ts";

/** A data directory with an attempt, a template and a sealed secret, whose store is still open. */
async function running(t: TestContext) {
  const dir = temporaryDir(t);
  const store = await openStore(dir);
  t.after(() => store.close());
  store.history.saveAttempt(attempt("ENG-1-1"));
  const template = { id: "t", name: "t", body: "x".repeat(2_500_000), createdAt: 1, updatedAt: 1 };
  await store.templates.change(() => [template]);
  writeFileSync(join(dir, "secrets.key"), "the key", { mode: 0o600 });
  return { dir, store, file: join(temporaryDir(t), "one.backup") };
}

test("a backup made while the store is in use holds what was saved by then, and restores it with the rest kept aside", async (t) => {
  const { dir, store, file } = await running(t);
  const files = await backUp(dir, file);
  assert.deepEqual(
    files.map(({ name }) => name),
    ["history.db", "templates.json"],
  );
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.ok(!readFileSync(file).includes("the key"), "the key of the secrets is not in it");
  assert.deepEqual(readdirSync(join(file, "..")), ["one.backup"]);
  store.history.saveAttempt(attempt("ENG-1-2"));
  await store.close();
  const { aside } = await restoreUnlocked(dir, file, requireReadable);
  requireKept(dir);
  const again = await openStore(dir);
  t.after(() => again.close());
  assert.deepEqual(
    again.history.attemptsOf("id-ENG-1", 9, 0).attempts.map(({ id }) => id),
    ["ENG-1-1"],
  );
  assert.equal(again.templates.all()[0]?.body.length, 2_500_000);
  assert.ok(readdirSync(aside).includes("history.db"));
  assert.ok(!readdirSync(dir).includes("restoring"));
});

test("nothing is restored while a server has the directory, and nothing is written over a file", async (t) => {
  const { dir, file } = await running(t);
  await backUp(dir, file);
  await assert.rejects(backUp(dir, file), coded("usage", /exists already/));
  const lock = await lockDataDir(dir);
  await assert.rejects(restoreUnlocked(dir, file, requireReadable), coded("data_dir_locked"));
  await lock.release();
});

test("a damaged, forged or foreign backup is refused before anything is changed", async (t) => {
  const { dir, store, file } = await running(t);
  await store.close();
  const faults: readonly (readonly [string, RegExp])[] = [
    [
      "UPDATE pieces SET data = zeroblob(length(data)) WHERE name = 'history.db' AND at = 0",
      /does not match its checksum/,
    ],
    ["DELETE FROM pieces WHERE name = 'templates.json' AND at > 0", /templates\.json is missing/],
    ["UPDATE files SET name = '../evil' WHERE name = 'history.db'", /no backup has/],
    ["PRAGMA user_version = 9", /later symphony made it/],
    ["PRAGMA user_version = 0", /not a backup/],
  ];
  for (const [sql, message] of faults) {
    rmSync(file, { force: true });
    await backUp(dir, file);
    const db = new DatabaseSync(file);
    db.exec(sql);
    db.close();
    const before = readdirSync(dir).filter((name) => !name.startsWith("lock"));
    await assert.rejects(
      restoreUnlocked(dir, file, requireReadable),
      coded("storage_corrupt", message),
    );
    const after = readdirSync(dir).filter((name) => !name.startsWith("lock"));
    assert.deepEqual(after, before, sql);
  }
  writeFileSync(file, "no database".repeat(100));
  await assert.rejects(restoreUnlocked(dir, file, requireReadable), coded("storage_corrupt"));
});

test("a backup whose files a later release wrote is refused before anything is changed, and a directory without records has none", async (t) => {
  const { dir, store, file } = await running(t);
  await store.close();
  const db = new DatabaseSync(join(dir, "history.db"));
  const { user_version: version } = db.prepare("PRAGMA user_version").get() ?? {};
  db.exec("PRAGMA user_version = 900");
  await backUp(dir, file);
  db.exec(`PRAGMA user_version = ${Number(version)}`);
  db.close();
  const names = () => readdirSync(dir).filter((name) => !name.startsWith("lock"));
  const before = names();
  const message = /Cannot restore .*: history\.db was written by a later symphony \(format 900\)/;
  await assert.rejects(
    restoreUnlocked(dir, file, requireReadable),
    coded("storage_corrupt", message),
  );
  assert.deepEqual(names(), before);
  const empty = temporaryDir(t);
  await assert.rejects(backUp(empty, `${file}.2`), coded("usage", /nothing to back up/));
  const absent = restoreUnlocked(empty, `${file}.2`, requireReadable);
  await assert.rejects(absent, coded("not_found", /does not exist/));
  assert.deepEqual(readdirSync(join(file, "..")), ["one.backup"]);
});

test("an interrupted restore refuses the start, and is completed by another", async (t) => {
  const { dir, store, file } = await running(t);
  await backUp(dir, file);
  await store.close();
  writeFileSync(restoringIn(dir), "");
  rmSync(join(dir, "templates.json"));
  assert.throws(() => requireKept(dir), coded("storage_corrupt", /interrupted/));
  await restoreUnlocked(dir, file, requireReadable);
  requireKept(dir);
});

test("a row of delivery.db that is not JSON is found without the server that would read it", async (t) => {
  const { dir, store } = await running(t);
  await store.close();
  const deliveries = openDeliveryStore(dir, () => 0);
  deliveries.add([{ key: "k", target: "t", issueId: "i", kind: "say", payload: {} }]);
  deliveries.close();
  await requireReadable(dir);
  const db = new DatabaseSync(join(dir, "delivery.db"));
  db.exec("UPDATE outbox SET payload = '{'");
  db.close();
  await assert.rejects(
    requireReadable(dir),
    coded("storage_corrupt", /delivery\.db: a row of it is not JSON \(outbox\.payload\)/),
  );
});
