// `symphony doctor` on healthy and on broken machines. "D" and a number name a row of what went wrong for others in the first
// minutes with such a program and at the operator's desk.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { checkWebhook } from "../../src/core/doctor/services.ts";
import { RecordFile } from "../../src/core/journal/file.ts";
import { openHistory } from "../../src/core/store/history.ts";
import { startFakeLinear } from "../support/fakes/fake-linear.ts";
import { origin } from "../support/makers/git-repository.ts";
import { symphonyFile } from "../support/makers/program.ts";
import { SmallDisk } from "../support/makers/small-disk.ts";
import { temporaryDir } from "../support/makers/storage.ts";
import { type Around, finished, launch, Served, symphony } from "../support/worlds/symphony.ts";

const has = (program: string) => spawnSync("sh", ["-c", `command -v ${program}`]).status === 0;
const noSandbox = has("bwrap") ? false : "bubblewrap is not installed";
const noDisk = has("nsenter") && has("unshare") ? false : "no namespaces";

interface Check {
  readonly name: string;
  readonly status: string;
  readonly code: string | null;
  readonly message: string;
  readonly next: string | null;
}

interface Report {
  readonly ok: boolean;
  readonly counts: Readonly<Record<string, number>>;
  readonly checks: readonly Check[];
  readonly fixed: readonly string[];
}

/** The limits of the host depend on what else runs on the machine. */
const hostLimits = "storage: { min_free: 0 }\nhost: { min_memory: 0, max_load: 0 }\n";

function project(t: TestContext, tracker = "{ kind: local }") {
  const root = temporaryDir(t);
  const home = join(root, "home");
  const dataDir = join(root, "data");
  const workflowPath = join(root, "WORKFLOW.md");
  mkdirSync(home);
  const repository = origin(root);
  const text = `---
tracker: ${tracker}
agent: { kind: command }
command: { line: cat }
server: { port: 0 }
git: { repositories: [{ name: project, url: "${repository}" }] }
delivery: { author: { name: Ada, email: ada@example.org } }
${hostLimits}---
hi {{ issue.title }}
`;
  writeFileSync(workflowPath, text);
  const env = { HOME: home, SYMPHONY_TOKEN: undefined };
  return { root, cwd: root, home, dataDir, workflowPath, env, repository };
}

type Project = ReturnType<typeof project>;

async function doctor(place: Around & Pick<Project, "workflowPath">, ...args: string[]) {
  const end = await symphony(place, "doctor", place.workflowPath, "--json", ...args);
  const report: Report = JSON.parse(end.stdout || "null");
  assert.ok(report, end.stderr);
  return { ...end, report };
}

const named = (report: Report, ...statuses: string[]) =>
  report.checks.filter(({ status }) => statuses.includes(status)).map(({ name }) => name);

const link = (root: string) => {
  symlinkSync(symphonyFile, join(root, "symphony"));
  return join(root, "symphony");
};

const ways: Readonly<Record<string, (place: Project) => Around>> = {
  "from the checkout": () => ({}),
  "from /": () => ({ cwd: "/" }),
  "by a link": ({ root }) => {
    const path = link(root);
    return { through: ([node = "", , ...rest]) => [node, path, ...rest] };
  },
  "in an environment of PATH and HOME alone": ({ home }) => {
    const bare = ["env", "-i", `PATH=${process.env["PATH"]}`, `HOME=${home}`];
    return { through: (command) => [...bare, ...command] };
  },
};

for (const [way, how] of Object.entries(ways)) {
  test(`D5: a healthy machine has no warning, ${way}`, { skip: noSandbox }, async (t) => {
    const place = project(t);
    const { code, report } = await doctor({ ...place, ...how(place) });
    const bad = report.checks.filter(({ status }) => status === "warn" || status === "fail");
    assert.deepEqual(bad, []);
    assert.equal(code, 0);
    // What was not asked says why, and is not counted as fine.
    assert.equal(report.checks.find(({ name }) => name === "clock")?.status, "not_asked");
    assert.equal(report.counts["ok"], named(report, "ok").length);
  });
}

