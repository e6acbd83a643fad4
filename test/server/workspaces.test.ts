import assert from "node:assert/strict";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { config, issue } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { serve } from "../support/worlds/server.ts";

async function freshRoot() {
  const path = await realpath(await mkdtemp(join(tmpdir(), "symphony-root-")));
  mkdirSync(join(path, ".symphony-root"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

test("H-18: workspaces are listed and removed; one that is in use, not empty or missing is refused", async () => {
  await using root = await freshRoot();
  const settings = config({ workspace: { root: root.path } });
  await using world = await createWorld({ issues: [issue("ENG-1")], config: settings });
  await using server = await serve(world);
  for (const key of ["ENG-1", "ENG-2", "ENG-3"]) mkdirSync(join(root.path, key));
  writeFileSync(join(root.path, "ENG-2", "work"), "x");
  let page = api.workspaces.list.reply.parse((await server.ask("/api/v1/workspaces")).json());
  while (page.workspaces.some(({ holds }) => holds === null)) {
    page = api.workspaces.list.reply.parse((await server.ask("/api/v1/workspaces")).json());
  }
  page = api.workspaces.list.reply.parse((await server.ask("/api/v1/workspaces?limit=2")).json());
  assert.deepEqual(
    page.workspaces.map(({ key, in_use, status, dirty, host }) => [
      key,
      in_use,
      status,
      dirty,
      host,
    ]),
    [
      ["ENG-1", true, "running", false, null],
      ["ENG-2", false, null, true, null],
    ],
  );
  assert.deepEqual(page.workspaces[1]?.holds, [
    { kind: "new_files", count: 1, examples: ["work"] },
  ]);
  assert.deepEqual([page.root, page.total, page.limit, page.offset], [root.path, 3, 2, 0]);
  const remove = async (key: string) => {
    const answer = await server.ask(`/api/v1/workspaces/${key}`, { method: "DELETE" });
    return answer.status === 204 ? [204, answer.text] : [answer.status, answer.json().error.code];
  };
  assert.deepEqual(await remove("ENG-1?force=true"), [409, "workspace_in_use"]);
  assert.deepEqual(await remove("ENG-2"), [409, "workspace_dirty"]);
  assert.deepEqual(await remove("ENG-2?force=yes"), [400, "invalid_request"]);
  assert.deepEqual(await remove("ENG-2?force=true"), [204, ""]);
  assert.deepEqual(await remove("ENG-3"), [204, ""]);
  for (const key of ["ENG-3", "%2e%2e", "..%2fx", ".symphony-root"]) {
    assert.deepEqual(await remove(key), [404, "workspace_not_found"], key);
  }
  assert.ok(existsSync(join(root.path, "ENG-1")) && existsSync(join(root.path, ".symphony-root")));
  const [last] = world.core.history.auditPage({ limit: 1, offset: 0, target: "ENG-3" }).entries;
  assert.deepEqual([last?.action, last?.outcome], ["workspaces.remove", "workspace_not_found"]);
});
