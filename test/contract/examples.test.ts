import assert from "node:assert/strict";
import { test } from "node:test";
import { validate } from "@readme/openapi-parser";
import { ApiDocument, type Json } from "../support/makers/openapi-schemas.ts";

const document = new ApiDocument();

test("an independent validator finds the OpenAPI document valid", async () => {
  const copy = structuredClone(document.json);
  const result: Json = await validate(copy);
  assert.deepEqual(result, { valid: true, warnings: [], specification: "OpenAPI" });
});

test("every request and response body has an example that matches the document's schema", () => {
  let checked = 0;
  for (const { name, spec, pointer } of document.operations) {
    const bodies: [string, Json][] = [
      ["/requestBody", spec.requestBody],
      ...Object.entries<Json>(spec.responses).map(([status, response]): [string, Json] => [
        `/responses/${status}`,
        response,
      ]),
    ];
    for (const [place, body] of bodies) {
      for (const [media, content] of Object.entries<Json>(body?.content ?? {})) {
        if (media === "application/x-www-form-urlencoded") continue;
        const examples = content.examples
          ? Object.values<Json>(content.examples).map(({ value }) => value)
          : [content.example];
        assert.ok(examples.length > 0, `${name} ${place}`);
        for (const example of examples) {
          assert.notEqual(example, undefined, `${name} ${place} has no example`);
          const schema = `${pointer}${place}/content/${media.replace("/", "~1")}/schema`;
          assert.equal(document.faults(schema, example), null, `${name} ${place}`);
          checked += 1;
        }
      }
    }
  }
  assert.ok(checked > 300, `only ${checked} examples`);
});

test("every operation lists its refusals, with an example for each code", () => {
  for (const { name, spec } of document.operations) {
    for (const [status, response] of Object.entries<Json>(spec.responses)) {
      if (Number(status) < 400) continue;
      const named = [...response.description.matchAll(/`(\w+)`/g)].map(([, code]) => code);
      const { examples } = response.content["application/json"];
      assert.deepEqual(Object.keys(examples), named, `${name} ${status}`);
      for (const code of named) assert.equal(examples[code].value.error.code, code);
    }
  }
});
