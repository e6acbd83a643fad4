// The notices of a real server over HTTP. "D27" names the row of the situations of an operator's desk that went wrong elsewhere.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { FakeReceiver } from "../support/fakes/receiver.ts";
import { freshProject, openReal } from "../support/worlds/real-server.ts";
import { eventually } from "../support/worlds/symphony.ts";

const secret = "signing-canary-0123456789";

function workflow(rules: readonly object[]): string {
  const head = {
    tracker: { kind: "local", required_labels: ["ready"] },
    workspace: { root: "workspaces" },
    codex: { command: "sleep 600" },
    notify: rules,
    server: { public_url: "https://desk.example" },
  };
  return `---\n${JSON.stringify(head)}\n---\nWork on {{ issue.title }}\n`;
}

const team = {
  name: "team",
  when: ["held"],
  to: "webhook",
  url: "$HOOK_URL",
  secret: "$HOOK_SECRET",
  batch_ms: 0,
};

test("a held issue is reported, listed and counted; the test notice is audited, and an unknown rule is not found", async () => {
  await using receiver = await FakeReceiver.open();
  await using project = await freshProject({ workflow: workflow([team]) });
  const env = { HOOK_URL: receiver.url, HOOK_SECRET: secret, HOME: project.dir };
  await using server = await openReal(project.dir, { env });
  server.core.bus.publish({
    type: "issue.held",
    issueId: "1",
    issueIdentifier: "LOCAL-1",
    message: "by an operator",
  });
  const rule = await eventually("it is reported", async () => {
    const [one] = (await server.ask("/api/v1/notices")).json().rules;
    return one.last === null ? null : one;
  });
  assert.deepEqual(
    [rule.name, rule.to, rule.last.outcome, rule.waiting],
    ["team", "webhook", "sent", 0],
  );
  assert.equal(receiver.received[0]?.body.url, "https://desk.example/");
  const metrics = (await server.ask("/metrics")).text;
  assert.match(metrics, /symphony_notices_total\{to="webhook",outcome="sent"\} 1/);
  const post = (body: unknown) => server.ask("/api/v1/notices/test", { method: "POST", body });
  const { results } = (await post({ name: "team" })).json();
  assert.deepEqual(
    [results.length, results[0].outcome, results[0].reason],
    [1, "sent", "HTTP 200"],
  );
  const missing = await post({ name: "taem" });
  assert.equal(missing.status, 404);
  assert.equal(missing.json().error.code, "not_found");
  const { entries } = (await server.ask("/api/v1/audit?limit=5")).json();
  const actions = entries.map(
    ({ action, outcome }: { action: string; outcome: string }) => `${action} ${outcome}`,
  );
  assert.ok(
    actions.some((one: string) => /notices?\.test ok/.test(one)),
    actions.join(),
  );
});

test("D27: address, secret and signature of a receiver are in no answer, log, event or file but the store of secrets", async () => {
  await using receiver = await FakeReceiver.open();
  await using project = await freshProject({ workflow: workflow([team]) });
  receiver.answer = (_, count) => ({
    status: 400,
    text: `${receiver.url} ${receiver.received.length} ${count} ${secret}`,
  });
  await using server = await openReal(project.dir, { env: { HOME: project.dir } });
  for (const [key, value] of [
    ["HOOK_URL", receiver.url],
    ["HOOK_SECRET", secret],
  ]) {
    const body = { value };
    await server.ask(`/api/v1/secrets/${key}`, { method: "POST", body });
  }
  const tested = await server.ask("/api/v1/notices/test", { method: "POST", body: {} });
  assert.match(tested.text, /HTTP 400/);
  server.core.bus.publish({
    type: "issue.held",
    issueId: "1",
    issueIdentifier: "LOCAL-1",
    message: `held ${secret}`,
  });
  await eventually("the notice failed", async () => {
    const [one] = (await server.ask("/api/v1/notices")).json().rules;
    return one.last?.outcome === "failed";
  });
  const paths = [
    "notices",
    "config",
    "config/overlay",
    "runtime",
    "state",
    "audit",
    "secrets",
    "issues",
  ];
  const answers = await Promise.all(
    paths.map(async (path) => (await server.ask(`/api/v1/${path}`)).text),
  );
  const signatures = receiver.received.map(({ headers }) =>
    String(headers["x-symphony-signature"]).slice(7),
  );
  const events = JSON.stringify(server.core.history.events({ afterSeq: 0, limit: 500 }));
  const metrics = (await server.ask("/metrics")).text;
  const { logged } = server;
  await server.stop();
  const files = await Promise.all(
    ["notify.db", "history.db", "record.db"].map((name) =>
      readFile(join(server.dataDir, name), "latin1"),
    ),
  );
  const all = [tested.text, ...answers, events, metrics, logged.join("\n"), ...files].join("\n");
  for (const canary of [receiver.url, "canarytoken0123456789", secret, ...signatures]) {
    assert.ok(canary.length > 10 && !all.includes(canary), canary);
  }
  assert.ok(
    !JSON.stringify(receiver.received.map(({ body }) => body)).includes(secret),
    "redacted by value",
  );
});

test("a changed rule is used without a restart, and a wrong one changes nothing", async () => {
  await using receiver = await FakeReceiver.open();
  await using project = await freshProject({ workflow: workflow([]) });
  await using server = await openReal(project.dir, {
    env: { HOOK_URL: receiver.url, HOOK_SECRET: secret },
  });
  const put = (notify: unknown) =>
    server.ask("/api/v1/config/overlay", { method: "PUT", body: { notify } });
  assert.equal((await put([team])).status, 200);
  const wrong = await put([{ ...team, to: "pigeon" }]);
  assert.equal(wrong.status, 422);
  assert.match(wrong.text, /notify\.0\.to/);
  const names = async () =>
    (await server.ask("/api/v1/notices")).json().rules.map(({ name }: { name: string }) => name);
  assert.deepEqual(await names(), ["team"]);
  server.core.bus.publish({
    type: "issue.held",
    issueId: "1",
    issueIdentifier: "LOCAL-1",
    message: "held",
  });
  await eventually("it is reported", async () => receiver.received.length === 1);
});
