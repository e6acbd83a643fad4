// What people write reaches a server only while no other one can lead its fleet. Real servers and a real Redis.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { FleetWorld } from "../../support/worlds/fleet.ts";
import { eventually, type Served, symphony } from "../../support/worlds/symphony.ts";

let world: FleetWorld;
before(async () => {
  world = await FleetWorld.open("echo done", undefined, { leaseMs: 5_000 });
  await world.serve();
});
after(() => world[Symbol.asyncDispose]());

const titles = async (server: Served | null) => {
  const { issues } = (await server?.client.issues.list({ query: {} })) ?? {};
  return issues?.map(({ title }) => title).sort();
};

test("while the engine is away for longer than the lead lasts a write is refused and changes nothing; what concerns the server alone is not", async () => {
  await world.issue("Before");
  const { client, place, redis } = world;
  const params = { id: "LOCAL-1" };
  const hold = () => client.issues.transition({ params, body: { to: "held" } });
  const overlay = async (): Promise<string> =>
    client.config.replaceOverlay({ body: {} }).then(
      () => "taken",
      ({ code }) => code,
    );
  await redis.down();
  await eventually("it is refused", async () => (await overlay()) === "unavailable");
  const refused = await symphony(place, "pause");
  assert.notEqual(refused.code, 0);
  assert.match(
    refused.stderr,
    /nothing was changed: the engine of the fleet does not answer, and another orchestrator could lead by now/,
  );
  for (const write of [
    hold,
    () => client.issues.create({ body: { title: "Refused" } }),
    () => client.issues.respond({ params, body: { decision: "approve" } }),
    () => client.issues.steer({ params, body: { message: "Look there" } }),
    () => client.issues.move({ params, body: { worker: null } }),
    () => client.config.replaceOverlay({ body: {} }),
    () => client.workers.invite({ body: {} }),
  ])
    await assert.rejects(write(), { code: "unavailable", message: /nothing was changed/ });
  await client.secrets.put({ params: { key: "A_SECRET" }, body: { value: "a-secret-value" } });
  await redis.up();
  await eventually("it is taken", async () => (await overlay()) === "taken");
  assert.deepEqual(await titles(world.server), ["Before"]);
});

test("28: a server that does not lead refuses what people write, by the name of the host that leads; one that stood still acknowledges nothing after another took over", async () => {
  const { first: stopped, other } = await world.serveTwice();
  const create = () => other.client.issues.create({ body: { title: "Other" } });
  await assert.rejects(create(), {
    ...{ code: "unavailable" },
    message: /nothing was changed: the orchestrator on \S+ leads this fleet, and not this one/,
  });
  stopped.child.kill("SIGSTOP");
  world.server = other;
  await eventually("the other one leads", () => create().catch(() => null));
  // It is there when the process wakes.
  const late = stopped.client.issues.create({ body: { title: "Too late" } });
  const acknowledged = late.then(
    () => true,
    () => false,
  );
  stopped.child.kill("SIGCONT");
  assert.equal(await acknowledged, false);
  await eventually("it has ended", async () => stopped.child.exitCode !== null);
  assert.deepEqual(await titles(other), ["Before", "Other"]);
});
