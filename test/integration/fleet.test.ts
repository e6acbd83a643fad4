// The real agents on two workers, with a real redis-server between them and the server.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { startFakeModel } from "../support/fakes/fake-model.ts";
import { startFakeOpenai } from "../support/fakes/fake-openai.ts";
import { codexHome } from "../support/makers/codex-home.ts";
import { FleetWorld } from "../support/worlds/fleet.ts";
import { lane, launchBrowser, openPage } from "../support/worlds/page.ts";
import { realParts, realProgram } from "../support/worlds/real-agent.ts";
import { eventually, symphony } from "../support/worlds/symphony.ts";

const usage = { input: 100, output: 10 };

test("29, 30: the real codex works on a worker with that machine's program and login, asks and is answered; when the worker is removed in a turn, its thread continues on the other one, is guided there and moves the issue", async () => {
  const extra = { sandbox_permissions: "require_escalated", justification: "May I leave?" };
  await using model = await startFakeOpenai({
    models: ["gpt-5.5"],
    routes: [
      {
        when: { userText: "auth first" },
        steps: [
          { type: "call", name: "issue_move", arguments: { state: "Done" } },
          { type: "text", text: "All done.", usage },
        ],
      },
      {
        when: { userText: "was interrupted" },
        steps: [{ type: "shell", cmd: "touch up; until [ -e go ]; do sleep 0.1; done" }],
      },
    ],
    steps: [
      { type: "shell", cmd: 'touch "$HOME/escaped.txt"', extra },
      { type: "shell", cmd: "echo one > one.txt" },
      { type: "text", text: "The first turn is over.", usage },
      { type: "shell", cmd: "echo lost > two.txt; sleep 600" },
      { type: "hang", at: "created", sticky: true },
    ],
  });
  await using home = await codexHome(model.url);
  const section = `agent: { kind: codex, approvals: ask, max_turns: 3, max_retry_backoff_ms: 1000 }
codex: { command: '"${realProgram("SYMPHONY_CODEX")}" app-server', read_timeout_ms: 60000, env_passthrough: [FAKE_MODEL_KEY] }`;
  const under = dirname(home.path);
  await using world = await FleetWorld.open("", section, {
    under,
    workerEnv(name) {
      const own = join(under, `home-${name}`);
      mkdirSync(own);
      return { HOME: own, CODEX_HOME: home.path, FAKE_MODEL_KEY: "k" };
    },
  });
  await world.serve();
  const first = await world.worker("build-1");
  await world.issue();
  const of = () => world.client.issues.detail({ params: { id: "LOCAL-1" } });
  await eventually(
    "it asks",
    async () => {
      const inbox = await symphony(world.place, "inbox", "--json");
      return JSON.parse(inbox.stdout).items[0];
    },
    60_000,
  );
  const answered = await symphony(world.place, "respond", "LOCAL-1", "approve");
  assert.equal(answered.code, 0, answered.stderr);
  await eventually("it leaves", async () => existsSync(join(under, "home-build-1/escaped.txt")));
  const copy = (name: string) => join(world.dir, "workers", name, "workspaces", "LOCAL-1");
  await eventually(
    () => `its second turn: ${world.logs}`,
    async () => existsSync(join(copy("build-1"), "two.txt")),
    60_000,
  );
  const thread = (await of()).running?.thread_id;
  const second = await world.worker("build-2");
  assert.equal((await symphony(world.place, "workers", "remove", "build-1")).code, 0);
  await eventually(
    () => `it continues: ${world.logs}`,
    async () => existsSync(join(copy("build-2"), "up")),
    60_000,
  );
  assert.equal((await of()).running?.thread_id, thread);
  // The page names the worker in the row, and lists the workers.
  const browser = await launchBrowser();
  try {
    const { page } = await openPage(browser, world.server?.url ?? "");
    await lane(page, "running").getByText("codex on build-2").waitFor();
    await page.getByRole("link", { name: "Overview" }).click();
    await page
      .locator("#workers li")
      .getByText(/^ready · 1 of \d+ running$/)
      .waitFor();
  } finally {
    await browser.close();
  }
  // What the turn that was lost had written is not there; what the turn that ended had written is.
  assert.equal(readFileSync(join(copy("build-2"), "one.txt"), "utf8"), "one\n");
  assert.ok(!existsSync(join(copy("build-2"), "two.txt")));
  const steered = await symphony(world.place, "steer", "LOCAL-1", "auth first");
  assert.equal(steered.code, 0, steered.stderr);
  writeFileSync(join(copy("build-2"), "go"), "");
  const done = await eventually(
    () => `the issue is done: ${world.logs}`,
    async () => {
      const detail = await of();
      return detail.issue.state === "Done" && detail.running === null ? detail : null;
    },
    60_000,
  );
  const requests = await model.requests();
  assert.equal(new Set(requests.map(({ body }) => body.prompt_cache_key)).size, 1);
  assert.match(JSON.stringify(requests.at(-1)?.body), /The first turn is over.*auth first/s);
  const { attempts } = await world.client.issues.attempts({ params: { id: "LOCAL-1" } });
  assert.deepEqual(
    attempts.map(({ worker_host, status }) => [worker_host, status]),
    [
      ["build-2", "succeeded"],
      ["build-1", "failed"],
    ],
  );
  assert.equal(done.running, null);
  // A person continues the thread where the server is.
  const records = readdirSync(join(world.dir, ".symphony", "codex"), { recursive: true });
  assert.ok(
    records.some((name) => String(name).endsWith(`${thread}.jsonl`)),
    records.join("\n"),
  );
});

