import assert from "node:assert/strict";
import { readdirSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { PromptText } from "../../../src/core/config/chain.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import type { EventDraft } from "../../../src/core/model/event.ts";
import type { Input } from "../../../src/core/orchestrator/messages.ts";
import { Templates } from "../../../src/core/prompt/templates.ts";
import { openTemplates } from "../../../src/core/store/templates.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { coded, temporaryDir } from "../../support/makers/storage.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

async function openIn(
  dir: string,
  scheduler = new Scheduler([]),
  prompts: ReadonlyMap<string, PromptText> = new Map(),
) {
  const events: EventDraft[] = [];
  const templates = new Templates({
    store: { templates: await openTemplates(dir) },
    clock: scheduler.clock,
    config: {
      current: {
        promptAt: { file: "/srv/WORKFLOW.md", line: 1, column: 1 },
        promptTemplate: "Work on {{ issue.identifier }}",
        prompts,
      },
    },
    bus: { publish: (event) => events.push(event) },
    redactor: { redact: (text) => text.replaceAll("sk-canary", "[redacted]") },
    orchestrator: () => scheduler.orchestrator,
  });
  return { templates, events };
}

test("named templates are on disk before the call returns, and exist after reopening", async (t) => {
  const dir = temporaryDir(t);
  const first = await openIn(dir);
  const review = await first.templates.create("Review", "Review {{ issue.title }}");
  const other = await first.templates.create("Other", "Other");
  await first.templates.edit(review.id, { name: "review" });
  await first.templates.remove(other.id);
  const again = await openIn(dir);
  assert.deepEqual(again.templates.all(), first.templates.all());
  assert.deepEqual(
    again.templates.all().map(({ name, body, readOnly }) => [name, body, readOnly]),
    [
      ["workflow", "Work on {{ issue.identifier }}", true],
      ["review", "Review {{ issue.title }}", false],
    ],
  );
  for (const file of readdirSync(dir))
    assert.equal(statSync(join(dir, file)).mode & 0o077, 0, file);
  assert.deepEqual(
    first.events.map(({ type, data }) => [type, data?.["change"], data?.["name"]]),
    [
      ["template.changed", "created", "Review"],
      ["template.changed", "created", "Other"],
      ["template.changed", "edited", "review"],
      ["template.changed", "deleted", "Other"],
    ],
  );
});

test("FAULT-10: a damaged document is refused, never loaded as empty", async (t) => {
  const dir = temporaryDir(t);
  const { templates } = await openIn(dir);
  await templates.create("a", "A");
  writeFileSync(join(dir, "templates.json"), "");
  await assert.rejects(openTemplates(dir), coded("storage_corrupt", /templates\.json/));
});

test("FAULT-9: a failed write changes nothing, and the next one works", async (t) => {
  const dir = temporaryDir(t);
  const { templates } = await openIn(dir);
  const { id } = await templates.create("a", "A");
  const before = templates.all();
  renameSync(dir, `${dir}-away`);
  await assert.rejects(templates.create("b", "B"), coded("storage_unavailable"));
  await assert.rejects(templates.remove(id), coded("storage_unavailable"));
  assert.deepEqual(templates.all(), before);
  renameSync(`${dir}-away`, dir);
  await templates.create("b", "B");
  assert.equal((await openTemplates(dir)).all().length, 2);
});

test("concurrent changes are made one after the other: none is lost, no name is taken twice", async (t) => {
  const dir = temporaryDir(t);
  const { templates } = await openIn(dir);
  const made = await Promise.allSettled([
    ...Array.from({ length: 20 }, (_, n) => templates.create(`t${n}`, `{{ issue.title }} ${n}`)),
    templates.create("T7", "again"),
  ]);
  const refused = made.filter(({ status }) => status === "rejected");
  assert.equal(refused.length, 1);
  assert.equal((await openTemplates(dir)).all().length, 20);
});

test("a body that does not parse is refused with line and column, and is not kept", async (t) => {
  const { templates } = await openIn(temporaryDir(t));
  const place = (code: string, line: number) => (error: unknown) =>
    error instanceof SymphonyError && error.code === code && error.details["line"] === line;
  await assert.rejects(
    templates.create("x", "one\n{% if issue %}"),
    place("template_parse_error", 2),
  );
  await assert.rejects(
    templates.create("x", "{{ issue.title | nofilter }}"),
    place("template_render_error", 1),
  );
  const { id } = await templates.create("x", "fine");
  await assert.rejects(templates.edit(id, { body: "{{" }), place("template_parse_error", 1));
  assert.equal(templates.get(id).body, "fine");
});

test("prompts of tracker states are templates of their own, read-only, and no other has such a name", async (t) => {
  const at = { file: "/srv/review.md", line: 1, column: 1 };
  const prompts = new Map([["review", { text: "Review {{ issue.title }}", at }]]);
  const { templates } = await openIn(temporaryDir(t), new Scheduler([]), prompts);
  assert.deepEqual(
    templates.all().map(({ id, readOnly }) => [id, readOnly]),
    [
      ["workflow", true],
      ["workflow:review", true],
    ],
  );
  const variables = { issue: { title: "T" } };
  assert.equal(await templates.preview("Workflow:Review", { variables }), "Review T");
  const edit = templates.edit("workflow:review", { body: "x" });
  await assert.rejects(edit, { code: "template_read_only", hint: /config get prompts/ });
  await assert.rejects(templates.create("Workflow:Other", "x"), { code: "template_exists" });
});

test("S7: a stored template of an earlier version that no attempt could use is told at the start", async (t) => {
  const dir = temporaryDir(t);
  const { templates } = await openIn(dir);
  await templates.create("good", "{{ issue.title }}");
  const { id } = await templates.create("old", "{{ issue.title }}");
  await (await openTemplates(dir)).change((all) =>
    all.map((one) => (one.id === id ? { ...one, body: "{{ issue.titel }}" } : one)),
  );
  const again = await openIn(dir);
  const [line, ...others] = await again.templates.unusable();
  assert.match(line ?? "", /^template old cannot be used: line 1, column 4 .*issue\.titel/);
  assert.deepEqual(others, []);
});

test("names are unique in any case, and `workflow` is taken and read-only", async (t) => {
  const { templates } = await openIn(temporaryDir(t));
  const a = await templates.create("Alpha", "A");
  const b = await templates.create("Beta", "B");
  await assert.rejects(templates.create("ALPHA", "x"), { code: "template_exists" });
  await assert.rejects(templates.create("Workflow", "x"), { code: "template_exists" });
  await assert.rejects(templates.edit(b.id, { name: "alpha" }), { code: "template_exists" });
  assert.equal((await templates.edit(a.id, { name: "alpha" })).name, "alpha");
  await assert.rejects(templates.edit("workflow", {}), { code: "template_read_only" });
  await assert.rejects(templates.remove("workflow"), { code: "template_read_only" });
  await assert.rejects(templates.edit("tpl_x", {}), { code: "template_not_found" });
  await assert.rejects(templates.remove("tpl_x"), { code: "template_not_found" });
});

test("P-1, S17: a preview uses sample data under the given variables, and shows no known secret", async (t) => {
  const { templates } = await openIn(temporaryDir(t));
  const body = "{{ issue.identifier }} {{ issue.title }} {{ attempt }}";
  const { id } = await templates.create("x", body);
  const sample = await templates.preview(id, { variables: {} });
  assert.match(sample, /^SAMPLE-1 \S.* $/);
  const comments = () => Promise.reject(new Error("the template does not use them"));
  const own = { issue: issue("ENG-1", { title: "sk-canary" }), attempt: 2, comments };
  assert.equal(await templates.preview(id, own), "ENG-1 [redacted] 2");
  assert.match(await templates.preview(id, { variables: { attempt: 3 } }), /3$/);
  const one = { issue: JSON.parse('{"title": "x", "__proto__": {"title": 1}, "labels": ["a"]}') };
  assert.equal(await templates.preview(id, { variables: one }), "SAMPLE-1 x ");
  assert.equal(({} as { title?: unknown }).title, undefined);
  await assert.rejects(templates.preview("tpl_x", { variables: {} }), {
    code: "template_not_found",
  });
});

test("the variables of a body are the paths that it reads from its context", async (t) => {
  const { templates } = await openIn(temporaryDir(t));
  const variables = (body: string) => templates.variablesOf({ ...templates.get("workflow"), body });
  const body =
    "{% assign x = issue.title %}{{ x }} {{ issue.labels[0] }} {% for b in issue.blocked_by %}{{ b.id }}{% endfor %}{{ attempt }}";
  assert.deepEqual(await variables(body), [
    "attempt",
    "issue.blocked_by",
    "issue.labels",
    "issue.title",
  ]);
  assert.deepEqual(await variables("{{"), []);
  assert.ok(
    (await variables(" ")).includes("issue.description"),
    "a blank one stands for the default",
  );
});

const chosen = (templateId: string | null): Input => ({
  type: "operator.templateChosen",
  issue: issue("A-1"),
  templateId,
});

test("R-1: an override applies to the next attempt, not to the live one, and outlives a restart", async () => {
  const world = await new Scheduler([issue("A-1")]).begin();
  await world.orchestrator.apply(chosen("tpl_a"));
  assert.equal(world.run("A-1").order.templateId, "workflow");
  assert.equal(world.records.get("id-A-1")?.templateId, "tpl_a");
  await world.run("A-1").end({ kind: "failed", code: "turn_failed", message: "boom" });
  await world.advance(10_000);
  assert.equal(world.runs.length, 2);
  assert.equal(world.run("A-1").order.templateId, "tpl_a");
  assert.deepEqual(
    [...world.attempts.values()].map(({ templateId }) => templateId),
    ["workflow", "tpl_a"],
  );
  const next = await new Scheduler([issue("A-1")], config(), world.records).begin();
  await next.advance(10_000);
  assert.equal(next.run("A-1").order.templateId, "tpl_a");
  await next.orchestrator.apply(chosen(null));
  assert.equal(next.records.get("id-A-1")?.templateId ?? null, null);
});

test("R-1: an override alone is kept while its issue comes and goes, and is reported once", async () => {
  const world = await new Scheduler([]).begin();
  await world.orchestrator.apply(chosen("tpl_a"));
  await world.orchestrator.apply(chosen("tpl_a"));
  assert.deepEqual(world.eventTypes("A-1"), ["template.changed"]);
  world.set(issue("A-1"));
  await world.advance(30_000);
  assert.deepEqual(world.live, ["A-1"]);
  world.issues.delete("id-A-1");
  await world.advance(30_000);
  await world.run("A-1").end({ kind: "stopped" });
  assert.deepEqual(world.live, []);
  assert.equal(world.records.get("id-A-1")?.templateId, "tpl_a");
  await world.orchestrator.apply(chosen(null));
  assert.equal(world.records.has("id-A-1"), false);
});

test("a template is not deleted while an issue overrides with it, nor chosen while it is deleted", async (t) => {
  const scheduler = await new Scheduler([issue("A-1")]).begin();
  const { templates } = await openIn(temporaryDir(t), scheduler);
  const { id } = await templates.create("x", "X");
  await templates.choose(issue("A-1"), id);
  await assert.rejects(templates.remove(id), (error) => {
    assert.ok(error instanceof SymphonyError);
    assert.deepEqual(error.details["usedBy"], ["A-1"]);
    return error.code === "template_in_use";
  });
  await templates.clear(issue("A-1"));
  const removed = templates.remove(id);
  await assert.rejects(templates.choose(issue("A-1"), id), { code: "template_not_found" });
  await removed;
  assert.equal(templates.overrideOf("id-A-1"), null);
  await templates.clear(issue("A-1"));
});
