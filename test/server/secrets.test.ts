import assert from "node:assert/strict";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { startFakeLinear } from "../support/fakes/fake-linear.ts";
import { freshProject, openReal, type RealServer } from "../support/worlds/real-server.ts";
import { eventually } from "../support/worlds/symphony.ts";

const canary = "lin_api_canary_7d21";
const secretsPath = "/api/v1/secrets";
const post = (server: RealServer, key: string, value: unknown) =>
  server.ask(`${secretsPath}/${key}`, { method: "POST", body: { value } });

test("H-18: 201 for a new secret, 200 for a replaced one, 204 and 404 for a removed one; names only", async () => {
  await using project = await freshProject();
  await using server = await openReal(project.dir);
  assert.deepEqual((await server.ask(secretsPath)).json(), { keys: [] });
  const created = await post(server, "LINEAR_API_KEY", canary);
  assert.equal(created.status, 201);
  assert.equal(api.secrets.put.reply.parse(created.json()).key, "LINEAR_API_KEY");
  assert.equal((await post(server, "A", "x")).status, 201);
  assert.equal((await post(server, "LINEAR_API_KEY", `${canary}2`)).status, 200);
  assert.deepEqual((await server.ask(secretsPath)).json(), { keys: ["A", "LINEAR_API_KEY"] });
  const remove = () => server.ask(`${secretsPath}/A`, { method: "DELETE" });
  assert.equal((await remove()).status, 204);
  const absent = await remove();
  assert.deepEqual([absent.status, absent.json().error.code], [404, "secret_not_found"]);
  assert.equal((await server.ask(`${secretsPath}/A`)).status, 405);
});

test("an invalid name or value is refused, and never echoed", async () => {
  await using project = await freshProject();
  await using server = await openReal(project.dir);
  for (const key of ["1A", "A-B", "a".repeat(129), "A%2FB"]) {
    assert.equal((await post(server, key, canary)).status, 400, key);
  }
  for (const value of ["", "\ud800", "é".repeat(32_769), 5, [canary], null, undefined]) {
    const answer = await post(server, "A", value);
    assert.equal(answer.status, 400);
    assert.doesNotMatch(answer.text, /canary/);
  }
  const stray = await server.ask(`${secretsPath}/A`, {
    method: "POST",
    body: { value: "fine", note: canary },
  });
  assert.equal(stray.status, 400);
  assert.equal((await post(server, "A", "é".repeat(32_768))).status, 201);
  assert.deepEqual((await server.ask(secretsPath)).json(), { keys: ["A"] });
});

test("X-8: no route, log line, event, audit entry or file holds a value", async () => {
  await using project = await freshProject();
  await using server = await openReal(project.dir);
  await post(server, "LINEAR_API_KEY", canary);
  const pasted = { tracker: { provider: { note: `key ${canary}` } } };
  await server.ask("/api/v1/config/overlay", { method: "PUT", body: { "x-note": "nothing" } });
  server.core.bus.publish({
    type: "agent.message",
    message: `I found ${canary}`,
    data: { canary },
  });
  server.core.log.error("an error", { reason: canary });
  const routes = [
    "state",
    "runtime",
    "secrets",
    "config",
    "config/schema",
    "openapi.json",
    "issues",
  ];
  for (const route of routes) {
    const { text } = await server.ask(`/api/v1/${route}`);
    assert.ok(!text.includes(canary), route);
  }
  server.core.bus.flush();
  const events = server.core.history.events({ afterSeq: 0, limit: 500 });
  const event = events.find(({ type }) => type === "secret.changed");
  assert.deepEqual(event?.data, { key: "LINEAR_API_KEY", change: "created" });
  assert.ok(!JSON.stringify(events).includes(canary));
  assert.ok(!server.logged.join("").includes(canary));
  await server.stop();
  assert.ok(!server.logged.join("").includes(canary));
  for (const entry of await readdir(server.dataDir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const bytes = await readFile(join(entry.parentPath, entry.name), "latin1");
    assert.ok(!bytes.includes(canary), entry.name);
  }
  await writeFile(
    server.workflowPath,
    `---\ntracker: ${JSON.stringify({ kind: "local", ...pasted.tracker })}\n---\n`,
  );
  await using again = await openReal(project.dir);
  const { text } = await again.ask("/api/v1/config");
  assert.match(text, /key \[redacted\]/);
  assert.ok(!text.includes(canary));
});

test("W-16: $NAME is looked up in the secrets, then in the environment, at each request", async () => {
  await using project = await freshProject();
  await using linear = await startFakeLinear({ apiKey: canary });
  {
    await using server = await openReal(project.dir);
    await post(server, "MY_KEY", canary);
  }
  const provider = `{ endpoint: "${linear.url}", project_slug: "${linear.project}", api_key: $MY_KEY }`;
  await writeFile(
    join(project.dir, "WORKFLOW.md"),
    `---\ntracker: { kind: linear, provider: ${provider}, required_labels: [none] }\n---\n`,
  );
  await using server = await openReal(project.dir, { env: { MY_KEY: "of-the-environment" } });
  const keys = () => linear.requests.map(({ headers }) => headers.authorization);
  const requestWith = async (key: string) => {
    await server.ask("/api/v1/refresh", { method: "POST" });
    await eventually(`a request with ${key}`, async () => keys().includes(key));
  };
  await requestWith(canary);
  assert.ok(!keys().includes("of-the-environment"));
  await post(server, "MY_KEY", "another-secret");
  await requestWith("another-secret");
  await server.ask(`${secretsPath}/MY_KEY`, { method: "DELETE" });
  await requestWith("of-the-environment");
  assert.ok(!server.logged.join("").includes("another-secret"));
});

test("the audit log has the name of the secret and no part of its value", async () => {
  await using project = await freshProject();
  await using server = await openReal(project.dir);
  const entries: { action: string; target: string | null; outcome: string }[] = [];
  server.core.history.audit = (entry) => entries.push(entry) > 0;
  await post(server, "A", canary);
  await server.ask(`${secretsPath}/B`, { method: "DELETE" });
  assert.deepEqual(
    entries.map(({ action, target, outcome }) => [action, target, outcome]),
    [
      ["secrets.put", "A", "ok"],
      ["secrets.remove", "B", "secret_not_found"],
    ],
  );
  assert.ok(!JSON.stringify(entries).includes(canary));
});
