import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import type { Issue } from "../../../src/core/model/issue.ts";
import {
  continuationPrompt,
  renderPrompt,
  resumePrompt,
  steerPrompt,
} from "../../../src/core/prompt/prompt.ts";
import { RenderThread } from "../../../src/core/prompt/render-thread.ts";
import { issue, linkTo } from "../../support/makers/issue.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

function render(template: string, fields: Partial<Issue> = {}, attempt: number | null = null) {
  return renderPrompt(template, { issue: issue("ENG-1", fields), attempt });
}

async function fault(template: string, fields: Partial<Issue> = {}): Promise<SymphonyError> {
  try {
    await render(template, fields);
  } catch (error) {
    if (error instanceof SymphonyError) return error;
    throw error;
  }
  return assert.fail(`it should have been refused: ${template.slice(0, 80)}`);
}

test("P-1: an unknown variable at any depth fails, also in conditions", async () => {
  for (const template of [
    "{{ missing.x }}",
    "{{ issue.nope }}",
    "{% if issue.nope %}x{% endif %}",
    "{% for l in issue.nope %}{% endfor %}",
    "{{ issue.labels.first.nope }}",
    "{{ issue.branchName }}",
  ]) {
    assert.equal(
      (await fault(template, { labels: ["a"] })).code,
      "template_render_error",
      template,
    );
  }
});

test("P-2: an unknown filter is a render error with its position", async () => {
  const error = await fault("One\nTwo {{ issue.title | nofilter }}");
  assert.equal(error.code, "template_render_error");
  assert.deepEqual(error.details, { line: 2, column: 5 });
  assert.match(error.message, /^line 2, column 5 of the template: undefined filter: nofilter$/);
});

test("P-3: broken syntax is a parse error with its position", async () => {
  const error = await fault("\n{% if issue.identifier %}");
  assert.equal(error.code, "template_parse_error");
  assert.deepEqual(error.details, { line: 2, column: 1 });
  for (const template of [
    "{{ issue.title",
    "{% bogus %}",
    "{% endif %}",
    "{% for x of issue.labels %}{% endfor %}",
  ]) {
    assert.equal((await fault(template)).code, "template_parse_error", template);
  }
});

test("P-4: every field of the issue has its written key", async () => {
  const full: Partial<Issue> = {
    nativeRef: { project: { key: "K" } },
    description: "D",
    priority: 2,
    branchName: "b",
    url: "https://x/1",
    stateType: "unstarted",
    assigneeId: "u",
    assignee: { id: "u", name: "Ada" },
    team: { id: "t", key: "ENG", name: "Engineering" },
    project: { id: "p", slug: "shop", name: "Shop" },
    parent: linkTo(issue("ENG-9")),
    subIssues: [linkTo(issue("ENG-3", { state: "Done" }))],
    labels: ["api", "db"],
    blockedBy: [{ id: "i2", identifier: "ENG-2", title: "B", state: null, url: "https://x/2" }],
    createdAt: 0,
    updatedAt: 1,
  };
  const template = `{{ issue.id }} {{ issue.native_ref.project.key }} {{ issue.identifier }} {{ issue.title }}
{{ issue.description }} {{ issue.priority }} {{ issue.state }} {{ issue.branch_name }} {{ issue.url }}
{{ issue.assignee_id }} {% for l in issue.labels %}[{{ l }}]{% endfor %} {{ issue.dispatchable }}
{% for b in issue.blocked_by %}{{ b.id }}/{{ b.identifier }}/{{ b.title }}/{{ b.state }}/{{ b.url }}{% endfor %}
{{ issue.state_type }} {{ issue.assignee.name }} {{ issue.team.key }} {{ issue.project.slug }} {{ issue.project.name }}
{{ issue.parent.identifier }} {% for s in issue.sub_issues %}{{ s.title }}={{ s.state }}{% endfor %}{{ issue.comments | size }}
{{ issue.created_at }} {{ issue.updated_at }}`;
  assert.equal(
    await render(template, full),
    `id-ENG-1 K ENG-1 Title of ENG-1
D 2 Todo b https://x/1
u [api][db] true
i2/ENG-2/B//https://x/2
unstarted Ada ENG shop Shop
ENG-9 Title of ENG-3=Done0
1970-01-01T00:00:00Z 1970-01-01T00:00:00.001Z`,
  );
});

test("P-4: a known null renders as an empty text and is false", async () => {
  const keys = "description priority branch_name url assignee_id native_ref created_at updated_at";
  for (const key of keys.split(" ")) {
    assert.equal(await render(`[{{ issue.${key} }}{% if issue.${key} %}x{% endif %}]`), "[]", key);
  }
});

test("P-5: attempt is always bound", async () => {
  const template = "{% if attempt %}R{{ attempt }}{% endif %}.";
  assert.equal(await render(template), ".");
  assert.equal(await render(template, {}, 2), "R2.");
});

test("P-6: times are UTC RFC 3339, and nested values render", async () => {
  const createdAt = Date.parse("2026-02-26T20:06:48+02:00");
  assert.equal(await render("{{ issue.created_at }}", { createdAt }), "2026-02-26T18:06:48Z");
  assert.equal(await render("[{{ issue.created_at }}]", { createdAt: Number.NaN }), "[]");
  const nativeRef = {
    at: new Date(createdAt),
    url: new URL("https://x/y"),
    deep: new Map([["k", [Object.create(null)]]]),
  };
  const template =
    "{{ issue.native_ref.at }} {{ issue.native_ref.url }} {{ issue.native_ref }} {{ issue.native_ref.deep.k | json }}";
  const text = await render(template, { nativeRef });
  assert.match(text, /^2026-02-26T18:06:48Z https:\/\/x\/y .* \[\{\}\]$/);
});

