import assert from "node:assert/strict";
import { test } from "node:test";
import { commitMessage, framed, pullRequestTexts } from "../../../src/core/delivery/wording.ts";
import { createRedactor } from "../../../src/core/text/redact.ts";
import { config, issue } from "../../support/makers/issue.ts";

const redact = (text: string) => text;

test("DELIVERY-36: the text stands at the end of the template's first section", () => {
  const frame =
    "<!-- ## not a heading\n## nor this -->\n## What\n\n```sh\n# a comment\n```\n## How\n";
  assert.equal(
    framed("Done.", frame),
    "<!-- ## not a heading\n## nor this -->\n## What\n\n```sh\n# a comment\n```\n\nDone.\n\n## How",
  );
  assert.equal(framed("Done.", "# One\r\n- [ ] tests"), "# One\n- [ ] tests\n\nDone.");
  assert.equal(framed("Done.", "- [ ] tests\n"), "Done.\n\n- [ ] tests");
  assert.equal(framed("Done.", " \n"), "Done.");
  assert.equal(framed("Done.", null), "Done.");
});

test("DELIVERY-36: delivery.sign_off ends the message with the author's trailer, once", async () => {
  const author = { name: "Ada", email: "ada@example.com" };
  const told = {
    issue: issue("A-1", { title: "Greet" }),
    summary: null,
    branch: "b",
    author,
    redact,
  };
  const message = (commitTemplate: string, signOff = true) =>
    commitMessage(config({ delivery: { commitTemplate, signOff } }), told);
  const trailer = "Signed-off-by: Ada <ada@example.com>";
  assert.equal(await message("{{ issue.title }}"), `Greet\n\n${trailer}\n`);
  assert.equal(await message("fix: it"), `fix: it\n\n${trailer}\n`);
  assert.equal(await message("a\n\nIssue: A-1"), `a\n\nIssue: A-1\n${trailer}\n`);
  assert.equal(await message(`a\n\n${trailer}`), `a\n\n${trailer}\n`);
  assert.equal(await message("a", false), "a\n");
});

test("DELIVERY-36: a title that the site would refuse is never sent: it has letters, one line and a length", async () => {
  const titled = async (titleTemplate: string, title: string, summary: string | null = null) => {
    const marker = "<!-- m -->";
    const told = { issue: issue("A-1", { title }), summary, branch: "b", marker, redact };
    const texts = await pullRequestTexts(
      config({ delivery: { titleTemplate, bodyTemplate: null } }),
      { ...told, frame: null },
    );
    return texts.title;
  };
  for (const [template, title] of [
    [" ", "x"],
    ["{{ issue.title }}", "\u200b\u2060 "],
    ["{{ issue.description }}", "x"],
    ["\n\t{% comment %}nothing{% endcomment %}", "x"],
  ] as const) {
    assert.equal(await titled(template, title), "A-1");
  }
  const long = await titled("{{ work.summary }}", "x", `first\nsecond ${"ü😀".repeat(200)}`);
  assert.match(long, /^first second ü/);
  assert.ok(long.length <= 200 && long.isWellFormed(), long);
  assert.doesNotMatch(
    await titled("fix: {{ issue.title }}", "for @ada, closes #1"),
    /@ada|closes #1/,
  );
  const author = { name: "Ada", email: "ada@example.com" };
  const told = { issue: issue("A-1", { title: "x" }), summary: null, branch: "b", author, redact };
  const empty = config({ delivery: { commitTemplate: "{{ issue.description }}", signOff: false } });
  assert.equal(await commitMessage(empty, told), "A-1\n");
});

test("THREAT-3: no secret is in a pull request or a commit message, also where a part of it looks like a reference", async () => {
  const redactor = createRedactor();
  const secret = "pass-1 @phrase #2";
  redactor.add(secret);
  const written = issue("A-1", { title: `Log in with ${secret}`, labels: [secret] });
  const told = {
    issue: { ...written, description: `It is ${secret}.` },
    ...{ summary: `Used ${secret}`, branch: "b", redact: (text: string) => redactor.redact(text) },
  };
  const every = "{{ issue.title }} {{ issue.description }} {{ issue.labels }} {{ work.summary }}";
  const delivery = {
    ...{ titleTemplate: every, bodyTemplate: every, commitTemplate: every, signOff: false },
  };
  const frame = { marker: "<!-- m -->", frame: null };
  const { title, body } = await pullRequestTexts(config({ delivery }), { ...told, ...frame });
  const author = { name: "Ada", email: "ada@example.com" };
  const message = await commitMessage(config({ delivery }), { ...told, author });
  const visible = "Log in with [redacted] It is [redacted]. [redacted] Used [redacted]";
  assert.equal(title, visible);
  assert.ok(body.includes(visible), body);
  assert.equal(message, `${visible}\n`);
});
