import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { liveProcesses } from "../../../src/core/process/table.ts";
import { type CloneOrder, cloneInto } from "../../../src/core/repository/clone.ts";
import { CloneProgress } from "../../../src/core/repository/clone-progress.ts";
import { survey } from "../../../src/core/repository/survey.ts";
import { diffOf } from "../../../src/core/workspace/diff.ts";
import { workIn } from "../../../src/core/workspace/work.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { gitIn, setTraps } from "../../support/makers/git-repository.ts";
import { cloneWorld, refusalOf } from "../../support/worlds/clone-world.ts";

test("a clone is on a new branch from the default one, clean, with everything pushed", async (t) => {
  const { bare, clone, told } = cloneWorld(t);
  const { path, git } = await clone();
  assert.equal(git("branch", "--show-current"), "symphony/ENG-1-title-of-eng-1");
  assert.deepEqual(readdirSync(path).sort(), [".git", "one.txt", "two.txt"]);
  assert.equal(git("config", "remote.origin.url"), bare);
  assert.partialDeepStrictEqual(await survey(path, null), {
    branch: "symphony/ENG-1-title-of-eng-1",
    defaultBranch: "main",
    ahead: 0,
    behind: 0,
  });
  assert.deepEqual(await workIn(path), []);
  assert.deepEqual(told, [
    `cloning app from ${bare}`,
    "cloned app in 0 ms, on the new branch symphony/ENG-1-title-of-eng-1 from main",
  ]);
});

test("the branch starts from base_branch; a branch of the remote is used only if it was made for the issue", async (t) => {
  const { seed, clone, order } = cloneWorld(t);
  const git = gitIn(seed);
  git("checkout", "-q", "-b", "release/2");
  git("commit", "-q", "--allow-empty", "-m", "release");
  git("push", "-q", "origin", "release/2", "release/2:ada/eng-1-login");
  const based = await clone({ base_branch: "release/2" });
  assert.equal(based.git("log", "-1", "--format=%s"), "release");
  assert.equal(based.git("branch", "--show-current"), "symphony/ENG-1-title-of-eng-1");
  // Its work is compared with this base, not with the remote's default branch.
  assert.partialDeepStrictEqual(await diffOf(based.path, null), { files: [], ahead: 0, behind: 0 });
  const template = { branch_template: "{{ issue.branch_name }}" };
  const named = { branchName: "ada/eng-1-login" };
  const stranger = await clone(template, named);
  assert.equal(stranger.git("branch", "--show-current"), "ada/eng-1-login-2");
  assert.equal(stranger.git("log", "-1", "--format=%s"), "two.txt");
  const ours = order(template, named);
  await cloneInto({ ...ours, isOurs: (branch) => branch === "ada/eng-1-login" });
  const taken = gitIn(ours.path);
  assert.equal(taken("branch", "--show-current"), "ada/eng-1-login");
  assert.equal(taken("log", "-1", "--format=%s"), "release");
  assert.equal(taken("rev-parse", "--abbrev-ref", "@{upstream}"), "origin/ada/eng-1-login");
  const missing = await refusalOf(clone({ base_branch: "nowhere" }));
  assert.equal(missing.code, "clone_failed");
  assert.match(missing.message, /^the repository app \(.*\) has no branch nowhere$/);
});

test("depth limits the history, and an empty remote gives a branch without a commit", async (t) => {
  const { dir, clone } = cloneWorld(t);
  const { git } = await clone({ depth: 1 });
  assert.equal(git("rev-list", "--count", "HEAD"), "1");
  const empty = join(dir, "empty.git");
  gitIn(dir)("init", "-q", "--bare", "-b", "main", empty);
  const begun = await clone({ url: empty, base_branch: "main" });
  assert.equal(begun.git("symbolic-ref", "HEAD"), "refs/heads/symphony/ENG-1-title-of-eng-1");
});

