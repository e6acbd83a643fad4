import assert from "node:assert/strict";
import {
  appendFileSync,
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
import { test } from "node:test";
import type { Work } from "../../../src/core/model/work.ts";
import { gitIn, setTraps } from "../../support/makers/git-repository.ts";
import { type WorkspaceBench, workspaceBench } from "../../support/worlds/workspace-bench.ts";

interface Place {
  readonly path: string;
  readonly bench: WorkspaceBench;
  git(...args: string[]): string;
  write(name: string, text?: string | Buffer): void;
  commit(name: string): void;
}

type Holds = readonly (Partial<Work> & Pick<Work, "kind">)[];

/** Each on a new clone, in which `work` does what an agent may do. */
const kinds: readonly [name: string, work: (place: Place) => void, holds: Holds][] = [
  ["nothing", () => {}, []],
  [
    "an empty directory",
    ({ path }) => void mkdirSync(join(path, "a", "b"), { recursive: true }),
    [],
  ],
  [
    "a changed file",
    ({ write }) => write("one.txt", "changed"),
    [{ kind: "changed_files", count: 1, examples: ["one.txt"] }],
  ],
  [
    "a deleted file",
    ({ path }) => rmSync(join(path, "one.txt")),
    [{ kind: "changed_files", count: 1, examples: ["one.txt"] }],
  ],
  [
    "a changed mode",
    ({ path }) => chmodSync(join(path, "one.txt"), 0o755),
    [{ kind: "changed_files", count: 1, examples: ["one.txt"] }],
  ],
  [
    "a change that is staged",
    ({ git, write }) => {
      write("one.txt", "changed");
      git("add", "-A");
    },
    [{ kind: "changed_files", count: 1, examples: ["one.txt"] }],
  ],
  [
    "a change that is only in the index",
    ({ git, path, write }) => {
      write("new.txt");
      git("add", "-A");
      rmSync(join(path, "new.txt"));
    },
    [{ kind: "changed_files", count: 1, examples: ["new.txt"] }],
  ],
  [
    "a change that the index hides",
    ({ git, write }) => {
      write("one.txt", "changed");
      git("update-index", "--assume-unchanged", "one.txt");
      write("two.txt", "changed");
      git("update-index", "--skip-worktree", "two.txt");
    },
    [{ kind: "changed_files", count: 2, examples: ["one.txt", "two.txt"] }],
  ],
  [
    "new files, in a new directory too",
    ({ write, path }) => {
      mkdirSync(join(path, "deep", "er"), { recursive: true });
      write("deep/er/file");
      write("ä b\n.txt");
    },
    [{ kind: "new_files", count: 2, examples: ["deep/er/file", "ä b .txt"] }],
  ],
  [
    "names that are not UTF-8",
    ({ path }) => {
      for (const byte of [0xfe, 0xff]) {
        writeFileSync(Buffer.concat([Buffer.from(`${path}/x`), Buffer.from([byte])]), "x");
      }
    },
    [{ kind: "new_files", count: 2 }],
  ],
  [
    "a link",
    ({ path }) => symlinkSync("/nowhere", join(path, "link")),
    [{ kind: "new_files", count: 1, examples: ["link"] }],
  ],
  [
    "a file that .git/info/exclude hides",
    ({ path, write }) => {
      write("hidden");
      appendFileSync(join(path, ".git", "info", "exclude"), "hidden\n");
    },
    [{ kind: "new_files", count: 1, examples: ["hidden"] }],
  ],
  [
    "a file that core.excludesFile hides",
    ({ git, write, path }) => {
      write(".git/hide", "hidden\n");
      write("hidden");
      git("config", "core.excludesFile", join(path, ".git", "hide"));
    },
    [{ kind: "new_files", count: 1, examples: ["hidden"] }],
  ],
  [
    "a file that a new .gitignore hides, which hides itself",
    ({ write, path }) => {
      mkdirSync(join(path, "sub"));
      write("sub/.gitignore", "*\n");
      write("sub/hidden");
    },
    [{ kind: "new_files", count: 2, examples: ["sub/.gitignore", "sub/hidden"] }],
  ],
  [
    "a file that a .gitignore hides which the agent pushed",
    ({ write, git }) => {
      write(".gitignore", "hidden\n");
      git("add", "-A");
      git("commit", "-q", "-m", "ignore");
      git("push", "-q", "origin", "HEAD:refs/heads/ours");
      write("hidden");
    },
    [{ kind: "new_files", count: 1, examples: ["hidden"] }],
  ],
  [
    "a commit",
    ({ commit }) => commit("three.txt"),
    [{ kind: "commits", count: 1, more: false, refs: ["main"] }],
  ],
  [
    "a commit that is pushed",
    ({ commit, git }) => {
      commit("three.txt");
      git("push", "-q", "origin", "HEAD:refs/heads/ours");
    },
    [],
  ],
  [
    "a commit on another branch",
    ({ commit, git }) => {
      git("checkout", "-q", "-b", "side");
      commit("side.txt");
      git("checkout", "-q", "main");
    },
    [{ kind: "commits", count: 1, more: false, refs: ["side"] }],
  ],
  [
    "a commit on a detached HEAD",
    ({ commit, git }) => {
      git("checkout", "-q", "--detach");
      commit("side.txt");
    },
    [{ kind: "commits", count: 1, more: false, refs: ["HEAD"] }],
  ],
  [
    "a commit that only a tag, a note or another ref has",
    ({ commit, git }) => {
      git("checkout", "-q", "--detach");
      commit("a.txt");
      git("tag", "light");
      git("reset", "-q", "--hard", "origin/main");
      commit("b.txt");
      git("update-ref", "refs/custom/deep/ref", "HEAD");
      git("reset", "-q", "--hard", "origin/main");
      git("notes", "add", "-m", "a note");
      git("checkout", "-q", "main");
      git("pack-refs", "--all");
    },
    [{ kind: "commits", count: 3, refs: ["custom/deep/ref", "notes/commits", "tags/light"] }],
  ],
  [
    "an annotated tag on a commit that is pushed",
    ({ git }) => git("tag", "-a", "v9", "-m", "what is new"),
    [{ kind: "tags", count: 1, refs: ["tags/v9"] }],
  ],
  [
    "a tag that moved",
    ({ git, commit }) => {
      git("checkout", "-q", "--detach");
      commit("a.txt");
      git("tag", "-f", "v1");
      git("checkout", "-q", "main");
    },
    [{ kind: "commits", count: 1, refs: ["tags/v1"] }],
  ],
  [
    "two stashes",
    ({ git, write }) => {
      for (const text of ["1", "2"]) {
        write("one.txt", text);
        git("stash", "-q");
      }
    },
    [{ kind: "stashes", count: 2 }],
  ],
  [
    "a merge that is not finished",
    ({ git, commit }) => {
      git("checkout", "-q", "-b", "side", "HEAD~1");
      commit("side.txt");
      git("push", "-q", "origin", "side");
      git("merge", "-q", "--no-commit", "--no-ff", "main");
      git("reset", "-q", "--hard");
      writeFileSync(join(git("rev-parse", "--absolute-git-dir"), "MERGE_HEAD"), "0".repeat(40));
    },
    [{ kind: "unfinished", operation: "a merge" }],
  ],
  [
    "a linked worktree below it, on a detached HEAD",
    ({ git, path }) => {
      git("worktree", "add", "-q", "--detach", "tree");
      gitIn(join(path, "tree"))("commit", "-q", "--allow-empty", "-m", "work");
    },
    [
      { kind: "commits", count: 1, refs: ["worktrees/tree"] },
      { kind: "nested_repository", count: 1, paths: ["tree"] },
    ],
  ],
  [
    "a nested repository, also in an ignored directory, also a bare one",
    ({ path, git }) => {
      for (const name of ["a", "ignored/b/c"]) {
        mkdirSync(join(path, name), { recursive: true });
        git("init", "-q", name);
      }
      git("init", "-q", "--bare", "ignored/bare");
      writeFileSync(join(path, "ignored", "file"), "x");
    },
    [{ kind: "nested_repository", count: 3, paths: ["a", "ignored/b/c", "ignored/bare"] }],
  ],
  [
    "files that the base ignores, except those that its rules include",
    ({ path, write }) => {
      mkdirSync(join(path, "ignored", "deep"), { recursive: true });
      mkdirSync(join(path, "partly"));
      for (const name of ["ignored/deep/x", "partly/x", "partly/keep", "x.log", ":(glob)*.log"]) {
        write(name);
      }
    },
    [{ kind: "new_files", count: 1, examples: ["partly/keep"] }],
  ],
  [
    "a repository without a remote",
    ({ git }) => git("remote", "remove", "origin"),
    [
      { kind: "commits", count: 3, refs: ["main", "tags/v1"] },
      { kind: "tags", count: 1 },
    ],
  ],
  [
    "a repository that was deleted",
    ({ path }) => rmSync(join(path, ".git"), { recursive: true }),
    [{ kind: "new_files", count: 3 }],
  ],
  [
    "a second history, in addition to the clone's",
    ({ git, commit }) => {
      git("checkout", "-q", "--orphan", "fresh");
      commit("new.txt");
    },
    [{ kind: "commits", count: 1, refs: ["fresh"] }],
  ],
  [
    "a repository that was initialised again",
    ({ path, git, write }) => {
      rmSync(join(path, ".git"), { recursive: true });
      git("init", "-q", "-b", "main");
      write("out.log");
      git("add", "-A");
      git("commit", "-q", "-m", "own");
    },
    [
      { kind: "new_files", count: 1, examples: ["out.log"] },
      { kind: "commits", count: 1, refs: ["main"] },
    ],
  ],
  [
    "a repository that was initialised again, without a commit yet",
    ({ path, git, write }) => {
      rmSync(join(path, ".git"), { recursive: true });
      git("init", "-q", "-b", "main");
      write("new.txt");
    },
    [{ kind: "new_files", count: 4 }],
  ],
  [
    "a remote ref whose commit does not exist",
    ({ path, commit }) => {
      commit("new.txt");
      rmSync(join(path, ".git", "packed-refs"));
      writeFileSync(join(path, ".git", "refs", "remotes", "origin", "main"), "b".repeat(40));
    },
    [{ kind: "commits", count: 4, refs: ["main"] }],
  ],
  [
    "a repository that belongs to another directory",
    ({ path, bench }) => {
      renameSync(join(path, ".git"), join(path, "ignored"));
      writeFileSync(join(path, ".git"), `gitdir: ${join(bench.dir, "seed", ".git")}\n`);
    },
    [{ kind: "unknown" }],
  ],
  [
    "a repository whose commits are in another repository",
    ({ path, bench, commit }) => {
      commit("three.txt");
      writeFileSync(join(path, ".git", "commondir"), join(bench.dir, "seed", ".git"));
    },
    [{ kind: "unknown" }],
  ],
  [
    "a repository that was moved, and shares commits of another one",
    ({ path, bench }) => {
      mkdirSync(join(path, "ignored"));
      renameSync(join(path, ".git"), join(path, "ignored", "git"));
      writeFileSync(join(path, ".git"), "gitdir: ignored/git\n");
      writeFileSync(join(path, "ignored", "git", "commondir"), join(bench.dir, "seed", ".git"));
    },
    [{ kind: "unknown" }],
  ],
  [
    "an unreadable HEAD",
    ({ path }) => writeFileSync(join(path, ".git", "HEAD"), "ref: nonsense\n"),
    [{ kind: "unknown" }],
  ],
  [
    "an unreadable ref",
    ({ path }) => writeFileSync(join(path, ".git", "refs", "heads", "broken"), "x"),
    [{ kind: "unknown" }],
  ],
  [
    "missing objects",
    ({ path }) => rmSync(join(path, ".git", "objects"), { recursive: true }),
    [{ kind: "unknown" }],
  ],
  [
    "an unreadable index",
    ({ path }) => writeFileSync(join(path, ".git", "index"), "DIRC and nonsense"),
    [{ kind: "unknown" }],
  ],
  [
    "refs that are not stored as files",
    ({ path }) => void mkdirSync(join(path, ".git", "reftable")),
    [{ kind: "unknown" }],
  ],
];

for (const [name, work, holds] of kinds) {
  test(`work in a clone: ${name}`, async (t) => {
    const bench = workspaceBench(t);
    const seed = gitIn(join(bench.dir, "seed"));
    writeFileSync(
      join(bench.dir, "seed", ".gitignore"),
      "ignored/\npartly/*\n!partly/keep\n*.log\n",
    );
    seed("add", "-A");
    seed("commit", "-q", "-m", "ignore");
    seed("tag", "-a", "v1", "-m", "one");
    seed("push", "-q", bench.bare, "main", "v1");
    const { path, git } = await bench.make();
    const write = (file: string, text: string | Buffer = "x") =>
      writeFileSync(join(path, file), text);
    const commit = (file: string) => {
      write(file);
      git("add", "-A");
      git("commit", "-q", "-m", file);
    };
    work({ path, bench, git, write, commit });
    const found = await bench.remove(path);
    if (holds.length === 0) {
      assert.equal(found, "removed");
      assert.equal(existsSync(path), false);
      return;
    }
    assert.ok(Array.isArray(found), `it was ${found}`);
    assert.partialDeepStrictEqual(found, holds);
    assert.equal(found.length, holds.length, JSON.stringify(found));
    assert.ok(existsSync(path));
    const forced = await bench.workspaces.remove({ path, issue: null }, { force: true });
    assert.equal(forced.outcome, "removed");
    assert.equal(existsSync(path), false);
  });
}

test("a filled submodule is work, and so is its repository when it was left behind; an empty one is not", async (t) => {
  const bench = workspaceBench(t);
  const seed = gitIn(join(bench.dir, "seed"));
  seed("-c", "protocol.file.allow=always", "submodule", "add", "-q", bench.bare, "sub");
  seed("commit", "-q", "-m", "submodule");
  seed("push", "-q", bench.bare, "main");
  const empty = await bench.make("ENG-1");
  assert.ok(existsSync(join(empty.path, "sub")));
  assert.equal(await bench.remove(empty.path), "removed");
  const { path, git } = await bench.make("ENG-2");
  git("-c", "protocol.file.allow=always", "submodule", "update", "-q", "--init");
  const filled = [{ kind: "submodule", count: 1, paths: ["sub"] }];
  assert.deepEqual(await bench.remove(path, "ENG-2"), filled);
  git("submodule", "deinit", "-q", "-f", "sub");
  const left = [{ kind: "submodule", count: 1, paths: [".git/modules/sub"] }];
  assert.deepEqual(await bench.remove(path, "ENG-2"), left);
});

test("THREAT-15: no program of the agent runs while symphony looks for work", async (t) => {
  const bench = workspaceBench(t);
  const { path, git } = await bench.make();
  const marks = join(bench.dir, "marks");
  gitIn(path)("init", "-q", "nested");
  for (const place of [path, join(path, "nested")]) setTraps(place, marks);
  const hooks = join(path, ".git", "hooks");
  mkdirSync(hooks, { recursive: true });
  for (const hook of [
    "post-index-change",
    "post-checkout",
    "pre-commit",
    "reference-transaction",
  ]) {
    writeFileSync(join(hooks, hook), `#!/bin/sh\ntouch ${marks}/${hook}\n`, { mode: 0o755 });
  }
  writeFileSync(join(path, ".gitattributes"), "* filter=t diff=t merge=t\n");
  writeFileSync(join(path, ".git", "info", "attributes"), "* filter=t diff=t merge=t\n");
  writeFileSync(join(path, "one.txt"), "changed\n");
  writeFileSync(join(path, "new.txt"), "new\n");
  rmSync(marks, { recursive: true, force: true });
  mkdirSync(marks);
  const found = await bench.remove(path);
  assert.ok(Array.isArray(found));
  assert.deepEqual(
    found.map(({ kind }) => kind),
    ["changed_files", "new_files", "nested_repository"],
  );
  assert.deepEqual(readdirSync(marks), []);
  git("diff");
  git("add", "one.txt");
  assert.ok(readdirSync(marks).length >= 3, "the traps are set");
  assert.ok(!readFileSync(join(path, ".git", "config"), "utf8").includes("symphony-git-"));
});

test("a worktree that became a repository of its own counts as work as a whole and is reported", async (t) => {
  const bench = workspaceBench(t);
  bench.hooks.current = {
    ...bench.hooks.current,
    afterCreate: `git -C '${join(bench.dir, "seed")}' worktree add -q --detach "$PWD"`,
  };
  const { path, git } = await bench.make();
  rmSync(join(path, ".git"));
  git("init", "-q", "-b", "main");
  writeFileSync(join(path, "new.txt"), "x");
  git("add", "-A");
  git("commit", "-q", "-m", "own");
  assert.deepEqual(await bench.remove(path), [
    { kind: "commits", count: 1, more: false, refs: ["main"] },
  ]);
});
