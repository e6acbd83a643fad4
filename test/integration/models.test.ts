import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { createCodexRuntime } from "../../src/core/agent/codex/runtime.ts";
import { agentKinds } from "../../src/core/agent/kinds.ts";
import { ModelList } from "../../src/core/agent/models.ts";
import { systemClock } from "../../src/core/clock.ts";
import { liveProcesses } from "../../src/core/process/table.ts";
import { startFakeOpenai } from "../support/fakes/fake-openai.ts";
import { codexHome } from "../support/makers/codex-home.ts";
import { config } from "../support/makers/issue.ts";
import { freshProject, openReal } from "../support/worlds/real-server.ts";
import { Bench } from "../support/worlds/scripted-agent.ts";

const codex = process.env["SYMPHONY_CODEX"] ?? "";

test("an OpenAI-compatible provider lists its models", async () => {
  await using openai = await startFakeOpenai({ models: ["fake-a", "fake-b"], steps: [] });
  const settings = config({
    agent: { use: "openai" },
    openai: { baseUrl: openai.url, apiKey: "$KEY" },
  });
  const list = new ModelList({
    kinds: agentKinds,
    ...{ clock: systemClock, version: "1.2.3", env: {}, runId: "models-it/models" },
    config: () => settings,
    lookup: () => "any-key",
    secretEnvNames: () => [],
  });
  const { models } = await list.list();
  assert.deepEqual(
    models.map(({ id, ownedBy, createdAt }) => [id, ownedBy, createdAt]),
    [
      ["fake-a", "fake", null],
      ["fake-b", "fake", null],
    ],
  );
});

test("the real codex lists its models, and none of its processes is left", async () => {
  assert.ok(existsSync(codex), "set SYMPHONY_CODEX to the codex binary");
  await using home = await codexHome("http://127.0.0.1:9/v1");
  // A provider of its own would be asked instead.
  await writeFile(join(home.path, "config.toml"), "");
  const settings = config({
    codex: { command: `"${codex}" app-server`, readTimeoutMs: 30_000 },
  });
  const runId = `models-it-${process.pid}/models`;
  const list = new ModelList({
    kinds: agentKinds,
    ...{ clock: systemClock, version: "1.2.3", runId },
    env: { PATH: process.env["PATH"], HOME: home.userHome, CODEX_HOME: home.path },
    config: () => settings,
    lookup: () => undefined,
    secretEnvNames: () => [],
  });
  const { models, provider } = await list.list();
  assert.deepEqual(provider, { kind: "codex", baseUrl: null, list: "agent" });
  assert.ok(models.length > 3 && models.some(({ id }) => id === "gpt-5.5"), JSON.stringify(models));
  assert.equal((await liveProcesses()).filter((entry) => entry.runId === runId).length, 0);
});

test("the reasoning effort of a turn arrives at the provider", async () => {
  assert.ok(existsSync(codex), "set SYMPHONY_CODEX to the codex binary");
  await using openai = await startFakeOpenai([
    { type: "text", text: "a" },
    { type: "text", text: "b" },
    { type: "text", text: "c" },
  ]);
  await using home = await codexHome(openai.url);
  const bench = new Bench(home.workspaces, {});
  await mkdir(bench.workspace);
  const { codex: base } = config({ codex: { command: `"${codex}" app-server` } });
  const runtime = createCodexRuntime({
    config: () => ({ ...base, readTimeoutMs: 30_000, envPassthrough: ["FAKE_MODEL_KEY"] }),
    clock: systemClock,
    env: {
      ...{ PATH: process.env["PATH"], HOME: home.userHome },
      ...{ CODEX_HOME: home.path, FAKE_MODEL_KEY: "k" },
    },
  });
  await using session = await runtime.start(bench.spec(), new AbortController().signal);
  await session.turn("go", { model: "gpt-5.5", effort: "high" });
  await session.turn("go", { model: "gpt-5.5", effort: "low" });
  await session.turn("go", { model: "gpt-5.5" });
  const efforts = (await openai.requests()).map(({ model, body }) => [
    model,
    Object(Object(body)["reasoning"])["effort"],
  ]);
  assert.deepEqual(efforts, [
    ["gpt-5.5", "high"],
    ["gpt-5.5", "low"],
    ["gpt-5.5", "low"],
  ]);
});

test("the effort of POST :id/model reaches the provider, and the issue shows it", async () => {
  await using openai = await startFakeOpenai({ steps: [], onEnd: "text" });
  await using home = await codexHome(openai.url);
  const command = JSON.stringify(`"${codex}" app-server`);
  await using project = await freshProject({
    workflow: `---
tracker: { kind: local, required_labels: [ready] }
workspace: { root: ${JSON.stringify(home.workspaces)} }
agent: { max_turns: 1 }
codex: { command: ${command}, read_timeout_ms: 30000, env_passthrough: [FAKE_MODEL_KEY] }
---
Work on {{ issue.title }}
`,
  });
  const env = { HOME: home.userHome, CODEX_HOME: home.path, FAKE_MODEL_KEY: "k" };
  await using server = await openReal(project.dir, { env });
  const { identifier } = server.core.localIssues()?.create({ title: "Do it" }) ?? assert.fail();
  const body = { model: "gpt-5.5", reasoning_effort: "high" };
  const chosen = await server.ask(`/api/v1/${identifier}/model`, { method: "POST", body });
  assert.equal(chosen.status, 200, chosen.text);
  const detail = (await server.ask(`/api/v1/${identifier}`)).json();
  assert.partialDeepStrictEqual(detail.overrides, body);
  const received = Promise.withResolvers<void>();
  server.core.bus.subscribe({ filter: { types: ["agent.message"] } }, () => received.resolve());
  server.core.localIssues()?.edit(identifier, { labels: ["ready"] });
  await received.promise;
  const [first] = await openai.requests();
  assert.deepEqual(
    [first?.model, Object(Object(first?.body)["reasoning"])["effort"]],
    ["gpt-5.5", "high"],
  );
});
