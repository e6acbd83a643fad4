// A real `symphony serve` with a scripted agent of the Agent Client Protocol. Rows of the case file of agents are named "A1: …".

import assert from "node:assert/strict";
import { test } from "node:test";
import { piece } from "../support/fakes/acp-script.ts";
import { acpWorld, type LimitsWorld } from "../support/worlds/limits-world.ts";
import { journalOf } from "../support/worlds/scripted-agent.ts";
import { eventually, Served } from "../support/worlds/symphony.ts";

const serve = (world: LimitsWorld) => Served.start(world, "--i-understand");

/** The row of the first issue in a list of the state, as soon as there is one. */
async function ended(server: Served, list: "completed" | "failed" | "held") {
  const ask = async () => (await server.client.system.state({}))[list][0];
  // A retry waits 10 s.
  return eventually(`an issue is ${list}`, ask, 100_000);
}

test("the agent moves its issue by the tracker's tools, which it starts as an MCP server", async () => {
  await using world = await acpWorld({
    turns: [
      {
        steps: [
          { do: "tool", name: "issue_comment", arguments: { body: "all green" } },
          { do: "tool", name: "issue_move", arguments: { state: "Done" } },
          piece("Done."),
        ],
      },
    ],
  });
  await using server = await serve(world);
  const { issue_identifier: id } = await ended(server, "completed");
  const events = await server.events(id);
  const tools = events.filter(({ type }) => type === "agent.tool_call");
  assert.deepEqual(
    tools.map(({ data }) => data["tool"]),
    ["issue_comment", "issue_move"],
  );
  const { comments } = await server.client.issues.comments({ params: { id } });
  assert.deepEqual(
    comments.map(({ author, body }) => [author, body]),
    [["agent", "all green"]],
  );
  const [opened] = await journalOf(world.root, "session/new");
  assert.ok(!JSON.stringify(opened).includes("token"), "the token is not in the request");
});

test("A1: errors of gemini at its limit pause the agent until the time named, and spend no retry", async () => {
  const words =
    "You have exhausted your capacity on this model. Your quota will reset after 3h20m11s.";
  const errors = [
    { code: -32603, message: words },
    { code: 429, message: "quota", data: { details: words } },
  ];
  for (const error of errors) {
    await using world = await acpWorld({ turns: [{ steps: [piece("I try.")], error }] });
    const before = Date.now();
    await using server = await serve(world);
    const state = await eventually("the agent is paused", async () => {
      const now = await server.client.system.state({});
      return now.paused.length > 0 && now.running.length === 0 ? now : null;
    });
    const until = Date.parse(state.paused[0]?.until ?? "");
    const wait = 12_011_000;
    assert.ok(
      until >= before + wait - 1_000 && until <= Date.now() + wait,
      state.paused[0]?.until ?? "",
    );
    assert.deepEqual([state.paused[0]?.agent, state.failed], ["acp", []]);
    assert.deepEqual(
      state.retrying.map(({ attempt }) => attempt),
      [1],
    );
  }
});

test("A8: an agent that counts no tokens is estimated, says so, and the token brake uses the estimate", async () => {
  await using world = await acpWorld(
    { turns: [{ steps: [piece("Working.")] }] },
    { brakes: { tokens_per_issue: 5_000 } },
  );
  await using server = await serve(world);
  const row = await ended(server, "held");
  assert.match(JSON.stringify(row), /token budget used up: 8,\d{3} of 5,000/);
  const events = await server.events(row.issue_identifier);
  const said = events.filter(({ message }) =>
    message.includes("the token brakes use the estimate"),
  );
  assert.equal(said.length, 1);
  const { codex_totals: all } = await server.client.system.state({});
  assert.ok(all.total_tokens >= 8_000, String(all.total_tokens));
});

test("A13: after a crash the session is loaded, and the history that it replays late is not told as new work", async () => {
  await using world = await acpWorld(
    {
      hello: { agentCapabilities: { loadSession: true } },
      replays: [
        { sessionUpdate: "user_message_chunk", content: { type: "text", text: "asked before" } },
        "said before",
        {
          ...{ sessionUpdate: "tool_call", toolCallId: "old", title: "rm old", kind: "execute" },
          ...{ status: "completed", rawInput: { command: "rm old" } },
        },
        {
          sessionUpdate: "plan",
          entries: [{ content: "old", priority: "low", status: "pending" }],
        },
        { sessionUpdate: "usage_update", used: 150_000, size: 200_000 },
        { sessionUpdate: "current_mode_update", currentModeId: "old" },
        "and before",
      ],
      replaysAfterMs: 600,
      turns: [{ steps: [piece("first words", "1"), piece("", "2"), { do: "exit", status: 3 }] }],
    },
    { agent: { max_retries: 1 } },
  );
  await using server = await serve(world);
  const { issue_identifier: id } = await ended(server, "failed");
  assert.equal((await journalOf(world.root, "session/load")).length, 1);
  const events = await server.events(id);
  const words = events.filter(({ type }) => type === "agent.message").map(({ message }) => message);
  assert.deepEqual(words, ["first words", "first words"]);
  assert.ok(!events.some(({ message }) => /\bold\b|before/.test(message)), "nothing is replayed");
  const { attempts } = await server.client.issues.attempts({ params: { id } });
  for (const { tokens } of attempts) assert.ok(tokens.total_tokens < 100_000);
});

test("A20: permission options without a kind are chosen by name, and a crash shows its last words, without secrets", async () => {
  const token = "limits-token-for-a-test-0123456789";
  const options = [
    { optionId: "1", name: "Always allow" },
    { optionId: "2", name: "Allow once" },
    { optionId: "3", name: "Deny" },
  ];
  await using world = await acpWorld({
    turns: [
      {
        steps: [
          { do: "ask", toolCall: { toolCallId: "c", title: "make" }, options: options as never },
          { do: "die", words: `cannot reach the model with ${token}` },
        ],
      },
    ],
  });
  await using server = await serve(world);
  const row = await ended(server, "failed");
  const shown = JSON.stringify(row);
  assert.match(shown, /status 9: cannot reach the model with /);
  assert.ok(!shown.includes(token), shown);
  assert.ok(!server.log.includes(token), server.log);
  assert.deepEqual(await journalOf(world.root, "permission"), [
    { outcome: { outcome: "selected", optionId: "2" } },
  ]);
});
