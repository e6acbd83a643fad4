import { lookup } from "node:dns/promises";
import { BlockList, isIP } from "node:net";
import { SymphonyError } from "../../model/errors.ts";

/** Linear's own. */
export const linearEndpoint = "https://api.linear.app/graphql";

/** Networks that no service of the internet is in: what answers there was not meant to be asked. */
const inner = new BlockList();
for (const [network, prefix] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["224.0.0.0", 3],
] as const) {
  inner.addSubnet(network, prefix, "ipv4");
}
for (const [network, prefix] of [
  ["::", 128],
  ["fc00::", 7],
  ["fe80::", 10],
  ["ff00::", 8],
] as const) {
  inner.addSubnet(network, prefix, "ipv6");
}

/** Whether an IP address is of a private, link-local or otherwise inner network; loopback is not among them. */
export function isInner(address: string): boolean {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return isInner(mapped);
  const version = isIP(address);
  return version !== 0 && inner.check(address, version === 6 ? "ipv6" : "ipv4");
}

/** The host of a URL without the brackets of IPv6. */
export function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, "");
}

/**
 * Rejects with `tracker_request` when the endpoint's name leads to an inner network: the key that is sent along is for
 * a service of the internet, or for one on this very machine.
 */
export async function requireReachable(endpoint: string, resolve = addressesOf): Promise<void> {
  const host = hostOf(new URL(endpoint));
  // These were looked at when the endpoint was set.
  if (isIP(host) !== 0 || host === "localhost" || endpoint === linearEndpoint) return;
  // What cannot be looked up fails in the request itself, which says so better.
  const found = await resolve(host).catch(() => []);
  if (!found.some(isInner)) return;
  throw new SymphonyError("tracker_request", `${host} leads to an address of an inner network`, {
    hint: "set tracker.provider.endpoint to Linear's own, or leave it out",
  });
}

async function addressesOf(host: string): Promise<readonly string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address);
}
