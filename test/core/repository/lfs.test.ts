import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { commitWork } from "../../../src/core/repository/commit.ts";
import { fetchLfs, missingLfs, pushLfs } from "../../../src/core/repository/lfs.ts";
import { writeContents } from "../../../src/core/repository/lfs-files.ts";
import {
  agentsContent,
  isContent,
  LfsStore,
  pointerText,
} from "../../../src/core/repository/lfs-store.ts";
import { newContents } from "../../../src/core/repository/lfs-work.ts";
import type { Merging } from "../../../src/core/repository/merging.ts";
import { examineOffer } from "../../../src/core/repository/offer.ts";
import { pushCommit } from "../../../src/core/repository/push.ts";
import { updateWorkspace } from "../../../src/core/repository/update.ts";
import { readBaseline, writeBaseline } from "../../../src/core/workspace/baseline.ts";
import { KeptCopies } from "../../../src/core/workspace/copies.ts";
import { diffOf } from "../../../src/core/workspace/diff.ts";
import { baselineOf, findingsIn, workIn } from "../../../src/core/workspace/work.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { gitIn } from "../../support/makers/git-repository.ts";
import { temporaryDir } from "../../support/makers/storage.ts";
import { cloneWorld, refusalOf } from "../../support/worlds/clone-world.ts";

const author = { name: "Sym", email: "s@example.org" };
const signal = new AbortController().signal;
// Where every program must be, its absence is a failure.
const isHere = process.env["CI"] || spawnSync("git-lfs", ["version"]).status === 0;
const skip = isHere ? false : "git-lfs is missing";
const branch = "symphony/ENG-1-title-of-eng-1";
const one = Buffer.alloc(300_000, "one ");
const two = Buffer.alloc(200_000, "two ");
const oidOf = (content: Buffer) => createHash("sha256").update(content).digest("hex");

function put(root: string, name: string, content: string | Buffer) {
  mkdirSync(dirname(join(root, name)), { recursive: true });
  writeFileSync(join(root, name), content);
}

/** A repository whose `*.bin` files are kept by git LFS, as its people keep them. */
async function bench(t: TestContext, more: Readonly<Record<string, string>> = {}) {
  const world = cloneWorld(t);
  const seed = gitIn(world.seed);
  seed("lfs", "install", "--local");
  const advance = (files: Readonly<Record<string, string | Buffer>>) => {
    for (const [name, content] of Object.entries(files)) put(world.seed, name, content);
    seed("add", "-A");
    seed("commit", "-q", "-m", "upstream");
    // Without the contents when the file names a server that is not there.
    const flags = ".lfsconfig" in files ? ["--no-verify"] : [];
    seed("push", "-q", ...flags, "origin", "main");
    return seed("rev-parse", "HEAD");
  };
  const rules = "*.bin filter=lfs diff=lfs merge=lfs -text\n";
  advance({ ".gitattributes": rules, "art/ä b.bin": one, "art/two.bin": two });
  if (Object.keys(more).length > 0) advance(more);
  const { repository, env, runId, timeoutMs } = world.order({ lfs: true });
  const { address, depth } = repository;
  const fetchOrder = { address, depth, credential: null, env, runId, timeoutMs, signal };
  const cloned = await world.clone({ lfs: true });
  const { path, git, loan, mirror } = cloned;
  await writeBaseline(path, await baselineOf(path, { issueId: "i", loan }));
  const store = new LfsStore(mirror, join(path, ".git"));
  const contents = {
    store,
    ensure: (pointers: Parameters<typeof fetchLfs>[2]) => fetchLfs(fetchOrder, store, pointers),
  };
  let merging: Merging | null = null;
  const remember = async (next: Merging | null) => {
    merging = next;
  };
  const common = { path, author, wall: 1_700_000_000_000, signal };
  const commit = async () => {
    const { settled } = await findingsIn(path);
    const base = (await readBaseline(path))?.head ?? null;
    return commitWork({ ...common, message: "work\n", base, settled, merge: merging, lfs: store });
  };
  const update = async (base: string) => {
    const near = (await world.mirrors.refresh(fetchOrder)).path;
    const { settled } = await findingsIn(path);
    return updateWorkspace({
      ...{ ...common, head: git("rev-parse", "HEAD"), base, mirror: near, settled, remember },
      ...{ baseName: "main", onlyConflicts: false, isGenerated: () => false, lfs: contents },
    });
  };
  const rulesOf = { maxFileBytes: 10_000, allowWorkflows: false, allowSubmodules: false };
  const offer = (secret = "none") =>
    examineOffer({
      ...{ path, base: git("rev-parse", "origin/main"), head: git("rev-parse", "HEAD"), signal },
      rules: {
        ...{ ...rulesOf, allowLfs: false, lfs: contents },
        holdsSecret: (bytes) => (bytes.includes(secret) ? "TOKEN" : null),
      },
    });
  const push = async () => {
    const head = git("rev-parse", "HEAD");
    const found = await newContents({ path, commit: head, mirror, store });
    assert.deepEqual(found.missing, []);
    assert.equal(await pushLfs(fetchOrder, store, found.there), null);
    const order = { ...fetchOrder, path, borrowed: [mirror], commit: head, branch };
    assert.equal((await pushCommit({ ...order, expected: null })).outcome, "pushed");
    return found.there.map(({ oid }) => oid).toSorted();
  };
  return {
    ...{ ...world, ...cloned, advance, commit, update, offer, push, store, seedGit: seed },
    ...{ repository, env, runId, timeoutMs },
  };
}

