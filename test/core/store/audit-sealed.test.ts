import assert from "node:assert/strict";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { openSecrets } from "../../../src/core/secrets/secrets.ts";
import { auditHash, auditRowOf, beginSealed } from "../../../src/core/store/audit.ts";
import { verifyAudit } from "../../../src/core/store/audit-verify.ts";
import { openHistory } from "../../../src/core/store/history.ts";
import { createRedactor } from "../../../src/core/text/redact.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

type Stored = Record<string, string | number | null>;

const entry = (at: number) =>
  ({ at, actor: "api", action: "a", target: `ENG-${at}`, outcome: "ok", detail: {} }) as const;
const secretsIn = (dir: string) =>
  openSecrets({ dir, env: {}, clock: new FakeClock(), redactor: createRedactor() });

/** Writes `count` entries as the server that is started for them would; `plain` ones are of an earlier release. */
async function write(dir: string, count: number, plain = false): Promise<void> {
  const secrets = await secretsIn(dir);
  const history = openHistory(join(dir, "history.db"), plain ? undefined : secrets.auditKeys);
  if (!plain) await secrets.sealAudit(() => beginSealed(history, 0));
  for (let n = 1; n <= count; n++) history.audit(entry(n));
  history.close();
}

/** Three plain entries, the marker, four sealed ones, a rotation, three more: eleven. */
async function grown(t: TestContext): Promise<string> {
  const dir = temporaryDir(t);
  await write(dir, 3, true);
  await write(dir, 4);
  await (await secretsIn(dir)).rotate();
  await write(dir, 3);
  return dir;
}

async function verdictOf(dir: string) {
  return verifyAudit(dir, (await secretsIn(dir)).auditKeys);
}

function rowsIn(dir: string): Stored[] {
  const db = new DatabaseSync(join(dir, "history.db"));
  const rows = db.prepare("SELECT * FROM audit ORDER BY seq").all() as Stored[];
  db.close();
  return rows.map((row) => ({ ...row }));
}

