import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type GitConfig, gitConfigOf, gitSection } from "../../../src/core/config/git.ts";
import { createLogger } from "../../../src/core/events/log.ts";
import { repositoryFor } from "../../../src/core/repository/routing.ts";
import { diffOf } from "../../../src/core/workspace/diff.ts";
import { fillWorkspace } from "../../../src/core/workspace/fill.ts";
import { Prepared } from "../../../src/core/workspace/prepared.ts";
import { requireLentObjects, workIn } from "../../../src/core/workspace/work.ts";
import { createWorkspaces } from "../../../src/core/workspace/workspaces.ts";
import { gitIn } from "../../support/makers/git-repository.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { cloneWorld, refusalOf } from "../../support/worlds/clone-world.ts";

const none = new AbortController().signal;

/** Workspaces below `dir` that are cloned by the configuration of `git`; `hooks.afterCreate` runs in new ones. */
function cloning({
  dir,
  clock,
  mirrors,
  git,
}: Pick<ReturnType<typeof cloneWorld>, "dir" | "clock" | "mirrors"> & { git(): GitConfig }) {
  const root = join(dir, "root");
  const env = { PATH: process.env["PATH"] ?? "", HOME: dir };
  const hooks = {
    ...config().hooks,
    afterCreate: "git branch --show-current >> $HOME/hook || true",
  };
  const log = createLogger({
    ...{ level: "error", format: "logfmt", sinks: [], clock, redact: (text: string) => text },
  });
  const workspaces = createWorkspaces({
    settings: () => ({ root, hooks }),
    ...{ env: () => env, clock, log, onHookFailed: () => {} },
    mirrors,
    hasRepository: (one) => repositoryFor(one, git().repositories) !== null,
    fill: fillWorkspace({
      ...{ git, env, clock, mirrors },
      prepared: new Prepared({ dir: join(dir, "prepared"), run: async () => null }),
      lookup: () => undefined,
      learn: () => {},
      redact: (text: string) => text.replaceAll("s3cr3t-1", "[redacted]"),
      branches: { isOurs: () => false, others: () => [], record: () => {} },
      runId: dir,
    }),
  });
  return { root, workspaces, hooks };
}

