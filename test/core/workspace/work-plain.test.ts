import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Work } from "../../../src/core/model/work.ts";
import { gitIn } from "../../support/makers/git-repository.ts";
import { workspaceBench } from "../../support/worlds/workspace-bench.ts";

type Holds = readonly (Partial<Work> & Pick<Work, "kind">)[];

/** Each in a workspace without a repository, in which `after_create` made some files. */
const plain: readonly [name: string, work: (path: string) => void, holds: Holds][] = [
  ["nothing", () => {}, []],
  ["a directory", (path) => void mkdirSync(join(path, "new", "er"), { recursive: true }), []],
  [
    "a new file",
    (path) => writeFileSync(join(path, "sub", "new"), ""),
    [{ kind: "new_files", count: 1, examples: ["sub/new"] }],
  ],
  [
    "a new link",
    (path) => symlinkSync("a", join(path, "link")),
    [{ kind: "new_files", count: 1, examples: ["link"] }],
  ],
  [
    "a changed file",
    (path) => appendFileSync(join(path, "a"), "x"),
    [{ kind: "changed_files", count: 1, examples: ["a"] }],
  ],
  [
    "a changed file with the same size and time",
    (path) => {
      writeFileSync(join(path, "a"), "2\n");
      utimesSync(join(path, "a"), 1, 1);
    },
    [{ kind: "changed_files", count: 1, examples: ["a"] }],
  ],
  [
    "a deleted file",
    (path) => rmSync(join(path, "sub", "b")),
    [{ kind: "changed_files", count: 1, examples: ["sub/b"] }],
  ],
  [
    "a file that .gitignore names, without git",
    (path) => {
      writeFileSync(join(path, ".gitignore"), "*\n");
      writeFileSync(join(path, "x"), "");
    },
    [{ kind: "new_files", count: 2 }],
  ],
  ["a repository that the agent made", (path) => gitIn(path)("init", "-q"), []],
  [
    "a commit in a repository that the agent made",
    (path) => {
      gitIn(path)("init", "-q", "-b", "main");
      gitIn(path)("add", "a");
      gitIn(path)("commit", "-q", "-m", "work");
    },
    [{ kind: "commits", count: 1, refs: ["main"] }],
  ],
  [
    "a repository below it",
    (path) => gitIn(path)("init", "-q", "below"),
    [{ kind: "nested_repository", count: 1, paths: ["below"] }],
  ],
];

for (const [name, work, holds] of plain) {
  test(`work without a repository: ${name}`, async (t) => {
    const bench = workspaceBench(t, {
      afterCreate: "echo 1 > a; touch -d @1 a; mkdir sub; echo 2 > sub/b; ln -s a sub/l",
    });
    const { path } = await bench.make();
    work(path);
    const found = await bench.remove(path);
    if (holds.length === 0) return assert.equal(found, "removed");
    assert.ok(Array.isArray(found), `it was ${found}`);
    assert.partialDeepStrictEqual(found, holds);
    assert.equal(found.length, holds.length, JSON.stringify(found));
    assert.ok(existsSync(path));
  });
}

test("an unreadable directory counts as work", async (t) => {
  if (process.getuid?.() !== 0) return t.skip("needs a second user: root reads everything");
  const bench = workspaceBench(t);
  chmodSync(bench.dir, 0o777);
  const source = new URL("../../../src/core/workspace/workspaces.ts", import.meta.url).href;
  const script = `import { createWorkspaces } from ${JSON.stringify(source)};
import { chmodSync, mkdirSync } from "node:fs";
process.setgid(65534); process.setuid(65534);
const w = createWorkspaces({
  settings: () => ({ root: ${JSON.stringify(bench.root)}, hooks: { afterCreate: null, beforeRemove: null } }),
  env: () => ({}), clock: {}, log: { warn() {} }, onHookFailed() {},
});
const issue = { id: "i", identifier: "ENG-1" };
const { path } = await w.ensure(issue, new AbortController().signal);
mkdirSync(path + "/closed", { mode: 0 });
const kept = await w.remove({ path, issue });
chmodSync(path + "/closed", 0o700);
console.log(kept.outcome, kept.work[0].kind, (await w.remove({ path, issue })).outcome);`;
  const out = execFileSync(process.execPath, ["--input-type=module", "-e", script], {
    encoding: "utf8",
  });
  assert.equal(out, "kept unknown removed\n");
});