/** The error document of `--json`, after what is logged. */
function errorIn(stderr: string): { readonly code: string } {
  const at = stderr.indexOf('{\n  "error"');
  assert.ok(at >= 0, stderr);
  return JSON.parse(stderr.slice(at)).error;
}

interface Break {
  readonly what: string;
  readonly check: string;
  readonly code: string | null;
  readonly tracker?: string;
  /** Breaks it; what it returns replaces parts of the place. */
  make(place: Project, t: TestContext): unknown;
  /** The command of the server that gives the same code. */
  readonly door: readonly string[] | null;
}

const serve = ["serve", "--once"];

function swap(place: Project, from: string, to: string): void {
  const text = readFileSync(place.workflowPath, "utf8");
  assert.ok(text.includes(from), from);
  writeFileSync(place.workflowPath, text.replace(from, to));
}

const breaks: readonly Break[] = [
  {
    what: "the workflow file has a fault",
    check: "workflow",
    code: "invalid_config",
    make: (place) => swap(place, "kind: command", "kind: command, level: sfe"),
    door: serve,
  },
  {
    what: "the tracker's key is missing",
    check: "workflow",
    code: "missing_tracker_secret",
    tracker: "{ kind: linear, provider: { api_key: $NO_SUCH_KEY, project_slug: abc } }",
    make: () => {},
    door: serve,
  },
  {
    what: "a document is damaged",
    check: "files",
    code: "storage_corrupt",
    make({ dataDir }) {
      mkdirSync(dataDir, { mode: 0o700 });
      writeFileSync(join(dataDir, "issue-records.json"), "{");
    },
    door: serve,
  },
  {
    what: "a database is damaged",
    check: "files",
    code: "storage_corrupt",
    make({ dataDir }) {
      mkdirSync(dataDir, { mode: 0o700 });
      writeFileSync(join(dataDir, "history.db"), "this is not a database".repeat(500));
    },
    door: serve,
  },
  {
    what: "the key of the secrets is lost",
    check: "secrets",
    code: "secrets_key_invalid",
    async make(place) {
      const child = launch(
        { ...place },
        ["secrets", "add", "KEY", "--data-dir", place.dataDir],
        "pipe",
      );
      child.stdin?.end("a-value-that-nobody-guesses");
      assert.equal((await finished(child)).code, 0);
      const key = join(place.dataDir, "secrets.key");
      writeFileSync(key, readFileSync(key, "utf8").replace(/[A-Za-z]/g, "A"));
    },
    door: serve,
  },
  {
    what: "the port is held",
    check: "port",
    code: "cannot_listen",
    async make(place, t) {
      const holder = createServer().listen(0, "127.0.0.1");
      await new Promise((resolve) => holder.once("listening", resolve));
      t.after(() => holder.close());
      const address = holder.address();
      assert.ok(address !== null && typeof address === "object");
      swap(place, "port: 0", `port: ${address.port}`);
    },
    door: serve,
  },
  {
    what: "the agent is gone",
    check: "agent",
    code: "agent_not_found",
    make: (place) => swap(place, "line: cat", "line: no-such-agent -p"),
    door: ["config", "check"],
  },
  {
    what: "the sandbox is off",
    check: "sandbox",
    code: "agent_unavailable",
    make({ root }) {
      const dir = join(root, "bin");
      mkdirSync(dir);
      for (const name of ["bash", "sh", "git", "cat"]) {
        const path = spawnSync("sh", ["-c", `command -v ${name}`], {
          encoding: "utf8",
        }).stdout.trim();
        symlinkSync(path, join(dir, name));
      }
      return { env: { PATH: dir } };
    },
    door: ["config", "check"],
  },
  {
    what: "the repository is gone",
    check: "push",
    code: "clone_failed",
    make: (place) => swap(place, place.repository, `${place.repository}-gone`),
    door: null,
  },
  {
    what: "the proxy does not answer",
    check: "proxy",
    code: "tracker_request",
    make: () => ({ env: { HTTPS_PROXY: "http://127.0.0.1:1", NO_PROXY: "" } }),
    door: null,
  },
];

