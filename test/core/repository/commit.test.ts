import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type CommitOrder, commitWork } from "../../../src/core/repository/commit.ts";
import { fileDigest } from "../../../src/core/workspace/tree-digest.ts";
import { gitIn, setTraps } from "../../support/makers/git-repository.ts";
import { coded, temporaryDir } from "../../support/makers/storage.ts";

function bench(t: TestContext, init: readonly string[] = []) {
  const path = join(temporaryDir(t), "work");
  mkdirSync(path);
  const git = gitIn(path);
  git("init", "-q", "-b", "main", ...init);
  const write = (name: string, text: string | Buffer) => {
    mkdirSync(join(path, name, ".."), { recursive: true });
    writeFileSync(join(path, name), text);
  };
  const first = () => {
    write("one.txt", "one\n");
    write("gone.txt", "gone\n");
    write("dir/two.txt", "two\n");
    git("add", "-A");
    git("commit", "-q", "-m", "first");
    return git("rev-parse", "HEAD");
  };
  const commit = (more: Partial<CommitOrder> = {}) =>
    commitWork({
      path,
      message: "work: everything\n\nbody",
      author: { name: "Sym <x>\nphony", email: "s@example.org" },
      wall: 1_700_000_000_000,
      base: null,
      settled: [],
      signal: new AbortController().signal,
      ...more,
    });
  return { path, git, write, first, commit };
}

test("files of every size around the buffers of copies and digests are committed as they are", async (t) => {
  const { path, git, write, first, commit } = bench(t);
  first();
  const sizes = [0, 1, 16_383, 16_384, 16_385, 1_064_959, 1_064_960, 1_064_961, 2_200_000];
  const contents = sizes.map((size) => Buffer.alloc(size, randomBytes(1_009)));
  for (const [index, content] of contents.entries()) write(`size-${index}.bin`, content);
  assert.equal((await commit()).outcome, "committed");
  assert.equal(git("status", "--porcelain"), "");
  for (const [index, content] of contents.entries()) {
    const name = `size-${index}.bin`;
    const stored = execFileSync("git", ["-C", path, "cat-file", "blob", `HEAD:${name}`], {
      maxBuffer: 4_000_000,
    });
    assert.ok(stored.equals(content), name);
    const sha256 = createHash("sha256").update(content).digest("hex");
    assert.equal(await fileDigest(join(path, name)), sha256, name);
  }
});

test("a file in another encoding than the base's .gitattributes name is left out by name, and the rest is committed", async (t) => {
  const { git, write, commit } = bench(t);
  write(
    ".gitattributes",
    "*.u16 working-tree-encoding=UTF-16\n*.bad working-tree-encoding=KLINGON\n",
  );
  git("add", "-A");
  git("commit", "-q", "-m", "first");
  const bom = Buffer.from([0xff, 0xfe]);
  write("a.u16", "no byte order mark\n");
  write("b.u16", Buffer.concat([bom, Buffer.from("x")]));
  write("right.u16", Buffer.concat([bom, Buffer.from("right\n", "utf16le")]));
  write("c.bad", "x\n");
  write("z.txt", "z\n");
  write(".git /x", "git ignores this name\n");
  write(".g\u200cit", "and this one\n");
  const made = await commit();
  assert.ok(made.outcome === "committed");
  assert.deepEqual(
    made.leftOut.toSorted((a, b) => (a.path < b.path ? -1 : 1)),
    [
      { path: ".git /x", why: "git does not allow this name" },
      { path: ".g\u200cit", why: "git does not allow this name" },
      {
        path: "a.u16",
        why: "it is not in the encoding of .gitattributes (working-tree-encoding=UTF-16)",
      },
      {
        path: "b.u16",
        why: "it is not in the encoding of .gitattributes (working-tree-encoding=UTF-16)",
      },
      {
        path: "c.bad",
        why: "it is not in the encoding of .gitattributes (working-tree-encoding=KLINGON)",
      },
    ],
  );
  assert.equal(git("show", "--name-only", "--format="), "right.u16\nz.txt");
  assert.equal(git("cat-file", "blob", "HEAD:right.u16"), "right");
});

