// `symphony run`: one issue to its end, without a server and at one.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { endAt } from "../../src/commands/run-outcome.ts";
import { gitIn, origin } from "../support/makers/git-repository.ts";
import { temporaryDir } from "../support/makers/storage.ts";
import {
  eventually,
  finished,
  isAlive,
  launch,
  Served,
  symphony,
} from "../support/worlds/symphony.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

interface Wish {
  /** What the agent does in its workspace. */
  readonly agent?: string;
  readonly withRepository?: boolean;
  readonly more?: string;
}

/** The agent is a script without a sandbox, which not every machine has. */
function project(t: TestContext, { agent, withRepository = true, more = "" }: Wish = {}) {
  const dir = temporaryDir(t);
  const [home, scratch, cwd] = ["home", "tmp", "work"].map((name) => join(dir, name));
  assert.ok(home && scratch && cwd);
  for (const one of [home, scratch, cwd]) mkdirSync(one);
  const script = join(dir, "agent.sh");
  const does = agent ?? "echo made > made.txt; echo done";
  writeFileSync(script, `#!/bin/sh\ncat >/dev/null\n${does}\n`, { mode: 0o755 });
  const remote = origin(dir);
  const git = withRepository ? `git: { repositories: [{ name: app, url: "${remote}" }] }\n` : "";
  writeFileSync(
    join(cwd, "WORKFLOW.md"),
    `---
tracker: { kind: local, provider: { states: [In Review] } }
agent: { kind: command, level: danger, max_retries: 0 }
command: { line: ${script} }
workspace: { root: ../workspaces }
storage: { min_free: 0 }
host: { min_memory: 0, max_load: 0 }
${git}${more}---
{{ issue.title }}
`,
  );
  const env = {
    HOME: home,
    TMPDIR: scratch,
    SYMPHONY_I_UNDERSTAND: "1",
    SYMPHONY_TOKEN: undefined,
  };
  const branches = () => gitIn(remote)("branch", "--format=%(refname:short)").split("\n");
  return { dir, cwd, env, scratch, remote, branches, workflowPath: join(cwd, "WORKFLOW.md") };
}

type Project = ReturnType<typeof project>;

async function created(place: Project, ...titles: string[]) {
  for (const title of titles) {
    const { code, stderr } = await symphony(place, "issue", "create", "--title", title);
    assert.equal(code, 0, stderr);
  }
}

async function run(place: Project, ...args: string[]) {
  const end = await symphony(place, "run", ...args, "--json");
  return { ...end, result: JSON.parse(end.stdout || "null"), stderr: end.stdout + end.stderr };
}

/** Directories of runs that are left. */
const leftIn = ({ scratch }: Project) =>
  readdirSync(scratch).filter((name) => name.startsWith("symphony-run-"));

test("run ISSUE works on that issue alone, shows what happens, delivers it, and exits with 0", async (t) => {
  const place = project(t);
  await created(place, "First", "Second");
  const { code, stdout, stderr } = await symphony(place, "run", "LOCAL-2");
  assert.equal(code, 0, stderr);
  assert.match(stderr, /dispatched[\s\S]*symphony\/LOCAL-2-second is pushed to app/);
  assert.match(stdout, /^LOCAL-2 {2}review\nbranch symphony\/LOCAL-2-second\n$/);
  assert.deepEqual(place.branches(), ["main", "symphony/LOCAL-2-second"]);
  const list = await symphony(place, "issue", "list", "--json");
  const states = JSON.parse(list.stdout).issues.map((one: { state: string }) => one.state);
  assert.deepEqual(states, ["Todo", "In Review"]);
  // Again: it is at its end already.
  const again = await run(place, "LOCAL-2");
  assert.deepEqual([again.code, again.result.status], [0, "review"]);
});

test("run: an unknown issue is 3, one that is not to be worked on is 7 with the reason", async (t) => {
  const place = project(t);
  await created(place, "Done already");
  await symphony(place, "issue", "close", "LOCAL-1");
  const gone = await symphony(place, "run", "LOCAL-9");
  assert.equal(gone.code, 3, gone.stderr);
  const closed = await symphony(place, "run", "LOCAL-1");
  assert.equal(closed.code, 7, closed.stderr);
  assert.match(closed.stderr, /LOCAL-1 is not to be worked on: active_state: state is Done/);
});

