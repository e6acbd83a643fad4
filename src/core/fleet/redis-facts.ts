import { messageOf } from "../model/errors.ts";
import { namesCluster } from "./cluster.ts";
import type { EngineFacts } from "./engine.ts";
import type { Redis } from "./packages.ts";
import { namesSentinels } from "./sentinel.ts";

// What a Redis says of itself: of a cluster every node, since each may come to have the keys.

type Fault = readonly [what: string, next: string];

/** Each node's answer; one that is away, or whose user may not be asked, has none. */
async function asked<T>(redis: Redis, one: (node: Redis) => Promise<T>): Promise<readonly T[]> {
  const all = (redis.nodes?.() ?? [redis]).map((node) => one(node).catch(() => null));
  return (await Promise.all(all)).filter((answer) => answer !== null);
}

/** The values of a fact of INFO. */
function factIn(infos: readonly string[], key: string): readonly string[] {
  return infos.flatMap((info) => new RegExp(`^${key}:(.*?)\\r?$`, "m").exec(info)?.[1] ?? []);
}

async function settings(redis: Redis, name: string): Promise<readonly string[]> {
  const found = await asked(redis, (node) => node.config("GET", name));
  return found.flatMap((one) => (Array.isArray(one) && one.length > 1 ? [String(one[1])] : []));
}

/** A user without the right to read them is no fault. */
export async function factsOf(redis: Redis, url: string): Promise<EngineFacts> {
  const infos = await asked(redis, (node) => node.info());
  const fact = (key: string) => factIn(infos, key);
  const faults: Fault[] = [];
  if (fact("aof_enabled").includes("0") && (await settings(redis, "save")).includes("")) {
    const what = "keeps nothing on disk: after its restart every attempt on a worker runs again";
    faults.push([what, "redis-cli config set appendonly yes"]);
  }
  if (fact("rdb_last_bgsave_status").includes("err")) {
    const what = "could not save its file, and may refuse every write until it can";
    faults.push([what, "redis-cli lastsave; then look at the disk of the engine"]);
  }
  const hasReplicas = fact("connected_slaves").some((count) => Number(count) > 0);
  if (hasReplicas && (await settings(redis, "min-replicas-to-write")).includes("0")) {
    const what =
      "has replicas and writes without them: a failover may lose what it has acknowledged";
    faults.push([what, "redis-cli config set min-replicas-to-write 1"]);
  }
  const version = fact("redis_version")[0] ?? "of an unknown version";
  const nodes = namesCluster(url) ? `, a cluster of ${infos.length} nodes` : "";
  const { remoteAddress, remotePort } = redis.stream ?? {};
  const master = `${remoteAddress}:${remotePort}`;
  return { name: `Redis ${version}${nodes}`, faults, ...(namesSentinels(url) && { master }) };
}

/** Redis answers reads where a fleet could not write, or not for long; `key`: one of the fleet's that holds nothing. null: it fits. */
export async function unfitness(redis: Redis, url: string, key: string): Promise<Fault | null> {
  if (namesCluster(url)) return evicts(redis);
  const written = await redis
    .eval("return redis.call('del', KEYS[1])", 1, key)
    .then(() => "", messageOf);
  if (/^READONLY/.test(written) && !namesSentinels(url))
    return ["is a replica, which takes no writes", "name its master in the URL, or its sentinels"];
  // The number of nodes with keys; it may not be asked for, or there is no cluster.
  const cluster = await redis.cluster("INFO").catch(() => "");
  const nodes = Number(/^cluster_size:(\d+)/m.exec(cluster)?.[1] ?? 1);
  if (nodes <= 1 && !/^(MOVED|ASK) /.test(written)) return evicts(redis);
  return [
    "is one of several nodes of a Redis Cluster, between which keys move",
    "name some of them, as a cluster: redis+cluster://user:password@HOST:PORT,HOST:PORT",
  ];
}

/** Locks expire by themselves, so every policy but one may evict a lease. A policy that may not be read is taken as it is. */
async function evicts(redis: Redis): Promise<Fault | null> {
  // A user with few rights reads it there, and may not ask for the setting.
  const infos = await asked(redis, (node) => node.info());
  const told = factIn(infos, "maxmemory_policy").map((policy) => policy.trim());
  const all = told.length > 0 ? told : await settings(redis, "maxmemory-policy");
  const policy = all.find((one) => one !== "noeviction");
  if (policy === undefined) return null;
  return [
    `evicts keys when its memory is full (maxmemory-policy ${policy}): a lease could vanish`,
    "redis-cli config set maxmemory-policy noeviction",
  ];
}
