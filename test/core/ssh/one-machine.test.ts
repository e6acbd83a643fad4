// Two names for one machine and login.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { SshWorld } from "../../support/worlds/ssh-world.ts";
import { eventually, symphony } from "../../support/worlds/symphony.ts";

const agent = `echo "$$" >> "$shared/started"; until [ -e "$shared/go" ]; do sleep 0.1; done`;
let world: SshWorld;
before(async () => {
  world = await SshWorld.open({ hosts: ["alpha"], agent });
  await world.serve();
});
after(() => world[Symbol.asyncDispose]());

test("a second name of a host gets nothing and is refused by the first one, whose agents work on", async () => {
  await world.isReady("alpha");
  await world.issue("One");
  await eventually("the agent runs", async () => world.shared("started").length > 0);
  await world.configure({ hosts: ["alpha", "alpha:22"], agent });
  const why = await eventually("the second name is known", async () => {
    const { workers } = await world.client.workers.list();
    const found = workers.find(({ name }) => name === "alpha:22")?.why;
    return found == null || /not asked yet/.test(found) ? null : found;
  });
  assert.equal(why, "it is the machine and login of alpha by another name");
  const { stdout } = await symphony(world.place, "doctor", "--json");
  const { checks } = JSON.parse(stdout) as { checks: Record<string, string>[] };
  const found = checks.find(({ name }) => name === "ssh");
  assert.equal(found?.["status"], "fail");
  assert.match(found?.["message"] ?? "", /alpha(:22)?: it is the machine and login of alpha/);
  assert.match(found?.["next"] ?? "", /worker\.ssh_hosts/);
  writeFileSync(`${world.dir}/shared/go`, "");
  assert.equal((await world.ended("LOCAL-1"))?.status, "succeeded", world.server?.log);
  assert.equal(world.shared("started").length, 1);
});

test("the second name takes the host over once the first one is off the list", async () => {
  await world.configure({ hosts: ["alpha:22"], agent });
  await world.isReady("alpha:22");
  await world.issue("Two");
  assert.equal((await world.ended("LOCAL-2"))?.status, "succeeded", world.server?.log);
});
