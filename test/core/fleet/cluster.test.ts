// A fleet on a real Redis Cluster of three masters and three replicas, with TLS, a password and a user of few rights.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { passwordsIn } from "../../../src/core/config/fleet.ts";
import { addressOf, openEngine } from "../../../src/core/fleet/opening.ts";
import { certificate } from "../../support/makers/certificate.ts";
import { coded } from "../../support/makers/storage.ts";
import { FleetWorld, RedisServer } from "../../support/worlds/fleet.ts";
import { RedisCluster } from "../../support/worlds/redis-cluster.ts";
import { eventually, symphony } from "../../support/worlds/symphony.ts";

test("a URL of a cluster is checked before anything connects, and shown without its password", () => {
  const url = "redis+cluster://me:se%2Fcret@a.example:1,[::1]:2,c";
  assert.equal(addressOf(url), "redis+cluster://a.example:1,[::1]:2,c:6379");
  assert.deepEqual(passwordsIn(url), ["se%2Fcret", "se/cret"]);
  for (const wrong of [
    "redis+cluster://",
    "redis+cluster://a:99999",
    "redis+cluster://a,,b",
    "redis+cluster://a:1/3",
    "redis+cluster://a:1?keyPrefix=x",
    "redis+cluster://u:p@h@a:1",
    "redis-cluster://a:1",
  ])
    assert.throws(
      () => addressOf(wrong.replace("//", "//user:hidden@")),
      (error: Error) => coded("invalid_config")(error) && !error.message.includes("hidden"),
      wrong,
    );
});

test("a Redis that is no cluster is refused by name where the URL names one", async () => {
  await using redis = await RedisServer.start();
  await assert.rejects(openEngine(redis.url.replace("redis:", "redis+cluster:"), { fleet: "f" }), {
    code: "engine_refused",
    message: /it is no Redis Cluster: its URL begins with redis:\/\//,
  });
});

/** The rights of the user in docs/scale.md, with those for a cluster. */
function rights(): string {
  const text = readFileSync("docs/scale.md", "utf8");
  const [, found] = /^user symphony on >PASSWORD (.*)$/m.exec(text) ?? [];
  const [, more] = /of a cluster also needs `([^`]*)`/.exec(text) ?? [];
  assert.ok(found && more);
  return `${found} ${more}`;
}

const own = certificate("localhost", "127.0.0.1");
let cluster: RedisCluster;
let world: FleetWorld;
before(async () => {
  assert.ok(own, "openssl is needed");
  cluster = await RedisCluster.start({ rights: rights(), certificate: own });
  const agent = `until [ -e "$shared/go" ]; do sleep 0.1; done; echo done > result; echo done`;
  world = await FleetWorld.open(agent, undefined, {
    leaseMs: 6_000,
    engine: cluster,
    workerEnv: () => ({ NODE_EXTRA_CA_CERTS: own.path }),
  });
  world.place.env["NODE_EXTRA_CA_CERTS"] = own.path;
  await world.serve();
  for (const name of ["build-1", "build-2"]) await world.worker(name, "--capacity", "3");
});
after(async () => {
  await world?.[Symbol.asyncDispose]();
  own?.[Symbol.dispose]();
});

/** The keys of the fleet, on the node that has them. */
function keysOn(node: RedisServer): readonly string[] {
  return node
    .cli("--scan")
    .split("\n")
    .filter((key) => key.startsWith("{symphony:"));
}

function slotOf(): number {
  const [key = ""] = cluster.nodes.flatMap(keysOn);
  return Number(cluster.nodes[0]?.cli("cluster", "keyslot", key));
}

let made = 0;
async function issues(count: number): Promise<readonly string[]> {
  const ids = Array.from({ length: count }, (_, at) => `LOCAL-${made + at + 1}`);
  made += count;
  for (const id of ids) await world.client.issues.create({ body: { title: id } });
  await world.client.system.refresh();
  return ids;
}

/** Each has one attempt that succeeded; what was cut off was lost with its worker. */
async function succeeded(ids: readonly string[], lost: boolean): Promise<void> {
  for (const id of ids) {
    const all = await eventually(
      () => `${id} succeeded: ${world.logs.slice(-4_000)}`,
      async () => {
        const { attempts } = await world.client.issues.attempts({ params: { id } });
        return attempts.some(({ status }) => status === "succeeded") ? attempts : null;
      },
      60_000,
    );
    const ends = all.map(({ status, error }) => error?.code ?? status);
    assert.equal(ends.filter((end) => end === "succeeded").length, 1);
    if (!lost) assert.deepEqual(ends, ["succeeded"]);
    for (const end of ends) assert.ok(["succeeded", "worker_lost"].includes(end), end);
  }
  assert.equal(world.wasTwice, false, world.shared("twice").join("\n"));
}

test("19: all keys are on one node, and agents work on while these move to another node", async () => {
  world.stop();
  const ids = await issues(8);
  await eventually("six run", async () => world.shared("started").length >= 6);
  const slot = slotOf();
  const [node] = cluster.nodes;
  assert.ok(node);
  const from = cluster.masterOf(slot, node);
  const to = cluster.nodes.slice(0, 3).find((one) => one !== from);
  assert.ok(to);
  assert.deepEqual(
    cluster.nodes.slice(0, 3).filter((one) => keysOn(one).length > 0),
    [from],
  );
  await cluster.move(slot, from, to);
  assert.deepEqual(
    cluster.nodes.slice(0, 3).filter((one) => keysOn(one).length > 0),
    [to],
  );
  world.go();
  await succeeded(ids, false);
});

test("8: the node with the keys is killed (-9) among attempts that run and wait: each runs to its end once, and none twice at a time", async () => {
  world.stop();
  const before = world.shared("started").length;
  const waiting = await issues(8);
  await eventually("six run", async () => world.shared("started").length >= before + 6);
  const slot = slotOf();
  const [one, two] = cluster.nodes;
  assert.ok(one && two);
  const lost = cluster.masterOf(slot, one);
  await lost.down();
  const by = lost === one ? two : one;
  await eventually(
    "its replica has the keys",
    async () => {
      const now = cluster.masterOf(slot, by);
      return now !== lost && keysOn(now).length > 0;
    },
    30_000,
  );
  world.go();
  await succeeded(waiting, true);
  await lost.up();
  for (const name of ["build-1", "build-2"]) await world.isReady(name);
  await succeeded(await issues(2), true);
});

test("doctor and the log name the cluster, and no password", async () => {
  const checked = async (url: string) => {
    const env = { ...world.place.env, FLEET_URL: url };
    const { stdout } = await symphony({ ...world.place, env }, "doctor", "--json");
    const { checks } = JSON.parse(stdout) as { checks: Record<string, string>[] };
    return checks.find(({ name }) => name === "fleet") ?? {};
  };
  const found = await checked(cluster.url);
  assert.match(found["message"] ?? "", /a cluster of 6 nodes at rediss\+cluster:\/\/127\.0\.0\.1:/);
  const refused = await checked(cluster.url.replace(/:[^:]*@/, ":wrong@"));
  assert.equal(refused["code"], "engine_refused", refused["message"]);
  assert.match(refused["message"] ?? "", /password/);
  const said = JSON.stringify([found, refused, world.logs]);
  for (const secret of cluster.secrets) assert.ok(!said.includes(secret));
});
