import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { Step } from "../../src/demo/script.ts";
import { create, type Place, project } from "../support/makers/kept-project.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

const busy: readonly Step[] = [
  { do: "edit", path: "work.txt", content: "of the first server\n" },
  { do: "hang" },
];

async function useRoot(place: Place, root: string): Promise<void> {
  const text = await readFile(place.workflowPath, "utf8");
  await writeFile(place.workflowPath, text.replace("./workspaces,", `${root},`));
}

test("a root of workspaces belongs to one server: a second one is refused at its start, and the first is named", async () => {
  await using first = await project({ turns: [busy] });
  await using second = await project({ turns: [busy] });
  await create(first, "Work for long");
  await create(second, "Another project's issue with the same identifier");
  const root = join(first.root, "workspaces");
  await useRoot(second, root);
  await using server = await Served.start(first);
  const work = join(root, "LOCAL-1", "work.txt");
  await eventually("the agent works", async () => existsSync(work));
  const refused = await symphony(second, "serve", second.workflowPath, "--port", "0");
  assert.equal(refused.code, 7, refused.stderr);
  for (const part of [root, `pid ${server.child.pid}`, first.dataDir, "workspace.root"]) {
    assert.ok(refused.stderr.includes(part), refused.stderr);
  }
  assert.equal(await readFile(work, "utf8"), "of the first server\n");
  assert.equal(await server.stop(), 0);
  // Then it may start. The first server's work belongs to an issue that the second does not know, so it is set aside.
  await using later = await Served.start(second);
  const aside = join(root, "LOCAL-1.aside-1", "work.txt");
  await eventually("it has a workspace of its own", async () => existsSync(aside));
  await eventually("its agent works", async () => existsSync(work));
  assert.equal(await readFile(aside, "utf8"), "of the first server\n");
  assert.equal(await later.stop(), 0);
});

test("an attempt fails when another server has taken the root first, and nothing in it is changed", async () => {
  await using first = await project({ turns: [busy] });
  await using second = await project({ turns: [busy] });
  const root = join(first.root, "workspaces");
  await useRoot(second, root);
  // For both servers the root does not exist at the start.
  await rm(root, { recursive: true, force: true });
  await using server = await Served.start(first);
  await using other = await Served.start(second);
  await create(first, "Work for long");
  const work = join(root, "LOCAL-1", "work.txt");
  await eventually("the agent works", async () => existsSync(work));
  await create(second, "The same identifier");
  const error = await eventually("the attempt fails", async () => {
    const { attempts } = await other.client.issues.attempts({ params: { id: "LOCAL-1" } });
    return attempts.find((attempt) => attempt.error !== null)?.error;
  });
  assert.equal(error.code, "workspace_in_use");
  assert.equal(await readFile(work, "utf8"), "of the first server\n");
  assert.ok(!existsSync(join(root, "LOCAL-1.aside-1")));
  assert.equal((await server.client.system.state({})).running.length, 1);
});
