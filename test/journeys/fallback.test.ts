import assert from "node:assert/strict";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { claudeWorld } from "../support/worlds/claude-world.ts";
import { type LimitsWorld, settingsWorld } from "../support/worlds/limits-world.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

// A real `symphony serve` whose agents cannot start or are at their limit. Rows of the case file of agents are named "A21: …".

const serve = (world: LimitsWorld) => Served.start(world, "--i-understand");

async function planOf(world: LimitsWorld): Promise<{ would_run: boolean; why: string | null }> {
  const { stdout, stderr } = await symphony(
    world,
    ...["serve", world.workflowPath, "--dry-run", "--i-understand", "--json"],
  );
  assert.notEqual(stdout, "", stderr);
  const [first] = JSON.parse(stdout).plan;
  return first;
}

async function unable(server: Served) {
  return eventually("an agent is known to be unable", async () => {
    const { paused } = await server.client.system.state({});
    return paused.find(({ gate }) => gate === "agent");
  });
}

async function queued(server: Served) {
  return eventually("an issue is listed", async () => {
    const state = await server.client.system.state({});
    return state.queued[0];
  });
}

/** Claude's lines for a limit without a time. `tokens`: what it used before it met the limit. */
function limitLines(tokens: number): string {
  const usage = { input_tokens: tokens, output_tokens: 0 };
  const said = { id: "m-1", model: "m", content: [{ type: "text", text: "working" }], usage };
  const result = "You've hit your limit";
  const lines = [
    { type: "system", subtype: "init", session_id: "c-1" },
    ...(tokens > 0 ? [{ type: "assistant", message: said, session_id: "c-1" }] : []),
    {
      ...{ type: "result", subtype: "success", is_error: true, session_id: "c-1", result },
      ...{ terminal_reason: "api_error", api_error_status: 429, api_error: "usage_limit_reached" },
      ...(tokens > 0 && { usage }),
    },
  ];
  return lines.map((line) => `${JSON.stringify(line)}\n`).join("");
}

/** The agent `first` is at its limit; `second` runs `before`, writes its prompt down and waits. */
async function twoAgents(tokens: number, agent: object = {}, before = "") {
  const world = await settingsWorld((root) => ({
    agents: {
      first: {
        kind: "command",
        provider: { line: `cat '${root}/limit.jsonl'; exit 1`, output: "claude" },
      },
      second: {
        kind: "command",
        provider: { line: `${before}cat > '${root}/prompt.txt'; exec sleep 300` },
      },
    },
    agent: {
      ...{ use: "first", fallback: ["first", "second"], max_concurrent_agents: 1 },
      ...agent,
    },
  }));
  await writeFile(join(world.root, "limit.jsonl"), limitLines(tokens));
  return world;
}

describe("a program that is not found", () => {
  test("A21: it is known at start and in dry-run with the PATH that was searched, spends no attempt, and starts once it is there", async () => {
    await using world = await settingsWorld(() => ({
      agent: { kind: "command" },
      command: { line: "cd / && env A=b timeout 600 my-own-agent --go" },
    }));
    const tools = join(world.root, "tools");
    await writeFile(join(world.root, ".bash_profile"), `export PATH="$PATH:${tools}"\n`);
    const plan = await planOf(world);
    assert.equal(plan.would_run, false);
    assert.match(plan.why ?? "", /command\.line starts my-own-agent, and no directory of PATH/);
    assert.ok(plan.why?.includes(tools), plan.why ?? "");
    await using server = await serve(world);
    const { reason, agent } = await unable(server);
    assert.equal(agent, "command");
    assert.match(
      reason,
      /no directory of PATH has it: .*; install my-own-agent, or set command.line/,
    );
    const { waiting_for: why, issue_identifier: issue } = await queued(server);
    assert.match(why ?? "", /^nothing is started with command: /);
    const none = await server.client.issues.attempts({ params: { id: issue } });
    assert.deepEqual(none.attempts, []);
    await mkdir(tools);
    await writeFile(join(tools, "my-own-agent"), "#!/bin/sh\nexec sleep 300\n");
    await chmod(join(tools, "my-own-agent"), 0o755);
    assert.equal((await symphony(world, "refresh")).code, 0);
    await eventually("it runs", async () => {
      const { running, paused } = await server.client.system.state({});
      return running.length === 1 && paused.length === 0;
    });
    const { attempts } = await server.client.issues.attempts({ params: { id: issue } });
    assert.equal(attempts.length, 1);
  });
});

