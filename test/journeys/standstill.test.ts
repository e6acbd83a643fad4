// FAULT-15: a server that stood still (SIGSTOP) ends no healthy agent as silent.

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

const workflow = (go: string) => `---
tracker: { kind: local }
polling: { interval_ms: 1000 }
agent: { kind: command, level: danger, silence_timeout_ms: 6000, max_turns: 1 }
command: { line: "until [ -e '${go}' ]; do sleep 0.2; done; echo done", output: text }
host: { min_memory: 0, max_load: 0 }
---
Work on {{ issue.title }}
`;

test("FAULT-15: a server that did not run for longer than its limit of silence leaves a quiet agent alone, and its poll goes through", async (t) => {
  const cwd = await mkdtemp(join(tmpdir(), "symphony-stood-"));
  t.after(() => rm(cwd, { recursive: true, force: true }));
  const place = {
    ...{ cwd, workflowPath: join(cwd, "WORKFLOW.md"), dataDir: join(cwd, ".symphony") },
    env: { HOME: cwd, SYMPHONY_TOKEN: "a-token-of-thirty-two-characters" },
  };
  const go = join(cwd, "go");
  await writeFile(place.workflowPath, workflow(go));
  await symphony(place, "issue", "create", "--title", "One");
  await using server = await Served.start(place, "--i-understand");
  const { client } = server;
  const detail = () => client.issues.detail({ params: { id: "LOCAL-1" } });
  await eventually("it works", async () => (await detail()).status === "running");
  server.child.kill("SIGSTOP");
  // The length of the standstill is what is tested: longer than the limit of silence.
  await delay(8_000);
  server.child.kill("SIGCONT");
  const polled = await symphony(place, "refresh", "--wait");
  assert.equal(polled.code, 0, polled.stderr);
  await writeFile(go, "");
  const [attempt] = await eventually("it has ended", async () => {
    const { attempts } = await client.issues.attempts({ params: { id: "LOCAL-1" } });
    return attempts.at(-1)?.ended_at == null ? null : attempts;
  });
  assert.equal(attempt?.status, "succeeded", server.log);
});
