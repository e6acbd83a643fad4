import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import type { Command } from "commander";
import { createClient } from "../../src/client/client.ts";
import { catalogue } from "../../src/commands/catalogue.ts";
import { createProgram, loadNamed } from "../../src/commands/program.ts";
import { ApiDocument } from "../support/makers/openapi-schemas.ts";
import { createWorld, type World } from "../support/worlds/core.ts";
import { serve, type TestServer } from "../support/worlds/server.ts";

const text = readFileSync(new URL("user-api.txt", import.meta.url), "utf8");
const document = new ApiDocument();

/** The rows of the tables in the user's document. */
const rows = [...text.matchAll(/^(GET|POST|PUT|DELETE) \| (\/\S+) \| (.+) \|$/gm)].map(
  ([, method = "", path = "", meaning = ""]) => ({ method, path, meaning }),
);

/** The command line for each row. */
const commands: Readonly<Record<string, string>> = {
  "GET /api/v1/state": "state",
  "GET /api/v1/runtime": "runtime",
  "POST /api/v1/refresh": "refresh",
  "GET /api/v1/transitions": "transition",
  "GET /metrics": "metrics",
  "GET /api/v1/events": "events",
  "GET /api/v1/models": "models",
  "GET /api/v1/:id": "issue show",
  "POST /api/v1/:id/abort": "abort",
  "POST /api/v1/:id/model": "model",
  "POST /api/v1/:id/steer": "steer",
  "POST /api/v1/:id/template": "template set",
  "DELETE /api/v1/:id/template": "template clear",
  "POST /api/v1/:id/transition": "transition",
  "GET /api/v1/:id/attempts": "attempts",
  "GET /api/v1/attempts/:aid": "attempt",
  "GET /api/v1/config": "config get",
  "GET /api/v1/config/schema": "config schema",
  "GET /api/v1/config/overlay": "config overlay get",
  "PUT /api/v1/config/overlay": "config overlay replace",
  "DELETE /api/v1/config/overlay/:path": "config overlay unset",
  "GET /api/v1/secrets": "secrets list",
  "POST /api/v1/secrets/:key": "secrets add",
  "DELETE /api/v1/secrets/:key": "secrets remove",
  "GET /api/v1/templates": "templates list",
  "GET /api/v1/templates/:id": "templates show",
  "POST /api/v1/templates": "templates create",
  "PUT /api/v1/templates/:id": "templates edit",
  "DELETE /api/v1/templates/:id": "templates delete",
  "POST /api/v1/templates/:id/preview": "templates preview",
  "GET /api/v1/workspaces": "workspaces list",
  "DELETE /api/v1/workspaces/:key": "workspaces remove",
  "GET /api/v1/git/context": "git",
  "GET /api/v1/audit": "audit",
  "POST /webhooks/linear": "webhook test",
  "GET /api/v1/openapi.json": "openapi",
  "GET /api/docs": "api",
};

let world: World;
let server: TestServer;
before(async () => {
  world = await createWorld();
  server = await serve(world);
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

test("the user's tables have all their rows", () => {
  assert.equal(rows.length, 37);
  assert.deepEqual(
    rows.map(({ method, path }) => `${method} ${path}`).sort(),
    Object.keys(commands).sort(),
  );
});

for (const { method, path, meaning } of rows) {
  const row = `${method} ${path}`;
  test(`${row}: ${meaning}`, async (t) => {
    const braced = path.replaceAll(/:(\w+)/g, "{$1}");
    const operation = document.operations.find(
      (one) => one.method === method && one.path === braced,
    );
    await t.test("is in the OpenAPI document", () => assert.ok(operation));
    await t.test("is served", async () => {
      const { status, headers } = await server.ask(path.replaceAll(/:(\w+)/g, "ENG-123"), {
        method: "OPTIONS",
      });
      assert.equal(status, 204);
      assert.ok(headers.allow?.split(", ").includes(method), headers.allow);
    });
    await t.test("has a function of the client", () => {
      const client: unknown = createClient({ baseUrl: "http://127.0.0.1:1", token: null });
      assert.equal(typeof at(client, operation?.name.split(".") ?? []), "function");
    });
    await t.test("has a command", async () => {
      const words = commands[row]?.split(" ") ?? [];
      const command = await commandOf(words);
      assert.ok(command, words.join(" "));
      assert.ok(catalogue.some(({ name }) => name === words[0]));
    });
  });
}

function at(node: unknown, keys: readonly string[]): unknown {
  return keys.reduce<unknown>(
    (inner, key) =>
      typeof inner === "object" && inner !== null ? Reflect.get(inner, key) : undefined,
    node,
  );
}

/** The command of these words, as commander has it after its file is loaded. */
async function commandOf(words: readonly string[]): Promise<Command | undefined> {
  const program = createProgram();
  await loadNamed(program, words, () => Promise.reject(new Error("nothing is run here")));
  return words.reduce<Command | undefined>(
    (command, word) => command?.commands.find((one) => one.name() === word),
    program,
  );
}
