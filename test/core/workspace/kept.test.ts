import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { cleanUpFinished } from "../../../src/core/followers.ts";
import type { SymphonyEvent } from "../../../src/core/model/event.ts";
import type { Issue } from "../../../src/core/model/issue.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { coded, temporaryDir } from "../../support/makers/storage.ts";
import { cleanUp, createWorld, type World } from "../../support/worlds/core.ts";
import { workspaceBench } from "../../support/worlds/workspace-bench.ts";

const none = new AbortController().signal;
const stopped = { kind: "stopped" } as const;
const needs = { kind: "question", prompt: "Which?", options: [] } as const;

/** A world of real workspaces; `hook` is `before_remove`. */
async function open(t: TestContext, identifiers: readonly string[], hook: string | null = null) {
  const dir = realpathSync(temporaryDir(t));
  const root = join(dir, "root");
  const settings = config({ workspace: { root }, hooks: { beforeRemove: hook } });
  const issues = identifiers.map((name) => issue(name));
  const world = await createWorld({ issues, config: settings });
  t.after(() => world[Symbol.asyncDispose]());
  return { dir, root, world };
}

/** Acts as the attempt of `identifier`: it enters its workspace, and its agent leaves a file, or nothing. */
async function work(world: World, identifier: string, file: string | null): Promise<string> {
  const workspace = await world.workspaces.ensure(issue(identifier), none);
  world.scheduler.run(identifier).reports.entered("building_prompt", workspace);
  if (file !== null) writeFileSync(join(workspace.path, file), "work\n");
  return workspace.path;
}

/** The next event about a workspace. */
function nextEvent(world: World): Promise<SymphonyEvent> {
  return new Promise((resolve) => {
    const filter = { types: ["workspace.kept", "workspace.removed"] as const };
    const end = world.core.bus.subscribe({ filter: { types: [...filter.types] } }, (event) => {
      end();
      resolve(event);
    });
  });
}

/** Every end of an issue that once removed its workspace. */
const issueEnds: readonly [name: string, end: (world: World, name: string) => Promise<void>][] = [
  [
    "it is terminal while its agent runs",
    async ({ scheduler }, name) => {
      scheduler.set(issue(name, { state: "Done" }));
      await scheduler.advance(30_000);
      await scheduler.run(name).end(stopped);
    },
  ],
  [
    "its agent has ended, and the check after that finds it terminal",
    async ({ scheduler }, name) => {
      scheduler.set(issue(name, { state: "Done" }));
      await scheduler.run(name).end();
      await scheduler.advance(1_000);
    },
  ],
  [
    "its retry finds it terminal",
    async ({ scheduler }, name) => {
      await scheduler.run(name).end({ kind: "failed", code: "turn_failed", message: "no" });
      scheduler.set(issue(name, { state: "Canceled" }));
      await scheduler.advance(10_000);
    },
  ],
  [
    "it waited for a person and becomes terminal",
    async ({ scheduler }, name) => {
      await scheduler.run(name).end({ kind: "needs", needs, code: "turn_input_required" });
      scheduler.set(issue(name, { state: "Done" }));
      await scheduler.advance(30_000);
    },
  ],
  [
    "it was held and a poll finds it terminal",
    async (world, name) => {
      const { scheduler } = world;
      await world.core.orchestrator.abort(name, null);
      await scheduler.run(name).end(stopped);
      scheduler.set(issue(name, { state: "Done" }));
      await scheduler.advance(30_000);
    },
  ],
  [
    "its run ended in review and a person closes it later",
    async ({ scheduler }, name) => {
      scheduler.set(issue(name, { state: "In Review" }));
      await scheduler.run(name).end();
      await scheduler.advance(30_000);
      scheduler.set(issue(name, { state: "Done" }));
      await scheduler.advance(30_000);
    },
  ],
  [
    "it was held, became terminal, and the server starts again",
    async (world, name) => {
      const { scheduler } = world;
      await world.core.orchestrator.abort(name, null);
      await scheduler.run(name).end(stopped);
      scheduler.set(issue(name, { state: "Done" }));
      await (await cleanUp(world)).over;
    },
  ],
  [
    "it failed, became terminal, and the server starts again",
    async (world, name) => {
      world.scheduler.config = config({ ...world.config, agent: { maxRetries: 0 } });
      await world.scheduler.run(name).end({ kind: "failed", code: "turn_failed", message: "no" });
      world.scheduler.set(issue(name, { state: "Done" }));
      await (await cleanUp(world)).over;
    },
  ],
];

