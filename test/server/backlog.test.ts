import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { test } from "node:test";
import { Backlog } from "../../src/server/backlog.ts";
import { type DropLimit, streamEvents } from "../../src/server/sse.ts";
import { EventReader } from "../support/fakes/event-reader.ts";
import { createWorld } from "../support/worlds/core.ts";

const mebibyte = 1024 * 1024;

/** A server of nothing but event streams, which may hold `limit` bytes for all of them. */
async function streaming(limit: number) {
  const world = await createWorld();
  const { bus, history } = world.core;
  const { clock } = world.scheduler;
  const backlog = new Backlog(limit);
  const drops: (DropLimit | null)[] = [];
  const gauge = { opened() {}, closed: (by: DropLimit | null) => drops.push(by) };
  const source = { bus, history, clock, backlog, gauge, redact: (text: string) => text };
  const open = new Set<ServerResponse>();
  const server = createServer((request, response) => {
    open.add(response);
    const since = request.headers["last-event-id"];
    response.writeHead(200, { "content-type": "text/event-stream" });
    const wish = { since: since === undefined ? null : Number(since), issues: null, types: null };
    streamEvents(source, wish, response);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  const stuck: Socket[] = [];
  return {
    ...{ world, backlog, drops, open, port },
    async stick(): Promise<void> {
      const socket = connect(port, "127.0.0.1").on("error", () => {});
      await once(socket, "connect");
      socket.pause();
      const before = open.size;
      socket.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
      while (open.size === before) await new Promise((done) => setImmediate(done));
      stuck.push(socket);
    },
    publish(bytes: number): void {
      const data = { text: "x".repeat(bytes) };
      bus.publish({
        type: "agent.message",
        issueId: "x",
        issueIdentifier: "A-1",
        message: "m",
        data,
      });
      bus.flush();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of stuck) socket.destroy();
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
      await world[Symbol.asyncDispose]();
    },
  };
}

test("FAULT-13: what waits for all subscribers has a limit, the largest backlogs go, and nothing is lost", async () => {
  const limit = 2 * mebibyte;
  await using at = await streaming(limit);
  for (let count = 0; count < 8; count++) await at.stick();
  await using good = await EventReader.open(at.port);
  await good.until(({ retries }) => retries.length === 1);
  const first = at.world.core.bus.lastSeq + 1;
  let sent = 0;
  // Each is below its own limit of 1 MiB when all of them pass theirs.
  while (!at.drops.includes("total")) {
    assert.ok(sent < 4_000, `after ${sent} events ${at.backlog.bytes} bytes wait`);
    at.publish(25_000);
    sent++;
    await good.until(({ messages }) => messages.length === sent);
    assert.ok(at.backlog.bytes <= limit + limit / 4, `${at.backlog.bytes} bytes wait`);
  }
  assert.ok(at.backlog.bytes <= limit);
  assert.deepEqual(new Set(at.drops), new Set(["total"]));
  assert.ok(at.drops.length < 8, "those that fit stay");
  const seqs = Array.from({ length: sent }, (_, index) => first + index);
  assert.deepEqual(good.seqs, seqs);
  await using again = await EventReader.open(at.port, "", { "last-event-id": String(first - 1) });
  await again.until(({ messages }) => messages.length === sent);
  assert.deepEqual(again.seqs, seqs, "a subscriber that connects again gets all of them");
});

test("subscribers that read are never counted as waiting", async () => {
  await using at = await streaming(mebibyte);
  await using one = await EventReader.open(at.port);
  await using other = await EventReader.open(at.port);
  for (let sent = 1; sent <= 200; sent++) {
    at.publish(50_000);
    await one.until(({ messages }) => messages.length === sent);
    await other.until(({ messages }) => messages.length === sent);
  }
  assert.equal(at.backlog.bytes, 0);
  assert.deepEqual(at.drops, []);
});
