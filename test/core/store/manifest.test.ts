import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openStore } from "../../../src/core/open.ts";
import {
  acceptLoss,
  missingIn,
  notePresent,
  requireKept,
  restoringIn,
} from "../../../src/core/store/manifest.ts";
import { coded, temporaryDir } from "../../support/makers/storage.ts";

async function written(dir: string): Promise<void> {
  const store = await openStore(dir);
  const template = { id: "t", name: "t", body: "x", createdAt: 1, updatedAt: 1 };
  await store.templates.change(() => [template]);
  await store.close();
}

test("a file that was written once and is missing refuses every opening, which names it and the command that continues", async (t) => {
  for (const name of ["history.db", "templates.json"]) {
    const dir = temporaryDir(t);
    await written(dir);
    requireKept(dir);
    for (const end of ["", "-wal", "-shm"]) rmSync(join(dir, name + end), { force: true });
    const before = readdirSync(dir);
    const refusal = coded("storage_corrupt", new RegExp(`${name} is missing`));
    assert.throws(() => requireKept(dir), refusal);
    assert.throws(() => requireKept(dir), { hint: new RegExp(`--accept-loss ${name}$`) });
    await assert.rejects(openStore(dir), refusal);
    assert.deepEqual(readdirSync(dir), before, "nothing was changed");
    assert.deepEqual(acceptLoss(dir, [name]), [name]);
    requireKept(dir);
    await (await openStore(dir)).close();
    assert.deepEqual(missingIn(dir), []);
  }
});

test("accepting the loss of a file that is there changes nothing, and what is left of a lost one is kept", async (t) => {
  const dir = temporaryDir(t);
  await written(dir);
  const before = readFileSync(join(dir, "history.db"));
  assert.deepEqual(acceptLoss(dir, ["history.db", "manifest", "../x"]), []);
  assert.deepEqual(readFileSync(join(dir, "history.db")), before);
  rmSync(join(dir, "templates.json"));
  writeFileSync(join(dir, "templates.json.bak"), "earlier");
  assert.throws(() => requireKept(dir), { hint: /templates\.json\.bak is the copy/ });
  acceptLoss(dir, ["templates.json"]);
  assert.equal(readFileSync(join(dir, "templates.json.bak.lost"), "utf8"), "earlier");
});

test("files of an earlier release are noted by a start, and a manifest that is lost is made again", async (t) => {
  const dir = temporaryDir(t);
  await written(dir);
  rmSync(join(dir, "manifest"));
  notePresent(dir);
  rmSync(join(dir, "templates.json"));
  assert.deepEqual(missingIn(dir), ["templates.json"]);
});

test("a restore that was interrupted refuses the start", (t) => {
  const dir = temporaryDir(t);
  writeFileSync(restoringIn(dir), "");
  assert.throws(() => requireKept(dir), coded("storage_corrupt", /was interrupted/));
});
