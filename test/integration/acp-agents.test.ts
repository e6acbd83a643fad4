// The real claude-agent-acp, gemini and opencode, with a scripted provider. Rows of the case file of agents are named "A8: …".
// They need SYMPHONY_CLAUDE, SYMPHONY_CLAUDE_ACP, SYMPHONY_GEMINI, SYMPHONY_OPENCODE and SYMPHONY_EQUIPMENT.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { AgentTools } from "../../src/core/agent/agent.ts";
import { startFakeModel } from "../support/fakes/fake-model.ts";
import { canaryKey } from "../support/makers/hostile-files.ts";
import { commandBench } from "../support/worlds/command-bench.ts";
import {
  type RealAgent,
  realAgent,
  realAgents,
  realParts,
  realProgram,
} from "../support/worlds/real-agent.ts";

const plain = { model: null };
const networked = { level: "networked" } as const;
const usage = (input: number, output = 20) => ({ usage: { input, output } });
const move = (name: string) => ({ type: "tool", name, input: { state: "Done" }, ...usage(1_000) });
const shell = { type: "bash", cmd: "echo made > by-agent.txt", ...usage(2_000) };
const done = { type: "text", text: "All done.", ...usage(3_000) };

/** The name of the tracker's tool for the model of each agent. */
const agents = {
  claude: { tool: "mcp__tracker__issue_move", make: claude },
  gemini: { tool: "mcp_tracker_issue_move", make: realAgents.gemini },
  opencode: { tool: "tracker_issue_move", make: realAgents.opencode },
} as const;

function claude(steps: unknown): Promise<RealAgent> {
  // After a turn it may ask the model for suggestions of the next prompt; this uses no step of the script.
  const suggestions = { when: { userText: "[SUGGESTION MODE" }, steps: [done] };
  return realAgents.claude({ routes: [suggestions], steps, onEnd: "last" });
}

function tracker() {
  const calls: unknown[] = [];
  const tools: AgentTools = {
    specs: [
      {
        name: "issue_move",
        description: "Move the issue you work on to another state.",
        inputSchema: {
          type: "object",
          properties: { state: { type: "string" } },
          required: ["state"],
          additionalProperties: false,
        },
      },
    ],
    async call(name, args) {
      calls.push([name, args]);
      return { success: true, output: "moved" };
    },
  };
  return { calls, tools };
}

const notices = (b: RealAgent) =>
  b.events.flatMap((event) => (event.type === "notice" ? [event.message] : []));
const total = (b: RealAgent) => b.events.findLast((event) => event.type === "tokens")?.total;

test("gemini: with a key alone it works at safe, as init sets it up, and its commands do not see the key", async () => {
  const look = { type: "bash", cmd: "echo key=$GEMINI_API_KEY", ...usage(1_000) };
  await using b = await realAgent({ ...realParts.gemini, config: {}, script: [look, done] });
  await using session = await b.start({ level: "safe" });
  await session.turn("please", plain);
  assert.deepEqual(b.said, ["All done."]);
  const ran = b.events.find((event) => event.type === "command" && event.status === "completed");
  assert.match(JSON.stringify(ran), /key=/);
  assert.ok(!JSON.stringify(b.events).includes(canaryKey));
});

for (const [name, { tool, make }] of Object.entries(agents)) {
  test(`${name}: the tracker's tools work inside the sandbox, free of approval; commands and tokens are reported`, async () => {
    await using b = await make([move(tool), shell, done]);
    const { calls, tools } = tracker();
    await using session = await b.start({ ...networked, tools });
    await session.turn("please", plain);
    assert.deepEqual(calls, [["issue_move", { state: "Done" }]]);
    const used = b.events.flatMap((event) => (event.type === "tool_call" ? [event.tool] : []));
    assert.deepEqual(used, ["issue_move"], "once, where it ran");
    const commands = b.events.flatMap((event) =>
      event.type === "command" ? [[event.status, event.command]] : [],
    );
    assert.deepEqual(commands, [
      ["started", shell.cmd],
      ["completed", shell.cmd],
    ]);
    assert.ok(existsSync(join(b.workspace, "by-agent.txt")));
    assert.deepEqual(b.said, ["All done."]);
    const counted = total(b);
    if (name === "opencode") {
      // It reports the last request alone.
      assert.ok(counted && counted.total > 6_060, JSON.stringify(counted));
      assert.match(notices(b).join(), /only a part of its tokens: they are estimated/);
    } else {
      assert.deepEqual([counted?.input, counted?.output], [6_000, 60]);
      const late = notices(b).filter(
        (text) => !/until the end of a turn they are estimated/.test(text),
      );
      assert.deepEqual(late, []);
      assert.equal(notices(b).length, name === "gemini" ? 1 : 0);
    }
  });
}

