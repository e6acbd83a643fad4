import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { IssueView } from "../../src/contract/issues.ts";
import { startApiDouble } from "../support/fakes/api-double.ts";
import { emptyDir, symphony } from "../support/worlds/run-symphony.ts";

const localWorkflow = "---\ntracker:\n  kind: local\n---\nWork on {{ issue.identifier }}.\n";

function project(workflow = localWorkflow) {
  const dir = emptyDir();
  writeFileSync(join(dir.path, "WORKFLOW.md"), workflow);
  return dir;
}

test("issues are created, changed and listed without a server", async () => {
  using dir = project();
  const run = (...args: string[]) => symphony(["issue", ...args], { cwd: dir.path });
  const json = async (...args: string[]) => JSON.parse((await run(...args, "--json")).stdout);
  const first = await run("create", "--title", "First", "--label", "Bug", "--priority", "2");
  assert.deepEqual([first.code, first.stdout], [0, "LOCAL-1\n"]);
  const second = await json("create", "--title", "Second", "--blocked-by", "LOCAL-1");
  assert.deepEqual(IssueView.parse(second), second);
  assert.deepEqual([second.state, second.blocked_by[0].identifier], ["Todo", "LOCAL-1"]);
  assert.equal((await json("edit", "local-1", "--priority", "none")).priority, null);
  assert.equal((await json("move", "LOCAL-1", "in progress")).state, "In Progress");
  assert.equal((await json("comment", "LOCAL-1", "noted")).body, "noted");
  assert.equal((await json("comments", "local-1")).comments[0].body, "noted");
  assert.match((await run("comments", "LOCAL-1")).stdout, /^operator {2}\S.*\nnoted\n$/);
  assert.equal((await run("comments", "LOCAL-9")).code, 3);
  assert.equal((await json("close", "LOCAL-1")).state, "Done");
  const { issues, total } = await json("list");
  assert.equal(total, 2);
  assert.deepEqual(
    issues.map(({ state }: { state: string }) => state),
    ["Done", "Todo"],
  );
});

test("the data directory is private and stays out of version control", async () => {
  using dir = project();
  mkdirSync(join(dir.path, "deep"));
  await symphony(["issue", "create", "--title", "x"], { cwd: join(dir.path, "deep") });
  const dataDir = join(dir.path, ".symphony");
  assert.equal(statSync(dataDir).mode & 0o777, 0o700);
  assert.equal(readFileSync(join(dataDir, ".gitignore"), "utf8"), "*\n");
});

test("S16: a project that no server has run for does not use the files of a directory above, and a backup is restored into it", async () => {
  using outer = project();
  await symphony(["issue", "create", "--title", "Outer"], { cwd: outer.path });
  const inner = join(outer.path, "inner");
  mkdirSync(inner);
  writeFileSync(join(inner, "WORKFLOW.md"), localWorkflow);
  const backup = join(outer.path, "of-inner.backup");
  for (const words of [
    ["audit", "verify"],
    ["backup", backup],
  ]) {
    const { code, stderr } = await symphony(words, { cwd: inner });
    assert.equal(code, 2, stderr);
    assert.ok(stderr.includes(`no server has run for ${join(inner, "WORKFLOW.md")} yet`), stderr);
  }
  await symphony(["backup", backup], { cwd: outer.path });
  assert.equal((await symphony(["restore", backup], { cwd: inner })).code, 0);
  const { stdout } = await symphony(["issue", "list", "--json"], { cwd: inner });
  assert.equal(JSON.parse(stdout).issues[0].title, "Outer");
});

test("a read command creates no files", async () => {
  using dir = project();
  const { code, stdout } = await symphony(["issue", "list", "--json"], { cwd: dir.path });
  assert.deepEqual([code, JSON.parse(stdout).total], [0, 0]);
  assert.equal(existsSync(join(dir.path, ".symphony")), false);
});

test("a Markdown file becomes an issue, and stdin becomes a description", async () => {
  using dir = project();
  writeFileSync(join(dir.path, "idea.md"), "---\nlabels: [Idea]\n---\n# Better log\n\nWith ids.\n");
  const options = { cwd: dir.path };
  const imported = JSON.parse(
    (await symphony(["issue", "import", "idea.md", "--json"], options)).stdout,
  );
  assert.deepEqual(
    [imported.title, imported.labels, imported.description],
    ["Better log", ["idea"], "With ids."],
  );
  const args = ["issue", "create", "--title", "T", "--description", "-", "--json"];
  const created = await symphony(args, { ...options, input: "two\nlines\n" });
  assert.equal(JSON.parse(created.stdout).description, "two\nlines");
});

test("for a missing issue a similar one is suggested, and for a bad state the known ones are listed", async () => {
  using dir = project();
  const options = { cwd: dir.path };
  await symphony(["issue", "create", "--title", "x"], options);
  const missing = await symphony(["issue", "close", "LOCAL-2"], options);
  assert.equal(missing.code, 3);
  assert.match(missing.stderr, /did you mean LOCAL-1\?/);
  const state = await symphony(["issue", "move", "LOCAL-1", "Nowhere"], options);
  assert.equal(state.code, 2);
  assert.match(state.stderr, /must be one of Todo/);
});

test("without a server issues of another tracker are neither read nor made, and what is to be started is said", async () => {
  using dir = project(
    "---\ntracker:\n  kind: linear\n  provider: {project_slug: x, api_key: k}\n---\n",
  );
  const { code, stderr } = await symphony(["issue", "create", "--title", "x"], { cwd: dir.path });
  assert.equal(code, 7);
  assert.match(stderr, /only issues of the local tracker .* tracker\.kind is linear/);
  const list = await symphony(["issue", "list"], { cwd: dir.path });
  assert.match(list.stderr, /next: symphony serve, then this again/);
});

test("when a server of the project runs, the command calls it instead", async () => {
  await using api = await startApiDouble();
  using dir = project();
  mkdirSync(join(dir.path, ".symphony"));
  const runtime = { url: api.url, pid: process.pid, token: null };
  writeFileSync(join(dir.path, ".symphony", "runtime.json"), JSON.stringify(runtime));
  const { stdout } = await symphony(["issue", "create", "--title", "x"], { cwd: dir.path });
  assert.equal(stdout, "ENG-1\n");
  assert.deepEqual(api.seen.at(-1)?.body, { title: "x" });
});

test("outside of any project the default address is tried", async () => {
  using dir = emptyDir();
  const { code } = await symphony(
    ["issue", "create", "--title", "x", "--url", "http://127.0.0.1:1"],
    {
      cwd: dir.path,
    },
  );
  assert.equal(code, 5);
});
