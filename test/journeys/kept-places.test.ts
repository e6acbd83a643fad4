import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { Step } from "../../src/demo/script.ts";
import { create, ended, type Place, project, turn } from "../support/makers/kept-project.ts";
import { eventually, launch, Served, symphony } from "../support/worlds/symphony.ts";

const endless: readonly Step[] = [
  { do: "edit", path: "second.txt", content: "in the second root\n" },
  { do: "hang" },
];

async function setRoot(place: Place, root: string): Promise<void> {
  const text = await readFile(place.workflowPath, "utf8");
  await writeFile(place.workflowPath, text.replace("./workspaces,", `./${root},`));
}

async function run(place: Place, command: string) {
  const [program, ...args] = command.split(" ");
  assert.equal(program, "symphony");
  return symphony(place, ...args);
}

test("after the root has changed, kept workspaces stay listed, and each printed command names its own directory", async () => {
  await using place = await project({ turns: [turn, endless] });
  await create(place, "Greet people by name");
  const old = place.workspace("LOCAL-1");
  const now = join(place.root, "second", "LOCAL-1");
  {
    await using server = await Served.start(place);
    assert.equal(await ended(server, "LOCAL-1"), "workspace.kept");
    assert.equal(await server.stop(), 0);
  }
  await setRoot(place, "second");
  {
    await using server = await Served.start(place);
    const alone = await symphony(place, "workspaces", "list");
    assert.ok(alone.stdout.includes(old), alone.stdout);
    const refused = await symphony(place, "workspaces", "remove", "LOCAL-1");
    assert.equal(refused.code, 7, "its key is enough");
    const moved = await symphony(place, "issue", "move", "LOCAL-1", "Todo");
    assert.equal(moved.code, 0, moved.stderr);
    await eventually("it is worked on", async () => existsSync(join(now, "second.txt")));
    await eventually("the old one is still listed", async () => {
      const { kept, running } = await server.client.system.state({});
      return running.length === 1 && kept.length === 1 && kept[0]?.path === old;
    });
    const aborted = await symphony(place, "abort", "LOCAL-1");
    assert.equal(aborted.code, 0, aborted.stderr);
    await eventually("it is held", async () => {
      const { held } = await server.client.system.state({});
      return held.length === 1;
    });
    assert.equal(await server.stop(), 0);
  }
  await using server = await Served.start(place);
  await eventually("it is known again", async () => {
    const { kept } = await server.client.system.state({});
    return kept.length === 1;
  });
  const state = await symphony(place, "state");
  assert.match(state.stdout, new RegExp(`kept +LOCAL-1 .*\\n +${old}\\n`));
  const [row] = (await server.client.system.state({})).kept;
  assert.deepEqual(row?.next, [
    `symphony diff ${old}`,
    `symphony workspaces remove ${old} --force`,
  ]);
  const shown = await symphony(place, "issue", "show", "LOCAL-1");
  assert.match(shown.stdout, new RegExp(`\\nworkspace +${now}\\n`));
  assert.match(shown.stdout, new RegExp(`\\nkept elsewhere +${old}: 1 changed file`));
  assert.doesNotMatch(shown.stdout, /\nkept {2}/);
  const list = await symphony(place, "workspaces", "list");
  assert.match(list.stdout, new RegExp(`\\nLOCAL-1 +LOCAL-1 .*\\n${old} +LOCAL-1 +kept`));
  const both = await symphony(place, "workspaces", "remove", "LOCAL-1", "--force");
  assert.equal(both.code, 7);
  assert.ok(both.stderr.includes(old) && both.stderr.includes(now), both.stderr);
  const [show = "", remove = ""] = row?.next ?? [];
  const first = await run(place, show);
  assert.match(first.stdout, /^\+echo "Hello, \$1!"$/m);
  const second = await symphony(place, "diff", "LOCAL-1");
  assert.match(second.stdout, /^\+in the second root$/m);
  const removed = await run(place, remove);
  assert.deepEqual(
    [removed.code, removed.stderr],
    [0, `${old} was removed; symphony workspaces list shows what is left, and kept copies\n`],
  );
  assert.deepEqual([existsSync(old), existsSync(join(now, "second.txt"))], [false, true]);
  const { kept, kept_total } = await server.client.system.state({});
  assert.deepEqual([kept, kept_total], [[], 0]);
});

