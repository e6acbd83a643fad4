import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { gitChanges, gitHead } from "../../../src/core/repository/survey.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

function repository(t: TestContext) {
  const dir = temporaryDir(t);
  const path = join(dir, "checkout");
  mkdirSync(path);
  const identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
  const git = (...args: string[]) =>
    execFileSync("git", ["-C", path, ...identity, ...args], {
      encoding: "utf8",
      env: { PATH: process.env["PATH"], HOME: dir, GIT_CONFIG_NOSYSTEM: "1" },
    }).trim();
  const commit = (...files: string[]) => {
    for (const file of files) writeFileSync(join(path, file), `${Math.random()}`);
    git("add", "-A");
    git("commit", "-q", "-m", "work");
    return git("rev-parse", "HEAD");
  };
  git("init", "-q", "-b", "feature/one");
  return { dir, path, git, commit };
}

test("branch and commit of a checkout: before the first commit, loose, packed, detached", async (t) => {
  const { path, git, commit } = repository(t);
  assert.deepEqual(await gitHead(path), { branch: "feature/one", head: null });
  const first = commit("a");
  assert.deepEqual(await gitHead(path), { branch: "feature/one", head: first });
  git("pack-refs", "--all");
  assert.deepEqual(await gitHead(path), { branch: "feature/one", head: first });
  git("checkout", "-q", "--detach");
  assert.deepEqual(await gitHead(path), { branch: null, head: first });
});

test("a linked worktree has its own branch", async (t) => {
  const { dir, git, commit } = repository(t);
  const first = commit("a");
  const tree = join(dir, "tree");
  git("worktree", "add", "-q", "-b", "other", tree);
  assert.deepEqual(await gitHead(tree), { branch: "other", head: first });
  assert.deepEqual(await gitChanges(tree, first, first), { commits: 0, changedFiles: 0 });
  const second = commit("b", "c");
  assert.deepEqual(await gitChanges(tree, first, second), { commits: 1, changedFiles: 2 });
});

test("a directory without a repository gives nothing", async (t) => {
  const dir = temporaryDir(t);
  assert.equal(await gitHead(dir), null);
  assert.equal(await gitHead(join(dir, "none")), null);
  const id = "a".repeat(40);
  assert.equal(await gitChanges(dir, id, "b".repeat(40)), null);
});

test("hostile files are not followed, waited for or trusted", async (t) => {
  const { dir, path, commit } = repository(t);
  commit("a");
  const head = join(path, ".git", "HEAD");
  writeFileSync(join(dir, "secret"), `${"c".repeat(40)}\n`);
  const plant = (write: () => void) => {
    rmSync(head, { force: true });
    write();
  };
  plant(() => symlinkSync(join(dir, "secret"), head));
  assert.equal(await gitHead(path), null);
  plant(() => void execFileSync("sh", ["-c", `mkfifo "$0"`, head]));
  assert.equal(await gitHead(path), null);
  plant(() => writeFileSync(head, "x".repeat(100_000)));
  assert.equal(await gitHead(path), null);
  for (const ref of [
    "../../../secret",
    "a/../../../../secret",
    "a b",
    "-x\u001b[2J",
    "x.lock",
    "/x",
  ]) {
    plant(() => writeFileSync(head, `ref: refs/heads/${ref}\n`));
    assert.equal((await gitHead(path))?.head ?? null, null, ref);
  }
});

test("THREAT-15: counting changes runs no program that the checkout names", async (t) => {
  const { dir, path, git, commit } = repository(t);
  const first = commit("a", "b");
  commit("a");
  const last = commit("c", "d");
  const marker = join(dir, "ran");
  const trap = `touch ${marker}; cat`;
  const settings = {
    "core.fsmonitor": `touch ${marker}`,
    "core.pager": trap,
    "diff.external": `touch ${marker}`,
    "diff.t.textconv": trap,
    "diff.t.command": `touch ${marker}`,
    "filter.t.clean": trap,
    "filter.t.smudge": trap,
    "gpg.program": `touch ${marker}`,
    "core.hooksPath": join(path, "hooks"),
    "log.showSignature": "true",
  };
  for (const [key, value] of Object.entries(settings)) git("config", key, value);
  writeFileSync(join(path, ".gitattributes"), "* filter=t diff=t\n");
  writeFileSync(join(path, ".git", "info", "attributes"), "* filter=t diff=t\n");
  assert.deepEqual(await gitChanges(path, first, last), { commits: 2, changedFiles: 3 });
  assert.equal((await gitHead(path))?.head, last);
  assert.equal(existsSync(marker), false);
});

test("THREAT-16: a text that is not a commit id never reaches git", async (t) => {
  const { path, commit } = repository(t);
  const first = commit("a");
  for (const bad of ["--upload-pack=touch x", "-b", "HEAD", "a..b", "@{-1}", ""]) {
    assert.equal(await gitChanges(path, bad, first), null);
    assert.equal(await gitChanges(path, first, bad), null);
  }
  assert.equal(await gitChanges(path, first, "e".repeat(40)), null);
});
