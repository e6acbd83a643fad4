import assert from "node:assert/strict";
import { once } from "node:events";
import { copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { systemClock } from "../../src/core/clock.ts";
import { makeDataDir } from "../../src/core/store/lock.ts";
import type { NewIssue } from "../../src/core/tracker/local/input.ts";
import { openLocalIssues } from "../../src/core/tracker/local/issues.ts";
import { localOptions } from "../../src/core/tracker/local/settings.ts";
import type { Step } from "../../src/demo/script.ts";
import { config } from "../support/makers/issue.ts";
import { eventually, type Place, Served, symphony } from "../support/worlds/symphony.ts";

const agentFile = fileURLToPath(new URL("../../src/demo/agent.ts", import.meta.url));
const done: readonly Step[] = [{ do: "tool", name: "issue_move", arguments: { state: "Done" } }];

/** A folder with a workflow on the local tracker, its issues, and the script of the agent. */
async function project(issues: readonly NewIssue[], turn: readonly Step[], extra = "") {
  const root = await mkdtemp(join(tmpdir(), "symphony-serve-"));
  const dataDir = join(root, ".symphony");
  const workflowPath = join(root, "WORKFLOW.md");
  const parts = [process.execPath, agentFile, "--script", join(root, "script.json")];
  const command = [...parts, "--state", join(root, "agent")].map((part) => `"${part}"`).join(" ");
  await writeFile(join(root, "script.json"), JSON.stringify({ issues: { default: [turn] } }));
  await writeFile(
    workflowPath,
    `---\ntracker: { kind: local }\nworkspace: { root: ./workspaces }\npolling: { interval_ms: 60000 }
codex: { command: ${JSON.stringify(command)}, read_timeout_ms: 30000 }\n${extra}---\nDo {{ issue.identifier }}\n`,
  );
  await makeDataDir(dataDir);
  const local = openLocalIssues(dataDir, localOptions(config().tracker), systemClock);
  for (const issue of issues) local.create(issue);
  local.close();
  return {
    root,
    dataDir,
    workflowPath,
    cwd: root,
    env: { HOME: root },
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true, maxRetries: 5 }),
  };
}

test("C-1: without a path the workflow is ./WORKFLOW.md; C-5: after SIGTERM the exit code is 0", async () => {
  await using place = await project([], done);
  await using server = await Served.start({ ...place, workflowPath: "WORKFLOW.md" });
  const runtime = await server.client.system.runtime({});
  assert.equal(runtime.workflow_path, place.workflowPath);
  assert.equal(await server.stop(), 0);
  const left = await readdir(place.dataDir);
  assert.ok(!left.includes("runtime.json"), "the announcement is taken back");
});

test("W-1: the named file is served and reported by its absolute path; without a name it is ./WORKFLOW.md", async () => {
  await using place = await project([], done);
  const { workflowPath, ...around } = place;
  const other = join(place.root, "team", "FLOW.md");
  await mkdir(join(place.root, "team"));
  await copyFile(workflowPath, other);
  await using server = await Served.start({ ...place, workflowPath: join("team", "FLOW.md") });
  assert.equal((await server.client.system.runtime({})).workflow_path, other);
  await server.stop();
  await rm(workflowPath);
  const unnamed = await symphony(around, "serve", "--dry-run");
  assert.equal(unnamed.code, 3, unnamed.stderr);
  assert.ok(unnamed.stderr.includes(workflowPath), unnamed.stderr);
});

test("C-3: a port is a number from 0 up, and the last one counts; an unknown option or an extra argument is refused with the usage", async () => {
  await using place = await project([], done);
  for (const wrong of ["-1", "1.5", "http", "65536", ""]) {
    const refused = await symphony(place, "serve", `--port=${wrong}`);
    assert.equal(refused.code, 2, `--port=${wrong}: ${refused.stderr}`);
    assert.match(refused.stderr, /--port/);
  }
  for (const wrong of [
    ["--prot", "0"],
    ["WORKFLOW.md", "OTHER.md"],
  ]) {
    const refused = await symphony(place, "serve", ...wrong);
    assert.equal(refused.code, 2, refused.stderr);
    assert.match(refused.stderr, /--help/);
  }
  const free = createServer().listen(0, "127.0.0.1");
  await once(free, "listening");
  const { port } = free.address() as AddressInfo;
  free.close();
  await once(free, "close");
  await using server = await Served.start(place, "--port", String(port));
  assert.equal(server.url, `http://127.0.0.1:${port}`);
});