test("however many files are in another encoding, each of them is named, and every other one is committed", async (t) => {
  const { git, write, commit } = bench(t);
  write(
    ".gitattributes",
    "*.u16 working-tree-encoding=utf-16\n*.bare working-tree-encoding\n*.sjis working-tree-encoding=SHIFT-JIS\n",
  );
  git("add", "-A");
  git("commit", "-q", "-m", "first");
  const right = Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from("right\n", "utf16le")]);
  for (let at = 0; at < 60; at++) {
    write(`dir/${at}.u16`, "no byte order mark\n");
    write(`right/${at}.u16`, right);
  }
  const unusual = ["dir/\n.u16", "dir/it's 'x' from ä.u16", "x.bare", "y.bare"];
  for (const name of unusual) write(name, "no byte order mark\n");
  write("z.txt", "z\n");
  write("z.sjis", "z\n");
  const made = await commit();
  assert.ok(made.outcome === "committed");
  assert.equal(made.leftOut.length, 64);
  assert.ok(made.leftOut.every(({ why }) => why.includes("(working-tree-encoding=")));
  const taken = git("show", "--name-only", "--format=").split("\n");
  assert.deepEqual(
    [taken.filter((name) => name.startsWith("right/")).length, taken.slice(60)],
    [60, ["z.sjis", "z.txt"]],
  );
});

test("rules that an agent adds do not decide how its other files are committed", async (t) => {
  const { git, write, first, commit } = bench(t);
  first();
  write(".gitattributes", "*.txt text\n");
  write("crlf.txt", "a\r\nb\r\n");
  assert.equal((await commit()).outcome, "committed");
  assert.equal(git("show", "--name-only", "--format="), ".gitattributes\ncrlf.txt");
  assert.equal(git("cat-file", "-s", "HEAD:crlf.txt"), "6");
});

test("everything that an agent left becomes one commit, and its git agrees", async (t) => {
  const { path, git, write, first, commit } = bench(t);
  const before = first();
  assert.deepEqual(await commit(), { outcome: "clean", head: before, branch: "main", leftOut: [] });
  write("one.txt", "changed\n");
  write("ä b/neu\n.txt", "new\n");
  write(":(top)x", "pattern\n");
  write(".gitignore", "*.log\n");
  write("x.log", "log\n");
  write("run.sh", "#!/bin/sh\n");
  chmodSync(join(path, "run.sh"), 0o755);
  symlinkSync("one.txt", join(path, "link"));
  rmSync(join(path, "gone.txt"));
  rmSync(join(path, "dir"), { recursive: true });
  write("dir", "a file now\n");
  const raw = Buffer.concat([Buffer.from(`${path}/`), Buffer.from([0x66, 0xff])]);
  writeFileSync(raw, "raw\n");
  const result = await commit();
  assert.equal(result.outcome, "committed");
  assert.equal(git("status", "--porcelain"), "");
  assert.deepEqual(
    [git("rev-parse", "HEAD"), git("rev-parse", "HEAD^")],
    [result.outcome === "committed" && result.head, before],
  );
  assert.equal(
    git("log", "-1", "--format=%an|%ae|%at|%cn|%B"),
    "Sym  x phony|s@example.org|1700000000|Sym  x phony|work: everything\n\nbody",
  );
  assert.match(git("ls-tree", "HEAD", "run.sh", "link"), /^120000 .*link\n100755 .*run\.sh$/s);
  assert.equal(git("show", "HEAD:link"), "one.txt");
  assert.doesNotMatch(git("ls-tree", "-r", "--name-only", "HEAD"), /x\.log|gone|two/);
  assert.match(git("reflog", "-1"), /commit: work: everything/);
  git("fsck", "--strict");
  assert.equal((await commit()).outcome, "clean");
});

test("DELIVERY-31: no program that an agent configured is run", async (t) => {
  const { path, git, write, first, commit } = bench(t);
  first();
  const marks = join(temporaryDir(t), "marks");
  setTraps(path, marks);
  write("one.txt", "changed\n");
  write("traps/new", "x\n");
  rmSync(marks, { recursive: true });
  mkdirSync(marks);
  const result = await commit();
  assert.equal(result.outcome, "committed");
  assert.deepEqual(readdirSync(marks), []);
  git("diff", "HEAD^");
  assert.notDeepEqual(readdirSync(marks), [], "git with the agent's configuration runs them");
  assert.equal(
    execFileSync("git", ["--git-dir", join(path, ".git"), "cat-file", "-p", "main:one.txt"], {
      encoding: "utf8",
    }),
    "changed\n",
  );
  assert.equal(existsSync(join(path, ".git", "index.lock")), false);
});

