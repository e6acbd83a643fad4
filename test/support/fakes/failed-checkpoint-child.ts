import { readFileSync, statSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { openDatabase } from "../../../src/core/store/database.ts";

// Checkpoints fail, and what they need works again later. Prints as JSON what became of the next write, the bytes that the
// next `flush` wrote, all rows in the end, and the pages of the journal that are not in the file.

const [dir = "", switchFile = ""] = process.argv.slice(2);
const turn = (call: string, code: number, sparesJournal: boolean) => {
  const bytes = [call.charCodeAt(0) || 0, code, sparesJournal ? 1 : 0];
  writeFileSync(switchFile, Buffer.from(bytes), { flag: "r+" });
};
const written = () => Number(/wchar: (\d+)/.exec(readFileSync("/proc/self/io", "utf8"))?.[1]);

const found = [];
for (const [name, call, code, sparesJournal] of [
  ["sync of both, EIO", "s", 5, false],
  ["sync of the file, EIO", "s", 5, true],
  ["write of the file, EIO", "w", 5, true],
  ["write of the file, ENOSPC", "w", 28, true],
] as const) {
  const path = join(dir, `${name}.db`);
  const db = openDatabase(path, {
    synchronous: "NORMAL",
    migrations: ["CREATE TABLE rows (text TEXT)"],
  });
  const insert = "INSERT INTO rows VALUES (?)";
  // The first page of a journal is synced.
  db.runEach(insert, [["first"]]);
  turn(call, code, sparesJournal);
  const many = Array.from({ length: 5_000 }, () => ["x".repeat(4_000)]);
  db.transaction(() => db.runEach(insert, many));
  let refused: unknown = null;
  try {
    db.runEach(insert, [["refused"]]);
  } catch (error) {
    refused = error instanceof SymphonyError ? error.code : String(error);
  }
  turn("", 0, false);
  const journal = statSync(`${path}-wal`).size;
  const before = written();
  db.flush();
  const flushed = written() - before;
  db.runEach(insert, [["later"]]);
  const other = new DatabaseSync(path);
  const rows = other.prepare("SELECT count(*) AS n FROM rows").get()?.["n"];
  const { log, checkpointed } = { ...other.prepare("PRAGMA wal_checkpoint(NOOP)").get() };
  found.push({
    name,
    code: refused,
    journal,
    flushed,
    rows,
    left: Number(log) - Number(checkpointed),
  });
  other.close();
  db.close();
}
writeSync(1, JSON.stringify(found));