describe("with approvals ask", () => {
  // opencode asks for commands alone.
  for (const name of ["claude", "gemini"] as const) {
    const { tool, make } = agents[name];
    test(`${name}: the tracker's tools need no approval, a command does`, async () => {
      await using b = await make([move(tool), shell, done]);
      const { calls, tools } = tracker();
      const askPolicy = { approvals: "ask", timeoutMs: 60_000 } as const;
      await using session = await b.start({ ...networked, tools, askPolicy });
      const turn = session.turn("please", plain);
      const { ask, needs } = await b.until("approval.requested");
      assert.equal(calls.length, 1);
      assert.ok(needs.prompt.includes(shell.cmd), needs.prompt);
      session.answer(ask?.id ?? "", { type: "decision", approve: true });
      await turn;
      assert.ok(existsSync(join(b.workspace, "by-agent.txt")));
    });
  }
});

test("claude -p as agent.kind command: the tracker's tools by $SYMPHONY_MCP_CONFIG", async () => {
  const program = realProgram("SYMPHONY_CLAUDE");
  await using model = await startFakeModel("fake-anthropic", [move(agents.claude.tool), done]);
  await using home = await commandBench();
  const env = {
    ANTHROPIC_API_KEY: canaryKey,
    ANTHROPIC_BASE_URL: model.url,
    CLAUDE_CONFIG_DIR: home.root,
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
  };
  const flags = "-p --output-format stream-json --verbose --setting-sources '' --strict-mcp-config";
  const tools = `--mcp-config "$SYMPHONY_MCP_CONFIG" --allowedTools 'mcp__tracker__*'`;
  await using b = await commandBench({
    config: {
      ...{ line: `'${program}' ${flags} ${tools}`, output: "claude" },
      ...{ envPassthrough: Object.keys(env), writablePaths: [home.root] },
    },
    env: { PATH: process.env["PATH"], ...env },
  });
  const { calls, tools: own } = tracker();
  await using session = await b.start({ ...networked, tools: own });
  await session.turn("please", plain);
  assert.deepEqual(calls, [["issue_move", { state: "Done" }]]);
  assert.equal(b.said.at(-1), "All done.");
});

test("gemini stays untrusted, without the tracker's tools, where a workspace has .env", async () => {
  await using b = await realAgents.gemini([done]);
  await writeFile(join(b.workspace, ".env"), "GEMINI_SANDBOX=false\n");
  const { tools } = tracker();
  await using session = await b.start({ ...networked, tools });
  await session.turn("please", plain);
  assert.match(notices(b).join(), /gemini gets no tools of the tracker/);
  assert.ok(!JSON.stringify(await b.model.requests()).includes("issue_move"));
});

test("A8: claude: a turn that is cut short is counted", async () => {
  const wait = { type: "bash", cmd: "sleep 600", ...usage(1_000) };
  await using b = await claude([wait, done]);
  await using session = await b.start(networked);
  const turn = assert.rejects(session.turn("please", plain), { code: "turn_cancelled" });
  await b.until("command");
  await session.interrupt();
  await turn;
  const counted = total(b)?.total ?? 0;
  // The program may ask once more before it is stopped, and that counts as well.
  const answered = [1_020, 4_040][Math.min((await b.model.requests()).length, 2) - 1] ?? 4_040;
  assert.ok(counted >= 1_020 && counted <= answered, `${counted} of ${answered}`);
});
