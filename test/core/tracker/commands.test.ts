import assert from "node:assert/strict";
import { test } from "node:test";
import { commandList, commandsIn } from "../../../src/core/tracker/commands.ts";

const names = { prefix: "/symphony", mentions: ["@symphony", "@symphony-bot"] };
const parsed = (body: string) =>
  commandsIn(body, names).map(({ verb, text }) => [verb, text].filter(Boolean).join(": "));

test("DELIVERY-13: a command stands at the beginning of a line, outside quotes and code", () => {
  for (const body of [
    "> /symphony retry",
    ">/symphony retry",
    "> please\n/symphony retry",
    "```\n/symphony retry\n```",
    "~~~~ sh\n/symphony retry\n~~~\n/symphony hold\n~~~~",
    "    /symphony retry",
    "\t/symphony retry",
    "then say /symphony retry",
    "- `/symphony retry`: again",
    "`/symphony retry`",
    "<!--\n/symphony retry\n-->",
    "<!-- a --> <!-- b\n/symphony retry",
    "/symphonyretry",
    "x/symphony retry",
    "@symphony please retry",
    "@symphony-docs retry",
    "- ```\n  /symphony retry\n  ```",
    "1. so:\n\n   ```\n   /symphony retry\n   ```",
    "`one\n/symphony retry\ntwo`",
    "<pre lang=sh>\n/symphony retry\n</pre>",
    "<CODE>\n/symphony retry\n</CODE>",
    "<blockquote>\n/symphony retry\n</blockquote>",
    "a<!-- b --><!--\n/symphony retry",
    "/symphony-bot retry",
    "bob@symphony retry",
    "\\/symphony retry",
    "",
  ]) {
    assert.deepEqual(parsed(body), [], JSON.stringify(body));
  }
  assert.deepEqual(parsed(commandList("/symphony")), [], "symphony's own help");
  assert.deepEqual(parsed(`Title\n${commandList("/symphony")}`), []);
});

test("a command is found after other text, in any case, with a mention, and with the lines below it", () => {
  assert.deepEqual(parsed("> quoted\n\nno\n\n/symphony retry"), ["retry"]);
  assert.deepEqual(parsed("```\ncode\n```\n /Symphony HOLD "), ["hold"]);
  assert.deepEqual(parsed("@symphony retry\r\n@Symphony-Bot hold"), ["retry", "hold"]);
  assert.deepEqual(parsed("/symphony steer use tabs\n\nand `npm test`\n/symphony retry\nthanks"), [
    "steer: use tabs\n\nand `npm test`",
    "retry",
  ]);
  assert.deepEqual(parsed("> ```\n\n/symphony retry"), ["retry"], "a fence ends with its quote");
  assert.deepEqual(parsed("begin with `<!--`\n\u00a0/symphony\u3000retry"), ["retry"]);
  assert.deepEqual(parsed("an odd ` alone\n/symphony retry\n\n` too"), ["retry"]);
  assert.deepEqual(parsed("@symphony, retry!\n/symphony: hold."), ["retry", "hold"]);
  assert.deepEqual(parsed("/symphony answer\nyes, both"), ["answer: yes, both"]);
  assert.deepEqual(parsed("/symphony"), [""]);
  assert.deepEqual(parsed("/symphony retyr now"), ["retyr: now"]);
  assert.equal(parsed("/symphony hold\n".repeat(50)).length, 10, "bounded");
});
