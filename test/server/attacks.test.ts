import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { readdir } from "node:fs/promises";
import { Agent } from "node:http";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import fc from "fast-check";
import { api } from "../../src/contract/api.ts";
import { type Route, routesOf } from "../../src/contract/route.ts";
import { config, issue } from "../support/makers/issue.ts";
import { createWorld, type World } from "../support/worlds/core.ts";
import { freshProject, openReal, type RealServer } from "../support/worlds/real-server.ts";
import { type Ask, serve, type TestServer } from "../support/worlds/server.ts";

const routes: readonly Route[] = [...routesOf(api)].map(([, route]) => route);
const streams = routes.filter(({ media }) => media === "text/event-stream");
const own = routes.filter(({ signed }) => signed !== true);
const json = { "content-type": "application/json" };

let world: World;
let server: TestServer;
let project: Awaited<ReturnType<typeof freshProject>>;
let real: RealServer;
before(async () => {
  project = await freshProject();
  real = await openReal(project.dir);
  world = await createWorld({ issues: [issue("ENG-1")], config: config(), local: true });
  server = await serve(world);
});
after(async () => {
  await real[Symbol.asyncDispose]();
  await project[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

/** The address of a route with `id`, exactly as sent, for each parameter. */
function at({ path }: Route, id: string): string {
  return path.replaceAll(/:\w+/g, () => id);
}

test("THREAT-8: through a tunnel under a foreign name, only the signed routes answer", async () => {
  const headers = { host: "abc.tunnel.example", "x-forwarded-for": "198.51.100.7" };
  const open: string[] = [];
  for (const route of routes) {
    const answer = await server.ask(at(route, "ENG-1"), { method: route.method, headers });
    if (answer.status !== 403) open.push(route.path);
  }
  assert.deepEqual(open, ["/webhooks/linear", "/webhooks/github"]);
  assert.ok(streams.length > 0, "the event stream was among them");
});

test("THREAT-6: without the token, another user of this machine can use only the signed routes", async (t) => {
  if (process.getuid?.() !== 0) return t.skip("needs a second user");
  if (spawnSync("curl", ["--version"]).status !== 0) return t.skip("needs curl");
  const requests = routes.flatMap((route) => {
    const url = `http://127.0.0.1:${server.listening.port}${at(route, "ENG-1")}`;
    return [
      "-s",
      "-m",
      "5",
      "-o",
      "/dev/null",
      "-w",
      "%{http_code}\\n",
      "-X",
      route.method,
      url,
      "--next",
    ];
  });
  const asNobody = ["--reuid", "65534", "--clear-groups", "curl", ...requests.slice(0, -1)];
  const { stdout } = await promisify(execFile)("setpriv", asNobody);
  const answers = stdout.trim().split("\n");
  assert.equal(answers.length, routes.length);
  const open = routes.filter((_, index) => answers[index] !== "401").map(({ path }) => path);
  assert.deepEqual(open, ["/webhooks/linear", "/webhooks/github"]);
  const { status } = await server.ask("/api/v1/state");
  assert.equal(status, 200);
});

test("THREAT-5: a form or plain text posted by any page changes nothing, also without an Origin", async () => {
  const calls = world.scheduler.calls.length;
  const seq = world.core.bus.lastSeq;
  const types = [
    "text/plain",
    "multipart/form-data; boundary=x",
    "application/xml",
    "text/json",
    "",
  ];
  const framings: Record<string, string>[] = [{}, { "transfer-encoding": "chunked" }];
  for (const route of own) {
    // A route that takes a body of any shape, or none, also accepts a form.
    const all = route.bodyOptional ? types : [...types, "application/x-www-form-urlencoded"];
    for (const [type, framing] of all.flatMap((one) =>
      framings.map((two) => [one, two] as const),
    )) {
      const headers = { ...framing, ...(type !== "" && { "content-type": type }) };
      const ask = { method: route.method, headers, body: '{"title":"x","name":"x","body":"x"}' };
      const answer = await server.ask(at(route, "ENG-1"), ask);
      assert.equal(answer.status, 415, `${route.method} ${route.path} ${type}: ${answer.text}`);
      assert.equal(answer.json().error.code, "unsupported_media_type");
    }
  }
  assert.deepEqual([world.scheduler.calls.length, world.core.bus.lastSeq], [calls, seq]);
});

test("THREAT-5: a route that takes no body accepts an empty one of any type, and JSON", async () => {
  const bare = own.filter(({ body, media }) => body === undefined && media !== "text/event-stream");
  assert.ok(bare.some(({ method }) => method === "DELETE"));
  const given: Ask[] = [
    { body: "", headers: { "content-type": "text/plain" } },
    { body: "", headers: { "content-type": "text/plain", "transfer-encoding": "chunked" } },
    { body: "{}", headers: json },
    { body: '{"a":', headers: { ...json, "transfer-encoding": "chunked" } },
  ];
  for (const route of bare) {
    for (const ask of given) {
      const answer = await server.ask(at(route, "none-1"), { ...ask, method: route.method });
      assert.notEqual(answer.status, 415, `${route.method} ${route.path}: ${answer.text}`);
    }
  }
});

describe("THREAT-10, INV-13: odd keys", () => {
  const odd = fc.oneof(
    fc.constantFrom(
      ...["..", ".", "%2e%2e", "%2e", "%2e%2e%2f%2e%2e", "..%5c..", "%00", "a%00b", "%5c", "a%2Fb"],
      ...["x".repeat(300), "ENG-1.", ".base", "-rf", "%ff", "%", "%zz", "%C0%AE", "__proto__"],
      ...["constructor", "toString", "%E2%80%AE", "%F0%9F%92%A9", "%20", "~root", "$HOME", "*"],
    ),
    fc
      .string({ unit: "binary", maxLength: 40 })
      .map((text) => encodeURIComponent(text.toWellFormed())),
  );

  test("are refused by every route that takes a key, and reach no file", async () => {
    const before = await filesOf();
    const keyed = own.filter(({ path, media }) => path.includes("/:") && media === undefined);
    assert.ok(keyed.length > 10);
    const agent = new Agent({ keepAlive: true });
    after(() => agent.destroy());
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...keyed), odd, async (route, id) => {
        const body = route.method === "GET" ? {} : { body: "{}", headers: json };
        const answer = await real.ask(at(route, id), { method: route.method, agent, ...body });
        const label = `${route.method} ${at(route, id)}: ${answer.status} ${answer.text}`;
        assert.ok(answer.status < 500, label);
        if (answer.status >= 400) assert.match(answer.json().error.code, /^[a-z_]+$/, label);
        else assert.ok(isEmpty(answer.json()) || answer.status === 405, label);
      }),
      { numRuns: 400 },
    );
    assert.deepEqual(await filesOf(), before);
  });

  /** Without the files that any write changes. */
  async function filesOf(): Promise<readonly string[]> {
    const names = await readdir(project.dir, { recursive: true });
    return names.filter((name) => !/audit\.head|-(journal|wal|shm)$/.test(name)).sort();
  }

  /** An empty list, for something that does not exist. */
  function isEmpty(reply: Record<string, unknown>): boolean {
    return Object.values(reply).some((value) => Array.isArray(value));
  }
});

