import assert from "node:assert/strict";
import { existsSync, realpathSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { liveProcesses } from "../../../src/core/process/table.ts";
import { type HookRun, runHook } from "../../../src/core/workspace/hooks.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

const issue = { id: "i1", identifier: "ENG-1" };

function hook(t: TestContext, script: string, fields: Partial<HookRun> = {}): HookRun {
  const cwd = realpathSync(temporaryDir(t));
  const env = { PATH: process.env["PATH"] ?? "", HOME: cwd };
  const signal = new AbortController().signal;
  const clock = new FakeClock();
  return {
    hook: "before_run",
    script,
    cwd,
    env,
    issue,
    timeoutMs: 60_000,
    clock,
    signal,
    ...fields,
  };
}

async function refused(run: Promise<unknown>): Promise<SymphonyError> {
  const error = await run.then(
    () => assert.fail("it should have failed"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof SymphonyError, String(error));
  return error;
}

/** Waits for the file that a script writes while it runs, and returns the pids in it. */
async function pidsIn(path: string): Promise<number[]> {
  for (;;) {
    const text = await readFile(path, "utf8").catch(() => "");
    if (text.endsWith("\n")) return text.trim().split(/\s+/).map(Number);
    await new Promise((done) => setTimeout(done, 10));
  }
}

/** The pids that are alive; a zombie that was not reaped does not count. */
async function alive(pids: readonly number[]): Promise<number[]> {
  const live = new Set((await liveProcesses()).map(({ pid }) => pid));
  return pids.filter((pid) => live.has(pid));
}

test("S-14: a hook runs as sh -c in the workspace, and may have several lines", async (t) => {
  const run = hook(t, 'pwd\nif true; then\n  echo "$0 two"\nfi\ncat');
  assert.equal(await runHook(run), `${run.cwd}\nsh two\n`);
});

test("a hook sees the given environment, its issue and its workspace, and nothing else", async (t) => {
  const run = hook(t, "env", { env: { PATH: process.env["PATH"] ?? "", GIVEN: "1" } });
  const names = (await runHook(run)).split("\n").map((line) => line.split("=")[0]);
  const shells = ["PWD", "OLDPWD", "SHLVL", "_", ""];
  assert.deepEqual(names.filter((name) => !shells.includes(name ?? "")).sort(), [
    "GIVEN",
    "PATH",
    "SYMPHONY_ISSUE_ID",
    "SYMPHONY_ISSUE_IDENTIFIER",
    "SYMPHONY_RUN_ID",
    "SYMPHONY_WORKSPACE",
  ]);
});

test("X-6: hostile text of an issue is a value, never part of the shell line", async (t) => {
  const identifier = `$(touch x)\`touch x\`; touch x\0 & "'\n`;
  const run = hook(t, 'printf "%s" "$SYMPHONY_ISSUE_IDENTIFIER"', {
    issue: { id: "i", identifier },
  });
  assert.equal(await runHook(run), identifier.replace("\0", ""));
  assert.equal(existsSync(join(run.cwd, "x")), false);
});

test("a failing hook is hook_failed with its status and output", async (t) => {
  const error = await refused(runHook(hook(t, "echo out; echo err >&2; exit 17")));
  assert.equal(error.code, "hook_failed");
  assert.equal(error.message, "before_run ended with status 17");
  assert.equal(error.details["status"], 17);
  assert.match(String(error.details["output"]), /out\nerr\n|err\nout\n/);
  const killed = await refused(runHook(hook(t, "kill -9 $$")));
  assert.match(killed.message, /by signal SIGKILL/);
});

test("a hook that cannot be started is hook_failed", async (t) => {
  const gone = await refused(runHook(hook(t, "true", { cwd: "/nowhere/at/all" })));
  assert.equal(gone.code, "hook_failed");
  const broken = await refused(runHook(hook(t, "echo a\0b")));
  assert.match(broken.message, /could not be started/);
});

test("S-15, FAULT-19: the timeout kills the whole tree, also processes that hold the pipes or have left the group", async (t) => {
  const clock = new FakeClock();
  const run = hook(t, "sleep 60 & setsid sleep 61 & echo $$ $! > pids; wait", {
    clock,
    timeoutMs: 5_000,
  });
  const ended = refused(runHook(run));
  const pids = await pidsIn(join(run.cwd, "pids"));
  assert.deepEqual(await alive(pids), pids);
  clock.advance(4_999);
  assert.deepEqual(await alive(pids), pids);
  clock.advance(1);
  const error = await ended;
  assert.equal(error.code, "hook_timeout");
  assert.match(error.message, /before_run did not end within 5000 ms/);
  assert.deepEqual(await alive(pids), []);
});

test("S-15: background processes of a hook end with it and do not delay its end", async (t) => {
  const run = hook(t, "sleep 60 & setsid sleep 61 & echo $$ $! > pids; echo done");
  assert.equal(await runHook(run), "done\n");
  const pids = await pidsIn(join(run.cwd, "pids"));
  assert.deepEqual(await alive(pids), []);
});

test("an aborted hook is stopped; a hook aborted before its start is not started", async (t) => {
  const abort = new AbortController();
  const run = hook(t, "echo $$ > pids; sleep 60", { signal: abort.signal });
  const ended = refused(runHook(run));
  const pids = await pidsIn(join(run.cwd, "pids"));
  abort.abort();
  const error = await ended;
  assert.equal(error.code, "hook_failed");
  assert.equal(error.details["aborted"], true);
  assert.deepEqual(await alive(pids), []);
  const late = hook(t, "touch started", { signal: abort.signal });
  await refused(runHook(late));
  assert.equal(existsSync(join(late.cwd, "started")), false);
});

test("S-16: the last 2,048 bytes of long output are kept, with a marker, and no split character", async (t) => {
  const script = `i=0; while [ $i -lt 1500 ]; do printf 'é'; i=$((i+1)); done; printf 'end' >&2; sleep 0.01; exit 1`;
  const error = await refused(runHook(hook(t, script)));
  const output = String(error.details["output"]);
  assert.match(output, /^\[955 bytes left out\] é+end$/);
  assert.ok(Buffer.byteLength(output) <= 2048 + 30);
});
