// S27 of the scheduler's and command line's case file is here and in live.test.ts.

import assert from "node:assert/strict";
import { type ChildProcess, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { sameWithinMs } from "../../src/commands/stop.ts";
import { silentTracker } from "../support/fakes/silent-tracker.ts";
import { linesFrom } from "../support/makers/other-user.ts";
import { temporaryDir } from "../support/makers/storage.ts";
import { eventually, isAlive, launch } from "../support/worlds/symphony.ts";

/** A project whose tracker receives requests and never answers. */
async function onSilentTracker(t: TestContext) {
  const { section, asked } = await silentTracker(t);
  return { ...(await project(t, `tracker: ${section}`)), asked };
}

async function project(t: TestContext, settings: string) {
  const dir = temporaryDir(t);
  await writeFile(join(dir, "WORKFLOW.md"), `---\n${settings}\n---\nWork on it\n`);
  const env = { HOME: dir, LINEAR_API_KEY: "lin_api_x", SYMPHONY_DATA_DIR: undefined };
  return { dir, around: { cwd: dir, env } };
}

/** The exit code or signal. The limit is much longer than a stop takes, and much shorter than the 75 s of an earlier fault. */
async function endOf(child: ChildProcess): Promise<number | string | null> {
  const [code, signal] = await once(child, "exit", { signal: AbortSignal.timeout(40_000) });
  return code ?? signal;
}

const runFiles = (names: readonly string[]) =>
  names.filter((name) => ["runtime.json", "lock.json"].includes(name));

for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
  test(`C-5: ${signal} ends a server whose tracker does not answer its first request`, async (t) => {
    const { dir, around, asked } = await onSilentTracker(t);
    const child = launch(around, ["serve", "--port", "0"]);
    t.after(() => child.kill("SIGKILL"));
    await asked;
    child.kill(signal);
    assert.equal(await endOf(child), 0);
    assert.deepEqual(runFiles(await readdir(join(dir, ".symphony"))), []);
  });
}

test("serve --once that is stopped says so, also after it has done some work", async (t) => {
  const { around, asked } = await onSilentTracker(t);
  const child = launch(around, ["serve", "--once", "--port", "0"]);
  t.after(() => child.kill("SIGKILL"));
  await asked;
  child.kill("SIGTERM");
  assert.equal(await endOf(child), 130);
});

test("a second signal ends the server at once, together with a hook that still runs", async (t) => {
  // A stop waits for the hook of an attempt for some seconds, and not for that of a cleanup.
  const place = await project(
    t,
    `tracker: { kind: local }
hooks: { after_run: 'echo $$ > "$HOME/pid"; sleep 600' }
agent: { kind: command, level: danger }
command: { line: "true" }
host: { min_memory: 0, max_load: 0 }
workspace: { root: workspaces }`,
  );
  const { dir, around } = place;
  const created = launch(around, ["issue", "create", "--title", "x"]);
  assert.equal(await endOf(created), 0);
  const child = launch(around, ["serve", "--port", "0", "--i-understand"]);
  t.after(() => child.kill("SIGKILL"));
  const pid = await eventually("the hook runs", () => readFile(join(dir, "pid"), "utf8"));
  const stopping = printed(child, "server.stopping");
  child.kill("SIGTERM");
  await stopping;
  await delay(sameWithinMs + 50);
  child.kill("SIGTERM");
  assert.equal(await endOf(child), 130);
  await eventually("the hook is gone", async () => !isAlive(Number(pid)));
  assert.deepEqual(runFiles(await readdir(join(dir, ".symphony"))), []);
});

/** Resolves when the output contains `text`. */
function printed(child: ChildProcess, text: string): Promise<void> {
  let said = "";
  return new Promise((resolve) => {
    child.stderr?.on("data", (part) => {
      said += part;
      if (said.includes(text)) resolve();
    });
  });
}

test("demo can be stopped while it still creates its repository", async (t) => {
  const dir = temporaryDir(t);
  const git = join(dir, "git");
  await writeFile(git, `#!/bin/sh\necho $$ > "${dir}/pid"\nexec sleep 600\n`);
  await chmod(git, 0o755);
  await mkdir(join(dir, "tmp"));
  const env = { HOME: dir, TMPDIR: join(dir, "tmp"), PATH: `${dir}:${process.env["PATH"]}` };
  const child = launch({ cwd: dir, env }, ["demo", "--port", "0"]);
  t.after(() => child.kill("SIGKILL"));
  const pid = await eventually("git runs", () => readFile(join(dir, "pid"), "utf8"));
  child.kill("SIGTERM");
  assert.equal(await endOf(child), 0);
  assert.ok(!isAlive(Number(pid)));
  assert.deepEqual(await readdir(join(dir, "tmp")), []);
});

/** A running demo in a temporary folder of its own; `left` lists what remains there. */
async function runningDemo(t: TestContext) {
  const dir = temporaryDir(t);
  const env = { HOME: dir, TMPDIR: dir };
  const child = launch({ cwd: dir, env }, ["demo", "--port", "0"]);
  t.after(() => child.kill("SIGKILL"));
  child.stderr?.resume();
  const { stdout } = child;
  assert.ok(stdout);
  await once(stdout, "data");
  const left = async () => (await readdir(dir)).filter((name) => name.startsWith("symphony-demo"));
  return { child, stdout, left };
}

test("S27: equal signals within a second are one graceful stop, with the cleaning done and 130", async (t) => {
  const { child, stdout, left } = await runningDemo(t);
  stdout.resume();
  const end = endOf(child);
  for (let times = 0; times < 3; times += 1) {
    child.kill("SIGINT");
    await delay(10);
  }
  assert.equal(await end, 130);
  assert.deepEqual(await left(), []);
});

test("S27: a closed terminal ends the demo cleanly", async (t) => {
  const { child, stdout, left } = await runningDemo(t);
  stdout.resume();
  child.kill("SIGHUP");
  assert.equal(await endOf(child), 0);
  assert.deepEqual(await left(), []);
});

test("S27: demo | head ends the demo cleanly", async (t) => {
  const { child, stdout, left } = await runningDemo(t);
  stdout.destroy();
  assert.equal(await endOf(child), 0);
  assert.deepEqual(await left(), []);
});

const namespaces = ["--mount", "--net"];
const noNamespaces =
  spawnSync("unshare", [...namespaces, "true"]).status === 0 ? false : "needs root and unshare";

test("a name look-up that gets no answer does not delay the stop", {
  skip: noNamespaces,
}, async (t) => {
  const { dir } = await project(t, "tracker: { kind: linear, provider: { project_slug: x } }");
  const child = fileURLToPath(new URL("../support/fakes/silent-dns-child.ts", import.meta.url));
  await writeFile(join(dir, "resolv.conf"), "nameserver 127.0.0.1\n");
  const script = `ip link set lo up && mount --bind "${dir}/resolv.conf" /etc/resolv.conf && exec "$@"`;
  const args = [...namespaces, "sh", "-c", script, "sh", process.execPath, child, dir];
  const [code, ms] = await linesFrom("unshare", args);
  assert.equal(code, "0");
  // The system's look-up tries twice, 5 s each.
  assert.ok(Number(ms) < 8_000, `${ms} ms`);
});
