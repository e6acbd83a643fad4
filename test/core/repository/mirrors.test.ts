import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { cloneInto } from "../../../src/core/repository/clone.ts";
import type { FetchOrder } from "../../../src/core/repository/mirror-call.ts";
import { Mirrors } from "../../../src/core/repository/mirrors.ts";
import { survey } from "../../../src/core/repository/survey.ts";
import { diffOf } from "../../../src/core/workspace/diff.ts";
import { workIn } from "../../../src/core/workspace/work.ts";
import { gitIn } from "../../support/makers/git-repository.ts";
import { cloneWorld, refusalOf } from "../../support/worlds/clone-world.ts";

function mirrorWorld(t: TestContext) {
  const world = cloneWorld(t);
  const { repository, env, runId, timeoutMs, signal } = world.order();
  const order = (more: Partial<FetchOrder> = {}): FetchOrder => ({
    address: repository.address,
    depth: null,
    credential: null,
    env,
    runId,
    timeoutMs,
    signal,
    ...more,
  });
  /** A git that counts its calls, for a directory of mirrors of its own. */
  const counted = (intervalMs: number) => {
    const bin = join(world.dir, "counting");
    mkdirSync(bin);
    const real = process.env["PATH"] ?? "";
    const script = `#!/bin/sh\necho "$1" >> ${bin}/calls\nPATH='${real}' exec git "$@"\n`;
    writeFileSync(join(bin, "git"), script, { mode: 0o755 });
    const counting = { PATH: `${bin}:${real}`, HOME: world.dir };
    const dir = join(world.dir, "counted");
    const mirrors = new Mirrors({ dir, clock: world.clock, env: counting, intervalMs });
    const fetches = () =>
      readFileSync(join(bin, "calls"), "utf8")
        .split("\n")
        .filter((verb) => verb === "fetch").length;
    return { mirrors, dir, env: counting, fetches };
  };
  return { ...world, order, counted, seedGit: gitIn(world.seed), remote: gitIn(world.bare) };
}

const isSound = (path: string) => {
  const { status, stdout, stderr } = spawnSync("git", ["-C", path, "fsck", "--full", "--strict"], {
    encoding: "utf8",
  });
  assert.deepEqual([status, stdout.replaceAll(/^dangling .*\n/gm, "")], [0, ""], stderr);
};

test("workspaces that are made together share one fetch, and a later one fetches after the interval", async (t) => {
  const { order, counted, clock } = mirrorWorld(t);
  const { mirrors, env, fetches } = counted(10_000);
  await Promise.all(Array.from({ length: 10 }, () => mirrors.ensure(order({ env }))));
  assert.equal(fetches(), 1);
  await mirrors.ensure(order({ env }));
  assert.equal(fetches(), 1);
  clock.advance(10_000);
  await mirrors.ensure(order({ env }));
  assert.equal(fetches(), 2);
  // The first begins before the other two are called, and these share the next one.
  await Promise.all(Array.from({ length: 3 }, () => mirrors.refresh(order({ env }))));
  assert.equal(fetches(), 4);
});

test("a caller that stops waiting does not end the fetch of another; the last one ends it", async (t) => {
  const { order, counted } = mirrorWorld(t);
  const { mirrors, env, dir } = counted(10_000);
  const [one, other] = [new AbortController(), new AbortController()];
  const first = mirrors.ensure(order({ env, signal: one.signal }));
  const second = mirrors.ensure(order({ env, signal: other.signal }));
  one.abort(new Error("first"));
  await assert.rejects(first, /first/);
  assert.equal(existsSync(join((await second).path, "HEAD")), true);
  const last = new AbortController();
  const third = mirrors.refresh(order({ env, signal: last.signal }));
  last.abort(new Error("last"));
  await assert.rejects(third, /last/);
  await mirrors.refresh(order({ env }));
  assert.deepEqual(
    readdirSync(dir).filter((name) => name.startsWith("making-")),
    [],
  );
});

test("a fetch that fails, and a crash while a mirror is made, leave no partial mirror", async (t) => {
  const { dir, order, clone, counted } = mirrorWorld(t);
  const { mirrors, env, dir: place } = counted(10_000);
  mkdirSync(join(place, "making-of-a-crash", "objects"), { recursive: true });
  await refusalOf(clone({ url: join(dir, "gone.git") }));
  assert.deepEqual(readdirSync(join(dir, "mirrors")), []);
  const { path } = await mirrors.ensure(order({ env }));
  assert.deepEqual(readdirSync(place), [path.split("/").at(-2)]);
});