describe("THREAT-11: prototypes", () => {
  const words = ["__proto__", "constructor", "prototype"];
  const inherited = '{"polluted":true,"isAdmin":true,"auth":"none","port":1}';
  function clean(): void {
    const bare: Readonly<Record<string, unknown>> = {};
    const list: object = [];
    for (const key of ["polluted", "isAdmin", "auth", "port"]) {
      assert.equal(bare[key], undefined);
      assert.ok(!(key in list) && !(key in Function.prototype));
    }
    const { server: settings, tracker } = real.core.config.current.config;
    for (const map of [settings, tracker, tracker.provider]) {
      assert.ok(!("polluted" in map));
      assert.ok([Object.prototype, null].includes(Object.getPrototypeOf(map)));
    }
  }

  const places = [[], ["tracker"], ["tracker", "provider"], ["tracker", "provider", "x-deep"]];
  for (const [depth, place] of places.entries()) {
    test(`an overlay with such a key at depth ${depth + 1} is refused as a whole`, async () => {
      for (const word of words) {
        for (const inner of [inherited, `{"prototype":${inherited}}`, "1", "null"]) {
          const body = place.reduceRight(
            (text, key) => `{"${key}":${text}}`,
            `{"${word}":${inner}}`,
          );
          const ask = { method: "PUT", body, headers: json };
          const answer = await real.ask("/api/v1/config/overlay", ask);
          assert.equal(answer.status, 422, `${body}: ${answer.text}`);
          assert.match(answer.text, new RegExp([...place, word].join("\\.")));
          clean();
        }
      }
      assert.deepEqual((await real.ask("/api/v1/config/overlay")).json(), {});
    });
  }

  test("a dotted path through such a key reaches nothing", async () => {
    const good = { agent: { max_turns: 4 } };
    await real.ask("/api/v1/config/overlay", { method: "PUT", body: good });
    for (const word of words) {
      for (const path of [word, `${word}.polluted`, `agent.${word}`, `agent.${word}.max_turns`]) {
        const answer = await real.ask(`/api/v1/config/overlay/${path}`, { method: "DELETE" });
        assert.equal(answer.status, 404, `${path}: ${answer.text}`);
        clean();
      }
    }
    assert.deepEqual((await real.ask("/api/v1/config/overlay")).json(), good);
  });

  test("no route accepts such a key as one of its fields", async () => {
    for (const route of own.filter(({ body }) => body !== undefined)) {
      for (const word of words) {
        const ask = { method: route.method, body: `{"${word}":${inherited}}`, headers: json };
        const answer = await real.ask(at(route, "local-9"), ask);
        assert.ok(answer.status !== 500, `${route.path}: ${answer.text}`);
        clean();
      }
    }
  });
});

