import assert from "node:assert/strict";
import { networkInterfaces } from "node:os";
import { describe, test } from "node:test";
import { clientOf } from "../../src/server/access.ts";
import { config, issue } from "../support/makers/issue.ts";
import { createWorld, type World } from "../support/worlds/core.ts";
import { serve, type TestServer } from "../support/worlds/server.ts";

/** An address of this machine that is not loopback: a client that connects to it also has it as its source. */
const outside = Object.values(networkInterfaces())
  .flat()
  .find((entry) => entry?.family === "IPv4" && !entry.internal)?.address;
const skip = outside === undefined && "this machine has no address but loopback";

interface Place {
  readonly world: World;
  readonly server: TestServer;
  /** A request from an address that is not loopback. */
  from(path: string, init?: RequestInit): Promise<Response>;
}

async function place(rateLimit: number | null, work: (at: Place) => Promise<void>): Promise<void> {
  const settings = config({ server: { rateLimit, allowedHosts: [outside ?? ""] } });
  await using world = await createWorld({ issues: [issue("ENG-1")], config: settings });
  await using server = await serve(world, { host: "0.0.0.0", token: "t0ken" });
  const from = (path: string, init: RequestInit = {}) => {
    const headers = { authorization: "Bearer t0ken", connection: "close", ...init.headers };
    return fetch(`http://${outside}:${server.listening.port}${path}`, { ...init, headers });
  };
  await work({ world, server, from });
}

describe("a client beyond this machine", { skip }, () => {
  test("has as many requests a minute as the configuration says, and gets the state of the limit in headers", () =>
    place(3, async ({ from }) => {
      for (const left of ["2", "1", "0"]) {
        const answer = await from("/api/v1/runtime");
        assert.equal(answer.status, 200, await answer.text());
        assert.equal(answer.headers.get("ratelimit-limit"), "3");
        assert.equal(answer.headers.get("ratelimit-remaining"), left);
        assert.match(answer.headers.get("ratelimit-reset") ?? "", /^([1-9]|[1-5]\d|60)$/);
        assert.equal(answer.headers.get("retry-after"), null);
      }
      const refused = await from("/api/v1/runtime");
      assert.equal(refused.status, 429);
      assert.match(refused.headers.get("retry-after") ?? "", /^([1-9]|[1-5]\d|60)$/);
      assert.equal(refused.headers.get("ratelimit-remaining"), "0");
      const { error } = JSON.parse(await refused.text());
      assert.equal(error.code, "rate_limited");
      assert.equal(error.details.limit, 3);
    }));

  test("changes nothing with a refused request", () =>
    place(1, async ({ from, world }) => {
      await (await from("/api/v1/runtime")).text();
      const calls = world.scheduler.calls.length;
      const refused = await from("/api/v1/refresh", { method: "POST" });
      assert.equal(refused.status, 429, await refused.text());
      assert.equal(world.scheduler.calls.length, calls);
    }));

  test("cannot guess a token quickly: refused requests count as well", () =>
    place(3, async ({ from }) => {
      const guess = { headers: { authorization: "Bearer guess" } };
      const statuses = [];
      for (let at = 0; at < 5; at++) {
        const answer = await from("/api/v1/runtime", guess);
        statuses.push(answer.status);
        await answer.text();
      }
      assert.deepEqual(statuses, [401, 401, 401, 429, 429]);
    }));

  test("has its webhooks counted separately, and this machine is not counted at all", () =>
    place(1, async ({ from, server }) => {
      await (await from("/api/v1/runtime")).text();
      const hook = await from("/webhooks/linear", { method: "POST" });
      assert.equal(hook.status, 503, await hook.text());
      for (let at = 0; at < 3; at++) {
        const headers = { authorization: "Bearer t0ken" };
        const own = await server.ask("/api/v1/runtime", { headers });
        assert.equal(own.status, 200);
        assert.equal(own.headers["ratelimit-limit"], undefined);
      }
    }));

  test("has no limit with null, and a changed limit applies at once", () =>
    place(null, async ({ from, world }) => {
      const first = await from("/api/v1/runtime");
      assert.equal(first.status, 200, await first.text());
      assert.equal(first.headers.get("ratelimit-limit"), null);
      const { server: before } = world.config;
      world.config = { ...world.config, server: { ...before, rateLimit: 1 } };
      await (await from("/api/v1/runtime")).text();
      const second = await from("/api/v1/runtime");
      assert.equal(second.status, 429, await second.text());
    }));
});

test("a client is identified by its IPv4 address or its IPv6 network; loopback is not counted", () => {
  const clients: Readonly<Record<string, string | null>> = {
    "127.0.0.1": null,
    "127.9.9.9": null,
    "::1": null,
    "::ffff:127.0.0.1": null,
    "": null,
    "192.0.2.7": "192.0.2.7",
    "::ffff:192.0.2.7": "192.0.2.7",
    "2001:db8:1:2:3:4:5:6": "2001:db8:1:2",
    "2001:db8:1:2::": "2001:db8:1:2",
    "2001:db8::9": "2001:db8:0:0",
    "fe80::1%eth0": "fe80:0:0:0",
  };
  for (const [address, client] of Object.entries(clients)) {
    assert.equal(clientOf(address), client, address);
  }
});
