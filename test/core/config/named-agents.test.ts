import assert from "node:assert/strict";
import { test } from "node:test";
import { agentsInUse, kindOf, modelOf, settingsOf } from "../../../src/core/config/config.ts";
import { checkOverlay } from "../../../src/core/config/overlay.ts";
import {
  type ConfigSources,
  inspectConfig,
  resolveConfig,
  toConfig,
} from "../../../src/core/config/resolve.ts";
import { sections } from "../../../src/core/kinds.ts";

const tracker = { kind: "local" };
const local = {
  kind: "openai",
  model: "qwen3-coder",
  provider: { base_url: "http://127.0.0.1:11434/v1", api_key: "none" },
};

function sourcesOf(workflow: object, more: Partial<ConfigSources> = {}): ConfigSources {
  return { workflow: { tracker, ...workflow }, env: {}, flags: {}, ...more };
}

function configOf(workflow: object, more: Partial<ConfigSources> = {}) {
  const { written, origins, warnings } = resolveConfig(sourcesOf(workflow, more), sections);
  return { config: toConfig(written, "/w", sections), origins, warnings };
}

function problemsOf(workflow: object) {
  return inspectConfig(sourcesOf(workflow), sections).problems.map(
    ({ path, message, severity = "error" }) => `${severity}: ${path}: ${message}`,
  );
}

test("an agent by name has its kind, its model and the settings of its provider", () => {
  const { config, warnings } = configOf({
    agents: { local, fast: "codex", claude: { model: "opus" } },
    agent: {
      use: "local",
      by_label: { docs: { use: "fast" } },
      by_state: { Rework: { use: "claude" } },
    },
    claude: { login: "api_key" },
  });
  assert.equal(config.agent.use, "local");
  assert.deepEqual(
    ["local", "fast", "claude", "acp"].map((name) => kindOf(config, name)),
    ["openai", "codex", "claude", "acp"],
  );
  assert.deepEqual(
    ["local", "fast", "claude", "openai"].map((name) => modelOf(config, name)),
    ["qwen3-coder", null, "opus", "gpt-5.5"],
  );
  const { baseUrl } = settingsOf(config, "local") as { baseUrl: string };
  assert.equal(baseUrl, "http://127.0.0.1:11434/v1");
  const { login } = settingsOf(config, "claude") as { login: string };
  assert.equal(login, "api_key", "the section of its kind holds, too");
  assert.deepEqual(settingsOf(config, "fast"), config.codex);
  assert.deepEqual(agentsInUse(config), ["local", "claude", "fast"]);
  assert.deepEqual(warnings, []);
});

test("an address of its own takes neither the key nor the headers of the section along", () => {
  const { config } = configOf({
    openai: { api_key: "$PAID_KEY", headers: { "x-team": "$TEAM" } },
    agents: {
      local: { kind: "openai", provider: { base_url: "http://127.0.0.1:1/v1" } },
      big: { kind: "openai", provider: { model: "gpt-5.5-pro" } },
    },
    agent: { use: "big" },
  });
  const of = (name: string) => settingsOf(config, name) as { apiKey: string; headers: object };
  assert.deepEqual([of("local").apiKey, of("local").headers], ["$OPENAI_API_KEY", {}]);
  assert.deepEqual([of("big").apiKey, of("big").headers], ["$PAID_KEY", { "x-team": "$TEAM" }]);
  assert.equal(modelOf(config, "big"), "gpt-5.5-pro");
});

test("layers are merged by agent and key; maps of a provider are replaced", () => {
  const provider = { ...local.provider, headers: { a: "1" } };
  const { config, origins } = configOf(
    { agents: { local: { ...local, provider } }, agent: { kind: "openai" } },
    {
      env: { SYMPHONY_AGENT__USE: "local" },
      overlay: { agents: { local: { model: "glm", provider: { headers: { b: "2" } } } } },
    },
  );
  assert.equal(modelOf(config, "local"), "glm");
  const { headers } = settingsOf(config, "local") as { headers: object };
  assert.deepEqual(headers, { b: "2" });
  assert.equal(origins["agents.local.model"], "overlay");
  assert.equal(origins["agents.local.provider.base_url"], "workflow");
  assert.equal(origins["agent.use"], "env");
});

test("what is wrong with an agent is said with its key", () => {
  assert.deepEqual(
    problemsOf({
      agents: {
        local: { kind: "openai", provider: { base_url: 7 } },
        robot: { model: "x" },
        codex: { kind: "claude" },
        "a b": "codex",
      },
    }),
    [
      "error: agents.a b: must be a name of letters, digits, - and _, such as local",
      "error: agents.local.provider.base_url: must be text",
      "error: agents.robot.kind: is required: codex, claude, openai, command or acp",
      "error: agents.codex.kind: must be codex: an agent with the name of a kind is of that kind",
    ],
  );
});

test("a key that names an agent must name one that there is", () => {
  const names = "must be local, codex, claude, openai, command or acp";
  assert.deepEqual(
    problemsOf({
      agents: { local },
      agent: {
        use: "lokal",
        fallback: ["codex", "clod"],
        by_label: { docs: { use: "gpt" } },
      },
    }),
    [
      `error: agent.use: ${names}`,
      `error: agent.fallback.1: ${names}`,
      `error: agent.by_label.docs.use: ${names}`,
    ],
  );
});

test("unknown keys are warnings in a file and errors in an overlay; agent.kind next to agent.use is said", () => {
  assert.deepEqual(
    problemsOf({
      agents: { local: { ...local, modell: "x", provider: { base_ulr: "http://127.0.0.1" } } },
      agent: { kind: "codex", use: "local" },
    }),
    [
      "warning: agents.local.modell: agents.local.modell is not a known key and is ignored; did you mean agents.local.model?",
      "warning: agents.local.provider.base_ulr: agents.local.provider.base_ulr is not a known key and is ignored; did you mean agents.local.provider.base_url?",
      "warning: agent.kind: agent.kind has no effect: agent.use is local",
    ],
  );
  assert.throws(
    () => checkOverlay({ agents: { local: { modell: "x" } } }, sections),
    /agents\.local\.modell is not a known key/,
  );
  assert.throws(
    () => checkOverlay({ agents: { local: { provider: { api_key: "sk-plain" } } } }, sections),
    /must name a secret/,
  );
  const provider = { ...local.provider, api_key: "$LOCAL_KEY" };
  const overlay = { agents: { local: { ...local, provider } }, agent: { use: "local" } };
  assert.doesNotThrow(() => checkOverlay(overlay, sections));
});
