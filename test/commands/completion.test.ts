import assert from "node:assert/strict";
import { execFile, execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { catalogue } from "../../src/commands/catalogue.ts";
import { issue } from "../support/makers/issue.ts";
import { symphonyFile } from "../support/makers/program.ts";
import { temporaryDir } from "../support/makers/storage.ts";
import { createWorld } from "../support/worlds/core.ts";
import { symphony } from "../support/worlds/run-symphony.ts";
import { serve } from "../support/worlds/server.ts";

const run = promisify(execFile);

/** A directory with the completion script of `shell` and a `symphony` in PATH that calls the server at `url`. */
async function setUp(t: TestContext, shell: string, url = "http://127.0.0.1:9") {
  const dir = temporaryDir(t);
  const { code, stdout } = await symphony(["completion", shell]);
  assert.equal(code, 0);
  const script = join(dir, "script");
  writeFileSync(script, stdout);
  mkdirSync(join(dir, "bin"));
  const program = `#!/bin/sh\nexec '${process.execPath}' '${symphonyFile}' "$@"\n`;
  writeFileSync(join(dir, "bin", "symphony"), program, { mode: 0o755 });
  const env = {
    PATH: `${join(dir, "bin")}:${process.env["PATH"]}`,
    HOME: dir,
    SYMPHONY_URL: url,
    TERM: "dumb",
  };
  return { dir, script, env };
}

/** What bash offers after `words`; the last word is incomplete. */
async function bash({ dir, script, env }: Awaited<ReturnType<typeof setUp>>, ...words: string[]) {
  const program = `source "$1"; shift
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _symphony; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const args = ["--norc", "-c", program, "bash", script, "symphony", ...words];
  const { stdout } = await run("bash", args, { cwd: dir, env });
  return stdout.split("\n").filter((word) => word !== "");
}

test("bash: commands, subcommands, options, fixed choices and files", async (t) => {
  const setting = await setUp(t, "bash");
  const { script, env, dir } = setting;
  const complete = execFileSync("bash", [
    "--norc",
    "-c",
    `source "$1"; complete -p symphony`,
    "bash",
    script,
  ]);
  assert.equal(complete.toString(), "complete -F _symphony symphony\n");
  const offered = (...words: string[]) => bash(setting, ...words);
  const all = await offered("");
  for (const { name } of catalogue) assert.ok(all.includes(name), name);
  assert.deepEqual(await offered("te"), ["template", "templates"]);
  assert.deepEqual(await offered("--json", "issue", "c"), [
    "create",
    "comment",
    "comments",
    "close",
  ]);
  assert.deepEqual(await offered("config", "overlay", "u"), ["unset"]);
  assert.deepEqual(await offered("completion", ""), ["bash", "zsh", "fish"]);
  assert.deepEqual(await offered("completion", "--is"), [], "a hidden option is not offered");
  assert.deepEqual(await offered("help", "exit"), ["exit-codes"]);
  assert.deepEqual(await offered("help", "state", "exp"), ["explain"]);
  const options = await offered("model", "ENG-1", "--");
  assert.ok(options.includes("--effort") && options.includes("--json"));
  assert.equal(new Set(options).size, options.length);
  assert.deepEqual(await offered("state", "--color", "a"), ["auto", "always"]);
  assert.deepEqual(await offered("state", "--color", "=", "n"), ["never"]);
  assert.deepEqual(await offered("--color", "never", "stat"), ["state"]);
  assert.deepEqual(await offered("wait", "ENG-1", "--for", "comp"), ["completed"]);
  assert.ok((await offered("events", "--type", "issue.q")).includes("issue.queued"));
  assert.deepEqual(await offered("state", "x"), []);
  assert.deepEqual(await offered("api", "--url", ""), [], "an address is not guessed");
  writeFileSync(join(dir, "MINE.md"), "");
  mkdirSync(join(dir, "MORE"));
  assert.deepEqual((await offered("serve", "M")).sort(), ["MINE.md", "MORE"]);
  assert.deepEqual(await offered("state", "--data-dir", "M"), ["MORE"]);
  assert.equal(spawnSync("bash", ["-n", script], { env }).status, 0);
});

test("issues come from a running server; text that a shell would expand is not offered", async (t) => {
  const issues = ["ENG-1", "ENG-2", "$(touch pwned)", "a b", "-x", "`x`"].map((name) =>
    issue(name),
  );
  await using world = await createWorld({ issues });
  await using server = await serve(world);
  const url = `http://127.0.0.1:${server.listening.port}`;
  const setting = await setUp(t, "bash", url);
  assert.deepEqual((await bash(setting, "steer", "")).sort(), ["ENG-1", "ENG-2"]);
  assert.deepEqual(await bash(setting, "events", "--issue", "ENG-2"), ["ENG-2"]);
  assert.deepEqual(await bash(setting, "issue", "show", "$"), []);
  assert.deepEqual(await bash(setting, "steer", "ENG-1", ""), []);
  assert.ok(!existsSync(join(setting.dir, "pwned")));
});

