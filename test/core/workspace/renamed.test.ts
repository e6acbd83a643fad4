import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { findIssueId, findStatus, namesOf } from "../../../src/core/find-issue.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { coded, temporaryDir } from "../../support/makers/storage.ts";
import { createWorld } from "../../support/worlds/core.ts";
import { serve } from "../../support/worlds/server.ts";

const none = new AbortController().signal;

test("an issue keeps its directory when its identifier changes, and its earlier identifier still finds it", async (t) => {
  const root = join(realpathSync(temporaryDir(t)), "root");
  const world = await createWorld({
    issues: [issue("ENG-1")],
    config: config({ workspace: { root } }),
  });
  t.after(() => world[Symbol.asyncDispose]());
  const { core, scheduler, workspaces } = world;
  const first = await workspaces.ensure(issue("ENG-1"), none);
  scheduler.run("ENG-1").reports.entered("building_prompt", first);
  writeFileSync(join(first.path, "result.txt"), "work\n");
  await scheduler.run("ENG-1").end({ kind: "failed", code: "turn_failed", message: "no" });

  const renamed = issue("OPS-7", { id: "id-ENG-1" });
  scheduler.set(renamed);
  await scheduler.advance(30_000);
  const second = await workspaces.ensure(renamed, none);
  assert.deepEqual([second.path, second.key, second.createdNow], [first.path, "ENG-1", false]);
  assert.equal(readFileSync(join(second.path, "result.txt"), "utf8"), "work\n");
  assert.ok(!existsSync(join(root, "OPS-7")));
  scheduler.run("OPS-7").reports.entered("building_prompt", second);
  assert.deepEqual(core.workspaces.placeOf(renamed), { key: "ENG-1", path: first.path });
  const [row] = (await core.workspaces.list(10, 0)).workspaces;
  assert.deepEqual([row?.issueIdentifier, row?.status, row?.inUse], ["OPS-7", "running", true]);
  assert.deepEqual(core.workspaces.kept.list(), [], "it is not left behind");

  for (const name of ["ENG-1", "eng-1", "OPS-7"]) {
    assert.equal((await findStatus(core, name)).status, "running", name);
    assert.equal((await findIssueId(core, name)).id, "id-ENG-1");
    assert.deepEqual(
      [...namesOf(core, name).identifiers].sort(),
      [...new Set([name, "ENG-1", "OPS-7"])].sort(),
    );
  }
  await using server = await serve(world);
  for (const route of ["", "/attempts", "/diff"]) {
    const answer = await server.ask(`/api/v1/ENG-1${route}`);
    assert.equal(answer.status, 200, `${route}: ${JSON.stringify(answer.json())}`);
    assert.equal(answer.json().issue_identifier, "OPS-7", route);
  }
  const aborted = await server.ask("/api/v1/ENG-1/abort", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{}",
  });
  assert.equal(aborted.status < 300, true, JSON.stringify(aborted.json()));
  await scheduler.run("OPS-7").end({ kind: "stopped" });
  assert.equal((await findStatus(core, "ENG-1")).status, "held");
  const removal = core.workspaces.remove("OPS-7", { force: false });
  await assert.rejects(removal, coded("workspace_dirty"));
  assert.deepEqual(
    readdirSync(root).filter((name) => !name.startsWith(".")),
    ["ENG-1"],
  );
});

test("an identifier that another issue has now means that issue, and each keeps its own directory", async (t) => {
  const root = join(realpathSync(temporaryDir(t)), "root");
  const world = await createWorld({
    issues: [issue("ENG-1")],
    config: config({ workspace: { root } }),
  });
  t.after(() => world[Symbol.asyncDispose]());
  const { core, scheduler, workspaces } = world;
  const first = await workspaces.ensure(issue("ENG-1"), none);
  scheduler.run("ENG-1").reports.entered("building_prompt", first);
  await scheduler.run("ENG-1").end({ kind: "failed", code: "turn_failed", message: "no" });
  scheduler.set(issue("OPS-7", { id: "id-ENG-1" }));
  scheduler.set(issue("ENG-1", { id: "id-of-another" }));
  await scheduler.advance(30_000);
  assert.equal((await findStatus(core, "ENG-1")).issue.id, "id-of-another");
  assert.equal((await findStatus(core, "OPS-7")).issue.id, "id-ENG-1");
});
