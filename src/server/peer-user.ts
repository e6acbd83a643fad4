import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import type { Logger } from "../core/logger.ts";
import { ConnectionTable, type End, ipv4Row, ipv6Row } from "./connection-table.ts";

/** Where and as whom to look; a test has its own. */
export interface PeerOptions {
  readonly platform?: NodeJS.Platform;
  readonly proc?: string;
  readonly uid?: number;
}

/**
 * `read`: users are told apart by the kernel's tables of connections. `absent`: this system has none, and every user of the
 * machine is trusted. `unusable`: it has them, but they say nothing here, and every caller needs the token.
 */
export type PeerTables = "read" | "absent" | "unusable";

/** Of one table for one round. */
const maxReadings = 3;
/** The kernel writes so much of a table at once; one that is longer may change on the way. */
const pageBytes = 4_096;

const verdicts = new WeakMap<Socket, Promise<boolean>>();

/**
 * True when the process at the other end runs as the server's own user (SAFETY T6). Root is another user, unless the server
 * is root. False when that is not known: the end is closed, is in another network namespace, or was never looked up.
 */
export function isOwnUser(socket: Socket): Promise<boolean> {
  return verdicts.get(socket) ?? Promise.resolve(false);
}

/** Finds out who is at the other end of each connection to a server on loopback. */
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

  /** To be called at accept: nothing may have asked the socket for its other end before the tables were read. */
  meet(socket: Socket): void {
    const verdict =
      this.tables === "read" ? this.#isOwn(socket) : Promise.resolve(this.tables === "absent");
    verdicts.set(socket, verdict);
  }

  async #isOwn(socket: Socket): Promise<boolean> {
    this.#waiting ??= this.#nextRound(socket);
    const users = (await this.#waiting).usersOf(socket);
    return users.length > 0 && users.every((user) => user === this.#uid);
  }

  /** What is accepted in one turn of the event loop, or while the tables are read, shares the next read: each walks them all. */
  async #nextRound({ localAddress = "", localPort = 0 }: Socket): Promise<Round> {
    await this.#reading;
    await setImmediate();
    this.#waiting = null;
    const server = { address: localAddress, port: localPort };
    this.#reading = readRound(join(this.#proc, "net"), server);
    return this.#reading;
  }
}

/** Says at start what an operator cannot see from outside: that all users of the machine may call, or none without the token. */
export function reportPeers(tables: PeerTables, log: Logger): void {
  if (tables === "absent") {
    log.info("every user of this machine may call the API", {
      reason: "this system does not tell whose a connection is",
      hint: "server.auth: token asks every caller for the token",
    });
  }
  if (tables === "unusable") {
    log.warn("every caller needs the token", {
      reason: "/proc/net/tcp does not tell here whose a connection is",
      hint: "symphony commands read it from runtime.json in the data directory",
    });
  }
}

/** In a container, users that have no number there all get the same one. A server that has it, too, cannot tell. */
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

/** Reads who the clients of `server` are. The second table is seldom needed on IPv4: for a client such as Java's. */
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
 * The table as it was read, again where it changed meanwhile: a row that one reading missed would make the server's own user
 * a stranger. All readings lie between the accept and the first question for the client's address, so each of them speaks
 * of the same connection.
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
 * The other end; null once it has reset the connection. Asked for the first time after the tables were read: while the
 * kernel still names it, no other connection can have had its port in the meantime. Node keeps the first answer.
 */
function clientOf({ remoteAddress, remotePort }: Socket): End | null {
  if (remoteAddress === undefined || remotePort === undefined) return null;
  return { address: remoteAddress, port: remotePort };
}