test("lock files that a killed git left do not block, and what agents left next to the mirror is removed", async (t) => {
  const { order, mirrors, seedGit, clock } = mirrorWorld(t);
  const { path } = await mirrors.ensure(order());
  seedGit("commit", "-q", "--allow-empty", "-m", "more");
  seedGit("push", "-q", "origin", "main");
  const left = ["refs/remotes/origin/main.lock", "packed-refs.lock", "shallow.lock"];
  for (const name of [...left, "objects/pack/tmp_pack_x"]) writeFileSync(join(path, name), "");
  writeFileSync(join(dirname(path), "left"), "by an agent");
  mkdirSync(join(dirname(path), ".git"));
  // Another server, after the first one was killed.
  const next = new Mirrors({ dir: dirname(dirname(path)), clock, env: order().env });
  const mirror = await next.ensure(order());
  assert.equal(await mirror.commitOf("main"), seedGit("rev-parse", "main"));
  assert.deepEqual(readdirSync(dirname(path)).sort(), [".git", "repository.git"]);
  for (const name of left) assert.equal(existsSync(join(path, name)), false, name);
});

test("DELIVERY-29: after upstream rewrote and removed what workspaces stand on, and a garbage collection, each workspace is whole", async (t) => {
  const { clone, order, mirrors, seedGit, remote } = mirrorWorld(t);
  seedGit("checkout", "-q", "-b", "feature");
  seedGit("commit", "-q", "--allow-empty", "-m", "feature");
  seedGit("tag", "-a", "v1", "-m", "v1");
  seedGit("tag", "light");
  seedGit("push", "-q", "origin", "feature", "v1", "light");
  const based = await clone({ base_branch: "feature" });
  const plain = await clone();
  based.git("commit", "-q", "--allow-empty", "-m", "work");
  const head = based.git("rev-parse", "HEAD");
  for (const name of ["v1", "light"]) remote("tag", "-d", name);
  remote("branch", "-D", "feature");
  seedGit("checkout", "-q", "--orphan", "other");
  seedGit("commit", "-q", "-m", "rewritten");
  seedGit("push", "-q", "--force", "origin", "other:main");
  const mirror = await mirrors.refresh(order());
  assert.equal(await mirror.commitOf("feature"), null);
  const gc = () => gitIn(mirror.path)("gc", "--quiet", "--prune=now");
  gc();
  for (const { path, git } of [based, plain]) {
    isSound(path);
    assert.equal(git("cat-file", "-t", "v1"), "tag");
    git("log", "--all");
  }
  assert.equal(based.git("rev-parse", "HEAD"), head);
  // The branch exists nowhere else any more, so without the workspaces nothing is kept of it.
  await mirrors.release(based.loan);
  gc();
  isSound(plain.path);
  await mirrors.release(plain.loan);
  await mirrors.release(plain.loan);
  assert.equal(gitIn(mirror.path)("for-each-ref", "refs/keep/"), "");
  await mirrors.release({ mirror: "gone", keep: "x" });
});

test("what symphony reads of a workspace includes what it borrows", async (t) => {
  const { clone } = mirrorWorld(t);
  const { path, git } = await clone();
  writeFileSync(join(path, "one.txt"), "changed\n");
  git("commit", "-q", "-a", "-m", "work");
  assert.partialDeepStrictEqual(await survey(path, null), { ahead: 1, behind: 0 });
  assert.equal((await workIn(path)).length, 1);
  assert.equal((await diffOf(path, null)).files.length, 1);
});

test("a branch that is named HEAD does not change what the mirror has of the default branch", async (t) => {
  const { order, mirrors, clone, remote, seedGit } = mirrorWorld(t);
  const { path } = await mirrors.ensure(order());
  seedGit("commit", "-q", "--allow-empty", "-m", "stranger");
  const stranger = seedGit("rev-parse", "HEAD");
  seedGit("push", "-q", "origin", "HEAD:refs/heads/HEAD");
  assert.equal(await mirrors.isContained(order(), stranger, "main"), false);
  assert.equal(gitIn(path)("rev-parse", "refs/remotes/origin/main"), remote("rev-parse", "main"));
  const { git } = await clone();
  assert.equal(git("symbolic-ref", "refs/remotes/origin/HEAD"), "refs/remotes/origin/main");
  assert.equal(git("log", "-1", "--format=%s"), "two.txt");
});

test("the packs of many fetches are joined, and no object is lost", async (t) => {
  const { order, mirrors } = mirrorWorld(t);
  const { path } = await mirrors.ensure(order());
  const git = (input: string, ...args: string[]) =>
    spawnSync("git", ["-C", path, ...args], { input, encoding: "utf8" }).stdout.trim();
  const ids = Array.from({ length: 51 }, (_, at) => git(`${at}`, "hash-object", "-w", "--stdin"));
  for (const id of ids) git(`${id}\n`, "pack-objects", "-q", join(path, "objects/pack/pack"));
  git("", "prune-packed");
  await mirrors.refresh(order());
  const packs = readdirSync(join(path, "objects/pack")).filter((name) => name.endsWith(".pack"));
  assert.ok(packs.length < 10, String(packs.length));
  for (const id of ids) assert.equal(git("", "cat-file", "-t", id), "blob");
});

