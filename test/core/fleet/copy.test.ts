// The copy of a workspace on its way to a worker and back, between two directories.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { copyOf, installCopy, placeCopy, proveCopy } from "../../../src/core/fleet/copy.ts";
import { coded, temporaryDir } from "../../support/makers/storage.ts";

const { signal } = new AbortController();
const limits = { maxBytes: 1e7, signal };

/** A repository with a branch, and `git` in it. */
function repository(t: TestContext) {
  const dir = temporaryDir(t);
  const path = join(dir, "here");
  mkdirSync(path);
  const gitIn = (at: string) => (args: string, input?: string) => {
    const who = ["-c", "user.name=A", "-c", "user.email=a@example.com"];
    const all = ["-C", at, ...who, ...args.split(" ")];
    return execFileSync("git", all, { encoding: "utf8", ...(input && { input }) }).trim();
  };
  const git = gitIn(path);
  git("init -q -b main");
  for (const name of ["kept", "changed", "gone", "both"]) writeFileSync(join(path, name), "one\n");
  writeFileSync(join(path, ".gitignore"), "ignored\n");
  git("add -A");
  git("commit -q -m one");
  return { dir, path, git, gitIn };
}

/** Everything that git says of a workspace. */
function seen(git: (args: string) => string) {
  return {
    status: git("status --porcelain=v2 --branch --untracked-files=all"),
    staged: git("diff --cached"),
    changed: git("diff"),
    stashes: git("stash list -p --format=%H%s"),
    refs: git("for-each-ref --format=%(refname)%(objectname) refs/heads refs/tags refs/stash"),
  };
}

test("staged, changed, untracked and deleted files, links, modes, stashes, branches and tags are on the worker as they were here", async (t) => {
  const { dir, path, git, gitIn } = repository(t);
  for (const text of ["stashed\n", "stashed again\n"]) {
    writeFileSync(join(path, "changed"), text);
    git("stash push -q");
  }
  git("branch other");
  git("tag first");
  writeFileSync(join(path, "both"), "staged\n");
  writeFileSync(join(path, "new"), "staged and new\n");
  git("add both new");
  writeFileSync(join(path, "both"), "staged and then changed\n");
  writeFileSync(join(path, "changed"), "changed\n");
  writeFileSync(join(path, "untracked\n äö"), "untracked\n");
  writeFileSync(join(path, "ignored"), "ignored\n");
  chmodSync(join(path, "kept"), 0o755);
  symlinkSync("/etc/passwd", join(path, "link"));
  rmSync(join(path, "gone"));
  const copy = await copyOf(path, limits);
  const there = join(dir, "there");
  await placeCopy(copy, there, signal);
  assert.deepEqual(seen(gitIn(there)), seen(git));
  assert.equal(gitIn(there)("fsck --strict --no-dangling"), "");
  await proveCopy(there, copy, signal);
});

test("a copy of which one byte, mode, staged file or stash is another is refused before anything runs in it", async (t) => {
  const { dir, path, git, gitIn } = repository(t);
  writeFileSync(join(path, "changed"), "stashed\n");
  git("stash push -q");
  writeFileSync(join(path, "both"), "staged\n");
  git("add both");
  const copy = await copyOf(path, limits);
  const faults: ((at: string) => void)[] = [
    (at) => writeFileSync(join(at, "kept"), "two\n"),
    (at) => chmodSync(join(at, "kept"), 0o755),
    (at) => rmSync(join(at, "kept")),
    (at) => writeFileSync(join(at, "more"), "more\n"),
    (at) => void gitIn(at)("reset -q"),
    (at) => void gitIn(at)("stash drop -q"),
    (at) => void gitIn(at)("checkout -q -b other"),
    (at) => void gitIn(at)("commit -q -m two"),
  ];
  for (const [number, fault] of faults.entries()) {
    const there = join(dir, `there-${number}`);
    await placeCopy(copy, there, signal);
    await proveCopy(there, copy, signal);
    fault(there);
    await assert.rejects(proveCopy(there, copy, signal), coded("workspace_error"), String(fault));
  }
});

