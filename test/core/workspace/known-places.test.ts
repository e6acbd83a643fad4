import assert from "node:assert/strict";
import { existsSync, mkdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { coded, temporaryDir } from "../../support/makers/storage.ts";
import { cleanUp, createWorld, type World } from "../../support/worlds/core.ts";

// One key, several directories: `workspace.root` has changed.

const none = new AbortController().signal;
const stopped = { kind: "stopped" } as const;

/** A world over `dir`; its data remain for the next world. */
async function open(t: TestContext, dir: string, root: string, state = "Todo"): Promise<World> {
  mkdirSync(join(dir, "data"), { recursive: true });
  const world = await createWorld({
    issues: [issue("ENG-1", { state })],
    config: config({ workspace: { root: join(dir, root) } }),
    dataDir: join(dir, "data"),
  });
  t.after(() => world[Symbol.asyncDispose]());
  return world;
}

/** Its agent leaves `file` in the workspace in the current root. */
async function work(world: World, file: string): Promise<string> {
  const workspace = await world.workspaces.ensure(issue("ENG-1"), none);
  world.scheduler.run("ENG-1").reports.entered("building_prompt", workspace);
  writeFileSync(join(workspace.path, file), "work\n");
  return workspace.path;
}

function setRoot(world: World, root: string): void {
  world.config = config({ workspace: { root } });
  world.scheduler.config = world.config;
}

/** Done in the first root, then started again in the second and held there, as after an operator's abort. */
async function twice(t: TestContext) {
  const dir = realpathSync(temporaryDir(t));
  const world = await open(t, dir, "old");
  const { scheduler, core } = world;
  const old = await work(world, "old.txt");
  scheduler.set(issue("ENG-1", { state: "Done" }));
  await scheduler.advance(30_000);
  await scheduler.run("ENG-1").end(stopped);
  await core.workspaces.kept.clear(issue("ENG-1"), old);
  setRoot(world, join(dir, "new"));
  scheduler.set(issue("ENG-1"));
  await scheduler.advance(30_000);
  const now = await work(world, "new.txt");
  return { dir, world, old, now, overview: core.workspaces, kept: core.workspaces.kept };
}

/** Runs a printed `symphony workspaces remove …` as the command line does. */
function removalOf(command: string): { key: string; path?: string; force: boolean } {
  const match = /^symphony workspaces remove (\S+)( --force)?$/.exec(command);
  const name = match?.[1] ?? "";
  const force = match?.[2] !== undefined;
  return name.startsWith("/")
    ? { key: name.slice(name.lastIndexOf("/") + 1), path: name, force }
    : { key: name, force };
}

test("a kept directory of an earlier root is listed while its issue runs elsewhere, and its command removes only it", async (t) => {
  const { world, old, now, overview, kept } = await twice(t);
  assert.deepEqual(
    kept.list().map(({ path }) => path),
    [old],
    "while the agent works in the other one",
  );
  await world.core.orchestrator.abort("ENG-1", null);
  await world.scheduler.run("ENG-1").end(stopped);
  const [row] = kept.list();
  assert.ok(row);
  assert.deepEqual(row.next, [`symphony diff ${old}`, `symphony workspaces remove ${old} --force`]);
  const { key, ...rest } = removalOf(row.next[1]);
  await overview.remove(key, rest);
  assert.deepEqual([existsSync(old), existsSync(now)], [false, true]);
  assert.deepEqual(kept.list(), []);
});

test("a key with two directories is refused, and both are named; nothing is removed", async (t) => {
  const { world, old, now, overview } = await twice(t);
  await world.core.orchestrator.abort("ENG-1", null);
  await world.scheduler.run("ENG-1").end(stopped);
  await assert.rejects(overview.remove("ENG-1", { force: true }), (error) => {
    coded("workspace_ambiguous")(error);
    assert.ok(error instanceof SymphonyError);
    assert.ok(error.message.includes(now) && error.message.includes(old));
    assert.deepEqual(error.details, { paths: [now, old] });
    assert.equal(error.hint, `symphony workspaces remove ${now}`);
    return true;
  });
  assert.ok(existsSync(old) && existsSync(now));
  const { workspaces, total } = await overview.list(50, 0);
  assert.deepEqual(
    workspaces.map(({ path, issueIdentifier }) => [path, issueIdentifier]),
    [
      [now, "ENG-1"],
      [old, "ENG-1"],
    ],
  );
  assert.equal(total, 2);
  await assert.rejects(overview.remove("ENG-1", { path: old, force: false }), (error) => {
    coded("workspace_dirty")(error);
    assert.ok(error instanceof SymphonyError);
    assert.equal(error.hint, `symphony workspaces remove ${old} --force`);
    return true;
  });
  await overview.remove("ENG-1", { path: now, force: true });
  assert.deepEqual([existsSync(old), existsSync(now)], [true, false]);
  // Only one is left, so the key is unambiguous.
  await overview.remove("ENG-1", { force: true });
  assert.ok(!existsSync(old));
});

test("a directory that an agent works in is not removed, even if other directories have its key", async (t) => {
  const { old, now, overview } = await twice(t);
  await assert.rejects(
    overview.remove("ENG-1", { path: now, force: true }),
    coded("workspace_in_use"),
  );
  await overview.remove("ENG-1", { path: old, force: true });
  assert.deepEqual([existsSync(old), existsSync(now)], [false, true]);
});

test("if only the earlier root has the key, the directory is listed, shown and removed by its key", async (t) => {
  const dir = realpathSync(temporaryDir(t));
  const world = await open(t, dir, "old");
  const { scheduler, core } = world;
  const old = await work(world, "old.txt");
  await scheduler.run("ENG-1").end({ kind: "failed", code: "turn_failed", message: "no" });
  setRoot(world, join(dir, "new"));
  const overview = core.workspaces;
  const { workspaces, total, root } = await overview.list(50, 0);
  assert.deepEqual([workspaces.map(({ path }) => path), total, root], [[old], 1, join(dir, "new")]);
  assert.equal((await overview.diffIn("ENG-1")).path, old);
  await assert.rejects(overview.remove("ENG-1", { force: false }), (error) => {
    coded("workspace_dirty")(error);
    return (
      error instanceof SymphonyError && error.hint === `symphony workspaces remove ${old} --force`
    );
  });
  await overview.remove("ENG-1", { force: true });
  assert.ok(!existsSync(old));
  await assert.rejects(overview.remove("ENG-1", { force: true }), coded("workspace_not_found"));
});

test("after a new attempt and a restart every directory with work is known again", async (t) => {
  const { dir, world, old, now } = await twice(t);
  await world.scheduler.run("ENG-1").end(stopped);
  const later = await open(t, dir, "new", "In Review");
  const { kept } = later.core.workspaces;
  await (await cleanUp(later)).over;
  assert.deepEqual(
    kept.list().map(({ path, issueIdentifier }) => [path, issueIdentifier]),
    [[old, "ENG-1"]],
    "the other one is the issue's workspace",
  );
  const last = await open(t, dir, "new", "Done");
  await (await cleanUp(last)).over;
  assert.deepEqual(
    last.core.workspaces.kept.list().map(({ path }) => path),
    [now, old].toSorted(),
  );
});

test("a directory without work in an earlier root is removed when its issue ends", async (t) => {
  const { world, old, now, overview } = await twice(t);
  rmSync(join(old, "old.txt"));
  rmSync(join(now, "new.txt"));
  await world.scheduler.run("ENG-1").end(stopped);
  await overview.kept.clear(issue("ENG-1"), now);
  assert.deepEqual([existsSync(old), existsSync(now)], [false, false]);
});

test("a path that symphony has not recorded is neither removed nor shown, wherever it leads", async (t) => {
  const { dir, world, old, now, overview } = await twice(t);
  await world.scheduler.run("ENG-1").end(stopped);
  const beside = join(dir, "old", "ENG-2");
  const elsewhere = join(dir, "elsewhere", "ENG-1");
  for (const path of [beside, elsewhere, join(dir, "elsewhere", ".symphony-root")]) {
    mkdirSync(path, { recursive: true });
  }
  symlinkSync(join(dir, "old"), join(dir, "link"));
  const paths = [
    beside,
    elsewhere,
    join(dir, "link", "ENG-1"),
    `${old}/`,
    `${old}/../ENG-1`,
    join(dir, "old"),
    "ENG-1",
    "",
  ];
  for (const path of paths) {
    const refused = coded("workspace_not_found");
    await assert.rejects(overview.remove("ENG-1", { path, force: true }), refused, path);
    await assert.rejects(overview.diffOf(issue("ENG-1"), path), refused, path);
    await assert.rejects(overview.diffIn("ENG-1", path), refused, path);
  }
  await assert.rejects(
    overview.remove("ENG-2", { path: old, force: true }),
    coded("workspace_not_found"),
  );
  // The earlier directory is no longer a root: its mark is gone.
  rmSync(join(dir, "old", ".symphony-root"), { recursive: true });
  await assert.rejects(
    overview.remove("ENG-1", { path: old, force: true }),
    coded("workspace_not_found"),
  );
  for (const path of [old, now, beside, elsewhere]) assert.ok(existsSync(path), path);
});

test("a diff shows the workspace of the newest attempt, or another one by its path", async (t) => {
  const { world, old, now, overview } = await twice(t);
  await world.scheduler.run("ENG-1").end(stopped);
  const fileIn = async (path?: string) => {
    const diff = await overview.diffOf(issue("ENG-1"), path);
    return [diff.path, diff.files[0]?.path];
  };
  assert.deepEqual(await fileIn(), [now, "new.txt"]);
  assert.deepEqual(await fileIn(old), [old, "old.txt"]);
  await overview.remove("ENG-1", { path: now, force: true });
  assert.deepEqual(await fileIn(), [old, "old.txt"]);
});

test("at the end of the server a workspace is examined for a short time; otherwise it counts as not examined", async (t) => {
  const dir = realpathSync(temporaryDir(t));
  const world = await open(t, dir, "old");
  const path = await work(world, "result.txt");
  await world.scheduler.run("ENG-1").end(stopped);
  const { kept } = world.core.workspaces;
  const at = () => kept.list().map((one) => [one.path, one.work]);
  await kept.examineLast(
    issue("ENG-1"),
    { path: join(dir, "old", "ENG-9"), pushed: null },
    AbortSignal.abort(),
  );
  assert.deepEqual(at(), [], "there is no such directory");
  await kept.examineLast(issue("ENG-1"), { path, pushed: null }, AbortSignal.abort());
  assert.deepEqual(at(), [[path, [{ kind: "unknown", reason: "not examined yet" }]]]);
  kept.forget(path);
  await kept.examineLast(issue("ENG-1"), { path, pushed: null }, none);
  assert.deepEqual(at(), [[path, [{ kind: "new_files", count: 1, examples: ["result.txt"] }]]]);
  kept.forget(path);
  rmSync(join(path, "result.txt"));
  await kept.examineLast(issue("ENG-1"), { path, pushed: null }, none);
  assert.deepEqual(at(), [], "it holds nothing");
});
