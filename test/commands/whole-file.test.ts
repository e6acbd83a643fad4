// Row D4 of the desk's cases: a kill while a file is replaced. The other part of the row is in init.test.ts.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { writeWhole } from "../../src/commands/whole-file.ts";
import { temporaryDir } from "../support/makers/storage.ts";

const preload = join(import.meta.dirname, "../support/fakes/die-at-step.ts");
const child = join(import.meta.dirname, "../support/fakes/whole-file-child.ts");

test("D4: a kill before any step of a replacement leaves the old file or the new one", (t) => {
  const [old, next] = ["old\n".repeat(1_000), "new\n".repeat(2_000)];
  const seen = new Set<string>();
  let steps = 0;
  for (let finished = false; !finished; steps++) {
    const file = join(temporaryDir(t), "WORKFLOW.md");
    writeFileSync(file, old);
    const { signal, status } = spawnSync(
      process.execPath,
      ["--import", preload, child, file, next],
      { env: { PATH: process.env["PATH"], DIE_AT: String(steps + 1) } },
    );
    finished = status === 0;
    assert.ok(finished || signal === "SIGKILL", `step ${steps + 1} ended with ${status}`);
    const text = readFileSync(file, "utf8");
    assert.ok(text === old || text === next, `step ${steps + 1}: neither the old file nor the new`);
    seen.add(text);
    if (finished) assert.equal(readFileSync(`${file}.bak`, "utf8"), old);
  }
  assert.deepEqual(seen, new Set([old, next]));
  assert.ok(steps > 4, `${steps} steps`);
});

test("a file that must be new is not written over, and nothing is left", async (t) => {
  const dir = temporaryDir(t);
  const file = join(dir, "a");
  assert.equal(await writeWhole(file, "1", { mode: 0o600, isNew: true }), true);
  assert.equal(await writeWhole(file, "2", { mode: 0o600, isNew: true }), false);
  assert.equal(readFileSync(file, "utf8"), "1");
  assert.equal(await writeWhole(file, "3", { mode: 0o600 }), true);
  assert.equal(readFileSync(file, "utf8"), "3");
  assert.deepEqual(readdirSync(dir), ["a"]);
});
