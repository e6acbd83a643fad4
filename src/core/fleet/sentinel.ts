import { SymphonyError } from "../model/errors.ts";

// A Redis whose master is named by sentinels: redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/MASTER/DATABASE.

const form =
  /^(rediss?)\+sentinel:\/\/(?:([^@/?#]*)@)?([^@/?#]+)\/([\w.-]+)(?:\/(\d{0,5}))?(?:\?([^#]*))?$/;
const place = /^(?:\[([\da-f:.]+)\]|([\w.-]+))(?::(\d{1,5}))?$/i;
const usualPort = 26_379;
/** What the sentinels themselves ask for; all else is of the master. */
const parameters = { user: "sentinel_username", password: "sentinel_password" } as const;
const longestPauseMs = 1_000;

interface Place {
  readonly host: string;
  readonly port: number;
}

interface SentinelUrl {
  readonly isSecure: boolean;
  readonly sentinels: readonly Place[];
  readonly master: string;
  readonly db: number;
  readonly username: string | null;
  readonly password: string | null;
  readonly sentinelUsername: string | null;
  readonly sentinelPassword: string | null;
}

/** Whether the URL is meant for sentinels, right or wrong. */
export function namesSentinels(url: string): boolean {
  return /^rediss?\+sentinel:/i.test(url);
}

/** Throws `invalid_config`; the message holds nothing of the URL. */
function parsed(url: string): SentinelUrl {
  const [, scheme, login = "", hosts = "", master = "", db = "", query = ""] = form.exec(url) ?? [];
  if (scheme === undefined) throw invalid("does not have this form");
  const sentinels = placesIn(hosts, usualPort);
  if (sentinels === null) throw invalid("names no host and port");
  const found = new URLSearchParams(query);
  const known: readonly string[] = Object.values(parameters);
  if ([...found.keys()].some((name) => !known.includes(name)))
    throw invalid(`may have the parameters ${known.join(" and ")} and no others`);
  const at = login.indexOf(":");
  const [user, password] = at < 0 ? [login, ""] : [login.slice(0, at), login.slice(at + 1)];
  return {
    ...{ isSecure: scheme === "rediss", sentinels, master, db: Number(db) },
    username: decoded(user) || null,
    password: decoded(password) || null,
    sentinelUsername: found.get(parameters.user),
    sentinelPassword: found.get(parameters.password),
  };
}

/** For people: without users and passwords. Throws `invalid_config`. */
export function sentinelAddress(url: string): string {
  const { isSecure, sentinels, master, db } = parsed(url);
  const hosts = placesText(sentinels);
  return `redis${isSecure ? "s" : ""}+sentinel://${hosts}/${master}${db === 0 ? "" : `/${db}`}`;
}

/** What a client of `ioredis` needs of it. Throws `invalid_config`. */
export function sentinelOptions(url: string): object {
  const { isSecure, master, ...rest } = parsed(url);
  const { sentinels, db, username, password, sentinelUsername, sentinelPassword } = rest;
  return {
    ...{ sentinels, name: master, db },
    ...(username !== null && { username }),
    ...(password !== null && { password }),
    ...(sentinelUsername !== null && { sentinelUsername }),
    ...(sentinelPassword !== null && { sentinelPassword }),
    // One that is away does not answer at all.
    sentinelCommandTimeout: 2_000,
    // Always a number: without one a connection ends for good while all of them are away.
    sentinelRetryStrategy: (times: number) =>
      Math.min(50 * times, longestPauseMs) * (0.5 + Math.random()),
    ...(isSecure && { tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true }),
  };
}

/** `HOST:PORT,HOST`; null: one of them is none. */
export function placesIn(hosts: string, otherwise: number): readonly Place[] | null {
  const all = hosts.split(",").map((one) => {
    const [, six, name = "", port = otherwise] = place.exec(one) ?? [];
    return { host: six ?? name, port: Number(port) };
  });
  const isWrong = all.some(({ host, port }) => host === "" || port === 0 || port > 65_535);
  return isWrong ? null : all;
}

export function placesText(places: readonly Place[]): string {
  const all = places.map(({ host, port }) => `${host.includes(":") ? `[${host}]` : host}:${port}`);
  return all.join(",");
}

/** What `%` stands for in a URL. */
export function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function invalid(why: string): SymphonyError {
  return new SymphonyError("invalid_config", `the URL of the engine's sentinels ${why}`, {
    hint: "redis+sentinel://user:password@a.example.com:26379,b.example.com:26379/mymaster/0?sentinel_password=..., kept in a secret: symphony secrets add FLEET_URL",
  });
}