for (const { what, check, code, tracker, make, door } of breaks) {
  test(`D5: ${what}: only ${check} fails, with the server's code`, {
    skip: noSandbox,
  }, async (t) => {
    const whole = project(t, tracker);
    const changed: Partial<Around> = Object(await make(whole, t));
    const place = { ...whole, ...changed, env: { ...whole.env, ...changed.env } };
    const { code: exit, report } = await doctor(place);
    assert.deepEqual(named(report, "fail"), [check], JSON.stringify(report.checks, null, 1));
    assert.deepEqual(named(report, "warn"), []);
    assert.equal(exit, 1);
    const found = report.checks.find(({ name }) => name === check);
    assert.equal(found?.code, code);
    assert.ok(found?.next, "it says what mends it");
    if (door === null) return;
    const [name = "", ...rest] = door;
    const isCheck = name === "config";
    const words = isCheck ? [...door, place.workflowPath] : [name, place.workflowPath, ...rest];
    const refused = await symphony(place, ...words, "--json");
    const given = isCheck
      ? JSON.parse(refused.stdout).findings.map((one: Check) => one.code)
      : [errorIn(refused.stderr).code];
    assert.ok(given.includes(code), `${door.join(" ")} gave ${given}: ${refused.stderr}`);
  });
}

const linearTracker = ({ url, project: slug }: { url: string; project: string }) =>
  `{ kind: linear, provider: { endpoint: "${url}", api_key: $LINEAR_API_KEY, project_slug: ${slug} } }`;

test("D5: a key that works: the tracker says what is left of its budget, and the clock is compared", {
  skip: noSandbox,
}, async (t) => {
  await using linear = await startFakeLinear();
  linear.headers["x-ratelimit-requests-limit"] = "1500";
  linear.headers["x-ratelimit-requests-remaining"] = "1400";
  const place = project(t, linearTracker(linear));
  const { report } = await doctor({
    ...place,
    env: { ...place.env, LINEAR_API_KEY: linear.apiKey },
  });
  assert.deepEqual(named(report, "fail", "warn"), [], JSON.stringify(report.checks));
  const tracker = report.checks.find(({ name }) => name === "tracker");
  assert.match(tracker?.message ?? "", /1400 of 1500 requests are left/);
  assert.equal(report.checks.find(({ name }) => name === "clock")?.status, "ok");
});

test("D5: a revoked key: only the tracker fails, with the code of a poll", {
  skip: noSandbox,
}, async (t) => {
  await using linear = await startFakeLinear();
  const whole = project(t, linearTracker(linear));
  const place = { ...whole, env: { ...whole.env, LINEAR_API_KEY: "lin_api_revoked_0123456789" } };
  const { report } = await doctor(place);
  assert.deepEqual(named(report, "fail"), ["tracker"]);
  const plan = await symphony(place, "serve", place.workflowPath, "--dry-run", "--json");
  const { code } = errorIn(plan.stderr);
  assert.equal(report.checks.find(({ name }) => name === "tracker")?.code, code);
});

test("D5: a full disk: only the disk fails", { skip: noSandbox || noDisk }, async (t) => {
  const place = project(t);
  await using disk = await SmallDisk.mount(place.dataDir, "1m");
  await disk.fillUp();
  const { report } = await doctor({ ...place, through: (line) => disk.through(line) });
  assert.deepEqual(named(report, "fail"), ["disk"], JSON.stringify(report.checks, null, 1));
  assert.equal(report.checks.find(({ name }) => name === "disk")?.code, "storage_unavailable");
});

test("doctor: the project's own server is no fault, and holds its port", {
  skip: noSandbox,
}, async (t) => {
  const place = project(t);
  await using server = await Served.start(place);
  const { report } = await doctor(place);
  assert.deepEqual(named(report, "fail", "warn"), [], JSON.stringify(report.checks, null, 1));
  const port = report.checks.find(({ name }) => name === "port");
  assert.ok(port?.message.includes(server.url), port?.message);
});

