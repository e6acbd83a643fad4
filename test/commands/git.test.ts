import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gitConfigOf, gitSection } from "../../src/core/config/git.ts";
import { gitIn } from "../support/makers/git-repository.ts";
import { gitWorld } from "../support/worlds/git-world.ts";
import { symphony } from "../support/worlds/run-symphony.ts";
import { serve } from "../support/worlds/server.ts";

test("git shows all repositories or those of one issue; diff shows the work", async () => {
  await using git = await gitWorld();
  await using server = await serve(git.world);
  const env = { SYMPHONY_URL: `http://127.0.0.1:${server.listening.port}` };
  const run = (...args: string[]) => symphony(args, { env });
  const all = await run("git");
  assert.equal(all.code, 0);
  assert.match(all.stdout, /^app {2}https:\/\/example\.org\/team\/app\.git, main\nISSUE +BRANCH/);
  assert.match(all.stdout, /\nENG-1 +eng-1 +[0-9a-f]{10} +1 +0 +only here\n$/);
  const one = await run("git", "eng-1", "--json");
  assert.equal(JSON.parse(one.stdout).repositories[0].branches[0].issue_identifier, "ENG-1");
  const none = await run("git", "ENG-2");
  assert.deepEqual([none.code, none.stdout], [3, ""]);
  assert.match(none.stderr, /no workspace of ENG-2 has a repository\n {2}next: symphony issue/);
  const diff = await run("diff", "ENG-1");
  assert.match(diff.stdout, /^diff --git a\/one\.txt b\/one\.txt\n.*\n-one\.txt\n\+changed\n$/s);
  assert.match(diff.stderr, /^ENG-1: 1 file changed since [0-9a-f]{10}\n$/);
  const stat = await run("diff", "ENG-1", "--stat");
  assert.match(stat.stdout, /^ADDED +REMOVED +FILE\n\+1 +-1 +one\.txt\n$/);
  assert.equal(JSON.parse((await run("diff", "ENG-1", "--json")).stdout).files.length, 1);
  const empty = await run("diff", "ENG-2");
  assert.equal(empty.code, 7);
  assert.match(empty.stderr, /there is no repository in the workspace\n {2}next: symphony git/);
  const slip = await run("diff", "ENG-11");
  assert.equal(slip.code, 3);
  assert.match(slip.stderr, /did you mean ENG-1\?/);
});

test("diff says when the work has no commit in common with its base, or the base is gone", async () => {
  await using world = await gitWorld();
  await using server = await serve(world.world);
  const env = { SYMPHONY_URL: `http://127.0.0.1:${server.listening.port}` };
  const git = gitIn(world.path);
  git("checkout", "-q", "--orphan", "anew");
  git("commit", "-q", "-a", "-m", "anew");
  git("branch", "-q", "-D", "eng-1");
  const orphan = await symphony(["diff", "ENG-1"], { env });
  assert.deepEqual(orphan.stderr.replace(/[0-9a-f]{10}/, "ID").split("\n"), [
    "ENG-1: 1 file changed",
    "The work has no commit in common with ID: it is compared with the files of that commit",
    "",
  ]);
  assert.match(orphan.stdout, /^-one\.txt\n\+changed$/m);
  writeFileSync(join(world.path, ".git", "refs", "remotes", "origin", "main"), "b".repeat(40));
  const gone = await symphony(["diff", "ENG-1", "--json"], { env });
  const { base, base_note: note, files } = JSON.parse(gone.stdout);
  assert.deepEqual([base, files.length], [null, 2]);
  assert.match(note, /^The commit to compare with, b{10}, is not in its repository/);
});

test("git shows the routing rules; git ISSUE names the repository of an issue that has no workspace yet", async () => {
  await using git = await gitWorld();
  const repositories = [
    {
      name: "api",
      url: "git@example.org:api.git",
      match: { prefixes: ["OPS"] },
      base_branch: "dev",
    },
    { name: "app", url: "https://$TOKEN@example.org/team/app.git", match: { labels: ["app"] } },
  ];
  git.world.config = {
    ...git.world.config,
    git: gitConfigOf(gitSection.parse({ repositories })),
  };
  await using server = await serve(git.world);
  const env = { SYMPHONY_URL: `http://127.0.0.1:${server.listening.port}` };
  const run = (...args: string[]) => symphony(args, { env });
  const all = await run("git");
  assert.match(all.stdout, /^api {2}git@example\.org:api\.git, dev\nno workspace has it yet\napp /);
  assert.match(all.stdout, /\n\nISSUES WITH +REPOSITORY +BASE +BRANCH\nprefix ops +api +dev +/);
  assert.match(all.stdout, /\nlabel app +app +\(default\) +/);
  const none = await run("git", "ENG-2");
  assert.deepEqual([none.code, none.stdout], [3, ""]);
  const kept = await run("git", "ENG-1");
  assert.match(kept.stdout, /^app .*\nENG-1: no routing rule matches it\n$/s);
  const everything = [{ name: "app", url: "https://$TOKEN@example.org/team/app.git" }];
  git.world.config = {
    ...git.world.config,
    git: gitConfigOf(gitSection.parse({ repositories: everything })),
  };
  const routed = await run("git", "eng-2");
  assert.deepEqual(
    [routed.code, routed.stdout],
    [0, "ENG-2: a new workspace is a clone of app on branch symphony/ENG-2-title-of-eng-2\n"],
  );
  assert.equal(JSON.parse((await run("git", "ENG-2", "--json")).stdout).route.repository, "app");
});