describe("an agent without a credential", () => {
  test("A11: claude without one is known before an attempt begins, and a stored secret starts it by itself", async () => {
    await using world = await claudeWorld({ env: { ANTHROPIC_API_KEY: "" } });
    await world.play({ turns: [{ steps: [{ do: "interrupted" }] }] });
    const dryRun = await symphony(
      world,
      ...["serve", world.workflowPath, "--dry-run", "--i-understand", "--json"],
    );
    const [first] = JSON.parse(dryRun.stdout).plan;
    assert.equal(first.would_run, false);
    assert.match(first.why, /has no credential.*symphony secrets add ANTHROPIC_API_KEY/);
    await using server = await world.serve();
    const { agent, reason } = await unable(server);
    assert.deepEqual([agent, reason], ["claude", first.why.replace(/^.*?claude: /, "")]);
    const { issue_identifier: id } = await queued(server);
    const before = await server.client.issues.attempts({ params: { id } });
    assert.deepEqual(before.attempts, []);
    await server.client.secrets.put({
      params: { key: "ANTHROPIC_API_KEY" },
      body: { value: "sk-claude-stored-later-0123456789" },
    });
    await eventually("it runs", async () => {
      const { running } = await server.client.system.state({});
      return running.length === 1;
    });
    const log = JSON.stringify(server.log);
    assert.ok(!log.includes("sk-claude-stored-later"), "the key is never shown");
  });
});

describe("a program that cannot move an issue", () => {
  const once = (line: string) =>
    settingsWorld((root) => ({
      agent: { kind: "command", max_turns: 5 },
      command: { line: `${line}; echo turn >> '${root}/turns.txt'` },
    }));

  test("A22: without tracker.on_success it is done after its turn and waits for a person", async () => {
    await using world = await once("touch made.txt");
    await using server = await serve(world);
    const held = await eventually("it is held", async () => {
      const state = await server.client.system.state({});
      return state.held[0];
    });
    assert.match(held.reason, /^done, and waits for a person: its program has not moved the issue/);
    const id = held.issue_identifier;
    assert.equal(held.next, `symphony diff ${id}`);
    const { explain } = await server.client.issues.detail({ params: { id } });
    const opens = explain.find(({ gate }) => gate === "not_held")?.opens ?? "";
    assert.match(
      opens,
      /transition \S+ completed, or symphony transition \S+ queued; symphony diff/,
    );
    const { attempts } = await server.client.issues.attempts({ params: { id } });
    assert.deepEqual(
      attempts.map(({ status, turn_count }) => [status, turn_count]),
      [["succeeded", 1]],
    );
    assert.equal(await readFile(join(world.root, "turns.txt"), "utf8"), "turn\n");
  });

  for (const [output, line] of [
    ["jsonl", `echo '{"type":"message","text":"nothing to do"}'`],
    [
      "claude",
      `echo '{"type":"result","subtype":"success","result":"nothing to do","session_id":"c-1"}'`,
    ],
  ] as const) {
    test(`A22: a turn of ${output} that changed nothing is not run again`, async () => {
      await using world = await settingsWorld((root) => ({
        agent: { kind: "command", max_turns: 5 },
        command: { line: `${line}; echo turn >> '${root}/turns.txt'`, output },
      }));
      await using server = await serve(world);
      const held = await eventually("it is held", async () => {
        return (await server.client.system.state({})).held[0];
      });
      assert.match(held.reason, /without a change \(no_changes\)/);
      assert.equal(await readFile(join(world.root, "turns.txt"), "utf8"), "turn\n");
    });
  }

  test("A22: tracker.on_success decides where there is one", async () => {
    await using world = await settingsWorld(() => ({
      tracker: { kind: "local", on_success: "Done" },
      agent: { kind: "command", max_turns: 5 },
      command: { line: "touch made.txt" },
    }));
    await using server = await serve(world);
    const row = await eventually("it is completed", async () => {
      const { completed } = await server.client.system.state({});
      return completed[0];
    });
    assert.equal(row.state, "Done");
  });
});

