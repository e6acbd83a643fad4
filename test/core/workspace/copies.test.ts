import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { KeptCopies } from "../../../src/core/workspace/copies.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { gitIn, origin, setTraps } from "../../support/makers/git-repository.ts";
import { coded, temporaryDir } from "../../support/makers/storage.ts";

const issue = { id: "id-ENG-1", identifier: "ENG-1" };
const options = { issue, work: [] };

function bench(t: TestContext, maxBytes = 2 ** 31) {
  const dir = realpathSync(temporaryDir(t));
  const kept = join(dir, "data", "kept");
  const copies = new KeptCopies({ dir: kept, clock: new FakeClock(), maxBytes: () => maxBytes });
  const path = join(dir, "ENG-1");
  return { dir, kept, copies, path, back: join(dir, "back") };
}

/** A clone of a repository with two commits on main. */
function clone(dir: string, path: string, ...flags: string[]) {
  gitIn(dir)("clone", "-q", ...flags, `file://${origin(dir)}`, path);
  return gitIn(path);
}

/** Every kind of file that a copy has to hold. */
function fillWith(path: string): void {
  mkdirSync(join(path, "deep"), { recursive: true });
  writeFileSync(join(path, "empty"), "");
  writeFileSync(join(path, "deep", "binary"), Buffer.from([0, 255, 13, 10, 0, 13]));
  writeFileSync(join(path, "deep", "run.sh"), "#!/bin/sh\n", { mode: 0o755 });
  symlinkSync("../../outside", join(path, "deep", "link"));
  symlinkSync("nowhere", join(path, "broken"));
  writeFileSync(join(path, "e\u0301.txt".normalize("NFD")), "NFD\n");
  writeFileSync(join(path, 'a b\n"c".txt'), "odd name\n");
  writeFileSync(Buffer.concat([Buffer.from(`${path}/latin-`), Buffer.from([0xe9])]), "latin\n");
}

/** Without `.git`: names, kinds, executable bits, content. */
function same(a: string, b: string): void {
  const compare = ["-r", "--no-dereference", "-x", ".git", a, b];
  assert.equal(execFileSync("/usr/bin/env", ["diff", ...compare], { encoding: "utf8" }), "");
  const find = [".", "-path", "./.git", "-prune", "-o", "-type", "f", "-printf", "%p %y "];
  const modes = (top: string) => [
    execFileSync("find", [...find, "-perm", "-100", "-printf", "x\\n"], {
      cwd: top,
      encoding: "latin1",
    })
      .split("\n")
      .sort(),
  ];
  assert.deepEqual(modes(a), modes(b));
}

test("DELIVERY-30: commits, branches, tags, stashes, what is staged and all files come back from a bundle; the workspace stays as it was", async (t) => {
  const { dir, kept, copies, path, back } = bench(t);
  const git = clone(dir, path);
  writeFileSync(join(path, "one.txt"), "stashed first\n");
  git("stash");
  writeFileSync(join(path, "one.txt"), "stashed second\n");
  git("stash");
  git("checkout", "-q", "-b", "side");
  writeFileSync(join(path, "side.txt"), "side\n");
  git("add", "-A");
  git("commit", "-q", "-m", "side");
  git("tag", "-a", "v1", "-m", "one");
  git("checkout", "-q", "main");
  fillWith(path);
  git("rm", "-q", "two.txt");
  writeFileSync(join(path, "staged.txt"), "staged\n");
  git("add", "staged.txt");
  writeFileSync(join(path, "staged.txt"), "not staged\n");
  const before = [git("status", "--porcelain", "-z"), git("for-each-ref"), git("stash", "list")];
  const copy = await copies.keep(path, options);
  assert.deepEqual(
    [git("status", "--porcelain", "-z"), git("for-each-ref"), git("stash", "list")],
    before,
  );
  assert.equal(copy.form, "bundle");
  assert.equal(copy.path, join(kept, copy.key));
  assert.match(copy.key, /^ENG-1-\d{8}T\d{6}Z$/);
  assert.equal(lstatSync(kept).mode & 0o777, 0o700);
  assert.deepEqual(readdirSync(copy.path).sort(), ["manifest.json", "work.bundle"]);
  assert.deepEqual(readdirSync(kept), [copy.key]);
  await copies.restore(copy, back);
  same(path, back);
  const restored = gitIn(back);
  assert.equal(restored("status", "--porcelain", "-z"), before[0]);
  assert.equal(restored("show", ":staged.txt"), "staged");
  assert.equal(
    restored("rev-parse", "HEAD", "side", "v1", "stash@{0}", "stash@{1}"),
    git("rev-parse", "HEAD", "side", "v1", "stash@{0}", "stash@{1}"),
  );
  assert.equal(restored("symbolic-ref", "HEAD"), "refs/heads/main");
  restored("fsck", "--strict");
  assert.deepEqual(await copies.list(), [copy]);
});