for (const [name, end] of issueEnds) {
  test(`a workspace with work stays, one without work is removed: ${name}`, async (t) => {
    const { world, dir } = await open(t, ["ENG-1", "ENG-2"], `pwd >> ../../removed`);
    const busy = await work(world, "ENG-1", "result.txt");
    const idle = await work(world, "ENG-2", null);
    for (const [identifier, path] of [
      ["ENG-1", busy],
      ["ENG-2", idle],
    ] as const) {
      const next = nextEvent(world);
      await end(world, identifier);
      const { type, issueIdentifier, data } = await next;
      const expected = path === busy ? "workspace.kept" : "workspace.removed";
      assert.deepEqual([type, issueIdentifier], [expected, identifier]);
      assert.equal(existsSync(path), path === busy);
      if (path === busy) {
        assert.equal(data["path"], busy);
        assert.equal(data["next"], "symphony diff ENG-1");
        assert.deepEqual(data["holds"], [
          { kind: "new_files", count: 1, examples: ["result.txt"] },
        ]);
      }
    }
    assert.equal(readFileSync(join(busy, "result.txt"), "utf8"), "work\n");
    assert.equal(readFileSync(join(dir, "removed"), "utf8"), `${idle}\n`, "before_remove");
    assert.deepEqual(
      world.core.workspaces.kept.list().map(({ key }) => key),
      ["ENG-1"],
    );
  });
}

test("work is copied before its workspace is removed: event, audit, diff and restore know where it went", async (t) => {
  const dir = realpathSync(temporaryDir(t));
  const settings = config({ workspace: { root: join(dir, "root") } });
  const world = await createWorld({
    issues: [issue("ENG-1"), issue("ENG-2")],
    config: settings,
    keepsCopies: true,
  });
  t.after(() => world[Symbol.asyncDispose]());
  const path = await work(world, "ENG-1", "result.txt");
  const next = nextEvent(world);
  world.scheduler.set(issue("ENG-1", { state: "Done" }));
  await world.scheduler.advance(30_000);
  await world.scheduler.run("ENG-1").end(stopped);
  const { type, data, message } = await next;
  assert.equal(type, "workspace.removed");
  const overview = world.core.workspaces;
  const [copy] = (await overview.list(10, 0)).copies;
  assert.ok(copy !== undefined && !existsSync(path));
  assert.deepEqual(data, {
    key: "ENG-1",
    path,
    kept: copy.path,
    next: `symphony workspaces restore ${copy.key}`,
  });
  assert.equal(message, `workspace removed, its work is kept in ${copy.path}`);
  assert.deepEqual(
    [copy.issue, copy.summary],
    [{ id: "id-ENG-1", identifier: "ENG-1" }, "1 new file (result.txt)"],
  );
  assert.deepEqual(overview.kept.list(), []);
  for (const diff of [await overview.diffOf(issue("ENG-1")), await overview.diffIn(copy.key)]) {
    assert.deepEqual([diff.path, diff.files[0]?.path], [copy.path, "result.txt"]);
  }
  assert.deepEqual(await overview.restore("ENG-1"), { key: copy.key, path });
  assert.equal(readFileSync(join(path, "result.txt"), "utf8"), "work\n");
  await assert.rejects(overview.restore("ENG-1"), coded("workspace_error", /in the way/));
  await (await cleanUp(world)).over;
  assert.ok(existsSync(path), "what an operator restored is not removed at the next start");
  assert.equal((await overview.list(10, 0)).copies.length, 1);
  await assert.rejects(
    overview.remove(copy.key, { force: false }),
    coded("workspace_dirty", /is a kept copy/),
  );
  await overview.remove(copy.key, { force: true });
  assert.deepEqual((await overview.list(10, 0)).copies, []);
  assert.ok(existsSync(path), "only the copy is deleted");
});

