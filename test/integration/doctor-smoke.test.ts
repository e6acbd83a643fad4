// `symphony doctor --smoke` with the real programs and the built-in agent, whose providers follow a script.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { startFakeModel } from "../support/fakes/fake-model.ts";
import { realParts } from "../support/worlds/real-agent.ts";
import { symphony } from "../support/worlds/symphony.ts";

const ok = { type: "text", text: "OK", usage: { input: 100, output: 10 } };

interface Agent {
  readonly program: string | null;
  /** Without it that of the row's name, at level `safe`. */
  readonly agent?: { readonly kind: string; readonly level: string };
  readonly fake: "fake-openai" | "fake-anthropic" | "fake-llm";
  readonly script: unknown;
  /** Its section of the workflow file. */
  readonly section: (program: string, url: string) => object;
  readonly env: (home: string, url: string) => Readonly<Record<string, string>>;
}

const agents: Readonly<Record<string, Agent>> = {
  codex: {
    program: process.env["SYMPHONY_CODEX"] ?? "",
    fake: "fake-openai",
    script: { models: ["gpt-5.5"], steps: [ok] },
    section: (program) => ({ command: `"${program}" app-server`, read_timeout_ms: 60_000 }),
    env(home, url) {
      mkdirSync(join(home, ".codex"));
      writeFileSync(join(home, ".codex/auth.json"), '{"OPENAI_API_KEY":"sk-test-0123456789"}\n');
      const provider = `name = "Own"\nbase_url = ${JSON.stringify(url)}\nwire_api = "responses"\nexperimental_bearer_token = "k"\n`;
      writeFileSync(
        join(home, ".codex/config.toml"),
        `model = "gpt-5.5"\nmodel_provider = "own"\n\n[model_providers.own]\n${provider}`,
      );
      return {};
    },
  },
  claude: {
    program: process.env["SYMPHONY_CLAUDE"] ?? "",
    fake: "fake-anthropic",
    script: { steps: [{ type: "text", text: "OK" }] },
    section: (command) => ({ command, env_passthrough: ["ANTHROPIC_BASE_URL"] }),
    env: (_, url) => ({ ANTHROPIC_BASE_URL: url, ANTHROPIC_API_KEY: "sk-ant-0123456789" }),
  },
  openai: {
    program: null,
    fake: "fake-openai",
    script: { models: ["gpt-5.5"], steps: [ok] },
    section: (_, url) => ({ base_url: url, model: "gpt-5.5" }),
    env: () => ({ OPENAI_API_KEY: "sk-test-0123456789" }),
  },
  "claude-agent-acp": {
    program: process.env[realParts.claude.variable] ?? "",
    agent: { kind: "acp", level: "networked" },
    fake: "fake-anthropic",
    script: { steps: [{ type: "text", text: "OK" }] },
    section: (program, url) => ({
      command: realParts.claude.command(program),
      env_passthrough: Object.keys(realParts.claude.env(url, "")),
      writable_paths: ["$CLAUDE_CONFIG_DIR"],
    }),
    env: (home, url) => realParts.claude.env(url, home),
  },
};

for (const [name, { program, agent, fake, script, section, env }] of Object.entries(agents)) {
  const { kind, level } = agent ?? { kind: name, level: "safe" };
  test(`doctor --smoke: one turn of ${name} at agent.level ${level}, with its tokens; without it none`, async (t) => {
    assert.ok(program === null || existsSync(program), `no program for ${name}`);
    // Not below the temporary folder, where codex has no sandbox.
    const root = mkdtempSync(join(resolve("node_modules/.cache"), "doctor-"));
    t.after(() => rmSync(root, { recursive: true, force: true, maxRetries: 5 }));
    const home = join(root, "home");
    mkdirSync(home);
    const model = await startFakeModel(fake, script);
    try {
      const head = {
        ...{
          tracker: { kind: "local" },
          agent: { kind, level },
          [kind]: section(program ?? "", model.url),
        },
        ...{ storage: { min_free: 0 }, host: { min_memory: 0, max_load: 0 }, server: { port: 0 } },
      };
      const workflowPath = join(root, "WORKFLOW.md");
      writeFileSync(workflowPath, `---\n${JSON.stringify(head)}\n---\nWork on {{ issue.title }}\n`);
      const place = {
        ...{ workflowPath, cwd: root, dataDir: join(root, "data") },
        env: { HOME: home, ...env(home, model.url) },
      };
      const agentOf = async (...options: string[]) => {
        const { stdout, stderr } = await symphony(
          place,
          "doctor",
          workflowPath,
          "--json",
          ...options,
        );
        const { checks } = JSON.parse(stdout || stderr);
        return checks.find((one: { name: string }) => one.name === "agent");
      };
      const plain = await agentOf();
      assert.equal(plain.status, "ok", plain.message);
      assert.doesNotMatch(plain.message, /ran a turn/);
      assert.equal(turnsIn(await model.requests()), 0);
      const smoked = await agentOf("--smoke");
      assert.equal(smoked.status, "ok", smoked.message);
      assert.match(
        smoked.message,
        new RegExp(`${kind} ran a turn at agent.level ${level}, \\d+ tokens`),
      );
      assert.ok(turnsIn(await model.requests()) > 0);
    } finally {
      await model.close();
    }
  });
}

/** Requests that ask the model to answer. */
function turnsIn(requests: readonly unknown[]): number {
  return requests.filter((one) => JSON.stringify(one).includes("the one word OK")).length;
}
