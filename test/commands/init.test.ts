// `symphony init`. "D" and a number name a row of what went wrong for others in the first minutes with such a program and at
// the operator's desk: D2 (no network), D3 (no terminal), D4 (a second time, no agent).

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parse } from "yaml";
import { startFakeLinear } from "../support/fakes/fake-linear.ts";
import { startSmallGithub } from "../support/fakes/small-github.ts";
import { gitIn } from "../support/makers/git-repository.ts";
import { symphonyFile } from "../support/makers/program.ts";
import { temporaryDir } from "../support/makers/storage.ts";
import { type Around, finished, launch, symphony } from "../support/worlds/symphony.ts";

const onTerminal = fileURLToPath(new URL("../support/fakes/on-terminal.py", import.meta.url));
const noTerminal = spawnSync("python3", ["--version"]).status === 0 ? false : "needs python3";
const noNetwork =
  spawnSync("unshare", ["--net", "sh", "-c", "ip link set lo up"]).status === 0
    ? false
    : "needs root, unshare and ip";

/** A repository and a home whose login shell finds only the programs named here. */
function project(t: TestContext, ...agents: readonly string[]) {
  const root = temporaryDir(t);
  const [home, programs, cwd] = ["home", "programs", "work"].map((name) => join(root, name));
  assert.ok(home && programs && cwd);
  for (const dir of [home, programs, cwd]) mkdirSync(dir);
  for (const name of ["bash", "sh", "git", "cat", "env", "bwrap"]) {
    const { stdout } = spawnSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" });
    if (stdout.trim() !== "") symlinkSync(stdout.trim(), join(programs, name));
  }
  for (const name of agents) {
    writeFileSync(join(programs, name), "#!/bin/sh\necho 1.0.0\n");
    chmodSync(join(programs, name), 0o755);
  }
  writeFileSync(join(home, ".bash_profile"), `export PATH=${programs}\n`);
  const git = gitIn(cwd);
  git("init", "-q", "-b", "trunk");
  writeFileSync(join(cwd, "a"), "a\n");
  git("add", "-A");
  git("commit", "-q", "-m", "a");
  const none = [
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "LINEAR_API_KEY",
    "GITHUB_TOKEN",
    "ANTHROPIC_API_KEY",
  ];
  const unset = Object.fromEntries(none.map((name) => [name, undefined]));
  const env = { ...unset, HOME: home, PATH: `${programs}:${process.env["PATH"]}` };
  return { root, home, cwd, env, git, workflowPath: join(cwd, "WORKFLOW.md") };
}

const quick = ["--tracker", "local", "--agent", "codex", "--level", "safe"];
const written = ({ workflowPath }: { workflowPath: string }) => readFileSync(workflowPath, "utf8");

test("D3: without a terminal every missing flag is in one message, exit 2, and no file is written", async (t) => {
  const place = project(t, "codex");
  for (const stdin of ["ignore", "pipe"] as const) {
    const child = launch(place, ["init"], stdin);
    const { code, stdout, stderr } = await finished(child);
    assert.equal(code, 2, stderr);
    assert.equal(stdout, "");
    for (const flag of ["--tracker", "--agent", "--level", "--project"]) {
      assert.ok(stderr.includes(flag), `${flag}: ${stderr}`);
    }
    assert.match(stderr, /next: .*symphony init --yes/);
    child.stdin?.destroy();
  }
  const some = await symphony(place, "init", "--tracker", "linear", "--agent", "codex", "--json");
  assert.equal(some.code, 2);
  assert.equal(some.stdout, "");
  const { error } = JSON.parse(some.stderr);
  assert.deepEqual(error.details.missing, ["--project", "--level"]);
  assert.deepEqual(
    [existsSync(place.workflowPath), existsSync(join(place.cwd, ".symphony"))],
    [false, false],
  );
});

