// S15 of the scheduler's and command line's case file: what follows a server survives its restart.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryDir } from "../support/makers/storage.ts";
import { startSymphony, symphony } from "../support/worlds/run-symphony.ts";
import { eventually, Served } from "../support/worlds/symphony.ts";

test("S15: followers continue over a restart that changes the server's port and token", async (t) => {
  const dir = temporaryDir(t);
  const workflowPath = join(dir, "WORKFLOW.md");
  const tracker = "tracker: { kind: local, required_labels: [ready] }";
  await writeFile(workflowPath, `---\n${tracker}\nserver: { auth: token }\n---\nWork\n`);
  const place = { workflowPath, dataDir: join(dir, ".symphony"), env: { HOME: dir } };
  const at = ["--data-dir", place.dataDir];
  const run = (...args: string[]) => symphony([...args, ...at]);
  const first = await Served.start(place);
  const issue = ["issue", "create", "--title", "x"];
  assert.equal((await run(...issue)).code, 0);
  const events = startSymphony(["events", "--follow", "--json", ...at]);
  const state = startSymphony(["state", "--watch", ...at]);
  const wait = startSymphony(["wait", "LOCAL-1", "--for", "held", "--timeout", "50s", ...at]);
  t.after(() => [events, state, wait].map(({ child }) => child.kill("SIGKILL")));
  await state.until("generated_at");
  await eventually("all three are connected", async () => {
    const { stdout } = await run("metrics", "symphony_sse_clients", "--json");
    return JSON.parse(stdout).metrics[0].samples[0].value >= 3;
  });
  assert.equal(await first.stop(), 0);
  await using _second = await Served.start(place);
  const edit = ["issue", "edit", "LOCAL-1", "--label", "ready"];
  assert.equal((await run(...edit)).code, 0);
  await events.until('"issue.queued"');
  await state.until('"LOCAL-1"');
  const held = ["transition", "LOCAL-1", "held"];
  await eventually("it is held", async () => (await run(...held)).code === 0);
  assert.equal((await wait.ended).code, 0);
  events.child.kill("SIGINT");
  state.child.kill("SIGINT");
  assert.deepEqual([(await events.ended).code, (await state.ended).code], [130, 130]);
});