test("C-2: the error for a missing file or a directory names its absolute path", async () => {
  await using place = await project([], done);
  const missing = await symphony(place, "serve", "nowhere.md");
  assert.equal(missing.code, 3);
  assert.ok(missing.stderr.includes(join(place.root, "nowhere.md")));
  await mkdir(join(place.root, "folder"));
  const folder = await symphony(place, "serve", "folder");
  assert.notEqual(folder.code, 0);
  assert.ok(folder.stderr.includes(join(place.root, "folder")));
});

test("C-4: for a bad configuration one clean message names the dotted key", async () => {
  await using place = await project([], done);
  await writeFile(
    place.workflowPath,
    "---\ntracker: { kind: local }\nagent: { max_turns: 0 }\n---\n",
  );
  const refused = await symphony(place, "serve");
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /agent\.max_turns/);
  assert.doesNotMatch(refused.stderr, /\n\s+at /);
  assert.deepEqual(refused.stdout, "");
});

test("C-6: a port in use is refused before anything is dispatched, and the lock is released", async () => {
  await using place = await project([{ title: "One" }], done);
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as { port: number };
  const refused = await symphony(place, "serve", "--port", String(port));
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /port is in use/);
  other.close();
  await using server = await Served.start(place);
  const { attempts } = await server.client.issues.attempts({ params: { id: "LOCAL-1" } });
  assert.ok(attempts.length <= 1);
});

test("--once runs what the first poll starts, and the exit code tells the outcome", async () => {
  await using good = await project([{ title: "One" }], done);
  const well = await symphony(good, "serve", "--once", "--port", "0");
  assert.equal(well.code, 0, well.stderr);
  await using bad = await project([{ title: "One" }], [{ do: "fail", message: "no luck" }]);
  const badly = await symphony(bad, "serve", "--once", "--port", "0");
  assert.equal(badly.code, 1, badly.stderr);
  assert.match(badly.stderr, /no luck/);
});

test("--dry-run lists what would run and why the rest would not, and starts nothing", async () => {
  const issues = [
    { title: "First", priority: 1 },
    { title: "Second", blockedBy: ["LOCAL-1"] },
    { title: "Third", priority: 2 },
  ];
  await using place = await project(issues, done, "agent: { max_concurrent_agents: 1 }\n");
  const { code, stdout, stderr } = await symphony(place, "serve", "--dry-run", "--json");
  assert.equal(code, 0, stderr);
  const plan = JSON.parse(stdout).plan as {
    issue_identifier: string;
    would_run: boolean;
    why: string;
  }[];
  assert.deepEqual(
    plan.map((row) => [row.issue_identifier, row.would_run]),
    [
      ["LOCAL-1", true],
      ["LOCAL-3", false],
      ["LOCAL-2", false],
    ],
  );
  assert.match(plan.find((row) => row.issue_identifier === "LOCAL-2")?.why ?? "", /LOCAL-1/);
  assert.deepEqual(await readdir(place.root).then((names) => names.includes("workspaces")), false);
});

test("X-1: the agent sees no variable beyond the allow-list", async () => {
  const print = {
    do: "run",
    command: "env | cut -d= -f1 | sort | tr '\\n' ' ' > env.txt; cat env.txt",
  };
  await using place = await project([{ title: "One" }], [print as Step, ...done]);
  const env = { ...place.env, MY_SECRET_TOKEN: "canary-1", LINEAR_API_KEY: "canary-2" };
  await using server = await Served.start({ ...place, env });
  const events = await eventsUntilDone(server);
  assert.match(events, /SYMPHONY_RUN_ID/);
  assert.doesNotMatch(events, /MY_SECRET_TOKEN|LINEAR_API_KEY|canary/);
});

