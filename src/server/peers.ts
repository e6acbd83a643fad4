import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { isIPv4, type Socket } from "node:net";
import { endianness } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import type { Logger } from "../core/events/log.ts";

/** Which tables to read, and the server's own user; tests pass their own. */
export interface PeerOptions {
  readonly platform?: NodeJS.Platform;
  readonly proc?: string;
  readonly uid?: number;
}

/**
 * `read`: users are distinguished by the kernel's tables of connections. `absent`: this system has none, and every user of
 * the machine is trusted. `unusable`: the tables exist but do not identify users here, and every caller needs the token.
 */
export type PeerTables = "read" | "absent" | "unusable";

/** Limit on readings of one table per lookup. */
const maxReadings = 3;
/** The kernel writes this many bytes of a table at once; a longer table may change between two reads. */
const pageBytes = 4_096;

const verdicts = new WeakMap<Socket, Promise<boolean>>();
const ownUsers = new WeakSet<Socket>();

/**
 * True when the process at the other end runs as the server's own user (THREAT-6). Root is another user, unless the
 * server is root. False when that is unknown: the end is closed, is in another network namespace, or was never looked up.
 */
export function isOwnUser(socket: Socket): Promise<boolean> {
  return verdicts.get(socket) ?? Promise.resolve(false);
}

/** Whether `isOwnUser` has already found that it does. */
export function isKnownOwnUser(socket: Socket): boolean {
  return ownUsers.has(socket);
}

/** Identifies the process at the other end of each connection to a server on loopback. */
export class Peers {
  readonly tables: PeerTables;
  readonly #proc: string;
  readonly #uid: number;
  #waiting: Promise<Round> | null = null;
  #reading: Promise<Round> | null = null;

  constructor(options: PeerOptions = {}) {
    const { platform = process.platform, proc = "/proc", uid = process.getuid?.() ?? -1 } = options;
    this.#proc = proc;
    this.#uid = uid;
    if (platform !== "linux") this.tables = "absent";
    else this.tables = isUsable(proc, uid) ? "read" : "unusable";
  }

  /** Call at accept: nothing may have read the socket's remote address before the tables were read. */
  meet(socket: Socket): void {
    verdicts.set(socket, this.#verdict(socket));
  }

  async #verdict(socket: Socket): Promise<boolean> {
    const isOwn = this.tables === "read" ? await this.#isOwn(socket) : this.tables === "absent";
    if (isOwn) ownUsers.add(socket);
    return isOwn;
  }

  async #isOwn(socket: Socket): Promise<boolean> {
    this.#waiting ??= this.#nextRound(socket);
    const users = (await this.#waiting).usersOf(socket);
    return users.length > 0 && users.every((user) => user === this.#uid);
  }

  /** Connections accepted in one turn of the event loop, or during a read, share the next read, because each walks all rows. */
  async #nextRound({ localAddress = "", localPort = 0 }: Socket): Promise<Round> {
    await this.#reading;
    await setImmediate();
    this.#waiting = null;
    const server = { address: localAddress, port: localPort };
    this.#reading = readRound(join(this.#proc, "net"), server);
    return this.#reading;
  }
}

/** Logs at start what an operator cannot see from outside: that all users of the machine may call, or none without the token. */
export function reportPeers(tables: PeerTables, log: Logger): void {
  if (tables === "absent") {
    log.info("every user of this machine may call the API", {
      reason: "this system does not show which user owns a connection",
      hint: "server.auth: token requires the token from every caller",
    });
  }
  if (tables === "unusable") {
    log.warn("every caller needs the token", {
      reason: "/proc/net/tcp does not show here which user owns a connection",
      hint: "symphony commands read it from runtime.json in the data directory",
    });
  }
}

/** In a container, users without a mapped id all get the overflow id. A server that has this id, too, cannot distinguish them. */
function isUsable(proc: string, uid: number): boolean {
  try {
    readFileSync(join(proc, "net", "tcp"));
    if (uid !== Number(readFileSync(join(proc, "sys", "kernel", "overflowuid"), "latin1")))
      return true;
    return /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync(join(proc, "self", "uid_map"), "latin1"));
  } catch {
    return false;
  }
}

