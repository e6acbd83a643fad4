import { BlockList, isIP } from "node:net";

/** Where a connection is to go, in the one form that is compared: a name in lower case, or an address. */
export interface Target {
  readonly host: string;
  readonly port: number;
}

/** Names reach these ports; an entry of the list may name another one. */
const openPorts = [80, 443];
/** Addresses of this machine, its networks and its neighbours, also in the forms of IPv6 that carry one of IPv4. */
const inner = [
  ...["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"],
  ...["172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3"],
  ...["::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16"],
  ...["fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"],
];
const innerBlock = blockOf(inner);

/**
 * The target of `host:port`; null for anything else. User names, paths, zones and encoded characters
 * are refused; other ways to write an address (`127.1`, `0x7f000001`, `[::ffff:7f00:1]`) become that
 * address.
 */
export function targetOf(authority: string, defaultPort: number | null = null): Target | null {
  const [, written, digits] =
    /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?$/.exec(authority) ?? [];
  const port = digits === undefined ? defaultPort : Number(digits);
  const url = written === undefined ? null : URL.parse(`http://${written}/`);
  if (url === null || port === null || port < 1 || port > 65_535) return null;
  const host = plain(url.hostname.replace(/^\[|\]$/g, "").replace(/\.$/, ""));
  return host === "" || /^\.|\.\.|\.$/.test(host) ? null : { host, port };
}

/** An IPv4 address in the form of IPv6 as itself. */
function plain(host: string): string {
  const [, dotted, high, low] =
    /^::ffff:(?:(\d+(?:\.\d+){3})|([0-9a-f]{1,4}):([0-9a-f]{1,4}))$/.exec(host) ?? [];
  if (dotted !== undefined) return dotted;
  if (high === undefined || low === undefined) return host;
  const bits = Number.parseInt(high, 16) * 65_536 + Number.parseInt(low, 16);
  return [24, 16, 8, 0].map((shift) => (bits >>> shift) & 255).join(".");
}

/** `agent.network`: names, `*.suffix`, addresses and networks, each with or without a port. */
export class NetworkRules {
  readonly #names: readonly { readonly host: string; readonly ports: readonly number[] }[];
  readonly #addresses: BlockList;

  constructor(entries: readonly string[]) {
    const networks = entries.map((entry) => networkIn(entry));
    this.#addresses = blockOf(networks.filter((network) => network !== null));
    this.#names = entries.flatMap((entry, at) => {
      if (networks[at] !== null) return [];
      const [, host = "", port] = /^(.*?)\.?(?::(\d+))?$/.exec(entry.toLowerCase()) ?? [];
      return [{ host, ports: port === undefined ? openPorts : [Number(port)] }];
    });
  }

  /** Whether the list names the target. Its addresses are checked by `reaches`. */
  allows({ host, port }: Target): boolean {
    if (isIP(host) !== 0) return isIn(this.#addresses, host);
    return this.#names.some(({ host: name, ports }) => {
      const fits = name.startsWith("*.") ? host.endsWith(name.slice(1)) : host === name;
      return fits && ports.includes(port);
    });
  }

  /** Whether a connection to this address may be made: inner addresses have to be in the list themselves. */
  reaches(address: string): boolean {
    const one = plain(address.toLowerCase());
    return isIn(this.#addresses, one) || (isIP(one) !== 0 && !isIn(innerBlock, one));
  }
}

/** An entry that is an address or a network, with its prefix; null for a name. */
function networkIn(entry: string): string | null {
  const [address = "", prefix] = entry.replace(/^\[|\]$/g, "").split("/");
  const one = plain(address.toLowerCase());
  if (isIP(one) === 0) return null;
  return `${one}/${prefix ?? (isIP(one) === 6 ? 128 : 32)}`;
}

function blockOf(networks: readonly string[]): BlockList {
  const block = new BlockList();
  for (const network of networks) {
    const [address = "", prefix] = network.split("/");
    block.addSubnet(address, Number(prefix), isIP(address) === 6 ? "ipv6" : "ipv4");
  }
  return block;
}

function isIn(block: BlockList, address: string): boolean {
  const version = isIP(address);
  return version !== 0 && block.check(address, version === 6 ? "ipv6" : "ipv4");
}
