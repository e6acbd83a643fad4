import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { gitSection } from "../../../src/core/config/git.ts";
import { commitWork } from "../../../src/core/repository/commit.ts";
import type { Merging } from "../../../src/core/repository/merging.ts";
import { outsideOf } from "../../../src/core/repository/sparse.ts";
import { finishUpdate, updateWorkspace } from "../../../src/core/repository/update.ts";
import { writeArchive } from "../../../src/core/workspace/archive.ts";
import { writeBaseline } from "../../../src/core/workspace/baseline.ts";
import { KeptCopies } from "../../../src/core/workspace/copies.ts";
import { diffOf } from "../../../src/core/workspace/diff.ts";
import { TooLarge } from "../../../src/core/workspace/tree-digest.ts";
import { baselineOf, findingsIn, workIn } from "../../../src/core/workspace/work.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { gitIn } from "../../support/makers/git-repository.ts";
import { cloneWorld, refusalOf } from "../../support/worlds/clone-world.ts";

const author = { name: "Sym", email: "s@example.org" };
const signal = new AbortController().signal;
const wall = 1_700_000_000_000;
const lines = (changed: Readonly<Record<number, string>> = {}) =>
  Array.from({ length: 30 }, (_, at) => `${changed[at] ?? at}\n`).join("");

function put(root: string, name: string, text: string) {
  mkdirSync(dirname(join(root, name)), { recursive: true });
  writeFileSync(join(root, name), text);
}

/** A workspace with the files of `services/api`, of a repository that also has others. */
async function bench(t: TestContext) {
  const world = cloneWorld(t);
  const seed = gitIn(world.seed);
  const advance = (files: Readonly<Record<string, string | null>>) => {
    for (const [name, text] of Object.entries(files)) {
      if (text === null) rmSync(join(world.seed, name));
      else put(world.seed, name, text);
    }
    seed("add", "-A");
    seed("commit", "-q", "-m", "upstream");
    seed("push", "-q", "origin", "main");
    return seed("rev-parse", "HEAD");
  };
  advance({
    "services/api/main.txt": lines(),
    "services/api/deep/a.txt": "a\n",
    "services/README": "services\n",
    "services/web/page.txt": lines(),
    "services/web/.gitignore": "*.log\n",
    "docs/ä.txt": "docs\n",
    "docs/list.txt": lines(),
  });
  const { path, git, loan } = await world.clone({ sparse: ["services/api"] });
  await writeBaseline(path, await baselineOf(path, { issueId: "i", loan }));
  let merging: Merging | null = null;
  const remember = async (next: Merging | null) => {
    merging = next;
  };
  const cone = ["services/api"];
  const common = { path, cone, author, wall, signal };
  const commit = async () => {
    const { settled } = await findingsIn(path);
    return commitWork({ ...common, message: "work\n", base: null, settled, merge: merging });
  };
  const update = async (base: string) => {
    const mirror = (await world.mirrors.refresh(fetchOrder(world))).path;
    const { settled } = await findingsIn(path);
    return updateWorkspace({
      ...{ ...common, head: git("rev-parse", "HEAD"), base, mirror, settled, remember },
      ...{ baseName: "main", onlyConflicts: false, isGenerated: () => false },
    });
  };
  const repeat = (known: Merging) =>
    finishUpdate(known, { ...common, baseName: "main", remember }, { isRepeated: true });
  const has = (name: string) => existsSync(join(path, name));
  return { ...world, path, git, advance, commit, update, repeat, has, merging: () => merging };
}

function fetchOrder(world: ReturnType<typeof cloneWorld>) {
  const { repository, env, runId, timeoutMs } = world.order();
  const { address, depth } = repository;
  return { address, depth, credential: null, env, runId, timeoutMs, signal };
}

const outside = ["docs/list.txt", "docs/ä.txt", "services/web/page.txt"];

