import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { isDirty } from "../../../src/core/model/work.ts";
import { withoutCredentials } from "../../../src/core/repository/checkout.ts";
import { survey } from "../../../src/core/repository/survey.ts";
import { writeBaseline } from "../../../src/core/workspace/baseline.ts";
import { diffOf } from "../../../src/core/workspace/diff.ts";
import { baselineFile, openGitMarker } from "../../../src/core/workspace/place.ts";
import { baselineOf, workIn } from "../../../src/core/workspace/work.ts";
import { gitIn, origin, setTraps } from "../../support/makers/git-repository.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { coded, temporaryDir } from "../../support/makers/storage.ts";
import { createWorld } from "../../support/worlds/core.ts";

/** A new clone of a repository with two commits, on a branch of its own. */
function clone(t: TestContext, name = "ENG-1") {
  const dir = realpathSync(temporaryDir(t));
  const bare = origin(dir);
  const root = join(dir, "root");
  mkdirSync(join(root, ".symphony-root"), { recursive: true });
  const make = (key: string) => {
    const path = join(root, key);
    gitIn(dir)("clone", "-q", bare, path);
    const git = gitIn(path);
    git("checkout", "-q", "-b", key.toLowerCase());
    const commit = (file: string) => {
      writeFileSync(join(path, file), `${file}\n`);
      git("add", "-A");
      git("commit", "-q", "-m", file);
    };
    return { path, git, commit };
  };
  return { dir, root, bare, make, ...make(name) };
}

async function surveyOf(path: string) {
  const found = await survey(path, null);
  return found ?? assert.fail("no repository was found");
}

async function kindsIn(path: string) {
  return (await workIn(path)).map(({ kind }) => kind);
}

test("a clone is clean and pushed until it contains something that is nowhere else", async (t) => {
  const { path, bare, git, commit } = clone(t);
  assert.partialDeepStrictEqual(await surveyOf(path), {
    remotes: [{ name: "origin", url: bare }],
    defaultBranch: "main",
    branch: "eng-1",
    ahead: 0,
    behind: 0,
  });
  assert.deepEqual(await kindsIn(path), []);
  git("reset", "-q", "--hard", "HEAD~1");
  assert.partialDeepStrictEqual(await surveyOf(path), { ahead: 0, behind: 1 });
  assert.deepEqual(await kindsIn(path), []);
  commit("three.txt");
  assert.partialDeepStrictEqual(await surveyOf(path), { ahead: 1, behind: 1 });
  assert.deepEqual(await kindsIn(path), ["commits"]);
  git("push", "-q", "origin", "HEAD");
  assert.deepEqual(await kindsIn(path), [], "pushed");
});

test("remote-tracking refs that an agent could write prove nothing: what the remote had at the beginning counts", async (t) => {
  const { path, git, commit } = clone(t);
  await writeBaseline(path, await baselineOf(path, { issueId: "1" }));
  writeFileSync(openGitMarker(path), "");
  assert.deepEqual(await kindsIn(path), []);
  commit("three.txt");
  git("update-ref", "refs/remotes/origin/eng-1", "HEAD");
  git("update-ref", "refs/remotes/other/x", "HEAD");
  const [found, ...others] = await workIn(path);
  assert.deepEqual(others, []);
  assert.deepEqual(found, { kind: "commits", count: 1, more: false, refs: ["eng-1"] });
  rmSync(openGitMarker(path));
  assert.deepEqual(await kindsIn(path), [], "where .git is guarded");
  // An earlier version wrote no remote and no mark: any agent may have written the refs.
  const {
    remote: _,
    mirrors: __,
    ...earlier
  } = JSON.parse(readFileSync(baselineFile(path), "utf8"));
  writeFileSync(baselineFile(path), JSON.stringify(earlier));
  assert.deepEqual(await kindsIn(path), ["commits"]);
});

test("a state that cannot be determined is not reported as clean", async (t) => {
  const { path, git, dir } = clone(t);
  git("remote", "remove", "origin");
  assert.partialDeepStrictEqual(await surveyOf(path), { ahead: null, base: null });
  assert.deepEqual(await kindsIn(path), ["commits"]);
  rmSync(join(path, ".git", "objects"), { recursive: true });
  assert.partialDeepStrictEqual(await surveyOf(path), { behind: null });
  assert.equal(isDirty(await workIn(path)), null);
  assert.equal(await survey(dir, null), null);
});