async function eventsUntilDone(server: Served): Promise<string> {
  await eventually("the issue is completed", async () => {
    const { counts } = await server.client.system.state({});
    return counts.completed === 1;
  });
  return JSON.stringify(await server.events("LOCAL-1"));
}

test("C-3: level danger is refused before anything is done unless it is acknowledged; at any level except safe the API requires its token", async () => {
  await using danger = await project([], done, "agent: { level: danger }\n");
  const refused = await symphony(danger, "serve");
  assert.notEqual(refused.code, 0);
  assert.match(refused.stderr, /agent\.level danger[\s\S]*symphony serve --i-understand/);
  const made = await readdir(danger.dataDir);
  for (const name of ["runtime.json", "history.db", "log"]) assert.ok(!made.includes(name), name);
  assert.ok(!(await readdir(danger.root)).includes("workspaces"));
  const env = { ...danger.env, SYMPHONY_I_UNDERSTAND: "1" };
  await using meant = await Served.start({ ...danger, env });
  await asksForToken(meant, danger, "danger");
  await using networked = await project([], done, "agent: { level: networked }\n");
  await using server = await Served.start(networked);
  await asksForToken(server, networked, "networked");
});

async function asksForToken(server: Served, place: Place, level: string) {
  assert.equal((await fetch(`${server.url}/api/v1/state`)).status, 401);
  const shown = await symphony(place, "runtime", "--json");
  const { agent, server: where } = JSON.parse(shown.stdout);
  assert.deepEqual([agent.level, where.auth], [level, "token"]);
}

test("an overlay cannot set level danger on a server that was not started for it; with networked the API requires its token", async () => {
  await using place = await project([], done);
  await using server = await Served.start(place);
  const url = (await server.client.system.runtime({})).server.port;
  const set = (level: string) => symphony(place, "config", "overlay", "set", "agent.level", level);
  assert.match((await set("danger")).stderr, /was not started for it/);
  assert.equal((await fetch(`http://127.0.0.1:${url}/api/v1/state`)).status, 200);
  assert.equal((await set("networked")).code, 0);
  assert.equal((await fetch(`http://127.0.0.1:${url}/api/v1/state`)).status, 401);
  assert.equal((await set("safe")).code, 0);
  assert.equal((await fetch(`http://127.0.0.1:${url}/api/v1/state`)).status, 200);
});

test("a pause is set and ended by the command line, and a dry run and serve --once say it", async () => {
  await using place = await project([], done, "agent: { max_concurrent_agents: 1 }\n");
  const run = (...args: string[]) => symphony(place, ...args);
  {
    await using server = await Served.start(place);
    const first = await run("pause", "--reason", "release day");
    assert.deepEqual([first.code, first.stdout], [0, ""]);
    assert.match(first.stderr, /Dispatch is paused: release day\. Running agents continue/);
    // Only now: an agent that had begun before the pause would continue.
    assert.equal((await run("issue", "create", "--title", "One")).code, 0);
    const state = await run("state");
    assert.match(
      state.stdout,
      /nothing new is started: dispatch is paused \(cli, .*release day; symphony resume ends it/,
    );
    await server.stop();
  }
  const plan = await run("serve", "--dry-run");
  assert.match(plan.stdout, /LOCAL-1 +wait .*dispatch is paused/);
  const once = await run("serve", "--once", "--port", "0");
  assert.equal(once.code, 0);
  assert.match(once.stderr, /nothing new is started.*release day/);
  await using server = await Served.start(place);
  assert.match((await run("resume")).stderr, /Dispatch is resumed; it was paused/);
  await eventually("the issue runs", async () => {
    const { counts } = await server.client.system.state({});
    return counts.completed === 1 || counts.running === 1;
  });
  assert.match((await run("resume")).stderr, /Dispatch was not paused/);
});
