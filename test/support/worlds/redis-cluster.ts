import type { Certificate } from "../makers/certificate.ts";
import { type EngineServer, freePort, RedisServer, thisMachine } from "./fleet.ts";
import { eventually } from "./symphony.ts";

const slots = 16_384;
const masters = 3;
/** It needs escaping in a URL. */
const password = "of/the@user";
const serverPassword = "of-the-servers";

/** A Redis Cluster of three masters, each with a replica; `rights`: those of the user `symphony`. */
export class RedisCluster implements EngineServer {
  readonly nodes: readonly RedisServer[];
  readonly #isSecure: boolean;

  private constructor(nodes: readonly RedisServer[], isSecure: boolean) {
    this.nodes = nodes;
    this.#isSecure = isSecure;
  }

  static async start({
    rights,
    certificate,
  }: {
    rights: string;
    certificate: Certificate | null;
  }): Promise<RedisCluster> {
    const tls = certificate && [
      ...["--tls-cert-file", certificate.path, "--tls-key-file", certificate.keyPath],
      ...["--tls-ca-cert-file", certificate.path, "--tls-auth-clients", "no"],
      ...["--tls-replication", "yes", "--tls-cluster", "yes"],
    ];
    const all: { readonly node: RedisServer; readonly bus: string }[] = [];
    for (let at = 0; at < 2 * masters; at++) {
      const bus = String(await freePort());
      const node = await RedisServer.at(
        { site: thisMachine, host: "engine" },
        ...["--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "1500"],
        ...["--requirepass", serverPassword, "--masterauth", serverPassword],
        ...["--user", "symphony", "on", `>${password}`, ...rights.split(" ")],
        ...["--repl-diskless-sync-delay", "0", ...(tls ?? [])],
      );
      all.push({ node, bus });
    }
    const [first, ...others] = all;
    for (const { node, bus } of others)
      first?.node.cli("cluster", "meet", "127.0.0.1", String(node.port), bus);
    const made = new RedisCluster(
      all.map(({ node }) => node),
      tls !== null,
    );
    const whole = (what: RegExp) => async () =>
      made.nodes.every((node) => what.test(node.cli("cluster", "info")));
    await eventually("they know each other", whole(/cluster_known_nodes:6/));
    const [one, two, three, ...replicas] = made.nodes;
    [one, two, three].forEach((node, at) => {
      const [from, next] = [at, at + 1].map((part) => Math.floor((slots * part) / masters));
      node?.cli("cluster", "addslotsrange", String(from), String(Number(next) - 1));
    });
    await eventually("each slot has a node", whole(/cluster_state:ok\s.*cluster_size:3/s));
    replicas.forEach((node, at) => {
      node.cli("cluster", "replicate", made.nodes[at]?.cli("cluster", "myid") ?? "");
    });
    for (const node of replicas)
      await eventually("each replica follows", async () =>
        /master_link_status:up/.test(node.cli("info", "replication")),
      );
    return made;
  }

  /** Names two of the nodes. */
  get url(): string {
    const hosts = this.nodes.slice(1, 3).map(({ address, port }) => `${address}:${port}`);
    const scheme = this.#isSecure ? "rediss" : "redis";
    return `${scheme}+cluster://symphony:${encodeURIComponent(password)}@${hosts.join(",")}`;
  }

  get secrets(): readonly string[] {
    return [password, encodeURIComponent(password), serverPassword];
  }

  /** Who answers for the keys of the fleet, by what the node `by` says. */
  masterOf(slot: number, by: RedisServer): RedisServer {
    for (const line of by.cli("cluster", "nodes").split("\n")) {
      const [, place = "", flags = "", , , , , , ...owned] = line.split(" ");
      const port = Number(/:(\d+)@/.exec(place)?.[1]);
      const isIn = owned.some((range) => {
        const [from = "", to = from] = range.split("-");
        return Number(from) <= slot && slot <= Number(to);
      });
      const found = this.nodes.find((node) => node.port === port);
      if (isIn && !/fail/.test(flags) && found) return found;
    }
    throw new Error("no node has the slot");
  }

  /** Gives the slot with all its keys to another master, as `redis-cli --cluster reshard` does. */
  async move(slot: number, from: RedisServer, to: RedisServer): Promise<void> {
    const [source, target] = [from, to].map((node) => node.cli("cluster", "myid"));
    to.cli("cluster", "setslot", String(slot), "importing", source ?? "");
    from.cli("cluster", "setslot", String(slot), "migrating", target ?? "");
    await eventually("its keys have moved", async () => {
      const keys = from.cli("cluster", "getkeysinslot", String(slot), "10").split("\n");
      const left = keys.filter(Boolean);
      const how = ["127.0.0.1", String(to.port), "", "0", "5000", "AUTH", serverPassword, "KEYS"];
      if (left.length > 0) from.cli("migrate", ...how, ...left);
      return left.length === 0;
    });
    for (const node of [to, from, ...this.nodes])
      node.cli("cluster", "setslot", String(slot), "node", target ?? "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.nodes.map((node) => node[Symbol.asyncDispose]()));
  }
}
