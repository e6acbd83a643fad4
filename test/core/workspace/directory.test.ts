import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay, setImmediate as turn } from "node:timers/promises";
import { deleteWhole, isBeingDeleted, momentIn } from "../../../src/core/workspace/directory.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

function setUp(t: Parameters<typeof temporaryDir>[0]) {
  const root = temporaryDir(t);
  const path = join(root, "ENG-1");
  mkdirSync(join(path, "deep", "deeper"), { recursive: true });
  writeFileSync(join(path, "deep", "old.txt"), "old");
  return { root, path };
}

/** File times have a resolution of some ms. */
const tick = () => delay(20);

test("a change between the last check and the deletion keeps the directory, anywhere in the tree", async (t) => {
  for (const change of ["new.txt", "deep/deeper/new.txt", "deep/old.txt"]) {
    const { root, path } = setUp(t);
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

test("an unchanged directory is deleted, also if it is empty or a file", async (t) => {
  const { root, path } = setUp(t);
  await tick();
  assert.equal(await deleteWhole(path, await momentIn(root)), true);
  assert.ok(!existsSync(path));
  mkdirSync(path);
  assert.equal(await deleteWhole(path, await momentIn(root)), true);
  writeFileSync(path, "");
  assert.equal(await deleteWhole(path, await momentIn(root)), true);
  assert.deepEqual(readdirSync(root), [".symphony-root"]);
});

test("what a removal works on is known, so that no one puts it back meanwhile", async (t) => {
  const { root, path } = setUp(t);
  for (let n = 0; n < 200; n++) writeFileSync(join(path, `${n}`), "");
  await tick();
  const examinedAt = await momentIn(root);
  const removed = join(root, ".symphony-root", "removed");
  let isDone = false;
  const done = deleteWhole(path, examinedAt).finally(() => {
    isDone = true;
  });
  const seen = new Set<string>();
  while (!isDone) {
    for (const name of existsSync(removed) ? readdirSync(removed) : []) {
      seen.add(name);
      assert.ok(isDone || isBeingDeleted(join(removed, name)), name);
    }
    await turn();
  }
  assert.equal(await done, true);
  assert.ok([...seen].some((name) => name.endsWith(".unexamined")));
  for (const name of seen) assert.ok(!isBeingDeleted(join(removed, name)));
});
