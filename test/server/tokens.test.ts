import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { roleFor, routesOf } from "../../src/contract/route.ts";
import { mayAct, type Role, roles } from "../../src/core/model/role.ts";
import { NamedTokens } from "../../src/core/store/named-tokens.ts";
import { FakeClock } from "../support/fakes/fake-clock.ts";
import { config, issue } from "../support/makers/issue.ts";
import { temporaryDir } from "../support/makers/storage.ts";
import { createWorld, type World } from "../support/worlds/core.ts";
import { type Ask, serve, type TestServer } from "../support/worlds/server.ts";

const serverToken = "the-servers-own";
let world: World;
let server: TestServer;
before(async () => {
  const settings = config({ server: { auth: "token" } });
  world = await createWorld({ issues: [issue("ENG-1")], config: settings });
  server = await serve(world, { token: serverToken });
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const asServer = (path: string, ask: Ask = {}) =>
  server.ask(path, { ...ask, headers: { ...bearer(serverToken), ...ask.headers } });

async function tokenOf(name: string, role: Role, valid_seconds: number | null = null) {
  const body = { name, role, valid_seconds };
  const made = await asServer("/api/v1/tokens", { method: "POST", body });
  assert.equal(made.status, 201, made.text);
  return made.json().token as string;
}

/** An event stream that has begun, and when it ends. */
async function opened(headers: Readonly<Record<string, string>>): Promise<{ over: Promise<void> }> {
  const begun = Promise.withResolvers<{ over: Promise<void> }>();
  const { promise: over, resolve: end } = Promise.withResolvers<void>();
  const { port } = server.listening;
  httpRequest({ port, path: "/api/v1/events", headers, agent: false })
    .on("error", begun.reject)
    .on("response", (response) => {
      response
        .resume()
        .on("error", () => {})
        .once("close", end);
      begun.resolve({ over });
    })
    .end();
  return begun.promise;
}

describe("a named token", () => {
  test("of each role may call the routes of that role and of the roles before it, and no other", async () => {
    for (const role of roles) {
      const headers = bearer(await tokenOf(`one-${role}`, role));
      for (const [name, route] of routesOf(api)) {
        // Streams do not end, and a signed route asks for no token.
        if (route.media === "text/event-stream" || route.signed) continue;
        const path = route.path.replace(/:\w+/g, "nothing-of-that-name");
        const { method } = route;
        const answer = await server.ask(path, { method, headers });
        const code = answer.status === 200 || answer.text === "" ? null : answer.text;
        const isRefused = answer.status === 403 && code?.includes('"forbidden_role"');
        assert.equal(isRefused, !mayAct(role, roleFor(route)), `${role} ${name}: ${answer.text}`);
      }
      const { status, text } = await server.ask("/", { headers });
      assert.equal(status, 200, text);
    }
  });

  test("is refused with what it is, what is needed and the next command, and changes nothing", async () => {
    const headers = bearer(await tokenOf("viewer", "read"));
    const body = { reason: "mine" };
    const refused = await server.ask("/api/v1/pause", { method: "POST", headers, body });
    const { request_id: _, ...error } = refused.json().error;
    assert.equal(refused.status, 403);
    assert.deepEqual(error, {
      code: "forbidden_role",
      message: "the token of viewer has the role read, and system.pause needs operate",
      details: {
        hint: "an admin can make another token: symphony tokens add NAME --role operate",
      },
    });
    assert.equal(world.pause.current(), null);
    const { entries } = (await asServer("/api/v1/audit?actor=viewer")).json();
    assert.deepEqual(entries, []);
  });

  test("is the actor of what it does: in the audit log, the pause and a comment's author", async () => {
    const headers = bearer(await tokenOf("Ada", "operate"));
    await server.ask("/api/v1/pause", { method: "POST", headers, body: { reason: "lunch" } });
    assert.equal(world.pause.current()?.by, "Ada");
    await server.ask("/api/v1/resume", { method: "POST", headers, body: {} });
    const { entries } = (await asServer("/api/v1/audit?actor=Ada")).json();
    assert.deepEqual(
      entries.map((one: { action: string; outcome: string }) => [one.action, one.outcome]),
      [
        ["system.resume", "ok"],
        ["system.pause", "ok"],
      ],
    );
  });

  test("decides also where no token is needed, and in front of the chain", async () => {
    await using own = await createWorld({ issues: [issue("ENG-1")] });
    await using open = await serve(own);
    const { token } = await own.core.tokens.add({ name: "ci", role: "read", untilWall: null });
    const headers = bearer(token);
    for (let round = 0; round < 3; round += 1) {
      assert.equal((await open.ask("/api/v1/state", { headers })).status, 200);
    }
    const refused = await open.ask("/api/v1/ENG-1/abort", { method: "POST", headers });
    assert.equal(refused.json().error.code, "forbidden_role");
    const wrong = await open.ask("/api/v1/state", { headers: bearer("another") });
    assert.equal(wrong.status, 200, "without a token that is known the server's own user calls");
    await own.core.tokens.remove("ci");
    const brief = await own.core.tokens.add({ name: "brief", role: "read", untilWall: 1 });
    for (const [path, method] of [
      ["/api/v1/state", "GET"],
      ["/api/v1/ENG-1/abort", "POST"],
    ] as const) {
      const removed = await open.ask(path, { method, headers });
      assert.match(removed.text, /must be valid, and the one that was sent is wrong/);
      const expired = await open.ask(path, { method, headers: bearer(brief.token) });
      assert.match(expired.text, /must be valid, and the one that was sent expired at/);
      assert.deepEqual([removed.status, expired.status], [401, 401]);
    }
  });

  test("that has expired, is removed or unknown gets 401, and the streams that it opened end", async () => {
    const brief = await tokenOf("brief", "read", 60);
    const gone = await tokenOf("gone", "read");
    const ended = [await opened(bearer(brief)), await opened(bearer(gone))];
    const open = await server.ask("/api/v1/state", { headers: bearer(brief) });
    assert.equal(open.status, 200, open.text);
    world.scheduler.clock.advance(60_001);
    const removed = await asServer("/api/v1/tokens/gone", { method: "DELETE" });
    assert.equal(removed.status, 204, removed.text);
    await Promise.all(ended.map(({ over }) => over));
    const late = await server.ask("/api/v1/state", { headers: bearer(brief) });
    assert.equal(late.status, 401);
    assert.match(late.text, /the one that was sent expired at .* symphony tokens add NAME/);
    for (const token of [gone, `${gone}x`, ""]) {
      const { status, text } = await server.ask("/api/v1/state", { headers: bearer(token) });
      assert.equal(status, 401, text);
      assert.ok(token === "" || !text.includes(token));
    }
    const { entries } = (await asServer("/api/v1/audit?action=tokens.remove&limit=1")).json();
    assert.deepEqual([entries[0].target, entries[0].outcome], ["gone", "ok"]);
    const again = await asServer("/api/v1/tokens/gone", { method: "DELETE" });
    assert.equal(again.json().error.code, "token_not_found");
  });

  test("is listed without its value, and refused with a name that is taken or stands for someone else", async () => {
    const token = await tokenOf("listed", "operate", 3_600);
    const list = await asServer("/api/v1/tokens");
    assert.ok(!list.text.includes(token));
    const { name, role, expired, expires_at } = list
      .json()
      .tokens.find((one: { name: string }) => one.name === "listed");
    assert.deepEqual([name, role, expired], ["listed", "operate", false]);
    assert.ok(Date.parse(expires_at) > world.scheduler.clock.wall());
    const add = (body: unknown) => asServer("/api/v1/tokens", { method: "POST", body });
    for (const taken of ["listed", "LISTED"]) {
      const answer = await add({ name: taken, role: "read" });
      assert.deepEqual([answer.status, answer.json().error.code], [409, "token_exists"]);
    }
    for (const body of [
      ...["cli", "API", "operator", "symphony", "", "-x", "a b", "a/b", "x".repeat(64), "ä"].map(
        (one) => ({ name: one, role: "read" }),
      ),
      { name: "x", role: "root" },
      { name: "x", role: "read", valid_seconds: 59 },
      { name: "x" },
    ]) {
      const answer = await add(body);
      assert.equal(answer.status, 400, `${JSON.stringify(body)}: ${answer.text}`);
    }
    const stored = await readFile(join(world.dataDir, "tokens.json"), "utf8");
    assert.ok(!stored.includes(token));
  });
});

test("named tokens are on disk when they are acknowledged, with their digest alone", async (t) => {
  const dir = temporaryDir(t);
  const clock = new FakeClock();
  const first = await NamedTokens.open(dir, clock);
  const { token } = await first.add({ name: "ada", role: "operate", untilWall: null });
  const second = await NamedTokens.open(dir, clock);
  assert.deepEqual([second.holder(token)?.name, second.holder(token)?.role], ["ada", "operate"]);
  assert.ok(!(await readFile(join(dir, "tokens.json"), "utf8")).includes(token));
  await second.remove("ada");
  assert.equal((await NamedTokens.open(dir, clock)).holder(token), null);
});
