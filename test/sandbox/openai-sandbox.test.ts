import assert from "node:assert/strict";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import type { SessionSpec } from "../../src/core/agent/agent.ts";
import { runCommand } from "../../src/core/process/run.ts";
import { modelServer } from "../support/fakes/model-server.ts";
import { OpenaiBench } from "../support/worlds/openai-bench.ts";

const limits = { command_processes: 64, command_file_bytes: 1_048_576, command_timeout_ms: 30_000 };

/** Runs the lines with the shell tool of a real session; resolves with the result of each that the model received. */
async function shell(
  bench: OpenaiBench,
  commands: readonly string[],
  spec: Partial<SessionSpec> = {},
): Promise<readonly string[]> {
  await using provider = await modelServer([
    { calls: commands.map((command) => ({ name: "shell", args: { command } })) },
  ]);
  bench.config = { ...bench.config, baseUrl: provider.url };
  await using session = await bench.start(spec);
  await session.turn("Work.", { model: null });
  const input = provider.asked[1]?.body["input"] as { type: string; output: string }[];
  return input.flatMap((item) => (item.type === "function_call_output" ? [item.output] : []));
}

test("level networked adds only the network", async () => {
  await using bench = await OpenaiBench.make(limits);
  const api = createServer((_, response) => response.end("welcome"));
  await new Promise<void>((resolve) => api.listen(0, "127.0.0.1", resolve));
  const { port } = api.address() as AddressInfo;
  try {
    const get = `exec 3<>/dev/tcp/127.0.0.1/${port} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3`;
    const write = `echo x > ${bench.root}/outside && ls ${bench.dataDir}`;
    const [first, second] = await shell(bench, [get, `${write} && ls ${bench.dataDir}/threads`], {
      level: "networked",
    });
    assert.match(first ?? "", /welcome/);
    assert.match(second ?? "", /No such file|Read-only/);
  } finally {
    api.closeAllConnections();
    api.close();
  }
});

test("a command's environment is only the allow-list", async () => {
  await using bench = await OpenaiBench.make({ env_passthrough: ["CI", "OPENAI_API_KEY"] });
  const canaries = ["OPENAI_API_KEY", "OPENAI_ORG_ID", "LINEAR_API_KEY", "AWS_SECRET_ACCESS_KEY"];
  const more = ["GITHUB_TOKEN", "SSH_AUTH_SOCK", "SYMPHONY_MASTER_KEY", "NODE_OPTIONS", "BASH_ENV"];
  for (const name of [...canaries, ...more, "CODEX_HOME", "TMPDIR", "LD_PRELOAD_X"])
    bench.env = { ...bench.env, [name]: `canary-${name}` };
  bench.env = { ...bench.env, CI: "1", LANG: "C", LC_ALL: "C" };
  for (const level of ["safe", "danger"] as const) {
    const secretEnvNames = ["LINEAR_API_KEY"];
    const [result = ""] = await shell(bench, ["env -0 | tr '\\0' '\\n'"], {
      level,
      secretEnvNames,
    });
    const names = result
      .split("\n")
      .filter((line) => line.includes("="))
      .map((line) => line.slice(0, line.indexOf("=")))
      .filter((name) => !["PWD", "SHLVL", "_", "OLDPWD"].includes(name));
    const allowed = ["CI", "HOME", "LANG", "LC_ALL", "PATH", "SYMPHONY_RUN_ID"];
    assert.deepEqual(names.sort(), allowed, level);
    assert.doesNotMatch(result, /canary|sk-test/);
  }
});

test("readable paths are shown, except hidden paths inside them", async () => {
  await using bench = await OpenaiBench.make();
  const tools = join(bench.root, "home", "tools");
  await mkdir(tools);
  await writeFile(join(tools, "tool"), "a tool\n");
  await symlink(bench.root, join(bench.root, "home", "alias"));
  await writeFile(join(bench.dataDir, "secret"), "hidden\n");
  const alias = join(bench.root, "home", "alias");
  bench.config = { ...bench.config, readablePaths: ["~/tools", alias, "/", "tools"] };
  const [result = ""] = await shell(bench, [
    `cat ${tools}/tool; echo x > ${tools}/tool; cat ${alias}/data/secret ${bench.dataDir}/secret`,
  ]);
  assert.match(result, /a tool/);
  assert.match(result, /Read-only/);
  assert.doesNotMatch(result, /^hidden/m);
  assert.match(bench.logs.join("\n"), /not a path to show in the sandbox: \/,tools/);
});

test("a link named .git is not followed by the sandbox", async () => {
  await using bench = await OpenaiBench.make();
  await writeFile(join(bench.dataDir, "secret"), "hidden\n");
  await symlink(bench.dataDir, join(bench.workspace, ".git"));
  const [result = ""] = await shell(bench, ["cat .git/secret"]);
  assert.doesNotMatch(result, /hidden/);
});

test("a command ends at its time limit, at its process limit, and when its disk is full", async () => {
  await using bench = await OpenaiBench.make();
  const cwd = bench.workspace;
  const run = (line: string, more: object) =>
    runCommand({
      argv: ["bash", "-c", line],
      cwd,
      env: { PATH: process.env["PATH"] ?? "" },
      timeoutMs: 20_000,
      outputBytes: 1_000,
      ...more,
    });
  assert.equal((await run("sleep 60", { timeoutMs: 50 })).stoppedFor, "time");
  const limitsOf = (maxProcesses: number | null, leastFreeBytes: number) => ({
    ...{ runId: "test/none", workspace: cwd },
    bounds: { maxProcesses, maxMemoryBytes: null, maxFileBytes: null, leastFreeBytes },
  });
  const many = "for i in $(seq 40); do env -i sleep 60 & done; wait";
  assert.equal((await run(many, { limits: limitsOf(20, 0) })).stoppedFor, "processes");
  const writing = "head -c 20000000 /dev/zero >large; sleep 60";
  assert.equal((await run(writing, { limits: limitsOf(null, 2 ** 60) })).stoppedFor, "disk");
  const gone = await run("true", { cwd: "/nowhere/at/all" });
  assert.deepEqual([gone.exitCode, /could not be started/.test(gone.output)], [null, true]);
  const left = await run("sleep 60 & echo done", {});
  assert.deepEqual([left.exitCode, left.output], [0, "done\n"]);
});
