import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { prepareCopy } from "../../src/commands/worker-process.ts";

test("fleet.prepare sees the copy alone: neither the worker's key, nor its variables, nor those of other processes", async () => {
  const dir = mkdtempSync(join(tmpdir(), "symphony-prepare-"));
  const path = join(dir, "workspaces", "LOCAL-1");
  mkdirSync(path, { recursive: true });
  writeFileSync(join(dir, "worker.json"), "key-of-the-worker");
  writeFileSync(join(path, "own"), "file of the copy");
  const variables = { FLEET_URL: "redis://u:engine-password@h", OPENAI_API_KEY: "key-of-provider" };
  const env = { PATH: process.env["PATH"], HOME: process.env["HOME"], ...variables };
  const line = `cat own '${dir}/worker.json'; env; cat /proc/[0-9]*/environ; echo made > made; false`;
  const output = await prepareCopy(
    line,
    {
      ...{ path, runId: "prepared/A-1", timeoutMs: 60_000, signal: new AbortController().signal },
      spec: { level: "safe", secretEnvNames: [] },
      tell() {},
    },
    { dir, env },
  );
  assert.match(output ?? "", /file of the copy/);
  assert.match(output ?? "", /worker\.json: No such file/);
  assert.doesNotMatch(output ?? "", /key-of|engine-password/);
  rmSync(dir, { recursive: true });
});
