import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { workspaceMark } from "../../../src/core/workspace/measured.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

test("a mark is stable while nothing is done, and changes with files, also deep ones, and with commits", async (t) => {
  const dir = temporaryDir(t);
  const at = (name: string) => join(dir, name);
  const git = (...args: string[]) =>
    execFileSync("git", ["-C", dir, "-c", "user.name=a", "-c", "user.email=a@b", ...args]);
  git("init", "--quiet");
  mkdirSync(at("deep/er"), { recursive: true });
  writeFileSync(at("deep/er/file"), "one");
  const seen = new Set<string>();
  const mark = async () => {
    const now = await workspaceMark(dir);
    assert.equal(await workspaceMark(dir), now);
    assert.ok(!seen.has(now), "it moved");
    seen.add(now);
    return now;
  };
  await mark();
  writeFileSync(at("deep/er/file"), "two, and longer");
  await mark();
  utimesSync(at("deep/er/file"), 1, 1);
  await mark();
  writeFileSync(at("new"), "");
  await mark();
  git("add", ".");
  git("commit", "--quiet", "-m", "all");
  const last = await mark();
  git("status");
  mkdirSync(at("node_modules"));
  writeFileSync(at("node_modules/x"), "x");
  assert.equal(await workspaceMark(dir), last, "looking at it and installing are no work");
});

test("links are not followed, and a missing directory has a mark too", async (t) => {
  const dir = temporaryDir(t);
  const outside = temporaryDir(t);
  symlinkSync(outside, join(dir, "link"));
  symlinkSync(dir, join(dir, "self"));
  const before = await workspaceMark(dir);
  writeFileSync(join(outside, "file"), "x");
  assert.equal(await workspaceMark(dir), before);
  assert.equal(typeof (await workspaceMark(join(dir, "gone"))), "string");
});
