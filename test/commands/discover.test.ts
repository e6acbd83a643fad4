import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { startApiDouble } from "../support/fakes/api-double.ts";
import { emptyDir, symphony } from "../support/worlds/run-symphony.ts";

interface Facts {
  readonly url: string;
  readonly pid?: number;
  readonly token?: string | null;
}

function writeRuntime(dataDir: string, { url, pid = process.pid, token = null }: Facts): void {
  mkdirSync(dataDir, { recursive: true });
  writeFileSync(join(dataDir, "runtime.json"), JSON.stringify({ url, pid, token }));
}

/** The pid of a process that has just exited. */
async function deadPid(): Promise<number> {
  const child = spawn(process.execPath, ["-e", "0"]);
  await once(child, "close");
  return child.pid ?? 0;
}

test("--url wins over SYMPHONY_URL, that over runtime.json, and a discovered address over the default", async () => {
  await using byFlag = await startApiDouble();
  await using byEnv = await startApiDouble();
  await using byFile = await startApiDouble();
  using project = emptyDir();
  writeRuntime(join(project.path, ".symphony"), { url: byFile.url });
  const env = { SYMPHONY_URL: byEnv.url };
  await symphony(["state", "--url", byFlag.url], { cwd: project.path, env });
  assert.deepEqual(
    [byFlag, byEnv, byFile].map(({ seen }) => seen.length),
    [1, 0, 0],
  );
  await symphony(["state"], { cwd: project.path, env });
  assert.deepEqual(
    [byFlag, byEnv, byFile].map(({ seen }) => seen.length),
    [1, 1, 0],
  );
  await symphony(["state"], { cwd: project.path });
  assert.equal(byFile.seen.at(-1)?.path, "/api/v1/state");
});

test("discovery looks in --data-dir, SYMPHONY_DATA_DIR, .symphony upward, then ~/.symphony", async () => {
  await using api = await startApiDouble();
  using project = emptyDir();
  using other = emptyDir();
  const deep = join(project.path, "a", "b");
  mkdirSync(deep, { recursive: true });
  const found = async (args: readonly string[], cwd: string, env = {}) =>
    (await symphony(["runtime", ...args], { cwd, env })).code === 0;
  writeRuntime(join(project.path, "data"), { url: api.url });
  assert.equal(await found(["--data-dir", "data"], project.path), true);
  assert.equal(await found([], deep, { SYMPHONY_DATA_DIR: join(project.path, "data") }), true);
  writeRuntime(join(project.path, ".symphony"), { url: api.url });
  assert.equal(await found([], deep), true);
  assert.equal(await found([], other.path, { HOME: project.path }), true);
});

test("a runtime.json whose process is gone is ignored, and the command says so", async () => {
  await using api = await startApiDouble();
  using project = emptyDir();
  writeRuntime(join(project.path, ".symphony"), { url: api.url, pid: await deadPid(), token: "t" });
  const { stderr } = await symphony(["runtime"], { cwd: project.path });
  assert.match(
    stderr,
    /runtime\.json is left over: process \d+ is gone; trying http:\/\/127\.0\.0\.1:4000/,
  );
  assert.deepEqual(api.seen, []);
});

test("a live process with that pid is not enough: the server must confirm it", async () => {
  await using api = await startApiDouble();
  api.pid = process.pid + 1;
  using project = emptyDir();
  writeRuntime(join(project.path, ".symphony"), { url: api.url, token: "canary" });
  const { stderr } = await symphony(["state"], { cwd: project.path });
  assert.match(stderr, /its server does not answer/);
  assert.equal(
    api.seen.every(({ headers }) => headers.authorization === undefined),
    true,
  );
});

test("a server of this project that gives no answer is said to be one; what is meant for it reaches no other", async () => {
  const silent = createServer().listen(0, "127.0.0.1");
  await once(silent, "listening");
  const address = silent.address();
  const port = typeof address === "object" ? address?.port : null;
  using project = emptyDir();
  writeRuntime(join(project.path, ".symphony"), { url: `http://127.0.0.1:${port}` });
  const { code, stderr } = await symphony(["abort", "LOCAL-1"], { cwd: project.path });
  silent.close();
  assert.equal(code, 5);
  assert.match(stderr, /The server of this project, process \d+, does not answer at /);
  assert.doesNotMatch(stderr, /left over|trying/);
});

test("a runtime.json that points at another machine is not followed", async () => {
  using project = emptyDir();
  writeRuntime(join(project.path, ".symphony"), { url: "http://192.0.2.7:4000", token: "canary" });
  const { stderr } = await symphony(["state"], { cwd: project.path });
  assert.match(stderr, /names http:\/\/192\.0\.2\.7:4000, another machine/);
});

test("the token of runtime.json goes to its own server and to no other", async () => {
  await using mine = await startApiDouble();
  await using foreign = await startApiDouble();
  mine.token = "canary";
  using project = emptyDir();
  writeRuntime(join(project.path, ".symphony"), { url: mine.url, token: "canary" });
  assert.equal((await symphony(["state"], { cwd: project.path })).code, 0);
  assert.equal((await symphony(["state", "--url", mine.url], { cwd: project.path })).code, 0);
  assert.equal((await symphony(["state", "--url", foreign.url], { cwd: project.path })).code, 0);
  assert.equal(foreign.seen[0]?.headers.authorization, undefined);
});