test("doctor --fix: mends what a killed server left and what others can read, and says so", {
  skip: noSandbox,
}, async (t) => {
  const place = project(t);
  const server = await Served.start(place);
  await server.crash();
  spawnSync("chmod", ["755", place.dataDir]);
  const before = await doctor(place);
  assert.deepEqual(named(before.report, "warn"), ["data_dir"]);
  assert.equal(
    before.report.checks.find(({ name }) => name === "data_dir")?.next,
    "symphony doctor --fix",
  );
  assert.ok(existsSync(join(place.dataDir, "runtime.json")), "without --fix nothing is changed");
  const after = await doctor(place, "--fix");
  assert.deepEqual(named(after.report, "fail", "warn"), []);
  assert.match(after.report.fixed.join("\n"), /removed .*runtime\.json/);
  assert.match(after.report.fixed.join("\n"), /closed .*data to other users/);
  assert.equal(statSync(place.dataDir).mode & 0o777, 0o700);
  assert.deepEqual((await doctor(place, "--fix")).report.fixed, []);
});

test("doctor --bundle: a support file without any secret, which is never written over another file", {
  skip: noSandbox,
}, async (t) => {
  const place = project(t);
  const [stored, variable] = ["stored-value-4711-abcdef", "variable-value-0815-ghijkl"];
  const child = launch(place, ["secrets", "add", "STORED", "--data-dir", place.dataDir], "pipe");
  child.stdin?.end(stored);
  assert.equal((await finished(child)).code, 0);
  mkdirSync(join(place.dataDir, "log"));
  writeFileSync(
    join(place.dataDir, "log", "symphony.log"),
    `a ${stored} b\nc ${variable} d ${Buffer.from(stored).toString("base64")}\nthe-end\n`,
  );
  // D27: the address of a receiver has its token in it.
  const [hook, signing] = [
    `https://hooks.example/services/${"T0-canary-4712"}`,
    "signing-canary-4713",
  ];
  const rule = "notify: [{ when: [needs], to: webhook, url: $HOOK_URL, secret: $HOOK_SIGNING }]";
  const written = [4714, 4715, 4716, 4717, 4718].map((one) => `written-canary-${one}`);
  const line = `AWS_SECRET_ACCESS_KEY=${written[0]} curl -H "Authorization: Bearer ${written[1]}" https://me:${written[2]}@example.com -u "me:${written[3]}" "$MY_TOKEN"; db_password='a ${written[4]}'`;
  swap(place, "agent: {", `${rule}\nhooks: { after_create: ${JSON.stringify(line)} }\nagent: {`);
  appendFileSync(join(place.dataDir, "log", "symphony.log"), `sent to ${hook} with ${signing}\n`);
  const env = { ...place.env, MY_TOKEN: variable, HOOK_URL: hook, HOOK_SIGNING: signing };
  const file = join(place.root, "support.json");
  openHistory(join(place.dataDir, "history.db")).close();
  const record = RecordFile.open(join(place.dataDir, "record.db"));
  record.begin({ at: 1_000, version: "1.2.3", why: "start" });
  record.close();
  const databases = () =>
    readdirSync(place.dataDir)
      .filter((name) => name.includes(".db"))
      .map((name) => [name, readFileSync(join(place.dataDir, name), "base64")]);
  const before = databases();
  const { code } = await doctor({ ...place, env }, "--bundle", file);
  assert.equal(code, 0);
  assert.deepEqual(databases(), before, "the databases are only read");
  const text = readFileSync(file, "utf8");
  for (const secret of [
    stored,
    variable,
    Buffer.from(stored).toString("base64"),
    hook,
    signing,
    ...written,
  ]) {
    assert.ok(!text.includes(secret), secret);
  }
  const bundle = JSON.parse(text);
  assert.equal(bundle.format, "symphony-support-1");
  assert.ok(bundle.log.includes("the-end"), "the end of the log is there");
  assert.deepEqual([bundle.events, bundle.journal.length], [[], 1]);
  assert.equal(bundle.config.command.line, "cat");
  assert.match(
    bundle.config.hooks.after_create,
    /KEY=\[redacted\] curl .*me:\[redacted\]@.* "\$MY_TOKEN"; db_password=\[redacted\]$/,
  );
  assert.equal(bundle.checks.length, 16);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const again = await symphony({ ...place, env }, "doctor", place.workflowPath, "--bundle", file);
  assert.equal(again.code, 2);
  assert.equal(readFileSync(file, "utf8"), text);
});

