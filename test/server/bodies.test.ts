import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import type { IncomingMessage } from "node:http";
import { after, before, describe, test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { readRaw } from "../../src/server/body.ts";
import { issue } from "../support/makers/issue.ts";
import { createWorld, type World } from "../support/worlds/core.ts";
import { type Ask, serve, type TestServer } from "../support/worlds/server.ts";

const form = "application/x-www-form-urlencoded";
const mebibyte = 1024 * 1024;

let world: World;
let server: TestServer;
before(async () => {
  world = await createWorld({ issues: [issue("ENG-1")], local: true });
  server = await serve(world);
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

async function fails(path: string, ask: Ask, [status, code]: [number, string]) {
  const answer = await server.ask(path, { method: "POST", ...ask });
  assert.equal(answer.status, status, answer.text);
  const { error } = answer.json();
  assert.equal(error.code, code);
  return error;
}

test("THREAT-20: a body of single bytes takes no more memory than its length", async () => {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  assert.ok(typeof collect === "function");
  const used = () => {
    collect();
    return process.memoryUsage().heapUsed;
  };
  const request = Object.assign(new EventEmitter(), { headers: {} });
  const body = readRaw(request as unknown as IncomingMessage);
  const whole = Buffer.alloc(500_000, "x");
  const before = used();
  for (let at = 0; at < whole.length; at++) request.emit("data", whole.subarray(at, at + 1));
  const grown = used() - before;
  request.emit("end");
  assert.ok((await body).equals(whole));
  assert.ok(grown < 4 * mebibyte, `${grown} bytes`);
});

describe("H-7: a refresh takes a body of any shape, or none", () => {
  const given: [string, Ask][] = [
    ["nothing", {}],
    ["{}", { body: {} }],
    ["JSON with more in it", { body: { anything: 1 } }],
    ["a form", { body: "a=1&b=2", headers: { "content-type": form } }],
    ["an empty form", { body: "", headers: { "content-type": form } }],
  ];
  for (const [name, ask] of given) {
    test(name, async () => {
      const answer = await server.ask("/api/v1/refresh", { method: "POST", ...ask });
      assert.equal(answer.status, 202);
      const { queued, operations } = answer.json();
      assert.deepEqual([queued, operations], [true, ["poll", "reconcile"]]);
    });
  }

  test("refuses plain text and a list", async () => {
    const text = { body: "x", headers: { "content-type": "text/plain" } };
    await fails("/api/v1/refresh", text, [415, "unsupported_media_type"]);
    await fails("/api/v1/refresh", { body: [] }, [400, "invalid_request"]);
  });
});

describe("bodies", () => {
  const steer = "/api/v1/ENG-1/steer";
  const json = { "content-type": "application/json" };

  test("H-11: what is not JSON in UTF-8 is invalid_json", async () => {
    for (const body of ["{", "{'a':1}", "undefined", "\u0000"]) {
      await fails(steer, { body, headers: json }, [400, "invalid_json"]);
    }
  });

  test("a missing body is named as missing", async () => {
    const error = await fails(steer, {}, [400, "invalid_request"]);
    assert.deepEqual(error.details, [{ path: "", message: "a JSON body is required" }]);
  });

  test("anything except uncompressed application/json in UTF-8 is 415", async () => {
    const body = '{"message":"x"}';
    const types = [
      "text/plain",
      form,
      "multipart/form-data; boundary=x",
      "application/json; charset=latin1",
      "application/jsonp",
    ];
    for (const type of types) {
      await fails(steer, { body, headers: { "content-type": type } }, [
        415,
        "unsupported_media_type",
      ]);
    }
    await fails(steer, { body }, [415, "unsupported_media_type"]);
    await fails(steer, { body, headers: { ...json, "content-encoding": "gzip" } }, [
      415,
      "unsupported_media_type",
    ]);
  });

  test("a charset of UTF-8 may be written in any way", async () => {
    for (const charset of ["utf-8", "UTF-8", '"utf-8"']) {
      const headers = { "content-type": `Application/JSON; charset=${charset}` };
      await fails(steer, { body: "{}", headers }, [400, "invalid_request"]);
    }
  });

  test("more than 1 MiB is 413, with or without a Content-Length", async () => {
    const body = JSON.stringify({ message: "x".repeat(mebibyte) });
    await fails(steer, { body, headers: json }, [413, "body_too_large"]);
    await fails(steer, { body, headers: { ...json, "transfer-encoding": "chunked" } }, [
      413,
      "body_too_large",
    ]);
    await fails(steer, { body: "x".repeat(5 * mebibyte), headers: json }, [413, "body_too_large"]);
  });

  test("a body slightly below 1 MiB is read", async () => {
    const body = { title: "big", description: "d".repeat(199_000) };
    const answer = await server.ask("/api/v1/issues", { method: "POST", body });
    assert.equal(answer.status, 201);
    await fails(steer, { body: { message: "x".repeat(mebibyte - 100) } }, [400, "invalid_request"]);
  });

  test("every fault of a body is named, with its path", async () => {
    const body = { title: "", labels: ["a", 1], priority: 9, __proto__x: 1 };
    const error = await fails("/api/v1/issues", { body }, [400, "invalid_request"]);
    const paths = error.details.map(({ path }: { path: string }) => path).sort();
    assert.deepEqual(paths, ["__proto__x", "labels.1", "priority", "title"]);
    assert.match(error.message, /labels\.1: /);
  });

  test("__proto__ is refused like any unknown key and changes no prototype", async () => {
    const body = '{"title":"x","__proto__":{"polluted":true}}';
    const answer = await server.ask("/api/v1/issues", { method: "POST", body, headers: json });
    assert.ok([201, 400].includes(answer.status));
    assert.equal(Reflect.get({}, "polluted"), undefined);
  });

  test("the fields of a form are used where the body is optional", async () => {
    const ask = { body: "nonsense=1", headers: { "content-type": form } };
    const error = await fails("/api/v1/ENG-1/abort", ask, [400, "invalid_request"]);
    assert.equal(error.details[0].path, "nonsense");
  });
});

describe("queries and headers", () => {
  const bad = [
    "/api/v1/state?limit=0",
    "/api/v1/state?limit=1001",
    "/api/v1/state?limit=1&limit=2",
    "/api/v1/ENG-1/attempts?limit=501",
    "/api/v1/ENG-1/attempts?offset=-1",
    "/api/v1/issues?limit=x",
    "/api/v1/events?type=nonsense",
    "/api/v1/events?since=-1",
    "/api/v1/attempts/att_1?after_seq=x",
  ];
  for (const path of bad) {
    test(`${path} is 400`, async () => {
      const answer = await server.ask(path);
      assert.equal(answer.status, 400);
      assert.equal(answer.json().error.details.length, 1);
    });
  }

  test("a bad Last-Event-ID and a blank Idempotency-Key are 400", async () => {
    const stream = await server.ask("/api/v1/events", { headers: { "last-event-id": "x" } });
    assert.equal(stream.json().error.details[0].path, "last-event-id");
    const ask = { body: { message: "x" }, headers: { "idempotency-key": "" } };
    await fails("/api/v1/ENG-1/steer", ask, [400, "invalid_request"]);
  });
});