test("files that agents may write are not files of the source: objects are borrowed, and none is hard-linked", async (t) => {
  const { clone } = cloneWorld(t);
  const { path, mirror, git } = await clone();
  const objects = join(path, ".git", "objects");
  assert.equal(readFileSync(join(objects, "info", "alternates"), "utf8"), `${mirror}/objects\n`);
  assert.equal(git("config", "gc.auto"), "0");
  for (const dir of [objects, join(mirror, "objects")]) {
    const files = readdirSync(dir, { recursive: true, encoding: "utf8" })
      .map((name) => statSync(join(dir, name)))
      .filter((found) => found.isFile());
    assert.ok(files.length > 0);
    assert.ok(files.every(({ nlink }) => nlink === 1));
  }
});

test("DELIVERY-33: a name that the remote or another issue has, in any case, or as a directory, is not used", async (t) => {
  const { bare, order } = cloneWorld(t);
  const remote = gitIn(bare);
  const branchIn = async (otherBranches: readonly string[] = []) => {
    const made = order();
    await cloneInto({ ...made, otherBranches });
    return gitIn(made.path)("branch", "--show-current");
  };
  remote("branch", "SYMPHONY/eng-1-title-of-eng-1");
  assert.equal(await branchIn(), "symphony/ENG-1-title-of-eng-1-2");
  const recorded = ["symphony/eng-1-title-of-eng-1-2"];
  assert.equal(await branchIn(recorded), "symphony/ENG-1-title-of-eng-1-3");
  remote("branch", "-D", "SYMPHONY/eng-1-title-of-eng-1");
  remote("branch", "symphony");
  assert.equal(await branchIn(), "symphony-ENG-1-title-of-eng-1");
});

test("THREAT-15: hooks, filters, submodules and all user configuration stay out of a clone", async (t) => {
  const { dir, bare, seed, clone } = cloneWorld(t);
  const marks = join(dir, "marks");
  setTraps(seed, marks);
  const inner = join(dir, "inner");
  mkdirSync(inner);
  gitIn(inner)("init", "-q", "-b", "main");
  gitIn(inner)("commit", "-q", "--allow-empty", "-m", "inner");
  writeFileSync(
    join(seed, ".gitmodules"),
    `[submodule "x"]\n\tpath = x\n\turl = ext::sh -c "touch ${marks}/submodule"\n\tupdate = !touch ${marks}/update\n`,
  );
  // Plain files of the tree, added without running the traps of the repository they come from.
  const env = { PATH: process.env["PATH"] ?? "", HOME: dir };
  const staging = join(dir, "staging");
  const run = (...args: string[]) =>
    execFileSync("git", ["-c", "user.name=A", "-c", "user.email=a@b", ...args], {
      ...{ cwd: staging, env, encoding: "utf8" },
    }).trim();
  gitIn(dir)("clone", "-q", bare, staging);
  writeFileSync(join(staging, ".gitmodules"), readFileSync(join(seed, ".gitmodules")));
  writeFileSync(join(staging, ".gitattributes"), "* filter=t diff=t merge=t\n");
  run("add", "-A");
  const commit = gitIn(inner)("rev-parse", "HEAD");
  run("update-index", "--add", "--cacheinfo", `160000,${commit},x`);
  run("commit", "-q", "-m", "traps");
  run("push", "-q", "origin", "main");
  // The configuration of the user who runs the server.
  gitIn(dir)("config", "--file", join(dir, ".gitconfig"), "filter.t.smudge", `touch ${marks}/home`);
  gitIn(dir)("config", "--file", join(dir, ".gitconfig"), "core.hooksPath", join(seed, "traps"));
  gitIn(dir)("config", "--file", join(dir, ".gitconfig"), "init.templateDir", join(dir, "tpl"));
  mkdirSync(join(dir, "tpl", "hooks"), { recursive: true });
  writeFileSync(join(dir, "tpl", "hooks", "post-checkout"), `#!/bin/sh\ntouch ${marks}/tpl\n`, {
    mode: 0o755,
  });
  const { path } = await clone();
  const trapped = await clone({ url: seed });
  assert.deepEqual(readdirSync(marks), []);
  assert.deepEqual(readdirSync(join(path, "x")), []);
  for (const made of [path, trapped.path]) {
    assert.deepEqual(readdirSync(join(made, ".git", "hooks")), []);
  }
  const config = readFileSync(join(path, ".git", "config"), "utf8");
  assert.doesNotMatch(config, /filter|hooksPath|credential|^\s*(?:active|update)\b/m);
  assert.match(config, /\[submodule "x"\]\n\tignore = dirty\n\tfetchRecurseSubmodules = false\n/);
});