test("a sparse workspace has the files of its directories and those above, is clean, and holds no work", async (t) => {
  const { path, git, has } = await bench(t);
  for (const name of ["one.txt", "services/README", "services/api/deep/a.txt"])
    assert.ok(has(name));
  for (const name of outside) assert.ok(!has(name), name);
  assert.equal(git("status", "--porcelain"), "");
  assert.equal(git("sparse-checkout", "list"), "services/api");
  assert.deepEqual(await workIn(path), []);
});

test("work in a sparse workspace is found, shown, committed and kept; no file outside is deleted", async (t) => {
  const { path, dir, git, commit, has } = await bench(t);
  put(path, "services/api/main.txt", lines({ 3: "ours" }));
  rmSync(join(path, "services/api/deep/a.txt"));
  put(path, "docs/new.txt", "new, outside\n");
  const names = ["docs/new.txt", "services/api/deep/a.txt", "services/api/main.txt"];
  const shown = (await diffOf(path, null)).files.map((file) => file.path);
  assert.deepEqual(shown.toSorted(), names);
  assert.equal((await commit()).outcome, "committed");
  const changed = () => git("diff", "--name-only", "HEAD^", "HEAD").split("\n");
  assert.deepEqual(changed(), names);
  assert.equal(git("status", "--porcelain"), "");
  // Another program than git wrote the index, without the marks; or removed it.
  for (const spoil of [
    () => git("-c", "core.sparseCheckout=false", "read-tree", "HEAD"),
    () => rmSync(join(path, ".git/index")),
  ]) {
    spoil();
    const seen = (await diffOf(path, null)).files.filter((file) => outside.includes(file.path));
    assert.deepEqual(seen, []);
    put(path, "services/api/more.txt", `${Math.random()}\n`);
    assert.equal((await commit()).outcome, "committed");
    assert.deepEqual(changed(), ["services/api/more.txt"]);
    assert.equal(git("status", "--porcelain"), "");
    for (const name of outside) assert.ok(!has(name), name);
  }
  // A few entries lost their mark, as by `git apply --cached`.
  const listed = git("ls-tree", "HEAD", "docs/list.txt").split(/\s/).slice(0, 3);
  git("update-index", "--cacheinfo", `${listed[0]},${listed[2]},docs/list.txt`);
  put(path, "services/api/more.txt", "again\n");
  assert.equal((await commit()).outcome, "committed");
  assert.deepEqual(changed(), ["services/api/more.txt"]);
  put(path, "services/api/last.txt", "not committed\n");
  const copies = new KeptCopies({
    ...{ dir: join(dir, "kept"), clock: new FakeClock(), maxBytes: () => 2 ** 31 },
  });
  const issue = { id: "i", identifier: "ENG-1" };
  const copy = await copies.keep(path, { issue, work: await workIn(path) });
  assert.equal(copy.form, "bundle");
  await copies.restore(copy, join(dir, "back"));
  const back = gitIn(join(dir, "back"));
  assert.equal(back("status", "--porcelain"), "?? services/api/last.txt");
  assert.equal(back("rev-parse", "HEAD"), git("rev-parse", "HEAD"));
  for (const name of [...outside, "docs/new.txt"]) assert.ok(existsSync(join(dir, "back", name)));
});

