import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { symphonyFile } from "../support/makers/program.ts";
import { freshProject, openReal, type RealServer } from "../support/worlds/real-server.ts";
import { symphony } from "../support/worlds/run-symphony.ts";
import { eventually } from "../support/worlds/symphony.ts";

test("two operators who set and unset at the same time lose no change", async () => {
  await using project = await freshProject();
  await using server = await openReal(project.dir);
  await server.core.config.changeOverlay(() => ({ "x-gone": 1, "x-kept": 1 }));
  const overlay = (...args: string[]) =>
    symphony(["config", "overlay", ...args, "--url", server.url]);
  const [first, second] = [
    [1, 2, 3],
    [4, 5, 6],
  ].map(async (numbers) => {
    for (const n of numbers) {
      const { code, stderr } = await overlay("set", `x-${n}`, String(n));
      assert.equal(code, 0, stderr);
    }
  });
  const unset = overlay("unset", "x-gone");
  await Promise.all([first, second, unset]);
  const expected = { "x-kept": 1, "x-1": 1, "x-2": 2, "x-3": 3, "x-4": 4, "x-5": 5, "x-6": 6 };
  assert.deepEqual({ ...server.core.config.overlay }, expected);
});

/** Starts `replace -` and, without options, waits until it has read the overlay; the result sends its input. */
async function replacing(server: RealServer, options: readonly string[]) {
  const before = await overlayReads(server);
  const child = spawn(
    process.execPath,
    [symphonyFile, "config", "overlay", "replace", "-", "--url", server.url, ...options],
    { env: { PATH: process.env["PATH"] }, stdio: ["pipe", "ignore", "pipe"] },
  );
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    stderr += chunk;
  });
  if (options.length === 0) {
    await eventually("the overlay is read", async () => (await overlayReads(server)) > before);
  }
  return async (text: string) => {
    const closed = once(child, "close");
    child.stdin.end(text);
    const [code] = await closed;
    return { code, stderr };
  };
}

async function overlayReads(server: RealServer): Promise<number> {
  const { text } = await server.ask("/metrics");
  const line = text.split("\n").find((one) => {
    const wanted = ["_request_duration_seconds_count", 'method="GET"', "/api/v1/config/overlay"];
    return wanted.every((part) => one.includes(part));
  });
  return Number(line?.split(" ").at(-1) ?? 0);
}

test("replace never removes what another operator set meanwhile, unless it is forced", async () => {
  await using project = await freshProject();
  await using server = await openReal(project.dir);
  const set = () => server.core.config.changeOverlay((now) => ({ ...now, "x-theirs": 1 }));
  const finish = await replacing(server, []);
  await set();
  const lost = await finish('{"x-mine": 1}');
  assert.equal(lost.code, 7, lost.stderr);
  assert.match(lost.stderr, /the overlay was changed after it was read/);
  assert.deepEqual({ ...server.core.config.overlay }, { "x-theirs": 1 });
  const alone = await replacing(server, []);
  assert.equal((await alone('{"x-mine": 1}')).code, 0);
  const forced = await replacing(server, ["--force"]);
  await set();
  assert.equal((await forced('{"x-mine": 2}')).code, 0);
  assert.deepEqual({ ...server.core.config.overlay }, { "x-mine": 2 });
});

test("server.auth of an overlay takes effect at the next start, so no client is locked out by a token that does not exist yet", async () => {
  await using project = await freshProject();
  await using server = await openReal(project.dir);
  const set = ["config", "overlay", "set", "server.auth", "token", "--url", server.url];
  const done = await symphony(set);
  assert.equal(done.code, 0, done.stderr);
  assert.match(done.stderr, /takes effect at the next start/);
  const runtime = await server.ask("/api/v1/runtime");
  assert.deepEqual([runtime.status, runtime.json().server.auth], [200, "none"]);
  const unset = ["config", "overlay", "unset", "server.auth", "--url", server.url];
  assert.equal((await symphony(unset)).code, 0);
});
