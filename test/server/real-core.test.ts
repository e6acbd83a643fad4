import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { systemClock } from "../../src/core/clock.ts";
import { createLogger } from "../../src/core/events/log.ts";
import { createCore } from "../../src/core/start.ts";
import { createRedactor } from "../../src/core/text/redact.ts";
import { createApp } from "../../src/server/app.ts";
import { listen } from "../../src/server/listen.ts";
import { EventReader } from "../support/fakes/event-reader.ts";
import { freshProject, openReal } from "../support/worlds/real-server.ts";
import { send } from "../support/worlds/server.ts";

const workflow = `---
tracker: { kind: local, required_labels: [ready] }
workspace: { root: workspaces }
---
Work on {{ issue.title }}
`;

test("over the whole API with the real core an issue is created, shown, published as an event, and not started", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "symphony-server-"));
  const workflowPath = join(dataDir, "WORKFLOW.md");
  await writeFile(workflowPath, workflow);
  const redactor = createRedactor();
  const clock = systemClock;
  const redact = (text: string) => redactor.redact(text);
  const log = createLogger({ level: "error", format: "logfmt", sinks: [], clock, redact });
  const version = "1.2.3";
  const flags = {};
  const core = await createCore({
    version,
    workflowPath,
    dataDir,
    env: { PATH: process.env["PATH"] },
    flags,
    clock,
    log,
    redactor,
  });
  const host = "127.0.0.1";
  const app = createApp(core, { clock, host, token: null });
  const server = await listen(app, {
    host,
    port: 0,
    dataDir,
    token: null,
    version,
    workflowPath,
    clock,
  });
  try {
    await core.start();
    await using reader = await EventReader.open(server.port, "?since=0");
    const body = { title: "Not yet", state: "Todo" };
    const created = await send(server.port, "/api/v1/issues", { method: "POST", body });
    assert.equal(created.status, 201);
    await send(server.port, "/api/v1/refresh", { method: "POST" });
    await reader.until(({ messages }) => messages.some(({ event }) => event === "server.started"));
    const detail = await send(server.port, "/api/v1/local-1");
    const { status, issue } = api.issues.detail.reply.parse(detail.json());
    assert.deepEqual([status, issue.title], [null, "Not yet"]);
    const state = await send(server.port, "/api/v1/state");
    assert.equal(api.system.state.reply.parse(state.json()).counts.running, 0);
    await core.stop();
    await reader.until(({ messages }) => messages.at(-1)?.event === "server.stopping");
    const after = await send(server.port, "/api/v1/local-1/attempts");
    assert.equal(after.status, 503);
  } finally {
    await server.close();
    await core.stop();
    await rm(dataDir, { recursive: true });
  }
});

test("D8: with 1,000 issues that wait, polls write nothing to the log", async () => {
  const front = "{ tracker: { kind: local, required_labels: [ready] }, workspace: { root: ws } }";
  await using project = await freshProject({ workflow: `---\n${front}\n---\nWork\n` });
  await using server = await openReal(project.dir, { env: { HOME: project.dir } });
  for (let number = 1; number <= 1_000; number++) {
    server.core.localIssues()?.create({ title: `Issue ${number}` });
  }
  const poll = () => server.ask("/api/v1/refresh?wait=true", { method: "POST", body: {} });
  const first = await poll();
  assert.ok(first.status < 300, first.text);
  const told = () => server.logged.filter((line) => !line.includes('"level":"debug"')).length;
  const before = told();
  for (let count = 0; count < 10; count++) await poll();
  assert.equal(told(), before);
});
