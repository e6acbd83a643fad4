import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { get } from "node:http";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { ApiDocument, type Json, type Operation } from "../support/makers/openapi-schemas.ts";
import { allowedBy, nearMissesOf } from "../support/makers/schema-arbitrary.ts";
import { delivery, githubDelivery } from "../support/makers/webhook.ts";
import { type LivingServer, livingServer } from "../support/worlds/living-server.ts";
import type { Answer } from "../support/worlds/server.ts";

const seed = Number(process.env["CONTRACT_SEED"] ?? randomInt(2 ** 31));
const runs = 15;
const document = new ApiDocument();

/** Routes that answer 400 for reasons that their schema cannot express. */
const semantics: ReadonlySet<string> = new Set([
  // States and blockers must exist in this tracker.
  "issues.create",
  "issues.edit",
  // An effort without a model.
  "issues.model",
  // An Issue event must name its issue.
  "webhooks.linear",
]);

/** The refusal that even a valid request gets here: no question waits, nothing is delivered, no workspace has a repository. */
const refusals: Readonly<Record<string, string>> = {
  "issues.respond": "nothing_asked",
  "issues.deliver": "nothing_to_deliver",
  "git.diff": "no_repository",
  "workspaces.restore": "workspace_not_found",
  "issues.move": "no_fleet",
  "workers.invite": "no_fleet",
  "workers.cordon": "no_fleet",
  "workers.remove": "no_fleet",
};

/** Path parameters that exist; an edit may end an issue, and abort needs a separate agent. */
const real: Readonly<Record<string, () => string>> = {
  "issues.abort id": () => "ENG-124",
  "issues.edit id": () => "ENG-3",
  "attempts.detail aid": () => living.attemptId,
  "secrets.put key": () => "NEW_KEY",
  "secrets.remove key": () => "OLD_KEY",
  "tokens.remove name": () => "ada",
  "workspaces.remove key": () => "ENG-1",
  "config.removeFromOverlay path": () => "agent.max_turns",
};

/** Bodies for success where the documented example does not suit this server. */
const fitting: Readonly<Record<string, () => Json>> = {
  "templates.choose": () => ({ template_id: "workflow" }),
  "issues.transition": () => ({ to: "held" }),
  "webhooks.linear": () => ({
    ...document.operation("webhooks.linear").spec.requestBody.content["application/json"].example,
    webhookTimestamp: Date.now(),
  }),
};

let living: LivingServer;
before(async () => {
  living = await livingServer();
});
after(() => living[Symbol.asyncDispose]());

interface Ask {
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, unknown>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Json;
}

/** Operations that remove something come last, so that the others still find it. */
const operations = [...document.operations].sort((a, b) => rank(a) - rank(b));

function rank({ name, method }: Operation): number {
  if (name === "config.replaceOverlay") return 3;
  if (name === "issues.abort" || name === "issues.transition") return 1;
  return method === "DELETE" ? 2 : 0;
}

for (const operation of operations) {
  const { name, method, path } = operation;
  test(`${method} ${path} conforms to the document (seed ${seed})`, async () => {
    const first = await send(operation, documented(operation));
    keepsTo(operation, first);
    const refusal = refusals[name];
    const asExpected =
      refusal === undefined ? first.status < 300 : first.json().error.code === refusal;
    assert.ok(asExpected, `its own example: ${first.status} ${first.text}`);
    await fc.assert(
      fc.asyncProperty(allowed(operation), async (ask) => {
        const answer = await send(operation, ask);
        keepsTo(operation, answer);
        if (!semantics.has(name)) assert.notEqual(answer.status, 400, answer.text);
      }),
      { seed, numRuns: runs },
    );
    const misses = refused(operation);
    if (misses === null) return;
    await fc.assert(
      fc.asyncProperty(misses, async (ask) => {
        const answer = await send(operation, ask);
        keepsTo(operation, answer);
        assert.ok([400, 401, 413].includes(answer.status), `${answer.status} ${answer.text}`);
      }),
      { seed, numRuns: runs },
    );
  });
}

test("the server still works after all requests", async () => {
  const { status } = await living.server.ask("/api/v1/runtime");
  assert.equal(status, 200);
  const failures = living.server.logged.filter((line) => line.includes("request failed"));
  assert.deepEqual(failures, []);
});

/** The status and everything in the body are documented. */
function keepsTo({ name, spec, pointer }: Operation, answer: Answer): void {
  const { status, text, headers } = answer;
  assert.notEqual(status, 500, text);
  const response = spec.responses[status];
  assert.ok(response, `${name} answers ${status}, which is not documented: ${text}`);
  assert.ok(headers["x-request-id"]);
  const [media] = Object.keys(response.content ?? {});
  if (media === undefined) {
    assert.equal(text, "");
    return;
  }
  assert.equal(headers["content-type"]?.split(";")[0], media);
  if (media !== "application/json") return;
  const schema = `${pointer}/responses/${status}/content/application~1json/schema`;
  assert.equal(document.faults(schema, answer.json()), null, `${name} ${status} ${text}`);
  const code: string | undefined = answer.json().error?.code;
  if (status >= 400) assert.ok(response.description.includes(`\`${code}\``), `${name} ${code}`);
}

