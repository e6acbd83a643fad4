// A fleet whose hosts have networks of their own (`npm run hosts`), its short form.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { eventually, finished } from "../support/worlds/symphony.ts";

const program = fileURLToPath(new URL("../proof/hosts.ts", import.meta.url));

async function place(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "symphony-short-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

test("4: hosts that are unplugged, deaf or mute end their agents before the lease of each ends, the work runs elsewhere, once, and they work on afterwards; the same without the server", async (t) => {
  const dir = await place(t);
  const env = { ...process.env, TMPDIR: dir };
  const { code, stdout, stderr } = await finished(
    spawn(process.execPath, [program, "--short"], { env }),
  );
  if (code === 2 && !process.env["CI"]) return t.skip(stderr);
  assert.equal(code, 0, `${stdout}${stderr}`);
  assert.match(stdout, /ok a worker unplugged, one deaf, one mute .*before their lease/);
  assert.match(stdout, /ok the server cut off .*before their lease/);
  assert.deepEqual(await readdir(dir), []);
});

test("an interrupt leaves neither files nor processes nor namespaces of the hosts", async (t) => {
  const dir = await place(t);
  const child = spawn(process.execPath, [program], { env: { ...process.env, TMPDIR: dir } });
  let said = "";
  child.stdout.on("data", (part: Buffer) => {
    said += part;
  });
  const isReady = async () => said.includes("hosts: server") || child.exitCode === 2;
  await eventually("the hosts are there", isReady, 120_000);
  if (child.exitCode === 2 && !process.env["CI"]) return t.skip("no namespaces can be made here");
  child.kill("SIGINT");
  await once(child, "close");
  assert.equal(child.exitCode, 130);
  assert.deepEqual(await readdir(dir), []);
  assert.equal((await finished(spawn("pgrep", ["-f", dir]))).stdout, "");
});

test("where no namespaces may be made it says so, and what it needs", async (t) => {
  const dir = await place(t);
  const none = 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"';
  const line = ["--user", "--map-root-user", "sh", "-c", none, "sh", process.execPath, program];
  const { code, stderr } = await finished(
    spawn("unshare", line, { env: { ...process.env, TMPDIR: dir } }),
  );
  assert.equal(code, 2, stderr);
  assert.match(stderr, /^hosts: this machine does not allow network namespaces: .*\nnext: run it/);
});
