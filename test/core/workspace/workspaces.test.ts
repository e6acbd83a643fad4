import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, realpathSync } from "node:fs";
import {
  chmod,
  lstat,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import type { HooksConfig } from "../../../src/core/config/config.ts";
import { createLogger } from "../../../src/core/events/log.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { isWorkspaceKey } from "../../../src/core/repository/key.ts";
import { createWorkspaces, type HookFailure } from "../../../src/core/workspace/workspaces.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

const none = new AbortController().signal;
const eng1 = issue("ENG-1");
const first = { attemptId: "att_1", issue: eng1, attempt: null };
const done = { kind: "completed" } as const;

interface Setup {
  readonly hooks?: Partial<HooksConfig>;
  readonly root?: string;
}

function open(t: TestContext, setup: Setup = {}) {
  const dir = realpathSync(temporaryDir(t));
  const clock = new FakeClock();
  const failures: HookFailure[] = [];
  const logged: string[] = [];
  const settings = {
    root: setup.root ?? join(dir, "root"),
    hooks: { ...config().hooks, ...setup.hooks },
  };
  const sinks = [{ name: "test", write: (line: string) => void logged.push(line) }];
  const workspaces = createWorkspaces({
    settings: () => settings,
    env: () => ({ PATH: process.env["PATH"] ?? "", HOME: dir, TRACE: join(dir, "trace") }),
    clock,
    log: createLogger({ level: "debug", format: "logfmt", sinks, clock, redact: (text) => text }),
    onHookFailed: (failure) => failures.push(failure),
  });
  /** The lines that hooks wrote to `$TRACE`. */
  const trace = async () => {
    const text = await readFile(join(dir, "trace"), "utf8").catch(() => "");
    return text.split("\n").filter((line) => line !== "");
  };
  return { dir, clock, failures, logged, settings, workspaces, trace };
}

async function code(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => assert.fail("it should have been refused"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof SymphonyError, String(error));
  return error.code;
}

test("S-7, S-8: after_create runs once, for the call that made the directory; its content is kept", async (t) => {
  const { workspaces, trace, settings } = open(t, { hooks: { afterCreate: "pwd >> $TRACE" } });
  const first = await workspaces.ensure(eng1, none);
  const path = join(settings.root, "ENG-1");
  assert.deepEqual(first, { key: "ENG-1", path, createdNow: true });
  await writeFile(join(path, "work"), "x");
  assert.deepEqual(await workspaces.ensure(eng1, none), { ...first, createdNow: false });
  assert.equal(await readFile(join(path, "work"), "utf8"), "x");
  assert.deepEqual(await trace(), [path]);
  assert.equal((await lstat(path)).mode & 0o777, 0o700);
});

test("S-2, S-4: an unusual identifier stays inside the root", async (t) => {
  const { workspaces, settings } = open(t);
  const { path } = await workspaces.ensure(issue("../../etc/passwd"), none);
  assert.equal(dirname(path), settings.root);
  assert.equal(workspaces.pathOf("../../etc/passwd"), path);
});

test("S-3: dots and blanks never resolve to the root or its parent", async (t) => {
  const { dir, workspaces, settings } = open(t);
  await workspaces.ensure(eng1, none);
  await writeFile(join(dir, "precious"), "x");
  for (const identifier of [".", "..", "", " "]) {
    assert.equal(
      await code(workspaces.ensure(issue(identifier), none)),
      "invalid_issue_identifier",
    );
    const removal = workspaces.remove({ path: null, issue: issue(identifier) });
    assert.equal(await code(removal), "invalid_issue_identifier");
  }
  assert.deepEqual((await readdir(dir)).sort(), ["precious", "root"]);
  assert.ok(existsSync(join(settings.root, "ENG-1")));
});

test("S-4: the root itself, its siblings, its parents and deeper paths are refused for removal", async (t) => {
  const { dir, workspaces, settings, trace } = open(t, {
    hooks: { beforeRemove: "pwd >> $TRACE" },
  });
  const { path } = await workspaces.ensure(eng1, none);
  const sibling = `${settings.root}2`;
  await mkdir(join(sibling, "ENG-1"), { recursive: true });
  await mkdir(join(path, "sub"));
  assert.equal(
    await code(workspaces.remove({ path: settings.root, issue: null })),
    "workspace_equals_root",
  );
  for (const bad of [
    join(sibling, "ENG-1"),
    sibling,
    dir,
    "/",
    join(path, "sub"),
    `${settings.root}/../root/ENG-1`,
    `${path}/`,
    "ENG-1",
    "",
    join(settings.root, ".symphony-root"),
  ]) {
    assert.equal(
      await code(workspaces.remove({ path: bad, issue: eng1 })),
      "workspace_outside_root",
      bad,
    );
  }
  assert.ok(existsSync(join(sibling, "ENG-1")) && existsSync(join(path, "sub")));
  assert.deepEqual(await trace(), []);
});

test("S-5, THREAT-14: a symlink at the path of a workspace is refused before any hook, and its target survives", async (t) => {
  const hooks = {
    afterCreate: "pwd >> $TRACE",
    beforeRun: "pwd >> $TRACE",
    beforeRemove: "pwd >> $TRACE",
    afterRun: "pwd >> $TRACE",
  };
  const { dir, workspaces, settings, trace } = open(t, { hooks });
  const outside = join(dir, "outside");
  await mkdir(join(outside, "x"), { recursive: true });
  await workspaces.ensure(issue("ENG-2"), none);
  const path = join(settings.root, "ENG-1");
  for (const target of [outside, join(settings.root, "ENG-2"), join(dir, "nowhere")]) {
    await symlink(target, path);
    const workspace = { key: "ENG-1", path, createdNow: false };
    assert.equal(await code(workspaces.ensure(eng1, none)), "workspace_symlink");
    assert.equal(await code(workspaces.beforeRun(workspace, first, none)), "invalid_workspace_cwd");
    await workspaces.afterRun(workspace, first, done);
    assert.equal(await code(workspaces.remove({ path, issue: eng1 })), "workspace_symlink");
    assert.equal(await code(workspaces.remove({ path: null, issue: eng1 })), "workspace_symlink");
    await rm(path);
  }
  assert.ok(existsSync(join(outside, "x")));
  assert.deepEqual(await trace(), [join(settings.root, "ENG-2")]);
});

test("S-6: a symlinked root is resolved and the canonical path recorded", async (t) => {
  const { dir, workspaces, settings } = open(t);
  await mkdir(join(dir, "real"));
  await symlink(join(dir, "real"), join(dir, "link"));
  settings.root = join(dir, "link");
  const { path } = await workspaces.ensure(eng1, none);
  assert.equal(path, join(dir, "real", "ENG-1"));
  assert.equal(await workspaces.requireCwd(path), path);
  assert.equal(
    await code(workspaces.requireCwd(join(dir, "link", "ENG-1"))),
    "invalid_workspace_cwd",
  );
  assert.equal((await workspaces.remove({ path, issue: eng1 })).outcome, "removed");
});

test("S-6: an unusable root and a name that is too long are typed errors", async (t) => {
  const { dir, workspaces, settings } = open(t);
  assert.equal(
    await code(workspaces.ensure(issue("x".repeat(300)), none)),
    "invalid_issue_identifier",
  );
  await writeFile(join(dir, "file"), "");
  for (const root of [join(dir, "file"), join(dir, "file", "deeper"), join(dir, "y".repeat(300))]) {
    settings.root = root;
    assert.equal(await code(workspaces.ensure(eng1, none)), "workspace_error");
  }
});

test("S-9: a file at the path is replaced and the workspace counts as new: an empty file is deleted, any other is set aside", async (t) => {
  const { workspaces, settings, trace, logged } = open(t, {
    hooks: { afterCreate: "pwd >> $TRACE" },
  });
  await workspaces.ensure(issue("ENG-2"), none);
  for (const [name, text, said] of [
    ["ENG-1", "", /Replacing/],
    ["ENG-3", "in the way", /Set aside/],
  ] as const) {
    await writeFile(join(settings.root, name), text);
    const { path, createdNow } = await workspaces.ensure(issue(name), none);
    assert.equal(createdNow, true);
    assert.ok((await lstat(path)).isDirectory());
    assert.match(logged.join(""), said);
  }
  assert.equal((await trace()).length, 3);
  assert.equal(await readFile(join(settings.root, "ENG-3.aside-1", "ENG-3"), "utf8"), "in the way");
});

test("S-10: a failing after_create removes the new directory, and the next attempt runs it again", async (t) => {
  const { workspaces, settings, trace, failures } = open(t, {
    hooks: { afterCreate: 'echo run >> $TRACE; touch half; test "$(wc -l < $TRACE)" -gt 1' },
  });
  assert.equal(await code(workspaces.ensure(eng1, none)), "hook_failed");
  assert.equal(existsSync(join(settings.root, "ENG-1")), false);
  assert.equal((await workspaces.ensure(eng1, none)).createdNow, true);
  assert.deepEqual(await trace(), ["run", "run"]);
  assert.deepEqual(
    failures.map(({ hook, issue: of }) => [hook, of?.identifier]),
    [["after_create", "ENG-1"]],
  );
});

test("S-10: a stopped after_create leaves nothing behind and is not a failure of the hook", async (t) => {
  const { workspaces, settings, failures, trace } = open(t, {
    hooks: { afterCreate: "echo x >> $TRACE; sleep 60" },
  });
  const abort = new AbortController();
  const ended = code(workspaces.ensure(eng1, abort.signal));
  while ((await trace()).length === 0) await new Promise((done) => setTimeout(done, 10));
  abort.abort();
  assert.equal(await ended, "hook_failed");
  assert.equal(existsSync(join(settings.root, "ENG-1")), false);
  assert.deepEqual(failures, []);
});

test("S-11: a failing before_run aborts the attempt and keeps the workspace", async (t) => {
  const { workspaces, failures } = open(t, { hooks: { beforeRun: "exit 3" } });
  const workspace = await workspaces.ensure(eng1, none);
  assert.equal(await code(workspaces.beforeRun(workspace, first, none)), "hook_failed");
  assert.ok(existsSync(workspace.path));
  assert.equal(failures[0]?.hook, "before_run");
});

test("S-12: a failing after_run is only reported", async (t) => {
  const { workspaces, failures } = open(t, { hooks: { afterRun: "echo why; exit 3" } });
  const workspace = await workspaces.ensure(eng1, none);
  await workspaces.afterRun(workspace, first, done);
  assert.equal(failures[0]?.hook, "after_run");
  assert.equal(failures[0]?.error.details["output"], "why\n");
  await rm(workspace.path, { recursive: true });
  await workspaces.afterRun(workspace, first, done);
  assert.equal(failures.length, 1);
});

test("S-13: before_remove runs, and neither its failure nor its output prevents the deletion", async (t) => {
  const { workspaces, failures, settings, trace } = open(t);
  for (const script of [
    "exit 17",
    "head -c 3000 /dev/zero; exit 1",
    "echo ok >> $TRACE; rm -rf $PWD",
    "true",
  ]) {
    settings.hooks = { ...settings.hooks, beforeRemove: script };
    const { path } = await workspaces.ensure(eng1, none);
    assert.equal((await workspaces.remove({ path, issue: eng1 })).outcome, "removed", script);
    assert.equal(existsSync(path), false);
  }
  assert.deepEqual(
    failures.map(({ hook }) => hook),
    ["before_remove", "before_remove"],
  );
  assert.deepEqual(await trace(), ["ok"]);
});

test("S-13: a before_remove that hangs ends at its timeout, then the directory is deleted", async (t) => {
  const { workspaces, clock, failures, trace } = open(t, {
    hooks: { beforeRemove: "echo x >> $TRACE; sleep 60", timeoutMs: 1_000 },
  });
  const { path } = await workspaces.ensure(eng1, none);
  const removed = workspaces.remove({ path, issue: eng1 });
  while ((await trace()).length === 0) await new Promise((done) => setTimeout(done, 10));
  clock.advance(1_000);
  assert.equal((await removed).outcome, "removed");
  assert.equal(existsSync(path), false);
  assert.equal(failures[0]?.error.code, "hook_timeout");
});

test("S-13: a link that before_remove created there is not followed", async (t) => {
  const { dir, workspaces, settings } = open(t);
  const outside = join(dir, "outside");
  await mkdir(join(outside, "x"), { recursive: true });
  settings.hooks = { ...settings.hooks, beforeRemove: `rm -rf "$PWD" && ln -s ${outside} "$PWD"` };
  const { path } = await workspaces.ensure(eng1, none);
  assert.equal(await code(workspaces.remove({ path, issue: eng1 })), "workspace_symlink");
  assert.ok(existsSync(join(outside, "x")));
});

test("S-17: removing a missing workspace succeeds silently, and siblings stay", async (t) => {
  const { dir, workspaces, settings } = open(t);
  assert.equal((await workspaces.remove({ path: null, issue: eng1 })).outcome, "nothing");
  assert.equal(existsSync(settings.root), false);
  assert.equal(
    (await workspaces.remove({ path: join(dir, "gone", "ENG-1"), issue: eng1 })).outcome,
    "nothing",
  );
  assert.equal((await workspaces.remove({ path: null, issue: null })).outcome, "nothing");
  const other = await workspaces.ensure(issue("ENG-2"), none);
  assert.equal(
    (await workspaces.remove({ path: join(settings.root, "ENG-1"), issue: eng1 })).outcome,
    "nothing",
  );
  assert.ok(existsSync(other.path));
});

test("S-17, O-35: the recorded path is removed also after the root has moved", async (t) => {
  const { dir, workspaces, settings } = open(t);
  const old = await workspaces.ensure(eng1, none);
  settings.root = join(dir, "new-root");
  const fresh = await workspaces.ensure(eng1, none);
  assert.equal((await workspaces.remove({ path: old.path, issue: eng1 })).outcome, "removed");
  assert.equal(existsSync(old.path), false);
  assert.ok(existsSync(fresh.path));
});

test("S-17: a recorded path whose parent was replaced by a link is refused", async (t) => {
  const { dir, workspaces, settings } = open(t);
  const { path } = await workspaces.ensure(eng1, none);
  await rename(settings.root, join(dir, "moved"));
  await symlink(join(dir, "moved"), settings.root);
  settings.root = join(dir, "other");
  assert.equal(await code(workspaces.remove({ path, issue: eng1 })), "workspace_outside_root");
  assert.ok(existsSync(join(dir, "moved", "ENG-1")));
});

test("links inside a workspace are deleted, not followed; protected directories are deleted as well", async (t) => {
  const { dir, workspaces } = open(t);
  const outside = join(dir, "outside");
  await mkdir(outside);
  await writeFile(join(outside, "precious"), "x");
  const { path } = await workspaces.ensure(eng1, none);
  await symlink(outside, join(path, "link"));
  await mkdir(join(path, "cache", "module"), { recursive: true });
  await writeFile(join(path, "cache", "module", "f"), "x");
  await chmod(join(path, "cache", "module"), 0o500);
  const removal = await workspaces.remove({ path, issue: eng1 }, { force: true });
  assert.equal(removal.outcome, "removed");
  assert.ok(existsSync(join(outside, "precious")));
});

test("S-18: an agent runs in its workspace and nowhere else", async (t) => {
  const { dir, workspaces, settings } = open(t);
  const { path } = await workspaces.ensure(eng1, none);
  await symlink(dir, join(settings.root, "ENG-3"));
  await writeFile(join(settings.root, "ENG-4"), "");
  assert.equal(await workspaces.requireCwd(path), path);
  for (const bad of [
    settings.root,
    dir,
    "/",
    "relative",
    join(settings.root, "ENG-3"),
    join(settings.root, "ENG-4"),
    join(settings.root, "ENG-5"),
    join(settings.root, ".symphony-root"),
    join(path, ".."),
  ]) {
    assert.equal(await code(workspaces.requireCwd(bad)), "invalid_workspace_cwd", bad);
  }
});

test("files that an agent writes into its workspace cannot turn it into a root", async (t) => {
  const { workspaces } = open(t);
  const { path } = await workspaces.ensure(eng1, none);
  await mkdir(join(path, ".symphony-root"));
  assert.equal(await workspaces.requireCwd(path), path);
  assert.equal((await workspaces.remove({ path, issue: eng1 })).outcome, "removed");
});

test("R-5: an after_create that a crash interrupted runs again from the start", async (t) => {
  const { dir, workspaces, settings, trace } = open(t);
  const script = join(dir, "crash.mjs");
  const source = new URL("../../../src/core/workspace/workspaces.ts", import.meta.url).href;
  await writeFile(
    script,
    `import { createWorkspaces } from ${JSON.stringify(source)};
const hooks = { afterCreate: "touch half; echo started >> $TRACE; sleep 5", timeoutMs: 60000 };
const clock = { wall: () => 0, now: () => 0, after: () => () => {} };
await createWorkspaces({
  settings: () => ({ root: ${JSON.stringify(settings.root)}, hooks }),
  env: () => ({ PATH: process.env.PATH, TRACE: ${JSON.stringify(join(dir, "trace"))} }),
  clock, log: { warn() {} }, onHookFailed() {},
}).ensure({ id: "i", identifier: "ENG-1" }, new AbortController().signal);`,
  );
  const child = spawn(process.execPath, [script], { stdio: "inherit" });
  while ((await trace()).length === 0) await new Promise((done) => setTimeout(done, 20));
  child.kill("SIGKILL");
  await once(child, "exit");
  const path = join(settings.root, "ENG-1");
  assert.ok(existsSync(join(path, "half")));
  settings.hooks = { ...settings.hooks, afterCreate: "ls -A >> $TRACE; echo again >> $TRACE" };
  assert.equal((await workspaces.ensure(eng1, none)).createdNow, true);
  assert.deepEqual(await trace(), ["started", "again"]);
  assert.equal((await workspaces.ensure(eng1, none)).createdNow, false);
});

test("an interrupted removal leaves no incomplete workspace in use, and is completed at the next start", async (t) => {
  const { dir, workspaces, settings } = open(t);
  const { path } = await workspaces.ensure(eng1, none);
  const source = new URL("../../../src/core/workspace/directory.ts", import.meta.url).href;
  // Dies in the middle of the deletion, as in a power failure.
  const script = `import { deleteWhole } from ${JSON.stringify(source)};
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
fs.unlink = async (path) => { if (String(path).includes("removed")) process.kill(process.pid, "SIGKILL"); };
syncBuiltinESMExports();
await deleteWhole(${JSON.stringify(path)});`;
  await writeFile(join(path, "half"), "");
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: "ignore" });
  await once(child, "exit");
  assert.equal(existsSync(path), false, dir);
  assert.equal((await workspaces.ensure(eng1, none)).createdNow, true);
  assert.deepEqual(await readdir(path), []);
  const removed = join(settings.root, ".symphony-root", "removed");
  assert.equal((await readdir(removed)).length, 1);
  await workspaces.finishRemovals();
  assert.deepEqual(await readdir(removed), []);
});

