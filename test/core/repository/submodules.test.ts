import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
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
import { isGitAddress, parseGitAddress } from "../../../src/core/config/git.ts";
import { makeRoom } from "../../../src/core/repository/clone-submodules.ts";
import { commitWork } from "../../../src/core/repository/commit.ts";
import { addressOf } from "../../../src/core/repository/submodules.ts";
import { updateWorkspace } from "../../../src/core/repository/update.ts";
import { writeBaseline } from "../../../src/core/workspace/baseline.ts";
import { KeptCopies } from "../../../src/core/workspace/copies.ts";
import { baselineOf, findingsIn, workIn } from "../../../src/core/workspace/work.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { gitIn, setTraps } from "../../support/makers/git-repository.ts";
import { cloneWorld } from "../../support/worlds/clone-world.ts";

const signal = new AbortController().signal;
const author = { name: "Sym", email: "s@example.org" };

/** A bare repository `NAME.git` next to the origin, with one file; resolves with its commit. */
function library(dir: string, name: string, more: (seed: string) => void = () => {}): string {
  const seed = join(dir, `${name}-seed`);
  mkdirSync(seed);
  const git = gitIn(seed);
  git("init", "-q", "-b", "main");
  writeFileSync(join(seed, `${name}.txt`), `${name}\n`);
  git("add", "-A");
  more(seed);
  if (existsSync(join(seed, ".gitmodules"))) git("add", ".gitmodules");
  git("commit", "-q", "-m", name);
  gitIn(dir)("clone", "-q", "--bare", seed, join(dir, `${name}.git`));
  return git("rev-parse", "HEAD");
}

/** Adds a submodule as any author of a repository can write it, without git's own checks. */
function addLink(seed: string, path: string, url: string, commit: string, name = path): void {
  const file = join(seed, ".gitmodules");
  const known = existsSync(file) ? readFileSync(file, "utf8") : "";
  writeFileSync(file, `${known}[submodule "${name}"]\n\tpath = ${path}\n\turl = ${url}\n`);
  gitIn(seed)("update-index", "--add", "--cacheinfo", `160000,${commit},${path}`);
}

async function bench(t: TestContext, fill?: (dir: string, seed: string) => void) {
  const world = cloneWorld(t);
  const { dir, seed } = world;
  const git = gitIn(seed);
  const inner = library(dir, "inner");
  const lib = library(dir, "lib", (place) => addLink(place, "deep/inner", "../inner.git", inner));
  addLink(seed, "libs/lib", "../lib.git", lib);
  fill?.(dir, seed);
  git("add", ".gitmodules");
  git("commit", "-q", "-m", "submodules");
  git("push", "-q", "origin", "main");
  const cloned = await world.clone({ submodules: true });
  const { path, loan } = cloned;
  await writeBaseline(path, await baselineOf(path, { issueId: "i", loan }));
  const commit = async () => {
    const { settled } = await findingsIn(path);
    const wall = 1_700_000_000_000;
    return commitWork({ path, author, wall, signal, message: "work\n", base: null, settled });
  };
  return { ...world, ...cloned, lib, commit };
}

test("submodules: each is checked out from a mirror of its own, is clean, and holds no work", async (t) => {
  const { path, git, loan, mirrors, mirror, lib } = await bench(t);
  assert.equal(readFileSync(join(path, "libs/lib/lib.txt"), "utf8"), "lib\n");
  assert.equal(readFileSync(join(path, "libs/lib/deep/inner/inner.txt"), "utf8"), "inner\n");
  assert.equal(gitIn(join(path, "libs/lib"))("rev-parse", "HEAD"), lib);
  assert.equal(git("status", "--porcelain"), "");
  assert.deepEqual(await workIn(path), []);
  const places = await mirrors.repairSubmodules(path, loan);
  assert.equal(new Set([mirror, ...places]).size, 3);
  assert.deepEqual(
    loan.submodules?.map((one) => one.path),
    ["libs/lib", "libs/lib/deep/inner"],
  );
  const text = readFileSync(join(path, "libs/lib/.git/objects/info/alternates"), "utf8");
  assert.equal(text, `${places[0]}/objects\n`);
  const kept = () => gitIn(places[0] ?? "")("for-each-ref", "refs/keep");
  assert.notEqual(kept(), "");
  await mirrors.release(loan);
  assert.equal(kept(), "");
});

