import assert from "node:assert/strict";
import {
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { createLogger } from "../../../src/core/events/log.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { KeptCopies } from "../../../src/core/workspace/copies.ts";
import {
  createWorkspaces,
  type WorkspacesOptions,
} from "../../../src/core/workspace/workspaces.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { gitIn } from "../../support/makers/git-repository.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { coded } from "../../support/makers/storage.ts";
import { workspaceBench } from "../../support/worlds/workspace-bench.ts";

/** A workspace without work, and workspaces of the same root with `options` in addition. */
async function made(
  t: TestContext,
  { hook = null, ...options }: Partial<WorkspacesOptions> & { hook?: string | null },
) {
  const bench = workspaceBench(t);
  const { path } = await bench.make();
  const clock = new FakeClock();
  const workspaces = createWorkspaces({
    settings: () => ({ root: bench.root, hooks: { ...config().hooks, beforeRemove: hook } }),
    env: () => ({ PATH: process.env["PATH"] ?? "", HOME: bench.dir }),
    clock,
    log: createLogger({
      level: "error",
      format: "logfmt",
      sinks: [],
      clock,
      redact: (text) => text,
    }),
    onHookFailed() {},
    ...options,
  });
  const remove = (force?: boolean) =>
    workspaces.remove({ path, issue: issue("ENG-1") }, force === undefined ? undefined : { force });
  return { bench, path, workspaces, remove };
}

test("O-31: a file that changes between the last check and the deletion keeps the workspace, also when a kill comes in between", async (t) => {
  const { bench, path, workspaces, remove } = await made(t, {});
  const removed = join(bench.root, ".symphony-root", "removed");
  const seen = new Set<string>();
  const file = join(path, "one.txt");
  let isOver = false;
  // Acts as a process that outlived its agent: the content does not change, so that every check finds no work.
  const touch = () => {
    if (isOver) return;
    try {
      for (const name of existsSync(removed) ? readdirSync(removed) : []) seen.add(name);
      utimesSync(file, new Date(), new Date());
    } catch {
      // Moved away while the times of its files are compared.
    }
    setImmediate(touch);
  };
  touch();
  const removal = await remove();
  isOver = true;
  assert.deepEqual(removal, {
    outcome: "kept",
    path,
    work: [{ kind: "unknown", reason: "it changed while it was examined" }],
    notCopied: null,
  });
  assert.ok(existsSync(file));
  // A kill between the move and the comparison, and what a process wrote until then.
  const [aside = ""] = seen;
  renameSync(path, join(removed, aside));
  writeFileSync(join(removed, aside, "late.txt"), "work\n");
  await workspaces.finishRemovals();
  assert.deepEqual(readdirSync(removed), []);
  const late = await remove();
  assert.ok(late.outcome === "kept");
  assert.deepEqual(late.work, [{ kind: "new_files", count: 1, examples: ["late.txt"] }]);
  rmSync(join(path, "late.txt"));
  assert.equal((await remove()).outcome, "removed");
});

test("nothing in a root that another server has is removed, not even with force", async (t) => {
  const asked: string[] = [];
  const { bench, path, remove } = await made(t, {
    async own(root) {
      asked.push(root);
      throw new SymphonyError("workspace_in_use", `another symphony has ${root}`);
    },
  });
  for (const force of [undefined, false, true]) {
    await assert.rejects(remove(force), coded("workspace_in_use"));
  }
  assert.deepEqual(
    asked,
    Array.from({ length: 3 }, () => bench.root),
  );
  assert.ok(existsSync(join(path, "one.txt")));
});

test("a server that stops removes nothing that it had no time to examine", async (t) => {
  const { path, remove } = await made(t, { signal: AbortSignal.abort() });
  await assert.rejects(
    remove(),
    coded("workspace_error", /the server stopped before it was examined/),
  );
  assert.ok(existsSync(join(path, "one.txt")));
});

test("R-5: a marker that a crash left next to a finished workspace hides no work in it", async (t) => {
  const { bench, path, remove } = await made(t, {});
  writeFileSync(join(bench.root, ".symphony-root", "ENG-1.pending"), "being made\n");
  writeFileSync(join(path, "result.txt"), "work\n");
  const removal = await remove();
  assert.deepEqual(removal.outcome === "kept" && removal.work, [
    { kind: "new_files", count: 1, examples: ["result.txt"] },
  ]);
  assert.ok(readdirSync(path).includes("result.txt"));
});

test("commits that a forge has are no reason to stay, also without a copy; anything else is", async (t) => {
  const asked: string[] = [];
  const { bench, path, remove } = await made(t, {
    async delivered(where, issueId) {
      asked.push(`${where} ${issueId}`);
      return true;
    },
  });
  const git = gitIn(path);
  writeFileSync(join(path, "new.txt"), "new\n");
  assert.equal((await remove()).outcome, "kept", "it is not committed");
  git("add", "-A");
  git("commit", "-q", "-m", "new");
  git("branch", "other");
  git("commit", "-q", "--allow-empty", "-m", "more");
  git("checkout", "-q", "-b", "third", "other");
  assert.equal((await remove()).outcome, "kept", "another branch has a commit of its own");
  assert.deepEqual(asked, []);
  git("branch", "-q", "-D", "main");
  git("branch", "-q", "-D", "other");
  const removal = await remove(false);
  assert.deepEqual(removal, { outcome: "removed", path, copy: null, rest: null });
  assert.equal(asked[0], `${path} id-ENG-1`);
  assert.ok(!existsSync(path) && existsSync(bench.root));
});

test("what before_remove adds after the copy is in the copy that counts", async (t) => {
  const kept: { path: string; files: readonly string[] }[] = [];
  const gone: string[] = [];
  const { path, remove } = await made(t, {
    copies: {
      async keep(from, { issue: name }) {
        kept.push({ path: from, files: readdirSync(from).sort() });
        const key = `copy-${kept.length}`;
        const rest = { summary: "", form: "archive", base: null, bytes: 1 } as const;
        return { key, path: `/kept/${key}`, issue: name, workspace: from, at: 0, ...rest };
      },
      async remove({ key }) {
        gone.push(key);
      },
    },
    hook: "echo late > late.txt",
  });
  writeFileSync(join(path, "result.txt"), "work\n");
  const removal = await remove();
  assert.equal(removal.outcome === "removed" && removal.copy?.key, "copy-2");
  assert.deepEqual(gone, ["copy-1"]);
  assert.ok(kept[1]?.files.includes("late.txt") && !existsSync(path));
});

test("O-31: a copy that needs an object of the workspace again does not count as a change of it", async (t) => {
  const bench = workspaceBench(t);
  const dir = join(bench.dir, "kept");
  const copies = new KeptCopies({ dir, clock: new FakeClock(), maxBytes: () => 1_000_000_000 });
  const { path, remove } = await made(t, { copies });
  gitIn(path)("repack", "-q", "-a", "-d");
  // Its content and its tree are in a pack.
  writeFileSync(join(path, "result.txt"), readFileSync(join(path, "one.txt")));
  const removal = await remove();
  assert.equal(removal.outcome, "removed", JSON.stringify(removal));
  assert.equal((await copies.list()).length, 1);
});