test("DELIVERY-27: an unfinished merge, or its conflicts in a file, is said and nothing is staged", async (t) => {
  const { path, git, write, first, commit } = bench(t);
  first();
  git("checkout", "-q", "-b", "other");
  write("one.txt", "theirs\n");
  git("commit", "-qam", "theirs");
  git("checkout", "-q", "main");
  write("one.txt", "ours\n");
  git("commit", "-qam", "ours");
  assert.throws(() => git("merge", "-q", "other"));
  assert.deepEqual(await commit(), { outcome: "unfinished", what: "a merge is in progress" });
  const head = git("rev-parse", "HEAD");
  for (const name of ["MERGE_HEAD", "MERGE_MSG", "MERGE_MODE"])
    rmSync(join(path, ".git", name), { force: true });
  const result = await commit();
  assert.deepEqual(result, {
    outcome: "unfinished",
    what: "conflicts of a merge are written in one.txt",
  });
  assert.equal(git("rev-parse", "HEAD"), head);
  write("one.txt", "Heading\n=======\n\n>>>>>>> x\n");
  assert.equal((await commit()).outcome, "committed");
});

test("a directory that became a link is committed as a link, and nothing behind it", async (t) => {
  const { path, git, first, commit } = bench(t);
  first();
  const outside = join(path, "..", "outside");
  mkdirSync(outside);
  writeFileSync(join(outside, "two.txt"), "of the host\n");
  rmSync(join(path, "dir"), { recursive: true });
  symlinkSync(outside, join(path, "dir"));
  assert.equal((await commit()).outcome, "committed");
  assert.equal(git("show", "HEAD:dir"), outside);
  assert.equal(git("status", "--porcelain"), "");
});

test("a detached HEAD, an empty repository, a packed branch with a slash, and SHA-256", async (t) => {
  const detached = bench(t);
  detached.first();
  detached.git("checkout", "-q", "--detach");
  detached.write("new", "x\n");
  const moved = await detached.commit();
  assert.deepEqual(
    [moved.outcome, moved.outcome !== "unfinished" && moved.branch],
    ["committed", null],
  );
  assert.equal(detached.git("status", "--porcelain"), "");
  assert.notEqual(detached.git("rev-parse", "main"), detached.git("rev-parse", "HEAD"));
  for (const init of [[], ["--object-format=sha256"]]) {
    const empty = bench(t, init);
    assert.deepEqual(await empty.commit(), {
      outcome: "clean",
      head: null,
      branch: "main",
      leftOut: [],
    });
    empty.write("new", "x\n");
    assert.equal((await empty.commit()).outcome, "committed");
    assert.equal(empty.git("log", "--format=%s"), "work: everything");
    empty.git("checkout", "-q", "-b", "a/b");
    empty.git("pack-refs", "--all");
    empty.write("new", "y\n");
    assert.equal((await empty.commit()).outcome, "committed");
    assert.equal(empty.git("rev-list", "--count", "a/b"), "2");
    assert.equal(empty.git("status", "--porcelain"), "");
    empty.git("fsck", "--strict");
  }
});

test("DELIVERY-32: repositories, submodule pointers, LFS content, line ends and lost modes are left out and said", async (t) => {
  const { path, git, write, first, commit } = bench(t);
  write(".gitattributes", "*.bin filter=lfs -text\n*.t text\n*.secret filter=crypt\n");
  write("lines", "a\nb\nc\n");
  write("both.t", "a\nb\n");
  write("s1", "x\n");
  write("s2", "y\n");
  chmodSync(join(path, "s1"), 0o755);
  chmodSync(join(path, "s2"), 0o755);
  git("init", "-q", "sub");
  gitIn(join(path, "sub"))("commit", "-q", "--allow-empty", "-m", "x");
  git("add", "-A");
  first();
  gitIn(join(path, "sub"))("commit", "-q", "--allow-empty", "-m", "y");
  git("init", "-q", "tool");
  write("tool/file", "x\n");
  git("init", "-q", "--bare", "bare");
  write("big.bin", Buffer.from([0, 1, 2]));
  write(
    "p.bin",
    `version https://git-lfs.github.com/spec/v1\noid sha256:${"0".repeat(64)}\nsize 1\n`,
  );
  write("a.secret", "plain\n");
  write("lines", "a\r\nb\r\nc\r\n");
  write("both.t", "a\r\nb\r\nmore\r\n");
  chmodSync(join(path, "s1"), 0o644);
  chmodSync(join(path, "s2"), 0o644);
  // What an agent says about its own files does not count.
  write(".gitattributes", "");
  const result = await commit();
  assert.equal(result.outcome, "committed");
  const left = result.outcome === "committed" ? result.leftOut : [];
  assert.deepEqual(left.map(({ path: name }) => name).sort(), [
    "a.secret",
    "bare",
    "big.bin",
    "lines",
    "s1",
    "s2",
    "sub",
    "tool",
  ]);
  assert.equal(git("diff", "--numstat", "HEAD^", "HEAD", "both.t"), "1\t0\tboth.t");
  assert.equal(git("diff", "--name-only", "HEAD^", "HEAD"), ".gitattributes\nboth.t\np.bin");
});