test("the bundle needs no other repository: git verifies and clones it in an empty directory", async (t) => {
  const { dir, copies, path } = bench(t);
  const git = clone(dir, path);
  writeFileSync(join(path, "new.txt"), "new\n");
  git("add", "-A");
  git("commit", "-q", "-m", "new");
  const { path: copy, base } = await copies.keep(path, options);
  assert.equal(base, git("rev-parse", "origin/main"));
  const empty = join(dir, "empty");
  mkdirSync(empty);
  gitIn(empty)("init", "-q");
  gitIn(empty)("bundle", "verify", "-q", join(copy, "work.bundle"));
  gitIn(dir)("clone", "-q", join(copy, "work.bundle"), join(dir, "cloned"));
  assert.equal(gitIn(join(dir, "cloned"))("rev-parse", "HEAD"), git("rev-parse", "HEAD"));
});

test("no program that the repository names is run, whether it is kept or restored", async (t) => {
  const { dir, copies, path, back } = bench(t);
  const git = clone(dir, path);
  const marks = join(dir, "marks");
  writeFileSync(join(path, ".gitattributes"), "* filter=t diff=t merge=t\n");
  git("add", "-A");
  git("commit", "-q", "-m", "attributes");
  setTraps(path, marks);
  writeFileSync(join(path, "one.txt"), "changed\n");
  const copy = await copies.keep(path, options);
  assert.equal(copy.form, "bundle");
  await copies.restore(copy, back);
  assert.deepEqual(readdirSync(marks), []);
  assert.deepEqual(
    readdirSync(join(back, ".git")).filter((name) => name === "hooks"),
    [],
  );
});

test("a directory without a repository is kept as an archive, with every permission", async (t) => {
  const { copies, path, back } = bench(t);
  fillWith(path);
  mkdirSync(join(path, "nothing in it"));
  chmodSync(join(path, "empty"), 0o600);
  const copy = await copies.keep(path, options);
  assert.equal(copy.form, "archive");
  await copies.restore(copy, back);
  same(path, back);
  assert.equal(lstatSync(join(back, "empty")).mode & 0o777, 0o600);
  assert.ok(existsSync(join(back, "nothing in it")));
});

const onlyArchives: readonly [what: string, make: (dir: string, path: string) => void][] = [
  [
    "a shallow clone, whose bundle would lack commits",
    (dir, path) => {
      const git = clone(dir, path, "--depth", "1");
      writeFileSync(join(path, "new.txt"), "new\n");
      git("add", "-A");
      git("commit", "-q", "-m", "new");
    },
  ],
  [
    "a merge that is not finished",
    (dir, path) => {
      const git = clone(dir, path);
      git("update-ref", "MERGE_HEAD", "HEAD");
    },
  ],
  [
    "a repository in it",
    (dir, path) => {
      const git = clone(dir, path);
      git("clone", "-q", join(dir, "origin.git"), "nested");
    },
  ],
  [
    "files whose line ends git would change",
    (dir, path) => {
      const git = clone(dir, path);
      writeFileSync(join(path, ".gitattributes"), "*.txt text eol=crlf\n");
      writeFileSync(join(path, "mixed.txt"), "one\r\ntwo\n");
      git("add", "-A");
      git("commit", "-q", "-m", "mixed");
    },
  ],
  [
    "a repository without a commit",
    (dir, path) => {
      mkdirSync(path);
      gitIn(path)("init", "-q");
      writeFileSync(join(path, "new.txt"), `${dir}\n`);
    },
  ],
];

