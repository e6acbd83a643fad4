// "S31" is a row of the inputs to the scheduler and the configuration that went wrong.

import assert from "node:assert/strict";
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { providerIn } from "../../../src/core/agent/codex/provider.ts";
import { agentKinds } from "../../../src/core/agent/kinds.ts";
import { ModelNames } from "../../../src/core/agent/model-names.ts";
import { agentsInUse, type Config } from "../../../src/core/config/config.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { sendJson, startProvider } from "../../support/fakes/provider.ts";
import { config } from "../../support/makers/issue.ts";
import { bench } from "../../support/worlds/scripted-agent.ts";

const listing = { data: [{ id: "gpt-5.5" }, { id: "local" }] };

function checker(env: Readonly<Record<string, string>> = {}) {
  const clock = new FakeClock();
  const names = new ModelNames({
    kinds: agentKinds,
    ...{ clock, version: "1.2.3", runId: "model-names-test", secretEnvNames: () => [] },
    env: { PATH: process.env["PATH"], HOME: "/nonexistent", ...env },
    lookup: (name) => env[name],
  });
  const told = async (settings: Config) => {
    const found = await Promise.all(
      agentsInUse(settings).map((agent) => names.problems(agent, settings)),
    );
    return found.flat().map(({ message }) => message);
  };
  return { clock, told };
}

test("S31: each model that the configuration names is compared with its provider's list", async () => {
  await using provider = await startProvider((_, answer) => sendJson(answer, 200, listing));
  const { told } = checker({ OPENAI_API_KEY: "sk-canary" });
  const pick = (model: string) => ({ agent: null, model, effort: null });
  const settings = config({
    agent: {
      use: "openai",
      byState: new Map([["review", pick("lcoal")]]),
      byLabel: new Map([["hard", pick("gpt-5.5")]]),
    },
    openai: { baseUrl: provider.url, model: "gpt-55" },
  });
  assert.deepEqual(await told(settings), [
    `openai.model: "gpt-55" is not among the models of openai, ${provider.url}; did you mean gpt-5.5?`,
    `agent.by_state.review.model: "lcoal" is not among the models of openai, ${provider.url}; did you mean local?`,
  ]);
  assert.equal(provider.requests.length, 1, "the list is kept between checks");
  const general = config({ ...settings, agent: { ...settings.agent, model: "opus" } });
  const [first] = await told(general);
  assert.match(first ?? "", /^agent\.model: "opus" is not among the models of openai, [^;]*$/);
  assert.equal(provider.requests.length, 1);
  const big = { kind: "openai", model: "lokal", effort: null, settings: settings.openai };
  const withName = { ...config({ agent: { use: "big" } }), agents: new Map([["big", big]]) };
  assert.deepEqual(await told(withName), [
    `agents.big.model: "lokal" is not among the models of big, ${provider.url}; did you mean local?`,
  ]);
});

test("S31: a list that cannot be had says nothing, and is asked for again later", async () => {
  let status = 500;
  await using provider = await startProvider((_, answer) => sendJson(answer, status, listing));
  const { clock, told } = checker({ OPENAI_API_KEY: "sk-canary" });
  const openai = { baseUrl: provider.url, model: "gtp-5.5" };
  const settings = config({ agent: { use: "openai" }, openai });
  assert.deepEqual(await told(settings), []);
  status = 200;
  assert.deepEqual(await told(settings), []);
  clock.advance(600_000);
  assert.equal((await told(settings)).length, 1);
  assert.equal(clock.pending, 0);
});

test("S31: codex's own list is compared for typing errors only, and no program starts without a name", async () => {
  await using scripted = await bench([[{ do: "say", text: "hi" }]]);
  const { told } = checker();
  const codex = (model: string | null, command = scripted.command) =>
    config({ agent: { use: "codex" }, codex: { command, model } });
  assert.deepEqual(await told(codex("scriptd")), [
    'codex.model: "scriptd" is not among the models of codex; did you mean scripted?',
  ]);
  assert.deepEqual(await told(codex("another-one-entirely")), []);
  assert.deepEqual(await told(codex(null, "exit 1; touch /nonexistent/started")), []);
  const line = `true -c model=scripetd; ${scripted.command}`;
  assert.deepEqual(await told(codex(null, line)), [
    'codex: "scripetd" is not among the models of codex; did you mean scripted?',
  ]);
});

test("S31: a provider that the command line of codex chooses is the one that is asked", async () => {
  await using provider = await startProvider((_, answer) => sendJson(answer, 200, listing));
  await using home = await mkdtempDisposable(join(tmpdir(), "symphony-codex-"));
  await writeFile(
    join(home.path, "config.toml"),
    `[model_providers.mine]\nbase_url = "${provider.url}"\nenv_key = "MINE_KEY"\n`,
  );
  const { told } = checker({ CODEX_HOME: home.path, MINE_KEY: "sk-mine-canary" });
  const command = `codex -c model_provider=mine app-server --config 'model="loca"'`;
  assert.deepEqual(await told(config({ agent: { use: "codex" }, codex: { command } })), [
    `codex: "loca" is not among the models of codex, ${provider.url}; did you mean local?`,
  ]);
  assert.equal(provider.requests[0]?.headers.authorization, "Bearer sk-mine-canary");
});

test("S31: the options of codex's command line lie over its file, and an older profile over both", () => {
  const file = `model = "base"
model_provider = "one"
[model_providers.one]
base_url = "https://one.example/v1"
[model_providers.two]
base_url = "https://two.example/v1"
[profiles.slow]
model = "deep"
model_provider = "two"
`;
  const read = (command: string, withProfile = false) => {
    const { baseUrl, model } = providerIn(file, { command, withProfile });
    return [baseUrl, model];
  };
  assert.deepEqual(read("codex app-server"), ["https://one.example/v1", "base"]);
  assert.deepEqual(read("codex app-server -c model_provider=two -c 'model=\"x y\"'"), [
    "https://two.example/v1",
    "x y",
  ]);
  assert.deepEqual(read("exec codex --config=model=a --config model=b app-server"), [
    "https://one.example/v1",
    "b",
  ]);
  const own = "codex -cmodel_provider=three -c model_providers.three.base_url=https://three/v1";
  assert.deepEqual(read(own), ["https://three/v1", "base"]);
  assert.deepEqual(read("codex -c profile=slow", true), ["https://two.example/v1", "deep"]);
  assert.deepEqual(read("codex -c profile=slow"), ["https://one.example/v1", "base"]);
});
