import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { liveProcesses } from "../../src/core/process/table.ts";
import { used } from "../support/fakes/claude-script.ts";
import { claudeWorld } from "../support/worlds/claude-world.ts";
import { eventually, symphony } from "../support/worlds/symphony.ts";

// A real `symphony serve` with a scripted Claude Code. Rows of the case file of agents are named "A1: …".

const move = { do: "mcp", tool: "issue_move", args: { state: "Done" } } as const;
const waits = { turns: [{ steps: [{ do: "interrupted" }] }] } as const;

describe("serve with agent.kind claude", () => {
  test("an issue is worked on, a person approves and guides, and it is moved to Done", async () => {
    await using world = await claudeWorld({ agent: { approvals: "ask" } });
    await world.play({
      turns: [
        {
          steps: [
            { do: "tool", name: "Bash", input: { command: "make" }, runs: "ok" },
            { do: "steered" },
            move,
          ],
          result: used(1_000, 20, 300),
        },
      ],
    });
    await using server = await world.serve();
    const item = await eventually("a question", async () => (await world.json("inbox")).items[0]);
    assert.equal(item.prompt, "Run this command?\nmake");
    const issue: string = item.issue_identifier;
    assert.equal((await symphony(world, "respond", issue, "approve")).code, 0);
    assert.equal((await symphony(world, "steer", issue, "auth first")).code, 0);
    const done = await eventually("it is completed", async () => {
      const { completed } = await server.client.system.state({});
      return completed.find((row) => row.issue_identifier === issue);
    });
    assert.deepEqual([done.state, done.tokens.total_tokens], ["Done", 1_320]);
    const events = await server.events(issue);
    assert.ok(events.some(({ type }) => type === "steer.delivered"));
    assert.ok(events.some(({ message }) => message.includes("heard: auth first")));
    const shown = JSON.stringify([events, server.log]);
    assert.ok(!shown.includes("sk-claude-of-the-operator"), "the key is never shown");
    assert.deepEqual(await world.got("blocked"), [], "a finished issue needs no reminder");
    const [start] = await world.got("start");
    const env = start?.["env"] as Record<string, string>;
    assert.equal(env["ANTHROPIC_API_KEY"], "sk-claude-of-the-operator-0123456789");
    assert.ok(
      env["CLAUDE_CONFIG_DIR"]?.startsWith(join(world.root, "home", ".symphony", "claude")),
    );
    assert.deepEqual(
      Object.keys(env).filter((name) => name.includes("CREDENTIAL")),
      [],
    );
  });

  test("after kill -9 of the server the session is resumed, and guidance that was taken up is not said again", async () => {
    await using world = await claudeWorld();
    await world.play({ turns: [{ steps: [{ do: "steered" }, { do: "interrupted" }] }] });
    let thread: string | null;
    let issue: string;
    {
      await using server = await world.serve();
      const row = await eventually("it runs", async () => {
        const { running } = await server.client.system.state({});
        return running[0]?.turn_count === 1 ? running[0] : null;
      });
      issue = row.issue_identifier;
      assert.equal((await symphony(world, "steer", issue, "use tabs")).code, 0);
      await eventually("it heard", async () =>
        (await server.events(issue)).some(({ message }) => message.includes("heard: use tabs")),
      );
      const { running } = await server.client.issues.detail({ params: { id: issue } });
      thread = running?.thread_id ?? null;
      await server.crash();
    }
    await world.play({ turns: [{ steps: [move] }] });
    await using server = await world.serve();
    await eventually("it is completed", async () => {
      const { completed } = await server.client.system.state({});
      return completed.some((row) => row.issue_identifier === issue);
    });
    const starts = (await world.got("start")).map(({ args }) => args as string[]);
    assert.equal(starts.length, 2);
    assert.ok(starts[1]?.includes("--resume") && starts[1].includes(thread ?? "none"));
    const texts = (await world.got("user")).map((one) => JSON.stringify(one["message"]));
    assert.equal(texts.filter((text) => text.includes("use tabs")).length, 1);
  });

  test("A1: a limit pauses the agent until its reset and spends no retry; the session is resumed", async () => {
    await using world = await claudeWorld({ agent: { max_retries: 0 } });
    const limited = { is_error: true, terminal_reason: "api_error", api_error_status: 429 };
    await world.play({
      turns: [
        {
          steps: [{ do: "limit", seconds: 6 }],
          result: { ...limited, result: "You've hit your 5-hour limit" },
        },
      ],
    });
    await using server = await world.serve();
    const { paused } = await eventually("it is paused", async () => {
      const state = await server.client.system.state({});
      return state.paused.length > 0 ? state : null;
    });
    const [limit] = await world.got("limit");
    const resetsAt = Number(limit?.["resetsAt"]);
    assert.deepEqual(
      paused.map(({ agent, until }) => [agent, until]),
      [["claude", new Date(resetsAt * 1_000).toISOString()]],
    );
    await world.play({ turns: [{ steps: [move] }] });
    await eventually("it is completed", async () => {
      return (await server.client.system.state({})).completed.length === 1;
    });
    assert.ok(Date.now() >= resetsAt * 1_000, "not before its time");
    const starts = await world.got("start");
    assert.ok(starts.some(({ args }) => args?.toString().includes("--resume")));
  });

  test("a pause that no issue waits for holds after kill -9: dry-run and the next server start nothing with that agent", async () => {
    await using world = await claudeWorld({ agent: { max_concurrent_agents: 1 }, issues: 2 });
    const limited = { is_error: true, terminal_reason: "api_error", api_error_status: 429 };
    await world.play({
      turns: [
        {
          steps: [{ do: "limit", seconds: 3_600 }],
          result: { ...limited, result: "You've hit your 5-hour limit" },
        },
      ],
    });
    const pausesOf = async (server: Awaited<ReturnType<typeof world.serve>>) =>
      (await server.client.system.state({})).paused.map(({ agent, until }) => [agent, until]);
    const before = [];
    {
      await using server = await world.serve();
      const row = await eventually("it waits for the limit", async () => {
        return (await server.client.system.state({})).retrying[0];
      });
      before.push(...(await pausesOf(server)));
      assert.equal(before.length, 1);
      const held = await symphony(world, "transition", row.issue_identifier, "held");
      assert.equal(held.code, 0, held.stderr);
      await server.crash();
    }
    await world.play({ turns: [{ steps: [move] }] });
    const plan = await symphony(world, "serve", world.workflowPath, "--dry-run", "--i-understand");
    assert.match(plan.stdout, /the provider \(claude\) accepts no turns until/);
    await using server = await world.serve();
    assert.deepEqual(await pausesOf(server), before);
    await eventually("it has polled", async () => {
      const { queued } = await server.client.system.state({});
      return queued.some((row) => row.waiting_for?.includes("accepts no turns"));
    });
    assert.equal((await world.got("start")).length, 1);
  });

  test("A11: a refused key stops new starts, is said once, and ends with a refresh", async () => {
    await using world = await claudeWorld({
      agent: { max_retries: 0, max_concurrent_agents: 1 },
      issues: 3,
    });
    const message = {
      id: "m",
      model: "<synthetic>",
      content: [{ type: "text", text: "Invalid API key" }],
    };
    const line = { type: "assistant", message, error: "authentication_failed" };
    const result = { is_error: true, terminal_reason: "api_error", result: "Invalid API key" };
    await world.play({ turns: [{ steps: [{ do: "write", line }], result }] });
    await using server = await world.serve();
    const state = await eventually("it is paused", async () => {
      const now = await server.client.system.state({});
      return now.paused.length > 0 ? now : null;
    });
    assert.match(
      state.paused[0]?.reason ?? "",
      /Invalid API key; next: give it a valid credential/,
    );
    assert.deepEqual([state.retrying.length, state.failed.length], [1, 0]);
    assert.equal((await world.got("start")).length, 1);
    await world.play({ turns: [{ steps: [move] }] });
    assert.equal((await symphony(world, "refresh")).code, 0);
    await eventually("all are completed", async () => {
      return (await server.client.system.state({})).completed.length === 3;
    });
  });

  test("A24: a silent agent ends after agent.silence_timeout_ms, and its session is resumed", async () => {
    await using world = await claudeWorld({ agent: { silence_timeout_ms: 5_000 } });
    await world.play(waits);
    await using server = await world.serve();
    await eventually("it runs", async () => (await world.got("user")).length === 1);
    await world.play({ turns: [{ steps: [move] }] });
    await eventually("it is completed", async () => {
      return (await server.client.system.state({})).completed.length === 1;
    });
    const starts = await world.got("start");
    assert.ok(starts.some(({ args }) => args?.toString().includes("--resume")));
  });

  test("an issue that is not moved is named once to its agent; abort leaves no process", async () => {
    await using world = await claudeWorld({ agent: { max_turns: 1 } });
    await world.play({ turns: [{ steps: [{ do: "say", text: "done" }] }, ...waits.turns] });
    await using server = await world.serve();
    const [reason] = await eventually("a reminder", async () => {
      const told = await world.got("blocked");
      return told.length > 0 ? told : null;
    });
    assert.match(String(reason), /is still in the state Todo/);
    await world.play(waits);
    const row = await eventually("it waits", async () => {
      const { running } = await server.client.system.state({});
      return running.find(({ attempt_id: id }) => id !== null && (running[0]?.turn_count ?? 0) > 0);
    });
    await symphony(world, "abort", row.issue_identifier);
    await eventually("no process is left", async () => {
      return (await liveProcesses()).every(({ runId }) => !runId?.includes(row.attempt_id ?? ""));
    });
    assert.ok((await readFile(world.workflowPath, "utf8")).includes("claude"));
  });
});
