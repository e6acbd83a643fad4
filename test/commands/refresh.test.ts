// S35 of the scheduler's and command line's case file: `refresh --wait`.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { silentTracker } from "../support/fakes/silent-tracker.ts";
import { livingServer } from "../support/worlds/living-server.ts";
import { freshProject, openReal } from "../support/worlds/real-server.ts";
import { symphony } from "../support/worlds/run-symphony.ts";
import { Served } from "../support/worlds/symphony.ts";

const refresh = (url: string, ...args: string[]) =>
  symphony(["refresh", "--wait", ...args, "--url", url]);

test("S35: refresh --wait ends when the poll and what it decided are done", async () => {
  await using living = await livingServer();
  const { url, core, ask } = living.server;
  // A local issue that changes causes a poll by itself; this one has to include the change in any case.
  const room = { agent: { max_concurrent_agents: 3 } };
  await ask("/api/v1/config/overlay", { method: "PUT", body: room });
  const fresh = { title: "a", labels: ["ready"] };
  const { identifier } = (await ask("/api/v1/issues", { method: "POST", body: fresh })).json();
  const first = await refresh(url, "--json");
  assert.equal(first.code, 0, first.stderr);
  const { done } = JSON.parse(first.stdout);
  assert.ok(Array.isArray(done.started) && Array.isArray(done.stopped), first.stdout);
  assert.equal(core.orchestrator.statusOf(identifier)?.status, "running");
  const again = await refresh(url);
  assert.deepEqual([again.code, again.stdout], [0, ""]);
  assert.match(again.stderr, /The poll has ended: no attempt was started or stopped/);
});

test("S35: refresh --wait says when branches and pull requests are not all read in its time", async () => {
  await using project = await freshProject();
  await using server = await openReal(project.dir);
  const { url, core } = server;
  // A site that does not answer.
  Object.assign(core.deliveries, { lookAtAll: () => new Promise(() => {}) });
  const late = await refresh(url, "--timeout", "2s");
  assert.deepEqual([late.code, late.stdout], [124, ""]);
  assert.match(
    late.stderr.replaceAll(/\s+/g, " "),
    /the poll has ended; .* not all read within 2 s/,
  );
});

test("S35: refresh --wait fails with the tracker's error", async () => {
  const workflow = `---
tracker: { kind: linear, provider: { endpoint: "http://127.0.0.1:1/", project_slug: x, api_key: lin_api_x } }
---
Work
`;
  await using project = await freshProject({ workflow });
  await using server = await openReal(project.dir);
  const { code, stdout, stderr } = await refresh(server.url);
  assert.deepEqual([code, stdout], [1, ""], stderr);
  assert.match(stderr, /Linear/);
  const answer = await server.ask("/api/v1/refresh?wait=true", { method: "POST" });
  assert.deepEqual([answer.status, answer.json().error.code], [502, "tracker_request"]);
});

test("S35: refresh --wait is bounded, also where the tracker never answers", async (t) => {
  const { section, asked } = await silentTracker(t);
  await using project = await freshProject({ workflow: `---\ntracker: ${section}\n---\nWork\n` });
  const { dir } = project;
  const place = { workflowPath: join(dir, "WORKFLOW.md"), dataDir: join(dir, ".symphony") };
  await using served = await Served.start({ ...place, env: { LINEAR_API_KEY: "lin_api_x" } });
  await asked;
  const { code, stderr } = await refresh(served.url, "--timeout", "100ms");
  assert.equal(code, 124);
  assert.match(stderr, /the poll has not ended within 0.1 s/);
  for (const timeout of ["0", "1d", "soon"]) {
    assert.equal((await refresh(served.url, "--timeout", timeout)).code, 2, timeout);
  }
});