test("in a worktree only its own HEAD counts, because the repository remains", async (t) => {
  const { dir, path, git, commit } = clone(t);
  commit("three.txt");
  const tree = join(dir, "tree");
  git("worktree", "add", "-q", "-b", "other", tree, "origin/main");
  const found = await surveyOf(tree);
  assert.deepEqual([found.branch, found.store], ["other", join(path, ".git")]);
  assert.deepEqual(await kindsIn(tree), []);
  gitIn(tree)("commit", "-q", "--allow-empty", "-m", "work");
  assert.deepEqual(await kindsIn(tree), ["commits"]);
});

test("shallow clones and SHA-256 repositories are supported", async (t) => {
  const { dir, bare } = clone(t);
  const shallow = join(dir, "shallow");
  gitIn(dir)("clone", "-q", "--depth=1", `file://${bare}`, shallow);
  assert.partialDeepStrictEqual(await surveyOf(shallow), { ahead: 0, behind: 0 });
  assert.deepEqual(await kindsIn(shallow), []);
  const modern = join(dir, "modern");
  gitIn(dir)("init", "-q", "--object-format=sha256", modern);
  gitIn(modern)("commit", "-q", "--allow-empty", "-m", "one");
  assert.deepEqual(await kindsIn(modern), ["commits"]);
});

test("the work of a checkout is its commits, changes and new files since its start", async (t) => {
  const { path, git, commit } = clone(t);
  git("reset", "-q", "--hard", "HEAD~1");
  const base = git("rev-parse", "HEAD");
  commit("three.txt");
  writeFileSync(join(path, "one.txt"), "changed\n");
  writeFileSync(join(path, "-b"), "new\n");
  writeFileSync(join(path, "bin"), Buffer.from([0, 1, 2]));
  const before = git("status", "--porcelain");
  const work = await diffOf(path, null);
  assert.deepEqual([work.base, work.branch, work.ahead, work.behind], [base, "eng-1", 1, 1]);
  assert.deepEqual(
    work.files.map((file) => [file.path, file.additions, file.deletions]),
    [
      ["-b", 1, 0],
      ["bin", null, null],
      ["one.txt", 1, 1],
      ["three.txt", 1, 0],
    ],
  );
  assert.match(work.patch, /^\+changed$/m);
  assert.match(work.patch, /^\+new$/m);
  assert.equal(work.truncated, false);
  assert.equal(git("status", "--porcelain"), before, "the checkout's index is as it was");
  writeFileSync(join(path, "huge"), "line\n".repeat(400_000));
  const cut = await diffOf(path, null);
  assert.ok(cut.truncated && cut.patch.length <= 1024 * 1024);
  assert.ok(cut.files.some((file) => file.path === "huge" && file.additions === 400_000));
});

test("without a remote, work is compared with the commit that the first attempt found, otherwise all is shown", async (t) => {
  const { path, git, commit } = clone(t);
  const first = git("rev-parse", "HEAD");
  git("remote", "remove", "origin");
  commit("three.txt");
  assert.equal((await diffOf(path, first)).files[0]?.path, "three.txt");
  const all = await diffOf(path, null);
  assert.deepEqual(
    [all.base, all.files.map((file) => file.path)],
    [null, ["one.txt", "three.txt", "two.txt"]],
  );
  const gone = await diffOf(path, "a".repeat(40));
  assert.deepEqual([gone.base, gone.files], [null, all.files]);
  await assert.rejects(diffOf(path, "--output=x"), coded("no_repository"));
  assert.ok(!existsSync(join(path, "x")));
});

test("an aborted survey does not wait for git", async (t) => {
  const { path } = clone(t);
  const leaving = new AbortController();
  leaving.abort();
  const found = await survey(path, null, leaving.signal);
  assert.partialDeepStrictEqual(found, { branch: "eng-1", ahead: null });
  assert.equal(isDirty(await workIn(path, leaving.signal)), null);
  await assert.rejects(diffOf(path, null, leaving.signal), coded("no_repository"));
});

test("THREAT-15: no call of symphony triggers one of the traps in a repository", async (t) => {
  const { dir, path, git, commit } = clone(t);
  const marks = join(dir, "marks");
  commit("three.txt");
  gitIn(path)("init", "-q", "nested");
  gitIn(join(path, "nested"))("commit", "-q", "--allow-empty", "-m", "x");
  for (const place of [path, join(path, "nested")]) setTraps(place, marks);
  writeFileSync(join(path, "one.txt"), "changed\n");
  writeFileSync(join(path, "new.txt"), "new\n");
  writeFileSync(join(path, ".gitmodules"), '[submodule "x"]\n\tpath = x\n\tupdate = !touch ran\n');
  rmSync(marks, { recursive: true });
  mkdirSync(marks);
  const found = await surveyOf(path);
  assert.equal(found.ahead, 1);
  assert.deepEqual(await kindsIn(path), [
    "changed_files",
    "new_files",
    "commits",
    "nested_repository",
  ]);
  const work = await diffOf(path, null);
  assert.ok(work.files.some((file) => file.path === "new.txt"));
  assert.ok(work.patch.includes("+changed"));
  assert.deepEqual(readdirSync(marks), []);
  git("diff");
  git("add", "-A");
  assert.ok(readdirSync(marks).length >= 3, "the traps are set");
});