test("submodules: work inside of one is held with its path, counts as work, and is kept whole", async (t) => {
  const { path, git, commit, dir, loan, mirrors, lib } = await bench(t);
  const inside = gitIn(join(path, "libs/lib"));
  writeFileSync(join(path, "libs/lib/lib.txt"), "changed\n");
  const left = async () => {
    const result = await commit();
    return result.outcome === "unfinished" ? [] : result.leftOut;
  };
  const changed = "it is a submodule, and files in it have changed";
  assert.deepEqual(await left(), [{ path: "libs/lib", why: changed }]);
  assert.deepEqual(await workIn(path), [{ kind: "submodule", count: 1, paths: ["libs/lib"] }]);
  inside("commit", "-q", "-a", "-m", "inside");
  const moved = "it is a submodule, and is at another commit";
  assert.deepEqual(await left(), [{ path: "libs/lib", why: moved }]);
  // A commit that is on another branch only is work too.
  inside("checkout", "-q", "-b", "aside");
  inside("checkout", "-q", "--detach", lib);
  assert.equal((await workIn(path)).length, 1);
  const of = (name: string) => mirrors.lent({ mirror: name }).path;
  const submodules = loan.submodules?.map((one) => ({ path: one.path, mirror: of(one.mirror) }));
  const copies = new KeptCopies({
    ...{ dir: join(dir, "kept"), clock: new FakeClock(), maxBytes: () => 2 ** 31 },
    lentTo: async () => ({ mirror: of(loan.mirror), submodules: submodules ?? [] }),
  });
  // Wherever the agent has moved one, its objects are in the copy.
  renameSync(join(path, "libs/lib/deep/inner"), join(path, "moved"));
  const copy = await copies.keep(path, { issue: null, work: await workIn(path) });
  assert.equal(copy.form, "archive");
  const status = git("status", "--porcelain");
  rmSync(join(dir, "mirrors"), { recursive: true });
  await copies.restore(copy, join(dir, "back"));
  const back = gitIn(join(dir, "back/libs/lib"));
  assert.equal(back("log", "-1", "--format=%s", "aside"), "inside");
  back("fsck", "--strict");
  gitIn(join(dir, "back/moved"))("fsck", "--strict");
  assert.equal(gitIn(join(dir, "back"))("status", "--porcelain"), status);
});

test("submodules: what a repository names is checked; nothing of it runs, and a link leads nowhere", async (t) => {
  const { path, told, dir, mirrors, loan } = await bench(t, (place, seed) => {
    const secret = library(place, "secret");
    setTraps(join(place, "secret-seed"), join(place, "ran"));
    addLink(seed, "absolute", join(place, "secret.git"), secret);
    addLink(seed, "above", "../../../etc", secret);
    addLink(seed, "ext", `ext::sh -c touch% ${join(place, "ran/ext")}`, secret);
    addLink(seed, "option", "--upload-pack=touch", secret);
    addLink(seed, "named", "../secret.git", secret, "../../hooks/x");
    addLink(seed, "gone", "../secret.git", "1".repeat(40));
  });
  const why = "a repository on this disk may only name another one next to it, as ../NAME";
  for (const name of ["absolute", "above", "ext", "option"]) {
    assert.ok(told.includes(`app: ${name} is not checked out: ${why}`), name);
    assert.ok(!existsSync(join(path, name, ".git")));
  }
  assert.ok(
    told.some((line) => /^app: gone is not checked out: 1{10} is on no branch of/.test(line)),
  );
  // A name, which git makes a path of, is not used at all.
  assert.ok(existsSync(join(path, "named/secret.txt")));
  assert.ok(!existsSync(join(path, ".git/modules")));
  assert.ok(!existsSync(join(dir, "ran/ext")));
  // An agent puts a link in its place before the mirrors move.
  mkdirSync(join(dir, "elsewhere/.git/objects/info"), { recursive: true });
  rmSync(join(path, "named"), { recursive: true });
  symlinkSync(join(dir, "elsewhere"), join(path, "named"));
  await mirrors.repairSubmodules(path, loan);
  assert.ok(!existsSync(join(dir, "elsewhere/.git/objects/info/alternates")));
  assert.notDeepEqual(await workIn(path), []);
});

test("submodules: a tree with a link on the way to one writes nothing outside of the workspace", async (t) => {
  const world = cloneWorld(t);
  const { dir, seed, bare, told } = world;
  const id = library(dir, "lib");
  const victim = join(dir, "victim");
  mkdirSync(victim);
  const run = (args: readonly string[], input: string | Buffer) =>
    execFileSync("git", args, { cwd: seed, input }).toString().trim();
  const blob = (text: string) => run(["hash-object", "-w", "--stdin"], text);
  const modules = blob('[submodule "x"]\n\tpath = a/ssh\n\turl = ../lib.git\n');
  const entry = (mode: string, name: string, sha: string) =>
    Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.from(sha, "hex")]);
  const link = entry("120000", "a", blob(victim));
  const inner = entry("40000", "a", run(["mktree", "--missing"], `160000 commit ${id}\tssh\n`));
  const top = entry("100644", ".gitmodules", modules);
  // Git takes the one or the other of two entries with a name.
  for (const parts of [
    [top, inner, link],
    [top, link, inner],
  ]) {
    const write = ["hash-object", "-t", "tree", "--literally", "-w", "--stdin"];
    const tree = run(write, Buffer.concat(parts));
    const made = gitIn(seed)("commit-tree", tree, "-m", "evil");
    gitIn(seed)("push", "-q", "-f", bare, `${made}:refs/heads/main`);
    await world.clone({ submodules: true }).catch(() => {});
    assert.deepEqual(readdirSync(victim), []);
  }
  assert.ok(told.some((line) => line.startsWith("app: a/ssh is not checked out: ")));
});

