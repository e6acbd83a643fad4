// The built-in agent on a worker, with that machine's key.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { modelServer } from "../../support/fakes/model-server.ts";
import { FleetWorld, workerKey } from "../../support/worlds/fleet.ts";
import { eventually, symphony } from "../../support/worlds/symphony.ts";

test("18, 29, 30: the built-in agent works on a worker with the key of that machine; moved in mid-turn its thread continues on another one, guidance reaches its turn, tokens and its tools come back, and no secret passes", async () => {
  const wait = "echo up >> started; until [ -e go ]; do sleep 0.1; done; cat go > new";
  await using model = await modelServer([
    { calls: [{ name: "shell", args: { command: wait } }], usage: { input: 7, output: 3 } },
    { calls: [{ name: "shell", args: { command: wait } }], usage: { input: 7, output: 3 } },
    (body) => {
      const heard = /auth first/.exec(JSON.stringify(body["input"]))?.[0] ?? "nothing";
      return { calls: [{ name: "issue_move", args: { state: "Done" } }], text: `heard ${heard}` };
    },
    { text: "moved" },
  ]);
  const section = `agent: { kind: openai, level: danger, max_turns: 1 }
openai: { base_url: "${model.url}", model: m }`;
  await using world = await FleetWorld.open("", section);
  const passed = world.redis.monitor();
  await world.serve();
  const first = await world.worker("build-1");
  await world.issue();
  const runs = (copy: string, lines: string) =>
    eventually(
      () => `its command runs: ${world.logs}`,
      async () => readFileSync(`${copy}/started`, "utf8") === lines,
    );
  await runs(`${first.dir}/workspaces/LOCAL-1`, "up\n");
  const thread = async () =>
    (await world.client.issues.detail({ params: { id: "LOCAL-1" } })).running?.thread_id;
  const before = await thread();
  const worker = await world.worker("build-2");
  const told = await symphony(world.place, "move", "LOCAL-1", "--to", "build-2");
  assert.equal(told.code, 0, told.stderr);
  const copy = `${worker.dir}/workspaces/LOCAL-1`;
  await runs(copy, "up\nup\n");
  assert.equal(await thread(), before);
  assert.ok(JSON.stringify(model.asked[1]?.body).includes("echo up >> started"), "it continues");
  const steered = await symphony(world.place, "steer", "LOCAL-1", "auth first");
  assert.equal(steered.code, 0, steered.stderr);
  writeFileSync(`${copy}/go`, "went\n");
  const [attempt, ...earlier] = await eventually("it has ended", async () => {
    const { attempts } = await world.client.issues.attempts({ params: { id: "LOCAL-1" } });
    return attempts.some(({ ended_at: at }) => at === null) ? null : attempts;
  });
  assert.deepEqual(
    [attempt, ...earlier].map((one) => [one?.worker_host, one?.status]),
    [
      ["build-2", "succeeded"],
      ["build-1", "interrupted"],
    ],
  );
  assert.equal(attempt?.status, "succeeded", `${world.server?.log}\n${worker.log}`);
  assert.ok((attempt?.tokens.total_tokens ?? 0) >= 10);
  const { workspace } = await eventually("its tool has moved the issue", async () => {
    const detail = await world.client.issues.detail({ params: { id: "LOCAL-1" } });
    return detail.issue.state === "Done" ? detail : null;
  });
  assert.equal(readFileSync(`${workspace.path}/new`, "utf8"), "went\n");
  assert.equal(model.asked[0]?.headers.authorization, `Bearer ${workerKey}`);
  assert.match(JSON.stringify(model.asked[2]?.body), /auth first/);
  // All that the engine was given, from the start on.
  assert.match(passed.text, /"xadd"/i);
  for (const secret of [workerKey, "auth first", "Work on"]) {
    assert.ok(!`${passed.text}${world.server?.log}${worker.log}`.includes(secret), secret);
  }
});
