import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { commitWork } from "../../../src/core/repository/commit.ts";
import type { Merging } from "../../../src/core/repository/merging.ts";
import {
  finishUpdate,
  type UpdateOrder,
  updateWorkspace,
} from "../../../src/core/repository/update.ts";
import { gitIn, setTraps } from "../../support/makers/git-repository.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

const identity = { name: "Sym", email: "s@example.org" };
const wall = 1_700_000_000_000;
const lines = (changed: Readonly<Record<number, string>> = {}) =>
  Array.from({ length: 30 }, (_, at) => `${changed[at] ?? at}\n`).join("");

/** A mirror, and a workspace that borrows from it with one commit on a branch of its own. */
function bench(t: TestContext, { depth }: { readonly depth?: number } = {}) {
  const root = temporaryDir(t);
  const seed = join(root, "seed");
  mkdirSync(seed);
  const upstream = gitIn(seed);
  const put = (path: string) => (name: string, text: string) => {
    mkdirSync(join(path, name, ".."), { recursive: true });
    writeFileSync(join(path, name), text);
  };
  const writeUpstream = put(seed);
  upstream("init", "-q", "-b", "main");
  writeUpstream("list.txt", lines());
  writeUpstream("other.txt", "other\n");
  writeUpstream("dos.txt", "one\r\n");
  writeUpstream("package-lock.json", lines());
  writeUpstream(".gitattributes", "dos.txt text eol=crlf\n");
  writeUpstream(".gitignore", "*.log\n");
  upstream("add", "-A");
  upstream("commit", "-q", "-m", "first");
  const mirror = join(root, "mirror");
  const cut = depth === undefined ? [] : ["--depth", `${depth}`];
  gitIn(root)("clone", "-q", "--bare", ...cut, `file://${seed}`, mirror);
  const path = join(root, "work");
  gitIn(root)("clone", "-q", "--shared", mirror, path);
  const git = gitIn(path);
  git("checkout", "-q", "-b", "symphony/a-1");
  /** A newer commit of the base that the mirror has. */
  const advance = (files: Readonly<Record<string, string | null>>) => {
    for (const [name, text] of Object.entries(files)) {
      if (text === null) rmSync(join(seed, name));
      else writeUpstream(name, text);
    }
    upstream("add", "-A", "-f");
    upstream("commit", "-q", "-m", "newer");
    gitIn(mirror)("fetch", "-q", ...cut, "origin", "+refs/heads/main:refs/heads/main");
    return upstream("rev-parse", "HEAD");
  };
  const write = put(path);
  const work = (files: Readonly<Record<string, string>>) => {
    for (const [name, text] of Object.entries(files)) write(name, text);
    git("add", "-A");
    git("commit", "-q", "-m", "work");
    return git("rev-parse", "HEAD");
  };
  let merging: Merging | null = null;
  const remember = async (next: Merging | null) => {
    merging = next;
  };
  const signal = new AbortController().signal;
  const update = (head: string, base: string, more: Partial<UpdateOrder> = {}) =>
    updateWorkspace({
      ...{ path, head, base, mirror, wall, remember, signal },
      baseName: "main",
      onlyConflicts: false,
      author: identity,
      settled: [],
      isGenerated: (name) => name.endsWith("package-lock.json"),
      ...more,
    });
  const commit = () =>
    commitWork({
      ...{ path, wall, signal, merge: merging },
      message: "work\n",
      author: identity,
      base: null,
      settled: [],
    });
  const read = (name: string) => readFileSync(join(path, name), "utf8");
  const finish = (known: Merging) =>
    finishUpdate(
      known,
      { path, wall, remember, signal, baseName: "main", author: identity },
      { isRepeated: true },
    );
  return {
    ...{ path, mirror, git, advance, work, write, read, update, commit, finish },
    merging: () => merging,
  };
}

test("a base that merges becomes a merge commit, and files, index and branch are moved to it", async (t) => {
  const { path, git, advance, work, read, update, merging } = bench(t);
  const head = work({ "list.txt": lines({ 2: "ours" }), "dos.txt": "one\r\n" });
  const base = advance({
    "list.txt": lines({ 25: "theirs" }),
    "other.txt": null,
    "x/new.txt": "new\n",
  });
  writeFileSync(join(path, "kept.log"), "ignored\n");
  const result = await update(head, base);
  assert.equal(result.outcome, "updated");
  assert.equal(read("list.txt"), lines({ 2: "ours", 25: "theirs" }));
  assert.equal(read("x/new.txt"), "new\n");
  assert.ok(!existsSync(join(path, "other.txt")) && existsSync(join(path, "kept.log")));
  assert.equal(git("status", "--porcelain"), "");
  assert.equal(
    git("log", "-1", "--format=%P %an %s"),
    `${head} ${base} Sym Merge branch 'main' into symphony/a-1`,
  );
  assert.equal(git("rev-parse", "symphony/a-1"), result.outcome === "updated" && result.head);
  assert.equal(git("fsck", "--no-dangling"), "");
  assert.deepEqual([merging()?.commit, merging()?.moving], [git("rev-parse", "HEAD"), false]);
  assert.deepEqual(await update(git("rev-parse", "HEAD"), base), { outcome: "current" });
});

