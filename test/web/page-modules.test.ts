import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { changesIn, filesOf, kindOf } from "../../src/web/diff.ts";
import { lanesOf, type Row, type State, wordsOf } from "../../src/web/lanes.ts";
import { coloured, languageOf } from "../../src/web/syntax.ts";
import { tokenPoints, withinAttempt } from "../../src/web/usage.ts";
import { ago, cut, distance, plural, shellWord, webAddress } from "../../src/web/words.ts";
import { config } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { serve } from "../support/worlds/server.ts";

const patch = [
  "diff --git a/src/a.ts b/src/a.ts",
  "--- a/src/a.ts",
  "+++ b/src/a.ts",
  "@@ -1 +1 @@ <table>",
  "-old",
  "+new",
  "diff --git a/b.bin b/b.bin",
  "Binary files differ",
].join("\n");

test("a patch is read by file, and each line by its sign", () => {
  const files = filesOf(patch);
  assert.deepEqual(
    files.map(({ name, lines }) => [name, lines.length]),
    [
      ["src/a.ts", 5],
      ["b.bin", 1],
    ],
  );
  assert.deepEqual(files[0]?.lines.map(kindOf), ["same", "same", "hunk", "del", "add"]);
});

test("what reorders the characters of a line is named", () => {
  const files = filesOf("diff --git a/a b/a\n+if (x) {\u2067 /* \u202e }");
  assert.deepEqual(files[0]?.lines, ["+if (x) {<U+2067> /* <U+202E> }"]);
});

test("D22: files beyond the patch keep their figures, and only the first lines are open", () => {
  const long = Array.from({ length: 1_000 }, (_, at) => `+line ${at}`);
  const text = ["a", "b", "c"].flatMap((name) => [`diff --git a/${name} b/${name}`, ...long]);
  const files = [
    { path: "a", renamed_from: null, additions: 1_000, deletions: 0 },
    { path: "b", renamed_from: null, additions: 1_000, deletions: 0 },
    { path: "c", renamed_from: null, additions: 1_000, deletions: 0 },
    { path: "d.bin", renamed_from: null, additions: null, deletions: null },
    { path: "e", renamed_from: "old-e", additions: 7, deletions: 9 },
  ];
  const changes = changesIn({ files, patch: text.join("\n") });
  assert.deepEqual(
    changes.map(({ name, from, additions, lines, isOpen }) => [
      ...[from ?? name, additions, lines.length, isOpen],
    ]),
    [
      ["a", 1_000, 1_000, true],
      ["b", 1_000, 1_000, false],
      ["c", 1_000, 1_000, false],
      ["d.bin", null, 0, false],
      ["old-e", 7, 0, false],
    ],
  );
});

test("D22: lines have colours as their own side of the change has them; long lines and slow texts stay plain", async () => {
  const lines = [
    "--- a/x.ts",
    "+++ b/x.ts",
    "@@ -1,3 +1,4 @@ class X",
    " /* a remark",
    "-const old = 1; */",
    "+that ends here */",
    `+const long = "${"x".repeat(1_000)}";`,
    "+const fresh = 2;",
  ];
  // What takes longer than its budget stays plain, and the first time it may, on a machine at work.
  let found = await coloured("ts", lines);
  for (let tries = 0; tries < 50 && !found.has(7); tries++) found = await coloured("ts", lines);
  const said = (at: number) =>
    found
      .get(at)
      ?.map(({ text, look }) => (look === null ? text : `[${look} ${text}]`))
      .join("");
  assert.deepEqual(
    lines.map((_, at) => said(at)),
    [
      ...[undefined, undefined, undefined],
      "[remark /* a remark]",
      "[remark const old = 1; */]",
      "[remark that ends here */]",
      undefined,
      "[word const] fresh = [value 2];",
    ],
  );
  assert.deepEqual(
    ["a.ts", "B.PY", "Dockerfile", "x/Makefile", "constructor", "a.txt", "a/b"].map(languageOf),
    ["ts", "py", "docker", "make", null, null, null],
  );
});

test("tokens grow within an attempt as its events say, also in a thread that an earlier attempt began", () => {
  const totals = [
    { x: 20, y: 1_100 },
    { x: 30, y: 1_500 },
  ];
  assert.deepEqual(withinAttempt(totals, 500), [
    { x: 20, y: 100 },
    { x: 30, y: 500 },
  ]);
  const attempt = (id: string, from: number, to: number | null, tokens: number) => ({
    ...{ id, started_at: new Date(from).toISOString(), tokens: { total_tokens: tokens } },
    ended_at: to === null ? null : new Date(to).toISOString(),
  });
  const attempts = [attempt("a", 0, 10, 1_000), attempt("b", 15, 40, 500)] as never;
  assert.deepEqual(tokenPoints(attempts, null, new Map([["b", withinAttempt(totals, 500)]])), [
    ...[
      { x: 0, y: 0 },
      { x: 10, y: 1_000 },
      { x: 15, y: 1_000 },
    ],
    ...[
      { x: 20, y: 1_100 },
      { x: 30, y: 1_500 },
      { x: 40, y: 1_500 },
    ],
  ]);
});

test("text is cut between characters as people see them", () => {
  assert.equal(cut("abc", 3), "abc");
  assert.equal(cut("abcd", 3), "abc…");
  const family = "👩‍👩‍👧";
  assert.equal(cut(`ab${family}cd`, 6), "ab…");
  assert.equal(cut(`${family}cd`, family.length), `${family}…`);
});