test("X-5: for all identifiers and paths, everything stays strictly inside the root", async (t) => {
  const { dir, workspaces, settings } = open(t, { hooks: {} });
  await writeFile(join(dir, "precious"), "x");
  const part = fc.constantFrom(
    "..",
    ".",
    "",
    "a",
    "ENG-1",
    "~",
    "$HOME",
    "\0",
    "root",
    "%2e%2e",
    "é",
    "-rf",
    "\\",
    ".symphony-root",
  );
  const identifiers = fc.array(part, { maxLength: 6 }).map((parts) => parts.join("/"));
  await fc.assert(
    fc.asyncProperty(identifiers, identifiers, async (identifier, path) => {
      const subject = issue(identifier);
      const workspace = await workspaces.ensure(subject, none).catch((error: unknown) => {
        assert.ok(error instanceof SymphonyError);
        return null;
      });
      if (workspace !== null) {
        assert.equal(dirname(workspace.path), settings.root);
        assert.ok(isWorkspaceKey(basename(workspace.path)));
        assert.equal(await workspaces.requireCwd(workspace.path), workspace.path);
      }
      for (const bad of [path, `/${path}`, `${settings.root}/${path}`]) {
        const inside = relative(settings.root, bad);
        await workspaces.remove({ path: bad, issue: subject }).then(
          ({ outcome }) => assert.ok(outcome === "nothing" || isWorkspaceKey(inside), bad),
          (error: unknown) => assert.ok(error instanceof SymphonyError, String(error)),
        );
      }
      const left = await readdir(dir);
      assert.ok(left.includes("precious"));
      assert.deepEqual(
        left.filter((name) => name !== "precious" && name !== "root"),
        [],
      );
    }),
    { numRuns: 60 },
  );
});

