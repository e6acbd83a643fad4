import assert from "node:assert/strict";
import { existsSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { RetentionConfig } from "../../../src/core/config/workspace.ts";
import type { SymphonyEvent } from "../../../src/core/model/event.ts";
import { KeptCopies } from "../../../src/core/workspace/copies.ts";
import { followWorkspaceRetention, sweep } from "../../../src/core/workspace/retention.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { temporaryDir } from "../../support/makers/storage.ts";
import { createWorld } from "../../support/worlds/core.ts";
import { eventually } from "../../support/worlds/symphony.ts";

const dayMs = 24 * 3_600_000;

/** ENG-1 to ENG-3 in review: each ran once, a day after the other; ENG-2 left work. ENG-4 is worked on. */
async function world(t: TestContext) {
  const dir = realpathSync(temporaryDir(t));
  const names = ["ENG-1", "ENG-2", "ENG-3", "ENG-4"];
  const made = await createWorld({
    issues: names.map((name) => issue(name)),
    config: config({ workspace: { root: join(dir, "root") } }),
  });
  t.after(() => made[Symbol.asyncDispose]());
  const { core, scheduler, workspaces } = made;
  const { clock } = scheduler;
  const paths: string[] = [];
  for (const name of names) {
    const workspace = await workspaces.ensure(issue(name), new AbortController().signal);
    scheduler.run(name).reports.entered("building_prompt", workspace);
    paths.push(workspace.path);
    if (name === "ENG-2") writeFileSync(join(workspace.path, "work.txt"), "work\n");
    if (name === "ENG-4") continue;
    scheduler.set(issue(name, { state: "In Review" }));
    await scheduler.run(name).end();
    await scheduler.advance(30_000);
  }
  const copies = new KeptCopies({ dir: join(dir, "kept"), clock, maxBytes: () => 2 ** 31 });
  const events: SymphonyEvent[] = [];
  core.bus.subscribe({ filter: { types: ["workspace.removed"] } }, (event) => events.push(event));
  const copy = async (name: string) => {
    writeFileSync(join(dir, "file"), name);
    const { id, identifier } = issue(name);
    const path = join(dir, "root", "ENG-2");
    return copies.keep(path, { issue: { id, identifier }, work: [] });
  };
  const deps = (retention: Partial<RetentionConfig>) => ({
    copies,
    workspaces,
    kept: core.workspaces.kept,
    history: core.history,
    bus: core.bus,
    clock,
    log: core.log,
    state: () => scheduler.orchestrator.state,
    config: {
      current: {
        config: config({
          workspace: { retention: { maxAgeMs: null, maxTotalBytes: null, ...retention } },
        }),
      },
    },
    overview: { bytesOf: () => 1_000 },
  });
  return { paths, copies, copy, clock, events, deps, core };
}

test("without limits nothing is removed; by age only what is older, never work without a copy, never what is in use", async (t) => {
  const { paths, copies, copy, clock, events, deps, core } = await world(t);
  const old = await copy("ENG-9");
  await sweep(deps({}));
  assert.ok(paths.every((path) => existsSync(path)));
  clock.advance(3 * dayMs);
  const young = await copy("ENG-8");
  await sweep(deps({ maxAgeMs: 2 * dayMs }));
  assert.deepEqual(await copies.list(), [young]);
  assert.deepEqual(
    paths.map((path) => existsSync(path)),
    [false, true, false, true],
  );
  core.bus.flush();
  assert.deepEqual(
    events.map(({ data }) => [data["path"], data["by"], data["limit"], data["kept"]]).sort(),
    [old.path, paths[0], paths[2]].map((path) => [path, "retention", "max_age", null]).sort(),
  );
  assert.match(
    events.map(({ message }) => message).join("\n"),
    /kept copy ENG-2-.* removed by workspace\.retention\.max_age/,
  );
});

test("above the total the oldest are removed first, and no more than needed", async (t) => {
  const { copies, copy, clock, paths, deps } = await world(t);
  for (const path of [paths[0], paths[2]]) assert.ok(path && existsSync(path));
  const first = await copy("ENG-9");
  clock.advance(1_000);
  const second = await copy("ENG-8");
  const workspaces = 3 * 1_000;
  await sweep(deps({ maxTotalBytes: workspaces + first.bytes + second.bytes }));
  assert.equal((await copies.list()).length, 2);
  await sweep(deps({ maxTotalBytes: 1_000 + second.bytes }));
  assert.deepEqual(await copies.list(), [second]);
  assert.deepEqual(
    paths.map((path) => existsSync(path)),
    [false, true, false, true],
  );
});

test("the sweep runs a minute after the start and every hour, until it is stopped", async (t) => {
  const { copies, copy, clock, deps } = await world(t);
  const stop = followWorkspaceRetention(deps({ maxAgeMs: 1 }));
  const timers = clock.pending;
  const swept = async () => {
    await eventually("it is swept, and the next time is set", async () => {
      return (await copies.list()).length === 0 && clock.pending === timers;
    });
  };
  await copy("ENG-9");
  clock.advance(60_000);
  await swept();
  await copy("ENG-9");
  clock.advance(3_600_000);
  await swept();
  const last = await copy("ENG-9");
  stop();
  clock.advance(2 * 3_600_000);
  assert.deepEqual(await copies.list(), [last]);
});