describe("an agent at its limit", () => {
  test("A1: an issue that it refused starts with the next agent, new ones too; when the pause is over, with the first again", async () => {
    await using world = await twoAgents(0);
    await using server = await serve(world);
    const row = await eventually("the second runs", async () => {
      const { running } = await server.client.system.state({});
      return running[0]?.agent === "second" ? running[0] : null;
    });
    const id = row.issue_identifier;
    const starts = await eventually("both starts are told", async () => {
      const events = await server.events(id);
      const found = events.filter(({ type }) => type === "issue.dispatched");
      return found.length === 2 ? found : null;
    });
    assert.deepEqual(
      starts.map(({ data }) => [data["agent"], data["stands_in_for"]]),
      [
        ["first", null],
        ["second", "first"],
      ],
    );
    const decision = await eventually("it is in the audit log", async () => {
      const { entries } = await server.client.audit.list({ query: { limit: 50 } });
      return entries.find(({ action }) => action === "issue.dispatched");
    });
    assert.deepEqual(
      [decision.actor, decision.detail["agent"], decision.detail["stands_in_for"]],
      ["orchestrator", "second", "first"],
    );
    const { attempts } = await server.client.issues.attempts({ params: { id } });
    assert.deepEqual(
      attempts.map(({ agent }) => agent),
      ["second", "first"],
    );
    const { paused } = await server.client.system.state({});
    assert.deepEqual([paused[0]?.gate, paused[0]?.agent], ["provider", "first"]);
    // The provider named no time: a person's refresh ends the pause.
    await writeFile(join(world.root, "limit.jsonl"), "");
    assert.equal((await symphony(world, "refresh")).code, 0);
    assert.equal((await symphony(world, "abort", id)).code, 0);
    const { identifier: created } = await server.client.issues.create({ body: { title: "Next" } });
    const next = await eventually("the next issue starts", async () => {
      const list = await server.client.issues.attempts({ params: { id: created } });
      return list.attempts.at(-1);
    });
    assert.equal(next.agent, "first");
  });

  test("work that it has begun waits for it; with agent.handover the next agent gets it with its record", async () => {
    {
      await using world = await twoAgents(500);
      await using server = await serve(world);
      const row = await eventually("it waits", async () => {
        const { retrying } = await server.client.system.state({});
        return retrying[0];
      });
      const { explain } = await server.client.issues.detail({
        params: { id: row.issue_identifier },
      });
      const gate = explain?.find((one) => one.gate === "provider");
      assert.equal(gate?.pass, false);
      assert.match(gate?.detail ?? "", /the provider \(first\) accepts no turns until/);
    }
    // It fails once before it has done anything: its retry still continues the work of the first.
    const handover = { handover: true, max_retries: 1, max_retry_backoff_ms: 1_000 };
    const once = "[ -e ../../once ] || { touch ../../once; exit 3; }; ";
    await using world = await twoAgents(500, handover, once);
    await using server = await serve(world);
    const row = await eventually("the second runs", async () => {
      const { running } = await server.client.system.state({});
      return running[0]?.agent === "second" ? running[0] : null;
    });
    const prompt = await eventually("it has its prompt", async () => {
      // The file is there a moment earlier than what is in it.
      const text = await readFile(join(world.root, "prompt.txt"), "utf8").catch(() => "");
      return text === "" ? null : text;
    });
    assert.match(prompt, new RegExp(`^Do ${row.issue_identifier}`));
    assert.match(prompt, /working/, "the record of what the first agent did");
  });
});
