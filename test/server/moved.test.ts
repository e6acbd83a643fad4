// An issue that moves to another team while its agent works: row S1 of the cases of the scheduler.

import assert from "node:assert/strict";
import { realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { EventReader } from "../support/fakes/event-reader.ts";
import { config, issue } from "../support/makers/issue.ts";
import { temporaryDir } from "../support/makers/storage.ts";
import { createWorld } from "../support/worlds/core.ts";
import { serve } from "../support/worlds/server.ts";

const none = new AbortController().signal;

test("S1: an issue that moves to another team while it runs is found live by both identifiers in every route", async (t) => {
  const root = join(realpathSync(temporaryDir(t)), "root");
  const settings = config({ workspace: { root } });
  const world = await createWorld({ issues: [issue("ENG-2")], config: settings });
  t.after(() => world[Symbol.asyncDispose]());
  const { scheduler, workspaces, core } = world;
  const run = scheduler.run("ENG-2");
  const workspace = await workspaces.ensure(issue("ENG-2"), none);
  run.reports.entered("building_prompt", workspace);
  writeFileSync(join(workspace.path, "result.txt"), "work\n");
  run.reports.reported({ type: "session.started", threadId: "t-1", resumed: false });
  await using server = await serve(world);
  await using reader = await EventReader.open(server.listening.port, "?issue=ENG-2");

  scheduler.set(issue("OPS-2", { id: "id-ENG-2" }));
  await scheduler.advance(30_000);
  // The attempt is saved again, now with the new identifier.
  run.reports.reported({ type: "turn.started", turnId: "turn-1" });
  core.bus.flush();
  await reader.until(({ messages }) => messages.some(({ event }) => event === "turn.started"));

  for (const name of ["ENG-2", "eng-2", "OPS-2"]) {
    const detail = (await server.ask(`/api/v1/${name}`)).json();
    assert.deepEqual([detail.issue_identifier, detail.status], ["OPS-2", "running"], name);
    for (const path of ["/attempts", "/diff"]) {
      const answer = await server.ask(`/api/v1/${name}${path}`);
      assert.equal(answer.status, 200, `${name}${path}: ${answer.text}`);
      assert.equal(answer.json().issue_identifier, "OPS-2", `${name}${path}`);
    }
    const body = { message: `to ${name}` };
    const steered = await server.ask(`/api/v1/${name}/steer`, { method: "POST", body });
    assert.equal(steered.status, 202, steered.text);
    const moves = await server.ask(`/api/v1/transitions?issue=${name}`);
    assert.deepEqual(Object.keys(moves.json().issues), ["OPS-2"]);
  }
  const [row] = (await server.ask("/api/v1/workspaces")).json().workspaces;
  assert.deepEqual([row.issue_identifier, row.key], ["OPS-2", "ENG-2"]);
  const aborted = await server.ask("/api/v1/ENG-2/abort", { method: "POST", body: {} });
  assert.equal(aborted.status, 202, aborted.text);
  await run.end({ kind: "stopped" });
  core.bus.flush();
  await reader.until(({ messages }) => messages.some(({ event }) => event === "issue.held"));
  await using late = await EventReader.open(server.listening.port, "?issue=OPS-2&since=0");
  await late.until(({ messages }) => messages.some(({ event }) => event === "issue.held"));
  assert.ok(late.messages.some(({ data }) => data.issue_identifier === "ENG-2"));
});
