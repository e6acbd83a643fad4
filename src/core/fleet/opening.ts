import { SymphonyError } from "../model/errors.ts";
import { clusterAddress, namesCluster } from "./cluster.ts";
import type { Engine, Opening } from "./engine.ts";
import { namesSentinels, sentinelAddress } from "./sentinel.ts";

/**
 * Connects to the engine at `url` and checks it. Rejects with `engine_missing` (no package), `engine_refused` (what no wait
 * mends: a password, a right, a certificate, a setting) or `engine_unavailable`.
 */
export async function openEngine(
  url: string,
  { fleet, tables = "need", log }: Pick<Opening, "fleet" | "log"> & Partial<Opening>,
): Promise<Engine> {
  const opening = { address: addressOf(url), fleet, tables, log };
  if (url.startsWith("postgres")) {
    const { PostgresEngine } = await import("./postgres.ts");
    return PostgresEngine.open(url, opening);
  }
  const { RedisEngine } = await import("./redis.ts");
  return RedisEngine.open(url, opening);
}

/**
 * The address of the engine without user and password, for people. Throws `invalid_config` for a URL that no fleet can use.
 */
export function addressOf(text: string): string {
  if (namesSentinels(text)) return sentinelAddress(text);
  if (namesCluster(text)) return clusterAddress(text);
  const url = URL.parse(text);
  if (url === null || !/^(rediss?|postgres(ql)?):$/.test(url.protocol) || url.hostname === "") {
    throw new SymphonyError(
      "invalid_config",
      "the URL of the engine must begin with redis://, rediss://, redis+sentinel://, redis+cluster:// or postgres:// and name a host",
      {
        hint: "such as rediss://user:password@redis.example.com:6379/0, kept in a secret: symphony secrets add FLEET_URL",
      },
    );
  }
  if (url.protocol.startsWith("postgres")) return databaseOf(url);
  if (url.search !== "" || url.hash !== "") {
    throw new SymphonyError(
      "invalid_config",
      "the URL of the engine may have no query: each parameter would be an option of its client",
      { hint: "leave out what follows the number of the database" },
    );
  }
  return `${url.protocol}//${url.host}${url.pathname === "/" ? "" : url.pathname}`;
}

/** `sslmode` is the one parameter that is known: what else a client takes from there could send the password elsewhere. */
function databaseOf({ host, username, password, pathname, search, hash }: URL): string {
  const known = ["", "?sslmode=disable", "?sslmode=verify-full"];
  if (!known.includes(search) || hash !== "") {
    throw new SymphonyError(
      "invalid_config",
      "the URL of the engine may have no parameter but sslmode=verify-full",
      {
        hint: "with it the certificate is checked; NODE_EXTRA_CA_CERTS names the file of an authority of your own",
      },
    );
  }
  try {
    decodeURIComponent(`${username}/${password}/${pathname}`);
  } catch (cause) {
    const message = "the URL of the engine has a % that begins no code of a character";
    throw new SymphonyError("invalid_config", message, { cause, hint: "write it as %25" });
  }
  if (!/^\/[^/]+$/.test(pathname)) {
    throw new SymphonyError("invalid_config", "the URL of the engine must name a database", {
      hint: `such as postgres://user:password@${host}/symphony?sslmode=verify-full`,
    });
  }
  return `postgres://${host}${pathname}`;
}