test("a workspace whose work cannot be copied stays, and its event says why", async (t) => {
  const dir = realpathSync(temporaryDir(t));
  const settings = config({ workspace: { root: join(dir, "root"), keepMaxBytes: 1 } });
  const world = await createWorld({
    issues: [issue("ENG-1")],
    config: settings,
    keepsCopies: true,
  });
  t.after(() => world[Symbol.asyncDispose]());
  const path = await work(world, "ENG-1", "result.txt");
  const next = nextEvent(world);
  world.scheduler.set(issue("ENG-1", { state: "Done" }));
  await world.scheduler.advance(30_000);
  await world.scheduler.run("ENG-1").end(stopped);
  const { type, data, message } = await next;
  const why = "a copy would be larger than workspace.keep_max (1 bytes)";
  assert.deepEqual([type, data["not_copied"], existsSync(path)], ["workspace.kept", why, true]);
  assert.match(message, /no copy of it was made/);
  assert.equal(world.core.workspaces.kept.list().length, 1);
});

test("completion by an operator removes nothing, and reports what the workspace holds", async (t) => {
  const { world } = await open(t, ["ENG-1", "ENG-2"]);
  const path = await work(world, "ENG-1", "result.txt");
  const next = nextEvent(world);
  await world.core.orchestrator.transition(issue("ENG-1"), "completed", null);
  await world.scheduler.run("ENG-1").end(stopped);
  assert.deepEqual([(await next).type, existsSync(path)], ["workspace.kept", true]);
  const idle = await work(world, "ENG-2", "result.txt");
  await world.core.orchestrator.abort("ENG-2", null);
  await world.scheduler.run("ENG-2").end(stopped);
  const later = nextEvent(world);
  await world.core.orchestrator.transition(issue("ENG-2"), "completed", null);
  assert.deepEqual([(await later).type, existsSync(idle)], ["workspace.kept", true]);
});

test("no directory is removed for an issue that does not own it, even if identifiers change", async (t) => {
  const { world, root } = await open(t, ["ENG-1"]);
  const path = await work(world, "ENG-1", null);
  const { kept } = world.core.workspaces;
  const { scheduler } = world;
  await scheduler.run("ENG-1").end({ kind: "failed", code: "turn_failed", message: "no" });
  const other: Issue = { ...issue("ENG-1"), id: "id-of-another" };
  await kept.clear(other, null);
  await kept.clear(other, path);
  assert.ok(existsSync(path), "it was made for an issue that had the identifier before");
  await scheduler.advance(10_000);
  world.scheduler
    .run("ENG-1")
    .reports.entered("building_prompt", { key: "ENG-1", path, createdNow: false });
  // The issue itself has another identifier by now: its attempt's path identifies it.
  scheduler.set(issue("OPS-7", { id: "id-ENG-1", state: "Done" }));
  mkdirSync(join(root, "OPS-7"));
  writeFileSync(join(root, "OPS-7", "somebody's"), "x");
  const next = nextEvent(world);
  await scheduler.advance(30_000);
  await scheduler.run("ENG-1").end(stopped);
  assert.equal((await next).type, "workspace.removed");
  assert.ok(!existsSync(path) && existsSync(join(root, "OPS-7", "somebody's")));
});

test("after a change of the root the workspace in the old one is kept for its work, and found again after a restart", async (t) => {
  const { world, dir, root } = await open(t, ["ENG-1"]);
  const path = await work(world, "ENG-1", "result.txt");
  world.config = config({ workspace: { root: join(dir, "new") } });
  world.scheduler.set(issue("ENG-1", { state: "Done" }));
  const next = nextEvent(world);
  await world.scheduler.advance(30_000);
  await world.scheduler.run("ENG-1").end(stopped);
  assert.equal((await next).data["path"], join(root, "ENG-1"));
  const { kept } = world.core.workspaces;
  kept.forget(path);
  await (await cleanUp(world)).over;
  assert.deepEqual(
    kept.list().map((one) => one.path),
    [path],
  );
  const diff = await world.core.workspaces.diffOf(issue("ENG-1"));
  assert.deepEqual([diff.path, diff.files[0]?.path], [path, "result.txt"]);
});

