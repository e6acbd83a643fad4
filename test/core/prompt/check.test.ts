// Row S7 of the cases of configuration: a prompt is checked as a whole before it is used.

import assert from "node:assert/strict";
import { test } from "node:test";
import { faultsIn } from "../../../src/core/prompt/check.ts";
import { fill } from "../../../src/core/prompt/liquid.ts";
import {
  deliveryVariables,
  promptVariables,
  variablesOf,
} from "../../../src/core/prompt/variables.ts";
import { issue, linkTo } from "../../support/makers/issue.ts";

function faults(source: string, variables = promptVariables): readonly string[] {
  return faultsIn(source, variables).map(
    ({ code, line, column, message }) =>
      `${code === "template_parse_error" ? "syntax" : "name"} ${line}:${column} ${message}`,
  );
}

test("S7: the prompts of the row are refused with the place of every fault", () => {
  const open = "{% if issue.title %} never closed";
  assert.deepEqual(faults(open), ["syntax 1:1 tag {% if issue.title %} not closed"]);
  assert.deepEqual(faults("One\n {{ x | frobnicate }}"), [
    "name 2:5 undefined variable: x; known: issue, attempt",
    "name 2:9 undefined filter: frobnicate",
  ]);
  const loop = "{% for blocker in issue.blocked_by %}\n- {{ blocker.titel }}\n{% endfor %}";
  assert.match(faults(loop).join(), /^name 2:6 undefined variable: blocker\.titel; /);
});

const refused: readonly (readonly [string, readonly RegExp[]])[] = [
  ["{{ issue.branchName }}", [/^name 1:4 .*did you mean issue\.branch_name\?$/]],
  ["{{ isue.title }}{{ issue.title.x }}", [/did you mean issue\?/, /issue\.title has size/]],
  ["{% if issue.nope or fo == 1 %}{% endif %}", [/1:7 .*issue\.nope/, /1:21 .*variable: fo/]],
  ["{{ b }}{% for b in issue.labels %}{{ b }}{% endfor %}{{ b.x }}", [/1:4 /, /1:57 /]],
  ["{% for l in issue.labels %}{% else %}{{ l }}{% endfor %}", [/1:41 .*variable: l;/]],
  ["{% for l in issue.labels limit: lim %}{{ forloop.indx }}{% endfor %}", [/lim/, /index\?/]],
  ["{% assign b = issue.blocked_by | first %}{{ b.nope }}", [/b has /]],
  ["{{ b }}{% assign b = 1 %}{{ b }}", [/1:4 .*variable: b/]],
  ["{% capture c %}{{ q }}{% endcapture %}{{ c }}", [/1:19 .*variable: q/]],
  ["{{ issue.blocked_by | map: 'identifer' }}", [/1:28 .*did you mean identifier\?/]],
  ["{{ 'a' | append: zed }}{% cycle 'a', zed %}", [/zed/, /zed/]],
  ["{% case attempt %}{% when foo %}{{ issue.x }}{% endcase %}", [/foo/, /issue\.x/]],
  ["{% liquid\n assign x = issue.foo\n echo x | bar\n%}", [/2:13 /, /3:11 .*filter: bar/]],
  ["{{ issue.labels[zed] }}{{ issue['titel'] }}", [/zed/, /issue\.titel/]],
  ["{% include 'x' %}{{ 1 | where_exp: 'a', 'b' }}", [/tag "include"/, /filter: where_exp/]],
  ["{% if issue.id %}{% bogus %}{% else %}{{ nope }}{% endif %}", [/"bogus"/, /nope/]],
  ["{{ | }}{% assign %}{{}}", [/1:4 /, /expected variable name/, /1:22 /]],
  ["{{ issue.title", [/^syntax 1:1 .*not closed/]],
  ["{{ work.summary }}", [/variable: work/]],
];

test("S7: unknown names, filters and tags are found in every tag, in the order of the text", () => {
  for (const [source, expected] of refused) {
    const found = faults(source);
    assert.equal(found.length, expected.length, `${source}\n${found.join("\n")}`);
    for (const [at, pattern] of expected.entries()) assert.match(found[at] ?? "", pattern, source);
  }
});

const usable = [
  "{{ issue }} {{ issue.labels.size }} {{ issue.title.size }} {{ issue.native_ref.any.thing }}",
  "{% for b in issue.blocked_by %}{{ forloop.index }} {{ b.identifier }} {{ b['state'] }}{% endfor %}",
  "{% if attempt %}{% assign v = 1 %}{% else %}{% assign v = 'a' %}{% endif %}{{ v }}",
  "{% assign open = issue.blocked_by | where: 'state', 'Todo' %}{% for b in open %}{{ b.id }}{% endfor %}",
  "{% for i in (1..3) offset: continue %}{{ i }}{% endfor %}{% increment n %}{{ n }}",
  "{{ issue.title | split: ' ' | first | upcase }} {{ nil }} {{ issue.description == blank }}",
  "{{ issue.parent.title }} {% for c in issue.comments %}{{ c.author }} {{ c.created_at }}{% endfor %}",
  "{% raw %}{{ nope }}{% endraw %}{% comment %}{{ nope }}{% endcomment %}{% cycle 'a', 'b' %}",
  "{% capture c %}{{ issue.state }}{% endcapture %}{{ c | size }} {{ c.size }}",
  "{% unless issue.url %}{{ issue.created_at | date: '%Y' }}{% endunless %}",
  "{% for pair in issue.native_ref %}{{ pair[0] }} {{ pair.first }}{% endfor %}",
];

test("S7: what the check accepts is rendered, for an issue that has every field", () => {
  const full = issue("ENG-1", {
    nativeRef: { any: { thing: 1 } },
    blockedBy: [linkTo(issue("ENG-2"))],
    parent: linkTo(issue("ENG-3")),
    labels: ["a"],
    createdAt: 0,
  });
  for (const source of usable) {
    assert.deepEqual(faults(source), [], source);
    fill(source, { issue: { ...variablesOf(full), comments: [] }, attempt: 1 });
  }
  assert.deepEqual(faults("{{ work.summary }} {{ work.branch }}", deliveryVariables), []);
  assert.match(faults("{{ work.sumary }}", deliveryVariables).join(), /work\.summary\?/);
});

test("S7: a template with very many faults is answered with the first ones", () => {
  for (const source of ["{{a}}", "{%x%}", "{%if a%}"]) {
    assert.equal(faultsIn(source.repeat(4_000), promptVariables).length, 20, source);
  }
  const long = "x".repeat(100_001);
  assert.match(faults(long).join(), /100000 characters/);
});
