import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryDir } from "../support/makers/storage.ts";
import { Served, symphony } from "../support/worlds/symphony.ts";

test("issue show prints the newest comments, and where the others are; in JSON it is the reply of the route", async (t) => {
  const root = temporaryDir(t);
  const workflowPath = join(root, "WORKFLOW.md");
  await writeFile(
    workflowPath,
    "---\ntracker: { kind: local }\nagent: { kind: command }\ncommand: { line: cat }\n---\nhi\n",
  );
  const place = { cwd: root, env: { HOME: root }, dataDir: join(root, ".symphony"), workflowPath };
  const run = (...args: string[]) => symphony(place, ...args);
  // Nothing starts: the issue stays as it is.
  await run("pause");
  await run("issue", "create", "--title", "One");
  await using _ = await Served.start(place);
  assert.doesNotMatch((await run("issue", "show", "LOCAL-1")).stdout, /more: |operator/);
  for (const text of ["first", "second", "third", "fourth"]) {
    assert.equal((await run("issue", "comment", "LOCAL-1", text)).code, 0);
  }
  const { code, stdout, stderr } = await run("issue", "show", "LOCAL-1");
  assert.deepEqual([code, stderr], [0, ""]);
  assert.match(stdout, /operator.*\nsecond\n\noperator.*\nthird\n\noperator.*\nfourth/);
  assert.doesNotMatch(stdout, /first/);
  assert.match(stdout, /^more: symphony issue comments LOCAL-1$/m);
  const json = JSON.parse((await run("issue", "show", "LOCAL-1", "--json")).stdout);
  assert.equal(json.comments, undefined);
});
