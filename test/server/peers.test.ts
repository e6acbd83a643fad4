import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, openSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { type NetworkInterfaceInfo, networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import { createLogger } from "../../src/core/events/log.ts";
import {
  ConnectionTable,
  isOwnUser,
  Peers,
  type PeerTables,
  reportPeers,
} from "../../src/server/peers.ts";

const own = 1000;
const noIpv6 = Object.values(networkInterfaces()).some((all) => all?.some(isIpv6Loopback))
  ? false
  : "needs ::1";

function isIpv6Loopback({ address }: NetworkInterfaceInfo): boolean {
  return address === "::1";
}

/** A directory like /proc. One of its tables is a pipe: each read of it waits until the test writes the rows. */
class Kernel implements AsyncDisposable {
  readonly proc: string;
  readonly peers: Peers;
  readonly #asked: string;

  private constructor(proc: string, asked: string) {
    this.proc = proc;
    this.#asked = join(proc, "net", asked);
    this.peers = new Peers({ proc, uid: own, platform: "linux" });
  }

  static async open(asked = "tcp"): Promise<Kernel> {
    const proc = await mkdtemp(join(tmpdir(), "symphony-proc-"));
    await mkdir(join(proc, "net"));
    await mkdir(join(proc, "self"));
    await mkdir(join(proc, "sys", "kernel"), { recursive: true });
    for (const table of ["tcp", "tcp6"]) await writeFile(join(proc, "net", table), "");
    await writeFile(join(proc, "sys", "kernel", "overflowuid"), "65534\n");
    const kernel = new Kernel(proc, asked);
    await rm(kernel.#asked);
    execFileSync("mkfifo", [kernel.#asked]);
    return kernel;
  }

  /** Resolves when the next read has received these rows. */
  answer(...rows: readonly string[]): Promise<void> {
    return writeFile(this.#asked, tableOf(rows));
  }

  write(table: string, ...rows: readonly string[]): Promise<void> {
    return writeFile(join(this.proc, "net", table), tableOf(rows));
  }

  /** A pending read gets an empty table. */
  async [Symbol.asyncDispose](): Promise<void> {
    closeSync(openSync(this.#asked, constants.O_RDWR | constants.O_NONBLOCK));
    await rm(this.proc, { recursive: true, force: true });
  }
}

function tableOf(rows: readonly string[]): string {
  const numbered = rows.map((row, index) => `${String(index).padStart(4)}: ${row}`);
  return `${["  sl  local_address rem_address   st ...", ...numbered].join("\n")}\n`;
}

interface RowFields {
  readonly state?: string;
  readonly uid?: number;
  readonly inode?: number;
}

function row(
  local: string,
  remote: string,
  { state = "01", uid = own, inode = 7 }: RowFields = {},
) {
  return `${local} ${remote} ${state} 00000000:00000000 00:00000000 00000000 ${String(uid).padStart(5)}        0 ${inode} 1 0000000000000000 20 4 30 10 -1`;
}

interface Route {
  readonly host?: string;
  /** The address that the client connects to. */
  readonly via?: string;
  /** The client's own address. */
  readonly from?: string;
}

/** A server and one client, registered at accept; the lookup waits for the kernel's answer. */
async function met(
  { peers }: { readonly peers: Peers },
  { host = "127.0.0.1", via = host, from = via }: Route = {},
) {
  const server = createServer((socket) => {
    peers.meet(socket);
    socket.on("error", () => {});
    accepted.resolve(socket);
  });
  const accepted = Promise.withResolvers<Socket>();
  server.listen(0, host);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const client = connect({ port, host: via, ...(from !== via && { localAddress: from }) });
  const [socket] = await Promise.all([accepted.promise, once(client, "connect")]);
  const { localPort = 0 } = client;
  return {
    server,
    client,
    socket,
    ports: { client: hex(localPort), server: hex(port) },
    async [Symbol.asyncDispose]() {
      client.destroy();
      socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

function hex(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, "0");
}

const v4 = "0100007F";
const mapped = "0000000000000000FFFF00000100007F";
const v6 = "00000000000000000000000001000000";

describe("THREAT-6: the user at the other end of a connection, by the kernel's table", () => {
  const cases: [string, boolean, (client: string, server: string) => readonly string[]][] = [
    ["an established row has the server's uid", true, (client, server) => [row(client, server)]],
    ["the row has another uid", false, (client, server) => [row(client, server, { uid: 1001 })]],
    ["the row has the uid of root", false, (client, server) => [row(client, server, { uid: 0 })]],
    ["there is no row", false, () => []],
    ["only the server's end has a row", false, (client, server) => [row(server, client)]],
    ["the client has closed", false, (client, server) => [row(client, server, { state: "05" })]],
    [
      "its end belongs to no process",
      false,
      (client, server) => [row(client, server, { inode: 0 })],
    ],
    [
      "the table also has other clients, and the server's end of an old connection with the same ports",
      true,
      (client, server) => [
        row(
          client.replace(/.$/, (last) => (last === "0" ? "1" : "0")),
          server,
          { uid: 1001 },
        ),
        row(server, client, { state: "06", uid: 0, inode: 0 }),
        row(client, server),
      ],
    ],
    [
      "only an earlier connection from the same port is left",
      false,
      (client, server) => [row(client, server, { state: "06", uid: own, inode: 7 })],
    ],
    [
      "the table changed while it was read",
      false,
      (client, server) => [row(client, server, { uid: 1001 }), row(client, server)],
    ],
    [
      "a row of the server's uid has the same ports at another address",
      false,
      (client, server) => [
        row(client.replace(v4, "0200007F"), server),
        row(client, server.replace(v4, "0200007F")),
      ],
    ],
    [
      "a row of the server's uid ends in the same digits",
      false,
      (client, server) => [row(`AA${client}`, server), row(client, `${server}F`)],
    ],
  ];
  for (const [name, expected, rows] of cases) {
    test(`is ${expected ? "" : "not "}the server's own user when ${name}`, async () => {
      await using kernel = await Kernel.open();
      await using connection = await met(kernel);
      const { client, server } = connection.ports;
      await kernel.answer(...rows(`${v4}:${client}`, `${v4}:${server}`));
      assert.equal(await isOwnUser(connection.socket), expected);
    });
  }

  test("a client on IPv4 with an IPv6 socket is found in the other table", async () => {
    for (const [uid, expected] of [
      [own, true],
      [0, false],
    ] as const) {
      await using kernel = await Kernel.open();
      await using connection = await met(kernel);
      const { client, server } = connection.ports;
      await kernel.write("tcp6", row(`${mapped}:${client}`, `${mapped}:${server}`, { uid }));
      await kernel.answer(row(`${v4}:${server}`, `${v4}:${client}`));
      assert.equal(await isOwnUser(connection.socket), expected);
    }
  });

  test("a server on ::ffff:127.0.0.1 finds its clients in either table", {
    skip: noIpv6,
  }, async () => {
    await using kernel = await Kernel.open();
    await using plain = await met(kernel, { host: "::ffff:127.0.0.1", via: "127.0.0.1" });
    await kernel.answer(row(`${v4}:${plain.ports.client}`, `${v4}:${plain.ports.server}`));
    assert.equal(await isOwnUser(plain.socket), true);
  });

  test("another loopback address is looked up unchanged", async () => {
    await using kernel = await Kernel.open();
    await using connection = await met(kernel, { from: "127.0.0.9" });
    const { client, server } = connection.ports;
    await kernel.answer(row(`0900007F:${client}`, `${v4}:${server}`));
    assert.equal(await isOwnUser(connection.socket), true);
  });

  test("::1 is looked up only in the IPv6 table", { skip: noIpv6 }, async () => {
    await using kernel = await Kernel.open("tcp6");
    await using connection = await met(kernel, { host: "::1" });
    const { client, server } = connection.ports;
    await kernel.answer(row(`${v6}:${client}`, `${v6}:${server}`));
    assert.equal(await isOwnUser(connection.socket), true);
  });

  test("a reset connection is not the own user's, although a later one with its port is", async () => {
    await using kernel = await Kernel.open();
    await using connection = await met(kernel);
    const { client, server } = connection.ports;
    const closed = once(connection.client, "close");
    connection.client.resetAndDestroy();
    await closed;
    await kernel.answer(row(`${v4}:${client}`, `${v4}:${server}`));
    assert.equal(await isOwnUser(connection.socket), false);
  });

  test("a socket without a lookup is not the own user's", async () => {
    await using kernel = await Kernel.open();
    await using connection = await met(kernel);
    await kernel.answer();
    assert.equal(await isOwnUser(connection.client), false);
  });
});

test("connections that are accepted while the table is read share the next read", async () => {
  await using kernel = await Kernel.open();
  await using first = await met(kernel);
  const others: Socket[] = [];
  const everyone = Promise.withResolvers<void>();
  first.server.on("connection", (socket) => {
    if (others.push(socket) === 20) everyone.resolve();
  });
  const clients = Array.from({ length: 20 }, () =>
    connect(Number(`0x${first.ports.server}`), "127.0.0.1"),
  );
  await everyone.promise;
  const rowOf = (client: string) => row(`${v4}:${client}`, `${v4}:${first.ports.server}`);
  await kernel.answer(rowOf(first.ports.client));
  assert.equal(await isOwnUser(first.socket), true);
  await kernel.answer(...clients.map(({ localPort = 0 }) => rowOf(hex(localPort))));
  for (const socket of others) assert.equal(await isOwnUser(socket), true);
  for (const client of clients) client.destroy();
});

describe("when the table cannot be used", () => {
  async function tablesAfter(change: (proc: string) => Promise<void>, uid = own) {
    await using kernel = await Kernel.open("tcp6");
    await change(kernel.proc);
    const peers = new Peers({ proc: kernel.proc, uid, platform: "linux" });
    await using connection = await met({ peers });
    return { tables: peers.tables, own: await isOwnUser(connection.socket) };
  }

  test("because it is unreadable, no connection is the own user's", async () => {
    const result = await tablesAfter((proc) => rm(join(proc, "net", "tcp")));
    assert.deepEqual(result, { tables: "unusable", own: false });
  });

  test("because the server has the uid that a container gives to all unknown users, no connection is the own user's", async () => {
    const map = (text: string) => (proc: string) => writeFile(join(proc, "self", "uid_map"), text);
    const container = await tablesAfter(map("         0     100000      65536\n"), 65_534);
    assert.deepEqual(container, { tables: "unusable", own: false });
  });

  test("because the system has no such table, every connection counts as the own user's", async () => {
    await using kernel = await Kernel.open();
    const peers = new Peers({ proc: kernel.proc, uid: own, platform: "darwin" });
    await using connection = await met({ peers });
    assert.deepEqual([peers.tables, await isOwnUser(connection.socket)], ["absent", true]);
  });

  test("the log says so at the start; when users can be told apart, it says nothing", () => {
    const logged = (tables: PeerTables) => {
      const lines: string[] = [];
      const sinks = [{ name: "test", write: (line: string) => void lines.push(line) }];
      const redact = (text: string) => text;
      const clock = systemClock;
      reportPeers(tables, createLogger({ level: "info", format: "logfmt", sinks, clock, redact }));
      return lines.join("");
    };
    assert.match(logged("absent"), /level=info .*every user .* may call.*server\.auth: token/);
    assert.match(logged("unusable"), /level=warn .*every caller needs the token.*runtime\.json/);
    assert.equal(logged("read"), "");
  });
});

test("a table that changed while it was read is recognised as incomplete", () => {
  const server = "0100007F:0FA0";
  const client = "0100007F:C001";
  const isWhole = (...rows: readonly string[]) =>
    new ConnectionTable(tableOf(rows), server).isWhole;
  assert.ok(isWhole(row(server, client), row(client, server)));
  assert.ok(!isWhole(row(server, client)), "the client's row was missed");
  assert.ok(!isWhole(row(client, server), row(client, server)), "it came twice");
  assert.ok(
    isWhole(row(server, client, { state: "06" })),
    "a connection that is over has no client",
  );
});