test("push: a repository without a commit, and one without its base branch, are warnings that say what mends it", async (t) => {
  const place = project(t);
  const checkPush = async () => {
    const { report } = await doctor(place);
    return report.checks.find(({ name }) => name === "push");
  };
  const text = readFileSync(place.workflowPath, "utf8");
  writeFileSync(place.workflowPath, text.replace("url:", "base_branch: gone, url:"));
  const gone = await checkPush();
  assert.deepEqual([gone?.status, gone?.next], ["warn", "set its base_branch to one of main"]);
  rmSync(place.repository, { recursive: true });
  spawnSync("git", ["init", "-q", "--bare", place.repository]);
  const empty = await checkPush();
  assert.match(`${empty?.status}: ${empty?.message}`, /^warn: .* has no commit yet/);
});

test("THREAT-14: the data directory of a stranger's repository: doctor waits for nothing, reads no device, and puts no file of a link into the bundle", async (t) => {
  const place = project(t);
  const { dataDir, root, home } = place;
  mkdirSync(join(dataDir, "log"), { recursive: true });
  const key = join(home, "id_ed25519");
  writeFileSync(key, "text-of-a-private-file\n");
  symlinkSync(key, join(dataDir, "log", "symphony.log"));
  for (const name of ["secrets.key", "audit.head", "runtime.json"])
    spawnSync("mkfifo", [join(dataDir, name)]);
  for (const name of ["overlay.json", "templates.json", "manifest"])
    symlinkSync("/dev/zero", join(dataDir, name));
  symlinkSync(key, join(dataDir, "lock.json"));
  const file = join(root, "support.json");
  const { report } = await doctor(place, "--bundle", file);
  const said = report.checks.map(({ message }) => message).join("\n");
  assert.match(said, /manifest: it is not a file/);
  assert.match(said, /is (?:a link|no file); no file of symphony's is/);
  assert.equal(readFileSync(key, "utf8"), "text-of-a-private-file\n");
  assert.ok(!readFileSync(file, "utf8").includes("text-of-a-private-file"));
});

test("D8: a limit of 256 open files is a warning that says what mends it", {
  skip: has("prlimit") && noSandbox === false ? false : "needs prlimit and bubblewrap",
}, async (t) => {
  const place = project(t);
  const through = (command: readonly string[]) => ["prlimit", "--nofile=256", ...command];
  const { code, report } = await doctor({ ...place, through });
  assert.equal(code, 0);
  assert.deepEqual(named(report, "fail", "warn"), ["node"]);
  const [node] = report.checks;
  assert.match(node?.message ?? "", /only 256 files open.*EMFILE/);
  assert.equal(node?.next, "ulimit -n 4096");
});

test("doctor --smoke: a turn of the agent itself; without it none is run", {
  skip: noSandbox,
}, async (t) => {
  const place = project(t);
  const script = join(place.root, "agent.sh");
  writeFileSync(script, `#!/bin/sh\ncat >/dev/null; echo OK\n`, { mode: 0o755 });
  swap(place, "line: cat", `line: ${script}, readable_paths: [${dirname(script)}]`);
  const asked = await doctor(place, "--smoke");
  assert.deepEqual(
    named(asked.report, "fail", "warn"),
    [],
    JSON.stringify(asked.report.checks, null, 1),
  );
  const agent = (report: Report) => report.checks.find(({ name }) => name === "agent")?.message;
  assert.match(agent(asked.report) ?? "", /ran a turn at agent\.level safe/);
  writeFileSync(script, "#!/bin/sh\nexit 3\n", { mode: 0o755 });
  const broken = await doctor(place, "--smoke");
  assert.deepEqual(named(broken.report, "fail"), ["agent"]);
  assert.match(agent((await doctor(place)).report) ?? "", /--smoke runs it/);
});

test("doctor: without a workflow file it says how to get one", async (t) => {
  const root = temporaryDir(t);
  const { code, stdout, stderr } = await symphony({ cwd: root, env: { HOME: root } }, "doctor");
  assert.equal(code, 1);
  assert.match(stdout, /FAIL {7}workflow .*\(missing_workflow_file\)\n +next: symphony init\n/);
  assert.match(stderr, /next: symphony init/);
  assert.deepEqual(existsSync(join(root, ".symphony")), false, "nothing was made");
});

const wireAgent = fileURLToPath(new URL("../support/fakes/wire-agent-main.ts", import.meta.url));

test("D5: codex: a real handshake; without a login a warning with the command, and an agent that ends is a failure", async (t) => {
  const place = project(t);
  const reactions = join(place.root, "reactions.json");
  const answer = { send: { id: "$id", result: { data: [{ model: "gpt-of-the-test" }] } } };
  writeFileSync(reactions, JSON.stringify({ "model/list": [answer] }));
  const line = [process.execPath, wireAgent, reactions, join(place.root, "received")].join(" ");
  swap(place, "agent: { kind: command }\ncommand: { line: cat }", `codex: { command: ${line} }`);
  const env = {
    ...place.env,
    CODEX_HOME: undefined,
    OPENAI_API_KEY: undefined,
    CODEX_API_KEY: undefined,
  };
  const agentOf = ({ report }: { report: Report }) =>
    report.checks.find(({ name }) => name === "agent");
  const alone = agentOf(await doctor({ ...place, env }));
  assert.deepEqual([alone?.status, alone?.next], ["warn", "codex login"], alone?.message);
  mkdirSync(join(place.home, ".codex"));
  const ring = 'cli_auth_credentials_store = "auto"';
  writeFileSync(join(place.home, ".codex", "config.toml"), ring);
  const unseen = agentOf(await doctor({ ...place, env }));
  assert.equal(unseen?.status, "not_asked");
  assert.match(unseen?.message ?? "", /may be in a keyring.*symphony doctor --smoke/);
  writeFileSync(join(place.home, ".codex", "auth.json"), "not read");
  const well = agentOf(await doctor({ ...place, env }));
  assert.deepEqual([well?.status, well?.message], ["ok", "codex answers, with 1 model"]);
  assert.match(readFileSync(join(place.root, "received"), "utf8"), /"method":"initialize"/);
  writeFileSync(reactions, JSON.stringify({ initialize: [{ exit: 3 }] }));
  const { report } = await doctor({ ...place, env });
  assert.deepEqual(named(report, "fail"), ["agent"]);
  assert.equal(agentOf({ report })?.code, "port_exit");
});

test("the webhook of a tracker that is a site of pull requests is the site's", () => {
  const config = { tracker: { kind: "github", provider: {} }, delivery: { github: {} } };
  const asked = (secrets: Readonly<Record<string, string>>) => {
    const project = { checked: { effective: { config } }, lookup: (name: string) => secrets[name] };
    return checkWebhook(project as unknown as Parameters<typeof checkWebhook>[0]);
  };
  assert.equal(asked({}).status, "not_asked");
  assert.match(asked({}).message, /no secret for \/webhooks\/github/);
  assert.equal(asked({ GITHUB_WEBHOOK_SECRET: "s".repeat(32) }).status, "ok");
});

const noTerminal = has("python3") ? false : "needs python3";

test("doctor fits 60 columns, and tells every state by a word", { skip: noTerminal }, async (t) => {
  const place = project(t);
  const script = 'stty cols 60 rows 50; exec "$@"';
  const words = [process.execPath, symphonyFile, "doctor", place.workflowPath];
  const onTerminal = fileURLToPath(new URL("../support/fakes/on-terminal.py", import.meta.url));
  const { stdout } = spawnSync(
    "python3",
    [onTerminal, "", "", "sh", "-c", script, "sh", ...words],
    {
      cwd: place.root,
      env: { ...process.env, ...place.env, NO_COLOR: "1" },
      encoding: "utf8",
    },
  );
  const lines = stdout.replaceAll("\r", "").split("\n");
  assert.ok(
    lines.some((line) => /^ok +node /.test(line)),
    stdout,
  );
  assert.ok(
    lines.some((line) => /^not asked +clock /.test(line)),
    stdout,
  );
  for (const line of lines) {
    // A path is not broken: it has to be copied as one.
    const isOneWord = !/\S \S/.test(line.slice(21));
    assert.ok(line.length <= 60 || isOneWord, line);
  }
});