/** Without the difference of two large contents in the message. */
function assertContent(path: string, name: string, content: Buffer) {
  const found = readFileSync(join(path, name));
  assert.ok(found.equals(content), `${name} is ${found.subarray(0, 200)}`);
}

test("lfs: a workspace has the contents, fetched once into the mirror, is clean, and holds no work", {
  skip,
}, async (t) => {
  const { path, git, mirror, bare, clone, told } = await bench(t);
  assertContent(path, "art/ä b.bin", one);
  assertContent(path, "art/two.bin", two);
  // Also for a git that has no filter: nothing is compared again.
  assert.equal(git("-c", "filter.lfs.process=", "status", "--porcelain"), "");
  assert.deepEqual(await workIn(path), []);
  assert.ok(!existsSync(join(path, ".git/lfs")), "the contents are in the mirror alone");
  assert.ok(told.includes("app: 2 files of git LFS"));
  // The server is not asked again.
  rmSync(join(bare, "lfs"), { recursive: true });
  const second = await clone({ lfs: true }, { identifier: "ENG-2" });
  assertContent(second.path, "art/two.bin", two);
  assert.equal(statSync(new LfsStore(mirror).pathOf({ oid: oidOf(two) })).nlink, 1);
});

test("lfs: what an agent changes is committed as a pointer, pushed with its content, and shown", {
  skip,
}, async (t) => {
  const world = await bench(t);
  const { path, git, commit, offer, push, bare, dir, mirror, store } = world;
  const newer = Buffer.alloc(250_000, "newer ");
  put(path, "art/two.bin", newer);
  put(path, "art/new.bin", Buffer.alloc(1_000, "new "));
  put(path, "art/empty.bin", "");
  put(path, "plain.txt", "plain\n");
  assert.equal((await workIn(path)).length, 2);
  const made = await commit();
  assert.deepEqual([made.outcome, made.outcome === "committed" && made.leftOut], ["committed", []]);
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${oidOf(newer)}\nsize 250000`;
  assert.equal(git("cat-file", "blob", "HEAD:art/two.bin"), pointer);
  assert.equal(git("cat-file", "blob", "HEAD:art/empty.bin"), "");
  assert.equal(git("-c", "filter.lfs.process=", "status", "--porcelain"), "");
  assert.equal((await commit()).outcome, "clean");
  assert.deepEqual(
    (await workIn(path)).map(({ kind }) => kind),
    ["commits"],
  );
  const shown = await diffOf(path, null);
  const paths = ["art/empty.bin", "art/new.bin", "art/two.bin", "plain.txt"];
  assert.deepEqual(
    shown.files.map((file) => file.path),
    paths,
  );
  assert.match(shown.patch, new RegExp(`^\\+oid sha256:${oidOf(newer)}$`, "m"));
  assert.deepEqual((await offer()).objections, [], "a content may be larger than max_file");
  const named = (await offer("newer newer")).objections.map((one) => [one.path, one.kind]);
  assert.deepEqual(named, [["art/two.bin", "secret"]]);
  // Others can read what is in the mirror: what was not pushed, and may never be, is not there.
  const shared = store.pathOf({ oid: oidOf(newer) });
  assert.ok(!existsSync(shared));
  git("-c", "filter.lfs.process=git-lfs filter-process", "checkout", "-q", "HEAD^", "--", ".");
  git("-c", "filter.lfs.process=git-lfs filter-process", "checkout", "-q", "HEAD", "--", ".");
  assertContent(path, "art/two.bin", newer);
  assert.equal((await push()).length, 2);
  assert.ok(existsSync(shared));
  assert.deepEqual(
    readdirSync(dirname(dirname(mirror))).filter((name) => name.includes("-")),
    [],
  );
  // As a person gets it.
  gitIn(dir)("clone", "-q", "--branch", branch, bare, "person");
  const person = gitIn(join(dir, "person"));
  person("lfs", "install", "--local");
  person("lfs", "pull");
  assertContent(join(dir, "person"), "art/two.bin", newer);
  person("lfs", "fsck");
});

test("lfs: a commit that the agent made with its own git LFS is offered and pushed; without its content it is not", {
  skip,
}, async (t) => {
  const { path, git, offer, push, bare } = await bench(t);
  const own = Buffer.alloc(5_000, "own ");
  put(path, "own.bin", own);
  git("add", "own.bin");
  git("commit", "-q", "-m", "own");
  assert.match(git("cat-file", "blob", "HEAD:own.bin"), /^version /);
  assert.deepEqual((await offer()).objections, []);
  assert.deepEqual(await push(), [oidOf(own)]);
  const oid = oidOf(own);
  assert.ok(existsSync(join(bare, "lfs/objects", oid.slice(0, 2), oid.slice(2, 4), oid)));
  const lost = Buffer.alloc(5_000, "lost ");
  put(path, "lost.bin", lost);
  git("add", "lost.bin");
  git("commit", "-q", "-m", "lost");
  const there = join(path, ".git/lfs/objects", oidOf(lost).slice(0, 2), oidOf(lost).slice(2, 4));
  // Another content under its name does not count.
  writeFileSync(join(there, oidOf(lost)), "another");
  const { objections } = await offer();
  assert.deepEqual(
    objections.map((one) => [one.path, one.detail]),
    [["lost.bin", "its content is not here, and not on the server"]],
  );
});

test("lfs: an agent that goes back to an older version is offered, as the server has its content", {
  skip,
}, async (t) => {
  const { path, git, advance, update, commit, offer, store } = await bench(t);
  put(path, "plain.txt", "plain\n");
  await commit();
  assert.equal((await update(advance({ "art/two.bin": "newer" }))).outcome, "updated");
  const older = git("cat-file", "blob", "HEAD^1:art/two.bin");
  git("config", "filter.lfs.process", "");
  git("config", "filter.lfs.clean", "");
  put(path, "art/two.bin", `${older}\n`);
  git("commit", "-q", "-a", "-m", "back");
  rmSync(store.pathOf({ oid: oidOf(two) }), { force: true });
  assert.deepEqual((await offer()).objections, []);
  assert.ok(await store.find({ oid: oidOf(two), bytes: two.length }));
  const held = (await offer("two two")).objections.map((one) => [one.path, one.kind]);
  assert.deepEqual(held, [["art/two.bin", "secret"]]);
});

test("lfs: what an agent puts in the place of a content is not read through a link, nor longer than its pointer", async (t) => {
  const dir = temporaryDir(t);
  const pointer = { oid: oidOf(one), bytes: one.length };
  const other = new LfsStore(join(dir, "other"));
  put(dir, relative(dir, other.pathOf(pointer)), one);
  const mirror = join(dir, "own");
  const levels = ["lfs", "lfs/objects", `lfs/objects/${pointer.oid.slice(0, 2)}`];
  for (const [at, level] of levels.entries()) {
    const gitDir = join(dir, `workspace-${at}/.git`);
    mkdirSync(dirname(join(gitDir, level)), { recursive: true });
    symlinkSync(join(dir, "other", level), join(gitDir, level));
    const own = new LfsStore(mirror, gitDir);
    assert.equal(await own.find(pointer), null, level);
    // Nor is anything written through it.
    await assert.rejects(own.add(other.pathOf(pointer), pointer), /is not a directory/);
  }
  const gitDir = join(dir, "workspace/.git");
  const own = new LfsStore(mirror, gitDir);
  const file = agentsContent(gitDir, pointer);
  put(dir, relative(dir, file), "");
  // Of a size that takes too long to copy.
  truncateSync(file, 2 ** 42);
  assert.equal(await own.find(pointer), null);
  assert.equal(await own.find({ ...pointer, bytes: 2 ** 42 }), null);
  writeFileSync(file, one);
  await assert.rejects(own.find(pointer, AbortSignal.abort(new Error("over"))), /over/);
  assert.equal(await own.find(pointer), file);
  writeFileSync(file, Buffer.alloc(one.length, "two "));
  assert.equal(await own.find(pointer), null, "it was written again");
  assert.equal(await own.add(other.pathOf(pointer), pointer), true);
  assertContent(dir, relative(dir, file), one);
  assert.ok(!existsSync(own.dir));
});

test("lfs: a content that was read is not read again until something is written to it", async (t) => {
  const dir = temporaryDir(t);
  const pointer = { oid: oidOf(one), bytes: one.length };
  const file = join(dir, "one.bin");
  writeFileSync(file, one);
  // What was written just now could be written again in the same tick of the clock.
  while (Date.now() - statSync(file).ctimeMs <= 2_000) await setTimeout(100);
  const isThere = () => isContent(file, pointer, AbortSignal.abort(new Error("it is read")));
  await assert.rejects(isThere(), /it is read/);
  assert.equal(await isContent(file, pointer), true);
  assert.equal(await isThere(), true);
  assert.equal(await isContent(file, { ...pointer, oid: oidOf(two) }), false);
  writeFileSync(file, one);
  await assert.rejects(isThere(), /it is read/);
});

test("lfs: contents in the mirror that no workspace has used are deleted after a week", {
  skip,
}, async (t) => {
  const { store, mirrors, mirror, loan, repository, env, runId, timeoutMs, advance } =
    await bench(t);
  const { address, depth } = repository;
  const order = { address, depth, credential: null, env, runId, timeoutMs, signal };
  const [first, second] = [store.pathOf({ oid: oidOf(one) }), store.pathOf({ oid: oidOf(two) })];
  const days = (count: number) => new Date(Date.now() - count * 86_400_000);
  utimesSync(first, days(8), days(8));
  utimesSync(second, days(6), days(6));
  // The workspace, which may name it, is as old.
  await store.prune(days(8).getTime());
  assert.ok(existsSync(first));
  assert.ok(Number.isFinite(await mirrors.lent(loan).keptSince()));
  await mirrors.release(loan);
  assert.equal(await mirrors.lent(loan).keptSince(), Number.POSITIVE_INFINITY);
  advance({ "plain.txt": "newer\n" });
  assert.equal((await mirrors.refresh(order)).path, mirror);
  assert.deepEqual([existsSync(first), existsSync(second)], [false, true]);
  // What is used counts as new.
  utimesSync(second, days(8), days(8));
  assert.equal(await store.find({ oid: oidOf(two), bytes: two.length }), second);
  await store.prune(Number.POSITIVE_INFINITY);
  assert.ok(existsSync(second));
});

test("lfs: a kill -9 while contents are written leaves nothing that a commit would take", async (t) => {
  const dir = temporaryDir(t);
  const path = join(dir, "workspace");
  const store = new LfsStore(join(dir, "mirror"));
  const pointer = { oid: oidOf(one), bytes: one.length };
  put(dir, relative(dir, store.pathOf(pointer)), one);
  const names = Array.from({ length: 100 }, (_, at) => `art/${at}.bin`);
  for (const name of names) put(path, name, pointerText(pointer));
  mkdirSync(join(path, ".git"));
  const module = (name: string) => new URL(`../../../src/core/repository/${name}`, import.meta.url);
  const script = `import { LfsStore } from ${JSON.stringify(module("lfs.ts"))};
    import { writeContents } from ${JSON.stringify(module("lfs-files.ts"))};
    const [path, mirror, text, names] = process.argv.slice(1);
    const files = new Map(JSON.parse(names).map((name) => [name, JSON.parse(text)]));
    await writeContents(path, files, new LfsStore(mirror));`;
  const given = [path, join(dir, "mirror"), JSON.stringify(pointer), JSON.stringify(names)];
  const child = spawn(process.execPath, ["--input-type=module", "-e", script, ...given]);
  const ended = once(child, "exit");
  const isBegun = () => names.some((name) => statSync(join(path, name)).size === one.length);
  while (!isBegun() && child.exitCode === null) await setTimeout(2);
  child.kill("SIGKILL");
  await ended;
  const left = readdirSync(join(path, "art")).toSorted();
  assert.deepEqual(left, names.map((name) => name.slice(4)).toSorted());
  writeFileSync(join(path, ".git/symphony-content-of-another-crash"), "part");
  await writeContents(path, new Map(names.map((name) => [name, pointer])), store);
  for (const name of names) assert.equal(statSync(join(path, name)).size, one.length);
  assert.deepEqual(readdirSync(join(path, ".git")), []);
});

test("lfs: a newer base brings its contents; a conflict keeps the branch's side, without marks", {
  skip,
}, async (t) => {
  const { path, git, advance, commit, update } = await bench(t);
  put(path, "plain.txt", "plain\n");
  await commit();
  const newer = Buffer.alloc(1_000, "newer ");
  const base = advance({ "art/two.bin": newer, "art/three.bin": Buffer.alloc(10, "3") });
  assert.equal((await update(base)).outcome, "updated");
  assertContent(path, "art/two.bin", newer);
  assertContent(path, "art/three.bin", Buffer.alloc(10, "3"));
  assertContent(path, "art/ä b.bin", one);
  assert.equal(git("-c", "filter.lfs.process=", "status", "--porcelain"), "");
  assert.equal((await commit()).outcome, "clean");
  const ours = Buffer.alloc(2_000, "ours ");
  put(path, "art/two.bin", ours);
  await commit();
  const theirs = advance({ "art/two.bin": Buffer.alloc(2_000, "theirs "), "one.txt": "newer\n" });
  const result = await update(theirs);
  assert.deepEqual(result, {
    outcome: "conflicts",
    conflicts: [{ path: "art/two.bin", kind: "whole" }],
  });
  assertContent(path, "art/two.bin", ours);
  assert.equal((await commit()).outcome, "committed");
  assert.equal(git("rev-parse", "HEAD^2"), theirs);
  assert.equal(git("diff", "--name-only", theirs, "HEAD"), "art/two.bin\nplain.txt");
});

test("lfs: work is kept with its contents, and restored, also without mirror and server", {
  skip,
}, async (t) => {
  const { path, git, commit, loan, mirrors, mirror, dir, bare } = await bench(t);
  const earlier = Buffer.alloc(3_000, "earlier ");
  for (const content of [earlier, Buffer.alloc(3_000, "later ")]) {
    put(path, "art/two.bin", content);
    assert.equal((await commit()).outcome, "committed");
  }
  put(path, "open.txt", "not committed\n");
  // No ref has the commit that HEAD is at.
  git("checkout", "-q", "--detach");
  git("branch", "-q", "-D", branch);
  const copies = new KeptCopies({
    ...{ dir: join(dir, "kept"), clock: new FakeClock(), maxBytes: () => 2 ** 31 },
    lentTo: async () => ({ mirror: mirrors.lent(loan).path, submodules: [] }),
  });
  const copy = await copies.keep(path, { issue: null, work: await workIn(path) });
  rmSync(mirror, { recursive: true });
  rmSync(join(bare, "lfs"), { recursive: true });
  const to = join(dir, "back");
  await copies.restore(copy, to);
  const back = gitIn(to);
  assert.equal(back("rev-parse", "HEAD"), git("rev-parse", "HEAD"));
  assertContent(to, "art/two.bin", Buffer.alloc(3_000, "later "));
  assertContent(to, "art/ä b.bin", one);
  assert.equal(back("status", "--porcelain"), "?? open.txt");
  back("checkout", "-q", "HEAD^");
  assertContent(to, "art/two.bin", earlier);
});

test("lfs: only the server of the address is asked, and no filter of an agent runs", {
  skip,
}, async (t) => {
  const elsewhere =
    '[lfs]\n\turl = file:///nowhere/else.git\n[remote "origin"]\n\tlfsurl = file:///x\n';
  const { path, git, clone, commit, bare, store, dir } = await bench(t, {
    ".lfsconfig": elsewhere,
  });
  assertContent(path, "art/two.bin", two);
  git("config", "filter.lfs.clean", `touch ${join(dir, "ran")}; cat`);
  git("config", "filter.lfs.process", `touch ${join(dir, "ran")}; false`);
  git("config", "lfs.storage", join(dir, "stolen"));
  put(path, ".git/info/attributes", "* filter=evil\n");
  git("config", "filter.evil.clean", `touch ${join(dir, "ran")}; cat`);
  rmSync(join(dir, "ran"), { force: true });
  put(path, "art/two.bin", "changed");
  assert.equal((await commit()).outcome, "committed");
  await diffOf(path, null);
  assert.ok(!existsSync(join(dir, "ran")));
  assert.ok(!existsSync(join(dir, "stolen")));
  assert.equal(git("cat-file", "-t", "HEAD:art/two.bin"), "blob");
  assert.ok(existsSync(agentsContent(join(path, ".git"), { oid: oidOf(Buffer.from("changed")) })));
  // A content that the server lacks is said, with what to do.
  rmSync(store.dir, { recursive: true });
  rmSync(join(bare, "lfs"), { recursive: true });
  const { code, message, hint } = await refusalOf(clone({ lfs: true }, { identifier: "ENG-2" }));
  assert.equal(code, "clone_failed");
  assert.match(message, /has files of git LFS that cannot be fetched: .*missing object/);
  assert.match(hint ?? "", /its \.lfsconfig names another server, which symphony does not use/);
});

test("lfs: without the program the setting says what to install", async () => {
  const { message, hint } = (await missingLfs({ PATH: "/nowhere" })) ?? {};
  assert.equal(message, "the program git-lfs was not found");
  assert.match(hint ?? "", /apt-get install git-lfs/);
});
