import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import { createLinearTracker } from "../../src/core/tracker/linear/tracker.ts";
import { apiKey, ask, schemaLinear } from "../support/fakes/schema-linear.ts";
import { config } from "../support/makers/issue.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

const url = "http://127.0.0.1:9/webhooks/linear";

interface Hooks {
  readonly webhooks: {
    nodes: {
      id: string;
      url: string;
      enabled: boolean;
      secret: string;
      resourceTypes: string[];
      team: { id: string } | null;
    }[];
  };
}
const hooksOf = async (linear: string) =>
  (
    await ask<Hooks>(
      linear,
      "query { webhooks { nodes { id url enabled secret resourceTypes team { id } } } }",
    )
  ).webhooks.nodes;
const update = `mutation($id: String!, $input: WebhookUpdateInput!) {
  webhookUpdate(id: $id, input: $input) { success }
}`;

function trackerOf(linear: string, slug: string, key: string) {
  const provider = { endpoint: linear, project_slug: slug };
  return createLinearTracker({
    config: config({ tracker: { kind: "linear", provider } }).tracker,
    lookup: (name) => (name === "LINEAR_API_KEY" ? key : undefined),
    clock: systemClock,
  });
}

test("a webhook is created once, then adopted; a disabled one is enabled again", async () => {
  const { linear, project } = await schemaLinear("Backlog");
  try {
    const tracker = trackerOf(linear.url, project.slugId, apiKey);
    const order = { url, secret: null, secretIsFixed: false };
    const made = await tracker.registerWebhook?.(order);
    assert.equal(made?.outcome, "created");
    const [hook, ...others] = await hooksOf(linear.url);
    assert.deepEqual(others, []);
    assert.deepEqual([hook?.url, hook?.enabled, hook?.secret], [url, true, made.secret]);
    assert.deepEqual(hook?.resourceTypes, ["Issue", "Comment"]);
    assert.ok(hook.team, "one team's changes are enough where the project has one team");
    assert.deepEqual(await tracker.registerWebhook?.(order), { ...made, outcome: "adopted" });
    const input = { enabled: false, resourceTypes: ["Project", "Issue"] };
    await ask(linear.url, update, { id: hook.id, input });
    assert.deepEqual(await tracker.registerWebhook?.(order), { ...made, outcome: "enabled" });
    const [again, ...more] = await hooksOf(linear.url);
    assert.deepEqual([again?.id, again?.enabled, more], [hook.id, true, []]);
    assert.deepEqual(again?.resourceTypes.toSorted(), ["Comment", "Issue", "Project"]);
    const fixed = { url, secret: "lin_wh_in_the_file", secretIsFixed: true };
    assert.equal((await tracker.registerWebhook?.(fixed))?.secret, "lin_wh_in_the_file");
    assert.equal((await hooksOf(linear.url))[0]?.secret, "lin_wh_in_the_file");
  } finally {
    await linear.close();
  }
});

test("a key without permission gives an error that contains nothing from the answer", async () => {
  const { linear, project } = await schemaLinear("Backlog");
  try {
    const tracker = trackerOf(linear.url, project.slugId, "lin_oauth_fake");
    const order = { url, secret: "lin_wh_canary", secretIsFixed: false };
    await assert.rejects(async () => tracker.registerWebhook?.(order), {
      code: "tracker_status",
      details: { status: 403 },
    });
  } finally {
    await linear.close();
  }
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address ? address.port : 0;
}

async function place(linear: string, slug: string, key: string) {
  const root = await mkdtemp(join(tmpdir(), "symphony-register-"));
  await mkdir(join(root, "workspaces"));
  const provider = { endpoint: linear, project_slug: slug };
  await writeFile(
    join(root, "WORKFLOW.md"),
    `---\ntracker: { kind: linear, provider: ${JSON.stringify(provider)} }\npolling: { interval_ms: 600000 }
workspace: { root: ./workspaces }\ncodex: { command: "sleep 60" }\n---\nDo it\n`,
  );
  return {
    root,
    port: await freePort(),
    dataDir: join(root, "data"),
    workflowPath: join(root, "WORKFLOW.md"),
    env: { LINEAR_API_KEY: key, HOME: root },
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true, maxRetries: 5 }),
  };
}

test("serve --webhook-url registers the webhook, stores its secret and receives the next change", async () => {
  const { linear, project, issue, update: change } = await schemaLinear("Backlog");
  await using at = await place(linear.url, project.slugId, apiKey);
  try {
    const address = `http://127.0.0.1:${at.port}`;
    const args = ["--port", String(at.port), "--webhook-url", address];
    let secret = "";
    for (const outcome of ["created", "adopted"]) {
      await using server = await Served.start(at, ...args);
      await eventually("it is registered", async () => server.log.includes(`outcome=${outcome}`));
      const hooks = await hooksOf(linear.url);
      assert.deepEqual(
        hooks.map((hook) => hook.url),
        [`${address}/webhooks/linear`],
      );
      secret ||= hooks[0]?.secret ?? "";
      assert.equal(hooks[0]?.secret, secret);
      await change({ title: `Seen by the ${outcome} one` });
      const events = await eventually("the delivery came", async () => {
        const shown = await symphony(at, "events", "--type", "webhook.received", "--json");
        return shown.stdout.includes(issue.identifier) ? shown.stdout : null;
      });
      const listed = await symphony(at, "secrets", "list");
      assert.match(listed.stdout, /LINEAR_WEBHOOK_SECRET/);
      const audit = await symphony(at, "audit", "--json");
      assert.match(audit.stdout, /"webhooks\.register"/);
      const log = await readFile(join(at.dataDir, "log", "symphony.log"), "utf8");
      const stored = await readFile(join(at.dataDir, "secrets.json"), "utf8");
      const shown = [server.log, events, listed.stdout, audit.stdout, log, stored].join("");
      assert.ok(secret !== "" && !shown.includes(secret), "the secret is nowhere to be seen");
    }
  } finally {
    await linear.close();
  }
});

test("serve --webhook-url with a key without permission reports it and continues to serve", async () => {
  const { linear, project } = await schemaLinear("Backlog");
  await using at = await place(linear.url, project.slugId, "lin_oauth_fake");
  try {
    await using server = await Served.start(at, "--webhook-url", "https://hooks.example.com");
    await eventually("it says so", async () => server.log.includes("webhook not registered"));
    assert.match(server.log, /administrator/);
    assert.equal((await server.client.system.runtime()).features["webhooks"], false);
    for (const bad of [
      "http://hooks.example.com",
      "hooks.example.com",
      "https://a:b@example.com",
    ]) {
      const refused = await symphony(at, "serve", at.workflowPath, "--webhook-url", bad);
      assert.equal(refused.code, 2, bad);
    }
  } finally {
    await linear.close();
  }
});
