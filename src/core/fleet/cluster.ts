import { SymphonyError } from "../model/errors.ts";
import { answerMs } from "./engine.ts";
import type { Redis, RedisPackages } from "./packages.ts";
import { decoded, placesIn, placesText } from "./sentinel.ts";

// A Redis Cluster: redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT. All keys of a fleet are in one slot, so on one master at a time.

const form = /^(rediss?)\+cluster:\/\/(?:([^@:/?#]*)(?::([^@/?#]*))?@)?([^@/?#]+)\/?$/;
const usualPort = 6_379;

/** Whether the URL is meant for a cluster, right or wrong. */
export function namesCluster(url: string): boolean {
  return /^rediss?\+cluster:/i.test(url);
}

/** Throws `invalid_config`; the message holds nothing of the URL. */
function parsed(url: string) {
  const [, scheme, username = "", password = "", hosts = ""] = form.exec(url) ?? [];
  if (scheme === undefined) throw invalid("does not have this form");
  const nodes = placesIn(hosts, usualPort);
  if (nodes === null) throw invalid("names no host and port");
  return { scheme, nodes, username: decoded(username), password: decoded(password) };
}

/** For people: without user and password. Throws `invalid_config`. */
export function clusterAddress(url: string): string {
  const { scheme, nodes } = parsed(url);
  return `${scheme}+cluster://${placesText(nodes)}`;
}

/** `settings`: of a client of `ioredis`, and of each node. Throws `invalid_config`. */
export function clusterClient(
  { Cluster }: RedisPackages["ioredis"],
  url: string,
  { retryStrategy, ...settings }: Readonly<Record<string, unknown>>,
): Redis {
  const { scheme, nodes, username, password } = parsed(url);
  const made = new Cluster(nodes, {
    clusterRetryStrategy: retryStrategy,
    slotsRefreshTimeout: answerMs,
    // A node that has come back has no keys, so no answer of another one names it.
    slotsRefreshInterval: answerMs,
    // A certificate is for the name.
    dnsLookup: (name: string, found: (error: null, address: string) => void) => found(null, name),
    redisOptions: {
      ...settings,
      ...(username !== "" && { username }),
      ...(password !== "" && { password }),
      ...(scheme === "rediss" && { tls: {} }),
    },
  });
  if (settings["commandTimeout"] === undefined) return made;
  // What waits for a cluster that is not ready has no limit of its own.
  const send = made.sendCommand.bind(made);
  made.sendCommand = (command, ...more) => {
    command.setTimeout(answerMs);
    return send(command, ...more);
  };
  return made;
}

function invalid(why: string): SymphonyError {
  return new SymphonyError("invalid_config", `the URL of the engine's cluster ${why}`, {
    hint: "redis+cluster://user:password@a.example.com:6379,b.example.com:6379, kept in a secret: symphony secrets add FLEET_URL",
  });
}
