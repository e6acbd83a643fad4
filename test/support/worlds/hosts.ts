import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import type { Site } from "./fleet.ts";

// Several hosts on one machine: each a network namespace with a name and an address, and in the middle a router.

/** All of it ends with its first process, whatever becomes of this one: no namespace, mount, link or process is left. */
const own = ["--uts", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
const asRoot = ["--user", "--map-root-user"];
/** A shell stays the first process, since that has to take in orphans. */
const prepare = `mount -t tmpfs tmpfs /run && ip link set lo up && ip netns add router &&
  ip -n router link set lo up && hostname server && "$@"; exit $?`;
const inside = "SYMPHONY_INSIDE_HOSTS";

/** Whether this process is in a network of its own already. */
export const isInside = process.env[inside] === "1";

/** Why no network of its own can be made here, and the arguments of `unshare` where it can. */
function probe(): { readonly flags: readonly string[] } | { readonly why: string } {
  let why = "";
  for (const flags of [own, [...asRoot, ...own]]) {
    const tried = spawnSync("unshare", [...flags, "sh", "-c", prepare, "sh", "true"]);
    if (tried.status === 0) return { flags };
    why = tried.error?.message ?? String(tried.stderr).trim();
  }
  return { why };
}

/**
 * Runs this program again in a network of its own, as the host `server`, with a directory for temporary files. Resolves with
 * its exit code when nothing of either is left: also after SIGINT and SIGTERM. 2: namespaces cannot be made here.
 */
export async function runInside(args: readonly string[]): Promise<number> {
  const found = probe();
  if ("why" in found) {
    process.stderr.write(
      `hosts: this machine does not allow network namespaces: ${found.why}\nnext: run it on Linux with iproute2 and util-linux, as root or where users may make namespaces\n`,
    );
    return 2;
  }
  const dir = await mkdtemp(join(tmpdir(), "symphony-hosts-"));
  // Its input ends with this process: then it ends too, also after kill -9.
  const line = [...found.flags, "sh", "-c", prepare, "sh", process.execPath, ...args];
  const child = spawn("unshare", line, {
    stdio: ["pipe", "inherit", "inherit"],
    env: { ...process.env, TMPDIR: dir, [inside]: "1" },
    detached: true,
  });
  let stopped = 0;
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    process.on(signal, () => {
      stopped = code;
      child.kill("SIGKILL");
    });
  }
  await once(child, "close");
  await rm(dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  return stopped || (child.exitCode ?? 1);
}

/** How a host can be cut off; it is undone by `mend`. */
export const faults = {
  /** The router's end of its link is down: what it sends goes nowhere, and others learn that it cannot be reached. */
  unplugged: (host: string) => ip("-n", "router", "link", "set", host, "down"),
  /** Its own end is down: it learns so at once. */
  down: (host: string) => ip(...at(host), "link", "set", "lan", "down"),
  /** What is sent to it is lost silently on the way; what it sends arrives. */
  deaf: (host: string) => ip("-n", "router", "rule", "add", "to", addressOf(host), "blackhole"),
  /** What it sends is lost silently on the way; what is sent to it arrives. */
  mute: (host: string) => ip("-n", "router", "rule", "add", "iif", host, "blackhole"),
} as const;
export type Fault = keyof typeof faults;

const router = "10.77.0.254";
const places: string[] = [];

function addressOf(host: string): string {
  return `10.77.0.${places.indexOf(host) + 1}`;
}

/** This process is on the host `server`, whose network has no name. */
function at(host: string): readonly string[] {
  return host === "server" ? [] : ["-n", host];
}

/** The hosts; this process itself is on the host `server`. */
export class Hosts implements Site {
  /** Adds the host `server` and `others`. */
  static add(...others: readonly string[]): Hosts {
    if (!isInside || hostname() !== "server") throw new Error("only in a network of its own");
    for (const host of ["server", ...others]) {
      places.push(host);
      if (host !== "server") ip("netns", "add", host);
      if (host !== "server") ip(...at(host), "link", "set", "lo", "up");
      ip(
        ...at(host),
        "link",
        "add",
        "lan",
        "type",
        "veth",
        "peer",
        "name",
        host,
        "netns",
        "router",
      );
      ip(...at(host), "address", "add", `${addressOf(host)}/32`, "dev", "lan");
      ip("-n", "router", "address", "add", `${router}/32`, "dev", host);
      ip("-n", "router", "link", "set", host, "up");
    }
    const forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
    execFileSync("nsenter", ["--net=/run/netns/router", "sh", "-c", forward]);
    const hosts = new Hosts();
    for (const host of places) hosts.mend(host);
    return hosts;
  }

  address(host: string): string {
    return addressOf(host);
  }

  /** The command line that runs `command` on the host; the process is that of `command`. */
  on(host: string, command: readonly string[]): readonly string[] {
    if (host === "server") return command;
    const name = 'hostname "$0" && exec "$@"';
    const enter = ["nsenter", `--net=/run/netns/${host}`, "unshare", "--uts", "sh", "-c", name];
    return [...enter, host, ...command];
  }

  cut(host: string, fault: Fault): void {
    faults[fault](host);
  }

  /** Undoes every fault of the host. */
  mend(host: string): void {
    for (const [kind, what] of [
      ["to", addressOf(host)],
      ["iif", host],
    ] as const)
      spawnSync("ip", ["-n", "router", "rule", "delete", kind, what, "blackhole"]);
    ip("-n", "router", "link", "set", host, "up");
    ip(...at(host), "link", "set", "lan", "up");
    // Routes go with a link that is down.
    ip(...at(host), "route", "replace", "default", "via", router, "dev", "lan", "onlink");
    ip("-n", "router", "route", "replace", addressOf(host), "dev", host);
  }

  /** Nothing passes between the hosts of `some` and all others, in neither direction; `join` undoes it. */
  split(some: readonly string[]): void {
    for (const rule of between(some)) ip("-n", "router", "rule", "add", ...rule);
  }

  join(some: readonly string[]): void {
    for (const rule of between(some)) ip("-n", "router", "rule", "delete", ...rule);
  }

  /** Both directions carry `rate`, such as `64kbit`; what waits longer than a second is dropped. */
  slow(host: string, rate: string): void {
    const shape = ["root", "tbf", "rate", rate, "burst", "2kb", "latency", "1s"];
    execFileSync("tc", [...at(host), "qdisc", "replace", "dev", "lan", ...shape]);
    execFileSync("tc", ["-n", "router", "qdisc", "replace", "dev", host, ...shape]);
  }

  quicken(host: string): void {
    execFileSync("tc", [...at(host), "qdisc", "delete", "dev", "lan", "root"]);
    execFileSync("tc", ["-n", "router", "qdisc", "delete", "dev", host, "root"]);
  }
}

function between(some: readonly string[]): readonly (readonly string[])[] {
  const others = places.filter((host) => !some.includes(host));
  return some.flatMap((one) =>
    others.flatMap((other) => [
      ["iif", one, "to", addressOf(other), "blackhole"],
      ["iif", other, "to", addressOf(one), "blackhole"],
    ]),
  );
}

function ip(...args: readonly string[]): void {
  execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] });
}
