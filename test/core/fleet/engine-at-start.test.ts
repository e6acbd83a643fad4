// What a fleet finds of its engine as it starts: a Redis that answers but is of no use, and TLS on both engines.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openEngine } from "../../../src/core/fleet/opening.ts";
import { certificate } from "../../support/makers/certificate.ts";
import { RedisServer } from "../../support/worlds/fleet.ts";
import { PostgresServer } from "../../support/worlds/postgres.ts";
import { eventually, symphony } from "../../support/worlds/symphony.ts";

const refused = async (url: string, message: RegExp, hint: RegExp, fleet = "f") => {
  for (const tables of ["make", "need", "any"] as const)
    await assert.rejects(openEngine(url, { fleet, tables }), {
      ...{ code: "engine_refused", message, hint },
    });
};

test("a replica of a Redis is refused by name, and its master is not", async () => {
  await using master = await RedisServer.start("--repl-diskless-sync-delay", "0");
  await using replica = await RedisServer.start("--replicaof", "127.0.0.1", String(master.port));
  await eventually("the replica follows", async () =>
    /master_link_status:up/.test(replica.cli("info", "replication")),
  );
  await refused(replica.url, /is a replica, which takes no writes$/, /name its master in the URL/);
  await (await openEngine(master.url, { fleet: "f" }))[Symbol.asyncDispose]();
});

test("a node of a Redis Cluster whose URL names none is refused by name, whether it has the keys of the fleet or not", async () => {
  await using one = await RedisServer.start("--cluster-enabled", "yes");
  await using other = await RedisServer.start("--cluster-enabled", "yes");
  one.cli("cluster", "addslotsrange", "0", "8191");
  other.cli("cluster", "addslotsrange", "8192", "16383");
  other.cli("cluster", "set-config-epoch", "2");
  one.cli("cluster", "meet", "127.0.0.1", String(other.port));
  for (const node of [one, other])
    await eventually("the nodes know each other", async () =>
      /cluster_state:ok\s.*cluster_size:2/s.test(node.cli("cluster", "info")),
    );
  const says = /is one of several nodes of a Redis Cluster, between which keys move$/;
  for (const node of [one, other]) await refused(node.url, says, /as a cluster: redis\+cluster:/);
  // One that may not ask for the nodes notices it where another one has its keys.
  one.cli("acl", "setuser", "few", "on", ">pw", "~*", "+@all", "-cluster");
  const few = one.url.replace("//", "//few:pw@");
  const fleets = ["f", "g", "h", "i", "j", "k"];
  const elsewhere = fleets.find(
    (fleet) => Number(one.cli("cluster", "keyslot", `{symphony:${fleet}}`)) > 8191,
  );
  await refused(few, says, /as a cluster/, elsewhere);
});

test("a Redis that evicts keys is refused, with the command that mends it", async () => {
  await using redis = await RedisServer.start("--maxmemory-policy", "volatile-lru");
  const mends = "redis-cli config set maxmemory-policy noeviction";
  await refused(redis.url, /evicts keys .*\(maxmemory-policy volatile-lru\)/, new RegExp(mends));
  redis.cli(...mends.split(" ").slice(1));
  await (await openEngine(redis.url, { fleet: "f" }))[Symbol.asyncDispose]();
});

/** What doctor says of the engine at `url`, with the certificate as an authority of this machine. */
async function checked(url: string, ca: string | null) {
  const dir = mkdtempSync(join(tmpdir(), "symphony-tls-"));
  try {
    const workflowPath = join(dir, "WORKFLOW.md");
    writeFileSync(
      workflowPath,
      "---\ntracker: { kind: local }\nagent: { kind: command, level: danger }\ncommand: { line: echo }\nfleet: { url: $FLEET_URL }\n---\nWork\n",
    );
    const env = { HOME: dir, FLEET_URL: url, ...(ca !== null && { NODE_EXTRA_CA_CERTS: ca }) };
    const around = { env, cwd: dir, dataDir: join(dir, ".symphony") };
    const { stdout } = await symphony(around, "doctor", workflowPath, "--json");
    const { checks } = JSON.parse(stdout) as { checks: Record<string, string>[] };
    const { status = "", message = "" } = checks.find(({ name }) => name === "fleet") ?? {};
    return `${status}: ${message}`;
  } finally {
    rmSync(dir, { recursive: true });
  }
}

test("rediss:// and postgres://…?sslmode=verify-full use TLS, and refuse a certificate that is not trusted or is for another name", async () => {
  using own = certificate("127.0.0.1");
  using other = certificate("elsewhere.example");
  assert.ok(own && other, "openssl is needed");
  const tls = ({ path, keyPath }: { path: string; keyPath: string }) => [
    ...["--tls-cert-file", path, "--tls-key-file", keyPath],
    ...["--tls-ca-cert-file", path, "--tls-auth-clients", "no"],
  ];
  const quiet = { fsync: "on" };
  await using redis = await RedisServer.start(...tls(own));
  await using misnamedRedis = await RedisServer.start(...tls(other));
  await using postgres = await PostgresServer.start(quiet, own);
  await using misnamed = await PostgresServer.start(quiet, other);
  const ofRedis = ({ url }: RedisServer) => url.replace("redis:", "rediss:");
  const ofPostgres = ({ url }: PostgresServer) => `${url}?sslmode=verify-full`;
  const [answers, ...others] = await Promise.all([
    checked(ofPostgres(postgres), own.path),
    checked(ofRedis(redis), own.path),
    checked(ofPostgres(misnamed), other.path),
    checked(ofRedis(misnamedRedis), other.path),
  ]);
  assert.match(answers, /^ok: PostgreSQL \S+ .*at postgres:\/\/127\.0\.0\.1:\d+\/fleet answers/);
  const [redisAnswers, postgresName, redisName] = others;
  assert.match(redisAnswers, /^(ok|warn): .*rediss:\/\/127\.0\.0\.1:\d+/);
  for (const one of [postgresName, redisName])
    assert.match(one, /^fail: .*its certificate is for another name than that in its URL/);
  for (const url of [ofRedis(redis), ofPostgres(postgres)])
    await refused(url, /its certificate is not trusted: set NODE_EXTRA_CA_CERTS/, /./);
  // Nothing passes without TLS where it is meant.
  await assert.rejects(openEngine(redis.url, { fleet: "f" }), { code: "engine_unavailable" });
});
