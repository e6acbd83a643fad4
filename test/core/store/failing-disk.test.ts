import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { canFail, FailingDisk } from "../../support/makers/failing-disk.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

const flushChild = join(import.meta.dirname, "../../support/fakes/failed-flush-child.ts");
const checkpointChild = join(import.meta.dirname, "../../support/fakes/failed-checkpoint-child.ts");
const child = join(import.meta.dirname, "../../support/fakes/failing-disk-child.ts");

interface Found {
  readonly name: string;
  readonly call: string;
  readonly refusal: string | null;
  readonly inForce: string;
  readonly afterKill: string;
  readonly later: string;
}

/** What a program says of a data directory on a disk that it may have fail. */
function foundBy(program: string, t: TestContext) {
  const dir = temporaryDir(t);
  const [data, tmp] = [join(dir, "data"), join(dir, "tmp")];
  for (const one of [data, tmp]) mkdirSync(one);
  const disk = new FailingDisk(data, dir);
  const { stdout, stderr } = spawnSync(process.execPath, [program, data, disk.switchFile], {
    env: { ...process.env, ...disk.env, TMPDIR: tmp },
    encoding: "utf8",
  });
  assert.ok(stdout !== "", stderr);
  return JSON.parse(stdout);
}

test("FAULT-9: a write that a failing or full disk refuses changes no store, and is not there after a kill either", {
  skip: !canFail && "needs cc and Linux",
}, (t) => {
  const found: readonly Found[] = foundBy(child, t);
  const wrong = found.filter(({ refusal, inForce, afterKill, later }) => {
    const value = refusal === null ? "v2" : "v1";
    const isKnown = refusal === null || refusal === "storage_unavailable";
    return !isKnown || inForce !== value || afterKill !== value || later !== "v3";
  });
  assert.deepEqual(wrong, []);
  const refused = found.filter(({ refusal }) => refusal !== null);
  const names = new Set(found.map(({ name }) => name));
  assert.equal(names.size, 14);
  assert.equal(found.length, names.size * 6);
  // Each store has at least one call that it cannot do without.
  assert.deepEqual(new Set(refused.map(({ name }) => name)), names);
});

test("FAULT-9: after a sync that failed, the next one is about the whole journal again: the kernel may count it as written", {
  skip: !canFail && "needs cc and Linux",
}, (t) => {
  const found = foundBy(flushChild, t);
  assert.equal(found.length, 2);
  for (const { name, refusal, bytes, journal, later } of found) {
    assert.match(refusal, /EIO|disk I/, name);
    assert.ok(journal > 100_000, name);
    assert.ok(bytes >= journal, `${name}: ${bytes} of ${journal}`);
    assert.ok(later < 1_000, `${name}: once is enough`);
  }
});

test("FAULT-9: a checkpoint that the disk refuses loses nothing, and no write is taken until one succeeds", {
  skip: !canFail && "needs cc and Linux",
}, (t) => {
  const found = foundBy(checkpointChild, t);
  assert.equal(found.length, 4);
  for (const { name, code, journal, flushed, rows, left } of found) {
    assert.equal(code, "storage_unavailable", name);
    // The kernel may count the journal as written: what is acknowledged from now on is after it.
    if (name.includes("sync")) assert.ok(flushed >= journal, `${name}: ${flushed} of ${journal}`);
    assert.deepEqual([rows, left], [5_002, 1], name);
  }
});