interface Round {
  usersOf(socket: Socket): readonly number[];
}

/** Reads which clients of `server` are its own user. IPv4 seldom needs the second table: for clients such as Java's. */
async function readRound(dir: string, server: End): Promise<Round> {
  const tcp = await tablesIn(join(dir, "tcp"), ipv4Row(server));
  const tcp6 = tcp.at(-1)?.isWhole ? [] : await tablesIn(join(dir, "tcp6"), ipv6Row(server));
  return {
    usersOf(socket) {
      const client = clientOf(socket);
      if (client === null) return [];
      const rows = [
        ...tcp.map((table) => ({ table, row: ipv4Row(client) })),
        ...tcp6.map((table) => ({ table, row: ipv6Row(client) })),
      ];
      const users = rows.map(({ table, row }) => (row ? table.userOf(row) : null));
      return users.filter((user) => user !== null);
    },
  };
}

/**
 * The table, read again if it changed during the read: a row that one reading missed would make the server's own user
 * a stranger. All readings happen between the accept and the first read of the client's address, so each of them
 * describes the same connection.
 */
async function tablesIn(file: string, server: string | null): Promise<readonly ConnectionTable[]> {
  if (server === null) return [];
  const tables: ConnectionTable[] = [];
  let text = "";
  do {
    text = await readFile(file, "latin1").catch(() => "");
    tables.push(new ConnectionTable(text, server));
  } while (text.length > pageBytes && tables.length < maxReadings && !tables.at(-1)?.isWhole);
  return tables;
}

/**
 * The other end; null once it has reset the connection. Read for the first time after the tables were read: while the
 * kernel still reports it, no other connection can have used its port in the meantime. Node caches the first result.
 */
function clientOf({ remoteAddress, remotePort }: Socket): End | null {
  if (remoteAddress === undefined || remotePort === undefined) return null;
  return { address: remoteAddress, port: remotePort };
}

/** One end of a connection, as a socket names it. */
interface End {
  readonly address: string;
  readonly port: number;
}

const ipv6Loopback = "00000000000000000000000000000001";
const mappedPrefix = "00000000000000000000FFFF";
const established = "01";
/** What follows the state: queues, timer, retransmits, user, probes, inode. */
const rest = /\S+ \S+ +\S+ +(\d+) +\d+ (\d+) /y;

/** In place of a position: only the server's own row has this client. */
const unseen = -1;
/** The client has a row, but is not established, or the table changed during the read. */
const unknown = -2;

/** The rows of one server and its clients in a text such as `/proc/net/tcp`. */
export class ConnectionTable {
  readonly #text: string;
  /** Position at which the rest of an established client's row begins. */
  readonly #clients = new Map<string, number>();
  #unseen = 0;
  #isTorn = false;

  /** One pass that does not split the lines: there can be thousands of other rows. */
  constructor(text: string, server: string) {
    this.#text = text;
    const mark = ` ${server} `;
    for (let at = text.indexOf(mark); at >= 0; at = text.indexOf(mark, at + 1)) {
      const after = at + mark.length;
      // The first of the two ends follows the number of the row: it is the server's own row.
      if (text[at - 1] === ":") this.#addServed(after);
      else this.#addClient(text.slice(text.lastIndexOf(" ", at - 1) + 1, at), after);
    }
  }

  /**
   * False when a connected client of the server has no row here in any state, because its socket is in another table, or
   * when a client has two rows: the kernel writes the table page by page, and it may change in between.
   */
  get isWhole(): boolean {
    return this.#unseen === 0 && !this.#isTorn;
  }

  /** The user of a client's end while it is established and a process has it; null otherwise. */
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

/** How the kernel writes an end with an IPv4 address, mapped or not, in its IPv4 table; null for others. */
function ipv4Row({ address, port }: End): string | null {
  const plain = ipv4Of(address);
  return plain === null ? null : `${words(ipv4Hex(plain))}:${portHex(port)}`;
}

/** How the kernel writes an end in its IPv6 table: `::1`, or an IPv4 address as a mapped one; null for others. */
function ipv6Row({ address, port }: End): string | null {
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

/** Each word of four bytes is written as a number in the machine's byte order. */
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