describe("THREAT-12: hostile length", () => {
  const seeds = [
    "a",
    "=",
    "%20",
    ".",
    "-",
    "[",
    "<",
    "\\",
    "{{",
    "eyJ",
    "bearer ",
    ",",
    "::",
    "1e9",
  ];

  test("every parser of a header reads its text in one pass", async () => {
    const names = [
      "host",
      "authorization",
      "origin",
      "if-none-match",
      "x-request-id",
      "content-type",
    ];
    for (const name of [
      ...names,
      "last-event-id",
      "linear-signature",
      "idempotency-key",
      "user-agent",
    ]) {
      for (const seed of seeds) {
        const value = seed.repeat(12_000 / seed.length);
        const headers = name === "content-type" ? { [name]: value } : { ...json, [name]: value };
        const ask = { method: "POST", headers, body: "{}" };
        const answer = await real.ask("/api/v1/ENG-1/steer", ask);
        assert.ok(answer.status >= 400 && answer.status < 500, `${name} ${seed} ${answer.status}`);
      }
    }
  });

  test("every parser of a field reads 100 kB in one pass", async () => {
    for (const route of own.filter(({ body }) => body !== undefined)) {
      for (const seed of seeds) {
        const long = seed.repeat(100_000 / seed.length);
        const names = "title body name reason message value description identifier model".split(
          " ",
        );
        const body = Object.fromEntries(names.map((name) => [name, long]));
        const answer = await real.ask(at(route, "ENG-9"), { method: route.method, body });
        assert.ok(answer.status < 500, `${route.path} ${seed}: ${answer.text}`);
      }
    }
  });
});
