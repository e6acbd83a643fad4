import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { liveProcesses } from "../../src/core/process/table.ts";
import { used } from "../support/fakes/claude-script.ts";
import { type ClaudeWorld, claudeWorld } from "../support/worlds/claude-world.ts";
import { settingsWorld } from "../support/worlds/limits-world.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

// Through a real `symphony serve`. Rows of the case file of agents are named "A14: …".

const demoAgent = fileURLToPath(new URL("../../src/demo/agent.ts", import.meta.url));

/** The attempts of an issue, oldest first. */
async function attemptsOf(server: Served, issue: string) {
  const { attempts } = await server.client.issues.attempts({ params: { id: issue } });
  return attempts.toReversed();
}

test("A14: the total that codex reports for a full context is used by nobody's budget", async () => {
  await using world = await settingsWorld(
    (root) => ({
      agent: { kind: "codex" },
      codex: {
        command: `"${process.execPath}" "${demoAgent}" --script "${root}/script.json" --state "${root}/agent"`,
        read_timeout_ms: 60_000,
      },
    }),
    1,
  );
  const total = (inputTokens: number, outputTokens: number, totalTokens: number) => ({
    do: "notify",
    method: "thread/tokenUsage/updated",
    params: {
      tokenUsage: {
        total: {
          ...{ inputTokens, outputTokens, totalTokens },
          ...{ cachedInputTokens: 0, reasoningOutputTokens: 0 },
        },
        modelContextWindow: 258_400,
      },
    },
  });
  const steps = [total(90, 10, 100), total(0, 0, 258_400), { do: "say", text: "Done." }];
  await writeFile(
    join(world.root, "script.json"),
    JSON.stringify({ issues: { default: [steps] } }),
  );
  await using server = await Served.start(world, "--i-understand");
  const attempt = await eventually("the attempt has ended", async () => {
    const all = await attemptsOf(server, "LOCAL-1");
    return all.find(({ status }) => status === "succeeded");
  });
  assert.equal(attempt.tokens.total_tokens, 100);
});

test("an agent that never answers its handshake delays no other agent", async () => {
  await using world = await settingsWorld(
    (root) => ({
      agents: {
        silent: {
          kind: "acp",
          provider: { command: `touch '${root}/asked'; exec sleep 600`, read_timeout_ms: 600_000 },
        },
        ready: { kind: "command", provider: { line: `echo done; touch '${root}/worked'` } },
      },
      agent: { use: "ready", by_label: { slow: { use: "silent" } } },
    }),
    0,
  );
  await using server = await Served.start(world, "--i-understand");
  const create = async (...labels: string[]) => {
    const made = await symphony(world, "issue", "create", "--title", "One", ...labels);
    assert.equal(made.code, 0, made.stderr);
  };
  await create("--label", "slow");
  await eventually("it waits for its handshake", async () => existsSync(join(world.root, "asked")));
  await create();
  const done = await eventually("the other issue was worked on", async () => {
    const all = await attemptsOf(server, "LOCAL-2");
    return all.find(({ status }) => status === "succeeded");
  });
  assert.ok(existsSync(join(world.root, "worked")), done.id);
  const { running } = await server.client.system.state({});
  assert.deepEqual(
    running.map(({ issue_identifier: issue }) => issue),
    ["LOCAL-1"],
  );
  assert.equal((await symphony(world, "abort", "LOCAL-1")).code, 0);
  await eventually("nothing of it is left", async () => {
    const [attempt] = await attemptsOf(server, "LOCAL-1");
    const all = await liveProcesses();
    return attempt && !all.some(({ runId }) => runId?.includes(attempt.id));
  });
});

/** Waits until the issue is completed. */
function completed(server: Served, issue: string) {
  return eventually("it is completed", async () => {
    const { completed: rows } = await server.client.system.state({});
    return rows.find((row) => row.issue_identifier === issue);
  });
}

const move = { do: "mcp", tool: "issue_move", args: { state: "Done" } } as const;

async function startsOf(world: ClaudeWorld) {
  return (await world.got("start")).map(({ args }) => (args as string[]).includes("--resume"));
}