test("the same content is reported once, also after further checks and a restart; changed content is reported again", async (t) => {
  const { world } = await open(t, ["ENG-1"]);
  const path = await work(world, "ENG-1", "result.txt");
  const { kept } = world.core.workspaces;
  const events = () => {
    world.core.bus.flush();
    const query = { afterSeq: 0, limit: 100, types: ["workspace.kept" as const] };
    return world.core.history.events(query).length;
  };
  const failed = { kind: "failed", code: "turn_failed", message: "no" } as const;
  await world.scheduler.run("ENG-1").end(failed);
  for (let look = 0; look < 3; look++) await kept.report(issue("ENG-1"), path);
  assert.equal(events(), 1);
  kept.forget(path);
  await kept.report(issue("ENG-1"), path);
  assert.equal(events(), 1, "as after a restart");
  writeFileSync(join(path, "more.txt"), "x");
  await kept.report(issue("ENG-1"), path);
  assert.equal(events(), 2);
  assert.equal(kept.list().length, 1);
  await world.scheduler.advance(10_000);
  assert.equal(kept.list().length, 0, "an agent is at work in it again");
  await world.scheduler.run("ENG-1").end(failed);
  assert.equal(kept.list().length, 1);
  rmSync(path, { recursive: true });
  await world.core.workspaces.list(10, 0);
  assert.equal(kept.list().length, 0, "deleted by hand");
});

test("workspaces remove without force reports what would be lost; with force it removes the workspace", async (t) => {
  const { world } = await open(t, ["ENG-1"]);
  const path = await work(world, "ENG-1", "result.txt");
  world.scheduler.set(issue("ENG-1", { state: "Done" }));
  const next = nextEvent(world);
  await world.scheduler.advance(30_000);
  await world.scheduler.run("ENG-1").end(stopped);
  await next;
  const { workspaces } = world.core;
  await assert.rejects(workspaces.remove("ENG-1", { force: false }), (error) => {
    coded("workspace_dirty")(error);
    assert.ok(error instanceof Error && "hint" in error && "details" in error);
    assert.match(error.message, /nowhere else and would be lost: 1 new file \(result\.txt\)$/);
    assert.equal(error.hint, "symphony workspaces remove ENG-1 --force");
    return true;
  });
  assert.ok(existsSync(path));
  assert.equal(workspaces.kept.list().length, 1);
  await workspaces.remove("ENG-1", { force: true });
  assert.ok(!existsSync(path));
  assert.equal(workspaces.kept.list().length, 0);
});

test("files that before_remove leaves are examined too; the hook of a kept workspace does not run again", async (t) => {
  const bench = workspaceBench(t, {
    beforeRemove: "echo ran >> $TRACE; echo late > late.txt",
  });
  const { path } = await bench.make();
  assert.deepEqual(await bench.remove(path), [
    { kind: "new_files", count: 1, examples: ["late.txt"] },
  ]);
  assert.deepEqual(await bench.remove(path), [
    { kind: "new_files", count: 1, examples: ["late.txt"] },
  ]);
  assert.equal(readFileSync(join(bench.dir, "trace"), "utf8"), "ran\n", "once: it was to go");
});

test("because of a leftover marker no work of an agent is deleted", async (t) => {
  const bench = workspaceBench(t, { afterCreate: null });
  const { path } = await bench.make();
  writeFileSync(join(path, "work"), "x");
  const marker = join(bench.root, ".symphony-root", "ENG-1.pending");
  for (const text of ["", "being made\n"]) {
    writeFileSync(marker, text);
    assert.equal((await bench.workspaces.ensure(issue("ENG-1"), none)).createdNow, false);
    assert.ok(existsSync(join(path, "work")) && !existsSync(marker));
  }
  // A marker of an earlier version, which does not say whether the workspace was being made or deleted.
  rmSync(join(bench.root, ".symphony-root", "ENG-1.baseline.json"));
  writeFileSync(marker, "");
  assert.equal((await bench.workspaces.ensure(issue("ENG-1"), none)).createdNow, true);
  assert.deepEqual(readdirSync(path), []);
  const aside = join(bench.root, "ENG-1.aside-1");
  assert.deepEqual(readdirSync(aside), ["work"]);
  assert.deepEqual(
    bench.aside.map((one) => one.path),
    [aside],
  );
});

