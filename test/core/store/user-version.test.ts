import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import { openDatabase } from "../../../src/core/store/database.ts";
import { coded, temporaryDir } from "../../support/makers/storage.ts";

const migrations = ["CREATE TABLE a (x TEXT) STRICT"];
const insert = "INSERT INTO a VALUES ('row')";

/** The files of a database left by a process that dies after `work`: the last commits are only in the journal. */
function left(t: TestContext, work: (db: DatabaseSync) => void): string {
  const from = join(temporaryDir(t), "x.db");
  openDatabase(from, { migrations, synchronous: "FULL" }).close();
  const db = new DatabaseSync(from);
  db.exec("PRAGMA wal_autocheckpoint = 0");
  work(db);
  const file = join(temporaryDir(t), "x.db");
  for (const suffix of ["", "-wal"]) copyFileSync(from + suffix, file + suffix);
  db.close();
  return file;
}

function rows(file: string): number {
  const db = openDatabase(file, { migrations, synchronous: "FULL" });
  const count = db.get((row) => Number(row["n"]), "SELECT count(*) AS n FROM a") ?? 0;
  db.close();
  return count;
}

/** Every file in the database's directory, by the hash of its bytes. */
function content(file: string): readonly string[] {
  const dir = join(file, "..");
  return readdirSync(dir).map((name) => {
    const hash = createHash("sha256").update(readFileSync(join(dir, name)));
    return `${name} ${hash.digest("hex")}`;
  });
}

/** The state after a checkpoint that ran out of space: the new first page, and the pages that fitted before. */
function checkpointInPart(t: TestContext, file: string): void {
  const whole = join(temporaryDir(t), "x.db");
  for (const suffix of ["", "-wal"]) copyFileSync(file + suffix, whole + suffix);
  const { length } = readFileSync(file);
  const db = new DatabaseSync(whole);
  db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  db.close();
  writeFileSync(file, readFileSync(whole));
  truncateSync(file, length);
}

test("FAULT-9: pages that only the journal has, after a checkpoint without enough space, are not damage", (t) => {
  const file = left(t, (db) => {
    for (let n = 0; n < 200; n++) db.exec(insert.replace("row", "x".repeat(500)));
  });
  checkpointInPart(t, file);
  const main = new DatabaseSync(`file://${file}?immutable=1`, { readOnly: true });
  assert.throws(() => main.prepare("SELECT * FROM a").all(), /malformed/);
  main.close();
  assert.equal(rows(file), 200);
  assert.deepEqual(readdirSync(join(file, "..")), ["x.db"], "the journal went into it");
});

test("FAULT-10: pages that neither the file nor its journal has are still damage", (t) => {
  const file = left(t, (db) => {
    for (let n = 0; n < 200; n++) db.exec(insert.replace("row", "x".repeat(500)));
  });
  checkpointInPart(t, file);
  rmSync(`${file}-wal`);
  const before = content(file);
  assert.throws(() => rows(file), coded("storage_corrupt", /x\.db/));
  assert.deepEqual(content(file), before);
});

test("FAULT-10: a file that is not a database is not changed, although its journal is intact", (t) => {
  const file = left(t, (db) => db.exec(insert));
  writeFileSync(file, "not a database at all".repeat(500));
  const before = content(file);
  assert.throws(() => rows(file), coded("storage_corrupt", /not a database/));
  assert.deepEqual(content(file), before);
});

test("FAULT-17: the version of a later release counts also if only the journal has it; no byte is changed", (t) => {
  const file = left(t, (db) => db.exec("PRAGMA user_version = 99"));
  const before = content(file);
  assert.throws(() => rows(file), coded("storage_corrupt", /later symphony \(format 99\)/));
  assert.deepEqual(content(file), before);
});

test("FAULT-17: of a journal, all committed and intact frames count, up to the newest", (t) => {
  const torn = left(t, (db) => {
    db.exec(insert);
    db.exec("PRAGMA user_version = 99");
  });
  const journal = readFileSync(`${torn}-wal`);
  journal.writeUInt8(journal.readUInt8(journal.length - 1) ^ 1, journal.length - 1);
  writeFileSync(`${torn}-wal`, journal);
  assert.equal(rows(torn), 1);

  const cut = left(t, (db) => {
    db.exec(insert);
    db.exec("PRAGMA user_version = 99");
  });
  truncateSync(`${cut}-wal`, readFileSync(`${cut}-wal`).length - 1);
  assert.equal(rows(cut), 1);

  const later = left(t, (db) => {
    db.exec("PRAGMA user_version = 99; PRAGMA user_version = 1");
    db.exec(insert);
  });
  assert.equal(rows(later), 1);
});

test("FAULT-17: frames that an earlier round of the journal left after the newest ones do not count", (t) => {
  const file = left(t, (db) => {
    db.exec("PRAGMA user_version = 99; PRAGMA user_version = 98; PRAGMA user_version = 1");
    db.exec("PRAGMA wal_checkpoint(RESTART)");
    db.exec(insert);
  });
  assert.equal(rows(file), 1);
});
