import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { deleteWhole, momentIn } from "../../src/core/workspace/directory.ts";
import { temporaryDir } from "../support/storage.ts";

function place(t: Parameters<typeof temporaryDir>[0]) {
  const root = temporaryDir(t);
  const path = join(root, "ENG-1");
  mkdirSync(join(path, "deep", "deeper"), { recursive: true });
  writeFileSync(join(path, "deep", "old.txt"), "old");
  return { root, path };
}

/** Times of files come in steps of some ms. */
const tick = () => delay(20);

test("what changes between the last look and the deletion stays, wherever in the tree it is", async (t) => {
  for (const change of ["new.txt", "deep/deeper/new.txt", "deep/old.txt"]) {
    const { root, path } = place(t);
    await tick();
    const lookedAt = await momentIn(root);
    await tick();
    writeFileSync(join(path, change), "written meanwhile");
    assert.equal(await deleteWhole(path, lookedAt), false, change);
    assert.ok(existsSync(join(path, change)) && existsSync(join(path, "deep", "old.txt")), change);
    assert.deepEqual(readdirSync(join(root, ".symphony-root", "removed")), []);
    assert.equal(await deleteWhole(path, null), true, "by force");
    assert.ok(!existsSync(path));
  }
});

test("what did not change is deleted, an empty directory and a file in its place too", async (t) => {
  const { root, path } = place(t);
  await tick();
  assert.equal(await deleteWhole(path, await momentIn(root)), true);
  assert.ok(!existsSync(path));
  mkdirSync(path);
  assert.equal(await deleteWhole(path, await momentIn(root)), true);
  writeFileSync(path, "");
  assert.equal(await deleteWhole(path, await momentIn(root)), true);
  assert.deepEqual(readdirSync(root), [".symphony-root"]);
});