test("when the root changes while the server runs, the issue's workspace in the old root is listed with its next attempt", async () => {
  await using place = await project({ turns: [endless] });
  await create(place, "Greet people by name");
  const old = place.workspace("LOCAL-1");
  await using server = await Served.start(place);
  await eventually("it is worked on", async () => existsSync(join(old, "second.txt")));
  const aborted = await symphony(place, "abort", "LOCAL-1");
  assert.equal(aborted.code, 0, aborted.stderr);
  await eventually("it is held", async () => {
    const { held } = await server.client.system.state({});
    return held.length === 1;
  });
  await setRoot(place, "second");
  const again = await symphony(place, "transition", "LOCAL-1", "queued");
  assert.equal(again.code, 0, again.stderr);
  await eventually("it is told", async () => {
    const { kept, running } = await server.client.system.state({});
    return running.length === 1 && kept[0]?.path === old;
  });
  assert.ok(existsSync(join(place.root, "second", "LOCAL-1")));
});

test("without a server a directory of an earlier root can be shown by its path, and no other path can", async () => {
  await using place = await project();
  await create(place, "Greet people by name");
  {
    await using server = await Served.start(place);
    assert.equal(await ended(server, "LOCAL-1"), "workspace.kept");
    assert.equal(await server.stop(), 0);
  }
  await setRoot(place, "second");
  const { dataDir: _, ...around } = place;
  const diff = await symphony(around, "diff", place.workspace("LOCAL-1"));
  assert.equal(diff.code, 0, diff.stderr);
  assert.match(diff.stdout, /^\+echo "Hello, \$1!"$/m);
  const unknown = await symphony(around, "diff", place.bare);
  assert.equal(unknown.code, 5);
});

test("a new issue with the identifier of an earlier one does not get its work", async () => {
  await using place = await project({ turns: [turn, [turn[3] ?? { do: "hang" }]] });
  await create(place, "Greet people by name");
  {
    await using server = await Served.start(place);
    assert.equal(await ended(server, "LOCAL-1"), "workspace.kept");
    assert.equal(await server.stop(), 0);
  }
  await rename(join(place.dataDir, "issues.db"), join(place.root, "issues.db"));
  await using server = await Served.start(place, "--accept-loss", "issues.db");
  await create(place, "Something else");
  const aside = `${place.workspace("LOCAL-1")}.aside-1`;
  await eventually("the new one is done", async () => {
    const { issue, status } = await server.client.issues.detail({ params: { id: "LOCAL-1" } });
    return issue.state === "Done" && status === "completed";
  });
  const said = /Set aside what was in the way: it holds 1 changed file .*aside-1/;
  await eventually("the log says so", async () => said.test(server.log));
  assert.ok(existsSync(join(aside, "greet.sh")));
  const detail = await server.client.issues.detail({ params: { id: "LOCAL-1" } });
  assert.equal(detail.kept, null, "the new issue has no result");
  assert.deepEqual(
    detail.kept_elsewhere.map(({ path }) => path),
    [aside],
  );
  const { kept } = await server.client.system.state({});
  assert.deepEqual(
    kept.map(({ path, next }) => [path, next[0]]),
    [[aside, "symphony diff LOCAL-1.aside-1"]],
  );
  assert.notEqual(kept[0]?.issue_id, detail.issue_id);
  const diff = await symphony(place, "diff", "LOCAL-1.aside-1");
  assert.match(diff.stdout, /^\+echo "Hello, \$1!"$/m);
});

test("serve --once that is stopped lists the workspace that it just used", async (t) => {
  await using place = await project({ turns: [endless] });
  await create(place, "Greet people by name");
  const { workflowPath, dataDir } = place;
  const args = ["serve", workflowPath, "--once", "--port", "0", "--data-dir", dataDir];
  const child = launch(place, args);
  t.after(() => child.kill("SIGKILL"));
  let output = "";
  let log = "";
  child.stdout?.setEncoding("utf8").on("data", (part: string) => {
    output += part;
  });
  child.stderr?.setEncoding("utf8").on("data", (part: string) => {
    log += part;
  });
  const path = place.workspace("LOCAL-1");
  await eventually("it is worked on", async () => existsSync(join(path, "second.txt")));
  child.kill("SIGINT");
  assert.deepEqual(await once(child, "close"), [130, null], log);
  assert.equal(
    output,
    `kept  LOCAL-1  1 new file (second.txt)\n      ${path}\n      symphony diff LOCAL-1\n`,
  );
  assert.doesNotMatch(log, /not (looked at|examined)/);
});
