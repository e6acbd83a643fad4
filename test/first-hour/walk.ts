// `npm run first-hour [-- codex|claude|openai]`: the README, typed word for word on a terminal by someone who has a machine with Node 20, an
// empty home, a clone of this repository, a repository of their own and an agent. It ends with the diff that the reader
// sees and the merged work, and prints the steps. The agents are the real ones (SYMPHONY_CODEX, SYMPHONY_CLAUDE) with scripted
// providers (SYMPHONY_EQUIPMENT); it needs tmux and a registry for npm, and takes minutes: it is no part of the tests.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startFakeModel } from "../support/fakes/fake-model.ts";
import { Tmux } from "../support/worlds/tmux.ts";
import { Typist } from "./typist.ts";

const checkout = fileURLToPath(new URL("../..", import.meta.url));
const readme = readFileSync(join(checkout, "README.md"), "utf8");

interface Agent {
  /** null: it is built in. */
  readonly program: string | null;
  readonly fake: "fake-openai" | "fake-anthropic";
  readonly script: unknown;
  /** Lets the program in the new home use the scripted provider; returns what its user has in the environment. */
  prepare(home: string, url: string): Readonly<Record<string, string>>;
}

const edit = `printf 'echo "Hello, \${1:-world}!"\\n' > greet.sh && sh greet.sh Ada`;

const agents: Readonly<Record<string, Agent>> = {
  codex: {
    program: process.env["SYMPHONY_CODEX"] ?? "",
    fake: "fake-openai",
    script: [
      { type: "shell", cmd: edit },
      { type: "text", text: "greet.sh greets by name.", usage: { input: 100, output: 10 } },
    ],
    prepare(home, url) {
      mkdirSync(join(home, ".codex"));
      writeFileSync(join(home, ".codex/auth.json"), '{"OPENAI_API_KEY":"sk-test-0123456789"}\n');
      writeFileSync(
        join(home, ".codex/config.toml"),
        `model = "gpt-5.5"\nmodel_provider = "own"\n\n[model_providers.own]\nname = "Own"\nbase_url = ${JSON.stringify(url)}\nwire_api = "responses"\nexperimental_bearer_token = "k"\n`,
      );
      return {};
    },
  },
  claude: {
    program: process.env["SYMPHONY_CLAUDE"] ?? "",
    fake: "fake-anthropic",
    script: {
      steps: [
        { type: "bash", cmd: edit },
        { type: "text", text: "greet.sh greets by name." },
      ],
    },
    prepare: (_, url) => ({ ANTHROPIC_BASE_URL: url, ANTHROPIC_API_KEY: "sk-ant-0123456789" }),
  },
  openai: {
    program: null,
    fake: "fake-openai",
    script: [
      { type: "shell", cmd: edit },
      { type: "text", text: "greet.sh greets by name.", usage: { input: 100, output: 10 } },
    ],
    prepare: (_, url) => ({ OPENAI_BASE_URL: url, OPENAI_API_KEY: "sk-test-0123456789" }),
  },
};

const name = process.argv[2] ?? "codex";
const agent = agents[name];
assert.ok(agent !== undefined && agent.program !== "", `no program for ${name}`);
const model = await startFakeModel(agent.fake, agent.script);
try {
  await using first = await Tmux.start({ columns: 120, rows: 50 });
  await using second = await Tmux.start({ columns: 120, rows: 50 });
  await walk(agent, model.url, { first, second });
} finally {
  await model.close();
}

interface Terminals {
  readonly first: Tmux;
  readonly second: Tmux;
}

async function walk({ program, prepare }: Agent, url: string, { first, second }: Terminals) {
  const root = first.dir;
  const home = join(root, "home");
  const bin = join(home, ".local/bin");
  mkdirSync(bin, { recursive: true });
  const registry = execFileSync("npm", ["config", "get", "registry"], { encoding: "utf8" }).trim();
  writeFileSync(join(home, ".npmrc"), `prefix=${join(home, ".local")}\nregistry=${registry}\n`);
  if (program !== null) symlinkSync(program, join(bin, name));
  const env = {
    ...networkNeeds(),
    ...{ HOME: home, PATH: `${bin}:/usr/local/bin:/usr/bin:/bin` },
    ...prepare(home, url),
    // The machine may be busy with other things.
    ...{ SYMPHONY_HOST__MAX_LOAD: "0", SYMPHONY_HOST__MIN_MEMORY: "0" },
  };
  writeFileSync(
    join(home, ".bash_profile"),
    Object.entries(env)
      .map(([key, value]) => `export ${key}='${value}'\n`)
      .join(""),
  );
  ownRepository(root);
  execFileSync("git", ["clone", "--quiet", checkout, join(root, "symphony")]);

  const steps: string[] = [];
  const one = new Typist(first, env, steps);
  const two = new Typist(second, env, steps);
  await one.begin(join(root, "symphony"));
  for (const line of linesAfter("## Install")) await one.type(line);
  const own = linesAfter("## Your own repository");
  assert.equal(own.shift(), "cd your-project");
  await one.begin(join(root, "your-project"));
  const serve = own.pop() ?? "";
  for (const line of own) await one.type(line);
  await one.start(serve, /127\.0\.0\.1:4000/);
  await one.sees(/LOCAL-1 .*is pushed/);

  await two.begin(join(root, "your-project"));
  const [diff = "", merge = ""] = linesAfter("## Where is my result?");
  assert.match(await two.type(diff), /\+echo "Hello, \$\{1:-world\}!"/);
  await two.type(merge);
  await one.sees(/LOCAL-1 .*(?:completed|Done)/);
  const merged = readFileSync(join(root, "your-project/greet.sh"), "utf8");
  assert.equal(merged, `echo "Hello, \${1:-world}!"\n`);
  process.stdout.write(`${steps.map((step, at) => `${at + 1}. ${step}`).join("\n")}\n`);
}

/** What this machine needs to reach a registry. */
function networkNeeds(): Readonly<Record<string, string>> {
  const wanted = /^(?:NODE_EXTRA_CA_CERTS|SSL_CERT_FILE|(?:https?|no)_proxy)$/i;
  return Object.fromEntries(
    Object.entries(process.env).flatMap(([key, value]) =>
      wanted.test(key) && value !== undefined ? [[key, value]] : [],
    ),
  );
}

/** A project with a remote, as a person has one. */
function ownRepository(root: string): void {
  const git = (...args: string[]) =>
    execFileSync("git", ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", ...args]);
  const dir = join(root, "your-project");
  mkdirSync(dir);
  writeFileSync(join(dir, "greet.sh"), 'echo "Hello, world!"\n');
  git("-C", dir, "init", "--quiet", "-b", "main");
  git("-C", dir, "add", "-A");
  git("-C", dir, "commit", "--quiet", "-m", "A script that greets");
  git("clone", "--quiet", "--bare", dir, join(root, "origin.git"));
  git("-C", dir, "remote", "add", "origin", join(root, "origin.git"));
  git("-C", dir, "fetch", "--quiet", "origin");
  git("-C", dir, "branch", "--quiet", "--set-upstream-to=origin/main");
}

/** The lines of the first block of commands after a heading of the README, without their comments. */
function linesAfter(heading: string): string[] {
  const block = /```sh\n(.*?)```/s.exec(readme.slice(readme.indexOf(heading)));
  assert.ok(readme.includes(heading) && block !== null, heading);
  return (block[1] ?? "")
    .trimEnd()
    .split("\n")
    .map((line) => line.replace(/\s+#\s.*$/, ""));
}
