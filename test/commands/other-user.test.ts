import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chown, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { asOther, linesAsOther, noOtherUser, otherUid } from "../support/makers/other-user.ts";
import { symphonyFile } from "../support/makers/program.ts";
import { freshProject } from "../support/worlds/real-server.ts";
import { eventually, symphony } from "../support/worlds/symphony.ts";

test("THREAT-6: root needs the token for another user's server, and symphony commands run by root send it", {
  skip: noOtherUser,
}, async () => {
  await using project = await freshProject();
  const dataDir = join(project.dir, ".symphony");
  await chown(project.dir, otherUid, otherUid);
  const [command, args] = asOther([
    symphonyFile,
    "serve",
    join(project.dir, "WORKFLOW.md"),
    "--port",
    "0",
  ]);
  const env = { PATH: process.env["PATH"], HOME: project.dir };
  const server = spawn(command, args, { env, stdio: "ignore" });
  const ended = once(server, "exit");
  try {
    const url = await eventually("the server answers", async () => {
      const text = await readFile(join(dataDir, "runtime.json"), "utf8").catch(() => "{}");
      return JSON.parse(text).url;
    });
    assert.equal((await fetch(`${url}/api/v1/state`)).status, 401);
    const answer = await symphony({ dataDir }, "runtime", "--json");
    assert.equal(answer.code, 0, answer.stderr);
    assert.equal(JSON.parse(answer.stdout).pid, server.pid);
    const own = `const { status } = await fetch("${url}/api/v1/state"); process.stdout.write(String(status));`;
    assert.deepEqual(await linesAsOther(["--input-type=module", "--eval", own]), ["200"]);
  } finally {
    server.kill("SIGTERM");
  }
  assert.deepEqual(await ended, [0, null]);
});