test("THREAT-16: no name that an agent chose is an argument of git", async (t) => {
  const { dir, path, git, commit } = clone(t);
  const mark = join(dir, "mark");
  commit("three.txt");
  const head = git("rev-parse", "HEAD");
  const refs = join(path, ".git", "refs");
  for (const name of [`--upload-pack=touch ${mark}`, "-b", "a..b", "@{-1}", `--output=${mark}`]) {
    for (const below of ["heads", "remotes/origin"]) {
      mkdirSync(join(refs, below, join(name, "..")), { recursive: true });
      try {
        writeFileSync(join(refs, below, name), `${head}\n`);
      } catch {
        // The slash makes it a path that this file system does not accept.
      }
    }
    writeFileSync(join(path, ".git", "refs", "remotes", "origin", "HEAD"), `ref: ${name}\n`);
    const found = await surveyOf(path);
    assert.equal(found.branch, "eng-1");
    await diffOf(path, null);
    writeFileSync(join(path, ".git", "HEAD"), `ref: refs/heads/${name}\n`);
    await survey(path, name);
    await diffOf(path, name).catch(() => {});
    writeFileSync(join(path, ".git", "HEAD"), "ref: refs/heads/eng-1\n");
  }
  assert.equal(existsSync(mark), false);
});

test("addresses are shown without credentials", () => {
  const cases: [string, string | null][] = [
    ["https://user:canary@example.org/a/b.git", "https://example.org/a/b.git"],
    ["https://canary@example.org/a.git?token=canary", "https://example.org/a.git"],
    ["ssh://git@example.org:22/a.git", "ssh://git@example.org:22/a.git"],
    ["ssh://canary@example.org/a.git", "ssh://example.org/a.git"],
    ["git@example.org:a/b.git", "git@example.org:a/b.git"],
    ["canary@example.org:a/b.git", "example.org:a/b.git"],
    ["canary:x@example.org:a/b.git", "example.org:a/b.git"],
    ["/srv/git/a.git", "/srv/git/a.git"],
    ["ext::sh -c canary", null],
    ["ext::canary", null],
    ["--upload-pack=canary", null],
    ["", null],
  ];
  for (const [written, shown] of cases) assert.equal(withoutCredentials(written), shown, written);
});

test("the context lists each repository once, with the branches of its checkouts", async (t) => {
  const { root, bare, make, commit, path } = clone(t);
  commit("three.txt");
  make("ENG-2");
  mkdirSync(join(root, "nothing"));
  gitIn(root)("init", "-q", join(root, "alone"));
  const settings = config({ workspace: { root } });
  const world = await createWorld({ issues: [issue("ENG-1")], config: settings });
  t.after(() => world[Symbol.asyncDispose]());
  const { git } = world.core.workspaces;
  git.follow([path]);
  let context = await git.context();
  while (!context.complete) context = await git.context();
  const [shared, alone] = context.repositories;
  assert.partialDeepStrictEqual(shared, {
    name: "origin",
    url: bare,
    defaultBranch: "main",
    path: null,
  });
  assert.deepEqual(
    shared?.branches.map(({ branch, issueIdentifier, ahead, dirty }) => [
      ...[branch, issueIdentifier, ahead, dirty],
    ]),
    [
      ["eng-1", "ENG-1", 1, true],
      ["eng-2", null, 0, false],
    ],
  );
  assert.partialDeepStrictEqual(alone, { name: "alone", url: null, path: join(root, "alone") });
});

test("a clean and pushed workspace is removed without force; one with work is not", async (t) => {
  const { root, path, commit, make } = clone(t);
  commit("three.txt");
  const clean = make("ENG-2");
  const world = await createWorld({ config: config({ workspace: { root } }) });
  t.after(() => world[Symbol.asyncDispose]());
  const { workspaces } = world.core;
  await assert.rejects(workspaces.remove("ENG-1", { force: false }), coded("workspace_dirty"));
  let context = await workspaces.git.context();
  while (!context.complete) context = await workspaces.git.context();
  const rows = (await workspaces.list(50, 0)).workspaces.map(({ key, dirty }) => [key, dirty]);
  assert.deepEqual(rows, [
    ["ENG-1", true],
    ["ENG-2", false],
  ]);
  await workspaces.remove("ENG-2", { force: false });
  assert.ok(!existsSync(clean.path) && existsSync(path));
});
