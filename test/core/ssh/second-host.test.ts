// What a host that takes an issue over from another one gets, and what is too large to leave one.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { appendFileSync, existsSync, rmSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { SshWorld } from "../../support/worlds/ssh-world.ts";
import { eventually, symphony } from "../../support/worlds/symphony.ts";

let world: SshWorld;
before(async () => {
  const options = {
    ...{ hosts: ["alpha", "beta"], max: 1 },
    agent: `made=$(cat ../../made 2>/dev/null); echo "$HOST_NAME $made $(cat kept 2>/dev/null)" >> "$shared/seen"
case $SYMPHONY_ISSUE_TITLE in Large) head -c 3000000 /dev/urandom > large;; esac
[ -e kept ] || { echo kept > kept; exit 1; }`,
  };
  world = await SshWorld.open(options);
  const origin = `${world.dir}/origin`;
  const git = (...args: string[]) =>
    execFileSync("git", ["-c", "user.name=A", "-c", "user.email=a@example.com", ...args]);
  git("init", "-q", "-b", "main", origin);
  git("-C", origin, "commit", "-q", "--allow-empty", "-m", "one");
  await world.configure({
    ...options,
    sections: `agent: { kind: command, level: danger, max_turns: 1, max_retry_backoff_ms: 1000 }
command: { line: the-agent, output: text }
fleet: { max_copy: 1048576 }
delivery: { mode: none }
git: { repositories: [{ name: app, url: "${origin}" }] }
hooks:
  after_create: echo "made-on-$HOST_NAME" > ../../made`,
  });
  await world.serve();
});
after(() => world[Symbol.asyncDispose]());

test("Z-8: after_create runs on every host that gets a clone, after the work of the earlier one", async () => {
  await world.isReady("alpha");
  await world.isReady("beta");
  await world.issue();
  const { status } = await world.ended("LOCAL-1", 2);
  assert.equal(status, "succeeded", world.server?.log);
  const [first = "", second = ""] = world.shared("seen");
  const [one, made] = first.split(" ");
  assert.equal(made, `made-on-${one}`);
  const other = one === "alpha" ? "beta" : "alpha";
  assert.equal(second, `${other} made-on-${other} kept`);
  const { workspaces } = await world.client.workspaces.list({ query: {} });
  assert.deepEqual(
    workspaces.map(({ key, host }) => [key, host]),
    [["LOCAL-1", other]],
  );
});

test("Z-2: work that is larger than fleet.max_copy stays on its host, which is not lost; the error names both sizes", async () => {
  await world.issue("Large");
  await world.ended("LOCAL-2", 2);
  const { attempts } = await world.client.issues.attempts({ params: { id: "LOCAL-2" } });
  const { workers } = await world.client.workers.list();
  assert.deepEqual(
    workers.map(({ ready }) => ready),
    [true, true],
  );
  assert.match(JSON.stringify(attempts), /is 3 MiB as a git bundle, and fleet.max_copy is 1 MiB/);
});

test("Z-8: a host that is away when its issue is removed loses the directory when it is back, unless work is only there", async () => {
  await world.issue("Three");
  assert.equal((await world.ended("LOCAL-3", 2)).status, "succeeded", world.server?.log);
  const homes = ["alpha", "beta"].map((host) => world.home(host));
  const [large, three] = ["LOCAL-2/large", "LOCAL-3/kept"].map((file) =>
    homes.map((home) => `${home}/spaces/${file}`).find((path) => existsSync(path)),
  );
  assert.ok(large && three);
  for (const home of homes) writeFileSync(`${home}/exit`, "255\nssh: connect: No route to host\n");
  for (const id of ["LOCAL-2", "LOCAL-3"]) {
    const closed = await symphony(world.place, "issue", "close", id);
    assert.equal(closed.code, 0, closed.stderr);
  }
  const here = ["LOCAL-2", "LOCAL-3"].map((name) => `${world.dir}/spaces/${name}`);
  await eventually(
    () => `they are gone here\n${world.server?.log.slice(-2_500)}`,
    async () => !here.some((path) => existsSync(path)),
  );
  assert.ok(existsSync(three));
  for (const home of homes) rmSync(`${home}/exit`);
  appendFileSync(world.place.workflowPath, "Again\n");
  await eventually("what had come back is gone there", async () => !existsSync(three));
  await eventually("what had not is named", async () =>
    /LOCAL-2 on \w+.*its last changes are only there/.test(world.server?.log ?? ""),
  );
  assert.ok(existsSync(large));
});

test("Z-8: two servers with one login, root and identifier do not meet in a directory: the second one is refused by name", async () => {
  const host = ["alpha", "beta"].find((name) =>
    existsSync(`${world.home(name)}/spaces/LOCAL-1/kept`),
  );
  assert.ok(host);
  const there = `${world.home(host)}/spaces/LOCAL-1`;
  assert.ok(existsSync(`${there}/kept`), host);
  const agent = `pwd >> "$shared/seen"`;
  await using other = await SshWorld.open({ hosts: [host], agent, beside: world });
  await other.serve();
  await other.isReady(host);
  await other.issue();
  const first = await other.ended("LOCAL-1");
  assert.equal(first.error?.code, "workspace_prepare_failed", other.server?.log);
  assert.match(first.error?.message ?? "", /LOCAL-1 is that of another server, .*symphony-ssh-/);
  assert.ok(first.error?.message.includes(world.place.dataDir), first.error?.message);
  assert.match(first.error?.message ?? "", /remove \.symphony-ssh\/LOCAL-1\.owner in the root/);
  assert.deepEqual(other.shared("seen"), []);
  assert.ok(existsSync(`${there}/kept`));
  const closed = await symphony(world.place, "issue", "close", "LOCAL-1");
  assert.equal(closed.code, 0, closed.stderr);
  await eventually("the second server has it", async () => other.shared("seen").length > 0);
  assert.deepEqual(other.shared("seen"), [there]);
});
