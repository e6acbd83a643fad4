import assert from "node:assert/strict";
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type ChangedFiles, conflictsAmong } from "../../../src/core/repository/conflicts.ts";
import { gitIn, setTraps } from "../../support/makers/git-repository.ts";
import { coded, temporaryDir } from "../../support/makers/storage.ts";

const { signal } = new AbortController();

function bench(t: TestContext) {
  const path = join(temporaryDir(t), "work");
  mkdirSync(path);
  const git = gitIn(path);
  git("init", "-q", "-b", "main");
  const numbers = Array.from({ length: 20 }, (_, at) => `${at + 1}\n`);
  writeFileSync(join(path, "ä.txt"), numbers.join(""));
  writeFileSync(join(path, "other"), "x\n");
  git("add", "-A");
  git("commit", "-q", "-m", "base");
  const base = git("rev-parse", "HEAD");
  const branch = (name: string, change: () => void) => {
    git("checkout", "-q", "-b", name, base);
    change();
    git("add", "-A");
    git("commit", "-q", "-m", name);
    return { name, head: git("rev-parse", "HEAD") };
  };
  const line = (at: number, text: string) => () =>
    writeFileSync(join(path, "ä.txt"), numbers.toSpliced(at - 1, 1, `${text}\n`).join(""));
  return { path, git, base, branch, line, gitDir: join(path, ".git") };
}

test("branches that change the same lines conflict; other lines of one file are near", async (t) => {
  const { path, gitDir, base, branch, line } = bench(t);
  const one = branch("one", line(5, "one"));
  const two = branch("two", line(5, "two"));
  const three = branch("three", line(15, "three"));
  const four = branch("four", () => writeFileSync(join(path, "fresh"), "x\n"));
  const cache: ChangedFiles = new Map();
  const branches = [one, two, three, four];
  const pairs = await conflictsAmong({ gitDir, base, branches, cache, signal });
  const at = (start: number) => [{ start, count: 1 }];
  assert.deepEqual(pairs, [
    {
      names: ["one", "two"],
      overlaps: [{ path: "ä.txt", kind: "conflict", lines: [at(5), at(5)] }],
    },
    {
      names: ["one", "three"],
      overlaps: [{ path: "ä.txt", kind: "near", lines: [at(5), at(15)] }],
    },
    {
      names: ["two", "three"],
      overlaps: [{ path: "ä.txt", kind: "near", lines: [at(5), at(15)] }],
    },
  ]);
  assert.equal(cache.size, 4);
});

test("a renamed file and a change of it meet; no common commit is unknown", async (t) => {
  const { path, git, gitDir, base, branch, line } = bench(t);
  const moved = branch("moved", () => {
    line(5, "moved")();
    renameSync(join(path, "ä.txt"), join(path, "new\nname"));
  });
  const edited = branch("edited", line(5, "edited"));
  const order = { gitDir, base, cache: new Map(), signal };
  const pairs = await conflictsAmong({ ...order, branches: [moved, edited] });
  const conflicts = pairs[0]?.overlaps?.filter(({ kind }) => kind === "conflict") ?? [];
  assert.deepEqual(
    conflicts.map(({ path: name }) => name),
    ["new\nname"],
  );
  git("checkout", "-q", "--orphan", "apart");
  git("commit", "-q", "-m", "apart");
  const apart = { name: "apart", head: git("rev-parse", "HEAD") };
  const unknown = await conflictsAmong({ ...order, branches: [edited, apart] });
  assert.deepEqual(unknown, [{ names: ["edited", "apart"], overlaps: null }]);
  const bad = { name: "bad", head: "--all" };
  await assert.rejects(conflictsAmong({ ...order, branches: [bad] }), coded("no_repository"));
});

test("DELIVERY-33: a file that is a directory on the other side is named as its branch has it", async (t) => {
  const { path, gitDir, base, branch } = bench(t);
  const file = branch("file", () => writeFileSync(join(path, "other"), "y\n"));
  const folder = branch("folder", () => {
    rmSync(join(path, "other"));
    mkdirSync(join(path, "other"));
    writeFileSync(join(path, "other", "inner"), "z\n");
  });
  const order = { gitDir, base, branches: [file, folder], cache: new Map(), signal };
  const [pair] = await conflictsAmong(order);
  const found = pair?.overlaps?.filter(({ kind }) => kind === "conflict") ?? [];
  assert.deepEqual(
    found.map(({ path: name }) => name),
    ["other"],
  );
});

test("no program that an agent configured is run", async (t) => {
  const { path, gitDir, base, branch, line } = bench(t);
  const branches = [branch("one", line(5, "one")), branch("two", line(5, "two"))];
  const marks = join(temporaryDir(t), "marks");
  setTraps(path, marks);
  rmSync(marks, { recursive: true });
  mkdirSync(marks);
  const pairs = await conflictsAmong({ gitDir, base, branches, cache: new Map(), signal });
  assert.equal(pairs[0]?.overlaps?.[0]?.kind, "conflict");
  assert.deepEqual(readdirSync(marks), []);
});
