import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { freshProject, openReal, type RealServer } from "../support/worlds/real-server.ts";

const put = (server: RealServer, body: unknown, headers: Record<string, string> = {}) =>
  server.ask("/api/v1/config/overlay", { method: "PUT", body, headers });
const overlayOf = (server: RealServer) => server.ask("/api/v1/config/overlay");

test("H-18: the configuration is shown as written, with origins and without credentials", async () => {
  const workflow = `---
tracker: { kind: local, provider: { password: literal-canary, other_token: $TOKEN } }
x-note: the token of the environment
---
`;
  await using project = await freshProject({ workflow });
  await using server = await openReal(project.dir, { env: { SYMPHONY_AGENT__MAX_TURNS: "4" } });
  const answer = await server.ask("/api/v1/config");
  const { config, origins } = api.config.show.reply.parse(answer.json());
  assert.equal(answer.status, 200);
  assert.doesNotMatch(answer.text, /canary/);
  const { tracker, agent } = config as Record<string, Record<string, unknown>>;
  assert.deepEqual(tracker?.["provider"], { password: "[redacted]", other_token: "$TOKEN" });
  assert.deepEqual([agent?.["max_turns"], origins["agent.max_turns"]], [4, "env"]);
  assert.equal(origins["polling.interval_ms"], "default");
  assert.equal(origins["tracker.kind"], "workflow");
  const schema = await server.ask("/api/v1/config/schema");
  assert.equal(schema.json().$schema, "https://json-schema.org/draft/2020-12/schema");
});

test("H-18: PUT takes what GET returns; a change is in force at once, published as an event, and kept after a restart", async () => {
  await using project = await freshProject();
  {
    await using server = await openReal(project.dir);
    assert.deepEqual((await overlayOf(server)).json(), {});
    const overlay = { agent: { max_turns: 5 }, server: { port: 4001 } };
    const stored = await put(server, overlay);
    assert.deepEqual([stored.status, stored.json()], [200, overlay]);
    assert.equal(server.core.config.current.config.agent.maxTurns, 5);
    server.core.bus.flush();
    const [event] = server.core.history.events({
      afterSeq: 0,
      limit: 9,
      types: ["config.changed"],
    });
    assert.deepEqual(event?.data, {
      keys: ["agent.max_turns", "server.port"],
      needs_restart: ["server.port"],
    });
    assert.match(event?.message ?? "", /server\.port at the next start/);
    assert.deepEqual((await put(server, (await overlayOf(server)).json())).json(), overlay);
  }
  await using again = await openReal(project.dir);
  assert.equal(again.core.config.current.config.agent.maxTurns, 5);
  assert.deepEqual((await overlayOf(again)).json().agent, { max_turns: 5 });
});

test("with ETag, If-None-Match and If-Match two operators cannot overwrite each other's change", async () => {
  await using project = await freshProject();
  await using server = await openReal(project.dir);
  const { etag = "" } = (await overlayOf(server)).headers;
  assert.match(etag, /^"[\w-]+"$/);
  const unchanged = await server.ask("/api/v1/config/overlay", {
    headers: { "if-none-match": etag },
  });
  assert.deepEqual([unchanged.status, unchanged.text], [304, ""]);
  const first = await put(server, { agent: { max_turns: 5 } }, { "if-match": etag });
  assert.equal(first.status, 200);
  const second = await put(server, { agent: { max_turns: 6 } }, { "if-match": etag });
  assert.equal(second.status, 409);
  assert.equal(second.json().error.code, "overlay_changed");
  assert.equal(second.json().error.details.etag, first.headers.etag);
  assert.deepEqual((await overlayOf(server)).json(), { agent: { max_turns: 5 } });
  const any = await put(server, {}, { "if-match": "*" });
  assert.deepEqual([any.status, any.headers.etag], [200, etag]);
});

test("W-25: an invalid overlay is refused as a whole, and every dotted path is named", async () => {
  await using project = await freshProject();
  await using server = await openReal(project.dir);
  const good = { agent: { max_turns: 5 } };
  await put(server, good);
  const bad: [unknown, string[]][] = [
    [
      { agent: { max_turns: 6, max_retries: -1 }, polling: { interval_ms: 0 } },
      ["polling.interval_ms", "agent.max_retries"],
    ],
    [{ agent: { max_trns: 6 } }, ["agent.max_trns"]],
    ['{"agent": {"max_turns": 6}, "__proto__": {"admin": true}}', ["__proto__"]],
    ['{"tracker": {"provider": {"constructor": 1}}}', ["tracker.provider.constructor"]],
    [{ tracker: { provider: { api_key: "literal" } } }, ["tracker.provider.api_key"]],
  ];
  for (const [body, paths] of bad) {
    const headers = { "content-type": "application/json" };
    const answer = await put(server, body, headers);
    const { code, details } = answer.json().error;
    assert.deepEqual([answer.status, code], [422, "invalid_config"], answer.text);
    const found = details.problems.map(({ path }: { path: string }) => path);
    for (const path of paths) assert.ok(found.includes(path), `${path} in ${found}`);
  }
  const kind = await put(server, { tracker: { kind: "future" } });
  assert.deepEqual([kind.status, kind.json().error.code], [422, "unsupported_tracker_kind"]);
  for (const body of [[], "null", 5]) {
    const answer = await put(server, body, { "content-type": "application/json" });
    assert.equal(answer.status, 400, answer.text);
  }
  assert.deepEqual((await overlayOf(server)).json(), good);
  assert.equal(server.core.config.current.config.agent.maxTurns, 5);
  assert.equal(({} as { admin?: boolean }).admin, undefined);
});

test("DELETE removes one path: 204, then 404 with the existing paths", async () => {
  await using project = await freshProject();
  await using server = await openReal(project.dir);
  await put(server, { agent: { max_turns: 5, max_retries: null } });
  const gone = await server.ask("/api/v1/config/overlay/agent.max_turns", { method: "DELETE" });
  assert.deepEqual([gone.status, gone.text], [204, ""]);
  assert.equal(server.core.config.current.config.agent.maxTurns, 3);
  assert.deepEqual((await overlayOf(server)).json(), { agent: { max_retries: null } });
  const absent = await server.ask("/api/v1/config/overlay/agent.max_turns", { method: "DELETE" });
  const { code, details } = absent.json().error;
  assert.deepEqual([absent.status, code], [404, "overlay_path_not_found"]);
  assert.deepEqual(details.paths, ["agent.max_retries"]);
});

test("the tracker is rebuilt after a change of the overlay, and an edit of the file keeps the overlay's values", async () => {
  await using project = await freshProject();
  await using server = await openReal(project.dir);
  const before = server.core.tracker();
  await put(server, { tracker: { active_states: ["Rework"] } });
  assert.notEqual(server.core.tracker(), before);
  await writeFile(
    server.workflowPath,
    "---\ntracker: { kind: local }\nagent: { max_turns: 7 }\n---\n",
  );
  await server.core.config.reload();
  const { agent, tracker } = server.core.config.current.config;
  assert.deepEqual([agent.maxTurns, tracker.activeStates], [7, ["Rework"]]);
});
