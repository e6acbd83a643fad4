import { readFileSync, statSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { openDatabase } from "../../../src/core/store/database.ts";

// Syncs of a disk fail for a moment, and the next ones succeed. Prints as JSON how many bytes were written before each of the
// syncs that succeeded, and the size of the journal they are about.

const [dir = "", switchFile = ""] = process.argv.slice(2);
const turn = (bytes: readonly number[]) =>
  writeFileSync(switchFile, Buffer.from(bytes), { flag: "r+" });
const written = () => Number(/wchar: (\d+)/.exec(readFileSync("/proc/self/io", "utf8"))?.[1]);

const found = [];
for (const [name, order] of [
  ["flush", (db: ReturnType<typeof open>) => db.flush()],
  ["durably", (db: ReturnType<typeof open>) => db.durably(() => add(db))],
] as const) {
  const db = open(name);
  for (let row = 0; row < 200; row += 1) add(db);
  turn(["s".charCodeAt(0), 5]);
  let refusal = "";
  try {
    order(db);
  } catch (error) {
    refusal = String(error);
  }
  turn([0, 0]);
  const before = written();
  order(db);
  const bytes = written() - before;
  const journal = statSync(join(dir, `${name}.db-wal`)).size;
  const again = written();
  db.flush();
  found.push({ name, refusal, bytes, journal, later: written() - again });
  db.close();
}
writeSync(1, JSON.stringify(found));

function open(name: string) {
  return openDatabase(join(dir, `${name}.db`), {
    synchronous: "NORMAL",
    migrations: ["CREATE TABLE rows (text TEXT)"],
  });
}

function add(db: ReturnType<typeof open>) {
  db.run("INSERT INTO rows VALUES ($text)", { text: "x".repeat(500) });
}