test("submodules: room is only made in real directories of that very name", async (t) => {
  const { dir } = cloneWorld(t);
  const path = join(dir, "workspace");
  mkdirSync(join(path, "full/of"), { recursive: true });
  mkdirSync(join(dir, "victim"));
  // What a file system that folds names shows at `A` when the tree has a link `a`.
  symlinkSync(join(dir, "victim"), join(path, "A"));
  symlinkSync("full", join(path, "within"));
  writeFileSync(join(path, "file"), "");
  for (const name of ["A", "A/x", "within/x", "file", "file/x", "full"])
    assert.equal(await makeRoom(path, name), false, name);
  assert.deepEqual(readdirSync(join(dir, "victim")), []);
  assert.deepEqual(readdirSync(join(path, "full")), ["of"]);
  for (const name of ["full/of", "new/deep/one"]) assert.equal(await makeRoom(path, name), true);
});

test("submodules: a sparse workspace has those of its directories", async (t) => {
  const world = cloneWorld(t);
  const { dir, seed } = world;
  const lib = library(dir, "lib");
  for (const name of ["src", "docs"]) {
    mkdirSync(join(seed, name));
    writeFileSync(join(seed, name, "file"), name);
    gitIn(seed)("add", name);
    addLink(seed, `${name}/lib`, "../lib.git", lib);
  }
  gitIn(seed)("add", ".gitmodules");
  gitIn(seed)("commit", "-q", "-m", "submodules");
  gitIn(seed)("push", "-q", "origin", "main");
  const { path, loan } = await world.clone({ submodules: true, sparse: ["src"] });
  assert.deepEqual(
    loan.submodules?.map((one) => one.path),
    ["src/lib"],
  );
  assert.ok(!existsSync(join(path, "docs")));
  await writeBaseline(path, await baselineOf(path, { issueId: "i", loan }));
  assert.deepEqual(await workIn(path), []);
});

test("submodules: addresses are of the repository's own protocol and site", () => {
  const of = (written: string) => {
    const found = parseGitAddress(written);
    if (!isGitAddress(found)) throw new Error(found.problem);
    return found;
  };
  const site = of("https://$TOKEN@example.org/acme/app.git");
  const used = (url: string, from = site) => {
    const found = addressOf(url, from);
    return typeof found === "string" ? null : found.address;
  };
  assert.equal(used("../lib.git"), "https://example.org/acme/lib.git");
  assert.equal(used("../../other/lib"), "https://example.org/other/lib");
  assert.equal(used("https://example.org/x/y.git"), "https://example.org/x/y.git");
  const found = addressOf("../lib.git", site);
  assert.ok(typeof found !== "string" && found.login?.secret === "TOKEN");
  const refused = [
    "../../../../etc/passwd",
    "https://evil.example/x.git",
    "https://example.org.evil.example/x",
    "https://example.org:8443/x",
    "http://example.org/x",
    "http://127.0.0.1/x",
    "https://$OTHER@example.org/x",
    "https://user:word@example.org/x",
    "file:///etc",
    "/etc",
    "ext::sh -c id",
    "-oProxyCommand=id",
    "git@example.org:acme/lib.git",
    "ssh://example.org/acme/lib.git",
    "ssh://-oProxyCommand=id/x",
    "https://example.org/x?y",
    "../a\nb",
    "",
  ];
  for (const url of refused) assert.equal(used(url), null, url);
  const ssh = of("git@example.org:acme/app.git");
  assert.equal(used("../lib.git", ssh), "git@example.org:acme/lib.git");
  assert.equal(
    used("ssh://git@example.org/acme/lib.git", ssh),
    "ssh://git@example.org/acme/lib.git",
  );
  for (const url of ["https://example.org/x", "git@evil.example:x", "../../../x"])
    assert.equal(used(url, ssh), null, url);
});

test("submodules: a base that moves one is not merged into the files", async (t) => {
  const { path, git, commit, seed, dir, mirrors, order } = await bench(t);
  writeFileSync(join(path, "new.txt"), "new\n");
  assert.equal((await commit()).outcome, "committed");
  const other = gitIn(join(dir, "lib-seed"))("rev-parse", "HEAD");
  const upstream = gitIn(seed);
  upstream("update-index", "--cacheinfo", `160000,${"2".repeat(40)},libs/lib`);
  upstream("commit", "-q", "-m", "moved");
  upstream("push", "-q", "origin", "main");
  const { repository, env, runId, timeoutMs } = order();
  const { address, depth } = repository;
  const remote = { address, depth, credential: null, env, runId, timeoutMs, signal };
  const mirror = (await mirrors.refresh(remote)).path;
  const result = await updateWorkspace({
    ...{ path, head: git("rev-parse", "HEAD"), base: upstream("rev-parse", "HEAD"), mirror },
    ...{ author, wall: 1_700_000_000_000, signal, settled: [], baseName: "main" },
    ...{ onlyConflicts: false, isGenerated: () => false, remember: async () => {} },
    submodules: ["libs/lib"],
  });
  const why = "the base moves the submodule libs/lib";
  assert.deepEqual(result, { outcome: "refused", why });
  assert.equal(gitIn(join(path, "libs/lib"))("rev-parse", "HEAD"), other);
});