test("a failed clone gives the reason in one line, with the next step", async (t) => {
  const { dir, clone } = cloneWorld(t);
  const gone = await refusalOf(clone({ url: join(dir, "gone.git") }));
  assert.equal(gone.code, "clone_failed");
  assert.match(gone.message, /cannot be cloned: fatal: .*does not (?:exist|appear)/);
  assert.doesNotMatch(gone.message, /\n/);
  assert.equal(gone.hint, "check app in git.repositories");
  const unset = await refusalOf(clone({ url: "https://$APP_TOKEN@127.0.0.1:1/app.git" }));
  assert.match(unset.message, /needs \$APP_TOKEN, which is not set/);
  assert.equal(unset.hint, "symphony secrets add APP_TOKEN");
  const { order } = cloneWorld(t);
  const nowhere: CloneOrder = { ...order(), env: { PATH: dir } };
  assert.equal((await refusalOf(cloneInto(nowhere))).code, "git_not_found");
});

test("a timeout or an abort ends git with all processes that it started", async (t) => {
  const { dir, clock, order } = cloneWorld(t);
  // The transport of this git never answers, and its child has a session of its own.
  const bin = join(dir, "bin");
  mkdirSync(bin);
  const started = join(dir, "started");
  const script = `#!/bin/sh\nsetsid sleep 600 &\necho $! > ${started}.tmp\nmv ${started}.tmp ${started}\nsleep 600\n`;
  writeFileSync(join(bin, "ssh"), script, { mode: 0o755 });
  const env = { PATH: `${bin}:${process.env["PATH"]}`, HOME: dir };
  const there = async () => {
    while (!existsSync(started)) await new Promise((resolve) => setImmediate(resolve));
  };
  const left = async () => {
    const pid = Number(readFileSync(started, "utf8"));
    return (await liveProcesses()).filter((entry) => entry.pid === pid);
  };
  const late = refusalOf(cloneInto({ ...order({ url: "git@example.org:a.git" }), env }));
  await there();
  clock.advance(60_000);
  assert.equal((await late).code, "clone_timeout");
  assert.deepEqual(await left(), []);
  rmSync(started);
  const abort = new AbortController();
  const stopped = refusalOf(
    cloneInto({ ...order({ url: "git@example.org:a.git" }), env, signal: abort.signal }),
  );
  await there();
  abort.abort();
  assert.match((await stopped).message, /was stopped before it ended/);
  assert.deepEqual(await left(), []);
});

test("progress is recorded every few seconds and shown at once, whatever git and the remote print", () => {
  const clock = new FakeClock();
  const told: string[] = [];
  const live: string[] = [];
  const progress = new CloneProgress(clock, {
    tell: (state) => told.push(state),
    live: (state) => live.push(state),
  });
  progress.received("Receiving objects:   1% (1/100)");
  clock.advance(5_000);
  for (const line of ["Cloning into '.'...", "remote: Welcome: 100%!", "remote: \u001b[2J"]) {
    progress.received(line);
  }
  progress.received("remote: Counting objects:  45% (9/20)");
  progress.received("Receiving objects:   2% (2/100)");
  clock.advance(5_000);
  progress.received("Updating files: 100% (3/3), done.");
  assert.deepEqual(told, ["counting objects 45%", "updating files 100%"]);
  assert.deepEqual(live, [
    "receiving objects 1%",
    "counting objects 45%",
    "receiving objects 2%",
    "updating files 100%",
  ]);
});
