import assert from "node:assert/strict";
import { appendFileSync, existsSync, readdirSync, statSync, truncateSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { gitIn } from "../support/makers/git-repository.ts";
import { create, ended, project } from "../support/makers/kept-project.ts";
import { Served, symphony } from "../support/worlds/symphony.ts";

const holds = /1 changed file \(one\.txt\) and 1 new file \(greet\.sh\)/;

test("after Done the work is in a copy: listed, shown, restored, with a server and without", async () => {
  await using place = await project({ keepMax: "1GiB" });
  await create(place, "Greet people by name");
  const workspace = place.workspace("LOCAL-1");
  let key = "";
  {
    await using server = await Served.start(place);
    assert.equal(await ended(server, "LOCAL-1"), "workspace.removed");
    assert.ok(!existsSync(workspace));
    const { copies } = await server.client.workspaces.list();
    key = copies[0]?.key ?? "";
    const path = join(place.dataDir, "kept", key);
    assert.deepEqual(readdirSync(path).sort(), ["manifest.json", "work.bundle"]);
    const list = await symphony(place, "workspaces", "list");
    assert.match(list.stdout, holds);
    assert.ok(list.stdout.includes(path), list.stdout);
    assert.ok(list.stdout.includes(`symphony workspaces restore ${key}\n`));
    assert.match(server.log, /its work is kept in/);
    const { entries } = await server.client.audit.list({ query: { actor: "orchestrator" } });
    const row = entries.find(({ action }) => action === "workspace.removed");
    assert.partialDeepStrictEqual(row?.detail, { path: workspace, kept: path });
    const diff = await symphony(place, "diff", "LOCAL-1");
    assert.match(diff.stdout, /^\+changed$/m);
    assert.equal(await server.stop(), 0);
  }
  for (const name of ["LOCAL-1", key]) {
    const diff = await symphony(place, "diff", name);
    assert.equal(diff.code, 0, diff.stderr);
    assert.match(diff.stdout, /^\+echo "Hello, \$1!"$/m);
  }
  const to = join(place.root, "restored");
  const restored = await symphony(place, "workspaces", "restore", "LOCAL-1", "--to", "restored");
  assert.equal(restored.code, 0, restored.stderr);
  assert.equal(gitIn(to)("status", "--porcelain"), "M one.txt\n?? greet.sh");
  const again = await symphony(place, "workspaces", "restore", key, "--to", "restored");
  assert.notEqual(again.code, 0);
  assert.match(again.stderr, /is in the way/);
  await using server = await Served.start(place);
  const bundle = join(place.dataDir, "kept", key, "work.bundle");
  appendFileSync(bundle, "x");
  const damaged = await symphony(place, "workspaces", "restore", "LOCAL-1");
  assert.deepEqual([damaged.code, /work\.bundle has changed/.test(damaged.stderr)], [7, true]);
  truncateSync(bundle, statSync(bundle).size - 1);
  const back = await symphony(place, "workspaces", "restore", "LOCAL-1");
  assert.equal(back.code, 0, back.stderr);
  assert.match(await readFile(join(workspace, "greet.sh"), "utf8"), /Hello/);
  const { kept } = await server.client.system.state({});
  assert.deepEqual(
    kept.map(({ path }) => path),
    [workspace],
  );
  const refused = await symphony(place, "workspaces", "remove", key);
  assert.equal(refused.code, 7);
  const gone = await symphony(place, "workspaces", "remove", key, "--force");
  assert.equal(gone.code, 0, gone.stderr);
  assert.deepEqual((await server.client.workspaces.list()).copies, []);
  await symphony(place, "workspaces", "remove", workspace, "--force");
  const nothing = await symphony(place, "diff", "LOCAL-1");
  assert.match(nothing.stderr, /neither the workspace of LOCAL-1 nor a kept copy of it/);
  assert.match(nothing.stderr, /next: symphony audit --issue LOCAL-1/);
});
