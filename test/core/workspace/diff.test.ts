import assert from "node:assert/strict";
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { diffOf, diffSince } from "../../../src/core/workspace/diff.ts";
import { gitIn } from "../../support/makers/git-repository.ts";
import { coded } from "../../support/makers/storage.ts";
import { workspaceBench } from "../../support/worlds/workspace-bench.ts";

function files(diff: Awaited<ReturnType<typeof diffOf>>) {
  return diff.files.map(({ path, additions, deletions }) => [path, additions, deletions]);
}

test("without a repository: new and changed files are shown as added, binary files by name, the rest as text", async (t) => {
  const bench = workspaceBench(t, {
    afterCreate: "echo 1 > same; echo 1 > changed; echo 1 > gone",
  });
  const { path } = await bench.make();
  await assert.rejects(diffOf(path, null), coded("no_repository"));
  writeFileSync(join(path, "changed"), "1\n2\n");
  writeFileSync(join(path, "ä b"), "new\n");
  writeFileSync(join(path, ".gitignore"), "*\n");
  writeFileSync(join(path, "bin"), Buffer.from([0, 1, 2]));
  symlinkSync("/etc/passwd", join(path, "link"));
  rmSync(join(path, "gone"));
  gitIn(path)("init", "-q", "nested");
  const diff = await diffOf(path, null);
  assert.deepEqual(files(diff), [
    [".gitignore", 1, 0],
    ["bin", null, null],
    ["changed", 2, 0],
    ["link", 1, 0],
    ["ä b", 1, 0],
  ]);
  assert.deepEqual([diff.path, diff.base, diff.head, diff.truncated], [path, null, null, false]);
  assert.match(diff.patch, /^\+new$/m);
  assert.match(diff.patch, /^Binary files \/dev\/null and b\/bin differ$/m);
  assert.match(diff.patch, /^\+\/etc\/passwd$/m, "a link is shown, not followed");
  assert.deepEqual(diff.notShown, [
    { kind: "changed_files", count: 1, examples: ["gone"] },
    { kind: "nested_repository", count: 1, paths: ["nested"] },
  ]);
});

test("in a repository without a commit every file of the work is a new one", async (t) => {
  const bench = workspaceBench(t, { afterCreate: "git init -q -b topic; echo 1 > own" });
  const { path, git } = await bench.make();
  writeFileSync(join(path, "new"), "x\n");
  git("add", "new");
  const diff = await diffOf(path, null);
  assert.deepEqual([files(diff), diff.branch, diff.base], [[["new", 1, 0]], "topic", null]);
  git("commit", "-q", "-m", "work");
  const later = await diffOf(path, null);
  assert.deepEqual([files(later), later.base], [[["new", 1, 0]], null]);
  assert.equal(later.head, git("rev-parse", "HEAD"));
});

test("a renamed file has both names, and what changed in it", async (t) => {
  const bench = workspaceBench(t);
  const { path, git } = await bench.make();
  const lines = Array.from({ length: 20 }, (_, at) => `line ${at}`).join("\n");
  writeFileSync(join(path, "a b"), `${lines}\n`);
  git("add", ".");
  git("commit", "-q", "-m", "base");
  const first = git("rev-parse", "HEAD");
  renameSync(join(path, "a b"), join(path, "ü\tc"));
  writeFileSync(join(path, "ü\tc"), `${lines}\nmore\n`);
  writeFileSync(join(path, "z"), "new\n");
  const diff = await diffSince(path, first);
  assert.deepEqual(diff.files, [
    { path: "z", renamedFrom: null, additions: 1, deletions: 0 },
    { path: "ü\tc", renamedFrom: "a b", additions: 1, deletions: 0 },
  ]);
  assert.deepEqual(diff.totals, { files: 2, additions: 2, deletions: 0 });
  assert.match(diff.patch, /^rename from a b$/m);
});

test("hidden files are shown; files from after_create, such as those of filters, are not", async (t) => {
  const bench = workspaceBench(t);
  const hooks = bench.hooks.current;
  bench.hooks.current = { ...hooks, afterCreate: `${hooks.afterCreate}; echo smudged > two.txt` };
  const { path, git } = await bench.make();
  mkdirSync(join(path, "sub"));
  writeFileSync(join(path, "sub", ".gitignore"), "*\n");
  writeFileSync(join(path, "sub", "hidden"), "x\n");
  writeFileSync(join(path, "one.txt"), "changed\n");
  git("update-index", "--assume-unchanged", "one.txt");
  const diff = await diffOf(path, null);
  assert.deepEqual(files(diff), [
    ["one.txt", 1, 1],
    ["sub/.gitignore", 1, 0],
    ["sub/hidden", 1, 0],
  ]);
  assert.equal(git("ls-files", "-v", "one.txt"), "h one.txt", "the workspace's index is as it was");
});

