import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { withEdited } from "../../src/commands/input.ts";
import { api } from "../../src/contract/api.ts";
import { issue } from "../support/makers/issue.ts";
import { createWorld, type World } from "../support/worlds/core.ts";
import { emptyDir, type RunOptions, symphony } from "../support/worlds/run-symphony.ts";
import { serve, type TestServer } from "../support/worlds/server.ts";

let world: World;
let server: TestServer;
before(async () => {
  world = await createWorld({ issues: [issue("ENG-1")] });
  server = await serve(world);
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

function run(args: readonly string[], options: RunOptions = {}) {
  const env = { SYMPHONY_URL: `http://127.0.0.1:${server.listening.port}` };
  return symphony(args, { ...options, env });
}

async function json(args: readonly string[], options: RunOptions = {}) {
  const { code, stdout, stderr } = await run([...args, "--json"], options);
  assert.deepEqual([code, stderr], [0, ""], args.join(" "));
  return JSON.parse(stdout);
}

test("a template is written from a file and from stdin, shown, previewed and deleted", async () => {
  using dir = emptyDir();
  writeFileSync(join(dir.path, "review.md"), "Review\n{{ issue.title }}\n");
  const created = await run(["templates", "create", "review", "review.md"], { cwd: dir.path });
  assert.match(created.stdout, /^tpl_[0-9a-f]{16}\n$/);
  const next = "symphony template set ISSUE review uses it for an issue";
  assert.equal(created.stderr, `review created; ${next}\n`);
  const shown = await run(["templates", "show", "REVIEW"]);
  assert.equal(shown.stdout, "Review\n{{ issue.title }}\n");
  const edit = ["templates", "edit", "review", "-", "--name", "careful"];
  const edited = api.templates.edit.reply.parse(
    await json(edit, { input: "Twice {{ issue.title }}\n" }),
  );
  assert.deepEqual([edited.name, edited.body], ["careful", "Twice {{ issue.title }}"]);
  const renamed = await json(["templates", "edit", created.stdout.trim(), "--name", "review"]);
  assert.deepEqual([renamed.name, renamed.body], ["review", edited.body]);
  const preview = ["templates", "preview", "review"];
  assert.match((await run(preview)).stdout, /^Twice \S/);
  const ofIssue = await run([...preview, "--issue", "eng-1"]);
  assert.equal(ofIssue.stdout, "Twice Title of ENG-1\n");
  const variables = '{"issue": {"title": "T"}}';
  assert.equal((await json([...preview, "--variables", variables])).rendered, "Twice T");
  const list = await run(["templates", "list"]);
  assert.match(list.stdout, /^TEMPLATE .*\nworkflow +workflow +in its file +issue\.identifier\n/);
  assert.match(list.stdout, /^review +tpl_/m);
  const page = await json(["templates", "list", "--limit", "1"]);
  assert.deepEqual([page.total, page.templates.length], [2, 1]);
  const deleted = await run(["templates", "delete", "review"]);
  assert.deepEqual(
    [deleted.code, deleted.stdout, deleted.stderr],
    [0, "", "review deleted; symphony templates list shows the others\n"],
  );
});

test("an issue uses the chosen template until the choice is cleared", async () => {
  const made = await json(["templates", "create", "other", "-"], { input: "X" });
  const set = await json(["template", "set", "eng-1", "Other"]);
  assert.deepEqual(api.templates.choose.reply.parse(set).template_id, made.id);
  assert.match((await run(["issue", "show", "ENG-1"])).stdout, new RegExp(`template +${made.id}`));
  const inUse = await run(["templates", "delete", "other"]);
  assert.equal(inUse.code, 7);
  assert.match(inUse.stderr, /next: symphony template clear ENG-1/);
  assert.equal((await run(["template", "clear", "ENG-1"])).code, 0);
  assert.equal((await run(["template", "clear", "ENG-1"])).code, 0);
  assert.equal((await run(["templates", "delete", "other"])).code, 0);
});

test("the error for a missing, taken, read-only or broken template names the next thing to try", async () => {
  const id = (await run(["templates", "create", "known", "-"], { input: "K" })).stdout.trim();
  const near = await run(["templates", "show", "knowm"]);
  assert.equal(near.code, 3);
  assert.match(near.stderr, /did you mean known\?/);
  assert.match((await run(["template", "set", "ENG-1", "zzz"])).stderr, /symphony templates list/);
  const lost = await run(["template", "set", "ENG-2", "known"]);
  assert.equal(lost.code, 3);
  assert.match(lost.stderr, /did you mean ENG-1\?/);
  const taken = await run(["templates", "create", "KNOWN", "-"], { input: "x" });
  assert.equal(taken.code, 7);
  assert.match(taken.stderr, new RegExp(`next: symphony templates show ${id}`));
  assert.equal((await run(["templates", "edit", "workflow"])).code, 7);
  assert.equal((await run(["templates", "delete", "workflow"])).code, 7);
  const broken = await run(["templates", "create", "broken", "-"], { input: "{% if issue %}" });
  assert.equal(broken.code, 2);
  assert.match(broken.stderr, /line 1, column 1 of the template/);
  const wrong = [
    ["templates", "create", "x"],
    ["templates", "create", "x", "nowhere.md"],
    ["templates", "edit", "known"],
    ["templates", "preview", "known", "--variables", "[]"],
    ["templates", "preview", "known", "--variables", "{}", "--issue", "ENG-1"],
    ["templates", "list", "--limit", "many"],
    ["template", "set", "ENG-1"],
  ];
  for (const args of wrong) assert.equal((await run(args)).code, 2, args.join(" "));
  assert.equal((await run(["templates", "delete", id])).code, 0);
});

test("the help of every template command has its examples first", async () => {
  const verbs = ["list", "show", "create", "edit", "delete", "preview"];
  const topics = [
    ...verbs.map((verb) => ["templates", verb]),
    ["template", "set"],
    ["template", "clear"],
  ];
  for (const topic of topics) {
    const { code, stdout } = await run(["help", ...topic]);
    assert.equal(code, 0);
    assert.match(stdout, /^[A-Z].*\.\n\nExamples:\n {2}symphony /, topic.join(" "));
  }
});

test("the editor gets the text; an edited text that is refused is kept in a file", async () => {
  const notes: string[] = [];
  const context = (editor: string) => ({
    env: { EDITOR: editor },
    interactive: true,
    note: (text: string) => void notes.push(text),
  });
  const draft = { text: "before", name: "template.md", instead: "symphony templates edit x FILE" };
  const append = "sh -c 'echo after >> \"$0\"'";
  const seen = await withEdited(draft, context(append), async (text) => text);
  assert.equal(seen, "before\nafter");
  assert.deepEqual(notes, []);
  const refused = withEdited(draft, context(append), async () => {
    throw new Error("refused");
  });
  await assert.rejects(refused, /refused/);
  const kept = notes.join().replace("What you wrote is kept in ", "");
  assert.equal(readFileSync(kept, "utf8"), "before\nafter\n");
  assert.deepEqual(readdirSync(dirname(kept)), ["template.md"]);
  rmSync(dirname(kept), { recursive: true });
  const use = async (text: string) => text;
  await assert.rejects(withEdited(draft, context("false"), use), { code: "usage" });
  await assert.rejects(withEdited(draft, context("truncate -s 0"), use), /Nothing was written/);
});
