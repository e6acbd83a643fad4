import assert from "node:assert/strict";
import { mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { examineOffer, workElsewhere } from "../../../src/core/repository/offer.ts";
import { gitIn, setTraps } from "../../support/makers/git-repository.ts";
import { coded, temporaryDir } from "../../support/makers/storage.ts";

const rules = {
  maxFileBytes: 1_000,
  allowWorkflows: false,
  allowSubmodules: false,
  allowLfs: false,
  lfs: null,
  holdsSecret: (bytes: Buffer) => (bytes.includes("s3cr3t") ? "TOKEN" : null),
};
const { signal } = new AbortController();

function bench(t: TestContext) {
  const path = join(temporaryDir(t), "work");
  mkdirSync(path);
  const git = gitIn(path);
  git("init", "-q", "-b", "main");
  const write = (name: string, text: string | Buffer) => {
    mkdirSync(join(path, name, ".."), { recursive: true });
    writeFileSync(join(path, name), text);
  };
  const commit = (message = "x") => {
    git("add", "-A");
    git("commit", "-q", "--allow-empty", "-m", message);
    return git("rev-parse", "HEAD");
  };
  write("one.txt", "one\n");
  const base = commit();
  const offer = (head: string, from = base) =>
    examineOffer({ path, base: from, head, rules, signal });
  return { path, git, write, commit, base, offer };
}

test("every commit is examined: what a later one removed, and messages, count", async (t) => {
  const { path, git, write, commit, offer } = bench(t);
  write("ä\n.env", "key=s3cr3t\n");
  commit();
  rmSync(join(path, "ä\n.env"));
  const message = commit("with s3cr3t");
  write("big", Buffer.alloc(1_001));
  write(".github/workflows/ci.yml", "on: push\n");
  write(
    "p.bin",
    `version https://git-lfs.github.com/spec/v1\noid sha256:${"0".repeat(64)}\nsize 1\n`,
  );
  symlinkSync("../../etc", join(path, "out"));
  symlinkSync("/etc/passwd", join(path, "absolute"));
  symlinkSync(".git/config", join(path, "inner"));
  symlinkSync("one.txt", join(path, "fine"));
  git("init", "-q", "sub");
  gitIn(join(path, "sub"))("commit", "-q", "--allow-empty", "-m", "x");
  const head = commit();
  const found = await offer(head);
  assert.deepEqual(found.objections.map(({ path: name, kind }) => `${kind} ${name}`).sort(), [
    "lfs p.bin",
    "outside_link absolute",
    "outside_link inner",
    "outside_link out",
    `secret commit ${message}`,
    "secret ä\n.env",
    "submodule sub",
    "too_large big",
    "workflow .github/workflows/ci.yml",
  ]);
  assert.doesNotMatch(JSON.stringify(found), /s3cr3t/);
  assert.deepEqual([found.commits, found.files, found.branch], [3, 8, "main"]);
});

test("a secret in the name of a file or of its folder is found, and not shown", async (t) => {
  const { write, commit, offer } = bench(t);
  write("docs/s3cr3t.txt", "x\n");
  write("s3cr3t/a", "x\n");
  const found = await offer(commit());
  const objections = found.objections.map(({ path, kind, detail }) => [path, kind, detail]);
  const expected = ["[redacted]/a", "docs/[redacted]"];
  assert.deepEqual(
    objections.sort(),
    expected.map((path) => [path, "secret", "TOKEN is in its name"]),
  );
});

test("what a merge took over from the base does not count; what the merge itself adds does", async (t) => {
  const { git, write, commit, base, offer } = bench(t);
  git("checkout", "-q", "-b", "work");
  write("mine", "x\n");
  commit();
  git("checkout", "-q", "main");
  write("upstream", "s3cr3t\n");
  const upstream = commit();
  git("checkout", "-q", "work");
  git("merge", "-q", "--no-commit", "main");
  write("evil", "s3cr3t\n");
  const head = commit("merge");
  const found = await offer(head, upstream);
  assert.deepEqual(found.objections, [{ path: "evil", kind: "secret", detail: "TOKEN" }]);
  assert.deepEqual([found.commits, found.files, found.additions], [2, 2, 2]);
  assert.notEqual(found.base, base);
});

test("what the remote has of the branch is not examined again, also where the base was rewritten; what is new is", async (t) => {
  const { path, git, write, commit, base } = bench(t);
  write(".github/workflows/ci.yml", "on: push\n");
  const ofBase = commit();
  write("work", "x\n");
  const pushed = commit();
  const kindsOf = async (head: string, examined: readonly string[]) => {
    const found = await examineOffer({ path, base, head, rules, signal, examined });
    return [found.commits, found.objections.map(({ kind }) => kind)];
  };
  // The base was rewritten without `ofBase`.
  assert.deepEqual(await kindsOf(pushed, []), [2, ["workflow"]]);
  write("next", "y\n");
  const next = commit();
  assert.deepEqual(await kindsOf(next, [pushed, "0".repeat(40)]), [3, []]);
  write("s3cr3t", "z\n");
  assert.deepEqual(await kindsOf(commit(), [pushed]), [4, ["secret"]]);
  assert.equal(git("merge-base", ofBase, next), ofBase);
});

test("DELIVERY-31: no program that an agent configured is run", async (t) => {
  const { path, write, commit, offer, base } = bench(t);
  write("new", "x\n");
  const head = commit();
  const marks = join(temporaryDir(t), "marks");
  setTraps(path, marks);
  rmSync(marks, { recursive: true });
  mkdirSync(marks);
  assert.equal((await offer(head)).files, 1);
  await workElsewhere({ path, base, head, signal }, null);
  assert.deepEqual(readdirSync(marks), []);
});

test("without a common commit there is no base; a head that is not here is refused", async (t) => {
  const { git, write, commit, offer } = bench(t);
  git("checkout", "-q", "--orphan", "other");
  write("new", "x\n");
  const head = commit();
  assert.equal((await offer(head)).base, null);
  await assert.rejects(offer("0".repeat(40)), coded("no_repository"));
  await assert.rejects(offer("--all"), coded("no_repository"));
});

test("DELIVERY-27: what is on other branches than HEAD, and in stashes, is named; what HEAD or a remote has is not", async (t) => {
  const { path, git, write, commit, base } = bench(t);
  const where = (head: string) => ({ path, base, head, signal });
  const elsewhere = (head: string, known: Parameters<typeof workElsewhere>[1] = null) =>
    workElsewhere(where(head), known);
  assert.deepEqual(await elsewhere(base), { refs: [], stashes: 0 });
  git("checkout", "-q", "-b", "side");
  const side = commit();
  git("checkout", "-q", "--detach");
  const head = commit();
  assert.deepEqual(await elsewhere(head), { refs: [], stashes: 0 }, "HEAD has both");
  git("checkout", "-q", "main");
  write("stashed", "x\n");
  git("add", "-A");
  git("stash", "-q");
  assert.deepEqual(await elsewhere(base), { refs: ["side"], stashes: 1 });
  const asMade = { head: base, refs: new Map([["refs/heads/side", side]]) };
  assert.deepEqual((await elsewhere(base, asMade)).refs, [], "it was there before the work");
  git("update-ref", "refs/remotes/origin/side", side);
  assert.deepEqual((await elsewhere(base)).refs, []);
  writeFileSync(join(path, ".git", "refs", "heads", "broken"), `${"0".repeat(39)}1\n`);
  assert.deepEqual(
    await elsewhere(base),
    { refs: [], stashes: 0 },
    "what cannot be read says nothing",
  );
});

test("4,000 files in one commit are examined", async (t) => {
  const { write, commit, offer } = bench(t);
  for (let at = 0; at < 4_000; at++) write(`d${at % 50}/f${at}`, `${at}\n`);
  const found = await offer(commit());
  assert.deepEqual([found.files, found.objections], [4_000, []]);
});
