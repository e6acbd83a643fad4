import assert from "node:assert/strict";
import { Agent, METHODS } from "node:http";
import { after, before, describe, test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { routesOf } from "../../src/contract/route.ts";
import { issue } from "../support/makers/issue.ts";
import { createWorld, type World } from "../support/worlds/core.ts";
import { type Answer, serve, type TestServer } from "../support/worlds/server.ts";

let world: World;
let server: TestServer;
before(async () => {
  world = await createWorld({ issues: [issue("ENG-1"), issue("team/a-1")] });
  server = await serve(world);
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

/** Every path with its methods. */
function declared(): Map<string, string[]> {
  const methods = new Map<string, string[]>([["/", ["GET", "HEAD", "OPTIONS"]]]);
  for (const [, route] of routesOf(api)) {
    const path = route.path.replace(":id", "ENG-1").replace(":aid", "att_1");
    const own = methods.get(path) ?? ["OPTIONS"];
    own.push(route.method, ...(route.method === "GET" ? ["HEAD"] : []));
    methods.set(path, own);
  }
  return methods;
}

function assertEnvelope(answer: Answer, status: number, code: string): void {
  assert.equal(answer.status, status, answer.text);
  const { error } = answer.json();
  assert.equal(error.code, code);
  assert.equal(error.request_id, answer.headers["x-request-id"]);
  assert.match(answer.headers["content-type"] ?? "", /^application\/json/);
}

describe("methods", () => {
  test("H-9: every other method on every path is 405 with Allow", async () => {
    const agent = new Agent({ keepAlive: true });
    after(() => agent.destroy());
    for (const [path, methods] of declared()) {
      const others = METHODS.filter((name) => name !== "CONNECT" && !methods.includes(name));
      for (const method of others) {
        const answer = await server.ask(path, { method, agent });
        assert.equal(answer.status, 405);
        if (method !== "HEAD") assertEnvelope(answer, 405, "method_not_allowed");
        assert.equal(answer.headers.allow, [...methods].sort().join(", "), `${method} ${path}`);
      }
    }
  });

  test("OPTIONS lists the methods of every path and gives other origins no access", async () => {
    for (const [path, methods] of declared()) {
      const answer = await server.ask(path, { method: "OPTIONS" });
      assert.equal(answer.status, 204);
      assert.equal(answer.headers.allow, [...methods].sort().join(", "));
      assert.equal(answer.headers["access-control-allow-origin"], undefined);
    }
  });

  test("HEAD answers as GET does, without the body", async () => {
    for (const path of ["/", "/api/v1/state", "/api/v1/ENG-1", "/api/v1/events"]) {
      const answer = await server.ask(path, { method: "HEAD" });
      assert.equal(answer.status, 200, path);
      assert.equal(answer.text, "");
    }
    const missing = await server.ask("/api/v1/ENG-404", { method: "HEAD" });
    assert.equal(missing.status, 404);
  });
});

describe("H-10: fixed routes outrank issues", () => {
  test("a wrong method on a fixed route is never an issue lookup", async () => {
    assertEnvelope(await server.ask("/api/v1/refresh"), 405, "method_not_allowed");
    assertEnvelope(
      await server.ask("/api/v1/state", { method: "DELETE" }),
      405,
      "method_not_allowed",
    );
  });

  const words = "models config secrets templates workspaces git audit attempts".split(" ");
  for (const word of words.filter((one) => !declared().has(`/api/v1/${one}`))) {
    test(`${word} is never an issue`, async () => {
      for (const path of [`/api/v1/${word}`, `/api/v1/${word}/steer/x`]) {
        assertEnvelope(await server.ask(path), 404, "not_found");
        assertEnvelope(await server.ask(path, { method: "POST" }), 404, "not_found");
      }
    });
  }

  test("a reserved word in another spelling is still reserved", async () => {
    assert.equal((await server.ask("/api/v1/%73tate")).json().counts.running, 2);
    assertEnvelope(await server.ask("/api/v1/%67it"), 404, "not_found");
    assertEnvelope(await server.ask("/api/v1/state/abort", { method: "POST" }), 404, "not_found");
  });
});

describe("paths", () => {
  test("are case-sensitive, and a slash at the end is another path", async () => {
    for (const path of [
      "/API/v1/state",
      "/api/V1/state",
      "/api/v1/state/",
      "//api/v1/state",
      "/x",
    ]) {
      assertEnvelope(await server.ask(path), 404, "not_found");
    }
  });

  test("H-12: identifiers are decoded once, in any case of letters", async () => {
    const found = await server.ask("/api/v1/team%2Fa-1");
    assert.equal(found.json().issue_identifier, "team/a-1");
    assert.equal((await server.ask("/api/v1/TEAM%2fA-1")).status, 200);
    assertEnvelope(await server.ask("/api/v1/team%252Fa-1"), 404, "issue_not_found");
  });

  test("H-12: what cannot be decoded is 400", async () => {
    for (const path of ["/api/v1/%E0%A4", "/api/v1/%", "/%zz", "/api/v1/%ff/abort"]) {
      assertEnvelope(await server.ask(path), 400, "invalid_request");
    }
  });

  test("an identifier that is too long or blank is 400", async () => {
    assertEnvelope(await server.ask(`/api/v1/${"x".repeat(201)}`), 400, "invalid_request");
    assertEnvelope(await server.ask("/api/v1/%20"), 400, "invalid_request");
    assertEnvelope(await server.ask("/api/v1/.."), 404, "issue_not_found");
  });
});

test("every answer carries its request id and the hardening headers", async () => {
  const given = await server.ask("/api/v1/state", { headers: { "x-request-id": "abc-1.2_3" } });
  assert.equal(given.headers["x-request-id"], "abc-1.2_3");
  for (const bad of ["a b", "x".repeat(129), "é", "<b>"]) {
    const answer = await server.ask("/nowhere", { headers: { "x-request-id": bad } });
    assert.match(answer.headers["x-request-id"] as string, /^req_[\da-f-]{36}$/);
    assert.equal(answer.headers["x-content-type-options"], "nosniff");
    assert.equal(answer.headers["cross-origin-resource-policy"], "same-origin");
    assert.match(answer.headers["content-security-policy"] as string, /^default-src 'none'/);
  }
});
