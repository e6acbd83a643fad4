// What is listed as work that is nowhere else, once a part of it was pushed.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import {
  type DeliveryProject,
  deliveryProject,
  greet,
} from "../support/makers/delivery-project.ts";
import { gitIn } from "../support/makers/git-repository.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

async function create(place: DeliveryProject): Promise<void> {
  const made = await symphony(place, "issue", "create", "--title", "Greet people by name");
  assert.equal(made.code, 0, made.stderr);
}

test("serve --once: pushed work is not listed as kept; what was left after the push is, without its commits", async () => {
  const hooks = 'hooks: { after_run: "echo later > later.txt" }';
  for (const hook of ["", hooks]) {
    await using place = await deliveryProject({ issues: { "LOCAL-1": [greet] }, front: hook });
    await create(place);
    const once = ["serve", place.workflowPath, "--once", "--port", "0", "--json"];
    const { code, stdout, stderr } = await symphony(place, ...once);
    assert.equal(code, 0, stderr);
    const branch = "symphony/LOCAL-1-greet-people-by-name";
    assert.match(gitIn(place.bare)("branch", "--list", branch), /greet/, stderr);
    const { kept } = JSON.parse(stdout);
    const held = hook === "" ? [] : ["1 new file (later.txt)"];
    assert.deepEqual(
      kept.map(({ summary }: { summary: string }) => summary),
      held,
    );
  }
});

test("a workspace whose work was pushed is not dirty in any list; a person's commit after it is", async () => {
  await using place = await deliveryProject({ issues: { "LOCAL-1": [greet] } });
  await create(place);
  await using server = await Served.start(place);
  const { client } = server;
  await eventually("it is pushed", async () => {
    const { status, delivery } = await client.issues.detail({ params: { id: "LOCAL-1" } });
    return status === "review" && delivery?.pushed != null;
  });
  const seen = async () => {
    const [workspace] = (await client.workspaces.list({})).workspaces;
    const [repository] = (await client.git.context({})).repositories;
    return [workspace?.dirty, repository?.branches[0]?.dirty];
  };
  await eventually("it is clean", async () => {
    const found = await seen();
    return found.every((dirty) => dirty === false);
  });
  const list = await symphony(place, "workspaces", "list");
  assert.doesNotMatch(list.stdout, /not pushed/);
  const git = gitIn(place.workspace("LOCAL-1"));
  await writeFile(join(place.workspace("LOCAL-1"), "one.txt"), "by hand\n");
  git("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-qam", "By hand");
  await server.stop();
  await using next = await Served.start(place);
  await eventually("the commit is seen", async () => {
    const [workspace] = (await next.client.workspaces.list({})).workspaces;
    return workspace?.dirty === true;
  });
});

test("issue show: a workspace that was removed has no path", async () => {
  await using place = await deliveryProject({ issues: { "LOCAL-1": [greet] } });
  await create(place);
  await using server = await Served.start(place);
  const path = place.workspace("LOCAL-1");
  const detail = () => server.client.issues.detail({ params: { id: "LOCAL-1" } });
  await eventually("it is in review", async () => (await detail()).status === "review");
  assert.equal((await detail()).workspace.path, path);
  const moved = await symphony(place, "issue", "move", "LOCAL-1", "Done");
  assert.equal(moved.code, 0, moved.stderr);
  await eventually("its workspace is gone", async () => !existsSync(path));
  await eventually("it has no path", async () => (await detail()).workspace.path === null);
  const shown = await symphony(place, "issue", "show", "LOCAL-1");
  assert.doesNotMatch(shown.stdout, /^workspace /m);
  await eventually("an event says so", async () =>
    (await detail()).recent_events.some(({ event }) => event === "workspace.removed"),
  );
});