test("a file at the path of a workspace is not deleted as one", async (t) => {
  const bench = workspaceBench(t);
  await bench.make("ENG-2");
  const path = join(bench.root, "ENG-1");
  writeFileSync(path, "notes");
  assert.deepEqual(await bench.remove(path), [
    { kind: "new_files", count: 1, examples: ["ENG-1"] },
  ]);
  writeFileSync(path, "");
  assert.equal(await bench.remove(path), "removed");
});

test("O-36: a failed read is logged, and a workspace that fails does not prevent the removal of others", async (t) => {
  const { world, root } = await open(t, []);
  const { scheduler, core } = world;
  for (const name of ["..", "ENG-1", "ENG-2"]) scheduler.set(issue(name, { state: "Done" }));
  await world.workspaces.ensure(issue("ENG-1"), none);
  await world.workspaces.ensure(issue("ENG-2"), none);
  await (await cleanUp(world)).over;
  assert.deepEqual(readdirSync(root), [".symphony-root"]);
  assert.match(world.logged.join(""), /workspace not removed.*must not be blank/);
  const tracker = {
    ...core.tracker(),
    fetchIssuesByStates: () => Promise.reject(new Error("away")),
  };
  const { kept } = core.workspaces;
  const { log } = core;
  const { clock } = scheduler;
  const { workspaces } = world;
  const terminalStates = ["Done"];
  const isAtWork = () => false;
  const { signal } = new AbortController();
  await cleanUpFinished({
    tracker,
    terminalStates,
    workspaces,
    kept,
    clock,
    log,
    signal,
    isAtWork,
  });
  assert.match(world.logged.join(""), /start-up cleanup failed.*away/);
});

test("O-1, O-36: hundreds of workspaces delay the first poll by a maximum of two seconds; four are examined at a time", async (t) => {
  const { world } = await open(t, []);
  const { scheduler, core } = world;
  for (let at = 0; at < 300; at++) scheduler.set(issue(`ENG-${at}`, { state: "Done" }));
  const gate = Promise.withResolvers<void>();
  const atWork = new Set<string>();
  let most = 0;
  let cleared = 0;
  let now = 0;
  const kept = {
    async clear() {
      most = Math.max(most, ++now);
      await gate.promise;
      now--;
      cleared++;
    },
    findLeft: async () => {},
    list: () => [],
  };
  const begun = cleanUpFinished({
    tracker: core.tracker(),
    terminalStates: ["Done"],
    workspaces: { finishRemovals: async () => {} },
    kept,
    clock: scheduler.clock,
    log: core.log,
    signal: new AbortController().signal,
    isAtWork: (id) => atWork.has(id),
  });
  await scheduler.advance(1_999);
  const { promise, resolve } = Promise.withResolvers<string>();
  void begun.then(() => resolve("polls"));
  setImmediate(() => resolve("waits"));
  assert.equal(await promise, "waits");
  await scheduler.advance(1);
  const { over } = await begun;
  atWork.add("id-ENG-200");
  gate.resolve();
  await over;
  assert.deepEqual([most, cleared], [4, 299], "one that is worked on by now is left alone");
});

test("an agent never loses the directory it works in to a concurrent clean-up", async (t) => {
  const { world, dir } = await open(t, ["ENG-1"]);
  const { kept } = world.core.workspaces;
  const path = await work(world, "ENG-1", null);
  await kept.clear(issue("ENG-1"), null);
  assert.ok(existsSync(path));
  await kept.clear({ id: "id-other", identifier: "OPS-1" }, path);
  assert.ok(existsSync(path), dir);
});
