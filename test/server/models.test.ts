import assert from "node:assert/strict";
import { test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { sendJson, startProvider } from "../support/fakes/provider.ts";
import { config } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { serve } from "../support/worlds/server.ts";

const listing = { data: [{ id: "gpt-5.5", created: 1_700_000_000, owned_by: "openai" }] };

test("GET /api/v1/models requests the list once, then remembers it; with cached it makes no request", async () => {
  await using provider = await startProvider((_, response) => sendJson(response, 200, listing));
  const settings = config({ agent: { use: "openai" }, openai: { baseUrl: provider.url } });
  const env = { OPENAI_API_KEY: "sk-canary-0123456789" };
  await using world = await createWorld({ config: settings, env });
  await using server = await serve(world);
  const before = await server.ask("/api/v1/models?cached=true");
  assert.deepEqual(before.json(), {
    provider: { kind: "openai", base_url: provider.url, list: "provider" },
    model: before.json().model,
    models: [],
    fetched_at: null,
    learned: [],
  });
  assert.equal(provider.requests.length, 0);
  const answer = await server.ask("/api/v1/models");
  assert.equal(answer.status, 200);
  const reply = api.models.list.reply.parse(answer.json());
  assert.deepEqual(reply.models, [
    { id: "gpt-5.5", owned_by: "openai", created_at: "2023-11-14T22:13:20.000Z", in_use: true },
  ]);
  assert.equal(reply.model, "gpt-5.5");
  assert.notEqual(reply.fetched_at, null);
  for (const path of ["/api/v1/models", "/api/v1/models?cached=true"]) {
    assert.deepEqual((await server.ask(path)).json(), answer.json());
  }
  assert.equal(provider.requests.length, 1);
  assert.equal((await server.ask("/api/v1/models?cached=1")).status, 400);
  assert.equal((await server.ask("/api/v1/runtime")).json().features.models, true);
});

test("a provider that cannot be reached is 502 with its category; the answer does not contain the key", async () => {
  const key = "sk-canary-0123456789";
  await using provider = await startProvider((_, response) =>
    sendJson(response, 429, { error: { message: `slow down, ${key}` } }),
  );
  const settings = config({ agent: { use: "openai" }, openai: { baseUrl: provider.url } });
  await using world = await createWorld({ config: settings, env: { OPENAI_API_KEY: key } });
  await using server = await serve(world);
  const { status, text, json } = await server.ask("/api/v1/models");
  const { code, details } = json().error;
  assert.deepEqual([status, code, details.category], [502, "provider_error", "rate_limited"]);
  assert.ok(!`${text}${world.logged.join("")}`.includes("canary"));
});

test("a provider without a connection is named with the command that tries its address", async () => {
  // Nothing listens on the port for discarded data.
  const settings = config({
    agent: { use: "openai" },
    openai: { baseUrl: "http://127.0.0.1:9/v1" },
  });
  await using world = await createWorld({
    config: settings,
    env: { OPENAI_API_KEY: "sk-0123456789" },
  });
  await using server = await serve(world);
  const { error } = (await server.ask("/api/v1/models")).json();
  assert.equal(error.details.category, "connection");
  assert.match(error.details.hint, /openai\.base_url.*curl -I http:\/\/127\.0\.0\.1:9\/v1$/);
});
