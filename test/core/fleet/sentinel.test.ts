// A fleet whose Redis is a master with a replica, named by three sentinels: real redis-servers, with TLS, passwords and a user
// that has no more rights than docs/scale.md gives it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { passwordsIn } from "../../../src/core/config/fleet.ts";
import { addressOf } from "../../../src/core/fleet/opening.ts";
import { certificate } from "../../support/makers/certificate.ts";
import { coded } from "../../support/makers/storage.ts";
import { FleetWorld } from "../../support/worlds/fleet.ts";
import { Sentinels } from "../../support/worlds/sentinels.ts";
import { eventually, symphony } from "../../support/worlds/symphony.ts";

test("a URL of sentinels is checked before anything connects, and shown without its passwords", () => {
  const url =
    "redis+sentinel://me:se%2Fcret@a.example:1,[::1]:2,c/my-master/3?sentinel_password=o%26ther";
  assert.equal(addressOf(url), "redis+sentinel://a.example:1,[::1]:2,c:26379/my-master/3");
  assert.deepEqual(passwordsIn(url), ["se%2Fcret", "se/cret", "o%26ther", "o&ther"]);
  assert.equal(addressOf("rediss+sentinel://a:1/m/0"), "rediss+sentinel://a:1/m");
  for (const wrong of [
    "redis+sentinel://a:1",
    "redis+sentinel://a:1/",
    "redis+sentinel:///mymaster",
    "redis+sentinel://a:99999/mymaster",
    "redis+sentinel://a:0/mymaster",
    "redis+sentinel://a,,b/mymaster",
    "redis+sentinel://a b/mymaster",
    "redis+sentinel://a:1/my master",
    "redis+sentinel://a:1/mymaster/x",
    "redis+sentinel://a:1/mymaster/0?role=slave",
    "redis+sentinel://a:1/mymaster#x",
    "redis+sentinel://u:p@h@a:1/mymaster",
    "redis-sentinel://a:1/mymaster",
  ]) {
    assert.throws(
      () => addressOf(wrong.replace("//", "//user:hidden@")),
      (error: Error) => coded("invalid_config")(error) && !error.message.includes("hidden"),
      wrong,
    );
  }
});

/** The rights of the user in docs/scale.md. */
function rights(): string {
  const [, found] =
    /^user symphony on >PASSWORD (.*)$/m.exec(readFileSync("docs/scale.md", "utf8")) ?? [];
  assert.ok(found);
  return found;
}

const own = certificate("localhost", "127.0.0.1");
let sentinels: Sentinels;
let world: FleetWorld;
before(async () => {
  assert.ok(own, "openssl is needed");
  sentinels = await Sentinels.start({ certificate: own, rights: rights() });
  const agent = `until [ -e "$shared/go" ]; do sleep 0.1; done; echo done > result; echo done`;
  world = await FleetWorld.open(agent, undefined, {
    leaseMs: 6_000,
    engine: sentinels,
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
let made = 0;

/** More issues than there are places: some wait for a worker, some run. */
async function issues(count: number): Promise<readonly string[]> {
  const ids = Array.from({ length: count }, (_, at) => `LOCAL-${made + at + 1}`);
  made += count;
  for (const id of ids) await world.client.issues.create({ body: { title: id } });
  await world.client.system.refresh();
  return ids;
}

/** Each has one attempt that succeeded, as its last; what was cut off was lost with its worker. */
async function succeeded(ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    const all = await eventually(
      `${id} succeeded: ${world.server?.log.slice(-2_000)}`,
      async () => {
        const { attempts } = await world.client.issues.attempts({ params: { id } });
        return attempts.some(({ status }) => status === "succeeded") ? attempts : null;
      },
      90_000,
    );
    assert.equal(all.filter(({ status }) => status === "succeeded").length, 1);
    for (const { status, error } of all)
      assert.equal(error?.code ?? status, status === "succeeded" ? "succeeded" : "worker_lost");
  }
  assert.equal(world.wasTwice, false, world.shared("twice").join("\n"));
}

const bothReady = async () => {
  for (const name of ["build-1", "build-2"]) await world.isReady(name);
};

test("8: the master is killed (-9) among attempts that run, wait and end: each runs to its end once, none beside another", async () => {
  world.stop();
  const waiting = await issues(8);
  await eventually("six run", async () => world.shared("started").length >= 6);
  const more = await issues(4);
  world.go();
  await eventually("some have ended", async () => {
    const { attempts } = await world.client.issues.attempts({ params: { id: "LOCAL-1" } });
    return attempts.at(-1)?.ended_at !== null;
  });
  assert.equal(sentinels.master, sentinels.first.port);
  await sentinels.first.down();
  await succeeded([...waiting, ...more]);
  assert.equal(sentinels.master, sentinels.second.port);
  await bothReady();
});

test("7: all sentinels restart while workers wait for jobs, then the master changes: jobs are taken again, by itself", async () => {
  await sentinels.first.up();
  await eventually("the old master follows", async () =>
    /master_link_status:up/.test(sentinels.first.cli("info", "replication")),
  );
  await sentinels.down();
  await sentinels.up();
  sentinels.failover();
  await eventually("it leads again", async () => sentinels.master === sentinels.first.port);
  await bothReady();
  await succeeded(await issues(4));
});

test("doctor and the log name the master, and no password", async () => {
  const checked = async (url: string) => {
    const env = { ...world.place.env, FLEET_URL: url };
    const { stdout } = await symphony({ ...world.place, env }, "doctor", "--json");
    const { checks } = JSON.parse(stdout) as { checks: Record<string, string>[] };
    return checks.find(({ name }) => name === "fleet") ?? {};
  };
  const found = await checked(sentinels.url);
  assert.match(found["message"] ?? "", /rediss\+sentinel:\/\/127\.0\.0\.1:.*\/mymaster/);
  assert.match(found["message"] ?? "", new RegExp(`its master is 127.0.0.1:${sentinels.master}`));
  const refused = await checked(
    sentinels.url.replace(/sentinel_password=.*/, "sentinel_password=wrong"),
  );
  assert.equal(refused["code"], "engine_refused", refused["message"]);
  assert.match(refused["message"] ?? "", /password/);
  const unknown = await checked(sentinels.url.replace("/mymaster/", "/another/"));
  assert.equal(unknown["code"], "engine_unavailable");
  assert.match(unknown["message"] ?? "", /its sentinels know no such master/);
  const said = JSON.stringify([found, refused, unknown, world.server?.log]);
  for (const secret of sentinels.secrets) assert.ok(!said.includes(secret));
  for (const { log } of world.started)
    for (const secret of sentinels.secrets) assert.ok(!log.includes(secret));
});