test("completion does not wait for a server that does not answer, and prints no error", async () => {
  const mute = createServer(() => {});
  mute.listen(0, "127.0.0.1");
  await once(mute, "listening");
  const SYMPHONY_URL = `http://127.0.0.1:${(mute.address() as AddressInfo).port}`;
  const silent = await symphony(["completion", "--issues"], { env: { SYMPHONY_URL } });
  assert.deepEqual(silent, { code: 0, stdout: "", stderr: "" });
  mute.close();
  const env = { SYMPHONY_URL: "http://127.0.0.1:9" };
  const gone = await symphony(["completion", "--issues"], { env });
  assert.deepEqual(gone, { code: 0, stdout: "", stderr: "" });
  assert.equal((await symphony(["completion", "--issues"])).stdout, "");
});

test("zsh: the same words, with their descriptions", async (t) => {
  if (!hasShell("zsh")) return t.skip("zsh is not installed");
  const { dir, script, env } = await setUp(t, "zsh");
  const program = `compdef() { print "compdef $*" }; source "$1"; shift
    _describe() { print -rl -- "\${(@P)2}" }; compadd() { print -rl -- "$@" }; _files() { print files $* }
    words=("$@"); CURRENT=$#; _symphony`;
  const offered = async (...words: string[]) => {
    const args = ["-f", "-c", program, "zsh", script, "symphony", ...words];
    return (await run("zsh", args, { cwd: dir, env })).stdout.trim().split("\n");
  };
  const [installed, ...commands] = await offered("");
  assert.equal(installed, "compdef _symphony symphony");
  assert.ok(commands.includes("steer:send guidance to a running agent"), commands.join("\n"));
  assert.equal(commands.length, catalogue.length);
  assert.deepEqual((await offered("state", "--color", "")).slice(1), ["auto", "always", "never"]);
  assert.deepEqual((await offered("serve", "")).slice(1), ["files"]);
  assert.deepEqual((await offered("state", "--data-dir", "")).slice(1), ["files -/"]);
});

test("fish: the same words, with their descriptions", async (t) => {
  if (!hasShell("fish")) return t.skip("fish is not installed");
  const { dir, script, env } = await setUp(t, "fish");
  const offered = async (line: string) => {
    const program = `source "$argv[1]"; complete -C "$argv[2]"`;
    const { stdout } = await run("fish", ["-c", program, script, line], { cwd: dir, env });
    return stdout.split("\n").flatMap((one) => (one === "" ? [] : [one.split("\t")[0]]));
  };
  assert.deepEqual(await offered("symphony te"), ["template", "templates"]);
  assert.deepEqual(await offered("symphony --json issue c"), [
    "close",
    "comment",
    "comments",
    "create",
  ]);
  assert.deepEqual(await offered("symphony --color never stat"), ["state"]);
  assert.deepEqual(await offered("symphony wait ENG-1 --for comp"), ["completed"]);
  assert.deepEqual(await offered("symphony completion "), ["bash", "fish", "zsh"]);
  assert.ok((await offered("symphony model ENG-1 --")).includes("--effort"));
});

test("completion without a shell, or with an unsupported one, is wrong usage", async () => {
  for (const args of [[], ["tcsh"]]) {
    const { code, stdout, stderr } = await symphony(["completion", ...args]);
    assert.deepEqual([code, stdout], [2, ""]);
    assert.match(stderr, /bash, zsh/);
  }
  const help = await symphony(["completion", "--help"]);
  assert.match(help.stdout, /\.bashrc.*\.zshrc.*config\/fish\/completions/s);
  assert.ok(!help.stdout.includes("--issues"));
  const json = await symphony(["completion", "bash", "--json"]);
  assert.equal(JSON.parse(json.stdout).shell, "bash");
});

function hasShell(name: string): boolean {
  return spawnSync(name, ["--version"]).status === 0;
}