test("with onlyConflicts a branch that merges is left alone", async (t) => {
  const { git, advance, work, update } = bench(t);
  const head = work({ "list.txt": lines({ 2: "ours" }) });
  const base = advance({ "other.txt": "newer\n" });
  assert.deepEqual(await update(head, base, { onlyConflicts: true }), { outcome: "current" });
  assert.equal(git("rev-parse", "HEAD"), head);
});

test("a conflict is put into the files, and the commit after it has both parents", async (t) => {
  const { git, advance, work, write, read, update, commit, merging } = bench(t);
  const head = work({ "list.txt": lines({ 5: "ours" }) });
  const base = advance({
    "list.txt": lines({ 5: "theirs" }),
    "new.log": "tracked though ignored\n",
  });
  const result = await update(head, base);
  const conflicts = [{ path: "list.txt", kind: "marks" }];
  assert.deepEqual(result, { outcome: "conflicts", conflicts });
  assert.match(read("list.txt"), /<<<<<<< HEAD\nours\n=======\ntheirs\n>>>>>>> origin\/main\n/);
  assert.equal(git("rev-parse", "HEAD"), head);
  assert.deepEqual(
    [merging()?.base, merging()?.marked, merging()?.moving],
    [base, ["list.txt"], false],
  );
  const early = await commit();
  assert.equal(early.outcome, "unfinished");
  assert.match(
    early.outcome === "unfinished" ? early.what : "",
    /conflicts of a merge .* list\.txt/,
  );
  write("list.txt", lines({ 5: "both" }));
  const done = await commit();
  assert.equal(done.outcome, "committed");
  assert.equal(git("log", "-1", "--format=%P"), `${head} ${base}`);
  assert.equal(git("show", "HEAD:list.txt"), lines({ 5: "both" }).trim());
  assert.equal(git("show", "HEAD:new.log"), "tracked though ignored");
  assert.equal(git("status", "--porcelain"), "");
  // The record may outlive a crash: the next commit is no second merge.
  write("other.txt", "later\n");
  assert.equal((await commit()).outcome, "committed");
  assert.equal(git("log", "-1", "--format=%P"), git("rev-parse", "HEAD^"));
});

test("an agent that takes out what came from the base has not finished the merge", async (t) => {
  const { git, advance, work, update, commit } = bench(t);
  const head = work({ "list.txt": lines({ 5: "ours" }) });
  const base = advance({ "list.txt": lines({ 5: "theirs" }), "other.txt": "newer\n" });
  await update(head, base);
  git("checkout", "-q", "-f", "HEAD", "--", ".");
  const result = await commit();
  assert.match(result.outcome === "unfinished" ? result.what : "", /taken out/);
});

test("a file that one side removed is told as a whole one", async (t) => {
  const { advance, work, update } = bench(t);
  const head = work({ "other.txt": "ours\n" });
  const result = await update(head, advance({ "other.txt": null }));
  const conflicts = [{ path: "other.txt", kind: "whole" }];
  assert.deepEqual(result, { outcome: "conflicts", conflicts });
});

test("DELIVERY-40: a lock file is never merged as text: the base's pins survive", async (t) => {
  const { git, advance, work, read, update, commit } = bench(t);
  const head = work({ "package-lock.json": lines({ 2: "ours" }), "a.txt": "a\n" });
  // These lines would merge without a conflict.
  const pinned = lines({ 25: "a security pin" });
  const base = advance({ "package-lock.json": pinned });
  const result = await update(head, base, { onlyConflicts: true });
  const conflicts = [{ path: "package-lock.json", kind: "generated" }];
  assert.deepEqual(result, { outcome: "conflicts", conflicts });
  assert.equal(read("package-lock.json"), pinned);
  assert.equal((await commit()).outcome, "committed");
  assert.equal(git("log", "-1", "--format=%P"), `${head} ${base}`);
  assert.equal(git("show", "HEAD:package-lock.json"), pinned.trim());
});

test("nothing is touched where the files hold other work, or something is in the way", async (t) => {
  const { path, git, advance, work, write, read, update, merging } = bench(t);
  const head = work({ "list.txt": lines({ 5: "ours" }) });
  const base = advance({ "new.log": "new\n", "out/file.txt": "new\n" });
  write("other.txt", "not committed\n");
  assert.match(JSON.stringify(await update(head, base)), /refused.*other\.txt holds other work/);
  git("checkout", "-q", "other.txt");
  write("new.log", "an ignored file of the agent\n");
  assert.match(JSON.stringify(await update(head, base)), /refused.*new\.log is in the way/);
  rmSync(join(path, "new.log"));
  const outside = join(path, "..", "outside");
  mkdirSync(outside);
  symlinkSync(outside, join(path, "out"));
  write(".git/info/exclude", "out\n");
  assert.equal((await update(head, base)).outcome, "refused");
  assert.deepEqual(readdirSync(outside), []);
  assert.equal(git("rev-parse", "HEAD"), head);
  assert.equal(read("list.txt"), lines({ 5: "ours" }));
  assert.equal(merging(), null);
});

