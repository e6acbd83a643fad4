import assert from "node:assert/strict";
import { once } from "node:events";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { SymphonyError } from "../../src/core/model/errors.ts";
import { isLoopback } from "../../src/server/access.ts";
import { createApp } from "../../src/server/app.ts";
import { type ListenOptions, listen } from "../../src/server/listen.ts";
import { EventReader } from "../support/fakes/event-reader.ts";
import { issue } from "../support/makers/issue.ts";
import { createWorld, type World } from "../support/worlds/core.ts";
import { settled } from "../support/worlds/scheduler.ts";
import { send, serve } from "../support/worlds/server.ts";

function start(world: World, options: Partial<ListenOptions> = {}) {
  const { core, scheduler, dataDir } = world;
  const { clock } = scheduler;
  const app = createApp(core, { clock, host: "127.0.0.1", token: null });
  const { version, workflowPath } = core;
  return listen(app, {
    host: "127.0.0.1",
    port: 0,
    dataDir,
    token: null,
    version,
    workflowPath,
    clock,
    ...options,
  });
}

const files = async (world: World) =>
  (await readdir(world.dataDir)).filter((name) => name.includes("runtime"));

async function refusedWith(work: Promise<unknown>): Promise<SymphonyError> {
  const error = await work.then(
    () => null,
    (cause: unknown) => cause,
  );
  assert.ok(error instanceof SymphonyError);
  return error;
}

test("H-14: a client that reads nothing, a follower that throws and a closed listener delay no poll", async () => {
  await using world = await createWorld({ issues: [issue("ENG-1")] });
  const { scheduler, core } = world;
  const server = await start(world);
  const stuck = connect(server.port, "127.0.0.1");
  stuck.on("error", () => {});
  await once(stuck, "connect");
  stuck.pause();
  stuck.write("GET /api/v1/events?since=0 HTTP/1.1\r\nHost: localhost\r\n\r\n");
  core.bus.subscribe({}, () => {
    throw new Error("nobody reads this");
  });
  let receivedCount = 0;
  core.bus.subscribe({}, () => {
    receivedCount += 1;
  });
  const data = { text: "x".repeat(50_000) };
  for (let sent = 0; sent < 100; sent++) {
    core.bus.publish({ type: "agent.message", message: "loud", data });
  }
  await settled();
  assert.ok(receivedCount >= 100, "the others are told all the same");
  scheduler.set(issue("ENG-2"));
  await scheduler.advance(30_000);
  assert.deepEqual(scheduler.live, ["ENG-1", "ENG-2"]);
  const closed = server.close();
  scheduler.set(issue("ENG-3"));
  await scheduler.advance(30_000);
  assert.deepEqual(scheduler.live, ["ENG-1", "ENG-2", "ENG-3"]);
  await closed;
  stuck.destroy();
  assert.equal(world.logged.filter((line) => line.includes("nobody reads this")).length, 1);
});

describe("listening", () => {
  test("H-1, H-2: with port 0 the server takes a free port on loopback, which can be read afterwards", async () => {
    await using world = await createWorld();
    const server = await start(world);
    assert.ok(server.port > 0);
    assert.equal(server.url, `http://127.0.0.1:${server.port}`);
    assert.equal((await send(server.port, "/api/v1/runtime")).status, 200);
    await server.close();
    await server.close();
    await assert.rejects(send(server.port, "/api/v1/runtime"), { code: "ECONNREFUSED" });
  });

  test("FAULT-12: a port in use is cannot_listen with the port and a hint, and leaves no file", async () => {
    await using world = await createWorld();
    const other = createServer().listen(0, "127.0.0.1");
    await new Promise((done) => other.once("listening", done));
    const { port } = other.address() as AddressInfo;
    const error = await refusedWith(start(world, { port }));
    assert.equal(error.code, "cannot_listen");
    assert.match(error.message, new RegExp(`127\\.0\\.0\\.1:${port}: the port is in use`));
    assert.match(error.hint ?? "", /--port/);
    assert.deepEqual(error.details, { host: "127.0.0.1", port });
    assert.deepEqual(await files(world), []);
    other.close();
  });

  test("H-2: an address that this machine does not have, or an invalid port, is cannot_listen", async () => {
    await using world = await createWorld();
    const cases = [{ host: "192.0.2.1", token: "t" }, { port: 70_000 }, { port: -1 }];
    for (const options of cases) {
      const error = await refusedWith(start(world, options));
      assert.equal(error.code, "cannot_listen");
      assert.ok(error.hint);
    }
  });

  test("X-7: any address except loopback needs a token", async () => {
    await using world = await createWorld();
    for (const host of ["0.0.0.0", "::", "192.0.2.1", "example.com"]) {
      const error = await refusedWith(start(world, { host }));
      assert.equal(error.code, "cannot_listen");
      assert.match(error.hint ?? "", /SYMPHONY_TOKEN/);
    }
  });

  const names: [string, boolean][] = [
    ["127.0.0.1", true],
    ["127.8.8.8", true],
    ["::1", true],
    ["localhost", true],
    ["LOCALHOST", true],
    ["::ffff:127.0.0.1", true],
    ["0.0.0.0", false],
    ["::", false],
    ["10.0.0.1", false],
    ["localhost.example", false],
    ["127.0.0.1.example", false],
    ["", false],
  ];
  for (const [host, expected] of names) {
    test(`"${host}" is ${expected ? "" : "not "}loopback`, () =>
      assert.equal(isLoopback(host), expected));
  }
});

