import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { z } from "zod";
import { api } from "../../src/contract/api.ts";
import { openApiDocument } from "../../src/contract/openapi.ts";
import { isRoute, type Route, routesOf } from "../../src/contract/route.ts";
import { statusOf } from "../../src/server/errors.ts";

// biome-ignore lint/suspicious/noExplicitAny: the document is read without types, as clients read it
type Json = any;

const document: Json = openApiDocument(api, { title: "symphony", version: "0.0.0", statusOf });
const operations: [path: string, method: string, operation: Json][] = Object.entries<Json>(
  document.paths,
).flatMap(([path, item]) =>
  Object.entries<Json>(item).map(([method, one]): [string, string, Json] => [path, method, one]),
);

test("the document equals its snapshot, so that no change of the API goes unnoticed", (t) => {
  t.assert.fileSnapshot(document, "test/contract/openapi.json");
});

describe("H-16: the document", () => {
  test("has every route of the contract, and no other", () => {
    const declared = [...routesOf(api)].map(
      ([name, { method, path }]) => `${name} ${method} ${path.replaceAll(/:(\w+)/g, "{$1}")}`,
    );
    const documented = operations.map(
      ([path, method, { operationId }]) => `${operationId} ${method.toUpperCase()} ${path}`,
    );
    assert.deepEqual(documented.sort(), declared.sort());
  });

  test("declares exactly the parameters that each path has", () => {
    for (const [path, method, { parameters }] of operations) {
      const own = parameters.filter((one: Json) => one.in === "path");
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      assert.deepEqual(
        own.map((one: Json) => one.name),
        inPath,
        `${method} ${path}`,
      );
      assert.ok(own.every((one: Json) => one.required === true));
    }
  });

  test("refers only to schemas that it has, and has no unused schema", () => {
    const text = JSON.stringify(document);
    const used = new Set(
      [...text.matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name),
    );
    // For OpenAPI 3.0 the stream carries text; its two messages are there for readers.
    used.add("Event").add("Gap");
    assert.deepEqual([...used].sort(), Object.keys(document.components.schemas).sort());
    assert.doesNotMatch(text, /definitions|\$schema|"const":|"\$id"/);
  });

  test("uses no keyword that OpenAPI 3.0 does not have", () => {
    const visit = (node: Json): void => {
      if (node === null || typeof node !== "object") return;
      assert.ok(!Array.isArray(node.type), "a list of types");
      assert.notEqual(node.type, "null");
      if (node.exclusiveMinimum !== undefined)
        assert.equal(typeof node.exclusiveMinimum, "boolean");
      for (const inner of Object.values(node)) visit(inner);
    };
    visit(document.components.schemas);
    visit(document.paths);
  });

  test("names the codes of every refusal under its status", () => {
    const { responses } = document.paths["/api/v1/{id}/steer"].post;
    assert.match(responses[404].description, /`issue_not_found`/);
    assert.match(responses[409].description, /`no_active_turn`/);
    assert.match(
      responses[403].description,
      /`forbidden_host`, `forbidden_role`, `forbidden_origin`/,
    );
    assert.match(responses[415].description, /`unsupported_media_type`/);
    for (const [path, method, { responses: own }] of operations) {
      for (const status of [400, 401, 403, 500, 503]) assert.ok(own[status], `${method} ${path}`);
    }
  });

  test("documents the stream, the ETag and the bearer token", () => {
    const stream = document.paths["/api/v1/events"].get;
    assert.ok(stream.responses[200].content["text/event-stream"]);
    assert.ok(
      stream.parameters.some((one: Json) => one.in === "header" && one.name === "last-event-id"),
    );
    const state = document.paths["/api/v1/state"].get.responses;
    assert.ok(state[304] && state[200].headers.ETag);
    assert.deepEqual(document.security, [{ bearer: [] }, {}]);
    assert.equal(document.components.securitySchemes.bearer.scheme, "bearer");
  });
});

describe("the contract", () => {
  const routes: [string, Route][] = [...routesOf(api)];

  test("every example of a body passes its own schema", () => {
    const bodies = routes.filter(([, { body }]) => body !== undefined);
    const examples = bodies.flatMap(([name, { body }]) => {
      const example = (body as z.ZodType).meta()?.["example"];
      return example === undefined ? [] : [[name, body, example] as const];
    });
    assert.ok(examples.length >= 6);
    for (const [name, body, example] of examples) {
      assert.ok((body as z.ZodType).safeParse(example).success, name);
    }
  });

  test("has only fields of the body in `audited`", () => {
    for (const [name, { audited = [], body }] of routes) {
      const shape = body !== undefined && "shape" in body ? Object.keys(body.shape as object) : [];
      for (const field of audited) assert.ok(shape.includes(field), `${name} ${field}`);
    }
  });

  test("no two routes share method and path, and groups hold routes alone", () => {
    const keys = routes.map(([, { method, path }]) => `${method} ${path}`);
    assert.equal(new Set(keys).size, keys.length);
    for (const group of Object.values(api)) assert.ok(Object.values(group).every(isRoute));
  });

  test("every group has a description", () => {
    for (const tag of document.tags) assert.ok(tag.description, tag.name);
  });
});