test("DELIVERY-30: a workspace with a cut history, which no bundle holds, is kept with the objects that it borrows", async (t) => {
  const { bare, dir, mirrors, clone } = cloneWorld(t);
  const { path, git, mirror, loan } = await clone({ url: `file://${bare}`, depth: 1 });
  await writeBaseline(path, await baselineOf(path, { issueId: "i", loan }));
  put(path, "new.txt", "new\n");
  git("add", "-A");
  git("commit", "-q", "-m", "new");
  put(path, "two.txt", "not committed\n");
  const copies = new KeptCopies({
    ...{ dir: join(dir, "kept"), clock: new FakeClock(), maxBytes: () => 2 ** 31 },
    lentTo: async () => ({ mirror: mirrors.lent(loan).path, submodules: [] }),
  });
  // A mirror that is too large is not packed first.
  gitIn(mirror)("repack", "-adq");
  const small = { into: dir, maxBytes: 10, mirror: mirrors.lent(loan).path };
  await assert.rejects(writeArchive(path, small), TooLarge);
  assert.ok(!existsSync(join(dir, "borrowed")));
  const copy = await copies.keep(path, { issue: null, work: [] });
  assert.equal(copy.form, "archive");
  const at = [git("rev-parse", "HEAD"), git("status", "--porcelain")];
  rmSync(mirror, { recursive: true });
  await copies.restore(copy, join(dir, "back"));
  const back = gitIn(join(dir, "back"));
  assert.deepEqual([back("rev-parse", "HEAD"), back("status", "--porcelain")], at);
  back("fsck", "--strict");
  assert.equal(back("log", "--format=%s"), "new\ntwo.txt");
  assert.ok(!existsSync(join(dir, "back/.git/objects/info/alternates")));
});

test("what the agent adds to its sparse workspace, it may change and delete", async (t) => {
  const { path, git, commit, update, advance, has } = await bench(t);
  git("sparse-checkout", "add", "docs");
  assert.deepEqual(await workIn(path), []);
  put(path, "docs/list.txt", lines({ 1: "ours" }));
  rmSync(join(path, "docs/ä.txt"));
  git("rm", "-q", "--sparse", "services/web/page.txt");
  assert.equal((await commit()).outcome, "committed");
  const diff = git("-c", "core.quotePath=false", "diff", "--name-status", "HEAD^", "HEAD");
  const expected = ["M\tdocs/list.txt", "D\tdocs/ä.txt", "D\tservices/web/page.txt"];
  assert.deepEqual(diff.split("\n").toSorted(), expected.toSorted());
  assert.equal((await update(advance({ "one.txt": "newer\n" }))).outcome, "updated");
  assert.ok(has("docs/list.txt"));
  assert.equal(git("status", "--porcelain"), "");
});

test("a newer base is merged into a sparse workspace: files outside are in the commit, and not in the tree", async (t) => {
  const { path, git, commit, update, advance, has } = await bench(t);
  put(path, "services/api/main.txt", lines({ 3: "ours" }));
  await commit();
  const base = advance({
    "services/api/main.txt": lines({ 25: "theirs" }),
    "services/web/page.txt": lines({ 5: "theirs" }),
    "docs/more.txt": "more\n",
    "docs/ä.txt": null,
  });
  assert.equal((await update(base)).outcome, "updated");
  assert.equal(git("status", "--porcelain"), "");
  assert.equal(
    readFileSync(join(path, "services/api/main.txt"), "utf8"),
    lines({ 3: "ours", 25: "theirs" }),
  );
  assert.equal(git("diff", "--name-only", base, "HEAD"), "services/api/main.txt");
  for (const name of [...outside, "docs/more.txt"]) assert.ok(!has(name), name);
  assert.equal((await commit()).outcome, "clean");
  assert.deepEqual(
    (await diffOf(path, null)).files.map((file) => file.path),
    ["services/api/main.txt"],
  );
});

test("a conflict outside of the directories is put into the tree for the agent, also after a crash", async (t) => {
  const { path, git, commit, update, repeat, advance, merging, has } = await bench(t);
  put(path, "docs/list.txt", lines({ 3: "ours" }));
  await commit();
  const base = advance({ "docs/list.txt": lines({ 3: "theirs" }), "services/web/b.txt": "b\n" });
  // The agent's own copy is left out again, as after `git sparse-checkout reapply`.
  git("sparse-checkout", "reapply");
  assert.ok(!has("docs/list.txt"));
  const result = await update(base);
  assert.deepEqual(result, {
    outcome: "conflicts",
    conflicts: [{ path: "docs/list.txt", kind: "marks" }],
  });
  const text = () => readFileSync(join(path, "docs/list.txt"), "utf8");
  assert.match(text(), /<<<<<<< .*\nours\n=======\ntheirs\n>>>>>>> /);
  rmSync(join(path, "docs/list.txt"));
  const begun = merging();
  assert.ok(begun !== null);
  await repeat({ ...begun, moving: true });
  assert.equal((await commit()).outcome, "unfinished");
  put(path, "docs/list.txt", lines({ 3: "both" }));
  assert.equal((await commit()).outcome, "committed");
  assert.equal(git("rev-parse", "HEAD^2"), base);
  assert.equal(git("diff", "--name-only", base, "HEAD"), "docs/list.txt");
  assert.ok(!has("services/web/b.txt"));
  assert.equal(git("status", "--porcelain"), "");
});