test("D3: with all flags, or with --yes, it finishes without asking; what it writes can be served", async (t) => {
  const place = project(t, "codex");
  const { code, stdout, stderr } = await symphony(place, "init", ...quick);
  assert.equal(code, 0, stdout + stderr);
  assert.match(stdout, /nothing is wrong/);
  assert.match(stderr, /next: symphony serve\n$/);
  const text = written(place);
  // Without a remote its own directory is the repository.
  assert.match(text, /url: \/.*\/work\n {6}base_branch: trunk\n/);
  assert.doesNotMatch(text, /issue_move|linear_graphql/, "symphony itself moves the issue");
  const plan = await symphony(place, "serve", "--dry-run");
  assert.equal(plan.code, 0, plan.stderr);
  const yes = project(t, "codex");
  assert.equal((await symphony(yes, "init", "--yes")).code, 0);
  assert.equal(written(yes).replaceAll(yes.root, place.root), text);
});

test("D4: a second run changes no byte, shows the difference and exits with 7; --force replaces with a copy kept", async (t) => {
  const place = project(t, "codex");
  await symphony(place, "init", ...quick);
  const mine = `${written(place)}\nmy own line\n`;
  writeFileSync(place.workflowPath, mine);
  const again = await symphony(place, "init", ...quick);
  assert.equal(again.code, 7, again.stderr);
  assert.equal(written(place), mine);
  assert.match(again.stdout, /^-my own line$/m);
  assert.match(again.stderr, /was not changed/);
  assert.match(again.stderr, /next: symphony init --force/);
  const forced = await symphony(place, "init", ...quick, "--force");
  assert.equal(forced.code, 0, forced.stderr);
  assert.equal(readFileSync(`${place.workflowPath}.bak`, "utf8"), mine);
  assert.notEqual(written(place), mine);
  await symphony(place, "init", ...quick, "--force");
  assert.equal(readFileSync(`${place.workflowPath}.bak`, "utf8"), mine, "a copy is never replaced");
  assert.ok(existsSync(`${place.workflowPath}.2.bak`));
});

test("D4: an agent that is not installed is refused before anything is written, also when none is", async (t) => {
  const place = project(t, "codex");
  const refused = await symphony(
    place,
    "init",
    "--tracker",
    "local",
    "--agent",
    "claude",
    "--level",
    "networked",
  );
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /claude is not installed/);
  assert.match(refused.stderr, /next: .*--agent codex/);
  const none = project(t);
  const found = await symphony(none, "init", "--yes");
  assert.equal(found.code, 1);
  assert.match(found.stderr, /no agent was found/);
  for (const one of [place, none]) assert.equal(existsSync(one.workflowPath), false);
  // The built-in agent needs no program, only a key, which is stored.
  const env = { ...none.env, OPENAI_API_KEY: "sk-the-key-of-the-test-0123456789" };
  const builtIn = await symphony({ ...none, env }, "init", "--yes");
  assert.match(builtIn.stdout, /openai at level safe/);
  assert.match(builtIn.stdout, /Stored as secrets: OPENAI_API_KEY/);
  assert.ok(!written(none).includes("sk-the-key"));
  const list = await symphony(none, "secrets", "list", "--json");
  assert.match(list.stdout, /OPENAI_API_KEY/);
});