test("run FILE.md and run -: in a temporary place that is gone once the work is delivered", async (t) => {
  const place = project(t);
  writeFileSync(join(place.cwd, "task.md"), "# Write the file\n\nPlease.\n");
  const { code, result, stderr } = await run(place, "task.md");
  assert.equal(code, 0, stderr);
  assert.equal(result.branch, "symphony/RUN-1-write-the-file");
  assert.deepEqual([result.kept, result.data_dir, leftIn(place)], [[], null, []]);
  assert.ok(place.branches().includes("symphony/RUN-1-write-the-file"));
  assert.equal(
    existsSync(join(place.cwd, ".symphony")),
    false,
    "the project's own place is not used",
  );
  const child = launch(place, ["run", "-", "--json"], "pipe");
  child.stdin?.end("# From stdin\n");
  const piped = await finished(child);
  assert.equal(piped.code, 0, piped.stdout + piped.stderr);
  assert.equal(JSON.parse(piped.stdout).branch, "symphony/RUN-1-from-stdin");
});

test("run FILE.md for a tracker with an account: the issue needs none", async (t) => {
  const place = project(t);
  const text = readFileSync(place.workflowPath, "utf8");
  const linear =
    "{ kind: linear, required_labels: [agent], provider: { project_slug: x, api_key: $KEY } }";
  writeFileSync(place.workflowPath, text.replace(/\{ kind: local.*/, linear));
  writeFileSync(join(place.cwd, "task.md"), "# Write the file\n");
  const { code, result, stderr } = await run(place, "task.md");
  assert.equal(code, 0, stderr);
  assert.equal(result.branch, "symphony/RUN-1-write-the-file");
});

test("run FILE.md keeps work that is nowhere else, and says where it is", async (t) => {
  const place = project(t, { withRepository: false });
  writeFileSync(join(place.cwd, "task.md"), "# Write the file\n");
  const { code, result, stderr } = await run(place, "task.md");
  assert.equal(code, 0, stderr);
  const [kept] = result.kept;
  assert.equal(readFileSync(join(kept.path, "made.txt"), "utf8"), "made\n");
  assert.equal(leftIn(place).length, 1);
  const [, ...words] = kept.next[0].split(" ");
  const diff = await symphony(place, ...words);
  assert.equal(diff.code, 0, diff.stderr);
  assert.match(diff.stdout, /\+made/);
});

test("run exits with 1 when the agent fails; nothing is left where there was no work", async (t) => {
  const place = project(t, { agent: "exit 3" });
  writeFileSync(join(place.cwd, "task.md"), "# Fail\n");
  const { code, result, stderr } = await run(place, "task.md");
  assert.deepEqual([code, result.outcome], [1, "failed"], stderr);
  assert.deepEqual(leftIn(place), []);
});

test("run exits with 6 when a person has to decide", async (t) => {
  // It ends well and changes nothing, until a brake asks a person.
  const more = "brakes: { turns_without_progress: 1 }\n";
  const place = project(t, { agent: "echo nothing", more });
  writeFileSync(join(place.cwd, "task.md"), "# Nothing\n");
  const { code, result, stderr } = await run(place, "task.md");
  assert.deepEqual([code, result.outcome], [6, "needs_person"], stderr);
  assert.match(
    result.reason,
    /RUN-1 is held and does not continue by itself: .*turns_without_progress/,
  );
});

test("run says what its agent asks, and where the answer goes without a server", async (t) => {
  const demo = [process.execPath, join(root, "src/demo/agent.ts")];
  const turns = [[{ do: "ask", question: "Which colour?", options: ["Blue"] }]];
  const place = project(t);
  const script = join(place.dir, "script.json");
  writeFileSync(script, JSON.stringify({ issues: { default: turns } }));
  const parts = [...demo, "--script", script, "--state", join(place.dir, "agent")];
  const command = parts.map((part) => `"${part}"`).join(" ");
  const text = readFileSync(place.workflowPath, "utf8")
    .replace("kind: command,", "kind: codex, approvals: ask,")
    .replace(/^command: .*$/m, `codex: ${JSON.stringify({ command, read_timeout_ms: 30_000 })}`);
  writeFileSync(place.workflowPath, text);
  writeFileSync(join(place.cwd, "task.md"), "# Paint it\n");
  const { code, result, stderr } = await run(place, "task.md");
  assert.equal(code, 6, stderr);
  assert.match(
    result.reason,
    /RUN-1 is blocked .*: its agent asks: Which colour\?; say it in the file and run it again$/,
  );
});

const endless = 'echo half > half.txt; echo $$ > "$HOME/pid"; exec sleep 86400';

test("run exits with 124 when its time is over", async (t) => {
  const place = project(t, { agent: endless });
  writeFileSync(join(place.cwd, "task.md"), "# Hang\n");
  const { code, result, stderr } = await run(place, "task.md", "--timeout", "3s");
  assert.deepEqual([code, result.outcome], [124, "timed_out"], stderr);
});

test("Ctrl-C ends the agent of a run, keeps its work and exits with 130", async (t) => {
  const place = project(t, { agent: endless });
  writeFileSync(join(place.cwd, "task.md"), "# Hang\n");
  const child = launch(place, ["run", "task.md", "--json"]);
  const ending = finished(child);
  const pid = await eventually("the agent works", async () =>
    Number(await readFile(join(place.env.HOME, "pid"), "utf8")),
  );
  child.kill("SIGINT");
  const { code, stdout, stderr } = await ending;
  assert.equal(code, 130, stderr);
  assert.ok(!isAlive(pid));
  const [kept] = JSON.parse(stdout).kept;
  assert.equal(readFileSync(join(kept.path, "half.txt"), "utf8"), "half\n");
});

test("run ISSUE asks the server that holds the data directory, and follows it there", async (t) => {
  const place = project(t);
  const dataDir = join(place.cwd, ".symphony");
  await using server = await Served.start({ ...place, dataDir });
  await created(place, "At the server");
  const { code, result, stderr } = await run(place, "LOCAL-1");
  assert.equal(code, 0, stderr);
  assert.deepEqual([result.server, result.status], [server.url, "review"]);
  assert.ok(place.branches().includes("symphony/LOCAL-1-at-the-server"));
});

test("the end of a run: what was asked for, or what does not go on by itself", () => {
  const usual = ["completed", "review"] as const;
  assert.equal(endAt("review", usual, "running"), "reached");
  assert.equal(endAt("running", usual, "queued"), null);
  assert.equal(endAt("retrying", usual, "running"), null);
  assert.equal(endAt("failed", usual, "running"), "failed");
  assert.equal(endAt("held", usual, "running"), "needs_person");
  assert.equal(endAt("blocked", usual, "running"), "needs_person");
  assert.equal(endAt("held", ["held"], "running"), "reached");
  // Only a merge completes it.
  assert.equal(endAt("review", ["completed"], "running"), "needs_person");
  // Released: moved to a state in which nothing runs. Before the first poll it is only not known yet.
  assert.equal(endAt(null, usual, "running"), "reached");
  assert.equal(endAt(null, usual, null), null);
});

interface Step {
  readonly name?: string;
  readonly run?: string;
  readonly env?: Readonly<Record<string, string>>;
}

test("the example for GitHub Actions: its steps deliver an issue whose text is hostile", async (t) => {
  const place = project(t);
  const bin = join(place.dir, "bin");
  mkdirSync(bin);
  symlinkSync(join(root, "bin", "symphony.js"), join(bin, "symphony"));
  symlinkSync(process.execPath, join(bin, "node"));
  const text = readFileSync(join(root, "examples", "github-actions.yml"), "utf8");
  const { jobs, defaults } = parse(text, { merge: true });
  // Only then Actions runs it as below; without it a failed `symphony run` before the pipe would be a success.
  assert.equal(defaults.run.shell, "bash");
  const steps: readonly Step[] = jobs.run.steps;
  const values: Readonly<Record<string, string>> = {
    "github.event.issue.title": '"; touch /tmp/hacked #$(touch hacked)',
    "github.event.issue.body": "`touch hacked`\n$(touch hacked)",
    "secrets.OPENAI_API_KEY": "",
    "secrets.GITHUB_TOKEN": "",
  };
  const filled = (value: string) =>
    value.replaceAll(/\$\{\{ ([\w.]+) \}\}/g, (_, name: string) => values[name] ?? "");
  const summary = join(place.dir, "summary");
  // Those that install programs need root and the network; the rest is run as Actions runs it.
  const ran = steps.filter(
    ({ run: line, name }) => line !== undefined && !name?.startsWith("Install"),
  );
  assert.equal(ran.length, 4);
  for (const { name, run: line = "", env = {} } of ran) {
    assert.doesNotMatch(line, /\$\{\{/, `${name}: no text of an issue in a shell line`);
    const given = Object.entries(env).map(([key, value]) => [key, filled(value)]);
    const { status, stderr, stdout } = spawnSync("bash", ["-eo", "pipefail", "-c", line], {
      cwd: place.cwd,
      encoding: "utf8",
      env: {
        ...place.env,
        ...Object.fromEntries(given),
        PATH: `${bin}:${process.env["PATH"]}`,
        RUNNER_TEMP: place.dir,
        GITHUB_STEP_SUMMARY: summary,
      },
    });
    assert.equal(status, 0, `${name}: ${stdout}${stderr}`);
  }
  const { branch, outcome } = JSON.parse(readFileSync(summary, "utf8"));
  assert.equal(outcome, "reached");
  assert.ok(place.branches().includes(branch));
  assert.equal(existsSync(join(place.cwd, "hacked")), false);
});
