import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { gitConfigOf, gitSection } from "../../../src/core/config/git.ts";
import { createLogger } from "../../../src/core/events/log.ts";
import { fillWorkspace } from "../../../src/core/workspace/fill.ts";
import { Prepared } from "../../../src/core/workspace/prepared.ts";
import { createWorkspaces } from "../../../src/core/workspace/workspaces.ts";
import { gitIn } from "../../support/makers/git-repository.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { cloneWorld, refusalOf } from "../../support/worlds/clone-world.ts";

const none = new AbortController().signal;
const install =
  "mkdir -p node_modules/left node_modules/@me && cp lock.json node_modules/left/index.js && ln -s ../../own node_modules/@me/own";

/** Workspaces of a repository that is prepared by real shell lines, which are counted. */
function preparedWorld(t: TestContext, commands: string[] = [install], results = ["node_modules"]) {
  const { dir, bare, seed, clock, mirrors } = cloneWorld(t);
  const push = (files: Readonly<Record<string, string>>) => {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(seed, name), text);
    const git = gitIn(seed);
    git("add", "-A");
    git("commit", "-q", "-m", "more");
    git("push", "-q", "origin", "HEAD:main");
  };
  push({ "lock.json": "one", ".gitignore": "node_modules/\n" });
  const prepare = { commands, files: ["lock.json"], results };
  const repositories = [{ name: "app", url: bare, prepare }];
  const git = gitConfigOf(gitSection.parse({ repositories }));
  const env = { PATH: process.env["PATH"] ?? "", HOME: dir };
  const runs: string[] = [];
  const prepared = new Prepared({
    dir: join(dir, "prepared"),
    async run({ path }, given) {
      for (const command of given.commands) {
        runs.push(command);
        const { status, stdout } = spawnSync("bash", ["-c", command], { cwd: path, env });
        if (status !== 0) return { command, output: stdout.toString() };
      }
      return null;
    },
  });
  const log = createLogger({
    ...{ level: "error", format: "logfmt", sinks: [], clock, redact: (text: string) => text },
  });
  const workspaces = createWorkspaces({
    settings: () => ({ root: join(dir, "root"), hooks: config().hooks }),
    ...{ env: () => env, clock, log, onHookFailed: () => {}, mirrors, prepared },
    fill: fillWorkspace({
      ...{ git: () => git, env, clock, mirrors, prepared, lookup: () => undefined },
      ...{ learn: () => {}, redact: (text: string) => text, runId: dir },
      branches: { isOurs: () => false, others: () => [], record: () => {} },
    }),
  });
  const told: string[] = [];
  const made = (name: string) => workspaces.ensure(issue(name), none, (line) => told.push(line));
  const stored = () => readdirSync(join(dir, "prepared")).filter((name) => !name.includes("."));
  return { dir, workspaces, made, runs, push, told, stored };
}

test("prepared once for each state of the named files, for workspaces that are made together too", async (t) => {
  const { made, runs, push, workspaces, stored } = preparedWorld(t);
  const [one, two] = await Promise.all([made("ENG-1"), made("ENG-2")]);
  assert.equal(runs.length, 1);
  for (const { path } of [one, two]) {
    assert.equal(readFileSync(join(path, "node_modules", "left", "index.js"), "utf8"), "one");
    // A link between packages of the repository leads into the workspace.
    assert.equal(readlinkSync(join(path, "node_modules", "@me", "own")), "../../own");
    assert.ok(lstatSync(join(path, "node_modules")).isDirectory(), "`node_modules/` ignores it");
    assert.equal(gitIn(path)("status", "--porcelain"), "");
    const [, tree = ""] = await workspaces.borrowedBy(path);
    assert.ok(existsSync(join(tree, "node_modules", "left")), "an agent may read it");
  }
  push({ "other.txt": "x" });
  await made("ENG-3");
  assert.equal(runs.length, 1, "no named file has changed");
  push({ "lock.json": "two" });
  const four = await made("ENG-4");
  assert.equal(runs.length, 2);
  assert.equal(readFileSync(join(four.path, "node_modules", "left", "index.js"), "utf8"), "two");
  assert.equal(readFileSync(join(one.path, "node_modules", "left", "index.js"), "utf8"), "one");
  assert.equal(stored().length, 2, "what workspaces use is kept");
  for (const name of ["ENG-1", "ENG-2", "ENG-3"]) {
    const { path } = await made(name);
    const removal = await workspaces.remove({ path, issue: null }, { force: true });
    assert.equal(removal.outcome, "removed");
  }
  push({ "lock.json": "three" });
  await made("ENG-5");
  assert.equal(stored().length, 2, "and what none uses is deleted with the next preparation");
});

test("a command that fails, or leaves no result, fails the attempt and is tried again", async (t) => {
  const failing = preparedWorld(t, [
    '[ -e "$HOME/ready" ] || { echo no registry; exit 3; }',
    install,
  ]);
  const refused = await refusalOf(failing.made("ENG-1"));
  assert.equal(refused.code, "hook_failed");
  assert.match(refused.message, /prepare of the repository app: .* failed: no registry$/);
  assert.equal(refused.hint, "correct prepare of app in git.repositories");
  assert.deepEqual(readdirSync(join(failing.dir, "root")), [".symphony-root"]);
  writeFileSync(join(failing.dir, "ready"), "");
  assert.equal((await failing.made("ENG-1")).createdNow, true);
  assert.equal(failing.runs.length, 3);
  assert.equal(failing.stored().length, 1);

  const empty = preparedWorld(t, ["ln -s / node_modules"]);
  assert.match((await refusalOf(empty.made("ENG-1"))).message, /made no directory node_modules$/);
});

test("what the repository has itself stays, and a repository without the named files is refused", async (t) => {
  const command = "mkdir own && echo new > own/made";
  const { made, push, told, dir } = preparedWorld(t, [`rm -rf own; ${command}`], ["own"]);
  mkdirSync(join(dir, "seed", "own"));
  push({ "own/file": "own" });
  const { path } = await made("ENG-1");
  assert.deepEqual(readdirSync(join(path, "own")), ["file"]);
  assert.match(told.at(-1) ?? "", /^app: the repository has .*own itself/);
  gitIn(join(dir, "seed"))("rm", "-q", "lock.json");
  push({ "x.txt": "x" });
  assert.match(
    (await refusalOf(made("ENG-2"))).message,
    /the base has none of its files: lock.json$/,
  );
});

test("paths of prepare stay inside the repository", () => {
  const of = (change: object) =>
    gitSection.safeParse({
      repositories: [
        {
          name: "app",
          url: "/srv/app.git",
          prepare: { commands: ["make"], files: ["lock"], results: ["out"], ...change },
        },
      ],
    }).success;
  assert.equal(of({}), true);
  for (const path of ["../x", "/etc", "a/../b", ".git/hooks", ".", ""]) {
    assert.equal(of({ results: [path] }), false, path);
    assert.equal(of({ files: [path] }), false, path);
  }
  assert.equal(of({ commands: [] }), false);
  assert.equal(of({ more: 1 }), false);
});
