import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { gitIn } from "../support/makers/git-repository.ts";
import { create, ended, type Place, project } from "../support/makers/kept-project.ts";
import { eventually, launch, Served, symphony } from "../support/worlds/symphony.ts";

test("README: after Done the work is kept and shown everywhere, and only --force removes it; also after a restart", async () => {
  await using place = await project();
  await create(place, "Greet people by name");
  await create(place, "Nothing to do");
  {
    await using server = await Served.start(place);
    assert.equal(await ended(server, "LOCAL-1"), "workspace.kept");
    assert.equal(await ended(server, "LOCAL-2"), "workspace.removed");
    await eventually("it is said in the log", async () => /workspace kept/.test(server.log));
    const [line = ""] = server.log.split("\n").filter((one) => /workspace kept/.test(one));
    assert.match(line, /1 changed file \(one\.txt\) and 1 new file \(greet\.sh\)/);
    assert.ok(line.includes(place.workspace("LOCAL-1")) && line.includes("symphony diff LOCAL-1"));
    assert.ok(existsSync(place.workspace("LOCAL-1")) && !existsSync(place.workspace("LOCAL-2")));
    await shown(place, server);
    assert.equal(await server.stop(), 0);
  }
  await using server = await Served.start(place);
  await eventually("it is known again", async () => {
    const { kept } = await server.client.system.state({});
    return kept.length === 1;
  });
  await shown(place, server);
  assert.equal(server.log.match(/msg="workspace kept/g), null, "it was said before");
  assert.match(server.log, /hold work and are kept.*kept=1/);
  const refused = await symphony(place, "workspaces", "remove", "LOCAL-1");
  assert.equal(refused.code, 7);
  assert.match(refused.stderr, /1 changed file \(one\.txt\) and 1 new file \(greet\.sh\)/);
  assert.match(refused.stderr, /\n {2}next: symphony workspaces remove LOCAL-1 --force\n/);
  assert.ok(existsSync(place.workspace("LOCAL-1")));
  const removed = await symphony(place, "workspaces", "remove", "LOCAL-1", "--force");
  assert.equal(removed.code, 0, removed.stderr);
  assert.ok(!existsSync(place.workspace("LOCAL-1")));
  const after = await server.client.system.state({});
  assert.deepEqual([after.kept, after.kept_total], [[], 0]);
});

/** Every place that a person may check says where the work is and which command to type. */
async function shown(place: Place, server: Served): Promise<void> {
  const path = place.workspace("LOCAL-1");
  const diff = await symphony(place, "diff", "LOCAL-1");
  assert.match(diff.stdout, /^\+echo "Hello, \$1!"$/m);
  assert.match(diff.stdout, /^\+changed$/m);
  const { attempts } = await server.client.issues.attempts({ params: { id: "LOCAL-1" } });
  for (const args of [
    ["state"],
    ["issue", "show", "LOCAL-1"],
    ["explain", "LOCAL-1"],
    ["attempt", attempts[0]?.id ?? ""],
    ["workspaces", "list"],
  ]) {
    const { stdout, stderr, code } = await symphony(place, ...args);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /1 changed file \(one\.txt\) and 1 new file \(greet\.sh\)/, args[0]);
    assert.match(stdout, /symphony diff LOCAL-1/, args[0]);
    if (args[0] !== "explain") assert.ok(stdout.includes(path), args[0]);
  }
  const page = await (await fetch(server.url)).text();
  assert.ok(page.includes("Kept workspaces") && page.includes(path));
  const [row] = (await server.client.workspaces.list()).workspaces;
  assert.deepEqual(row?.kept?.holds, [
    { kind: "changed_files", count: 1, examples: ["one.txt"] },
    { kind: "new_files", count: 1, examples: ["greet.sh"] },
  ]);
}

test("serve --once says at its end where the work is; symphony diff shows it without a server", async () => {
  await using place = await project();
  await create(place, "Greet people by name");
  const { workflowPath, dataDir } = place;
  const child = launch(place, [
    "serve",
    workflowPath,
    "--once",
    "--port",
    "0",
    "--data-dir",
    dataDir,
  ]);
  let output = "";
  child.stdout?.setEncoding("utf8").on("data", (part: string) => {
    output += part;
  });
  child.stderr?.resume();
  await eventually("it has ended", async () => child.exitCode !== null);
  assert.equal(child.exitCode, 0);
  const path = place.workspace("LOCAL-1");
  assert.equal(
    output,
    `kept  LOCAL-1  1 changed file (one.txt) and 1 new file (greet.sh)\n      ${path}\n      symphony diff LOCAL-1\n`,
  );
  const { dataDir: _, ...around } = place;
  const diff = await symphony(around, "diff", "local-1");
  assert.equal(diff.code, 0, diff.stderr);
  assert.match(diff.stdout, /^\+echo "Hello, \$1!"$/m);
  assert.match(diff.stderr, /No server runs here; reading .*LOCAL-1\nLOCAL-1: 2 files changed/);
  const unknown = await symphony(around, "diff", "LOCAL-9");
  assert.equal(unknown.code, 5);
});

test("with the documented commit hook the commit stays in the workspace until it is pushed", async () => {
  await using place = await project({
    hooks: `  after_run: git add -A && { git diff --cached --quiet || git -c user.name=a -c user.email=b commit -qm "$SYMPHONY_ISSUE_IDENTIFIER"; }\n`,
  });
  await create(place, "Greet people by name");
  await using server = await Served.start(place);
  assert.equal(await ended(server, "LOCAL-1"), "workspace.kept");
  const { kept } = await server.client.issues.detail({ params: { id: "LOCAL-1" } });
  assert.deepEqual(kept?.holds, [{ kind: "commits", count: 1, more: false, refs: ["main"] }]);
  const diff = await symphony(place, "diff", "LOCAL-1");
  assert.match(diff.stdout, /^\+echo "Hello, \$1!"$/m);
  gitIn(place.workspace("LOCAL-1"))("push", "-q", "origin", "HEAD:refs/heads/local-1");
  const removed = await symphony(place, "workspaces", "remove", "LOCAL-1");
  assert.equal(removed.code, 0, removed.stderr);
});

test("without a repository the new file is kept and shown", async () => {
  await using place = await project({ afterCreate: "echo made > one.txt" });
  await create(place, "Greet people by name");
  await using server = await Served.start(place);
  assert.equal(await ended(server, "LOCAL-1"), "workspace.kept");
  const diff = await symphony(place, "diff", "LOCAL-1");
  assert.match(diff.stdout, /^\+\+\+ b\/greet\.sh\n@@ .*\n\+echo "Hello, \$1!"$/m);
  assert.match(diff.stdout, /^\+made\n\+changed$/m);
  assert.equal(diff.stderr, "LOCAL-1: 2 files changed\n");
  assert.equal(
    await readFile(join(place.workspace("LOCAL-1"), "one.txt"), "utf8"),
    "made\nchanged\n",
  );
});