test("a checkout that is sparse in a way of the agent is not merged", async (t) => {
  const { path, git, commit, update, advance } = await bench(t);
  put(path, "services/api/main.txt", lines({ 3: "ours" }));
  await commit();
  git("update-index", "--skip-worktree", "one.txt");
  rmSync(join(path, "one.txt"));
  const result = await update(advance({ "two.txt": "newer\n" }));
  const why = "its checkout is sparse in a way of its own";
  assert.deepEqual(result, { outcome: "refused", why });
});

test("a sparse list that names no directory of the base is refused; a single missing one is told", async (t) => {
  const { clone, told, bench: _ } = { ...(await bench(t)), bench: null };
  const { code, message, hint } = await refusalOf(clone({ sparse: ["service/api", "one.txt"] }));
  assert.equal(code, "clone_failed");
  assert.match(
    message,
    /has none of the directories of sparse of app in git\.repositories: service\/api, one\.txt$/,
  );
  assert.equal(hint, "correct sparse of app in git.repositories");
  const { path } = await clone({ sparse: ["docs", "nowhere"] });
  assert.ok(existsSync(join(path, "docs/list.txt")));
  assert.ok(told.includes("app: no directory nowhere: see sparse of app in git.repositories"));
});

test("sparse takes names of directories, and no patterns", () => {
  const problem = (more: Readonly<Record<string, unknown>>) => {
    const all = { repositories: [{ name: "app", url: "/srv/app.git", ...more }] };
    return gitSection.safeParse(all).error?.issues[0]?.message ?? null;
  };
  const refused = [
    "/etc",
    "../x",
    "a/../b",
    "a//b",
    "a/",
    ".",
    "",
    ".git",
    "a/.GIT/hooks",
    "GIT~1",
  ];
  const patterns = ["*", "a/*", "!docs", "#x", "a?b", "[ab]", "a\\b", "a\nb", "a\0b", " a", "a "];
  for (const dir of [...refused, ...patterns]) {
    assert.notEqual(problem({ sparse: [dir] }), null, JSON.stringify(dir));
  }
  for (const dir of ["docs", "a/b c/ä", "a#b", "a!b", "..x", ".github"]) {
    assert.equal(problem({ sparse: [dir] }), null, dir);
  }
  assert.equal(problem({ sparse: [] }), "must not be empty");
  const results = (list: readonly string[]) => ({
    sparse: ["services/api"],
    prepare: { commands: ["npm ci"], files: ["package-lock.json"], results: list },
  });
  assert.equal(problem(results(["node_modules", "services/api/node_modules"])), null);
  const why = "must be at the top or in the directories of sparse";
  assert.equal(problem(results(["services/web/node_modules"])), why);
});

test("the files of a cone are those of git", () => {
  const isOutside = outsideOf(["a/b", "ä"]);
  const inside = ["x", "a/x", "a/b/x", "a/b/c/x", "\u00c3\u00a4/x"];
  assert.deepEqual(inside.filter(isOutside), []);
  const out = ["a/bc/x", "a/c/x", "b/x", "ab/x", "a/c/b/x"];
  assert.deepEqual(out.filter(isOutside), out);
  assert.deepEqual(out.filter(outsideOf([])), []);
});
