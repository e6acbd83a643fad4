import assert from "node:assert/strict";
import { test } from "node:test";
import { issue } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { type Answer, serve } from "../support/worlds/server.ts";

/** What belongs to one request is left out. */
function lasting({ headers, text, status }: Answer) {
  const { date: _, "x-request-id": _id, connection: _c, "keep-alive": _k, ...rest } = headers;
  return { status, headers: rest, text: text.replace(/"generated_at":"[^"]+"/, "") };
}

test("a repeated read is answered in front of the chain: the same bytes and headers, after the same checks, and counted", async () => {
  await using world = await createWorld({ issues: [issue("ENG-1")] });
  await using server = await serve(world);
  // A request with this header is answered by the chain, whatever is known.
  const chain = { "cache-control": "max-age=0" };
  const paths = ["/api/v1/state", "/api/v1/ENG-1", "/api/v1/audit", "/api/v1/openapi.json"];
  for (const path of paths) {
    await server.ask(path);
    const again = await server.ask(path, { headers: { "x-request-id": "mine" } });
    assert.equal(again.headers["x-request-id"], "mine");
    assert.deepEqual(lasting(again), lasting(await server.ask(path, { headers: chain })), path);
    const bare = await server.ask(path, { headers: { "x-request-id": "a b" } });
    assert.match(String(bare.headers["x-request-id"]), /^req_[\da-f-]{36}$/);
    const refusals = [{ host: "evil.example" }, { forwarded: "for=1.2.3.4" }];
    for (const headers of refusals) {
      const refused = await server.ask(path, { headers });
      assert.equal(refused.status, 403, `${path} ${JSON.stringify(headers)}`);
    }
    const head = await server.ask(path, { method: "HEAD" });
    assert.deepEqual([head.status, head.text], [200, ""]);
    const posted = await server.ask(path, { body: "x" });
    assert.equal(posted.status, 415, "what a form of any site can send");
  }
  const { text } = await server.ask("/metrics");
  const counted = (route: string, status: number) =>
    new RegExp(
      `symphony_http_request_duration_seconds_count\\{route="${route}",method="GET",status="${status}"\\} (\\d+)`,
    ).exec(text)?.[1];
  assert.equal(counted("/api/v1/state", 200), "4");
  assert.equal(counted("/api/v1/state", 415), "1");
  assert.equal(counted("none", 403), "8");
});

test("a repeated read shows what has changed, and 304 only for the tag of now", async () => {
  await using world = await createWorld({ issues: [issue("ENG-1")] });
  await using server = await serve(world);
  const { core, scheduler } = world;
  const first = await server.ask("/api/v1/state");
  const tag = String(first.headers.etag);
  const known = (value: string) =>
    server.ask("/api/v1/state", { headers: { "if-none-match": value } });
  for (const value of [tag, tag.slice(2), `"x", ${tag}`, "*"]) {
    const answer = await known(value);
    assert.deepEqual([answer.status, answer.text, answer.headers.etag], [304, "", tag], value);
    assert.equal(answer.headers["content-type"], undefined);
    assert.equal(answer.headers["cache-control"], "no-cache");
  }
  const isKnownTo = async (path: string) => (await server.ask(path)).text.includes("ENG-2");
  assert.equal(await isKnownTo("/api/v1/state"), false);
  scheduler.set(issue("ENG-2"));
  await scheduler.advance(30_000);
  assert.equal(await isKnownTo("/api/v1/state"), true);
  assert.equal((await known(tag)).status, 200);
  const detail = async () => (await server.ask("/api/v1/ENG-1")).json().recent_events.length;
  const before = await detail();
  core.bus.publish({
    type: "agent.message",
    issueId: issue("ENG-1").id,
    issueIdentifier: "ENG-1",
    message: "new",
  });
  assert.equal(await detail(), Math.min(before + 1, 50));
});

test("a repeated read asks for the token each time, and for the caller's user", async () => {
  await using world = await createWorld({ issues: [issue("ENG-1")] });
  await using server = await serve(world, { host: "0.0.0.0", token: "right" });
  const read = async (authorization?: string) => {
    const headers = authorization === undefined ? {} : { authorization };
    return (await server.ask("/api/v1/state", { headers })).status;
  };
  assert.deepEqual(
    [await read("Bearer right"), await read("Bearer right"), await read(), await read("Bearer x")],
    [200, 200, 401, 401],
  );
});