test("the lanes: what needs a person first, retries before what waits, done since midnight", () => {
  const rows = (names: string) => names.split(" ").map((one) => ({ issue_identifier: one }));
  const now = new Date(2026, 0, 2, 9).getTime();
  const ended = (hour: number) => new Date(2026, 0, 2, hour).toISOString();
  const counts = { queued: 9, running: 1, retrying: 1, blocked: 1, review: 0, held: 1, failed: 1 };
  const state = {
    counts: { ...counts, completed: 7 },
    ...{ queued: rows("Q"), running: rows("R"), retrying: rows("T"), blocked: rows("B") },
    ...{ review: [], held: rows("H"), failed: rows("F") },
    completed: [-1, 1].map((hour) => ({ issue_identifier: `C${hour}`, ended_at: ended(hour) })),
  } as unknown as State;
  const shown = lanesOf(state, now).map(({ title, count, rows: own }) => [
    title,
    count,
    own.map((row) => row.issue_identifier).join(" "),
  ]);
  assert.deepEqual(shown, [
    ["Needs you", 1, "B"],
    ["Running", 1, "R"],
    ["Waiting for review", 0, ""],
    ["Queued", 10, "T Q"],
    ["Held or failed", 2, "F H"],
    ["Done today", 1, "C1"],
  ]);
});

test("a running row names the worker that its agent runs on, and says nothing of one on this machine", () => {
  const now = Date.parse("2026-01-02T09:00:00Z");
  const about = (host: string | null) => {
    const seen = { turn_count: 1, phase: "streaming_turn", stopping: null, last_event: null };
    const run = { agent: "codex", model: "m", worker_host: host, tokens: { total_tokens: 5 } };
    const row = { ...seen, ...run, last_message: "reads", started_at: "2026-01-02T08:59:00Z" };
    return wordsOf(row as unknown as Row, now)
      .about.split(" · ")
      .slice(0, 3)
      .join(" · ");
  };
  assert.equal(about("build-1"), "codex · m on build-1 · streaming turn");
  assert.equal(about(null), "codex · m · streaming turn");
});

test("times, counts, addresses and words of a command", () => {
  assert.equal(distance("2026-01-01T00:00:00.000Z", Date.UTC(2026, 0, 1, 0, 2)), "2 min ago");
  assert.equal(distance(90_000, 0), "in 2 min");
  assert.equal(distance(null, 0), "–");
  assert.equal(ago(3_000, 0), "0 s ago", "the server's clock is ahead");
  assert.equal(ago(0, 120_000), "2 min ago");
  assert.deepEqual([plural(1, "turn"), plural(1_200, "turn")], ["1 turn", "1,200 turns"]);
  assert.deepEqual(
    ["https://a.example/", "javascript:alert(1)", "//a.example", null].map(webAddress),
    ["https://a.example/", null, null, null],
  );
  assert.deepEqual(["ENG-1", "a b", "it's", "$(x)"].map(shellWord), [
    "ENG-1",
    "'a b'",
    `'it'\\''s'`,
    "'$(x)'",
  ]);
});

test("the page's modules come from this server, with no types left, and nothing else does", async () => {
  await using world = await createWorld();
  await using server = await serve(world);
  const own = readdirSync("src/web").filter((name) => name.endsWith(".ts"));
  const libraries = ["preact.js", "preact-hooks.js", "htm.js", "htm-preact.js"];
  for (const name of [...own, ...libraries]) {
    const answer = await server.ask(`/web/${name}`);
    assert.equal(answer.status, 200, name);
    assert.equal(answer.headers["content-type"], "text/javascript; charset=utf-8");
    assert.doesNotMatch(answer.text, /^(?:interface|type|import type) /m, name);
    const tag = String(answer.headers.etag);
    const again = await server.ask(`/web/${name}`, { headers: { "if-none-match": tag } });
    assert.deepEqual([again.status, again.text], [304, ""], name);
  }
  for (const path of [
    "/web/tsconfig.json",
    "/web/..%2fserver%2fapp.ts",
    "/web/../server/app.ts",
    "/web/%2e%2e/server/app.ts",
    "/web/none.ts",
    "/web/",
  ]) {
    assert.equal((await server.ask(path)).status, 404, path);
  }
});

test("where the token is required, the page asks for it and contains nothing else", async () => {
  const settings = config({ server: { auth: "token" } });
  await using world = await createWorld({ config: settings });
  await using server = await serve(world, { token: "the-token" });
  const page = await server.ask("/", { headers: { accept: "text/html,*/*" } });
  assert.equal(page.status, 401);
  assert.match(page.text, /wants its token/);
  assert.ok(!page.text.includes(world.core.workflowPath) && !page.text.includes("the-token"));
  assert.equal((await server.ask("/web/api.ts")).status, 200);
  for (const path of ["/web/../api/v1/state", "/web/%2e%2e/api/v1/state", "/api/v1/state"]) {
    const refused = await server.ask(path);
    assert.ok([401, 404].includes(refused.status), `${path}: ${refused.status}`);
  }
  const program = await server.ask("/", { headers: { accept: "application/json" } });
  assert.deepEqual([program.status, program.json().error.code], [401, "unauthorized"]);
  const foreign = await server.ask("/web/api.ts", { headers: { host: "evil.example" } });
  assert.equal(foreign.status, 403);
});
