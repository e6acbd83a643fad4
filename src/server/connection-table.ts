import { isIPv4 } from "node:net";
import { endianness } from "node:os";

/** One end of a connection, as a socket names it. */
export interface End {
  readonly address: string;
  readonly port: number;
}

const ipv6Loopback = "00000000000000000000000000000001";
const mappedPrefix = "00000000000000000000FFFF";
const established = "01";
/** What follows the state: queues, timer, retransmits, user, probes, inode. */
const rest = /\S+ \S+ +\S+ +(\d+) +\d+ (\d+) /y;

/** In place of a position: only the server's own row names this client. */
const unseen = -1;
/** The client has a row, but is not established, or the table changed while it was read. */
const unknown = -2;

/** The rows of one server and its clients in a text such as `/proc/net/tcp`. */
export class ConnectionTable {
  readonly #text: string;
  /** Where the rest of an established client's row begins. */
  readonly #clients = new Map<string, number>();
  #unseen = 0;
  #isTorn = false;

  /** One pass that takes no line apart: there can be thousands of others. */
  constructor(text: string, server: string) {
    this.#text = text;
    const mark = ` ${server} `;
    for (let at = text.indexOf(mark); at >= 0; at = text.indexOf(mark, at + 1)) {
      const after = at + mark.length;
      // The first of the two ends stands behind the number of the row: it is the server's own row.
      if (text[at - 1] === ":") this.#addServed(after);
      else this.#addClient(text.slice(text.lastIndexOf(" ", at - 1) + 1, at), after);
    }
  }

  /**
   * False when a connected client of the server has no row here in any state, as one whose socket is in another table, or
   * when a client has two: the kernel writes the table page by page, and it may change in between.
   */
  get isWhole(): boolean {
    return this.#unseen === 0 && !this.#isTorn;
  }

  /** The user of a client's end while it is established and a process has it; null when it is not. */
  userOf(client: string): number | null {
    const at = this.#clients.get(client) ?? unknown;
    if (at < 0) return null;
    rest.lastIndex = at;
    const [, user, inode] = rest.exec(this.#text) ?? [];
    // No inode: no process has this end, and the kernel writes 0 for its user.
    return user === undefined || Number(inode) === 0 ? null : Number(user);
  }

  #addServed(at: number): void {
    const end = this.#text.indexOf(" ", at);
    const client = this.#text.slice(at, end);
    const isConnected = this.#text.startsWith(`${established} `, end + 1);
    if (!isConnected || this.#clients.has(client)) return;
    this.#clients.set(client, unseen);
    this.#unseen += 1;
  }

  #addClient(client: string, at: number): void {
    const known = this.#clients.get(client) ?? null;
    if (known === unseen) this.#unseen -= 1;
    const isFirst = known === null || known === unseen;
    if (!isFirst) this.#isTorn = true;
    const isEstablished = this.#text.startsWith(`${established} `, at);
    this.#clients.set(client, isFirst && isEstablished ? at + established.length + 1 : unknown);
  }
}

/** How the kernel writes an end that has an IPv4 address, mapped or not, in its IPv4 table; null for others. */
export function ipv4Row({ address, port }: End): string | null {
  const plain = ipv4Of(address);
  return plain === null ? null : `${words(ipv4Hex(plain))}:${portHex(port)}`;
}

/** How the kernel writes an end in its IPv6 table: `::1`, or an IPv4 address as a mapped one; null for others. */
export function ipv6Row({ address, port }: End): string | null {
  const plain = ipv4Of(address);
  if (plain === null && address !== "::1") return null;
  const bytes = plain === null ? ipv6Loopback : mappedPrefix + ipv4Hex(plain);
  return `${words(bytes)}:${portHex(port)}`;
}

function ipv4Of(address: string): string | null {
  const plain = address.replace(/^::ffff:/i, "");
  return isIPv4(plain) ? plain : null;
}

function ipv4Hex(address: string): string {
  return address.split(".").map(byteHex).join("");
}

/** Each word of four bytes is written as a number of the machine's byte order. */
function words(bytes: string): string {
  if (endianness() === "BE") return bytes;
  return bytes.replaceAll(/(..)(..)(..)(..)/g, "$4$3$2$1");
}

function byteHex(byte: string): string {
  return Number(byte).toString(16).toUpperCase().padStart(2, "0");
}

function portHex(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, "0");
}