test("P-7: a blank template uses the default opening", async () => {
  for (const blank of ["", " \n "]) {
    const text = await render(blank, { description: "Do it" });
    assert.match(text, /^You are working on an issue from the configured tracker\.\n/);
    assert.match(text, /ENG-1[\s\S]*Title of ENG-1[\s\S]*Do it$/);
  }
  for (const description of [null, "", "  \n"]) {
    assert.match(await render("", { description }), /No description provided\.$/);
  }
});

test("P-9: the continuation has turn and maximum and no part of the original prompt", async () => {
  const subject = issue("ENG-1", { description: "CANARY", state: "In Progress\u001b[2J\nforged" });
  const text = continuationPrompt(2, 3, subject);
  assert.match(text, /#2 of 3/);
  assert.match(text, /ENG-1/);
  assert.doesNotMatch(text, /CANARY|Title of|\nforged/);
  assert.equal(text.includes("\u001b"), false);
});

test("a resumed thread is instructed to inspect the workspace first; guidance keeps its order", async () => {
  assert.match(resumePrompt(issue("ENG-1")), /interrupted[\s\S]*workspace/);
  const text = steerPrompt(["First {{ issue.title }}\nand more ", "Second"]);
  assert.match(text, /1\. First \{\{ issue\.title \}\}\nand more\n\n2\. Second$/);
});

test("P-10: templates read no files and no inherited properties", async (t) => {
  const dir = temporaryDir(t);
  writeFileSync(join(dir, "secret"), "CANARY");
  const path = join(mkdtempSync(join(dir, "x-")), "..", "secret");
  for (const tag of ["include", "render", "layout", "block"]) {
    assert.equal((await fault(`{% ${tag} "${path}" %}`)).code, "template_parse_error", tag);
    assert.equal((await fault(`{% ${tag} "/etc/passwd" %}`)).code, "template_parse_error", tag);
  }
  for (const path of [
    "constructor",
    "__proto__",
    "toString",
    "title.constructor",
    "labels.map",
    "labels.constructor.name",
  ]) {
    assert.equal(
      (await fault(`{{ issue.${path} }}`, { labels: ["a"] })).code,
      "template_render_error",
      path,
    );
  }
});

test("P-10: Liquid in an issue's text is text", async () => {
  const title = "{{ attempt }}{% if true %}x{% endif %}{{ nope }}";
  assert.equal(await render("{{ issue.title }}", { title }, 7), title);
  assert.equal(
    await render("{% assign t = issue.title %}{{ t | append: t | strip }}", { title }),
    title + title,
  );
});

test("THREAT-13: text of an issue never becomes an expression", async () => {
  const expressions = [
    "where_exp",
    "find_exp",
    "find_index_exp",
    "group_by_exp",
    "has_exp",
    "reject_exp",
  ];
  for (const filter of expressions) {
    const error = await fault(`{{ issue.labels | ${filter}: "x", issue.title }}`, {
      title: "attempt",
    });
    assert.match(error.message, new RegExp(`undefined filter: ${filter}`));
  }
});

test("THREAT-13: endless templates are stopped", async () => {
  const costly = [
    "{% for i in (1..100000000) %}{% endfor %}",
    "{% for i in (1..999) %}{% for j in (1..999) %}{% for k in (1..999) %}x{% endfor %}{% endfor %}{% endfor %}",
    '{% assign x = "aaaaaaaaaaaaaaaa" %}{% for i in (1..100) %}{% assign x = x | append: x %}{% endfor %}',
    '{{ "now" | date: "%999999999Y" }}',
    '{{ issue.title | replace: "", issue.description }}',
  ];
  for (const template of costly) {
    const error = await fault(template, { description: "d".repeat(200_000) });
    assert.equal(error.code, "template_render_error", template);
    assert.match(error.message, /limit exceeded|took more than 500 ms/);
  }
  const nested = `${"{% if true %}".repeat(20_000)}${"{% endif %}".repeat(20_000)}`;
  assert.equal((await fault(nested)).code, "template_parse_error");
  const deep = `${"{% if true %}".repeat(3_900)}x${"{% endif %}".repeat(3_900)}`;
  try {
    assert.equal(await render(deep), "x");
  } catch (error) {
    assert.ok(error instanceof SymphonyError);
  }
});

test("THREAT-13: a step that never ends fails only its own template, and delays no timer", async () => {
  const endless = `{{ issue.description ${"| url_encode | url_decode ".repeat(3_500)}}}`;
  let ticks = 0;
  const ticking = setInterval(() => ticks++, 20);
  try {
    const stopped = fault(endless, { description: "ab c".repeat(25_000) });
    const behind = render("{{ issue.identifier }}");
    const error = await stopped;
    assert.equal(error.code, "template_render_error");
    assert.match(error.message, /took more than 500 ms/);
    assert.equal(await behind, "ENG-1");
    assert.ok(ticks > 5, `the event loop went on: ${ticks}`);
  } finally {
    clearInterval(ticking);
  }
});

test("THREAT-13: the template thread sees no environment", async () => {
  assert.equal((await fault("{{ process.env }}")).code, "template_render_error");
  assert.equal((await fault("{{ env }}")).code, "template_render_error");
});

test("a template thread that has ended for lack of work is replaced by another", async () => {
  const thread = new RenderThread(0);
  for (const x of ["1", "2", "3"]) {
    const job = { template: "{{ x }}", variables: { x } };
    assert.deepEqual(await Promise.all([thread.render(job), thread.render(job)]), [x, x]);
    await setTimeout(5);
  }
});
