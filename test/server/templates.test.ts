import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { issue } from "../support/makers/issue.ts";
import { createWorld, type World } from "../support/worlds/core.ts";
import { serve, type TestServer } from "../support/worlds/server.ts";

const post = (body?: unknown) => ({ method: "POST", ...(body !== undefined && { body }) });
const put = (body: unknown) => ({ method: "PUT", body });
const del = { method: "DELETE" };

let world: World;
let server: TestServer;
before(async () => {
  const issues = [issue("ENG-1", { title: "canary-secret" }), issue("ENG-2")];
  world = await createWorld({ issues, local: true });
  server = await serve(world);
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

async function refusal(path: string, ask: Parameters<TestServer["ask"]>[1]) {
  const answer = await server.ask(path, ask);
  return [answer.status, answer.json().error.code];
}

async function made(name: string, body = "Review {{ issue.title }}"): Promise<string> {
  const answer = await server.ask("/api/v1/templates", post({ name, body }));
  assert.equal(answer.status, 201, answer.text);
  return answer.json().id;
}

describe("H-18: templates", () => {
  test("the workflow's template is the first, and read-only", async () => {
    const own = api.templates.detail.reply.parse(
      (await server.ask("/api/v1/templates/workflow")).json(),
    );
    assert.deepEqual(
      [own.id, own.read_only, own.body, own.variables, own.created_at],
      ["workflow", true, "Work on {{ issue.identifier }}", ["issue.identifier"], null],
    );
    const workflow = "/api/v1/templates/workflow";
    assert.deepEqual(await refusal(workflow, put({ body: "x" })), [409, "template_read_only"]);
    assert.deepEqual(await refusal(workflow, del), [409, "template_read_only"]);
  });

  test("are created, read, listed by pages, changed and deleted", async () => {
    const created = await server.ask(
      "/api/v1/templates",
      post({ name: " one ", body: "{{ issue.title }}\n" }),
    );
    assert.equal(created.status, 201);
    const one = api.templates.create.reply.parse(created.json());
    assert.match(one.id, /^tpl_[0-9a-f]{16}$/);
    assert.equal(created.headers.location, `/api/v1/templates/${one.id}`);
    assert.deepEqual([one.name, one.body, one.read_only], ["one", "{{ issue.title }}\n", false]);
    const path = `/api/v1/templates/${one.id}`;
    assert.deepEqual((await server.ask(path)).json(), one);
    const edited = await server.ask(path, put({ name: "uno" }));
    assert.deepEqual([edited.json().name, edited.json().body], ["uno", one.body]);
    const page = api.templates.list.reply.parse(
      (await server.ask("/api/v1/templates?limit=1&offset=1")).json(),
    );
    assert.deepEqual([page.total, page.limit, page.offset], [2, 1, 1]);
    assert.deepEqual(
      page.templates.map(({ name }) => name),
      ["uno"],
    );
    assert.equal((await server.ask("/api/v1/templates?limit=501")).status, 400);
    const gone = await server.ask(path, del);
    assert.deepEqual([gone.status, gone.text], [204, ""]);
    for (const ask of [{}, put({ name: "x" }), del]) {
      assert.deepEqual(await refusal(path, ask), [404, "template_not_found"]);
    }
  });

  test("a body that does not parse is 422 with line and column; a taken name is 409", async () => {
    const broken = await server.ask(
      "/api/v1/templates",
      post({ name: "broken", body: "one\n {% if issue %}" }),
    );
    assert.equal(broken.status, 422);
    const { code, details } = broken.json().error;
    assert.deepEqual([code, details.line, details.column], ["template_parse_error", 2, 2]);
    const id = await made("taken");
    const again = post({ name: "TAKEN", body: "x" });
    assert.deepEqual(await refusal("/api/v1/templates", again), [409, "template_exists"]);
    await server.ask(`/api/v1/templates/${id}`, del);
  });

  test("an invalid name or text is 400", async () => {
    const bodies = [
      {},
      { name: "x" },
      { name: " ", body: "x" },
      { name: "a\nb", body: "x" },
      { name: "x", body: " \n" },
      { name: "x", body: "x".repeat(100_001) },
      { name: "x", body: "x", id: "tpl_1" },
    ];
    for (const body of bodies) {
      const refused = await refusal("/api/v1/templates", post(body));
      assert.deepEqual(refused, [400, "invalid_request"], JSON.stringify(body).slice(0, 80));
    }
  });

  test("S17: a preview takes variables over the sample, an issue or nothing, and shows no known secret", async () => {
    const id = await made("preview", "{{ issue.identifier }}: {{ issue.title }} {{ attempt }}");
    const path = `/api/v1/templates/${id}/preview`;
    const rendered = async (body?: unknown) =>
      api.templates.preview.reply.parse((await server.ask(path, post(body))).json()).rendered;
    assert.match(await rendered(), /^SAMPLE-1: /);
    assert.match(await rendered({}), /^SAMPLE-1: /);
    assert.equal(await rendered({ issue: "eng-1" }), "ENG-1: [redacted] ");
    const variables = { issue: { identifier: "X-1", title: "T" }, attempt: 2 };
    assert.equal(await rendered({ variables }), "X-1: T 2");
    assert.equal(await rendered({ variables: { issue: { title: "T" } } }), "SAMPLE-1: T ");
    assert.deepEqual(await refusal(path, post({ issue: "ENG-404" })), [404, "issue_not_found"]);
    const both = post({ issue: "ENG-1", variables: {} });
    assert.deepEqual(await refusal(path, both), [400, "invalid_request"]);
    const missing = "/api/v1/templates/tpl_x/preview";
    assert.deepEqual(await refusal(missing, post({})), [404, "template_not_found"]);
    await server.ask(`/api/v1/templates/${id}`, del);
  });
});

test("S7, S17: a name that no issue has and an unknown filter are refused with all places, wherever they are given", async () => {
  const body = "{% if attempt %}\n{{ issue.titel }}{% endif %}{{ issue.title | frobnicate }}";
  const refused = await server.ask("/api/v1/templates", post({ name: "strict", body }));
  assert.equal(refused.status, 422);
  const { code, message, details } = refused.json().error;
  assert.equal(code, "template_render_error");
  assert.match(message, /line 2, column 4 of the template: undefined variable: issue\.titel/);
  assert.deepEqual(
    details.problems.map((one: { line: number; column: number }) => [one.line, one.column]),
    [
      [2, 4],
      [2, 46],
    ],
  );
  const id = await made("strict", "{{ issue.labels | join }}");
  const edited = await server.ask(`/api/v1/templates/${id}`, { method: "PUT", body: { body } });
  assert.equal(edited.status, 422);
  await server.ask(`/api/v1/templates/${id}`, del);
});

describe("H-17: the template of an issue", () => {
  test("is chosen for the next attempt, shown, protected from deletion, and cleared", async () => {
    const id = await made("review");
    const chosen = await server.ask("/api/v1/eng-2/template", post({ template_id: id }));
    assert.equal(chosen.status, 200);
    assert.deepEqual(api.templates.choose.reply.parse(chosen.json()), {
      issue_identifier: "ENG-2",
      template_id: id,
      applies: "next_attempt",
    });
    const detail = async () =>
      api.issues.detail.reply.parse((await server.ask("/api/v1/ENG-2")).json());
    assert.equal((await detail()).overrides.template_id, id);
    assert.equal((await detail()).attempts.latest[0]?.template_id, "workflow");
    assert.equal(world.scheduler.records.get("id-ENG-2")?.templateId, id);
    const inUse = await server.ask(`/api/v1/templates/${id}`, del);
    assert.equal(inUse.status, 409);
    assert.equal(inUse.json().error.code, "template_in_use");
    assert.deepEqual(inUse.json().error.details.used_by, ["ENG-2"]);
    await world.scheduler.run("ENG-2").end({ kind: "failed", code: "turn_failed", message: "x" });
    await world.scheduler.advance(10_000);
    assert.equal((await detail()).attempts.latest[0]?.template_id, id);
    for (const _ of [1, 2]) {
      const cleared = await server.ask("/api/v1/ENG-2/template", del);
      assert.deepEqual([cleared.status, cleared.text], [204, ""]);
    }
    assert.equal((await detail()).overrides.template_id, null);
    assert.equal((await server.ask(`/api/v1/templates/${id}`, del)).status, 204);
    const types = world.scheduler.eventTypes("ENG-2");
    assert.equal(types.filter((type) => type === "template.changed").length, 2);
  });

  test("may be chosen for an issue that waits in the tracker", async () => {
    const created = await server.ask("/api/v1/issues", post({ title: "Later" }));
    const name = created.json().identifier;
    const path = `/api/v1/${name}/template`;
    assert.equal((await server.ask(path, post({ template_id: "workflow" }))).status, 200);
    assert.equal((await server.ask(`/api/v1/${name}`)).json().overrides.template_id, "workflow");
    assert.equal((await server.ask(path, del)).status, 204);
  });

  test("is 404 for an unknown issue or template, and 400 for a bad body", async () => {
    const choose = post({ template_id: "workflow" });
    assert.deepEqual(await refusal("/api/v1/ENG-404/template", choose), [404, "issue_not_found"]);
    assert.deepEqual(await refusal("/api/v1/ENG-404/template", del), [404, "issue_not_found"]);
    const unknown = post({ template_id: "tpl_x" });
    assert.deepEqual(await refusal("/api/v1/ENG-1/template", unknown), [404, "template_not_found"]);
    assert.deepEqual(await refusal("/api/v1/ENG-1/template", post({})), [400, "invalid_request"]);
  });
});

test("is accepted by a route by its id or by its name in any case", async () => {
  const id = await made("By Name");
  const other = await made(id.toUpperCase());
  const read = async (name: string) => (await server.ask(`/api/v1/templates/${name}`)).json().id;
  assert.deepEqual([await read("by%20name"), await read("Workflow")], [id, "workflow"]);
  assert.deepEqual([await read(id), await read(id.toUpperCase())], [id, other], "the id wins");
  const byName = "/api/v1/templates/BY%20NAME";
  const preview = await server.ask(`${byName}/preview`, post({ variables: {} }));
  assert.match(preview.json().rendered, /^Review /);
  const chosen = await server.ask("/api/v1/ENG-2/template", post({ template_id: "by name" }));
  assert.deepEqual([chosen.status, chosen.json().template_id], [200, id], chosen.text);
  assert.deepEqual(await refusal(byName, del), [409, "template_in_use"]);
  assert.equal((await server.ask("/api/v1/ENG-2/template", del)).status, 204);
  assert.equal((await server.ask(byName, put({ body: "Twice" }))).json().body, "Twice");
  assert.equal((await server.ask(byName, del)).status, 204);
  assert.equal((await server.ask(`/api/v1/templates/${other}`, del)).status, 204);
  assert.deepEqual(await refusal("/api/v1/templates/WORKFLOW", del), [409, "template_read_only"]);
});
