import assert from "node:assert/strict";
import { test } from "node:test";
import { startApiDouble } from "../support/fakes/api-double.ts";
import { symphony } from "../support/worlds/run-symphony.ts";

test("model chooses and clears a model, and says when that takes effect", async () => {
  await using api = await startApiDouble();
  const env = { SYMPHONY_URL: api.url };
  const chosen = await symphony(["model", "ENG-1", "gpt-x", "--effort", "high"], { env });
  assert.deepEqual(chosen, {
    code: 0,
    stdout: "",
    stderr:
      "ENG-1: gpt-x, high from the next turn on; symphony model ENG-1 --clear takes it back\n",
  });
  const posted = api.seen.findLast(({ method }) => method === "POST");
  assert.deepEqual(posted?.body, { model: "gpt-x", reasoning_effort: "high" });
  api.status = "queued";
  const cleared = await symphony(["model", "ENG-1", "--clear"], { env });
  assert.equal(cleared.stderr, "ENG-1: the configured model from the next attempt on\n");
  assert.deepEqual(api.seen.at(-1)?.body, { model: null });
  const json = await symphony(["model", "ENG-1", "gpt-x", "--json"], { env });
  assert.deepEqual(JSON.parse(json.stdout), {
    issue_identifier: "ENG-1",
    model: "gpt-x",
    reasoning_effort: null,
    agent: null,
    applies: "next_attempt",
  });
});

test("model without a choice, or with two, is wrong usage; for an unknown issue a similar one is suggested", async () => {
  await using api = await startApiDouble();
  const env = { SYMPHONY_URL: api.url };
  const wrong = [[], ["gpt-x", "--clear"], ["--clear", "--effort", "low"], ["--effort", "low"]];
  for (const args of wrong) {
    const { code, stderr } = await symphony(["model", "ENG-1", ...args], { env });
    assert.equal(code, 2, args.join(" "));
    assert.match(stderr, /symphony model ENG-1 NAME/);
  }
  assert.deepEqual(api.seen, []);
  const unknown = await symphony(["model", "ENG-11", "gpt-x"], { env });
  assert.equal(unknown.code, 3);
  assert.match(unknown.stderr, /did you mean ENG-1\?/);
});
