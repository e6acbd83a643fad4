import assert from "node:assert/strict";
import { test } from "node:test";
import { sendJson, startProvider } from "../support/fakes/provider.ts";
import { config, issue } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { symphony } from "../support/worlds/run-symphony.ts";
import { serve } from "../support/worlds/server.ts";

const data = [{ id: "gpt-5.5", created: 1_700_000_000, owned_by: "openai" }, { id: "local" }];

test("S31: models prints the list with the model in use; a typing mistake in a model's name is noticed", async () => {
  let status = 200;
  await using provider = await startProvider((_, answer) => sendJson(answer, status, { data }));
  const settings = config({
    agent: { use: "openai" },
    openai: { baseUrl: provider.url, model: "local" },
  });
  const secrets = { OPENAI_API_KEY: "sk-canary-0123456789" };
  await using world = await createWorld({
    issues: [issue("ENG-1")],
    config: settings,
    env: secrets,
  });
  await using server = await serve(world);
  const env = { SYMPHONY_URL: `http://127.0.0.1:${server.listening.port}` };
  const early = await symphony(["model", "ENG-1", "gtp-5.5"], { env });
  assert.match(early.stderr, /gtp-5\.5 is not among .*did you mean gpt-5\.5\?/);
  assert.equal(provider.requests.length, 1, "the list is asked for once");
  const { code, stdout, stderr } = await symphony(["models"], { env });
  assert.deepEqual([code, stderr], [0, `2 of openai, ${provider.url}\n`]);
  assert.match(
    stdout,
    /^MODEL +OWNER +CREATED\ngpt-5\.5 +openai +2023-11-14\nlocal \(in use\) +- +-\n$/,
  );
  const json = JSON.parse((await symphony(["models", "--json"], { env })).stdout);
  assert.deepEqual(json.models[1], { id: "local", owned_by: null, created_at: null, in_use: true });
  const slip = await symphony(["model", "ENG-1", "gtp-5.5"], { env });
  assert.match(slip.stderr, /gtp-5\.5 is not among the provider's models; did you mean gpt-5\.5\?/);
  const right = await symphony(["model", "ENG-1", "local"], { env });
  const taken = "ENG-1: local from the next turn on; symphony model ENG-1 --clear takes it back\n";
  assert.equal(right.stderr, taken);
  status = 401;
  await world.scheduler.advance(60_000);
  const refused = await symphony(["models"], { env });
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /status 401.*\n {2}next: .*symphony secrets add OPENAI_API_KEY/);
});
