// What is said before the first read of the tracker has ended: row S33 of the cases of the scheduler.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { silentTracker } from "../support/fakes/silent-tracker.ts";
import { temporaryDir } from "../support/makers/storage.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

test("S33: until the first read of the tracker has ended, every door says that it is starting", async (t) => {
  const { section, asked } = await silentTracker(t);
  const dir = temporaryDir(t);
  const workflowPath = join(dir, "WORKFLOW.md");
  await writeFile(workflowPath, `---\ntracker: ${section}\n---\nWork on it\n`);
  const place = { workflowPath, dataDir: join(dir, "data"), env: { LINEAR_API_KEY: "lin_api_x" } };
  await using server = await Served.start(place);
  await asked;
  const get = (path: string) => fetch(`${server.url}${path}`, { headers: { accept: "text/html" } });
  const tracker = { kind: "linear", status: "starting", healthy: null, last_error: null };
  assert.deepEqual((await server.client.system.runtime()).tracker, tracker);
  assert.deepEqual((await server.client.system.state()).tracker, tracker);
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  assert.match(metrics, /^# TYPE symphony_tracker_healthy gauge$/m);
  assert.doesNotMatch(metrics, /^symphony_tracker_healthy /m);
  const page = await (await get("/")).text();
  assert.match(page, /Starting\..*The first read of the linear tracker has not ended/);
  const state = await symphony(place, "state");
  assert.match(state.stdout, /^starting: the first read of the linear tracker has not ended/);
  assert.doesNotMatch(state.stdout, /nothing to do|healthy/);
  const runtime = await symphony(place, "runtime");
  assert.match(runtime.stdout, /linear, starting: its first read has not ended/);
});

test("S33: once the first read has ended, the tracker is healthy", async (t) => {
  const dir = temporaryDir(t);
  const workflowPath = join(dir, "WORKFLOW.md");
  await writeFile(workflowPath, "---\ntracker: { kind: local }\n---\nWork on it\n");
  const place = { workflowPath, dataDir: join(dir, "data") };
  await using server = await Served.start(place);
  const tracker = await eventually("the first read has ended", async () => {
    const state = await server.client.system.state();
    return state.tracker.status === "starting" ? null : state.tracker;
  });
  assert.deepEqual(tracker, { kind: "local", status: "healthy", healthy: true, last_error: null });
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  assert.match(metrics, /^symphony_tracker_healthy 1$/m);
  assert.match((await symphony(place, "state")).stdout, /^nothing to do/);
});