test("an attempt's hooks see the issue and its workspace", async (t) => {
  const script =
    'echo "$SYMPHONY_ISSUE_ID $SYMPHONY_ISSUE_IDENTIFIER $SYMPHONY_WORKSPACE" >> $TRACE';
  const { workspaces, trace } = open(t, {
    hooks: { afterCreate: script, beforeRun: script, afterRun: script, beforeRemove: script },
  });
  const workspace = await workspaces.ensure(eng1, none);
  await workspaces.beforeRun(workspace, first, none);
  await workspaces.afterRun(workspace, first, done);
  await workspaces.remove({ path: workspace.path, issue: eng1 });
  const line = `id-ENG-1 ENG-1 ${workspace.path}`;
  assert.deepEqual(await trace(), [line, line, line, line]);
});

test("a user without write access to a protected cache can still remove it", async (t) => {
  if (process.getuid?.() !== 0) return t.skip("needs a second user");
  const dir = realpathSync(temporaryDir(t));
  await chmod(dir, 0o777);
  const source = new URL("../../../src/core/workspace/workspaces.ts", import.meta.url).href;
  const script = `import { createWorkspaces } from ${JSON.stringify(source)};
import { chmodSync, existsSync, mkdirSync } from "node:fs";
process.setgid(65534); process.setuid(65534);
const w = createWorkspaces({
  settings: () => ({ root: ${JSON.stringify(join(dir, "root"))}, hooks: { afterCreate: null, beforeRemove: null } }),
  env: () => ({}), clock: {}, log: { warn() {} }, onHookFailed() {},
});
const issue = { id: "i", identifier: "ENG-1" };
const { path } = await w.ensure(issue, new AbortController().signal);
mkdirSync(path + "/a/b/c", { recursive: true });
chmodSync(path + "/a/b", 0o500); chmodSync(path + "/a", 0o500);
console.log((await w.remove({ path, issue }, { force: true })).outcome, existsSync(path));`;
  const out = execFileSync(process.execPath, ["--input-type=module", "-e", script], {
    encoding: "utf8",
  });
  assert.equal(out, "removed false\n");
});
