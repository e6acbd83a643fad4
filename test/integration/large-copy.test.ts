import assert from "node:assert/strict";
import { mkdirSync, realpathSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import { KeptCopies } from "../../src/core/workspace/copies.ts";
import { gitIn } from "../support/makers/git-repository.ts";
import { temporaryDir } from "../support/makers/storage.ts";

const size = 2 * 1024 ** 3;
const options = { issue: { id: "1", identifier: "ENG-1" }, work: [] };

for (const form of ["archive", "bundle"] as const) {
  test(`a file of 2 GiB is kept and restored as it is: ${form}`, {
    timeout: 900_000,
  }, async (t) => {
    const dir = realpathSync(temporaryDir(t));
    const path = join(dir, "ENG-1");
    mkdirSync(path);
    if (form === "bundle") {
      gitIn(path)("init", "-q", "-b", "main");
      gitIn(path)("commit", "-q", "--allow-empty", "-m", "first");
    }
    writeFileSync(join(path, "large"), "begins\n");
    truncateSync(join(path, "large"), size);
    const maxBytes = () => size;
    const copies = new KeptCopies({ dir: join(dir, "kept"), clock: systemClock, maxBytes });
    const copy = await copies.keep(path, options);
    assert.equal(copy.form, form);
    await copies.restore(copy, join(dir, "back"));
    assert.equal(statSync(join(dir, "back", "large")).size, size);
    truncateSync(join(path, "large"), size + 1);
    await assert.rejects(copies.keep(path, options), /larger than workspace\.keep_max/);
  });
}