for (const [what, make] of onlyArchives) {
  test(`what a bundle cannot hold is kept as an archive with its .git: ${what}`, async (t) => {
    const { dir, copies, path, back } = bench(t);
    make(dir, path);
    const copy = await copies.keep(path, options);
    assert.equal(copy.form, "archive");
    await copies.restore(copy, back);
    same(path, back);
    const both = [path, back].map((one) => gitIn(one)("status", "--porcelain", "-z", "--branch"));
    assert.equal(both[0], both[1]);
  });
}

test("nothing is left of a copy that cannot be made: too large, switched off, borrowed objects, a socket", async (t) => {
  const { dir, kept, copies, path } = bench(t, 10_000);
  clone(dir, path);
  writeFileSync(join(path, "large"), Buffer.alloc(10_001));
  await assert.rejects(
    copies.keep(path, options),
    /larger than workspace\.keep_max \(10000 bytes\)/,
  );
  const plain = join(dir, "plain");
  mkdirSync(plain);
  writeFileSync(join(plain, "large"), Buffer.alloc(10_001));
  await assert.rejects(copies.keep(plain, options), /larger than workspace\.keep_max/);
  execFileSync("mkfifo", [join(plain, "pipe")]);
  writeFileSync(join(plain, "large"), "");
  await assert.rejects(copies.keep(plain, options), /pipe is neither a file/);
  const shared = join(dir, "shared");
  gitIn(dir)("clone", "-q", "--shared", "--depth", "1", join(dir, "origin.git"), shared);
  writeFileSync(join(shared, ".git", "MERGE_HEAD"), gitIn(shared)("rev-parse", "HEAD"));
  await assert.rejects(copies.keep(shared, options), /borrows objects/);
  assert.deepEqual(readdirSync(kept), []);
  const off = new KeptCopies({ dir: kept, clock: new FakeClock(), maxBytes: () => 0 });
  await assert.rejects(off.keep(plain, options), /workspace\.keep_max is 0/);
});

test("a copy is restored only whole, only where nothing is, and stays; one that was altered is refused", async (t) => {
  const { dir, kept, copies, path, back } = bench(t);
  mkdirSync(path);
  writeFileSync(join(path, "file"), "work\n");
  const copy = await copies.keep(path, options);
  await assert.rejects(copies.restore(copy, path), coded("workspace_error", /is in the way/));
  assert.equal(readFileSync(join(path, "file"), "utf8"), "work\n");
  mkdirSync(back);
  await copies.restore(copy, back);
  assert.equal(readFileSync(join(back, "file"), "utf8"), "work\n");
  assert.deepEqual(await copies.find("ENG-1"), copy);
  assert.deepEqual(await copies.find("OPS-8", options.issue.id), copy, "its issue was renamed");
  const second = await copies.keep(path, options);
  assert.notEqual(second.key, copy.key);
  await assert.rejects(copies.find("ENG-1"), coded("workspace_ambiguous", /several copies/));
  assert.deepEqual(await copies.find(copy.key), copy);
  await assert.rejects(copies.find("OPS-7"), coded("workspace_not_found"));
  appendFileSync(join(copy.path, "work.tar"), "x");
  await assert.rejects(
    copies.restore(copy, join(dir, "other")),
    coded("workspace_error", /has changed/),
  );
  assert.ok(!existsSync(join(dir, "other")));
  await copies.remove(copy);
  assert.deepEqual(await copies.list(), [second]);
  for (const name of [".making-left", ".reading-now"]) mkdirSync(join(kept, name));
  const next = new KeptCopies({ dir: kept, clock: new FakeClock(), maxBytes: () => 2 ** 31 });
  const third = await next.keep(path, options);
  assert.deepEqual(readdirSync(kept).sort(), [".reading-now", second.key, third.key].sort());
});