test("DELIVERY-32: files that changed in a submodule are said, also when nothing else has changed", async (t) => {
  const { path, git, write, first, commit } = bench(t);
  git("init", "-q", "sub");
  write("sub/file", "x\n");
  const inner = gitIn(join(path, "sub"));
  inner("add", "-A");
  inner("commit", "-q", "-m", "x");
  git("add", "-A");
  first();
  assert.deepEqual((await commit()).outcome, "clean");
  write("sub/file", "y\n");
  assert.partialDeepStrictEqual(await commit(), {
    outcome: "clean",
    leftOut: [{ path: "sub", why: "it is a submodule, and files in it have changed" }],
  });
});

test("files that were so from the start are no work; the rules of .git/info/exclude do not count", async (t) => {
  const { path, git, write, first, commit } = bench(t);
  first();
  write("one.txt", "by a hook\n");
  write("env", "by a hook\n");
  write("hidden", "work\n");
  writeFileSync(join(path, ".git", "info", "exclude"), "hidden\n");
  assert.equal((await commit({ settled: ["one.txt", "env"] })).outcome, "committed");
  assert.equal(git("diff", "--name-only", "HEAD^", "HEAD"), "hidden");
  assert.equal(git("status", "--porcelain"), "M one.txt\n?? env");
});

test("locks that a killed git or server left are removed, also a half-written one; what is no file stays and is said", async (t) => {
  const { path, git, write, first, commit } = bench(t);
  first();
  write("new", "x\n");
  const locks = ["index.lock", "HEAD.lock", "refs/heads/main.lock"];
  for (const name of locks) writeFileSync(join(path, ".git", name), "0123");
  assert.equal((await commit()).outcome, "committed");
  assert.equal(git("status", "--porcelain"), "");
  assert.deepEqual(
    locks.filter((name) => existsSync(join(path, ".git", name))),
    [],
  );
  write("newer", "x\n");
  mkdirSync(join(path, ".git", "refs", "heads", "main.lock"));
  await assert.rejects(commit(), /main is locked/);
});

test("THREAT-2: no lock is removed behind a link, and no file elsewhere that is named like one", async (t) => {
  const { path, git, write, first, commit } = bench(t);
  first();
  write("new", "x\n");
  const elsewhere = join(path, "..", "elsewhere");
  mkdirSync(elsewhere);
  writeFileSync(join(elsewhere, "Cargo.lock"), "of a person");
  git("symbolic-ref", "HEAD", "refs/heads/x/Cargo");
  symlinkSync(elsewhere, join(path, ".git", "refs", "heads", "x"));
  await assert.rejects(commit(), coded("no_repository"));
  rmSync(join(path, ".git", "refs", "heads", "x"));
  git("symbolic-ref", "HEAD", "refs/heads/Cargo");
  renameSync(join(path, ".git", "refs", "heads"), join(path, ".git", "refs", "own"));
  symlinkSync(elsewhere, join(path, ".git", "refs", "heads"));
  await assert.rejects(commit(), coded("no_repository"));
  assert.equal(readFileSync(join(elsewhere, "Cargo.lock"), "utf8"), "of a person");
});

test("a link in place of the object store or a branch, and a moved branch are refused", async (t) => {
  const { path, git, write, first, commit } = bench(t);
  first();
  write("new", "x\n");
  const elsewhere = join(path, "..", "objects");
  renameSync(join(path, ".git", "objects"), elsewhere);
  symlinkSync(elsewhere, join(path, ".git", "objects"));
  await assert.rejects(commit(), coded("no_repository"));
  rmSync(join(path, ".git", "objects"));
  renameSync(elsewhere, join(path, ".git", "objects"));
  assert.equal(git("rev-list", "--count", "HEAD"), "1");
  assert.equal((await commit()).outcome, "committed");
  assert.match(readFileSync(join(path, ".git", "HEAD"), "utf8"), /^ref: refs\/heads\/main/);
});