describe("runtime.json", () => {
  test("has what a command needs, is 0600 under any umask, and is removed when the server stops", async () => {
    await using world = await createWorld();
    const umask = process.umask(0);
    const server = await start(world, { token: "t0ken" }).finally(() => process.umask(umask));
    const path = join(world.dataDir, "runtime.json");
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.deepEqual(JSON.parse(await readFile(path, "utf8")), {
      url: server.url,
      pid: process.pid,
      token: "t0ken",
      started_at: "2026-11-23T10:00:00.000Z",
      version: "1.2.3",
      workflow_path: world.core.workflowPath,
    });
    assert.deepEqual(await files(world), ["runtime.json"]);
    await server.close();
    assert.deepEqual(await files(world), []);
  });

  test("is not removed when it belongs to a later server", async () => {
    await using world = await createWorld();
    const server = await start(world);
    await writeFile(join(world.dataDir, "runtime.json"), "{}");
    await server.close();
    assert.deepEqual(await files(world), ["runtime.json"]);
  });

  test("makes the start fail when it cannot be written, and the port is released", async () => {
    await using world = await createWorld();
    const error = await refusedWith(start(world, { dataDir: join(world.dataDir, "gone") }));
    assert.equal(error.code, "storage_unavailable");
  });

  test("names an address that can be called when the server is bound to all addresses", async () => {
    await using world = await createWorld();
    const server = await start(world, { host: "0.0.0.0", token: "t" });
    assert.equal(server.url, `http://127.0.0.1:${server.port}`);
    await server.close();
  });
});

for (const [what, path, sent] of [
  ["a body", "/api/v1/refresh", "Content-Length: 100\r\n\r\n{"],
  ["the body of a webhook", "/webhooks/linear", "Content-Length: 100\r\n\r\n{"],
  ["a header", "/api/v1/refresh", "X-Slow: "],
] as const) {
  test(`${what} that never ends is answered with 408, and the connection is closed`, async () => {
    await using world = await createWorld();
    const listening = await start(world, { requestTimeoutMs: 600 });
    const socket = connect(listening.port, "127.0.0.1");
    const head = `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n`;
    socket.write(head + sent);
    let answer = "";
    for await (const chunk of socket) answer += chunk;
    assert.match(answer, /^HTTP\/1\.1 408 /);
    assert.match(answer, /"code":"invalid_request"/);
    await listening.close();
  });
}

test("THREAT-20: a caller that was answered with 408 or 400 and keeps its end open is cut off", async (t) => {
  await using world = await createWorld();
  const { clock } = world.scheduler;
  const listening = await start(world, { requestTimeoutMs: 300 });
  t.after(() => listening.close());
  const head =
    "POST /webhooks/linear HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n{";
  for (const sent of [head, "no request\r\n\r\n"]) {
    const socket = connect({ port: listening.port, host: "127.0.0.1", allowHalfOpen: true });
    t.after(() => socket.destroy());
    let isCut = false;
    socket.on("error", () => {
      isCut = true;
    });
    socket.write(sent);
    await once(socket.resume(), "end");
    clock.advance(1_000);
    for (let tries = 0; tries < 200 && !isCut; tries++) {
      socket.write("x");
      await delay(10);
    }
    assert.ok(isCut, sent);
  }
});

test("a stream outlives the time that a request may take to arrive", async () => {
  await using world = await createWorld();
  const listening = await start(world, { requestTimeoutMs: 300 });
  await using reader = await EventReader.open(listening.port);
  await delay(700);
  world.core.bus.publish({ type: "agent.notice", message: "still here" });
  world.core.bus.flush();
  await reader.until(({ messages }) => messages.some(({ event }) => event === "agent.notice"));
  await listening.close();
});

describe("closing", () => {
  test("ends event streams at once", async () => {
    await using world = await createWorld();
    const server = await serve(world);
    await using reader = await EventReader.open(server.listening.port);
    await server.listening.close();
    await reader.until(({ ended }) => ended);
    world.core.bus.publish({ type: "agent.notice", message: "nobody hears" });
    world.core.bus.flush();
  });

  test("lets a request in progress finish", async () => {
    await using world = await createWorld();
    const server = await serve(world);
    const gate = Promise.withResolvers<void>();
    const { transitions } = world.core.orchestrator;
    world.core.orchestrator.transitions = async (name) => {
      await gate.promise;
      return transitions.call(world.core.orchestrator, name);
    };
    const answer = server.ask("/api/v1/transitions");
    await server.ask("/api/v1/runtime");
    const closed = server.listening.close();
    gate.resolve();
    assert.equal((await answer).status, 200);
    await closed;
  });

  test("waits 5 s for a request that does not finish, and then closes its connection", async () => {
    await using world = await createWorld();
    const server = await serve(world);
    world.core.orchestrator.transitions = () => new Promise(() => {});
    const asked = Promise.withResolvers<void>();
    const answer = server.ask("/api/v1/transitions").catch((error) => error.code);
    server.ask("/api/v1/runtime").then(() => asked.resolve());
    await asked.promise;
    const { clock } = world.scheduler;
    const before = clock.pending;
    const closed = server.listening.close();
    while (clock.pending === before) await settled();
    clock.advance(5_000);
    await closed;
    assert.equal(await answer, "ECONNRESET");
  });
});
