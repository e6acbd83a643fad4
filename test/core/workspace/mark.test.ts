import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Progress } from "../../../src/core/attempt/turns.ts";
import { ContentsByPath, isSameContent, workspaceMark } from "../../../src/core/workspace/mark.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

test("a mark is stable while nothing is done, and changes with files, also deep ones, and with commits", async (t) => {
  const dir = temporaryDir(t);
  const at = (name: string) => join(dir, name);
  const git = (...args: string[]) =>
    execFileSync("git", ["-C", dir, "-c", "user.name=a", "-c", "user.email=a@b", ...args]);
  git("init", "--quiet");
  mkdirSync(at("deep/er"), { recursive: true });
  writeFileSync(at("deep/er/file"), "one");
  let last = await workspaceMark(dir);
  const moves = async (change: () => void) => {
    assert.ok(isSameContent(await workspaceMark(dir, last), last));
    change();
    const now = await workspaceMark(dir, last);
    assert.ok(!isSameContent(now, last), `${change}`);
    last = now;
  };
  await moves(() => writeFileSync(at("deep/er/file"), "two, and longer"));
  await moves(() => writeFileSync(at("deep/er/file"), "TWO, and longer"));
  await moves(() => chmodSync(at("deep/er/file"), 0o755));
  await moves(() => writeFileSync(at("new"), ""));
  await moves(() => rmSync(at("new")));
  await moves(() => {
    git("add", ".");
    git("commit", "--quiet", "-m", "all");
  });
  git("status");
  mkdirSync(at("node_modules"));
  writeFileSync(at("node_modules/x"), "x");
  const again = await workspaceMark(dir, last);
  assert.ok(isSameContent(again, last), "looking at it and installing are no work");
});

test("S34: a file that is written again with the same bytes, or only touched, is the same", async (t) => {
  const dir = temporaryDir(t);
  const file = join(dir, "notes.md");
  writeFileSync(file, "same");
  let last = await workspaceMark(dir);
  for (let turn = 1; turn <= 3; turn++) {
    rmSync(file);
    writeFileSync(file, "same");
    utimesSync(file, turn, turn);
    const now = await workspaceMark(dir, last);
    assert.ok(isSameContent(now, last));
    last = now;
  }
  symlinkSync("notes.md", join(dir, "link"));
  const linked = await workspaceMark(dir, last);
  rmSync(join(dir, "link"));
  symlinkSync("notes.md", join(dir, "link"));
  assert.ok(isSameContent(await workspaceMark(dir, linked), linked));
  rmSync(join(dir, "link"));
  writeFileSync(file, "SAME");
  utimesSync(file, 3, 3);
  const fresh = await workspaceMark(dir);
  assert.ok(!isSameContent(fresh, last), "the time does not hide another content");
});

test("S34: empty commits and commits written again with the same files are no progress, however many", async (t) => {
  const dir = temporaryDir(t);
  const git = (...args: string[]) =>
    execFileSync("git", ["-C", dir, "-c", "user.name=a", "-c", "user.email=a@b", ...args]);
  git("init", "--quiet");
  writeFileSync(join(dir, "file"), "one");
  git("add", ".");
  git("commit", "--quiet", "-m", "first");
  // As a clone has it: in a pack.
  git("gc", "--quiet");
  let last = await workspaceMark(dir);
  for (const message of ["again", "and again"]) {
    git("commit", "--quiet", "--allow-empty", "-m", message);
    const now = await workspaceMark(dir, last);
    assert.ok(isSameContent(now, last), message);
    last = now;
  }
  git("commit", "--quiet", "--amend", "--allow-empty", "-m", "other words");
  git("switch", "--quiet", "-c", "another-name");
  assert.ok(isSameContent(await workspaceMark(dir, last), last));
  writeFileSync(join(dir, "file"), "two");
  last = await workspaceMark(dir, last);
  git("commit", "--quiet", "-am", "the work");
  assert.ok(!isSameContent(await workspaceMark(dir, last), last), "committed work is progress");
});

test("S34: files that are written and taken back in turns, also by commits, return to earlier contents", async (t) => {
  const dir = temporaryDir(t);
  const git = (...args: string[]) =>
    execFileSync("git", ["-C", dir, "-c", "user.name=a", "-c", "user.email=a@b", ...args]);
  const progress = new Progress(dir, new ContentsByPath().of(dir));
  const turn = async (work: () => void) => {
    await progress.begin();
    work();
    return progress.moved();
  };
  const write = (text: string) => () => writeFileSync(join(dir, "file"), text);
  write("one")();
  assert.ok(await turn(write("two")));
  for (const text of ["one", "two", "one"]) assert.ok(!(await turn(write(text))), text);
  assert.ok(await turn(write("three")), "what was not there before is progress");
  git("init", "--quiet");
  git("add", ".");
  git("commit", "--quiet", "-m", "first");
  const commit = (text: string) => () => {
    write(text)();
    git("commit", "--quiet", "-am", text);
  };
  assert.ok(await turn(commit("four")));
  assert.ok(await turn(commit("five")));
  for (const text of ["four", "five", "four"]) assert.ok(!(await turn(commit(text))), text);
  assert.ok(await turn(commit("six")));
});

test("a file that is too large to read counts by its time", async (t) => {
  const dir = temporaryDir(t);
  const file = join(dir, "large");
  writeFileSync(file, Buffer.alloc(33 * 1024 * 1024));
  const before = await workspaceMark(dir);
  assert.ok(isSameContent(await workspaceMark(dir, before), before));
  utimesSync(file, 1, 1);
  assert.ok(!isSameContent(await workspaceMark(dir, before), before));
});

test("links are not followed, and a missing directory has a mark too", async (t) => {
  const dir = temporaryDir(t);
  const outside = temporaryDir(t);
  symlinkSync(outside, join(dir, "link"));
  symlinkSync(dir, join(dir, "self"));
  const before = await workspaceMark(dir);
  writeFileSync(join(outside, "file"), "x");
  assert.ok(isSameContent(await workspaceMark(dir), before));
  assert.equal((await workspaceMark(join(dir, "gone"))).entries.size, 0);
});