test("A11: the key of codex's own provider is stored and passed on by name; where it is not, the next command is said before any start", async (t) => {
  const place = project(t, "codex");
  mkdirSync(join(place.home, ".codex"));
  const provider =
    '[model_providers.corp]\nbase_url = "http://127.0.0.1:9"\nenv_key = "CORP_KEY"\n';
  writeFileSync(join(place.home, ".codex", "config.toml"), `model_provider = "corp"\n${provider}`);
  const env = { ...place.env, CORP_KEY: "sk-the-key-of-the-test-0123456789" };
  const made = await symphony({ ...place, env }, "init", "--yes");
  assert.equal(made.code, 0, made.stderr);
  assert.match(made.stdout, /Stored as secrets: CORP_KEY/);
  assert.match(written(place), /^codex:\n {2}env_passthrough: \[CORP_KEY\]/m);
  // The stored secret is enough: this environment has no key.
  const plan = await symphony(place, "serve", "--dry-run");
  assert.equal(plan.code, 0, plan.stdout + plan.stderr);
  assert.doesNotMatch(plan.stdout + plan.stderr, /CORP_KEY/);
  await symphony(place, "secrets", "remove", "CORP_KEY");
  const unset = await symphony(place, "serve", "--dry-run");
  assert.match(
    unset.stdout + unset.stderr,
    /CORP_KEY, which is not set \(.*\); symphony secrets add CORP_KEY/,
  );
  writeFileSync(place.workflowPath, written(place).replace(/^codex:\n.*\n/m, ""));
  for (const args of [["serve", "--dry-run"], ["doctor"]]) {
    const { stdout, stderr } = await symphony({ ...place, env }, ...args);
    assert.match(stdout + stderr, /takes its key from CORP_KEY, which codex does not get/);
    assert.match(stdout + stderr, /write codex.env_passthrough: \[CORP_KEY\] in the workflow file/);
  }
});

test("THREAT-10: init waits for nothing that stands in the place of the workflow file, and reads no endless one", async (t) => {
  const place = project(t, "codex");
  const file = place.workflowPath;
  const cases: readonly (readonly [() => unknown, RegExp])[] = [
    [() => spawnSync("mkfifo", [file]), /not a regular file/],
    [() => symlinkSync("/dev/zero", file), /not a regular file/],
    [() => mkdirSync(file), /EISDIR/],
    [() => symlinkSync("nowhere", file), /ENOENT/],
    [() => writeFileSync(file, "a".repeat(1024 * 1024 + 1)), /larger than 1 MiB/],
  ];
  for (const [put, why] of cases) {
    put();
    const { code, stderr } = await symphony(place, "init", ...quick, "--force");
    assert.equal(code, 3, stderr);
    assert.match(stderr, why);
    assert.match(stderr, /next: look at it \(ls -l .*WORKFLOW\.md\), move it away/);
    rmSync(file, { recursive: true });
  }
});

test("an agent has a login by a key only where it uses the key: that of OpenAI is the built-in agent's, that of Gemini allows safe", async (t) => {
  const place = project(t, "codex", "gemini");
  const init = (keys: Readonly<Record<string, string>>, ...flags: readonly string[]) =>
    symphony({ ...place, env: { ...place.env, ...keys } }, "init", "--yes", "--force", ...flags);
  const openai = await init({ OPENAI_API_KEY: "sk-the-key-of-the-test-0123456789" });
  assert.match(openai.stderr, /agents: codex \(no login\)/);
  assert.match(openai.stdout, /openai at level safe/);
  const codex = await init({}, "--agent", "codex");
  assert.match(codex.stderr, /next: codex login/);
  const flags = ["--agent", "gemini", "--level", "safe"];
  const unknown = await init({}, ...flags);
  assert.equal(unknown.code, 2);
  assert.match(unknown.stderr, /next: symphony secrets add GEMINI_API_KEY, or --level networked/);
  assert.match((await init({}, "--agent", "gemini")).stdout, /gemini at level networked/);
  const known = await init({ GEMINI_API_KEY: "gemini-key-0123456789" }, "--agent", "gemini");
  assert.match(known.stdout, /gemini at level safe\n/);
  assert.match(known.stdout, /nothing is wrong/);
  assert.match(written(place), /env_passthrough: \[GEMINI_API_KEY\]/);
});

