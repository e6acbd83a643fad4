import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { acpBench } from "../support/worlds/acp-bench.ts";
import { commandBench } from "../support/worlds/command-bench.ts";
import type { Bench } from "../support/worlds/scripted-agent.ts";

const plain = { model: null };
const networked = { level: "networked" } as const;

async function plant(bench: Bench, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    const path = join(bench.workspace, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  }
}

const plugin = { ".opencode/plugin/evil.js": "" };

describe("a repository that tries to control an agent", () => {
  test("prevents the start of a program in any turn, except at level danger", async () => {
    await using b = await commandBench({ config: { line: "touch ran; : opencode run" } });
    await plant(b, plugin);
    {
      await using session = await b.start(networked);
      await assert.rejects(session.turn("go", plain), { code: "workspace_refused" });
      assert.ok(!existsSync(join(b.workspace, "ran")));
    }
    await using session = await b.start();
    await session.turn("go", plain);
    assert.ok(existsSync(join(b.workspace, "ran")));
  });

  test("is also detected before the next turn when the agent wrote the files", async () => {
    const line = "mkdir -p .opencode/plugin; echo x >> .opencode/plugin/own.js; : opencode run";
    await using b = await commandBench({ config: { line } });
    await using session = await b.start(networked);
    await session.turn("go", plain);
    await assert.rejects(session.turn("go on", plain), { code: "workspace_refused" });
    const written = await readFile(join(b.workspace, ".opencode/plugin/own.js"), "utf8");
    assert.equal(written, "x\n");
  });

  test("prevents the start of an agent of the protocol, new or resumed", async () => {
    await using b = await acpBench({ turns: [] }, { config: { command: "touch ran" } });
    await plant(b, plugin);
    for (const resumeThreadId of [null, "s-1"]) {
      const start = b.start({ ...networked, resumeThreadId });
      await assert.rejects(start, { code: "workspace_refused", message: /\.opencode\/plugin/ });
    }
    assert.ok(!existsSync(join(b.workspace, "ran")));
  });

  test("is not given to claude -p without its arguments, or to npx; at level danger an event reports it", async () => {
    for (const line of ["touch ran; : claude -p", "touch ran; : npx gemini"]) {
      await using b = await commandBench({ config: { line } });
      await assert.rejects(b.start(networked), { code: "agent_unavailable" });
      await using resumed = await commandBench({ config: { line: "true", resumeLine: line } });
      await assert.rejects(resumed.start(networked), { code: "agent_unavailable" });
      await using _ = await b.start();
      const [notice] = b.events;
      assert.ok(notice?.type === "notice", notice?.type);
      assert.match(notice.message, /command\.line starts .*; next: /);
    }
  });

  test("is made harmless by the program's environment, and a prompt is not run as a command", async () => {
    await using b = await commandBench({ config: { line: "env > env.txt; cat > prompt.txt" } });
    await using session = await b.start({
      ...networked,
      askPolicy: { approvals: "ask", timeoutMs: 0 },
    });
    await session.turn("/cost", plain);
    const env = (await readFile(join(b.workspace, "env.txt"), "utf8")).split("\n");
    for (const line of [
      "CLAUDE_CODE_DISABLE_ATTACHMENTS=1",
      "CLAUDE_CODE_DISABLE_FILE_MENTIONS=1",
      "GEMINI_CLI_TRUST_WORKSPACE=false",
      "OPENCODE_DISABLE_PROJECT_CONFIG=1",
    ]) {
      assert.ok(env.includes(line), line);
    }
    assert.ok(!env.some((line) => line.startsWith("OPENCODE_PERMISSION=")));
    const prompt = await readFile(join(b.workspace, "prompt.txt"), "utf8");
    assert.equal(prompt, "Text of this message:\n/cost");
  });

  test("has its .codex hidden from codex, which cannot create one; other agents see their folders", async () => {
    const look = "ls -A .codex | wc -l; touch .codex/made 2>/dev/null || echo refused";
    for (const [agent, said] of [
      [": codex exec", "0\nrefused"],
      [": gemini", "1\nrefused"],
    ] as const) {
      await using b = await commandBench({ config: { line: `${look}; ${agent}` } });
      await plant(b, { ".codex/config.toml": "[mcp_servers.x]\n" });
      await using session = await b.start(networked);
      await session.turn("go", plain);
      assert.deepEqual(b.said, [said], agent);
      const kept = await readFile(join(b.workspace, ".codex/config.toml"), "utf8");
      assert.equal(kept, "[mcp_servers.x]\n");
    }
    await using file = await commandBench({
      config: { line: "cat .codex 2>/dev/null || echo none; : codex exec" },
    });
    await plant(file, { ".codex": "text" });
    await using session = await file.start(networked);
    await session.turn("go", plain);
    assert.deepEqual(file.said, ["none"]);
    await using linked = await commandBench({ config: { line: "touch ran; : codex exec" } });
    await plant(linked, { "other/config.toml": "" });
    await symlink("other", join(linked.workspace, ".codex"));
    await using other = await linked.start(networked);
    await assert.rejects(other.turn("go", plain), { code: "workspace_refused" });
  });
});
