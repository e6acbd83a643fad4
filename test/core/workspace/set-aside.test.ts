import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Issue } from "../../../src/core/model/issue.ts";
import { workIn } from "../../../src/core/workspace/work.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { coded, temporaryDir } from "../../support/makers/storage.ts";
import { cleanUp, createWorld } from "../../support/worlds/core.ts";
import { workspaceBench } from "../../support/worlds/workspace-bench.ts";

// A new issue has the identifier of an earlier one, as after the tracker's data were moved away.

const none = new AbortController().signal;
const newcomer: Issue = { ...issue("ENG-1"), id: "id-of-the-new-one" };

test("a new issue gets a new workspace: another issue's with work is set aside and reported", async (t) => {
  const bench = workspaceBench(t);
  const { path } = await bench.make();
  writeFileSync(join(path, "result.txt"), "work of the earlier issue\n");
  const made = await bench.workspaces.ensure(newcomer, none);
  assert.deepEqual([made.path, made.createdNow], [path, true]);
  assert.ok(!existsSync(join(path, "result.txt")));
  const aside = join(bench.root, "ENG-1.aside-1");
  assert.ok(existsSync(join(aside, "result.txt")));
  assert.deepEqual(bench.aside, [
    {
      issue: newcomer,
      owner: "id-ENG-1",
      path: aside,
      work: [{ kind: "new_files", count: 1, examples: ["result.txt"] }],
    },
  ]);
  assert.match(bench.logged.join(""), /Set aside what was in the way: it holds 1 new file/);
  // Its baseline was moved with it: only the agent's file is work, and its issue is known.
  assert.deepEqual(await bench.remove(aside), [
    { kind: "new_files", count: 1, examples: ["result.txt"] },
  ]);
  assert.equal(await bench.remove(aside, "OPS-7"), "nothing", "not in another issue's name");
  rmSync(join(aside, "result.txt"));
  assert.equal(await bench.remove(aside), "removed");
  assert.deepEqual(
    readdirSync(join(bench.root, ".symphony-root")).filter((name) => /aside/.test(name)),
    [],
  );
});

test("refs that an agent could write are believed at no moment of a move", async (t) => {
  const bench = workspaceBench(t);
  const { path, git } = await bench.make();
  await bench.workspaces.openGit(path);
  git("commit", "-q", "--allow-empty", "-m", "work");
  git("update-ref", "refs/remotes/origin/mine", "HEAD");
  // The record of the workspace cannot follow, as after a crash between the two.
  const aside = join(bench.root, "ENG-1.aside-1");
  mkdirSync(join(bench.root, ".symphony-root", "ENG-1.aside-1.baseline.json", "in-the-way"), {
    recursive: true,
  });
  await assert.rejects(bench.workspaces.ensure(newcomer, none), coded("workspace_error"));
  const kinds = (await workIn(aside)).map(({ kind }) => kind);
  assert.ok(kinds.includes("commits"), String(kinds));
});

test("without a record next to it, the history names the issue of a workspace", async (t) => {
  const bench = workspaceBench(t);
  const { path } = await bench.make();
  writeFileSync(join(path, "result.txt"), "work of the earlier issue\n");
  writeFileSync(join(bench.root, ".symphony-root", "ENG-1.baseline.json"), "");
  const again = await bench.workspaces.ensure(issue("ENG-1"), none);
  assert.equal(again.createdNow, false, "nobody else is known to have had it");
  bench.recorded.set(path, "id-ENG-1");
  const { createdNow } = await bench.workspaces.ensure(newcomer, none);
  assert.ok(createdNow && !existsSync(join(path, "result.txt")));
  assert.ok(existsSync(join(bench.root, "ENG-1.aside-1", "result.txt")));
  assert.equal(bench.aside[0]?.owner, "id-ENG-1");
});

test("another issue's workspace without work is replaced by a new one", async (t) => {
  const bench = workspaceBench(t, { afterCreate: "date +%N > made" });
  const { path } = await bench.make();
  mkdirSync(join(path, "empty"));
  const { createdNow } = await bench.workspaces.ensure(newcomer, none);
  assert.ok(createdNow && !existsSync(join(path, "empty")) && existsSync(join(path, "made")));
  assert.deepEqual([bench.aside, readdirSync(bench.root)], [[], [".symphony-root", "ENG-1"]]);
  assert.match(bench.logged.join(""), /Replacing another issue's workspace without work/);
  const again = await bench.workspaces.ensure(newcomer, none);
  assert.equal(again.createdNow, false, "it is the new issue's now");
});

test("a workspace set aside is kept as the earlier issue's work, also after a restart; it is no result of the new one", async (t) => {
  const dir = realpathSync(temporaryDir(t));
  mkdirSync(join(dir, "data"));
  const root = join(dir, "root");
  const open = async (issues: readonly Issue[]) => {
    const settings = config({ workspace: { root } });
    const world = await createWorld({ issues, config: settings, dataDir: join(dir, "data") });
    t.after(() => world[Symbol.asyncDispose]());
    return world;
  };
  const first = await open([issue("ENG-1")]);
  const { path } = await first.workspaces.ensure(issue("ENG-1"), none);
  const run = first.scheduler.run("ENG-1");
  run.reports.entered("building_prompt", { key: "ENG-1", path, createdNow: true });
  writeFileSync(join(path, "result.txt"), "work\n");
  await assert.rejects(first.workspaces.ensure(newcomer, none), coded("workspace_in_use"));
  assert.ok(existsSync(join(path, "result.txt")), "an agent does not lose its directory");
  await run.end({ kind: "failed", code: "turn_failed", message: "no" });
  await first.core.workspaces.kept.report(issue("ENG-1"), path);
  await first.workspaces.ensure(newcomer, none);
  const aside = join(root, "ENG-1.aside-1");
  const expected = [[aside, "id-ENG-1", "ENG-1", "symphony diff ENG-1.aside-1"]];
  const listed = (world: typeof first) =>
    world.core.workspaces.kept
      .list()
      .map((kept) => [kept.path, kept.issueId, kept.issueIdentifier, kept.next[0]]);
  assert.deepEqual(listed(first), expected);
  await assert.rejects(first.core.workspaces.diffOf(newcomer), coded("no_repository"));
  assert.deepEqual(
    first.core.workspaces.kept.of(newcomer).map((kept) => kept.path),
    [aside],
    "whoever looks at the new issue is told of it",
  );
  first.core.bus.flush();
  const events = first.core.history.events({ afterSeq: 0, limit: 9, types: ["workspace.kept"] });
  assert.deepEqual(
    events.map(({ issueId, data }) => [issueId, data["path"]]),
    [
      ["id-ENG-1", path],
      ["id-ENG-1", aside],
    ],
  );
  const second = await open([]);
  await (await cleanUp(second)).over;
  assert.deepEqual(listed(second), expected);
});
