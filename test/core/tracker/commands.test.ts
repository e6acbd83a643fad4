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
  assert.deepEqual(parsed("/symphony answer\nyes, both"), ["answer: yes, both"]);
  assert.deepEqual(parsed("/symphony"), [""]);
  assert.deepEqual(parsed("/symphony retyr now"), ["retyr: now"]);
  assert.equal(parsed("/symphony hold\n".repeat(50)).length, 10, "bounded");
});