/** The request from the document's examples, with names that exist on this server. */
function documented({ name, spec }: Operation): Ask {
  const params = Object.fromEntries(
    of(spec, "path").map((one): [string, string] => [one.name, realName(name, one.name)]),
  );
  const example = spec.requestBody?.content["application/json"].example;
  const body = fitting[name]?.() ?? example;
  return { params, query: {}, headers: {}, ...(body !== undefined && { body }) };
}

function realName(operation: string, name: string): string {
  const found = real[`${operation} ${name}`];
  if (found) return found();
  return operation.startsWith("templates.") && !/choose|clear/.test(operation)
    ? living.templateId
    : "ENG-123";
}

function of(spec: Json, place: string): Json[] {
  return spec.parameters.filter((one: Json) => one.in === place);
}

function allowed(operation: Operation): fc.Arbitrary<Ask> {
  const { name, spec, pointer } = operation;
  const { json } = document;
  const part = (place: string, keep: (value: string) => boolean) => {
    const fields = of(spec, place).map((one) => {
      const at = `${pointer}/parameters/${spec.parameters.indexOf(one)}/schema`;
      const made = allowedBy(one.schema, json)
        .filter((value) => document.faults(at, value) === null)
        .filter((value) => Array.isArray(value) || keep(String(value)));
      const accepted = place === "path" ? fc.constant(0).map(() => realName(name, one.name)) : made;
      return [one.name, place === "path" ? fc.oneof(accepted, made) : made];
    });
    const required = place === "path" ? {} : { requiredKeys: [] };
    return fc.record(Object.fromEntries(fields), required);
  };
  return fc.record({
    params: part("path", (value) => !/^(\.{1,2}|[a-z.]+)$/.test(value)),
    query: part("query", () => true),
    headers: part("header", (value) => /^[\x21-\x7e]+$/.test(value)),
    ...(spec.requestBody && { body: bodies(operation) }),
  }) as fc.Arbitrary<Ask>;
}

function bodies({ spec, pointer }: Operation): fc.Arbitrary<Json> {
  const at = `${pointer}/requestBody/content/application~1json/schema`;
  const { schema } = spec.requestBody.content["application/json"];
  return allowedBy(schema, document.json).filter((value) => document.faults(at, value) === null);
}

/** Requests with one part that its schema does not allow; null when no part can be wrong. */
function refused(operation: Operation): fc.Arbitrary<Ask> | null {
  const { spec, pointer } = operation;
  const wishes: fc.Arbitrary<Ask>[] = [];
  const accepted = fc.constant(0).map(() => documented(operation));
  if (spec.requestBody) {
    const at = `${pointer}/requestBody/content/application~1json/schema`;
    const misses = nearMissesOf(bodies(operation)).filter(
      (value) => document.faults(at, value) !== null,
    );
    wishes.push(fc.tuple(accepted, misses).map(([ask, body]) => ({ ...ask, body })));
  }
  const junk = ["abc", "-1", "1.5", "501x", "x".repeat(600)];
  for (const one of [...of(spec, "query"), ...of(spec, "path")]) {
    const at = `${pointer}/parameters/${spec.parameters.indexOf(one)}/schema`;
    const wrong = junk.filter((value) => document.faults(at, read(one.schema, value)) !== null);
    if (wrong.length === 0) continue;
    const part = one.in === "path" ? "params" : "query";
    wishes.push(
      fc
        .tuple(accepted, fc.constantFrom(...wrong))
        .map(([ask, value]) => ({ ...ask, [part]: { ...ask[part], [one.name]: value } })),
    );
  }
  return wishes.length === 0 ? null : fc.oneof(...wishes);
}

/** A parameter's text as OpenAPI reads it. */
function read(schema: Json, value: string): unknown {
  if (schema.type === "array") return [value];
  return schema.type === "integer" && /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value;
}

async function send({ name, method, path, spec }: Operation, ask: Ask): Promise<Answer> {
  const filled = path.replaceAll(/\{(\w+)\}/g, (_, key) =>
    encodeURIComponent(ask.params[key] ?? ""),
  );
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(ask.query)) {
    for (const one of Array.isArray(value) ? value : [value]) query.append(key, String(one));
  }
  const to = query.size === 0 ? filled : `${filled}?${query}`;
  if (spec.responses[200]?.content?.["text/event-stream"]) return opening(to, ask.headers);
  if (name === "webhooks.linear") return living.server.ask(to, delivery(JSON.stringify(ask.body)));
  if (name === "webhooks.github") {
    return living.server.ask(to, githubDelivery(JSON.stringify(ask.body)));
  }
  const headers = { ...ask.headers };
  const text = ask.body === undefined ? undefined : JSON.stringify(ask.body);
  if (text !== undefined) headers["content-type"] = "application/json";
  return living.server.ask(to, { method, headers, ...(text !== undefined && { body: text }) });
}

/** A stream does not end: its head is the answer, unless the request is refused. */
async function opening(path: string, headers: Readonly<Record<string, string>>): Promise<Answer> {
  const request = get(`${living.server.url}${path}`, { headers, agent: false });
  const [response] = await once(request, "response");
  const { statusCode: status } = response;
  const text = status === 200 ? "" : (await response.setEncoding("utf8").toArray()).join("");
  if (status === 200) request.destroy();
  return { status, headers: response.headers, text, json: () => JSON.parse(text) };
}