test("what an agent stages, stashes, branches and tags on a worker comes back, and what git ignores here stays", async (t) => {
  const { dir, path, git, gitIn } = repository(t);
  writeFileSync(join(path, "ignored"), "here\n");
  writeFileSync(join(path, "changed"), "staged here\n");
  git("add changed");
  git("stash push -q");
  writeFileSync(join(path, "changed"), "staged here\n");
  git("add changed");
  const copy = await copyOf(path, limits);
  const there = join(dir, "there");
  await placeCopy(copy, there, signal);
  const agent = gitIn(there);
  agent("reset -q --hard");
  writeFileSync(join(there, "kept"), "two\n");
  agent("commit -q -a -m two");
  agent("branch -q spare HEAD~1");
  agent("tag done");
  writeFileSync(join(there, "both"), "stashed there\n");
  agent("stash push -q");
  writeFileSync(join(there, "both"), "staged there\n");
  agent("add both");
  writeFileSync(join(there, "both"), "and changed\n");
  const before = { ...copy.facts, names: copy.names };
  const back = await copyOf(there, { ...limits, known: [copy.facts.head] });
  const after = await installCopy(path, before, back);
  assert.deepEqual(seen(git), seen(agent));
  assert.equal(git("fsck --strict --no-dangling"), "");
  assert.equal(git("show spare:kept"), "one");
  // The next turn drops one stash, and unstages.
  agent("stash drop -q");
  agent("stash drop -q");
  agent("reset -q");
  const last = await copyOf(there, { ...limits, known: [back.facts.head] });
  await installCopy(path, after, last);
  assert.deepEqual(seen(git), seen(agent));
});

test("a branch or tag that is renamed into a directory of its old name comes back, and so does the reverse; no commit is lost", async (t) => {
  const { dir, path, git, gitIn } = repository(t);
  const refs = (at: (args: string) => string) =>
    at("for-each-ref --format=%(refname) refs/heads refs/tags").split("\n");
  git("commit -q --allow-empty -m lost");
  for (const name of ["fix", "deep/a/b", "packed", "only"]) git(`branch ${name}`);
  git("tag v1");
  git("reset -q --hard HEAD~1");
  git("pack-refs --all");
  const only = git("commit-tree HEAD^{tree} -p only -m only");
  git(`branch -f only ${only}`);
  const copy = await copyOf(path, limits);
  const there = join(dir, "there");
  await placeCopy(copy, there, signal);
  const agent = gitIn(there);
  agent("branch -m fix fix/part1");
  agent("branch -m deep/a/b deep/a/b/c");
  agent("branch -m packed packed/one/two");
  agent("tag -d v1");
  agent("tag v1/a fix/part1");
  agent("branch -D only");
  agent("branch only/new HEAD");
  const back = await copyOf(there, { ...limits, known: [copy.facts.head] });
  const after = await installCopy(path, { ...copy.facts, names: copy.names }, back);
  assert.deepEqual(
    refs(git).filter((name) => !name.startsWith("refs/heads/only-")),
    refs(agent),
  );
  assert.equal(git(`rev-parse only-${only.slice(0, 12)}`), only);
  assert.equal(git("log --format=%s fix/part1").split("\n")[0], "lost");
  agent("branch -m fix/part1 fix");
  agent("branch -m packed/one/two packed");
  const last = await copyOf(there, { ...limits, known: [back.facts.head] });
  await installCopy(path, after, last);
  assert.deepEqual(
    refs(git).filter((name) => !name.startsWith("refs/heads/only-")),
    refs(agent),
  );
  git("branch -m fix fix/again");
  assert.equal(git("fsck --strict --no-dangling"), "");
});

test("what cannot travel is named beforehand: a size over the limit, and a rebase in progress", async (t) => {
  const { path, git } = repository(t);
  const why = async (says: RegExp, maxBytes = 1e7) => {
    await assert.rejects(copyOf(path, { maxBytes, signal }), (error: Error) => {
      assert.match(error.message, says);
      return true;
    });
  };
  writeFileSync(join(path, "large"), Buffer.alloc(200_000, "x"));
  await why(/larger than|fleet\.max_copy/, 100_000);
  rmSync(join(path, "large"));
  git("checkout -q -b side");
  writeFileSync(join(path, "kept"), "side\n");
  git("commit -q -a -m side");
  git("checkout -q main");
  writeFileSync(join(path, "kept"), "main\n");
  git("commit -q -a -m main");
  const quiet = { stdio: "ignore" } as const;
  assert.throws(() => execFileSync("git", ["-C", path, "rebase", "-q", "side"], quiet));
  await why(/rebase is in progress/);
});
