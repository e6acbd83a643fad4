// What a host that takes an issue over from another one gets, and what is too large to leave one.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";
import { SshWorld } from "../../support/worlds/ssh-world.ts";

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
