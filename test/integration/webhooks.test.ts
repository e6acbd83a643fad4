import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { apiKey, ask, schemaLinear } from "../support/fakes/schema-linear.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

const agentFile = fileURLToPath(new URL("../../src/demo/agent.ts", import.meta.url));
const secret = "lin_wh_of_this_test";

/** A Linear whose one issue is not ready yet, and a workflow that polls it every ten minutes. */
async function arrange() {
  const { linear, issue, project, stateId, update } = await schemaLinear("Backlog");
  const root = await mkdtemp(join(tmpdir(), "symphony-hooks-"));
  await mkdir(join(root, "workspaces"));
  const turn = [
    { do: "say", text: "At work." },
    { do: "waitForSteer", ms: 600_000 },
    { do: "run", command: "sleep 600" },
  ];
  const script = JSON.stringify({ issues: { default: [turn] } });
  await writeFile(join(root, "script.json"), script);
  const parts = [process.execPath, agentFile, "--script", join(root, "script.json")];
  const command = [...parts, "--state", join(root, "agent")].map((part) => `"${part}"`).join(" ");
  const provider = {
    endpoint: linear.url,
    project_slug: project.slugId,
    api_key: "$LINEAR_API_KEY",
    webhook_secret: "$HOOK_SECRET",
  };
  await writeFile(
    join(root, "WORKFLOW.md"),
    `---\ntracker: { kind: linear, comment_steering: mention, provider: ${JSON.stringify(provider)} }\npolling: { interval_ms: 600000 }
workspace: { root: ./workspaces }\ncodex: { command: ${JSON.stringify(command)}, read_timeout_ms: 30000 }\n---\nDo {{ issue.identifier }}\n`,
  );
  return {
    linear,
    issue,
    place: {
      workflowPath: join(root, "WORKFLOW.md"),
      dataDir: join(root, "data"),
      env: { LINEAR_API_KEY: apiKey, HOOK_SECRET: secret, HOME: root },
    },
    move: (state: string) => update({ stateId: stateId(state) }),
    /** As an administrator of the workspace does. */
    register: (url: string) =>
      ask(
        linear.url,
        `mutation($input: WebhookCreateInput!) { webhookCreate(input: $input) { success } }`,
        { input: { url, secret, resourceTypes: ["Issue", "Comment"], allPublicTeams: true } },
      ),
    /** As a person of the workspace does. */
    async comment(body: string) {
      const query = `mutation($input: CommentCreateInput!) { commentCreate(input: $input) { success } }`;
      const variables = { input: { issueId: issue.id, body } };
      await fetch(`${new URL(linear.url).origin}/__act`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ as: "grace", query, variables }),
      });
    },
    async deliveries() {
      const origin = new URL(linear.url).origin;
      const response = await fetch(`${origin}/__webhooks?settled`);
      return (await response.json()) as { deliveries: { status?: number }[] };
    },
    async again(how: object) {
      const origin = new URL(linear.url).origin;
      const response = await fetch(`${origin}/__webhook`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ type: "Issue", issue: issue.identifier, ...how }),
      });
      return (await response.json()) as { deliveries: { status?: number }[] };
    },
    async [Symbol.asyncDispose]() {
      await linear.close();
      await rm(root, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

async function eventTimes(server: Served, name: string): Promise<Map<string, number>> {
  const events = await symphony(
    { env: { SYMPHONY_URL: server.url } },
    "events",
    "--issue",
    name,
    "--json",
  );
  const rows = events.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { type: string; at: string });
  return new Map(rows.reverse().map(({ type, at }) => [type, Date.parse(at)]));
}

test("a change in Linear starts the agent without a poll, and a change to Done ends it", async (t) => {
  await using it = await arrange();
  await using server = await Served.start(it.place);
  await eventually("the first poll is over", async () => {
    const { polling } = await server.client.system.state();
    return polling.last_poll_at !== null;
  });
  await it.register(`${server.url}/webhooks/linear`);
  it.linear.clearLog();
  await it.move("Todo");
  const { identifier } = it.issue;
  await eventually("the agent runs", async () => {
    const { running } = await server.client.system.state();
    return running.some((row) => row.issue_identifier === identifier && row.turn_count > 0);
  });
  const own = it.linear.requests.flatMap(({ operationName }) => operationName ?? []);
  assert.deepEqual([...new Set(own)], ["SymphonyIssuesById"]);
  await it.comment("not for the agent");
  await it.comment("@symphony use tabs");
  await eventually("the agent has heard the comment", async () =>
    (await eventTimes(server, identifier)).has("steer.delivered"),
  );
  const comments = it.linear.requests.filter((one) => one.operationName === "SymphonyComment");
  assert.equal(comments.length, 2);
  const times = await eventTimes(server, identifier);
  const since = (type: string) => (times.get(type) ?? NaN) - (times.get("webhook.received") ?? NaN);
  t.diagnostic(`ms after the delivery: dispatched ${since("issue.dispatched")}`);
  t.diagnostic(`session ${since("session.started")}, turn ${since("turn.started")}`);
  assert.ok(since("issue.dispatched") >= 0);
  await it.move("Done");
  await eventually("the agent is stopped", async () => {
    const { counts } = await server.client.system.state();
    return counts.running === 0;
  });
  const { deliveries } = await it.deliveries();
  assert.ok(deliveries.length >= 2);
  assert.ok(deliveries.every(({ status }) => status === 200));
});

test("THREAT-20: forged deliveries of the schema-true server are refused, a late one and a fresh one are accepted", async () => {
  await using it = await arrange();
  await using server = await Served.start(it.place);
  await it.register(`${server.url}/webhooks/linear`);
  const statuses = async (how: object) =>
    (await it.again(how)).deliveries.map(({ status }) => status);
  assert.deepEqual(await statuses({ badSignature: true }), [401]);
  assert.deepEqual(await statuses({ staleMs: 61_000 }), [200]);
  assert.deepEqual(await statuses({ omit: ["Linear-Signature"] }), [401]);
  assert.deepEqual(await statuses({ omit: ["Linear-Delivery", "Linear-Timestamp"] }), [200]);
});