test("29, 30: the real Claude Code on two workers: when the first is removed in a turn, its session continues on the other one and moves the issue", async () => {
  await using model = await startFakeModel("fake-anthropic", {
    routes: [
      {
        when: { userText: "was interrupted" },
        steps: [
          { type: "bash", cmd: "cat one.txt > three.txt", usage },
          { type: "tool", name: "mcp__tracker__issue_move", input: { state: "Done" }, usage },
          { type: "text", text: "All done.", usage },
        ],
      },
      {
        when: { userText: "This is turn #2" },
        steps: [{ type: "bash", cmd: "echo lost > two.txt; sleep 600", usage }],
      },
    ],
    steps: [
      { type: "bash", cmd: "echo one > one.txt", usage },
      { type: "text", text: "The first turn is over.", usage },
    ],
  });
  const section = `agent: { kind: claude, level: networked, max_turns: 3, max_retry_backoff_ms: 1000 }
claude: { command: '${realProgram("SYMPHONY_CLAUDE")}', login: api_key, env_passthrough: [ANTHROPIC_BASE_URL] }`;
  await using world = await FleetWorld.open("", section, {
    workerEnv: () => ({
      ANTHROPIC_API_KEY: "sk-claude-of-the-worker-0123456789",
      ANTHROPIC_BASE_URL: model.url,
    }),
  });
  await world.serve();
  const first = await world.worker("build-1");
  await world.issue();
  const copy = (name: string) => join(world.dir, "workers", name, "workspaces", "LOCAL-1");
  await eventually(
    () => `its second turn: ${world.logs}`,
    async () => existsSync(join(copy("build-1"), "two.txt")),
    60_000,
  );
  const second = await world.worker("build-2");
  assert.equal((await symphony(world.place, "workers", "remove", "build-1")).code, 0);
  const attempts = await eventually(
    () => `it is done: ${world.logs}`,
    async () => {
      const found = await world.client.issues.attempts({ params: { id: "LOCAL-1" } });
      return found.attempts[0]?.status === "succeeded" ? found.attempts : null;
    },
    60_000,
  );
  assert.deepEqual(
    attempts.map(({ worker_host, status }) => [worker_host, status]),
    [
      ["build-2", "succeeded"],
      ["build-1", "failed"],
    ],
  );
  assert.equal(attempts[0]?.thread_id, attempts[1]?.thread_id);
  const { workspace, issue } = await world.client.issues.detail({ params: { id: "LOCAL-1" } });
  assert.equal(issue.state, "Done");
  assert.equal(readFileSync(join(String(workspace.path), "three.txt"), "utf8"), "one\n");
});

test("29, 30: the real gemini on two workers: it asks and is answered, and when the first is removed in a turn, the other one begins a new thread, with the tracker's tools", async () => {
  const { command, config, env } = realParts.gemini;
  await using model = await startFakeModel("fake-llm", [
    { type: "bash", cmd: "echo lost > two.txt; sleep 600", usage },
    { type: "tool", name: "mcp_tracker_issue_move", input: { state: "Done" }, usage },
    { type: "text", text: "All done.", usage },
  ]);
  const variables = env(model.url);
  const acp = {
    command: command(realProgram("SYMPHONY_GEMINI")),
    auth_method: config.authMethod,
    env_passthrough: Object.keys(variables),
    writable_paths: ["~/.gemini"],
  };
  const section = `agent: { kind: acp, level: networked, approvals: ask, max_retry_backoff_ms: 1000 }
acp: ${JSON.stringify(acp)}`;
  const home = await mkdtemp(join(tmpdir(), "symphony-gemini-"));
  await using _ = { [Symbol.asyncDispose]: () => rm(home, { recursive: true, force: true }) };
  await using world = await FleetWorld.open("", section, {
    workerEnv(name) {
      const own = join(home, name);
      mkdirSync(join(own, ".gemini"), { recursive: true });
      return {
        HOME: own,
        PATH: `${dirname(process.execPath)}:${process.env["PATH"]}`,
        ...variables,
      };
    },
  });
  await world.serve();
  const first = await world.worker("build-1");
  await world.issue();
  await eventually(
    () => `it asks: ${world.logs}`,
    async () => (await symphony(world.place, "respond", "LOCAL-1", "approve")).code === 0,
    60_000,
  );
  const written = join(world.dir, "workers", "build-1", "workspaces", "LOCAL-1", "two.txt");
  await eventually("its turn", async () => existsSync(written), 60_000);
  const second = await world.worker("build-2");
  assert.equal((await symphony(world.place, "workers", "remove", "build-1")).code, 0);
  const attempts = await eventually(
    () => `it is done: ${world.logs}`,
    async () => {
      const found = await world.client.issues.attempts({ params: { id: "LOCAL-1" } });
      return found.attempts[0]?.status === "succeeded" ? found.attempts : null;
    },
    60_000,
  );
  assert.deepEqual(
    attempts.map(({ worker_host, status }) => [worker_host, status]),
    [
      ["build-2", "succeeded"],
      ["build-1", "failed"],
    ],
  );
  assert.notEqual(attempts[0]?.thread_id, attempts[1]?.thread_id);
  const { issue } = await world.client.issues.detail({ params: { id: "LOCAL-1" } });
  assert.equal(issue.state, "Done");
});
