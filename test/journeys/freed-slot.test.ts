import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { EventReader } from "../support/event-reader.ts";
import { startFakeLinear } from "../support/fake-linear.ts";
import { eventually, Served, symphony } from "../support/symphony.ts";

const agentFile = fileURLToPath(new URL("../../src/demo/agent.ts", import.meta.url));

/** Two issues, one slot, agents that never end by themselves, and an hour between two polls. */
async function project() {
  const root = await mkdtemp(join(tmpdir(), "symphony-slot-"));
  const linear = await startFakeLinear({
    issues: ["ENG-1", "ENG-2"].map((identifier) => ({ identifier, state: "Todo" })),
  });
  const parts = [process.execPath, agentFile, "--script", join(root, "script.json")];
  const command = [...parts, "--state", join(root, "agent")].map((part) => `"${part}"`).join(" ");
  const turns = [[{ do: "say", text: "A long one." }, { do: "hang" }]];
  await writeFile(join(root, "script.json"), JSON.stringify({ issues: { default: turns } }));
  const workflowPath = join(root, "WORKFLOW.md");
  await writeFile(
    workflowPath,
    `---
tracker:
  kind: linear
  provider:
    endpoint: ${JSON.stringify(linear.url)}
    api_key: $LINEAR_API_KEY
    project_slug: ${JSON.stringify(linear.project)}
polling: { interval_ms: 3600000 }
workspace: { root: workspaces }
agent: { max_concurrent_agents: 1 }
codex: { command: ${JSON.stringify(command)}, read_timeout_ms: 30000 }
---
Work on {{ issue.identifier }}
`,
  );
  return {
    linear,
    workflowPath,
    dataDir: join(root, "data"),
    env: { LINEAR_API_KEY: linear.apiKey, HOME: root },
    async [Symbol.asyncDispose]() {
      await linear.close();
      await rm(root, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

test("an abort gives its slot to the next issue at once: one request, no poll between", async (t) => {
  await using place = await project();
  await using server = await Served.start(place);
  const [first = "", second = ""] = await eventually("one issue runs, one waits", async () => {
    const { running, queued } = await server.client.system.state({});
    const rows = [...running.filter(({ session_id }) => session_id), ...queued];
    return rows.length === 2 && rows.map((row) => row.issue_identifier);
  });
  const before = (await server.client.system.state({})).polling.last_poll_at;
  const asked = place.linear.requests.length;
  const aborted = await symphony(place, "abort", first);
  assert.equal(aborted.code, 0, aborted.stderr);
  await eventually("the other one runs", async () => {
    const { running } = await server.client.issues.detail({ params: { id: second } });
    return running?.session_id;
  });
  assert.equal(place.linear.requests.length - asked, 1);
  assert.equal((await server.client.system.state({})).polling.last_poll_at, before);
  await using reader = await EventReader.open(Number(new URL(server.url).port), "?since=0");
  const is = (name: string, type: string) => (message: EventReader["messages"][number]) =>
    message.event === type && message.data.issue_identifier === name;
  const started = is(second, "attempt.started");
  await reader.until(({ messages }) => messages.some(started));
  const ended = reader.messages.findIndex(is(first, "attempt.ended"));
  const next = reader.messages.findIndex(started);
  assert.ok(ended >= 0 && ended < next, "first the one is gone, then the other begins");
  assert.ok(!reader.messages.slice(ended, next).some(({ event }) => event === "poll.completed"));
  const [from, to] = [ended, next].map((index) => Date.parse(reader.messages[index]?.data.at));
  t.diagnostic(`slot freed to next start: ${Number(to) - Number(from)} ms, one request`);
});