test("a login of codex that may be in a keyring is not said to be missing, and a turn is what tells", async (t) => {
  const place = project(t, "codex");
  mkdirSync(join(place.home, ".codex"));
  writeFileSync(
    join(place.home, ".codex", "config.toml"),
    'cli_auth_credentials_store = "keyring"\n',
  );
  const { stderr } = await symphony(place, "init", "--yes");
  assert.match(stderr, /agents: codex \(its login may be in a keyring/);
  assert.match(stderr, /next: symphony doctor --smoke /);
  assert.doesNotMatch(stderr, /no login/);
});

test("D4: only agents that were found are offered, those with a login first", {
  skip: noTerminal,
}, async (t) => {
  const place = project(t, "codex", "gemini");
  mkdirSync(join(place.home, ".gemini"));
  writeFileSync(join(place.home, ".gemini", "oauth_creds.json"), "not read");
  const asked = ["init", "--tracker", "local"];
  const command = [process.execPath, symphonyFile, ...asked];
  const child = spawn("python3", [onTerminal, "Which agent works?", "", ...command], {
    cwd: place.cwd,
    env: { ...process.env, ...place.env, NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const shown = (await child.stdout.setEncoding("utf8").toArray()).join("");
  if (child.exitCode === null) await once(child, "exit");
  assert.match(shown, /gemini: Gemini CLI, logged in/);
  assert.match(shown, /codex: codex, no login yet: codex login/);
  assert.doesNotMatch(shown, /claude|opencode:|openai:/);
  // Enter takes the first; gemini has one level, so that is not asked.
  assert.match(written(place), /command: gemini --acp/);
  assert.match(written(place), /level: networked/);
});

test("D16: with ACCESSIBLE=1 the choices have numbers, and nothing is drawn twice", {
  skip: noTerminal,
}, async (t) => {
  const place = project(t, "codex", "gemini");
  const steps = [
    ["1 to 4, Enter for 1:", "9\r"],
    ["1 to 4, Enter for 1:", "1\r"],
    ["1 to 2, Enter for 1:", "\r"],
    ["1 to 2, Enter for 1:", "2\r"],
  ];
  const command = [process.execPath, symphonyFile, "init"];
  const child = spawn("python3", [onTerminal, "--steps", JSON.stringify(steps), ...command], {
    cwd: place.cwd,
    env: { ...process.env, ...place.env, NO_COLOR: "1", ACCESSIBLE: "1" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const shown = (await child.stdout.setEncoding("utf8").toArray()).join("");
  assert.match(shown, /2 networked: the network/);
  assert.ok(!shown.includes("\u001b"), shown);
  assert.match(written(place), /kind: local[\s\S]*kind: codex\n {2}level: networked/);
});

test("init with a tracker that has projects: takes the key's only one, and stores the key as a secret", async (t) => {
  await using linear = await startFakeLinear();
  const place = project(t, "codex");
  const env = { ...place.env, LINEAR_API_KEY: linear.apiKey };
  const flags = ["--tracker", "linear", "--endpoint", linear.url];
  const { code, stdout, stderr } = await symphony({ ...place, env }, "init", "--yes", ...flags);
  assert.equal(code, 0, stdout + stderr);
  const text = written(place);
  assert.ok(text.includes(`project_slug: ${linear.project}`), text);
  assert.ok(!text.includes(linear.apiKey));
  // Without the variable: the stored key is used.
  const check = await symphony(place, "config", "check");
  assert.equal(check.code, 0, check.stdout);
  const wrong = project(t, "codex");
  const bad = { ...wrong.env, LINEAR_API_KEY: "lin_api_wrong_0123456789" };
  const refused = await symphony({ ...wrong, env: bad }, "init", "--yes", ...flags);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /Linear/);
  assert.deepEqual(
    [existsSync(wrong.workflowPath), existsSync(join(wrong.cwd, ".symphony"))],
    [false, false],
  );
});

test("a repository without a commit, without a branch, behind a relative remote, and at a path with a blank", async (t) => {
  const place = project(t, "codex");
  const { cwd, git } = place;
  const plan = async () => {
    const { stderr, stdout } = await symphony(place, "init", ...quick, "--dry-run");
    return `${stderr}${stdout}`;
  };
  git("checkout", "-q", "--detach");
  git("remote", "add", "origin", "../a b/c.git");
  const only = await plan();
  assert.match(only, /base_branch: trunk\n/, "the only branch");
  assert.ok(only.includes(pathToFileURL(join(cwd, "../a b/c.git")).href));
  git("branch", "other");
  assert.match(await plan(), /no branch is checked out.*# base_branch: /s);
  rmSync(join(cwd, ".git"), { recursive: true });
  git("init", "-q", "-b", "trunk");
  const { stderr } = await symphony(place, "init", ...quick);
  assert.match(stderr, /next: git commit --allow-empty -m First /);
  const elsewhere = await symphony(
    { ...place, cwd: place.root },
    "init",
    "work/agents.md",
    ...quick,
  );
  const [file, dir] = [join(cwd, "agents.md"), join(cwd, ".symphony")];
  assert.ok(elsewhere.stderr.includes(`repository: ${cwd}, `), "that of the file");
  assert.ok(elsewhere.stderr.endsWith(` --data-dir ${dir}\nnext: symphony serve ${file}\n`));
});

test("init lists the GitHub repositories of the token; with --yes it takes that of the directory", async (t) => {
  await using github = await startSmallGithub();
  const place = project(t, "codex");
  const env = { ...place.env, GITHUB_TOKEN: "ghp_0123456789abcdef0123456789abcdef0123" };
  const flags = ["--tracker", "github", "--endpoint", github.url, "--yes"];
  const several = await symphony({ ...place, env }, "init", ...flags);
  assert.equal(several.code, 2);
  assert.match(
    several.stderr,
    /there are several: acme\/shop \(The shop\), acme\/app \(acme\/app\), acme\/projects\/1 \(the board Roadmap\)(?![,])/,
  );
  const board = ["--project", "acme/projects/1", "--dry-run"];
  const dry = await symphony({ ...place, env }, "init", ...flags, ...board);
  assert.match(dry.stdout, /^ {4}project: acme\/projects\/1$/m, dry.stderr);
  assert.doesNotMatch(dry.stdout, /repositories: acme/);
  assert.doesNotMatch(several.stderr, /acme\/(?:old|wiki)/, "archived, or without issues");
  const given = `--project acme/shop --endpoint ${github.url}`;
  assert.ok(several.stderr.includes(given), "what was typed stays in the next command");
  place.git("remote", "add", "origin", "git@github.example:Acme/App.git");
  const { code, stdout, stderr } = await symphony({ ...place, env }, "init", ...flags);
  assert.equal(code, 0, stdout + stderr);
  const { tracker } = parse(/^---\n(.*?)\n---$/ms.exec(written(place))?.[1] ?? "");
  assert.deepEqual(tracker, {
    kind: "github",
    provider: { repositories: "acme/app", base_url: github.url, token: "$GITHUB_TOKEN" },
    required_labels: ["agent"],
  });
  // Its issues are written by a running server; a step that comes first would fail.
  const next =
    /next: codex login .*\nnext: symphony serve\nnext: symphony issue create .* --label agent # in another/;
  assert.match(stderr, next);
  const same = await symphony({ ...place, env }, "init", ...flags);
  assert.equal(same.code, 7);
  assert.match(same.stderr, /it is the same\nnext: symphony doctor\n$/);
});

test("init for a tracker of one's own writes a file that is valid, and says what its program has to answer", async (t) => {
  const place = project(t, "codex");
  const { code, stdout, stderr } = await symphony(place, "init", "--yes", "--tracker", "command");
  assert.equal(code, 0, stdout + stderr);
  assert.match(stdout, /docs\/trackers\/command\.md says what it has to answer/);
  assert.match(stderr, /next: symphony doctor\nnext: symphony serve\n$/);
  const { tracker } = parse(/^---\n(.*?)\n---$/ms.exec(written(place))?.[1] ?? "");
  assert.deepEqual(tracker.active_states, ["To Do", "In Progress"]);
});

test("init keeps the address of another provider that a person's environment has", async (t) => {
  const place = project(t, "claude");
  const flags = ["--tracker", "local", "--agent", "claude", "--level", "safe", "--yes"];
  const env = { ...place.env, ANTHROPIC_API_KEY: "sk-ant-0123456789" };
  const usual = await symphony({ ...place, env }, "init", ...flags, "--dry-run");
  assert.doesNotMatch(usual.stdout, /env_passthrough/);
  const own = { ...env, ANTHROPIC_BASE_URL: "https://gateway.example" };
  const kept = await symphony({ ...place, env: own }, "init", ...flags, "--dry-run");
  assert.match(kept.stdout, /^claude:\n {2}env_passthrough: \[ANTHROPIC_BASE_URL\]/m);
});

test("init takes the provider of the environment, and a model that it lists; --yes asks nothing", async (t) => {
  const place = project(t);
  for (const [models, model] of [
    [["local-a", "local-b"], "local-a"],
    [["local-a", "gpt-5.5"], "gpt-5.5"],
    [null, "gpt-5.5"],
  ] as const) {
    const provider = createServer((request, response) => {
      response.statusCode = models === null || request.url !== "/v1/models" ? 404 : 200;
      response.end(JSON.stringify({ data: models?.map((id) => ({ id })) }));
    });
    provider.listen(0, "127.0.0.1");
    await once(provider, "listening");
    const { port } = provider.address() as AddressInfo;
    const url = `http://127.0.0.1:${port}/v1`;
    const env = { ...place.env, OPENAI_BASE_URL: url };
    const { code, stdout, stderr } = await symphony(
      { ...place, env },
      "init",
      "--yes",
      "--dry-run",
    );
    provider.close();
    assert.equal(code, 0, stderr);
    const said = `openai:\n  base_url: "?${url}"?\n  api_key: none .*\n  model: ${model}\nagent:\n  kind: openai\n  level: safe`;
    assert.match(stdout, new RegExp(said));
    assert.match(stderr, models === null ? /404; the model is gpt-5\.5/ : /one of 2; --model/);
  }
  const typed = ["--provider", "https://models.example/v1", "--model", "big"];
  const env = { ...place.env, OPENAI_API_KEY: "sk-0123456789" };
  const own = await symphony({ ...place, env }, "init", "--yes", "--dry-run", ...typed);
  assert.match(own.stdout, /api_key: \$OPENAI_API_KEY\n {2}model: big\n/);
  const odd = await symphony({ ...place, env }, "init", "--yes", "--agent", "codex", ...typed);
  assert.equal(odd.code, 2);
  const refused = ["--provider", "http://models.example/v1"];
  const open = await symphony({ ...place, env }, "init", "--yes", ...refused);
  assert.match(open.stderr, /must be https, or http on this machine/);
  assert.equal(existsSync(place.workflowPath), false);
});

test("init names a credential of the remote, and never writes one", async (t) => {
  const place = project(t, "codex");
  const secret = "ghp_notARealTokenButLongEnough0123456789";
  place.git("remote", "add", "origin", `https://me:${secret}@github.com/me/app.git`);
  const env = { ...place.env, GITHUB_TOKEN: secret };
  const { stdout, stderr } = await symphony({ ...place, env }, "init", "--dry-run", ...quick);
  assert.match(stdout, /name: app\n {6}url: https:\/\/\$GITHUB_TOKEN@github\.com\/me\/app\.git\n/);
  assert.ok(!`${stdout}${stderr}`.includes(secret));
  assert.equal(existsSync(place.workflowPath), false);
});

test("init without a repository names the tool by which the tracker's issues are moved", async (t) => {
  const place = project(t, "codex");
  const cwd = join(place.root, "empty");
  mkdirSync(cwd);
  const env = { ...place.env, GIT_CEILING_DIRECTORIES: place.root };
  const { stdout } = await symphony({ cwd, env }, "init", "--dry-run", ...quick);
  assert.match(stdout, /with the tool issue_move/);
  assert.doesNotMatch(stdout, /\ngit:/);
});

const withoutNetwork: Around["through"] = (command) => [
  ...["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"],
  ...command,
];

test("where the file cannot be written this is said before any question; --dry-run prints it all the same", {
  skip: noNetwork,
}, async (t) => {
  const place = project(t, "codex");
  const init = (...more: readonly string[]) => {
    const words = [process.execPath, symphonyFile, "init", "--yes", ...more];
    const script = 'mount -t tmpfs -o ro none "$PWD" && cd "$PWD" && exec "$@"';
    return spawnSync("unshare", ["--mount", "sh", "-c", script, "sh", ...words], {
      cwd: place.cwd,
      env: { ...process.env, ...place.env },
      encoding: "utf8",
    });
  };
  // Without a key of Linear a person would be asked for it.
  const refused = init("--tracker", "linear");
  assert.equal(refused.status, 1, refused.stderr);
  assert.match(refused.stderr, /Cannot write .*WORKFLOW\.md: EROFS/);
  assert.doesNotMatch(refused.stderr, /LINEAR_API_KEY/);
  const dry = init("--dry-run");
  assert.deepEqual([dry.status, /kind: codex/.test(dry.stdout)], [0, true], dry.stderr);
});

test("D2: without any network --version, help and init --dry-run work", {
  skip: noNetwork,
}, async (t) => {
  const alone = { ...project(t, "codex"), through: withoutNetwork };
  assert.equal((await symphony(alone, "--version")).code, 0);
  assert.match((await symphony(alone, "help")).stdout, /symphony demo/);
  const dry = await symphony(alone, "init", "--dry-run", "--yes");
  assert.equal(dry.code, 0, dry.stderr);
  assert.match(dry.stdout, /kind: codex/);
});

test("D2: without any network the demo delivers", { skip: noNetwork }, async (t) => {
  const alone = { ...project(t), through: withoutNetwork };
  const child = launch(alone, ["demo", "--port", "0"]);
  let shown = "";
  child.stdout?.setEncoding("utf8").on("data", (part: string) => {
    shown += part;
    if (/ pushed /.test(shown)) child.kill("SIGINT");
  });
  await once(child, "close");
  assert.match(shown, / pushed /);
  assert.equal(child.exitCode, 130);
});

test("init --issue: a first issue is made once the file is right, in symphony's own tracker alone", async (t) => {
  const place = project(t, "codex");
  const title = "-- Greet $(people) by name";
  const refused = await symphony(place, "init", "--yes", "--tracker", "command", "--issue", title);
  assert.equal(refused.code, 2, refused.stderr);
  assert.match(refused.stderr, /--tracker local/);
  const tried = await symphony(place, "init", ...quick, "--dry-run", "--issue", title);
  assert.equal(tried.code, 0, tried.stderr);
  assert.deepEqual(
    [existsSync(place.workflowPath), existsSync(join(place.cwd, ".symphony"))],
    [false, false],
  );
  const empty = await symphony(place, "init", ...quick, "--issue", " ");
  assert.equal(empty.code, 2, empty.stderr);
  const made = await symphony(place, "init", ...quick, "--issue", title);
  assert.equal(made.code, 0, made.stderr);
  assert.match(made.stdout, /^LOCAL-1 created: -- Greet \$\(people\) by name$/m);
  assert.match(made.stderr, /next: codex login .*\nnext: symphony serve\n$/);
  const again = await symphony(place, "init", ...quick, "--issue", title);
  assert.equal(again.code, 7, "nothing is made where nothing is written");
  const list = await symphony(place, "issue", "list", "--json");
  const { issues } = JSON.parse(list.stdout);
  assert.deepEqual(
    issues.map((one: { title: string }) => one.title),
    [title],
  );
});
