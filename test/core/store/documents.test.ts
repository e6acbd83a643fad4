import assert from "node:assert/strict";
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { z } from "zod";
import {
  IssueRecordPairs,
  openIssueRecords,
  readIssueRecords,
} from "../../../src/core/store/documents.ts";
import { durableJson } from "../../../src/core/store/durable.ts";
import { coded, record, temporaryDir } from "../../support/makers/storage.ts";

const name = "issue-records.json";

test("R-1: stored records exist after reopening, and removed ones do not", async (t) => {
  const dir = temporaryDir(t);
  const records = await openIssueRecords(dir);
  assert.equal(records.all().size, 0);
  const held = record("ENG-1", { held: { reason: "abort", since: 5 } });
  await records.put("a", held);
  await records.put("__proto__", record("ENG-2", { model: "gpt-5" }));
  await records.put("c", record("ENG-3"));
  await records.put("c", null);
  const again = await openIssueRecords(dir);
  assert.deepEqual([...again.all()], [...records.all()]);
  assert.deepEqual(again.all().get("a"), held);
  assert.deepEqual([...again.all().keys()], ["a", "__proto__"]);
});

test("a record from before reasoning efforts is read as one without an effort", () => {
  const { effort: _, ...older } = record("ENG-1", { model: "gpt-5" });
  assert.deepEqual(IssueRecordPairs.parse([["a", older]]), [
    ["a", record("ENG-1", { model: "gpt-5" })],
  ]);
});

test("a record from before brakes is read as one without an allowance", () => {
  const retry = { attempt: 1, failures: 0, dueAt: 5, error: null };
  const { allowanceAfter: _, ...older } = record("ENG-1");
  assert.deepEqual(IssueRecordPairs.parse([["a", { ...older, retry }]]), [
    ["a", record("ENG-1", { retry: { ...retry, waits: null } })],
  ]);
  const waits = { gate: "provider", agent: "codex" } as const;
  const waiting = record("ENG-2", { retry: { ...retry, waits }, allowanceAfter: "att_1" });
  assert.deepEqual(IssueRecordPairs.parse([["b", waiting]]), [["b", waiting]]);
});

test("a hold from before next commands has the one that its reason names", () => {
  const reasons = {
    "pull request #7 was closed; next: symphony transition ENG-1 completed, or symphony deliver ENG-1 to open it again":
      "complete",
    "not pushed: r is empty; next: push a first commit to its default branch, then symphony deliver ENG-1":
      "deliver",
    "push refused: c0ffee was pushed to b; next: git pull, then symphony transition ENG-1 queued":
      undefined,
    "done, and waits for a person (tracker.on_success)": "look",
    'aborted: see "next: symphony help"': undefined,
  };
  for (const [reason, next] of Object.entries(reasons)) {
    const held = { reason, since: 5 };
    const [[, read] = []] = IssueRecordPairs.parse([["a", record("ENG-1", { held })]]);
    assert.equal(read?.held?.next, next, reason);
  }
});

test("THREAT-22: files are readable by the owner only", async (t) => {
  const dir = temporaryDir(t);
  const records = await openIssueRecords(dir);
  await records.put("a", record("ENG-1"));
  await records.put("a", null);
  for (const file of readdirSync(dir))
    assert.equal(statSync(join(dir, file)).mode & 0o077, 0, file);
  assert.deepEqual(readdirSync(dir).sort(), [name, `${name}.bak`, "manifest"]);
});

test("puts during a write become one further write", async (t) => {
  const dir = temporaryDir(t);
  const records = await openIssueRecords(dir);
  const first = records.put("first", record("ENG-0"));
  const rest = Array.from({ length: 200 }, (_, n) => records.put(`i${n % 20}`, record(`ENG-${n}`)));
  await first;
  assert.equal(records.all().size, 1, "the rest waits for its own write");
  await Promise.all(rest);
  assert.equal(records.all().size, 21);
  assert.equal(records.all().get("i19")?.issue.identifier, "ENG-199");
  const before = JSON.parse(readFileSync(join(dir, `${name}.bak`), "utf8"));
  assert.equal(before.data.length, 1, "the copy before the last write is the one of the first put");
});