test("A7: Claude's tokens count in mid-turn: the brake ends the turn, and what it used is kept", async () => {
  await using world = await claudeWorld({ brakes: { tokens_per_issue: 1_000 } });
  const steps = [
    { do: "usage", id: "m1", input: 100, output: 5, cached: 600 },
    { do: "usage", id: "m2", input: 500, output: 7 },
    { do: "interrupted" },
  ] as const;
  await world.play({ turns: [{ steps }] });
  await using server = await world.serve();
  const held = await eventually("it is held", async () => {
    return (await server.client.system.state({})).held[0];
  });
  assert.match(held.reason, /tokens/);
  const [attempt, ...others] = await attemptsOf(server, held.issue_identifier);
  assert.equal(others.length, 0);
  // The brake acts at the first count of the second message; the rest of it may still be read.
  const { total_tokens: total } = attempt?.tokens ?? { total_tokens: 0 };
  assert.ok(total === 1_206 || total === 1_212, `${total}`);
});

test("A7: the same of claude -p as agent.kind command", async () => {
  const said = (id: string, input_tokens: number) => ({
    ...{ type: "assistant", session_id: "c-1", parent_tool_use_id: null },
    message: { id, content: [{ type: "text", text: "x" }], usage: { input_tokens } },
  });
  const lines = [said("m1", 700), said("m1", 700), said("m2", 600)];
  await using world = await settingsWorld((root) => ({
    agent: { kind: "command" },
    command: { line: `cat '${root}/lines.jsonl'; sleep 600`, output: "claude" },
    brakes: { tokens_per_issue: 1_000 },
  }));
  const text = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
  await writeFile(join(world.root, "lines.jsonl"), text);
  await using server = await Served.start(world, "--i-understand");
  await eventually("it is held", async () => (await server.client.system.state({})).held[0]);
  const [attempt] = await attemptsOf(server, "LOCAL-1");
  assert.equal(attempt?.tokens.total_tokens, 1_300, "each message once");
});

test("A19: what Claude reports of its ends is shown, and counts as what it is", async () => {
  await using world = await claudeWorld({ agent: { max_turns: 1 } });
  const big = { type: "user", message: { content: "x".repeat(11_000_000) } };
  const errors = ["[ede_diagnostic] result_type=user", "the disk is full"];
  await world.play({
    continues: true,
    turns: [
      {
        steps: [],
        result: { subtype: "error_max_turns", is_error: true, terminal_reason: "max_turns" },
      },
      {
        steps: [],
        result: { subtype: "error_during_execution", is_error: true, result: null, errors },
      },
      { steps: [{ do: "say", text: "hm" }], result: null },
      {
        steps: [{ do: "write", line: big }, { do: "say", text: "after it" }, move],
        result: { permission_denials: [{ tool_name: "WebFetch" }], ...used(1_000, 20) },
      },
    ],
  });
  await using server = await world.serve();
  await completed(server, "LOCAL-1");
  const attempts = await attemptsOf(server, "LOCAL-1");
  assert.deepEqual(
    attempts.map(({ status, error }) => [status, error?.code]),
    [
      ["succeeded", undefined],
      ["failed", "turn_failed"],
      ["failed", "port_exit"],
      ["succeeded", undefined],
    ],
  );
  assert.equal(attempts[1]?.error?.message, "the turn failed: the disk is full");
  const told = (await server.events("LOCAL-1")).map(({ message }) => message);
  for (const text of [
    "the agent ended its turn early: max turns",
    "after it",
    "denied by the agent's own rules: WebFetch",
    "usage as the agent reports it: claude-opus-5-5 1000 in, 20 out, $0.0100",
  ]) {
    assert.ok(
      told.some((message) => message.includes(text)),
      text,
    );
  }
});

test("A24: an attempt after a broken connection or an outage of the provider resumes the session; after two in a row, or a success, it begins one", async () => {
  await using world = await claudeWorld({ agent: { max_turns: 1 } });
  const breaks = { steps: [{ do: "exit", status: 1 }] } as const;
  const ends = { steps: [{ do: "say", text: "done for now" }] } as const;
  const outage = {
    steps: [],
    result: {
      ...{ is_error: true, terminal_reason: "api_error", api_error_status: 502 },
      result: "API Error: 502 bad gateway",
    },
  };
  await world.play({ continues: true, turns: [outage, breaks, ends, { steps: [move] }] });
  await using server = await world.serve();
  await completed(server, "LOCAL-1");
  assert.deepEqual(await startsOf(world), [false, true, false, false]);
  const threads = (await attemptsOf(server, "LOCAL-1")).map(({ thread_id: thread }) => thread);
  assert.deepEqual([threads[1], new Set(threads).size], [threads[0], 3]);
});
