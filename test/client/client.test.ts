import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { createClient } from "../../src/client/client.ts";
import { api } from "../../src/contract/api.ts";
import { paths } from "../../src/contract/paths.ts";
import { routesOf } from "../../src/contract/route.ts";
import { SymphonyError } from "../../src/core/model/errors.ts";
import { startApiDouble } from "../support/fakes/api-double.ts";

const refusedWith = (code: string) => (error: unknown) =>
  error instanceof SymphonyError && error.code === code;

test("the client has a function for every route of the contract", () => {
  const client = createClient({ baseUrl: "http://127.0.0.1:1" });
  for (const [name, { method, path }] of routesOf(api)) {
    const steps = name.split(".");
    const place = steps.reduce<unknown>((at, step) => Reflect.get(Object(at), step), paths);
    assert.deepEqual(place, { method, path }, name);
    const bound = steps.reduce<unknown>((at, step) => Reflect.get(Object(at), step), client);
    assert.equal(typeof bound, "function", name);
  }
});

test("the client fills in path, query and body, and returns the reply", async () => {
  await using server = await startApiDouble();
  const client = createClient({ baseUrl: server.url, userAgent: "symphony-cli/0.1.0" });
  const { running } = await client.system.state({ query: { limit: 5 } });
  assert.equal(running[0]?.issue_identifier, "ENG-1");
  const reply = await client.issues.steer({ params: { id: "ENG-1" }, body: { message: "hä?" } });
  assert.equal(reply.status, "accepted");
  const [state, steer] = server.seen;
  assert.equal(state?.path, "/api/v1/state?limit=5");
  assert.equal(state.headers["user-agent"], "symphony-cli/0.1.0");
  assert.deepEqual([steer?.method, steer?.body], ["POST", { message: "hä?" }]);
  assert.equal(steer?.headers["content-type"], "application/json");
});

test("the client escapes the parameters of a path", async () => {
  await using server = await startApiDouble();
  const client = createClient({ baseUrl: server.url });
  const params = { id: "../a b/ü?x=1" };
  await assert.rejects(client.issues.detail({ params }), refusedWith("issue_not_found"));
  assert.equal(server.seen[0]?.path, "/api/v1/..%2Fa%20b%2F%C3%BC%3Fx%3D1");
});

test("a name that a path cannot have is refused before any request", async () => {
  const client = createClient({ baseUrl: "http://127.0.0.1:1" });
  for (const id of ["", ".", ".."])
    await assert.rejects(client.issues.detail({ params: { id } }), refusedWith("usage"));
});

test("the client keeps a path prefix of the server's address, as behind a proxy", async () => {
  await using server = await startApiDouble();
  const client = createClient({ baseUrl: `${server.url}/symphony/` });
  await assert.rejects(client.system.state());
  assert.equal(server.seen[0]?.path, "/symphony/api/v1/state");
});

test("the client rejects with the server's code, message, details and hint", async () => {
  await using server = await startApiDouble();
  const client = createClient({ baseUrl: server.url });
  const body = { message: "x" };
  await assert.rejects(client.issues.steer({ params: { id: "BAD" }, body }), {
    code: "invalid_request",
    message: "refused with invalid_request",
    details: { issues: [{ path: "body.message", message: "too long" }] },
  });
  const move = { params: { id: "ENG-1" }, body: { to: "Nowhere" } };
  await assert.rejects(client.issues.transition(move), {
    code: "transition_not_allowed",
    details: {},
    hint: "ask the server",
  });
});

test("the client says that no server listens, and what to do", async () => {
  const server = await startApiDouble();
  await server[Symbol.asyncDispose]();
  await assert.rejects(createClient({ baseUrl: server.url }).system.state(), (error) => {
    assert.ok(error instanceof SymphonyError);
    assert.equal(error.code, "server_unreachable");
    assert.match(error.message, /nothing listens there/);
    assert.match(error.hint ?? "", /symphony serve/);
    return true;
  });
});

test("the client does not accept another program's answer as symphony's", async () => {
  const html = { type: "text/html", text: "<h1>hello</h1>" };
  const json = { type: "application/json", text: '{"ok": true}' };
  const answers = [
    { ...html, status: 200, said: /text\/html instead of JSON/ },
    { ...html, status: 502, said: /HTTP status 502/ },
    { ...html, status: 302, said: /HTTP status 302/ },
    { ...json, status: 200, said: /an older symphony, or another program/ },
    { ...json, text: "[1]", status: 200, said: /JSON of another form/ },
    { ...json, status: 204, said: /an older symphony, or another program/ },
    { ...json, status: 200, cut: true, said: /broke off/ },
  ];
  let at = 0;
  const server = createServer((_, response) => {
    const { status = 500, type = "", text = "", ...more } = answers[at] ?? {};
    if ("cut" in more) {
      response.writeHead(200, { "content-type": type, "content-length": "99" }).write(text);
      setImmediate(() => response.destroy());
    } else response.writeHead(status, { "content-type": type }).end(status === 204 ? "" : text);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = createClient({
    baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  });
  for (const { said: message } of answers) {
    await assert.rejects(client.system.refresh(), { code: "server_unreachable", message });
    at += 1;
  }
  server.close();
});

test("the client fails when a server does not answer or closes the connection", async () => {
  const server = createServer((request) => {
    if (request.url === "/api/v1/runtime") request.destroy();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = createClient({
    baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  });
  await assert.rejects(client.system.state({}, { timeoutMs: 50 }), {
    code: "server_unreachable",
    message: /no answer within 0.05 s/,
  });
  await assert.rejects(client.system.runtime(), refusedWith("server_unreachable"));
  server.close();
  server.closeAllConnections();
});

test("the client stops when its signal is aborted", async () => {
  await using server = await startApiDouble();
  const reason = new Error("enough");
  const signal = AbortSignal.abort(reason);
  await assert.rejects(createClient({ baseUrl: server.url }).system.state({}, { signal }), reason);
});

test("the client refuses an invalid address", async () => {
  for (const baseUrl of ["nowhere", "ftp://127.0.0.1"]) {
    await assert.rejects(createClient({ baseUrl }).system.state(), refusedWith("usage"));
  }
});
