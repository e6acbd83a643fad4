import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { startFakeModel } from "../support/fakes/fake-model.ts";
import { deliveryProject } from "../support/makers/delivery-project.ts";
import { gitIn } from "../support/makers/git-repository.ts";
import { type RealAgentParts, realParts, realProgram } from "../support/worlds/real-agent.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

// The real agents of the Agent Client Protocol, from an issue to its branch in a bare repository. They need SYMPHONY_CLAUDE,
// SYMPHONY_CLAUDE_ACP, SYMPHONY_GEMINI, SYMPHONY_OPENCODE and SYMPHONY_EQUIPMENT.

const used = { usage: { input: 1_000, output: 20 } };
const steps = [
  { type: "bash", cmd: "until [ -e go ]; do sleep 0.1; done; echo made > made.txt", ...used },
  { type: "text", text: "made.txt is there.", ...used },
  { type: "text", text: "With tabs.", ...used },
];
const suggestions = {
  when: { userText: "[SUGGESTION MODE" },
  steps: [{ type: "text", text: "x" }],
};

/** Names of a workflow file for the settings of a bench. */
function written(settings: object): Record<string, unknown> {
  const snake = (key: string) => key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return Object.fromEntries(Object.entries(settings).map(([key, value]) => [snake(key), value]));
}

/** opencode has those that `symphony init` writes, in a home where it never ran. */
function pathsOf(name: string, home: string): Readonly<Record<string, readonly string[]>> {
  if (name !== "opencode") return { writable_paths: [home] };
  return {
    readable_paths: ["~/.config/opencode/opencode.json", "~/.config/opencode/opencode.jsonc"],
    writable_paths: ["~/.local/share/opencode", "~/.local/state/opencode", "~/.cache/opencode"],
  };
}

for (const name of ["claude", "gemini", "opencode"] as const) {
  test(`${name}: an issue is worked on, approved, guided, and delivered as a branch`, async () => {
    const parts: Omit<RealAgentParts, "script"> = realParts[name];
    const script = name === "claude" ? { routes: [suggestions], steps, onEnd: "last" } : steps;
    await using model = await startFakeModel(parts.fake, script);
    const home = await mkdtemp(join(tmpdir(), "symphony-journey-"));
    await using _ = { [Symbol.asyncDispose]: () => rm(home, { recursive: true, force: true }) };
    await parts.prepare?.(model.url, home);
    const provider = parts.provider?.(model.url);
    const env = parts.env(model.url, home);
    const acp = {
      command: parts.command(realProgram(parts.variable)),
      env_passthrough: Object.keys(env),
      ...pathsOf(name, home),
      ...written(parts.config ?? {}),
      ...(provider && { provider: written(provider) }),
    };
    const agent = { kind: "acp", level: "networked", approvals: "ask", max_turns: 3 };
    await using place = await deliveryProject({
      delivery: "  mode: branch",
      front: `agent: ${JSON.stringify(agent)}\nacp: ${JSON.stringify(acp)}`,
    });
    const world = {
      ...place,
      env: {
        ...place.env,
        ...env,
        HOME: home,
        SYMPHONY_TOKEN: "journey-token-for-a-test-0123456789",
        PATH: `${join(process.execPath, "..")}:${process.env["PATH"]}`,
      },
    };
    await using server = await Served.start(world, "--i-understand");
    const cli = async (...args: string[]) => {
      const ended = await symphony(world, ...args);
      assert.equal(ended.code, 0, ended.stderr);
      return ended.stdout;
    };
    await cli("issue", "create", "--title", "Greet people");
    const asked = await eventually("it asks", async () => {
      return JSON.parse(await cli("inbox", "--json")).items[0];
    });
    assert.ok(asked.prompt.includes("echo made > made.txt"), asked.prompt);
    await cli("respond", "LOCAL-1", "approve");
    await cli("steer", "LOCAL-1", "use tabs");
    await writeFile(join(place.workspace("LOCAL-1"), "go"), "");
    const git = gitIn(place.bare);
    const made = await eventually("its branch is pushed", async () =>
      git("show", "symphony/LOCAL-1-greet-people:made.txt"),
    );
    assert.equal(made, "made");
    const { review } = await server.client.system.state({});
    assert.equal(review.length, 1, "it waits for a person");
    const [attempt] = (await server.client.issues.attempts({ params: { id: "LOCAL-1" } })).attempts;
    assert.equal(attempt?.status, "succeeded");
    // opencode reports less than it uses, so its tokens are estimated.
    const least = name === "opencode" ? 1_020 : 2_040;
    assert.ok((attempt?.tokens.total_tokens ?? 0) >= least, JSON.stringify(attempt?.tokens));
    assert.ok(JSON.stringify(await model.requests()).includes("use tabs"));
  });
}