function put(dir: string, rows: readonly Stored[]): void {
  const db = new DatabaseSync(join(dir, "history.db"));
  db.exec("BEGIN; DELETE FROM audit");
  const insert = db.prepare("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  for (const row of rows) insert.run(...Object.values(row));
  db.exec("COMMIT");
  db.close();
}

/** Everything that is possible without the key: hashes, links and the second file are recalculated. */
function forged(dir: string, rows: Stored[]): void {
  let prevHash = "";
  for (const [at, row] of rows.entries()) {
    Object.assign(row, { seq: at + 1, prev_hash: prevHash });
    if (row["kid"] === null) row["hash"] = auditHash(auditRowOf(row));
    prevHash = String(row["hash"]);
  }
  put(dir, rows);
  writeFileSync(join(dir, "audit.head"), JSON.stringify({ seq: rows.length, hash: prevHash }));
}

test("entries from before the keys, of the current key and of an earlier one verify; without a key the order does", async (t) => {
  const dir = await grown(t);
  const whole = await verdictOf(dir);
  assert.deepEqual([whole.fault, whole.entries, whole.unchecked], [null, 11, 0]);
  assert.equal(new Set(rowsIn(dir).map(({ kid }) => kid)).size, 3);
  await (await secretsIn(dir)).rotate();
  await write(dir, 1);
  assert.deepEqual([(await verdictOf(dir)).fault, (await verdictOf(dir)).entries], [null, 12]);
  const keyless = verifyAudit(dir);
  assert.deepEqual([keyless.fault, keyless.entries, keyless.unchecked], [null, 12, 9]);
  // Without a key an edit of a sealed entry cannot be detected, but a gap can.
  const rows = rowsIn(dir);
  put(dir, rows.toSpliced(6, 1));
  assert.equal(verifyAudit(dir).fault?.seq, 7);
});

test("THREAT-23: every edited, dropped, swapped and truncated entry is named, sealed or plain", async (t) => {
  const dir = await grown(t);
  const whole = rowsIn(dir);
  const { auditKeys } = await secretsIn(dir);
  const at = fc.integer({ min: 0, max: whole.length - 1 });
  const field = fc.constantFrom("at", "actor", "action", "target", "outcome", "detail", "hash");
  const kind = fc.constantFrom("edit", "drop", "cut", "swap", "unseal");
  fc.assert(
    fc.property(fc.record({ kind, at, other: at, field }), (attack) => {
      const rows = whole.map((row) => ({ ...row }));
      const { at: index, other, field: name } = attack;
      const [row = {}, otherRow = {}] = [rows[index], rows[other]];
      if (attack.kind === "edit")
        row[name] = name === "at" ? Number(row["at"]) + 1 : `${row[name]}x`;
      if (attack.kind === "unseal") {
        Object.assign(row, { kid: null, outcome: "denied" });
        row["hash"] = auditHash(auditRowOf(row));
      }
      if (attack.kind === "drop") rows.splice(index, 1);
      if (attack.kind === "cut") rows.length = index;
      if (attack.kind === "swap")
        [row["seq"], otherRow["seq"]] = [otherRow["seq"] ?? 0, row["seq"] ?? 0];
      put(dir, rows);
      const swapped = index === other ? null : Math.min(index, other) + 1;
      const expected = attack.kind === "swap" ? swapped : index + 1;
      assert.equal(verifyAudit(dir, auditKeys).fault?.seq ?? null, expected, attack.kind);
    }),
    { numRuns: 80 },
  );
  put(dir, whole);
  assert.equal((await verdictOf(dir)).fault, null);
});

test("THREAT-23: a log recalculated together with its second file is detected, which plain hashes cannot do", async (t) => {
  const dir = await grown(t);
  const whole = rowsIn(dir);
  const forgeries: [string, (rows: Stored[]) => Stored[], number | null][] = [
    ["all unsealed", (rows) => rows.map((row) => ({ ...row, kid: null })), 4],
    ["one edited", (rows) => rows.with(6, { ...rows[6], kid: null, outcome: "denied" }), 7],
    ["one dropped", (rows) => rows.toSpliced(6, 1), 7],
    ["the end cut", (rows) => rows.slice(0, 6), null],
    ["cut to before the first seal", (rows) => rows.slice(0, 3), null],
    ["one added", (rows) => [...rows, { ...rows[0], seq: 12 }], 12],
    ["nothing left", () => [], null],
  ];
  for (const [name, change, seq] of forgeries) {
    const copy = join(temporaryDir(t), "data");
    cpSync(dir, copy, { recursive: true });
    forged(copy, change(whole.map((row) => ({ ...row }))));
    const { fault } = await verdictOf(copy);
    assert.ok(fault, name);
    assert.equal(fault.seq, seq, name);
    if (seq === null)
      assert.match(fault.message, /not written by this symphony|missing or damaged/, name);
    // Later writes of a server do not repair it.
    await write(copy, 2);
    assert.ok((await verdictOf(copy)).fault, `${name}, then written on`);
  }
});

test("THREAT-23: a server that lost audit.head leaves a gap, and a crash before it was written leaves none", async (t) => {
  const dir = await grown(t);
  const file = join(dir, "audit.head");
  const before = readFileSync(file);
  await write(dir, 1);
  writeFileSync(file, before);
  assert.equal((await verdictOf(dir)).fault, null);
  await write(dir, 1);
  assert.deepEqual([(await verdictOf(dir)).fault, (await verdictOf(dir)).entries], [null, 13]);
  rmSync(file);
  assert.equal((await verdictOf(dir)).fault?.kind, "no_head");
  await write(dir, 1);
  assert.equal((await verdictOf(dir)).fault?.seq, 14);
});

test("a log that no release with keys has opened is verified as it is", async (t) => {
  const dir = temporaryDir(t);
  await write(dir, 3, true);
  const db = new DatabaseSync(join(dir, "history.db"));
  db.exec(
    "ALTER TABLE audit DROP COLUMN kid; DROP TABLE audit_intents; DROP TABLE completed; DROP TABLE earlier_identifiers; DROP TABLE removed_attempts; DROP TABLE usage; DROP TABLE event_runs; PRAGMA user_version = 2",
  );
  for (const name of ["issue", "identifier", "attempt", "type"])
    db.exec(`CREATE INDEX events_by_${name} ON events (seq)`);
  db.close();
  assert.deepEqual([verifyAudit(dir).fault, verifyAudit(dir).entries], [null, 3]);
  await write(dir, 2);
  assert.deepEqual([(await verdictOf(dir)).fault, (await verdictOf(dir)).entries], [null, 6]);
});