test("lists what it does not show: other branches, stashes, tags, files that are only staged, submodules", async (t) => {
  const bench = workspaceBench(t);
  const { path, git } = await bench.make();
  const commit = (file: string) => {
    writeFileSync(join(path, file), `${file}\n`);
    git("add", "-A");
    git("commit", "-q", "-m", file);
  };
  git("checkout", "-q", "-b", "side");
  commit("side.txt");
  git("checkout", "-q", "-b", "below", "main");
  commit("below.txt");
  git("checkout", "-q", "-b", "top");
  commit("top.txt");
  writeFileSync(join(path, "one.txt"), "stashed\n");
  git("stash", "-q");
  git("tag", "-a", "v9", "-m", "notes");
  writeFileSync(join(path, "staged.txt"), "x\n");
  git("add", "-A");
  rmSync(join(path, "staged.txt"));
  const diff = await diffOf(path, null);
  assert.deepEqual(files(diff), [
    ["below.txt", 1, 0],
    ["top.txt", 1, 0],
  ]);
  assert.deepEqual(diff.notShown, [
    { kind: "changed_files", count: 1, examples: ["staged.txt"] },
    { kind: "commits", count: 1, more: false, refs: ["side"] },
    { kind: "tags", count: 1, refs: ["tags/v9"] },
    { kind: "stashes", count: 1 },
  ]);
});

test("an unreadable ref does not prevent the files from being shown", async (t) => {
  const bench = workspaceBench(t);
  const { path } = await bench.make();
  writeFileSync(join(path, "new.txt"), "x\n");
  writeFileSync(join(path, ".git", "refs", "heads", "broken"), "nonsense");
  const diff = await diffOf(path, null);
  assert.deepEqual(files(diff), [["new.txt", 1, 0]]);
  assert.equal(diff.notShown[0]?.kind, "unknown");
  rmSync(join(path, ".git", "objects"), { recursive: true });
  await assert.rejects(diffOf(path, null), coded("no_repository"));
});

test("an orphan branch has no commit in common with its base: it is compared with the base's files", async (t) => {
  const bench = workspaceBench(t);
  const { path, git } = await bench.make();
  const base = git("rev-parse", "HEAD");
  git("checkout", "-q", "--orphan", "x");
  rmSync(join(path, "one.txt"));
  writeFileSync(join(path, "new.txt"), "x\n");
  git("add", "-A");
  git("commit", "-q", "-m", "work");
  const diff = await diffOf(path, null);
  assert.deepEqual(
    [files(diff), diff.base, diff.branch],
    [
      [
        ["new.txt", 1, 0],
        ["one.txt", 0, 1],
      ],
      base,
      "x",
    ],
  );
  assert.match(diff.baseNote ?? "", new RegExp(`no commit in common with ${base.slice(0, 10)}`));
  assert.deepEqual(diff.notShown, []);
  git("checkout", "-q", "main");
  assert.equal((await diffOf(path, null)).baseNote, null);
});

for (const [what, id] of [
  ["recorded when the workspace was made", null],
  ["found by the first attempt", "a".repeat(40)],
] as const) {
  test(`a commit ${what} but missing in a new repository: every file is a new one`, async (t) => {
    const bench = workspaceBench(t);
    const { path, git } = await bench.make();
    if (id !== null) rmSync(join(bench.root, ".symphony-root", "ENG-1.baseline.json"));
    rmSync(join(path, ".git"), { recursive: true });
    git("init", "-q", "-b", "main");
    writeFileSync(join(path, ".gitignore"), "*.log\n");
    writeFileSync(join(path, "hidden.log"), "x\n");
    const begun = await diffOf(path, id);
    assert.equal(begun.files.length, 4, "before its first commit");
    git("add", "-A");
    git("commit", "-q", "-m", "own");
    const diff = await diffOf(path, id);
    const names = [".gitignore", "hidden.log", "one.txt", "two.txt"];
    assert.deepEqual(
      files(diff),
      names.map((name) => [name, 1, 0]),
    );
    assert.deepEqual([diff.base, diff.head], [null, git("rev-parse", "HEAD")]);
    assert.match(diff.baseNote ?? "", /is not in its repository: every file is shown as a new one/);
    assert.deepEqual(diff.notShown, []);
  });
}

test("a remote ref whose commit does not exist hides no work", async (t) => {
  const bench = workspaceBench(t);
  const { path, git } = await bench.make();
  rmSync(join(path, ".git", "packed-refs"));
  writeFileSync(join(path, ".git", "refs", "remotes", "origin", "main"), "b".repeat(40));
  writeFileSync(join(path, "new.txt"), "x\n");
  const diff = await diffOf(path, null);
  assert.deepEqual([diff.files.length, diff.base, diff.head], [3, null, git("rev-parse", "HEAD")]);
  assert.deepEqual(diff.notShown, []);
});
