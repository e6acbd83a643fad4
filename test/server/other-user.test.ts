import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Peers } from "../../src/server/peers.ts";
import { linesAsOther, linesOf, noOtherUser, otherUid } from "../support/makers/other-user.ts";
import { createWorld, type World } from "../support/worlds/core.ts";
import { serve, type TestServer } from "../support/worlds/server.ts";

const writer = fileURLToPath(new URL("../support/fakes/blind-writer-child.ts", import.meta.url));
const skip = process.platform === "linux" ? false : "needs the kernel's table of connections";

let world: World;
before(async () => {
  world = await createWorld({ local: true });
});
after(() => world[Symbol.asyncDispose]());

function titles(): readonly string[] {
  return (world.core.localIssues()?.list() ?? []).map(({ title }) => title);
}

interface Way {
  /** Where the server listens. */
  readonly host: string;
  /** Where the client connects to. */
  readonly via: string;
}

const ways: readonly Way[] = [
  { host: "127.0.0.1", via: "127.0.0.1" },
  { host: "127.0.0.1", via: "::ffff:127.0.0.1" },
  { host: "::ffff:127.0.0.1", via: "127.0.0.1" },
  { host: "::1", via: "::1" },
];

for (const { host, via } of ways) {
  describe(`THREAT-6: a server on ${host}, called at ${via}`, { skip }, () => {
    let server: TestServer;
    before(async () => {
      server = await serve(world, { host, token: "the-token" });
    });
    after(() => server[Symbol.asyncDispose]());
    const args = (how: string, count: number) => [
      writer,
      String(server.listening.port),
      via,
      how,
      String(count),
    ];

    test("accepts each request of its own user on a connection", async () => {
      const before = titles().length;
      assert.deepEqual(await linesOf(args("wait", 3)), ["201", "201", "201"]);
      assert.deepEqual(await linesOf(args("pipelined", 1)), ["201", "201", "201"]);
      assert.equal(titles().length, before + 6);
    });

    test("refuses every request of another user, whether it waits, pipelines, closes, or resets", {
      skip: noOtherUser,
    }, async () => {
      const before = titles().length;
      // No client waits for an answer to these: they are finished when a later request is.
      for (const how of ["reset", "close", "half"]) await linesAsOther(args(how, 20));
      assert.deepEqual(await linesAsOther(args("wait", 3)), ["401", "401", "401"]);
      assert.deepEqual(await linesAsOther(args("pipelined", 1)), ["401", "401", "401"]);
      assert.deepEqual(await linesOf(args("wait", 1)), ["201"]);
      assert.equal(titles().length, before + 1);
    });
  });
}

test("THREAT-6: root is another user to a server that is not root's", {
  skip: noOtherUser,
}, async () => {
  const peers = new Peers({ uid: otherUid });
  await using server = await serve(world, { token: "the-token", peers });
  assert.equal((await server.ask("/api/v1/runtime")).status, 401);
  const headers = { authorization: "Bearer the-token" };
  assert.equal((await server.ask("/api/v1/runtime", { headers })).status, 200);
});

test("THREAT-6: when the table cannot be read, its own user also needs the token, and the error says where it is", {
  skip,
}, async () => {
  const peers = new Peers({ proc: world.dataDir });
  await using server = await serve(world, { token: "the-token", peers });
  const refused = await server.ask("/api/v1/runtime");
  assert.equal(refused.status, 401);
  assert.match(refused.json().error.message, /not known to be the user who runs it/);
  assert.match(refused.json().error.details.hint, /runtime\.json/);
});
