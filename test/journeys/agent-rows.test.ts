import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { liveProcesses } from "../../src/core/process/table.ts";
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
