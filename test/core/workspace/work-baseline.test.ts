import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gitIn } from "../../support/makers/git-repository.ts";
import { workspaceBench } from "../../support/worlds/workspace-bench.ts";

test("tags from the clone are not work, although no branch has their commits; nor are commits of after_create", async (t) => {
  const bench = workspaceBench(t);
  const seed = gitIn(join(bench.dir, "seed"));
  seed("checkout", "-q", "--detach");
  seed("commit", "-q", "--allow-empty", "-m", "an old release");
  seed("tag", "-a", "v0", "-m", "old");
  seed("push", "-q", bench.bare, "v0");
  bench.hooks.current = {
    ...bench.hooks.current,
    afterCreate: `git clone -q '${bench.bare}' . && git -c user.name=a -c user.email=b commit -q --allow-empty -m setup`,
  };
  const { path } = await bench.make();
  assert.equal(await bench.remove(path), "removed");
});

test("other changes of after_create are not work until they change: filters, own files, staged files", async (t) => {
  const bench = workspaceBench(t);
  bench.hooks.current = {
    ...bench.hooks.current,
    afterCreate: `git clone -q '${bench.bare}' . && echo smudged > one.txt && echo x > own.txt && rm two.txt &&
      echo staged > index.txt && git add index.txt && rm index.txt`,
  };
  const { path } = await bench.make("ENG-1");
  assert.equal(await bench.remove(path), "removed");
  for (const [at, change] of [
    () => writeFileSync(join(path, "own.txt"), "y\n"),
    () => writeFileSync(join(path, "one.txt"), "changed\n"),
    () => writeFileSync(join(path, "two.txt"), "back, and not as it was\n"),
    () => gitIn(path)("rm", "-q", "--cached", "one.txt"),
  ].entries()) {
    assert.equal((await bench.make()).path, path);
    change();
    assert.notEqual(await bench.remove(path), "removed", String(at));
    await bench.workspaces.remove({ path, issue: null }, { force: true });
  }
});

test("in a workspace from an earlier version every file counts as work, and git's state as in a clone", async (t) => {
  const bench = workspaceBench(t);
  const { path, git } = await bench.make("ENG-1");
  mkdirSync(join(bench.root, "ENG-2"));
  writeFileSync(join(bench.root, "ENG-2", "file"), "");
  rmSync(join(bench.root, ".symphony-root", "ENG-1.baseline.json"));
  git("checkout", "-q", "-b", "side");
  assert.deepEqual(await bench.remove(join(bench.root, "ENG-2"), "ENG-2"), [
    { kind: "new_files", count: 1, examples: ["file"] },
  ]);
  assert.equal(await bench.remove(path), "removed");
});

test("what an earlier version did not record, as from whom a workspace's clone borrows, is no work", async (t) => {
  const bench = workspaceBench(t);
  const { afterCreate } = bench.hooks.current;
  const shared = (afterCreate ?? "").replace("-q", "-q --shared");
  bench.hooks.current = { ...bench.hooks.current, afterCreate: shared };
  const { path } = await bench.make("ENG-1");
  const file = join(bench.root, ".symphony-root", "ENG-1.baseline.json");
  const { borrows, ...earlier } = JSON.parse(readFileSync(file, "utf8"));
  assert.deepEqual(borrows, [join(bench.bare, "objects")]);
  writeFileSync(file, JSON.stringify(earlier));
  assert.equal(await bench.remove(path), "removed");
});

test("if there are more files than the baseline holds, none can be told from new ones", async (t) => {
  const bench = workspaceBench(t, { afterCreate: "seq 50001 | xargs touch" });
  const { path } = await bench.make();
  const found = await bench.remove(path);
  assert.ok(Array.isArray(found));
  assert.equal(found.at(-1)?.kind, "unknown");
});
