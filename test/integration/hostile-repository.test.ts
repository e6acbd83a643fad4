import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { parse } from "yaml";
import { type CommandConfig, commandSection } from "../../src/core/agent/command/settings.ts";
import { startFakeModel } from "../support/fakes/fake-model.ts";
import {
  canaryKey,
  evilAddress,
  hostileFiles,
  plant,
  ran,
} from "../support/makers/hostile-files.ts";
import { CommandBench } from "../support/worlds/command-bench.ts";
import { type RealAgent, realAgents, realProgram } from "../support/worlds/real-agent.ts";
import { eventually } from "../support/worlds/symphony.ts";

const plain = { model: null };
const networked = { level: "networked" } as const;
const worked = { type: "bash", cmd: "env > env.txt" };
const done = { type: "text", text: "All done." };
const made = { type: "bash", cmd: "echo made > by-agent.txt" };

const asking = { askPolicy: { approvals: "ask", timeoutMs: 60_000 } } as const;

/** Reads what a command can reach of a key: variables, processes, files. */
const search =
  "{ env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline; grep -rsa --exclude=told.txt '' ~ /tmp /run | cut -c -2000; echo; echo finished; } > told.txt 2>&1";

/** An agent at safe, where it reaches its provider alone, looks for the key. */
async function searched(b: RealAgent): Promise<void> {
  await using session = await b.start({ level: "safe" });
  await session.turn("please", plain);
  const told = await readFile(join(b.workspace, "told.txt"), "utf8");
  assert.match(told, /^finished$/m);
  assert.ok(!told.includes(canaryKey), "the key is nowhere");
  assert.equal(b.said.at(-1), "All done.");
}

describe("THREAT-1: real agents of the Agent Client Protocol at level safe do not have their key", () => {
  const looks = { type: "bash", cmd: search };

  test("claude-agent-acp", async () => {
    const suggestions = { when: { userText: "[SUGGESTION MODE" }, steps: [done] };
    await using b = await realAgents.claude({
      routes: [suggestions],
      steps: [looks, done],
      onEnd: "last",
    });
    await searched(b);
  });

  test("gemini", async () => {
    await using b = await realAgents.gemini([looks, done]);
    await searched(b);
  });

  test("opencode, by acp.provider", async () => {
    await using b = await realAgents.opencode([looks, done]);
    await searched(b);
  });
});

/** A turn whose only action is declined, kill -9, and a turn of the next attempt. Nothing in the repository may run in either. */
async function attacked(b: RealAgent): Promise<boolean> {
  const secret = join(b.home, "secret.txt");
  await writeFile(secret, "text-of-a-secret");
  let thread: string;
  {
    await using session = await b.start({ ...networked, ...asking });
    thread = session.threadId;
    const turn = session.turn(`Look at @${secret} please.`, plain);
    const { ask } = await b.until("approval.requested");
    session.answer(ask?.id ?? "", { type: "decision", approve: false });
    await turn;
    assert.ok(!existsSync(join(b.workspace, "by-agent.txt")), "what is declined does not happen");
    assert.ok(session.pid !== null);
    process.kill(session.pid, "SIGKILL");
  }
  await using session = await b.start({ ...networked, resumeThreadId: thread });
  await session.turn("/about this: /cost", plain);
  assert.deepEqual(b.evil.got, []);
  assert.deepEqual(await ran(b.workspace), []);
  assert.equal(b.said.at(-1), "All done.");
  assert.ok(existsSync(join(b.workspace, "env.txt")), "the agent itself worked");
  const sent = JSON.stringify(await b.model.requests());
  assert.ok(sent.includes("/about this"), "no command of the agent takes the text");
  assert.ok(!sent.includes("text-of-a-secret"), "no file that a text mentions is read");
  return session.resumed;
}

