import { SymphonyError } from "../model/errors.ts";
import type { Engine } from "./engine.ts";

/**
 * Connects to the engine at `url` and checks it. Rejects with `engine_missing` (no package), `engine_refused` (what no wait
 * mends: a password, a right, a certificate, a setting) or `engine_unavailable`.
 */
export async function openEngine(
  url: string,
  { fleet, makes = false }: { fleet: string; makes?: boolean },
): Promise<Engine> {
  const opening = { address: addressOf(url), fleet, makes };
  const { RedisEngine } = await import("./redis.ts");
  return RedisEngine.open(url, opening);
}

/**
 * The address of the engine without user and password, for people. Throws `invalid_config` for a URL that no fleet can use.
 */
export function addressOf(text: string): string {
  const url = URL.parse(text);
  if (url === null || !/^rediss?:$/.test(url.protocol) || url.hostname === "") {
    throw new SymphonyError(
      "invalid_config",
      "the URL of the engine must begin with redis:// or rediss:// and name a host",
      {
        hint: "such as rediss://user:password@redis.example.com:6379/0, kept in a secret: symphony secrets add FLEET_URL",
      },
    );
  }
  if (url.search !== "" || url.hash !== "") {
    throw new SymphonyError(
      "invalid_config",
      "the URL of the engine may have no query: each parameter would be an option of its client",
      { hint: "leave out what follows the number of the database" },
    );
  }
  return `${url.protocol}//${url.host}${url.pathname === "/" ? "" : url.pathname}`;
}