test("FAULT-9: a failed write rejects with storage_unavailable and changes nothing", async (t) => {
  const dir = join(temporaryDir(t), "data");
  mkdirSync(dir);
  const records = await openIssueRecords(dir);
  await records.put("a", record("ENG-1"));
  cpSync(dir, `${dir}.kept`, { recursive: true });
  rmSync(dir, { recursive: true });
  writeFileSync(dir, "a file where the directory must be");
  await assert.rejects(records.put("b", record("ENG-2")), coded("storage_unavailable", /data/));
  assert.deepEqual([...records.all().keys()], ["a"]);

  rmSync(dir);
  cpSync(`${dir}.kept`, dir, { recursive: true });
  await records.put("c", record("ENG-3"));
  assert.deepEqual([...(await openIssueRecords(dir)).all().keys()], ["a", "c"]);
});

test("FAULT-10: a document truncated at any byte is refused and named, never loaded as something else", async (t) => {
  const dir = temporaryDir(t);
  const records = await openIssueRecords(dir);
  await records.put("a", record("ENG-1", { model: "gpt-5" }));
  const file = join(dir, name);
  const whole = readFileSync(file);
  // Without its last byte, the newline, the document is still complete.
  for (let length = 0; length < whole.length - 1; length++) {
    writeFileSync(file, whole.subarray(0, length));
    await assert.rejects(openIssueRecords(dir), coded("storage_corrupt", /issue-records\.json/));
  }
});

test("FAULT-10: a flipped bit is detected", async (t) => {
  const dir = temporaryDir(t);
  const records = await openIssueRecords(dir);
  await records.put("a", record("ENG-1"));
  const expected = [...records.all()];
  const file = join(dir, name);
  const whole = readFileSync(file);
  for (let bit = 0; bit < whole.length * 8; bit += 7) {
    const spoilt = Buffer.from(whole);
    const at = bit >> 3;
    spoilt.writeUInt8(spoilt.readUInt8(at) ^ (1 << (bit & 7)), at);
    writeFileSync(file, spoilt);
    const loaded = await openIssueRecords(dir).catch((error) => {
      assert.ok(coded("storage_corrupt")(error), String(error));
      return null;
    });
    // Only space between tokens may change without harm.
    if (loaded) assert.deepEqual([...loaded.all()], expected);
  }
});

test("FAULT-10: a missing file whose previous copy exists is not an empty store", async (t) => {
  const dir = temporaryDir(t);
  const records = await openIssueRecords(dir);
  await records.put("a", record("ENG-1"));
  await records.put("b", record("ENG-2"));
  rmSync(join(dir, name));
  await assert.rejects(openIssueRecords(dir), coded("storage_corrupt", /previous copy/));
});

test("FAULT-17: a document of an earlier format is copied before it is rewritten", async (t) => {
  const file = join(temporaryDir(t), "x.json");
  const adapter = (version: number) => durableJson(file, version, z.object({ n: z.number() }));
  await adapter(1).write({ n: 1 });
  const text = readFileSync(file, "utf8");
  const later = adapter(2);
  for (const n of [2, 3]) {
    await later.read();
    await later.write({ n });
  }
  assert.equal(readFileSync(`${file}.v1.bak`, "utf8"), text);
  assert.equal(statSync(`${file}.v1.bak`).mode & 0o077, 0);
  assert.deepEqual(await later.read(), { n: 3 });
  assert.deepEqual(readdirSync(join(file, "..")).sort(), ["x.json", "x.json.bak", "x.json.v1.bak"]);
  await assert.rejects(async () => adapter(1).read(), coded("storage_corrupt", /later symphony/));
});

test("FAULT-17: a document of a later release is refused and not changed", async (t) => {
  const dir = temporaryDir(t);
  const text = JSON.stringify({ version: 99, sha256: "x", data: { anything: true } });
  writeFileSync(join(dir, name), text);
  await assert.rejects(openIssueRecords(dir), coded("storage_corrupt", /later symphony/));
  assert.equal(readFileSync(join(dir, name), "utf8"), text);
});

test("temporary files of a crashed write are removed at the next start", async (t) => {
  const dir = temporaryDir(t);
  writeFileSync(join(dir, `.${name}.0123.tmp`), "half a docu");
  assert.equal((await openIssueRecords(dir)).all().size, 0);
  assert.deepEqual(readdirSync(dir), []);
});

test("a reader without the lock sees the last write and changes nothing", async (t) => {
  const dir = temporaryDir(t);
  const records = await openIssueRecords(dir);
  await records.put("a", record("ENG-1"));
  const underWay = join(dir, `.${name}.0123.tmp`);
  writeFileSync(underWay, "the writer is not done yet");
  assert.deepEqual(await readIssueRecords(dir), records.all());
  assert.deepEqual(readdirSync(dir).sort(), [`.${name}.0123.tmp`, name, "manifest"]);
  assert.equal((await readIssueRecords(join(dir, "none"))).size, 0);
});
