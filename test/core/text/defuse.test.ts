import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { defuse } from "../../../src/core/text/defuse.ts";

const all = (text: string) => defuse(text, { maxChars: 60_000 });
const joiner = "\u2060";
const seen = (text: string) => all(text).replaceAll(joiner, "");

const live = [
  /@[\p{L}\p{N}_-]/u,
  /[#!]\d/,
  /\bGH-\d/i,
  /\b[A-Z]{2,}-\d/,
  /\/(?:issues|pull)\/\d/,
  /<[a-z/!?]/i,
  /&(?:#0*64|#x0*40|commat|num|#0*35|#x0*23);?/i,
  /^[ \t>]*\/(?:approve|close)(?:[ \t]|$)/im,
  /\[(?:skip|no) ci\]|\[ci skip\]|\*\*\*NO_CI|skip-checks: *true/i,
];

const pieces = fc.constantFrom(
  "@mallory",
  "@acme/team",
  "&#64;",
  "&#x40;",
  "&commat;",
  "&num;12",
  "&amp;#64;eve",
  "fixes ",
  "#5",
  "GH-12",
  "acme/app#4",
  "/approve",
  "[skip ci]",
  "skip-checks: true",
  "ENG-12",
  "https://github.com/a/b/issues/7",
  "<!-- symphony:1 -->",
  "<b>",
  "`",
  "``",
  "```",
  "\n",
  "\n\n",
  "\n```\n",
  "\n~~~\n",
  "    ",
  "> ",
  "- ",
  "\\",
  " ",
  "a",
  "&",
  "amp;",
  "#64;",
  "\u200b",
  "\u0000",
  "😀",
);
const texts = fc.array(pieces, { maxLength: 25 }).map((parts) => parts.join(""));

test("handles, references and HTML are shown and do nothing", () => {
  const lines = [
    "@mallory",
    "@acme/team",
    "fixes #5",
    "closes acme/app#4",
    "GH-12",
    "Fixes ENG-12",
    "https://github.com/a/b/issues/7",
    "a/b!3",
    "/approve",
    "  /close now",
    "> /approve",
    "[skip ci] [ci skip] [no ci] [skip actions]",
    "***NO_CI***",
    "skip-checks: true",
  ];
  for (const line of lines) {
    assert.equal(seen(line), line);
    for (const pattern of live) assert.doesNotMatch(all(line), pattern, line);
  }
  assert.equal(all("<!-- x -->"), "&lt;!-- x --&gt;");
  assert.equal(seen("&#64;acme/team &commat;x"), "&amp;#64;acme/team &amp;commat;x");
  assert.match(all("&amp;#64;acme"), new RegExp(`;${joiner}acme`), "decoded twice it names nobody");
  assert.equal(all("a < b, c > d & e"), "a < b, c > d & e");
  assert.equal(all("a\u0000b\u202ec\u200bd\r\ne\tf"), "abcd\ne\tf");
});

test("DELIVERY-6: in a title or the message of a commit marks of code protect nothing", () => {
  for (const text of ["`fixes #5` `@mallory`", "```\n@mallory fixes #5\n```\n", "``[skip ci]``"]) {
    const plain = defuse(text, { maxChars: 1_000, form: "plain" });
    assert.equal(plain.replaceAll(joiner, ""), text);
    for (const pattern of live) assert.doesNotMatch(plain, pattern, text);
  }
  assert.equal(
    all("see /usr/bin/x, [no docs](a) and a/b"),
    `see /usr/bin/x, [${joiner}no docs](a) and a/b`,
  );
});

test("code stays as it is", () => {
  const code = [
    "`@name #5`",
    "``a ` @b``",
    "```ts\n@Injectable() // #5\n```",
    "~~~\n<b> ENG-1\n~~~",
    "a```\n\n``@b``",
  ];
  for (const text of code) assert.equal(all(text), text);
  assert.match(all("`@a"), new RegExp(`@${joiner}a`));
  assert.match(all("\\`@a`"), new RegExp(`@${joiner}a`));
  assert.match(all("`a\n\n@b`"), new RegExp(`@${joiner}b`));
  assert.equal(all("```\n@a"), "```\n@a\n```", "an open fence would swallow what follows");
});

test("what only looks like code, because a list, a table or an address ends it, is defused", () => {
  const texts = [
    "- ```\n  x\n  ```\n@mallory\n```",
    "- a\n  ```\n@mallory\n```",
    "```\n```\u2003\n```\n@mallory\n",
    "> ```\n@mallory\n> ```",
    "[^1]: ```\n@mallory\n",
    "`\n`@mallory`",
    "- `\n`@mallory`",
    "    `a\n@mallory`",
    "`x\n<!-- m -->\n@mallory`",
    "a | b\n-|-\n`x | @mallory`",
    "https://x/` ` `@mallory`",
    "&#96;`@mallory`",
  ];
  for (const text of texts.slice(0, -1)) assert.doesNotMatch(all(text), /@mallory|<!--/, text);
  assert.equal(seen("&#96;`@mallory`"), "&amp;#96;`@mallory`");
});

test("a longer text is cut, and says so", () => {
  const text = all("word ".repeat(10));
  assert.equal(defuse(text, { maxChars: text.length }), text);
  const cut = defuse("word ".repeat(100), { maxChars: 100 });
  assert.ok(cut.length <= 100);
  assert.match(cut, /^word .*\n\n\[The rest of this text was left out\.\]$/s);
});

test("for any text: nothing live outside of code, twice is once, and the limit is kept", () => {
  fc.assert(
    fc.property(texts, (text) => {
      const once = all(text);
      assert.equal(all(once), once);
      const prose = once
        .replaceAll(/^ {0,3}(`{3,}(?!.*`)|~{3,})[\s\S]*?^ {0,3}\1[`~]*[ \t]*$/gm, "")
        .replaceAll(/(?<!`)(`+)(?!`)(?:(?!\n[ \t]*\n)[\s\S])*?(?<!`)\1(?!`)/g, "");
      for (const pattern of live) assert.doesNotMatch(prose, pattern);
    }),
    { numRuns: 2_000 },
  );
  fc.assert(
    fc.property(texts, fc.integer({ min: 0, max: 120 }), (text, maxChars) => {
      const cut = defuse(text, { maxChars });
      assert.ok(cut.length <= maxChars);
      assert.equal(defuse(cut, { maxChars }), cut);
    }),
    { numRuns: 2_000 },
  );
});
