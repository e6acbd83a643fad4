import assert from "node:assert/strict";
import { test } from "node:test";
import { SymphonyError } from "../../src/core/model/errors.ts";
import { modelServer } from "../support/fakes/model-server.ts";
import { coded } from "../support/makers/storage.ts";
import { OpenaiBench } from "../support/worlds/openai-bench.ts";

test("without a key the agent does not start, and says which command to run", async () => {
  await using bench = await OpenaiBench.make();
  bench.secrets = {};
  await assert.rejects(bench.start(), (error) => {
    assert.ok(error instanceof SymphonyError);
    assert.equal(error.code, "agent_unavailable");
    assert.equal(error.hint, "symphony secrets add OPENAI_API_KEY");
    return true;
  });
});

test("the key is looked up at each request", async () => {
  await using provider = await modelServer([{ text: "One." }, { text: "Two." }]);
  await using bench = await OpenaiBench.make({ base_url: provider.url });
  await using session = await bench.start();
  await session.turn("Go.", { model: null });
  bench.secrets = { OPENAI_API_KEY: "sk-another-987654" };
  await session.turn("Go.", { model: null });
  assert.deepEqual(
    provider.asked.map(({ headers }) => headers.authorization),
    ["Bearer sk-test-0123456789", "Bearer sk-another-987654"],
  );
  assert.deepEqual(bench.hidden, ["sk-test-0123456789", "sk-another-987654"]);
});

test("only an https address, or http on this machine, gets the key", async () => {
  for (const base_url of [
    "http://example.com/v1",
    "http://169.254.169.254/v1",
    "file:///etc/passwd",
    "https://user:word@example.com/v1",
    "no url",
  ]) {
    await using bench = await OpenaiBench.make({ base_url });
    await assert.rejects(bench.start(), coded("invalid_config"));
  }
});

test("without a sandbox an agent starts only at level danger", async () => {
  await using provider = await modelServer([]);
  await using bench = await OpenaiBench.make({ base_url: provider.url });
  bench.env = { ...bench.env, PATH: "/nowhere" };
  for (const level of ["safe", "networked"] as const) {
    await assert.rejects(bench.start({ level }), coded("agent_unavailable", /bubblewrap/));
  }
  await using session = await bench.start({ level: "danger" });
  assert.match(JSON.stringify(bench.of("notice")), /without a sandbox/);
  assert.match(bench.logs.join(), /without a sandbox/);
  assert.equal(session.resumed, false);
});

test("a limit of the provider ends the turn and reports when it ends", async () => {
  await using provider = await modelServer([
    { status: 429, error: { type: "usage_limit_reached", resets_at: 1_900_000_000 } },
  ]);
  await using bench = await OpenaiBench.make({ base_url: provider.url });
  await using session = await bench.start();
  await assert.rejects(session.turn("Work.", { model: null }), (error) => {
    assert.ok(error instanceof SymphonyError);
    assert.deepEqual([error.code, error.details], ["provider_limited", { untilWall: 1.9e12 }]);
    return true;
  });
  assert.match(bench.of("turn.failed")[0]?.message ?? "", /limit/);
});
