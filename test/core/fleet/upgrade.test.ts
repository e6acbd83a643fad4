// Workers of earlier releases, and the way from one release to the next while attempts run.

import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { earlierRelease } from "../../support/makers/earlier-release.ts";
import { FleetWorld } from "../../support/worlds/fleet.ts";
import { eventually, symphony } from "../../support/worlds/symphony.ts";

/** The last commit of main before workers said how long their lease is, and one of another protocol. */
const earlier = earlierRelease("5b7afda1", "0.0.9");
const foreign = earlierRelease("4448e6ae", "0.0.8");
const skip = earlier === null || foreign === null ? "the history of this clone is cut off" : false;

let world: FleetWorld;
let current = "";
before(async () => {
  if (skip) return;
  world = await FleetWorld.open(`echo "$SYMPHONY_ISSUE_IDENTIFIER" >> work
until [ -e "$shared/go-$SYMPHONY_ISSUE_IDENTIFIER" ]; do sleep 0.1; done
echo done`);
  current = world.program;
  await world.serve();
});
after(() => world?.[Symbol.asyncDispose]());

/** What doctor says of the fleet. */
async function doctor(): Promise<string> {
  const { stdout } = await symphony(world.place, "doctor", "--json");
  const { checks } = JSON.parse(stdout) as { checks: Record<string, string>[] };
  const { status, message } = checks.find(({ name }) => name === "fleet") ?? {};
  return `${status}: ${message}`;
}
const release = (dir: string | null) => {
  world.program = dir === null ? current : join(dir, "bin", "symphony.js");
};
const go = (id: string) => writeFileSync(join(world.dir, "shared", `go-${id}`), "");
const runs = (id: string) =>
  eventually(
    () => `${id} runs\n${world.logs.slice(-3_000)}`,
    async () => world.shared("started").filter((line) => line.includes(`/${id} `)).length > 0,
    60_000,
  );
async function succeeded(id: string) {
  go(id);
  return eventually(
    () => `${id} has succeeded\n${world.logs.slice(-3_000)}`,
    async () => {
      const { attempts } = await world.client.issues.attempts({ params: { id } });
      return attempts.some(({ status }) => status === "succeeded") && attempts;
    },
    90_000,
  );
}

test("15: a worker of another protocol is refused by name with the command to type; one of an earlier release of the same protocol works on, and both versions are shown", {
  skip,
}, async () => {
  release(foreign);
  const { token } = await world.client.workers.invite({ body: {} });
  world.again("ancient", token);
  const why = await eventually("it is refused", async () => {
    const said = (await world.seen("ancient"))?.why ?? "";
    return said.includes("protocol") && said;
  });
  assert.match(
    why,
    /^its version 0\.0\.8 speaks protocol 1, and this server's \S+ protocol 2: on its machine npm install --global \.\/symphony-\S+\.tgz, then start the worker again$/,
  );
  await world.issue();
  const told = await symphony(world.place, "explain", "LOCAL-1");
  assert.match(told.stdout.replaceAll(/\s+/g, " "), /ancient takes nothing: its version 0\.0\.8/);
  release(earlier);
  await world.worker("build-1", "--capacity", "1");
  const [attempt] = await succeeded("LOCAL-1");
  assert.equal(attempt?.worker_host, "build-1");
  const list = await symphony(world.place, "workers", "list");
  assert.match(list.stdout, /build-1 .* 0\.0\.9 .*ready/);
  assert.match(list.stdout, /ancient .* 0\.0\.8 /);
  assert.match(
    await doctor(),
    /workers have other versions than the server's \S+: (ancient 0\.0\.8, build-1 0\.0\.9|build-1 0\.0\.9, ancient 0\.0\.8)/,
  );
});

test("4, 15: a rolling upgrade, worker by worker and then the server in mid-attempt, loses no turn and runs no attempt twice", {
  skip,
}, async () => {
  await symphony(world.place, "workers", "remove", "ancient");
  release(earlier);
  await world.worker("build-2", "--capacity", "1");
  await world.issue("Two");
  await world.issue("Three");
  for (const id of ["LOCAL-2", "LOCAL-3"]) await runs(id);
  const placed = async (id: string) => {
    const { running } = await world.client.system.state();
    return running.find((row) => row.issue_identifier === id)?.worker_host ?? "";
  };
  const [first, second] = [await placed("LOCAL-2"), await placed("LOCAL-3")];
  assert.notEqual(first, second);
  /** The steps of docs/scale.md. */
  const replace = async (name: string) => {
    const process = world.started.findLast((one) => one.name === name);
    await eventually("it has ended by itself", async () => process?.child.exitCode === 0);
    const listed = await symphony(world.place, "workers", "list");
    assert.match(listed.stdout, new RegExp(`${name} .*drained`));
    assert.equal((await symphony(world.place, "workers", "cordon", name, "--off")).code, 0);
    release(null);
    await world.isReady(name, world.again(name, null, "--capacity", "1"));
    assert.notEqual((await world.seen(name))?.version, "0.0.9");
  };
  assert.equal((await symphony(world.place, "workers", "drain", first)).code, 0);
  assert.equal((await world.seen(first))?.running, 1, "it finishes what it runs");
  const drained = await succeeded("LOCAL-2");
  assert.deepEqual(
    drained.map(({ status, worker_host }) => [status, worker_host]),
    [["succeeded", first]],
  );
  await replace(first);
  // The server, while an attempt runs on a worker of the earlier release.
  assert.equal(await placed("LOCAL-3"), second);
  assert.equal(await world.server?.stop(), 0);
  await world.serve();
  await eventually(
    () => `it runs again\n${world.logs.slice(-3_000)}`,
    async () => world.shared("started").filter((line) => line.includes("/LOCAL-3 ")).length === 2,
    60_000,
  );
  await symphony(world.place, "workers", "drain", second);
  const [last, ...before] = await succeeded("LOCAL-3");
  assert.deepEqual(
    before.map(({ status }) => status),
    ["interrupted"],
  );
  const work = join(last?.workspace?.path ?? "", "work");
  assert.ok(existsSync(work), JSON.stringify(last));
  assert.equal(readFileSync(work, "utf8"), "LOCAL-3\nLOCAL-3\n", "no turn was lost");
  await replace(second);
  assert.doesNotMatch(await doctor(), /other versions/);
  await world.issue("Four");
  await succeeded("LOCAL-4");
  assert.equal(world.wasTwice, false, world.shared("twice").join("\n"));
});