describe("a hostile repository and real agents of the Agent Client Protocol", () => {
  test("claude-agent-acp: its settings, hooks and MCP servers do nothing, and it asks", async () => {
    // After a turn it may ask the model for suggestions of the next prompt; this uses no step of the script.
    const suggestions = { when: { userText: "[SUGGESTION MODE" }, steps: [done] };
    const steps = [made, done, worked, done];
    await using b = await realAgents.claude({ routes: [suggestions], steps, onEnd: "last" });
    await plant(b.workspace, hostileFiles.claude(b.evil.url));
    assert.ok(await attacked(b), "the session was resumed");
  });

  test("gemini: the folder stays untrusted, regardless of the settings in the operator's home", async () => {
    await using b = await realAgents.gemini([made, done, worked, done]);
    await plant(b.workspace, hostileFiles.gemini(b.evil.url));
    // As after "trust this folder", or as written by the agent of another issue.
    await plant(b.home, {
      ".gemini/trustedFolders.json": JSON.stringify({ [b.root]: "TRUST_FOLDER" }),
    });
    // It finds no session that started in the same minute, so the next attempt may start a new one.
    await attacked(b);
    assert.doesNotMatch(await readFile(join(b.workspace, "env.txt"), "utf8"), /PLANTED/);
  });

  test("opencode: its configuration and tools do nothing, and it asks", async () => {
    // It ends its turn when a request is declined.
    await using b = await realAgents.opencode([made, worked, done]);
    await plant(b.workspace, hostileFiles.opencode(b.evil.url));
    assert.ok(await attacked(b), "the session was resumed");
  });

  test("opencode: its plugins, which would run, make the start fail", async () => {
    await using b = await realAgents.opencode([done]);
    await plant(b.workspace, hostileFiles.opencodePlugins());
    await assert.rejects(b.start(networked), {
      code: "workspace_refused",
      message: /opencode runs the programs of \.opencode\/plugin, opencode\.json/,
    });
    assert.deepEqual(await ran(b.workspace), []);
    await using session = await b.start();
    await session.turn("please", plain);
    // opencode loads them in the background; on a busy machine they run after the turn.
    await eventually("both plugins ran", async () => (await ran(b.workspace)).length === 2);
    assert.deepEqual(await ran(b.workspace), ["RAN-named", "RAN-plugin"]);
  });
});

describe("a hostile repository and the real claude -p", () => {
  test("the recipe disables the repository's settings", async () => {
    await using b = await claudeCommand([worked, done, done], {});
    await using session = await b.bench.start(networked);
    await session.turn(`Look at @${b.secret} please.`, plain);
    await session.turn("/cost", plain);
    assert.deepEqual([b.evil.got, await ran(b.bench.workspace)], [[], []]);
    assert.deepEqual(b.bench.said, ["All done.", "All done."]);
    const sent = JSON.stringify(await b.model.requests());
    assert.ok(sent.includes("/cost"));
    assert.ok(!sent.includes("text-of-a-secret"));
  });

  test("without those arguments it would disclose the key, so it is refused", async () => {
    const line = "claude -p --output-format stream-json --verbose";
    await using b = await claudeCommand([done], { line, resumeLine: null });
    await assert.rejects(b.bench.start(networked), { code: "agent_unavailable" });
    await using session = await b.bench.start();
    await assert.rejects(session.turn("please", plain));
    assert.ok(b.evil.got.some((request) => request.endsWith("with the key")));
    const marks = await ran(b.bench.workspace);
    assert.ok(marks.includes("RAN-start-hook") && marks.includes("RAN-mcp"), marks.join());
  });
});

/** The recipe of docs/agents/command.md, or another line, with the real program. */
async function claudeCommand(script: unknown, own: Partial<CommandConfig>) {
  const program = realProgram("SYMPHONY_CLAUDE");
  const model = await startFakeModel("fake-anthropic", script);
  const evil = await evilAddress();
  const root = await mkdtemp(join(tmpdir(), "symphony-real-"));
  const home = join(root, "home");
  await mkdir(home);
  const env = {
    ANTHROPIC_API_KEY: canaryKey,
    ANTHROPIC_BASE_URL: model.url,
    CLAUDE_CONFIG_DIR: home,
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
    // The recipe skips permissions, which claude refuses to do as root outside of a sandbox.
    IS_SANDBOX: "1",
  };
  const config = { ...(await claudeRecipe()), ...own };
  const real = (line: string | null) => line?.replace(/^claude\b/, `'${program}'`) ?? null;
  const bench = new CommandBench(root, {
    config: {
      ...config,
      line: real(config.line),
      resumeLine: real(config.resumeLine),
      envPassthrough: Object.keys(env),
      writablePaths: [home],
    },
    env: { HOME: home, ...env },
  });
  const secret = join(home, "secret.txt");
  await writeFile(secret, "text-of-a-secret");
  await plant(bench.workspace, hostileFiles.claude(evil.url));
  return {
    bench,
    model,
    evil,
    secret,
    async [Symbol.asyncDispose]() {
      await model.close();
      await evil[Symbol.asyncDispose]();
      await bench[Symbol.asyncDispose]();
    },
  };
}

async function claudeRecipe(): Promise<CommandConfig> {
  const docs = join(dirname(import.meta.dirname), "..", "docs", "agents", "command.md");
  const blocks = [...(await readFile(docs, "utf8")).matchAll(/^```yaml\n(.*?)^```$/gms)];
  const block = blocks.map(([, text]) => text ?? "").find((text) => /output: claude$/m.test(text));
  assert.ok(block, "the recipe is in the docs");
  return commandSection.settings(commandSection.schema.parse(Object(parse(block)).command));
}