test("S-10: a workspace is cloned before after_create runs; a failed clone leaves no directory", async (t) => {
  const { dir, bare, clock, mirrors } = cloneWorld(t);
  const gone = join(dir, "gone.git");
  const git = gitConfigOf(
    gitSection.parse({
      repositories: [
        { name: "gone", url: gone, match: { labels: ["gone"] } },
        { name: "app", url: bare, match: { prefixes: ["eng"] } },
      ],
    }),
  );
  const { root, workspaces, hooks } = cloning({ dir, clock, mirrors, git: () => git });
  const told: string[] = [];
  const first = issue("ENG-1", { title: "It is s3cr3t-1 now" });
  const made = await workspaces.ensure(first, none, (line) => told.push(line));
  assert.equal(made.createdNow, true);
  assert.equal(readFileSync(join(dir, "hook"), "utf8"), "symphony/ENG-1-it-is-redacted-now\n");
  assert.match(told.at(-1) ?? "", /^cloned app in \d+ ms/);
  gitIn(made.path)("checkout", "-q", "-b", "mine");
  assert.equal((await workspaces.ensure(issue("ENG-1"), none)).createdNow, false);
  assert.equal(gitIn(made.path)("branch", "--show-current"), "mine", "it is used again as it is");

  const late = issue("ENG-2", { labels: ["gone"] });
  assert.equal((await refusalOf(workspaces.ensure(late, none))).code, "clone_failed");
  assert.deepEqual(readdirSync(root).sort(), [".symphony-root", "ENG-1"]);
  gitIn(dir)("clone", "-q", "--bare", bare, gone);
  assert.equal((await workspaces.ensure(late, none)).createdNow, true, "the next attempt");

  const lent = () => {
    const names = readdirSync(join(dir, "mirrors"));
    const list = (name: string) =>
      gitIn(join(dir, "mirrors", name, "repository.git"))("for-each-ref", "refs/keep/");
    return names.map(list).filter((refs) => refs !== "").length;
  };
  assert.equal(lent(), 2);
  const [mirror] = await workspaces.borrowedBy(made.path);
  assert.match(mirror ?? "", /mirrors\/[0-9a-f]{32}\/repository\.git$/);
  writeFileSync(join(made.path, "work.txt"), "work\n");
  gitIn(made.path)("add", "-A");
  gitIn(made.path)("commit", "-q", "-m", "work");
  gitIn(made.path)("update-ref", "refs/remotes/origin/mine", "HEAD");
  await workspaces.openGit(made.path);
  const kinds = async () => (await workIn(made.path)).map(({ kind }) => kind);
  assert.deepEqual(await kinds(), ["commits"], "the mirror knows nothing of it");
  gitIn(made.path)("push", "-q", bare, "HEAD:refs/heads/mine");
  gitIn(mirror ?? "")("fetch", "-q", bare, "+refs/heads/*:refs/remotes/origin/*");
  assert.deepEqual(await kinds(), [], "the mirror has it");
  const alternates = join(made.path, ".git", "objects", "info", "alternates");
  const secret = join(dir, "seed", ".git", "objects");
  writeFileSync(alternates, `${mirror}/objects\n${secret}\n`);
  const foreign = /borrows objects of another repository/;
  await assert.rejects(diffOf(made.path, null), foreign);
  await assert.rejects(requireLentObjects(made.path), foreign);
  const name = (mirror ?? "").slice(dir.length + 1);
  mkdirSync(join(root, "x", name, "objects"), { recursive: true });
  const nested = join(dir, "y", name, "objects");
  mkdirSync(join(nested, "info"), { recursive: true });
  writeFileSync(join(nested, "info", "alternates"), `${secret}\n`);
  symlinkSync(join(root, "x"), join(dir, "z"));
  for (const line of [
    ...[join(root, "x", name, "objects"), join(dir, "z", name, "objects"), nested],
    `../../../../y/${name}/objects`,
  ]) {
    writeFileSync(alternates, `${mirror}/objects\n${line}\n`);
    await assert.rejects(diffOf(made.path, null), foreign, line);
  }
  rmSync(join(root, "x"), { recursive: true });
  writeFileSync(alternates, `${mirror}/objects\n${secret}\n`);
  const removal = { path: made.path, issue: issue("ENG-1") };
  const kept = await workspaces.remove(removal);
  assert.ok(kept.outcome === "kept" && kept.work[0]?.kind === "unknown");
  assert.match(kept.work[0].reason, foreign);
  writeFileSync(alternates, "/moved/objects\n");
  await workspaces.ensure(issue("ENG-1"), none);
  assert.equal(readFileSync(alternates, "utf8"), `${mirror}/objects\n`);
  await requireLentObjects(made.path);
  hooks.afterCreate = "exit 1";
  assert.equal((await refusalOf(workspaces.ensure(issue("ENG-3"), none))).code, "hook_failed");
  hooks.afterCreate = "true";
  assert.equal(lent(), 2, "nothing is kept for a workspace that was not finished");
  for (const one of [issue("ENG-1"), late]) {
    await workspaces.remove({ path: null, issue: one }, { force: true });
  }
  assert.equal(lent(), 0, "nothing is kept for workspaces that are gone");

  const other = await workspaces.ensure(issue("OPS-1"), none, (line) => told.push(line));
  assert.deepEqual(readdirSync(other.path), []);
  assert.equal(told.at(-1), "no repository matches OPS-1");
});

test("an empty workspace from a time without a repository gets the clone; one with files stays as it is", async (t) => {
  const { bare, ...world } = cloneWorld(t);
  const repositories = (all: unknown) => gitConfigOf(gitSection.parse({ repositories: all }));
  let git = repositories([]);
  const { workspaces } = cloning({ ...world, git: () => git });
  const empty = await workspaces.ensure(issue("ENG-1"), none);
  const used = await workspaces.ensure(issue("ENG-2"), none);
  writeFileSync(join(used.path, "work.txt"), "work\n");
  assert.equal((await workspaces.ensure(issue("ENG-1"), none)).createdNow, false);

  git = repositories([{ name: "app", url: bare }]);
  const again = await workspaces.ensure(issue("ENG-1"), none);
  assert.deepEqual([again.path, again.createdNow], [empty.path, true]);
  assert.match(gitIn(empty.path)("branch", "--show-current"), /^symphony\/ENG-1/);
  assert.equal((await workspaces.ensure(issue("ENG-1"), none)).createdNow, false);
  assert.equal((await workspaces.ensure(issue("ENG-2"), none)).createdNow, false);
  assert.deepEqual(readdirSync(used.path), ["work.txt"]);
});