test("when the directory of mirrors has moved, a workspace borrows from the new place", async (t) => {
  const { clone, dir, order, clock } = mirrorWorld(t);
  const { path, git, loan } = await clone();
  const moved = join(realpathSync(dir), "moved");
  renameSync(join(dir, "mirrors"), moved);
  assert.throws(() => git("log"));
  const next = new Mirrors({ dir: moved, clock, env: order().env });
  const mirror = await next.repair(path, loan);
  assert.equal(git("log", "-1", "--format=%s"), "two.txt");
  const file = join(path, ".git", "objects", "info", "alternates");
  // An agent cannot make it write elsewhere.
  const outside = join(dir, "outside");
  unlinkSync(file);
  writeFileSync(outside, "mine");
  symlinkSync(outside, file);
  await next.repair(path, loan);
  assert.equal(readFileSync(outside, "utf8"), "mine");
  assert.equal(readFileSync(file, "utf8"), `${mirror}/objects\n`);
  const gone = await refusalOf(next.repair(path, { ...loan, mirror: "gone" }));
  assert.equal(gone.code, "workspace_error");
});

test("what a person pushed is fetched, and whether the base has a commit is decided by the remote alone", async (t) => {
  const { clone, order, mirrors } = mirrorWorld(t);
  const { git } = await clone();
  git("commit", "-q", "--allow-empty", "-m", "work");
  const commit = git("rev-parse", "HEAD");
  git("update-ref", "refs/remotes/origin/main", commit);
  assert.equal(await mirrors.isContained(order(), commit, "main"), false);
  git("push", "-q", "origin", `${commit}:refs/heads/work`);
  assert.equal(await mirrors.fetchBranch(order(), "work"), commit);
  assert.equal(await mirrors.isContained(order(), commit, "main"), false);
  git("push", "-q", "origin", `${commit}:refs/heads/main`);
  assert.equal(await mirrors.isContained(order(), commit, "main"), true);
  assert.equal(await mirrors.isContained(order(), commit, "nowhere"), false);
  assert.equal(await mirrors.fetchBranch(order(), "nowhere"), null);
});

test("a history that depth cut is completed before the answer is no", async (t) => {
  const { dir, clock, order, remote } = mirrorWorld(t);
  const mirrors = new Mirrors({ dir: join(dir, "cut"), clock, env: order().env });
  const cut = order({ depth: 1 });
  assert.notEqual(await (await mirrors.ensure(cut)).shallow(), null);
  const first = remote("rev-parse", "main~1");
  assert.equal(await mirrors.isContained(cut, first, "main"), true);
  assert.equal(await (await mirrors.ensure(cut)).shallow(), null);
});

test("a shallow workspace stays readable after its mirror was completed", async (t) => {
  const { clone, order, mirrors } = mirrorWorld(t);
  const { path, git } = await clone({ depth: 1 });
  await mirrors.refresh(order(), { whole: true });
  assert.equal(git("rev-list", "--count", "HEAD"), "1");
  isSound(path);
});

test("a clone that fails after its objects were lent gives them back", async (t) => {
  const { order, clone } = cloneWorld(t);
  const { mirror } = await clone();
  const before = gitIn(mirror)("for-each-ref", "refs/keep/");
  const failed = await refusalOf(cloneInto(order({ base_branch: "nowhere" })));
  assert.equal(failed.code, "clone_failed");
  assert.equal(gitIn(mirror)("for-each-ref", "refs/keep/"), before);
});

test("DELIVERY-36: the first of several names is read from a branch, never through a link", async (t) => {
  const { order, mirrors, seed, seedGit } = mirrorWorld(t);
  mkdirSync(join(seed, ".github"));
  symlinkSync("../../secret", join(seed, ".github", "frame.md"));
  writeFileSync(join(seed, "Frame.MD"), "## What\n");
  writeFileSync(join(seed, "large.md"), "x".repeat(64 * 1024 + 1));
  seedGit("add", "-A");
  seedGit("commit", "-qm", "frames");
  seedGit("push", "-q", "origin", "HEAD:frames");
  const mirror = await mirrors.refresh(order());
  assert.equal(await mirror.textOf("frames", [".github/frame.md", "frame.md"]), "## What\n");
  assert.equal(await mirror.textOf("frames", [".github/frame.md", "large.md"]), null);
  assert.equal(await mirror.textOf("frames", ["docs/frame.md"]), null);
  assert.equal(await mirror.textOf("gone", ["frame.md"]), null);
});