test("DELIVERY-28: a shallow history without a commit of both is unknown, and no conflict", async (t) => {
  const { git, advance, work, update } = bench(t, { depth: 1 });
  const head = work({ "list.txt": lines({ 5: "ours" }) });
  advance({ "list.txt": lines({ 5: "theirs" }) });
  const base = advance({ "list.txt": lines({ 5: "theirs again" }) });
  assert.deepEqual(await update(head, base), { outcome: "unknown" });
  assert.equal(git("rev-parse", "HEAD"), head);
});

/** What an update had begun when it crashed at the first word of that. */
async function cutOff(
  update: (remember: (next: Merging | null) => Promise<void>) => Promise<unknown>,
): Promise<Merging> {
  let begun: Merging | null = null;
  const crash = async (next: Merging | null) => {
    begun ??= next;
    throw new Error("crash");
  };
  await assert.rejects(update(crash), /crash/);
  assert.ok(begun);
  return begun;
}

test("what a crash cut off is finished later, whatever part of it was done", async (t) => {
  const { path, git, advance, work, read, update, finish, merging } = bench(t);
  const head = work({ "list.txt": lines({ 2: "ours" }) });
  const base = advance({
    "list.txt": lines({ 25: "theirs" }),
    "x/new.txt": "new\n",
    "y.txt": "y\n",
  });
  const begun = await cutOff((remember) => update(head, base, { remember }));
  assert.equal(git("rev-parse", "HEAD"), head);
  mkdirSync(join(path, "x"));
  writeFileSync(join(path, "x/new.txt"), "ne");
  writeFileSync(join(path, "list.txt"), lines({ 2: "ours", 25: "theirs" }));
  await finish(begun);
  assert.equal(read("x/new.txt"), "new\n");
  assert.equal(git("log", "-1", "--format=%P"), `${head} ${base}`);
  assert.equal(git("status", "--porcelain"), "");
  assert.equal(merging()?.moving, false, "it stays until its head is saved");
});

test("what was written after the crash stays: changed, new, and ignored files", async (t) => {
  for (const name of ["list.txt", "other.txt", "y.log", "x"]) {
    const { git, advance, work, write, read, update, finish, merging } = bench(t);
    const head = work({ "list.txt": lines({ 2: "ours" }) });
    const base = advance({
      "list.txt": lines({ 25: "theirs" }),
      "x/new.txt": "new\n",
      "y.log": "y\n",
    });
    const begun = await cutOff((remember) => update(head, base, { remember }));
    write(name, "a person's\n");
    await assert.rejects(
      finish(begun),
      new RegExp(`${name} was changed after .*next: look at git`),
    );
    assert.equal(read(name), "a person's\n");
    assert.deepEqual([git("rev-parse", "HEAD"), merging()], [head, null], "it does not loop");
  }
});

test("what was written after the branch had moved stays, on the merge", async (t) => {
  const { git, advance, work, write, read, update, finish, merging } = bench(t);
  const head = work({ "list.txt": lines({ 2: "ours" }) });
  await update(head, advance({ "list.txt": lines({ 25: "theirs" }), "y.txt": "y\n" }));
  const done = merging();
  assert.ok(done);
  git("read-tree", head);
  write("list.txt", "a person's\n");
  await finish({ ...done, moving: true });
  assert.equal(read("list.txt"), "a person's\n");
  assert.equal(git("status", "--porcelain"), "M list.txt");
  assert.deepEqual([git("rev-parse", "HEAD"), merging()?.moving], [done.commit, false]);
});

test("THREAT-15: nothing that the workspace configures is run", async (t) => {
  const { path, git, advance, work, write, update, commit } = bench(t);
  const marks = join(path, "..", "marks");
  // Without its attribute, dos.txt would differ from the index as soon as git reads it again.
  const head = work({
    "list.txt": lines({ 5: "ours" }),
    "dos.txt": "one\n",
    ".gitattributes": "* filter=t diff=t merge=t\n",
  });
  const clean = advance({ "other.txt": "newer\n" });
  setTraps(path, marks);
  rmSync(join(path, "traps"), { recursive: true });
  for (const name of readdirSync(marks)) rmSync(join(marks, name));
  const updated = await update(head, clean);
  assert.equal(updated.outcome, "updated", JSON.stringify(updated));
  const base = advance({ "list.txt": lines({ 5: "theirs" }) });
  const now = updated.outcome === "updated" ? updated.head : "";
  assert.equal((await update(now, base)).outcome, "conflicts");
  write("list.txt", lines({ 5: "both" }));
  assert.equal((await commit()).outcome, "committed");
  assert.deepEqual(readdirSync(marks), []);
  assert.equal(
    git(
      "--no-pager",
      "-c",
      "core.fsmonitor=false",
      "-c",
      "log.showSignature=false",
      "log",
      "-1",
      "--format=%s",
    ),
    "work",
  );
});
