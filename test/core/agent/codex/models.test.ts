import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { askCodex } from "../../../../src/core/agent/codex/models.ts";
import { systemClock } from "../../../../src/core/clock.ts";
import { runCookie } from "../../../../src/core/process/environment.ts";
import { runIdOf } from "../../../../src/core/process/table.ts";
import { temporaryDir } from "../../../support/makers/storage.ts";
import { codexConfig } from "../../../support/worlds/scripted-agent.ts";

const wireAgent = fileURLToPath(
  new URL("../../../support/fakes/wire-agent-main.ts", import.meta.url),
);

test("a list of models ends no other program that is asked at the same time", async (t) => {
  const dir = temporaryDir(t);
  const runId = runIdOf(dir, "models");
  const other = spawn("sh", ["-c", "echo; exec sleep 600"], {
    stdio: ["ignore", "pipe", "ignore"],
    env: { PATH: process.env["PATH"], [runCookie]: `${runId}/claude-1` },
  });
  t.after(() => other.kill("SIGKILL"));
  await once(other.stdout, "data");
  const reactions = join(dir, "reactions.json");
  const answer = { send: { id: "$id", result: { data: [{ model: "gpt-of-the-test" }] } } };
  writeFileSync(reactions, JSON.stringify({ "model/list": [answer] }));
  const command = [process.execPath, wireAgent, reactions, join(dir, "received")].join(" ");
  const models = await askCodex(
    { ...codexConfig, command },
    {
      ...{ clock: systemClock, version: "1", env: process.env, runId },
      secretEnvNames: () => [],
    },
    new AbortController().signal,
  );
  assert.deepEqual(
    models.map(({ id }) => id),
    ["gpt-of-the-test"],
  );
  assert.equal(other.exitCode ?? other.signalCode, null);
  other.kill("SIGTERM");
  assert.deepEqual(await once(other, "exit"), [null, "SIGTERM"]);
});
