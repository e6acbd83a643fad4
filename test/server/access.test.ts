import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { routesOf } from "../../src/contract/route.ts";
import { Peers } from "../../src/server/peers.ts";
import { config, issue } from "../support/makers/issue.ts";
import { createWorld, type World } from "../support/worlds/core.ts";
import { type Ask, serve, type TestServer } from "../support/worlds/server.ts";

const routes = [
  { method: "GET", path: "/" },
  ...[...routesOf(api)].map(([, { method, path }]) => ({
    method,
    path: path.replace(":id", "ENG-1").replace(":aid", "att_1"),
  })),
];
const webhooks = routes.filter(({ path }) => path.startsWith("/webhooks/"));
const own = routes.filter((route) => !webhooks.includes(route));
const mutations = own.filter(({ method }) => method !== "GET");

let world: World;
let server: TestServer;
before(async () => {
  const settings = config({ server: { allowedHosts: ["box.lan", "proxy.lan:8443"] } });
  world = await createWorld({ issues: [issue("ENG-1")], config: settings });
  server = await serve(world);
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

async function refused(path: string, ask: Ask, code: string): Promise<void> {
  const answer = await server.ask(path, ask);
  assert.equal(answer.status, 403, `${ask.method} ${path}`);
  assert.equal(answer.json().error.code, code);
}

describe("THREAT-4: Host", () => {
  test("a foreign name is refused on every route", async () => {
    for (const { method, path } of [...own, { method: "GET", path: "/nowhere" }]) {
      await refused(path, { method, headers: { host: "evil.example:4000" } }, "forbidden_host");
    }
  });

  const bad = [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1@evil",
    "localhost.",
    "127.0.0.2",
    "box.lan.evil",
  ];
  for (const host of bad) {
    test(`"${host}" is refused`, () =>
      refused("/api/v1/runtime", { headers: { host } }, "forbidden_host"));
  }

  const good = [
    "localhost",
    "LOCALHOST:4000",
    "127.0.0.1:1",
    "[::1]:4000",
    "box.lan",
    "box.lan:99",
    "proxy.lan:8443",
  ];
  for (const host of good) {
    test(`"${host}" is allowed`, async () => {
      assert.equal((await server.ask("/api/v1/runtime", { headers: { host } })).status, 200);
    });
  }

  test("an entry with a port allows that port alone", () =>
    refused("/api/v1/runtime", { headers: { host: "proxy.lan:80" } }, "forbidden_host"));
});

describe("THREAT-8: proxies", () => {
  for (const name of [
    ...["x-forwarded-for", "X-Forwarded-Anything", "forwarded", "via", "x-real-ip"],
    ...["cf-connecting-ip", "tailscale-user-login"],
  ]) {
    test(`a request with ${name} is refused on every route`, async () => {
      for (const { method, path } of own) {
        await refused(path, { method, headers: { [name]: "1.2.3.4" } }, "forbidden_host");
      }
    });
  }

  test("webhooks may come through a tunnel, and their path gives access to no other route", async () => {
    const headers = { host: "abc.tunnel.example", "x-forwarded-for": "1.2.3.4" };
    const hook = await server.ask("/webhooks/linear", { method: "POST", headers });
    assert.equal(hook.json().error.code, "webhook_not_configured");
    const elsewhere = await server.ask("/webhooks/nowhere", { method: "POST", headers });
    assert.equal(elsewhere.json().error.code, "not_found");
    for (const path of [
      "/webhooks/..%2fapi%2fv1%2fstate",
      "/webhooks/../api/v1/state",
      "/Webhooks/linear",
      "/webhooks",
      "/webhooksapi/v1/state",
    ]) {
      const answer = await server.ask(path, { headers });
      const expected = path.startsWith("/webhooks/") ? [403, 404] : [403];
      assert.ok(expected.includes(answer.status), path);
    }
  });
});

describe("other sites' pages (THREAT-5, X-7)", () => {
  const foreign: Record<string, string>[] = [
    { origin: "http://evil.example" },
    { origin: "null" },
    { origin: "http://localhost:3000" },
    { "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "same-site" },
    { origin: "http://127.0.0.1", "sec-fetch-site": "cross-site" },
  ];
  for (const headers of foreign) {
    test(`may not change anything: ${JSON.stringify(headers)}`, async () => {
      const calls = world.scheduler.calls.length;
      for (const { method, path } of mutations) {
        for (const type of ["application/json", "text/plain", "multipart/form-data", ""]) {
          const all = { ...headers, host: "127.0.0.1", ...(type && { "content-type": type }) };
          await refused(path, { method, headers: all, body: "{}" }, "forbidden_origin");
        }
      }
      assert.equal(world.scheduler.calls.length, calls);
    });
  }

  test("may send reads, but no header lets the browser show them the answer", async () => {
    const answer = await server.ask("/api/v1/runtime", {
      headers: { origin: "http://evil.example" },
    });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers["access-control-allow-origin"], undefined);
    assert.equal(answer.headers["cross-origin-resource-policy"], "same-origin");
  });

  test("are refused without affecting symphony's own page and plain clients", async () => {
    const host = `127.0.0.1:${server.listening.port}`;
    for (const headers of [
      {},
      { origin: `http://${host}`, "sec-fetch-site": "same-origin" },
      { "sec-fetch-site": "none" },
    ]) {
      const answer = await server.ask("/api/v1/refresh", {
        method: "POST",
        headers: { host, ...headers },
      });
      assert.equal(answer.status, 202);
    }
  });
});

describe("token (THREAT-21)", () => {
  const token = "s3cret-tökén".normalize();
  const ascii = "s3cret-token";
  const bearer = (value: string) => ({ headers: { authorization: value } });

  async function withToken(work: (target: TestServer) => Promise<void>, given: string | null) {
    const settings = config({ server: { auth: "token" } });
    await using own = await createWorld({ issues: [issue("ENG-1")], config: settings });
    await using target = await serve(own, { token: given });
    await work(target);
  }

  test("is required on every route when server.auth is token", () =>
    withToken(async (target) => {
      for (const { method, path } of [...own, { method: "GET", path: "/nowhere" }]) {
        const answer = await target.ask(path, { method });
        assert.equal(answer.status, 401, path);
        assert.equal(answer.json().error.code, "unauthorized");
        assert.equal(answer.headers["www-authenticate"], "Bearer");
      }
    }, ascii));

  test("is accepted when it is right; shorter, longer, other and malformed ones are refused", () =>
    withToken(async (target) => {
      assert.equal((await target.ask("/api/v1/runtime", bearer(`Bearer ${ascii}`))).status, 200);
      assert.equal((await target.ask("/api/v1/runtime", bearer(`bearer ${ascii}`))).status, 200);
      const wrong = [
        ascii,
        "Bearer",
        "Bearer ",
        `Bearer ${ascii}x`,
        `Bearer ${ascii.slice(1)}`,
        `Bearer ${ascii.slice(0, -1)}`,
        `Bearer ${ascii.toUpperCase()}`,
        `Basic ${ascii}`,
        `Bearer ${Buffer.from(token).toString("latin1")}`,
      ];
      for (const value of wrong) {
        assert.equal((await target.ask("/api/v1/runtime", bearer(value))).status, 401, value);
      }
    }, ascii));

  test("THREAT-21: is compared in constant time, whatever is given", (t) =>
    withToken(async (target) => {
      const { mock } = t.mock.method(process.getBuiltinModule("node:crypto"), "timingSafeEqual");
      const given = [ascii, "x", `${ascii}x`, ascii.slice(0, -1)];
      for (const value of given) await target.ask("/api/v1/runtime", bearer(`Bearer ${value}`));
      assert.equal(mock.callCount(), given.length);
    }, ascii));

  test("is refused when the server has no token to compare with", () =>
    withToken(async (target) => {
      assert.equal((await target.ask("/api/v1/runtime", bearer("Bearer x"))).status, 401);
    }, null));

  test("THREAT-6: is required on loopback from every client that is not known to be the server's own user", async () => {
    // As on a system whose kernel does not show the owner of a connection.
    const peers = new Peers({ proc: "/nowhere", platform: "linux" });
    await using alone = await createWorld({ issues: [issue("ENG-1")] });
    await using target = await serve(alone, { token: ascii, peers });
    for (const { method, path } of own) {
      assert.equal((await target.ask(path, { method })).status, 401, path);
    }
    assert.equal((await target.ask("/api/v1/runtime", bearer(`Bearer ${ascii}`))).status, 200);
  });

  test("is required regardless of server.auth when the server is bound beyond loopback", async () => {
    await using own = await createWorld();
    await using target = await serve(own, { host: "0.0.0.0", token: ascii });
    assert.equal((await target.ask("/api/v1/runtime")).status, 401);
    const good = bearer(`Bearer ${ascii}`);
    assert.equal((await target.ask("/api/v1/runtime", good)).status, 200);
    // Some systems route this address to the machine itself, and some browsers let every page use it.
    for (const host of ["0.0.0.0", `0.0.0.0:${target.listening.port}`]) {
      const answer = await target.ask("/api/v1/runtime", { headers: { ...good.headers, host } });
      assert.equal(answer.status, 403, host);
    }
  });
});
