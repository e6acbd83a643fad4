import assert from "node:assert/strict";
import { existsSync, linkSync, mkdirSync, realpathSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { keepApart } from "../../../src/core/workspace/fill.ts";
import { DiskUse } from "../../../src/core/workspace/measured.ts";
import type { Workspaces } from "../../../src/core/workspace/workspaces.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { coded, temporaryDir } from "../../support/makers/storage.ts";
import { createWorld } from "../../support/worlds/core.ts";

/** A world whose workspaces are in a new root. */
async function open(t: TestContext, identifiers: readonly string[], hook: string | null = null) {
  const dir = realpathSync(temporaryDir(t));
  const root = join(dir, "root");
  mkdirSync(join(root, ".symphony-root"), { recursive: true });
  const settings = config({ workspace: { root }, hooks: { beforeRemove: hook } });
  const issues = identifiers.map((name) => issue(name));
  const world = await createWorld({ issues, config: settings });
  t.after(() => world[Symbol.asyncDispose]());
  const make = (key: string, ...files: string[]) => {
    mkdirSync(join(root, key), { recursive: true });
    for (const file of files) writeFileSync(join(root, key, file), "x");
    return join(root, key);
  };
  return { dir, root, world, overview: world.core.workspaces, make };
}

test("the list has the issue and the size of each workspace, and only directories named by a key", async (t) => {
  const { dir, root, world, overview, make } = await open(t, ["ENG-1", "team/a 1"]);
  await world.scheduler.run("ENG-1").end({ kind: "failed", code: "turn_failed", message: "no" });
  make("ENG-1", "big");
  make("nobody");
  writeFileSync(join(root, "ENG-1", "big"), "x".repeat(100_000));
  mkdirSync(join(root, "ENG-1", ".git"));
  writeFileSync(join(root, "ENG-1", ".git", "HEAD"), "ref: refs/heads/topic\n");
  writeFileSync(join(root, "file"), "");
  symlinkSync(dir, join(root, "link"));
  make(`team_a_1--${"0".repeat(16)}`);
  const listing = await overview.list(50, 0);
  assert.deepEqual([listing.root, listing.total], [root, 3]);
  const [one, none, odd] = listing.workspaces;
  assert.deepEqual(
    [one?.key, one?.issueIdentifier, one?.status, one?.inUse, one?.branch, one?.dirty],
    ["ENG-1", "ENG-1", "retrying", false, "topic", true],
  );
  assert.deepEqual(
    [none?.key, none?.issueIdentifier, none?.status, none?.branch, none?.dirty],
    ["nobody", null, null, null, false],
  );
  assert.equal(odd?.issueIdentifier, null, "a hash of something else");
  assert.ok((one?.diskBytes ?? 0) >= 100_000 && (none?.diskBytes ?? 0) < 100_000);
  const all = listing.workspaces.map(({ diskBytes }) => diskBytes ?? Number.NaN);
  assert.equal(
    listing.totalBytes,
    all.reduce((sum, bytes) => sum + bytes, 0),
  );
  const page = await overview.list(1, 1);
  assert.deepEqual([page.workspaces.map(({ key }) => key), page.total], [["nobody"], 3]);
});

test("a missing root has no workspaces", async (t) => {
  const { world } = await open(t, []);
  world.config = config({ workspace: { root: "/nowhere/at/all" } });
  const { workspaces, total, totalBytes } = await world.core.workspaces.list(50, 0);
  assert.deepEqual([workspaces, total, totalBytes], [[], 0, 0]);
});

test("INV-12: a workspace that an attempt uses is not removed, with or without force", async (t) => {
  const { overview, make, world } = await open(t, ["ENG-1"]);
  const path = make("ENG-1");
  for (const force of [true, false]) {
    await assert.rejects(overview.remove("ENG-1", { force }), coded("workspace_in_use"));
  }
  assert.ok(existsSync(path));
  assert.equal((await overview.list(1, 0)).workspaces[0]?.inUse, true);
  await world.scheduler.run("ENG-1").end({ kind: "failed", code: "turn_failed", message: "no" });
  await overview.remove("ENG-1", { force: false });
  assert.ok(!existsSync(path));
});

test("a workspace with work is removed with force only; before_remove runs, and the event names the actor", async (t) => {
  const { dir, overview, make, world } = await open(t, [], `cp work "${"$"}HOME/kept"`);
  const path = make("ENG-7", "work");
  await assert.rejects(overview.remove("ENG-7", { force: false }), coded("workspace_dirty"));
  assert.ok(existsSync(join(path, "work")));
  await overview.remove("ENG-7", { force: true });
  assert.ok(!existsSync(path) && existsSync(join(world.dataDir, "kept")), dir);
  world.core.bus.flush();
  const [removed] = world.core.history.events({
    afterSeq: 0,
    limit: 9,
    types: ["workspace.removed"],
  });
  assert.deepEqual(removed?.data, { key: "ENG-7", path, by: "operator", kept: null });
  await assert.rejects(overview.remove("ENG-7", { force: true }), coded("workspace_not_found"));
});

test("S-3, S-4, S-5: no key leads to the root, out of it, or through a link", async (t) => {
  const { dir, root, overview } = await open(t, []);
  const outside = join(dir, "root2");
  mkdirSync(outside);
  writeFileSync(join(outside, "precious"), "x");
  symlinkSync(outside, join(root, "link"));
  const keys = [".", "..", "", "../root2", "link", "link/", ".symphony-root", "a/b", "a\0", "%2e"];
  for (const key of keys) {
    await assert.rejects(overview.remove(key, { force: true }), coded("workspace_not_found"), key);
  }
  assert.ok(existsSync(join(outside, "precious")) && existsSync(join(root, "link")));
  assert.ok(existsSync(join(root, ".symphony-root")));
});

test("an attempt that starts during the removal of its workspace waits for the end of the removal", async () => {
  const calls: string[] = [];
  const gate = Promise.withResolvers<boolean>();
  const inner = {
    remove: () => {
      calls.push("remove");
      return gate.promise;
    },
    ensure: async () => {
      calls.push("ensure");
      return { key: "ENG-1", path: "/w/ENG-1", createdNow: true };
    },
    placeOf: ({ identifier }: { identifier: string }) => `/w/${identifier}`,
  } as unknown as Workspaces;
  const workspaces = keepApart(inner);
  const eng1 = issue("ENG-1");
  const { signal } = new AbortController();
  const first = workspaces.remove({ path: "/w/ENG-1", issue: null });
  const second = workspaces.remove({ path: null, issue: eng1 });
  const ensured = workspaces.ensure(eng1, signal);
  await workspaces.ensure(issue("ENG-2"), signal);
  assert.deepEqual(calls, ["remove", "ensure"], "another one does not wait");
  gate.reject(new Error("disk"));
  await assert.rejects(first, /disk/);
  await assert.rejects(second, /disk/);
  await ensured;
  assert.deepEqual(calls, ["remove", "ensure", "remove", "ensure"]);
});

test("concurrent removals of one workspace run one after the other", async () => {
  let now = 0;
  const inner = {
    remove: async () => {
      assert.equal(++now, 1);
      await new Promise((done) => setImmediate(done));
      now--;
      return { outcome: "nothing" };
    },
    ensure: async () => {
      assert.equal(now, 0);
      return { key: "ENG-1", path: "/w/ENG-1", createdNow: true };
    },
    placeOf: () => "/w/ENG-1",
  } as unknown as Parameters<typeof keepApart>[0];
  const workspaces = keepApart(inner);
  const target = { path: "/w/ENG-1", issue: null };
  const all = Array.from({ length: 5 }, () => workspaces.remove(target));
  await Promise.all([...all, workspaces.ensure(issue("ENG-1"), new AbortController().signal)]);
});

test("disk use counts each file once, follows no link, and is measured again when it is old", async (t) => {
  const dir = temporaryDir(t);
  const path = join(dir, "w");
  mkdirSync(join(path, "a", "b"), { recursive: true });
  writeFileSync(join(dir, "outside"), "x".repeat(500_000));
  writeFileSync(join(path, "a", "b", "file"), "x".repeat(50_000));
  linkSync(join(path, "a", "b", "file"), join(path, "again"));
  symlinkSync(dir, join(path, "up"));
  const clock = new FakeClock();
  const disk = new DiskUse(clock);
  t.after(() => disk.close());
  const measured = async () => {
    disk.follow([path, join(dir, "gone")]);
    await disk.settled();
    return disk.of(path) ?? 0;
  };
  assert.equal(disk.of(path), null);
  const first = await measured();
  assert.ok(first >= 50_000 && first < 100_000, String(first));
  assert.equal(disk.of(join(dir, "gone")), null);
  writeFileSync(join(path, "more"), "x".repeat(200_000));
  assert.equal(await measured(), first);
  clock.advance(60_000);
  assert.ok((await measured()) >= first + 200_000);
  disk.follow([]);
  assert.equal(disk.of(path), null);
});
